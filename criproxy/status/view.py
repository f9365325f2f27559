"""What has been seen, as text for people and as JSON for programs."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence

from google.protobuf.json_format import MessageToDict

from criproxy.control.api import control
from criproxy.node.kubelet import UNIT
from criproxy.node.status import Condition, Report
from criproxy.status.judgement import Finding, Level, level_of
from criproxy.status.look import Seen
from criproxy.terminal import Cell, Column, Mark, Terminal
from criproxy.text import IMAGES, PRIMARY, few, period

if TYPE_CHECKING:
    from criproxy.operate.pods import LeftPod

_API = control().enums
_UP = _API["RuntimeState"]["RUNTIME_UP"]
_AWAY = _API["RuntimeState"]["RUNTIME_AWAY"]
_PRIMARY = _API["Role"]["ROLE_PRIMARY"]
_IMAGE_SERVICE = _API["Role"]["ROLE_IMAGE_SERVICE"]
_RETIRING = _API["Role"]["ROLE_RETIRING"]
_TITLES = {_PRIMARY: PRIMARY, _IMAGE_SERVICE: IMAGES}
_STATES = {_UP: ("up", Mark.GOOD), _AWAY: ("away", Mark.BAD)}
_MARKS = {Level.WELL: Mark.GOOD, Level.DEGRADED: Mark.DOUBTFUL, Level.DOWN: Mark.BAD}
_HEAD = 11
"""Characters before the text of the lines about kubelet, criproxy and the clients."""
_NUMBERS = tuple(Column(title, True) for title in ("PODS", "CTRS", "IMAGES", "CALLS", "ERRORS", "P50", "P99"))
_NARROW = (Column("RUNTIME"), Column("STATE"), *_NUMBERS)
_WIDE = (
    *(Column(title) for title in ("RUNTIME", "STATE", "SINCE", "NAME", "VERSION", "CRI", "SOCKET")),
    *_NUMBERS,
    Column("CODES"),
)
_UNKNOWN = "-"
_NAMED = 3
"""So many pods that are left are named, the others are counted."""


def text(seen: Seen, findings: List[Finding], terminal: Terminal, wide: bool = False) -> str:
    """All of it. ``wide``: a line for each runtime, however long it is."""
    shown = Terminal(None, terminal.colour) if wide else terminal
    parts = [[*_kubelet(seen, shown), *_criproxy(seen, shown), *_clients(seen, shown)]]
    if seen.answer is not None:
        parts.append(list(_runtimes(seen, shown, wide)))
    parts.append(list(_verdict(findings, shown)))
    return "\n\n".join("\n".join(part) for part in parts)


def _line(terminal: Terminal, head: str, text: str) -> List[str]:
    return terminal.wrap(text, head.ljust(_HEAD), " " * _HEAD)


def _kubelet(seen: Seen, terminal: Terminal) -> List[str]:
    if seen.node is None:
        return _line(terminal, "kubelet", f"not looked at: {seen.blindness}")
    node = seen.node
    unit = next((unit for unit in node.units if unit.name == UNIT), None)
    if unit is None and not node.turned_over:
        return _line(terminal, "kubelet", "not looked at: systemd does not run here")
    where = "on criproxy" if node.turned_over else "not on criproxy (this node is not turned over)"
    parts = [node.kubelet, where, "not looked at: systemd does not run here" if unit is None else unit.text]
    if unit is not None and unit.restarts and unit.condition is Condition.RUNS:
        parts.append(f"restarts: {unit.restarts}")
    return _line(terminal, "kubelet", ", ".join(filter(None, parts)))


def _criproxy(seen: Seen, terminal: Terminal) -> Iterator[str]:
    if seen.answer is None:
        yield from _line(terminal, "criproxy", f"no answer on {seen.socket}: {seen.silence}")
        for unit in () if seen.node is None else seen.node.units:
            if unit.name != UNIT:
                yield from _line(terminal, "", f"{unit.name}: {unit.text}")
        return
    daemon = seen.answer.daemon
    version = f"{daemon.version} (compiled)" if daemon.compiled else daemon.version
    yield from _line(terminal, "criproxy", f"{version}, pid {daemon.pid}, since {_moment(daemon.started_at, seen.at)}")
    yield from _line(terminal, "", f"configuration of {_moment(daemon.loaded_at, seen.at)}")
    if daemon.verbosity.level != daemon.verbosity.configured:
        yield from _line(terminal, "", _verbosity(daemon.verbosity))
    if daemon.HasField("refusal"):
        ago = period(seen.at - daemon.refusal.at)
        yield from _line(terminal, "", f"reload refused {ago} ago: {daemon.refusal.reason}")


def _verbosity(told: Any) -> str:
    how_long = f" for another {period(told.remaining)}" if told.remaining else ""
    return f"verbosity {told.level}{how_long}; configured: {told.configured} (criproxy log-level)"


def _moment(at: float, now: float) -> str:
    """A moment, and how long ago it was."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))} ({period(now - at)})"


