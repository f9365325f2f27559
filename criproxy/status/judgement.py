"""Whether what has been seen is well, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Iterator, List, Optional

from criproxy.control.api import control
from criproxy.node.kubelet import UNIT
from criproxy.node.plan import SERVICE
from criproxy.node.status import Condition, Report
from criproxy.status.look import Seen
from criproxy.text import period

_DENIED = "Permission denied"
_API = control().enums
_UP = _API["RuntimeState"]["RUNTIME_UP"]
_STARTING = _API["RuntimeState"]["RUNTIME_STARTING"]
_SERVING = _API["DaemonState"]["DAEMON_SERVING"]
_STOPPING = _API["DaemonState"]["DAEMON_STOPPING"]
_ALTERNATIVE = _API["Role"]["ROLE_ALTERNATIVE"]
_IMAGE_SERVICE = _API["Role"]["ROLE_IMAGE_SERVICE"]
_RETIRING = _API["Role"]["ROLE_RETIRING"]


class Level(IntEnum):
    """How well all is, as an exit status."""

    WELL = 0
    DEGRADED = 1
    """Kubelet works, and not all that it should have is there."""
    DOWN = 2
    """Kubelet does not run, or has no runtime."""


@dataclass(frozen=True)
class Finding:
    """Something that is not well, with the next step."""

    level: Level
    text: str


def judge(seen: Seen) -> List[Finding]:
    """What is not well, the worst first."""
    found = [*_of_daemon(seen), *_of_node(seen.node)]
    return sorted(found, key=lambda finding: -finding.level)


def level_of(findings: List[Finding]) -> Level:
    """How well all is."""
    return max((finding.level for finding in findings), default=Level.WELL)


def name_of(runtime: Any) -> str:
    """What a runtime is called in a sentence."""
    if runtime.role == _ALTERNATIVE:
        return f'runtime "{runtime.id}"'
    if runtime.role == _RETIRING:
        return "the retiring runtime"
    return "the primary runtime's image service" if runtime.role == _IMAGE_SERVICE else "the primary runtime"


def _of_daemon(seen: Seen) -> Iterator[Finding]:
    if seen.answer is None:
        yield Finding(Level.DOWN, f"criproxy does not answer on {seen.socket}: {seen.silence}{_next_step(seen)}")
        return
    daemon = seen.answer.daemon
    if daemon.state != _SERVING:
        state = "is being stopped" if daemon.state == _STOPPING else "is starting, and takes no connections yet"
        yield Finding(Level.DEGRADED, f"criproxy {state}. Next: wait some seconds")
    if daemon.HasField("refusal"):
        text = f"the last reload was refused: {daemon.refusal.reason}"
        yield Finding(Level.DEGRADED, f"{text}. Next: mend that, then systemctl reload criproxy")
    for runtime in seen.answer.runtimes:
        if runtime.state != _UP:
            yield _of_runtime(runtime, seen.at)


def _of_runtime(runtime: Any, now: float) -> Finding:
    if runtime.state == _STARTING:
        return Finding(Level.DEGRADED, f"{name_of(runtime)} is being looked for. Next: wait some seconds")
    level = Level.DEGRADED if runtime.role == _ALTERNATIVE else Level.DOWN
    text = f"{name_of(runtime)} has been away for {period(now - runtime.since)}: {runtime.reason}"
    return Finding(level, f"{text}. Next: start what serves {runtime.socket}; criproxy finds it by itself")


def _next_step(seen: Seen) -> str:
    """What to do about a daemon that does not answer; nothing where the node's own findings tell it."""
    if seen.silence == _DENIED:
        return ". Next: run this as root"
    units = {} if seen.node is None else {unit.name: unit for unit in seen.node.units}
    service = units.get(SERVICE)
    if service is None or seen.node is None:
        return ". Next: start criproxy, or name the socket that it was given (--socket)"
    if service.condition is Condition.RUNS:
        return f". Next: journalctl -u {SERVICE} says whether it has that socket; name another one by --socket"
    if service.problem:
        return ""
    if not seen.node.turned_over:
        return ". This node is not turned over. Next: criproxy node plan shows what criproxy node apply would do"
    return f". Next: systemctl start {SERVICE}"


def _of_node(node: Optional[Report]) -> Iterator[Finding]:
    if node is None:
        return
    units = {unit.problem: unit for unit in node.units if unit.problem}
    for problem in node.problems:
        unit = units.get(problem)
        kubelet_is_down = unit is not None and unit.name == UNIT and unit.condition is not Condition.RESTARTING
        yield Finding(Level.DOWN if kubelet_is_down else Level.DEGRADED, problem)
