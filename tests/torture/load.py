"""One client of the load: calls at a rate, each answer checked, a line of standard output for each call.

    python -m tests.torture.load SOCKET NAME MIX RATE CALLS

RATE: calls a second, which go out when they are due whatever the ones before do; 0: as many as are answered. CALLS:
after so many it ends, 0: at SIGTERM, each time once all calls are over. The client is grpcio's, which is nobody's of
this project.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from itertools import count, cycle
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import grpc
from google.protobuf.message import DecodeError

from criproxy.cri.messages import api
from criproxy.cri.schema import load
from tests.bench.kubelet import intervals
from tests.torture.answers import ALTERNATIVE, CALL, ID, LISTED, LISTINGS, PRIMARY, RUNTIME, outer, written

BOTH = "both"
"""The owner of a call that goes to both runtimes."""
NOBODY = "nobody"
"""No runtime's fault explains it."""
OK = "ok"
LOST = "lost"
MIXED = "mixed"
TORTURE = "torture"
KUBELET = "kubelet"

DEADLINE = 15.0
"""Of each call, seconds: three times as long as criproxy may wait for a runtime."""
_LARGEST = 16 * 2**20
"""What kubelet takes, bytes."""
_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
)
_AT_ONCE = 16
"""Calls under way where there is no rate."""
_MOST = 2_000
"""Calls under way where there is one: whoever has as many waits."""

Found = Tuple[str, str, str]
"""An outcome, whose fault would explain it, and what was seen."""


class Record(NamedTuple):
    """One call that is over."""

    begin: float
    end: float
    """seconds, of the system's monotonic clock"""
    owner: str
    outcome: str
    blame: str
    detail: str = ""

    def line(self) -> str:
        """As it is written."""
        detail = " ".join(self.detail.split())[:200]
        return f"{self.begin:.6f} {self.end:.6f} {self.owner} {self.outcome} {self.blame} {detail}"

    @classmethod
    def read(cls, line: str) -> Record:
        """As it was written."""
        begin, end, owner, outcome, blame, *detail = line.rstrip("\n").split(" ", 5)
        return cls(float(begin), float(end), owner, outcome, blame, *detail)


class Kind(NamedTuple):
    """A kind of call: what is asked, given the call's own word, and what of the answer is not as it must be."""

    owner: str
    method: str
    request: Callable[[str], Dict[str, Any]]
    check: Callable[[str, Any], Found]


def _right(call: str, answer: Any) -> Found:
    return OK, NOBODY, ""


def _status_of(owner: str) -> Kind:
    def check(call: str, answer: Any) -> Found:
        found, wanted = (answer.status.id, answer.status.labels.get(RUNTIME)), (outer(owner, call), owner)
        return (OK, NOBODY, "") if found == wanted else (MIXED, owner, f"{found} instead of {wanted}")

    return Kind(owner, "ContainerStatus", lambda call: {"container_id": outer(owner, call)}, check)


def _exec_on(owner: str) -> Kind:
    def check(call: str, answer: Any) -> Found:
        right = answer.stdout == written(owner, call)
        return (OK, NOBODY, "") if right else (MIXED, owner, f"{answer.stdout[:60]!r} for {owner} {call}")

    return Kind(owner, "ExecSync", lambda call: {"container_id": outer(owner, "c"), "cmd": [call]}, check)


def _list_of_both(method: str) -> Kind:
    def check(call: str, answer: Any) -> Found:
        return check_list(call, LISTINGS[method].entries(answer))

    return Kind(BOTH, method, lambda call: {"filter": {"label_selector": {CALL: call}}}, check)


def check_list(call: str, entries: Sequence[Any]) -> Found:
    """Whether a list has all entries of both runtimes, and nothing that was meant for another call."""
    counts = {PRIMARY: 0, ALTERNATIVE: 0}
    for listed in entries:
        owner = ALTERNATIVE if listed.id.startswith(f"{ID}__") else PRIMARY
        if listed.labels.get(CALL, call) != call or listed.labels.get(RUNTIME, owner) != owner:
            return MIXED, owner, f"{listed.id} of {dict(listed.labels)} in the list of {call}"
        counts[owner] += CALL in listed.labels
    for owner, number in counts.items():
        if number < LISTED:
            return LOST, owner, f"a list with {number} entries of the {owner} runtime"
    return OK, NOBODY, ""


