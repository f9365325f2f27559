"""``criproxy drain`` and ``undrain``: an alternative runtime gets no new pods, and all else goes on."""

from __future__ import annotations

import argparse
from typing import Any, Dict, Iterable, List, Sequence

from criproxy.arguments import add_environment_file, add_socket
from criproxy.client import ClientError
from criproxy.control.api import control
from criproxy.operate.defaults import Defaults
from criproxy.operate.outcome import Exit, Refused, carried_out, say, tell
from criproxy.operate.pods import SHOWN, LeftPod, plain, pods_of, several
from criproxy.output import WIDE, add_output
from criproxy.terminal import plain_table

_VARIABLE = "CRIPROXY_DRAINED"
_PRIMARY = ("", "primary", "(primary)")
_RETIRING = control().enums["Role"]["ROLE_RETIRING"]


def drain(argv: Sequence[str]) -> int:
    """``criproxy drain``; gives the exit status."""
    return _main("drain", argv)


def undrain(argv: Sequence[str]) -> int:
    """``criproxy undrain``; gives the exit status."""
    return _main("undrain", argv)


def _main(name: str, argv: Sequence[str]) -> int:
    options = _parser(name).parse_args(argv)
    return carried_out(name, lambda: _change(name, options))


def _change(name: str, options: argparse.Namespace) -> int:
    wanted = name == "drain"
    defaults = Defaults(options.socket, options.environment_file)
    socket = _set(defaults, options.id, wanted)
    if defaults.unheard:
        say(name, defaults.unheard)
    told: Dict[str, Any] = {"id": options.id, "drained": wanted, "inForce": defaults.status is not None}
    lines = [f'runtime "{options.id}" gets new pods{" no more" if wanted else ""}{defaults.later}']
    if wanted:
        lines += _left(socket, told, options.output == WIDE)
    tell(options.output, told, lines)
    return Exit.DONE


def _set(defaults: Defaults, id: str, drained: bool) -> str:
    """Drains a runtime, or lets it have pods again, and gives its socket. Raises Refused."""
    if id in _PRIMARY:
        raise Refused(
            "the primary runtime gets each pod that asks for no other, and cannot be drained: kubectl cordon keeps new"
            " pods away from the node"
        )
    defaults.refuse_if_fixed(_VARIABLE)
    sockets = runtimes_behind(defaults)
    refuse_retiring(defaults, id)
    before = [each for each in defaults.variables().get(_VARIABLE, "").split(",") if each]
    if id not in sockets and (drained or id not in before):
        raise no_such_runtime(id, sockets)
    after = [each for each in before if each != id] + ([id] if drained else [])
    if drained and id in before:
        after = before
    defaults.change({_VARIABLE: ",".join(after)})
    return sockets.get(id, "")


def runtimes_behind(defaults: Defaults) -> Dict[str, str]:
    """The sockets of the runtimes by their ids, the primary's is empty: the daemon's, or the configuration's."""
    if defaults.status is None:
        return {runtime.id: runtime.path for runtime in defaults.config().runtimes}
    # The primary's image service has no id either; the runtime itself comes first.
    return {runtime.id: runtime.socket for runtime in reversed(defaults.status.runtimes)}


def no_such_runtime(id: str, sockets: Iterable[str]) -> Refused:
    """What is said of an id that none of these runtimes has."""
    return Refused(f'there is no runtime "{id}" (there are: {", ".join(filter(None, sockets)) or "none"})')


def refuse_retiring(defaults: Defaults, id: str) -> None:
    """Raises Refused for the runtime that was the primary one before."""
    behind = () if defaults.status is None else defaults.status.runtimes
    if any(runtime.id == id and runtime.role == _RETIRING for runtime in behind):
        raise Refused(
            "the retiring runtime gets no new pods anyway: criproxy node migrate --finish takes it away when nothing is"
            " left there, and criproxy node migrate --back lets it have new pods again"
        )


def _left(socket: str, told: Dict[str, Any], wide: bool) -> List[str]:
    """What the runtime still has, for people, and added to what is for programs."""
    try:
        pods = pods_of(socket)
    except ClientError as error:
        told["pods"] = None
        return [f"what is left there is not known: {error}"]
    told["pods"] = plain(pods)
    return [f"left there: {several(len(pods)) if pods else 'nothing'}", *(_table(pods) if wide else _lines(pods))]


def _table(pods: Sequence[LeftPod]) -> List[str]:
    rows = [(pod.name, "ready" if pod.ready else "not ready", pod.id) for pod in pods]
    return plain_table(("POD", "STATE", "ID"), rows) if rows else []


def _lines(pods: Sequence[LeftPod]) -> List[str]:
    more = len(pods) - SHOWN
    return [f"  {pod}" for pod in pods[:SHOWN]] + ([f"  and {more} more"] if more > 0 else [])


def _parser(name: str) -> argparse.ArgumentParser:
    what = {
        "drain": "Let an alternative runtime have no new pods: kubelet is refused them. All else goes on, and the pods"
        " that the runtime has are shown.",
        "undrain": "Let an alternative runtime have new pods again.",
    }
    parser = argparse.ArgumentParser(
        prog=f"criproxy {name}",
        description=what[name],
        epilog=f"It is written as {_VARIABLE} into the environment file, so that it outlasts a restart, and the daemon"
        " reads that. Exit status: 0, it is so; without a daemon, from its next start on; 1, it is refused, and nothing"
        " has changed; 2, the words are not understood.",
    )
    parser.add_argument("id", metavar="ID", help="the runtime's id")
    add_output(parser, wide="all pods that are left, with their ids")
    add_environment_file(parser)
    add_socket(parser)
    return parser
