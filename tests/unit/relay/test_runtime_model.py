"""Every state of a runtime, and every event in each: none is forbidden, and each state has a way out."""

from __future__ import annotations

import errno
import io
import re
from typing import Any, Callable, Dict, Hashable, List, NamedTuple, Set, Tuple

import pytest
from explore import Graph, explore
from playbook import UNIMPLEMENTED, ClockLoop, FakeRuntime, RecordingSink, socketpair

from criproxy.cri.identity import Runtimes
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import HeadersReceived
from criproxy.http2.grpc import RpcError, request_head
from criproxy.relay.runtime import TRANSITIONS, Runtime, State
from criproxy.relay.upstream import Upstream
from criproxy.report.log import STATES, Log
from criproxy.report.stream import StreamOutput

CALLS = 2
"""Calls that are under way at once."""
MOST = 1_000
PATIENCE = 3.0
NOT_READY = UNIMPLEMENTED.replace(b"12", b"14")
WIRE = request_head("/runtime.v1.RuntimeService/Status").wire
Transition = Tuple[State, State]
WANTED = frozenset(State) - {State.DRAINING, State.RETIRED}


class Waiter:
    """A call that waits for the runtime."""

    def __init__(self) -> None:
        self.told = 0

    def on_available(self, upstream: Upstream) -> None:
        self.told += 1

    def on_unavailable(self, error: RpcError) -> None:
        self.told += 1


