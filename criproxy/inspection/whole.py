"""Everything that there is to say of a node: the configuration, criproxy, kubelet, and what each runtime answers."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from criproxy.config import Config, ConfigError, RuntimeAddress, parse
from criproxy.config.configuration import doubts_of_id
from criproxy.inspection import node, runtimes
from criproxy.inspection.findings import Finding, right, skipped, wrong
from criproxy.inspection.interview import PATIENCE, Told, interview
from criproxy.inspection.node import NodeLook, Seen
from criproxy.inspection.subject import Subject
from criproxy.inspection.together import together
from criproxy.node.plan import SERVICE
from criproxy.node.runtimes import RuntimeClient
from criproxy.streaming import stream_url

_WHERE = "criproxy config tells where each option is set"
_NODE, _SERVED = "/node", "/served"
"""Keys among the ids of runtimes, which have no slash."""
_TIME = PATIENCE + 5
"""How long all of it may take, seconds: kubelet and systemd are asked meanwhile."""
_LATE = f"no answer within {_TIME:g} s"


def checked(daemon: Subject, look: NodeLook, sockets: RuntimeClient) -> List[Finding]:
    """Everything that there is to say, the configuration first."""
    try:
        config = parse(daemon.words, daemon.environ)
    except ConfigError as error:
        refused = wrong("configuration", "options", str(error), _WHERE, broken=True)
        seen, _, _ = _asked(daemon, None, look, sockets)
        return [refused, *seen.findings]
    seen, served, told = _asked(daemon, config, look, sockets)
    return [*_options(daemon, config), *served, *seen.findings, *runtimes.findings(config, told, seen.driver)]


def _options(daemon: Subject, config: Config) -> Iterator[Finding]:
    own = [doubt for runtime in config.runtimes[1:] for doubt in doubts_of_id(runtime.id)]
    doubts = [warning for warning in config.warnings if warning not in own]
    for doubt in doubts:
        yield wrong("configuration", "options", doubt, _WHERE)
    if not doubts:
        whose = f"those of {daemon.service.where}" if daemon.service else "those of this command and its environment"
        yield right("configuration", "options", f"{whose} are accepted")


def _asked(
    daemon: Subject, config: Optional[Config], look: NodeLook, sockets: RuntimeClient
) -> Tuple[Seen, List[Finding], Dict[str, Told]]:
    """Asks the node, criproxy and all runtimes at once."""
    works: Dict[str, Callable[[], Any]] = {}
    if config is not None:
        works.update({runtime.id: partial(_interview, config, runtime) for runtime in config.runtimes})
    if daemon.service is not None:
        works[_NODE] = look.seen
        if config is not None:
            works[_SERVED] = partial(_served, config, sockets)
    answers = dict(zip(works, together(list(works.values()), _TIME)))
    why = "the options are not those of the service" if daemon.words else "there is no service of criproxy's on it"
    foreign = Seen([skipped("node", "kubelet, units", why)])
    seen = answers.pop(_NODE, foreign) or Seen([wrong("kubelet", "node", _LATE, "criproxy node status")])
    served = answers.pop(_SERVED, ())
    if served is None:
        served = [wrong("criproxy", "answer", _LATE, f"systemctl status {SERVICE}", broken=True)]
    return seen, list(served), {id: told or Told(failure=_LATE) for id, told in answers.items()}


def _served(config: Config, sockets: RuntimeClient) -> List[Finding]:
    return list(node.listening(config, sockets))


def _interview(config: Config, runtime: RuntimeAddress) -> Told:
    images = runtime.path if runtime.id else config.image_service or runtime.path
    return interview(runtime.path, images, lambda: stream_url(config))