def _clients(seen: Seen, terminal: Terminal) -> List[str]:
    if seen.answer is None:
        return []
    counts: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for client in seen.answer.clients:
        who = f"{client.name or '?'} (pid {client.pid or '?'})"
        counts[who] += 1
        calls[who] += client.calls_in_flight
    told = [_client(who, count, calls[who]) for who, count in counts.items()]
    return _line(terminal, "clients", "; ".join(told) or "nobody is connected")


def _client(who: str, connections: int, calls: int) -> str:
    often = f", {connections} connections" if connections > 1 else ""
    return f"{who}{often}, {_several(calls, 'call')}" if calls else f"{who}{often}"


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _runtimes(seen: Seen, terminal: Terminal, wide: bool) -> Iterator[str]:
    answer: Any = seen.answer
    minutes = max((runtime.recent.period for runtime in answer.runtimes), default=0.0) / 60
    yield f"RUNTIMES (CALLS: in flight; ERRORS, P50, P99: of the last {minutes:.0f} minutes)"
    make = _wide_row if wide else _row
    rows = [make(runtime, seen.at) for runtime in answer.runtimes]
    titles, *lines = terminal.table(_WIDE if wide else _NARROW, rows)
    yield titles
    for runtime, line in zip(answer.runtimes, lines):
        yield line
        for detail in (*_details(runtime, wide, seen.left), *_rules(runtime, answer.daemon.routes)):
            yield from terminal.wrap(detail, "  ", "  ")


def _row(runtime: Any, now: float) -> List[Cell]:
    return [Cell(_title(runtime)), _state(runtime, f" {period(now - runtime.since)}"), *_numbers(runtime)]


def _wide_row(runtime: Any, now: float) -> List[Cell]:
    return [
        Cell(_title(runtime)),
        _state(runtime, ", drained" if runtime.drained else ""),
        Cell(_moment(runtime.since, now)),
        Cell(runtime.name or _UNKNOWN),
        Cell(runtime.version or _UNKNOWN),
        Cell(", ".join(runtime.cri_versions) or _UNKNOWN),
        Cell(runtime.socket),
        *_numbers(runtime),
        Cell(", ".join(f"{error.calls} {error.code}" for error in runtime.recent.errors) or _UNKNOWN),
    ]


def _title(runtime: Any) -> str:
    return _TITLES.get(runtime.role) or str(runtime.id)


def _state(runtime: Any, how_long: str = "") -> Cell:
    word, mark = _STATES.get(runtime.state, ("starting", Mark.DOUBTFUL))
    return Cell(word + how_long, mark)


def _numbers(runtime: Any) -> List[Cell]:
    had = runtime.inventory
    counts = (had.pods, had.containers, had.images) if runtime.HasField("inventory") else (-1, -1, -1)
    errors = sum(error.calls for error in runtime.recent.errors)
    return [
        *(Cell(_UNKNOWN if count < 0 else str(count)) for count in counts),
        Cell(str(runtime.calls_in_flight)),
        Cell(str(errors), Mark.DOUBTFUL if errors else Mark.PLAIN),
        Cell(_took(runtime.recent.p50)),
        Cell(_took(runtime.recent.p99)),
    ]


