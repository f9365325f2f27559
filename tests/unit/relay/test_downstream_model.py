"""Every state of a connection of kubelet's, and every event in each: no call is lost, and the connection ends."""

from __future__ import annotations

import re
from typing import Callable, Dict, Hashable, List, NamedTuple, Set, Tuple

import pytest
from explore import Graph, explore
from scene import PRIMARY, Node

from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import GoAwayReceived
from criproxy.relay.downstream import TRANSITIONS, Drain
from criproxy.report.log import STATES

METHOD = "ContainerStatus"
CALLS = 2
"""Calls that are under way at once."""
MOST = 300
Transition = Tuple[Drain, Drain]


class Life:
    """A connection, kubelet at one end of it, and the runtime that its calls are for."""

    def __init__(self, happened: Set[Transition]) -> None:
        self.happened = happened
        self.node = Node((PRIMARY,), verbosity=STATES)
        self.cancelled: Set[int] = set()
        self.calls: List[int] = []

    # What may happen.

    def events(self) -> Dict[str, Callable[[], None]]:
        node, kubelet = self.node, self.node.kubelet
        found: Dict[str, Callable[[], None]] = {"it is to end": node.downstream.drain}
        if self._asked():
            found["the runtime answers"] = lambda: node.served[PRIMARY].answer(self._asked()[0], b"")
        if node.loop.timers:
            found["time passes"] = lambda: node.loop.advance(1.0)
        if kubelet.closed is None:
            found["kubelet hangs up"] = kubelet.close
            found["kubelet goes away"] = kubelet.connection.go_away
            found["kubelet hears" if kubelet.sock.deaf else "kubelet hangs"] = self._toggle_deaf
            if kubelet.connection.can_open and len(self._under_way()) < CALLS:
                found["a call"] = lambda: self.calls.append(node.call(METHOD, container_id="c"))
            if self._under_way():
                found["kubelet cancels"] = self._cancel
        return {name: self._settled(event) for name, event in found.items()}

    def _settled(self, event: Callable[[], None]) -> Callable[[], None]:
        def happen() -> None:
            event()
            self.node.kubelet.say()

        return happen

    def _toggle_deaf(self) -> None:
        self.node.kubelet.sock.deaf = not self.node.kubelet.sock.deaf

    def _cancel(self) -> None:
        stream_id = self._under_way()[0]
        self.cancelled.add(stream_id)
        self.node.kubelet.connection.reset(stream_id, ErrorCode.CANCEL)

    # What there is.

    def _asked(self) -> List[int]:
        """The calls that the runtime has."""
        served = self.node.served[PRIMARY].connection
        return [stream_id for stream_id in self.node.asked(PRIMARY, METHOD) if served.knows(stream_id)]

    def _under_way(self) -> List[int]:
        """The calls that kubelet has not heard the end of."""
        return [
            stream_id
            for stream_id in self.calls
            if stream_id not in self.cancelled and self.node.answer(stream_id)[2::3] == (None, None)
        ]

    def state(self) -> Hashable:
        kubelet, downstream = self.node.kubelet, self.node.downstream
        return (
            downstream.state,
            len(downstream.calls),
            len(self._asked()),
            len(self._under_way()),
            len(kubelet.heard(GoAwayReceived)),
            kubelet.connection.going_away,
            kubelet.sock.deaf,
            kubelet.closed is not None,
            downstream.connection.going_away,
        )

    def check(self) -> None:
        log = self.node.text.getvalue()
        changes = re.findall(r"of a client \(.*\): ([A-Z]+) -> ([A-Z]+)\n", log)
        self.happened.update((Drain[before], Drain[after]) for before, after in changes)
        assert "internal error" not in log
        downstream, kubelet = self.node.downstream, self.node.kubelet
        for stream_id in self.calls:
            answer = self.node.answer(stream_id)
            assert answer.code is None or answer.reset is None, "a call that ends twice"
            assert answer.code in (None, 0), "a call that has not been answered by the runtime"
        if downstream.state is Drain.CLOSED:
            assert not downstream.calls
            assert not self._asked(), "the runtime works for nobody"
            assert not self.node.loop.timers
        elif kubelet.closed is None and not kubelet.sock.deaf:
            # What kubelet waits for, the relay knows of.
            assert len(self._under_way()) == len(downstream.calls)


class Explored(NamedTuple):
    """All lives that a connection can have."""

    graph: Graph
    happened: Set[Transition]


@pytest.fixture(scope="module")
def explored() -> Explored:
    happened: Set[Transition] = set()
    return Explored(explore(lambda: Life(happened), MOST), happened)


def test_no_event_is_forbidden_in_any_state_and_each_transition_of_the_table_happens(explored: Explored) -> None:
    assert explored.happened == {(before, after) for before in Drain for after in TRANSITIONS[before]}


def test_every_state_leads_to_the_end(explored: Explored) -> None:
    assert explored.graph.stuck(lambda state: state[0] is Drain.CLOSED) == []  # type: ignore[index]


def test_a_drain_needs_nobody_but_the_runtime_and_time(explored: Explored) -> None:
    """Whatever kubelet does not do."""
    graph = Graph()
    graph.paths = explored.graph.paths
    for state, ways in explored.graph.ways.items():
        alone = {"it is to end", "the runtime answers", "time passes", "kubelet hears"}
        graph.ways[state] = {event: after for event, after in ways.items() if event in alone}
    assert graph.stuck(lambda state: state[0] is Drain.CLOSED) == []  # type: ignore[index]