def _unchecked(method: str) -> Kind:
    """Its answer is the same for every call: it has to be a message, and no more can be said."""
    return Kind(BOTH, method, lambda call: {}, _right)


_LISTS = tuple(map(_list_of_both, LISTINGS))
_CHECKED = {
    "ContainerStatus": (_status_of(PRIMARY), _status_of(ALTERNATIVE)),
    "ExecSync": (_exec_on(PRIMARY), _exec_on(ALTERNATIVE)),
    **{kind.method: (kind,) for kind in _LISTS},
}
_TORTURE = (
    *((_status_of(PRIMARY),) * 7),
    *((_status_of(ALTERNATIVE),) * 4),
    *(_exec_on(PRIMARY), _exec_on(ALTERNATIVE)),
    *_LISTS,
    _unchecked("Status"),
)


def kubelets() -> List[Kind]:
    """A kubelet's calls in the numbers in which it makes them; what nothing can be checked of is made, too."""
    every = intervals()
    rarest = max(every.values())
    found = []
    for method, interval in sorted(every.items()):
        kinds = _CHECKED.get(method) or (_unchecked(method),)
        found += [(number * interval, kind) for number, kind in zip(range(round(rarest / interval)), cycle(kinds))]
    return [kind for _, kind in sorted(found, key=lambda one: one[0])]


def mix(name: str) -> Sequence[Kind]:
    """The calls that are made, in turn."""
    return kubelets() if name == KUBELET else _TORTURE


def judged(kind: Kind, call: str, answer: bytes) -> Found:
    """What an answer is. One that is no message nobody's fault explains: kubelet must be able to read all it gets."""
    try:
        parsed = api()[load().methods[kind.method].response].FromString(answer)
    except DecodeError as error:
        return LOST, NOBODY, f"{kind.method}: the answer is no message: {error}"
    return kind.check(call, parsed)


class Caller:
    """Makes calls, and writes of each one that is over."""

    def __init__(self, path: str, name: str, kinds: Sequence[Kind], write: Callable[[Record], None]) -> None:
        self._name = name
        self._write = write
        self._numbers = count()
        self._kinds = cycle(kinds)
        channel: Any = grpc.insecure_channel(f"unix:{path}", options=_OPTIONS)
        self._stubs: Dict[str, Any] = {}
        for kind in kinds:
            rpc = load().methods[kind.method]
            self._stubs[kind.method] = channel.unary_unary(f"/runtime.v1.{rpc.service}/{kind.method}")

    def start(self, done: Callable[[], None]) -> None:
        """Makes the next call; ``done`` is called when it is over."""
        kind, call = next(self._kinds), f"{self._name}-{next(self._numbers)}"
        request = api()[load().methods[kind.method].request](**kind.request(call))
        begin = time.monotonic()
        future = self._stubs[kind.method].future(request.SerializeToString(), timeout=DEADLINE)

        def on_done(over: Any) -> None:
            end = time.monotonic()
            if over.code() is grpc.StatusCode.OK:
                found = judged(kind, call, over.result())
            else:
                blame = PRIMARY if kind.owner == BOTH else kind.owner
                found = LOST, blame, f"{kind.method} {over.code().name}: {over.details()}"
            self._write(Record(begin, end, kind.owner, *found))
            done()

        future.add_done_callback(on_done)


def main() -> None:
    """Calls until it is told to end."""
    path, name, kinds, rate, calls = sys.argv[1:]
    interval = 1 / float(rate) if float(rate) else 0.0
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: over.set())
    most = _MOST if interval else _AT_ONCE
    room = threading.Semaphore(most)
    caller = Caller(path, name, mix(kinds), lambda record: print(record.line(), flush=True))
    due = time.monotonic()
    for _ in range(int(calls)) if int(calls) else count():
        due += interval
        if over.wait(max(0.0, due - time.monotonic())):
            break
        room.acquire()
        caller.start(room.release)
    for _ in range(most):
        room.acquire()


if __name__ == "__main__":
    main()