class Life:
    """A runtime, the processes that serve its socket one after the other, and its calls."""

    def __init__(self, id: str, happened: Set[Transition]) -> None:
        self.loop = ClockLoop()
        self.text = io.StringIO()
        self.happened = happened
        """The transitions of all lives so far; those of this one are added."""
        self.serving = self.deaf = False
        self.refusal = b""
        self.peers: List[FakeRuntime] = []
        self.sinks: List[RecordingSink] = []
        self.waiters: List[Waiter] = []
        self.left: Set[int] = set()
        runtimes = Runtimes([id] if id else [])
        names = runtimes.alternatives[0] if id else runtimes.primary
        self.runtime = Runtime(
            self.loop.real, Log(STATES, StreamOutput(self.text)), names, "/run/x.sock", self._on_change, dial=self._dial
        )
        self.runtime.connect()
        self.loop.settle()

    def _dial(self, path: str) -> Any:
        if not self.serving:
            raise OSError(errno.ENOENT, "No such file or directory")
        ours, theirs = socketpair(self.loop)
        theirs.deaf = self.deaf
        self.peers.append(FakeRuntime(self.loop, theirs, self.refusal))
        return ours

    def _on_change(self, runtime: Runtime) -> None:
        assert (runtime.available is not None) == (runtime.state is State.UP)

    # What may happen.

    def events(self) -> Dict[str, Callable[[], None]]:
        found: Dict[str, Callable[[], None]] = {
            "its socket goes" if self.serving else "its socket comes": self._toggle_serving,
            "it hears" if self.deaf else "it hangs": self._toggle_deaf,
            "it is ready" if self.refusal else "it is not ready": self._toggle_ready,
        }
        if self.loop.timers:
            found["time passes"] = self._pass_time
        peers = self._open_peers()
        for name, peer in (("old", peers[:-1]), ("new", peers[-1:])):
            if peer:
                found[f"its {name} connection closes"] = peer[0].close
                found[f"its {name} connection goes away"] = lambda peer=peer[0]: self._go_away(peer)  # type: ignore[misc]
        if self.runtime.available is not None and len(self._under_way()) < CALLS:
            found["a call"] = self._call
        if self._answerable():
            found["it answers"] = self._answer
        if self._under_way():
            found["a call is cancelled"] = self._cancel
        if self.runtime.upstream is not None:
            found["it is asked for a sign of life"] = self._ping
        if self._waiting():
            found["the waiter leaves"] = self._leave
        elif self.runtime.available is None:
            found["a call waits"] = self._wait
        if self.runtime.state in WANTED:
            found["it is retired"] = self.runtime.retire
        if self.runtime.state is not State.RETIRED:
            found["criproxy stops"] = self.runtime.stop
        return {name: self._settled(event) for name, event in found.items()}

    def _settled(self, event: Callable[[], None]) -> Callable[[], None]:
        def happen() -> None:
            event()
            self.loop.settle()

        return happen

    def _toggle_serving(self) -> None:
        self.serving = not self.serving

    def _toggle_deaf(self) -> None:
        self.deaf = not self.deaf
        for peer in self.peers:
            peer.sock.deaf = self.deaf

    def _toggle_ready(self) -> None:
        self.refusal = b"" if self.refusal else NOT_READY
        for peer in self.peers:
            peer.refusal = self.refusal

    def _pass_time(self) -> None:
        """Until the next timer is due."""
        self.loop.advance(max(0.0, self.loop.due - self.loop.now))

    def _go_away(self, peer: FakeRuntime) -> None:
        peer.connection.go_away()
        peer.say()

    def _call(self) -> None:
        assert self.runtime.available is not None
        self.sinks.append(RecordingSink())
        self.runtime.available.open(self.sinks[-1], WIRE, b"")

    def _answerable(self) -> List[Tuple[FakeRuntime, int]]:
        return [
            (peer, event.stream_id)
            for peer in self._open_peers()
            for event in peer.heard(HeadersReceived)
            if peer.connection.knows(event.stream_id)
        ]

    def _answer(self) -> None:
        peer, stream_id = self._answerable()[0]
        peer.answer(stream_id)

    def _cancel(self) -> None:
        sink = self._under_way()[0]
        self.left.add(id(sink))
        for upstream in (self.runtime.upstream, *self.runtime._old):
            if upstream is not None and upstream._sinks.get(sink.stream_id) is sink:
                upstream.cancel(sink, ErrorCode.CANCEL)
                return
        raise AssertionError("a call that is on no connection, and has not ended")

    def _ping(self) -> None:
        assert self.runtime.upstream is not None
        self.runtime.upstream.check_liveness()

    def _wait(self) -> None:
        self.waiters.append(Waiter())
        self.runtime.wait(self.waiters[-1], PATIENCE)

    def _leave(self) -> None:
        waiter = self._waiting()[0]
        self.left.add(id(waiter))
        self.runtime.leave(waiter)

    # What there is.

    def _open_peers(self) -> List[FakeRuntime]:
        """Those whose connection neither end has closed."""
        return [peer for peer in self.peers if peer.closed is None and not peer.sock.peer.closed]

    def _under_way(self) -> List[RecordingSink]:
        return [sink for sink in self.sinks if not sink.ends and id(sink) not in self.left]

    def _waiting(self) -> List[Waiter]:
        return [waiter for waiter in self.waiters if not waiter.told and id(waiter) not in self.left]

    def state(self) -> Hashable:
        peers = self._open_peers()
        upstream = self.runtime.upstream
        return (
            self.runtime.state,
            self.serving,
            self.deaf,
            bool(self.refusal),
            min(3, len(peers)),
            bool(peers) and peers[-1].connection.going_away,
            len(self._under_way()),
            bool(self._answerable()),
            len(self._waiting()),
            upstream is not None and upstream._pinged is not None,
        )

    def check(self) -> None:
        runtime = self.runtime
        self.happened.update(
            (State[before], State[after])
            for before, after in re.findall(r": ([A-Z]+) -> ([A-Z]+)\n", self.text.getvalue())
        )
        assert (runtime.available is not None) == (runtime.state is State.UP)
        assert all(sink.ends + (id(sink) in self.left) <= 1 for sink in self.sinks), "a call that ends twice"
        assert all(waiter.told + (id(waiter) in self.left) <= 1 for waiter in self.waiters), "a waiter told twice"
        if runtime.state is State.RETIRED:
            assert self.loop.timers == len(self._waiting())
            assert not self.loop.watched - {peer.transport.fd for peer in self.peers}
        elif runtime.state is not State.DRAINING:
            # Whatever it waits for comes: a timer, or the runtime's next word on a connection.
            assert self.loop.timers or self._open_peers()


class Explored(NamedTuple):
    """All lives that a runtime can have."""

    graph: Graph
    happened: Set[Transition]


@pytest.fixture(scope="module", params=["", "alt.test"], ids=["primary", "alternative"])
def explored(request: pytest.FixtureRequest) -> Explored:
    happened: Set[Transition] = set()
    return Explored(explore(lambda: Life(request.param, happened), MOST), happened)


def state_of(state: Any) -> State:
    found: State = state[0]
    return found


def test_no_event_is_forbidden_in_any_state_and_each_transition_of_the_table_happens(explored: Explored) -> None:
    assert explored.happened == {(before, after) for before in State for after in TRANSITIONS[before]}


def test_every_state_leads_to_the_end(explored: Explored) -> None:
    assert explored.graph.stuck(lambda state: state_of(state) is State.RETIRED) == []


def test_a_runtime_that_is_looked_for_can_always_be_found(explored: Explored) -> None:
    assert explored.graph.stuck(lambda state: state_of(state) not in WANTED or state_of(state) is State.UP) == []


def test_what_waits_and_what_is_under_way_has_an_end(explored: Explored) -> None:
    assert explored.graph.stuck(lambda state: not (state[6] or state[8])) == []  # type: ignore[index]