def _took(seconds: float) -> str:
    if not seconds:
        return _UNKNOWN
    if seconds < 0.01:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _details(runtime: Any, wide: bool, left: Optional[Sequence[LeftPod]]) -> Iterator[str]:
    """What a row has no room for. ``left``: what the retiring runtime has."""
    if runtime.state != _UP:
        parts = [f"{runtime.socket}: {runtime.reason}"]
        if runtime.absence.pods:
            parts.append(_remembered(runtime.absence))
        yield "; ".join(parts)
    elif not wide:
        who = " ".join(filter(None, (runtime.name, runtime.version)))
        spoken = f"CRI {', '.join(runtime.cri_versions)}" if runtime.cri_versions else ""
        yield ", ".join(filter(None, (who, spoken, runtime.socket)))
        if runtime.absence.pods:
            yield f"it fails to list its pods: {_remembered(runtime.absence)}"
    if runtime.drained and not wide:
        yield f"drained: it gets no new pods (criproxy undrain {runtime.id} lets it have them again)"
    if runtime.role == _RETIRING:
        yield f"retiring: it gets no new pods{'' if left is None else f'; {_left(left)}'}"


def _left(pods: Sequence[LeftPod]) -> str:
    """What is left, those that run by their names, and what to do."""
    if not pods:
        return "nothing is left on it. Next: criproxy node migrate --finish"
    running = [pod.name for pod in pods if pod.ready]
    names = f" ({few(running, _NAMED)})" if running else ""
    ended = len(pods) - len(running)
    parts = [f"{_several(len(running), 'pod')} left on it{names}", *([f"ended: {ended}"] if ended else [])]
    return f"{', '.join(parts)}. When all are gone: criproxy node migrate --finish"


def _rules(runtime: Any, routes: Sequence[Any]) -> Iterator[str]:
    """The rules by which new pods go to a runtime."""
    texts = [f'"{route.rule}"' for route in routes if route.runtime == runtime.id]
    if texts:
        yield f"new pods by the {'rule' if len(texts) == 1 else 'rules'} {', '.join(texts)} (criproxy route list)"


def _remembered(absence: Any) -> str:
    return f"{_several(absence.pods, 'pod')} remembered for another {period(absence.remaining)}"


def _verdict(findings: List[Finding], terminal: Terminal) -> Iterator[str]:
    if not findings:
        yield terminal.paint("all is well", Mark.GOOD)
    for finding in findings:
        head = f"{finding.level.name.lower()}: "
        first, *rest = terminal.wrap(finding.text, head, " " * len(head))
        yield terminal.paint(head[:-1], _MARKS[finding.level]) + first[len(head) - 1 :]
        yield from rest


def as_json(seen: Seen, findings: List[Finding]) -> Dict[str, Any]:
    """The daemon's messages as they are, what has been seen of the node, and the verdict, for ``json.dumps``."""
    told = {"daemon": None, "runtimes": [], "clients": []} if seen.answer is None else _dict(seen.answer)
    return {
        "level": level_of(findings).name.lower(),
        "findings": [{"level": finding.level.name.lower(), "text": finding.text} for finding in findings],
        "at": seen.at,
        "socket": seen.socket,
        "silence": seen.silence,
        **told,
        "node": None if seen.node is None else _node(seen.node),
        "left": None if seen.left is None else list(map(_pod, seen.left)),
    }


def _pod(pod: LeftPod) -> Dict[str, Any]:
    return {"name": pod.name, "id": pod.id, "ready": pod.ready}


def _node(node: Report) -> Dict[str, Any]:
    return {
        "turnedOver": node.turned_over,
        "kubeletVersion": node.kubelet,
        "systemd": node.managed,
        "units": [
            {"name": unit.name, "condition": unit.condition.name.lower(), "text": unit.text, "restarts": unit.restarts}
            for unit in node.units
        ],
    }


def _dict(message: Any) -> Dict[str, Any]:
    """A message with all its fields: programs need not know what a default is."""
    convert: Any = MessageToDict
    try:
        made: Dict[str, Any] = convert(message, always_print_fields_with_no_presence=True)
    except TypeError:  # before protobuf 26
        made = convert(message, including_default_value_fields=True)
    return made
