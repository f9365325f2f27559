"""What is counted of calls, against a plain version that keeps every call."""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playbook import ClockLoop, socketpair
from scene import ALT, PRIMARY, Node, message

from criproxy.cri.methods import METHODS, Method
from criproxy.http2.connection import Connection
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import Code
from criproxy.relay import statistics
from criproxy.relay.statistics import (
    BOUNDS,
    CODES,
    MINUTES,
    OTHER,
    CallStatistics,
    RuntimeStatistics,
    Traffic,
    quantile,
)
from criproxy.relay.transport import Transport

LONG_LIVED = "GetContainerEvents"
NAMES = ("StartContainer", "ListContainers", LONG_LIVED, OTHER)
CONTAINER = f"{ALT}__c"


class Ended(NamedTuple):
    """A call, and how long after the one before it it ended, seconds."""

    name: str
    code: int
    took: float
    pause: float
    opened: bool
    own: bool


ENDED = st.builds(
    Ended,
    st.sampled_from(NAMES),
    st.integers(-1, 20),
    st.one_of(st.sampled_from(BOUNDS), st.floats(0, 1000)),
    st.floats(0, 200),
    st.booleans(),
    st.booleans(),
)


def row(name: str) -> Optional[Method]:
    return METHODS.get(name)


def code_of(status: int) -> int:
    return status if status in range(CODES) else int(Code.UNKNOWN)


def class_of(seconds: float) -> int:
    return next((place for place, bound in enumerate(BOUNDS) if seconds <= bound), len(BOUNDS))


def counted(places: List[int], size: int) -> List[int]:
    return [places.count(place) for place in range(size)]


@given(st.lists(ENDED, max_size=40), st.floats(0, 1e6), st.floats(0, 400))
def test_the_counts_of_a_runtime_are_those_of_all_its_calls(calls: List[Ended], start: float, later: float) -> None:
    now = start
    found = RuntimeStatistics(lambda: now)
    ends, spans = [], []
    for call in calls:
        now += call.pause
        asked_at = now - call.took
        assert found.end(row(call.name), call.code, asked_at, call.opened, call.own) == now
        ends.append(now)
        spans.append(now - asked_at)
    now += later
    timed = [call.opened and call.name != LONG_LIVED for call in calls]
    for name in NAMES:
        own = [index for index, call in enumerate(calls) if call.name == name]
        if not own:
            assert name not in found.methods
            continue
        method = found.methods[name]
        assert method.codes == counted([code_of(calls[index].code) for index in own], CODES)
        times = [spans[index] for index in own if timed[index]]
        assert method.times.counts == counted(list(map(class_of, times)), len(BOUNDS) + 1)
        assert method.times.sum == pytest.approx(sum(times))
    recent = found.recent()
    late = [index for index, end in enumerate(ends) if end // 60 > now // 60 - MINUTES and not calls[index].own]
    assert recent.codes == counted([code_of(calls[index].code) for index in late], CODES)
    assert recent.counts == counted([class_of(spans[index]) for index in late if timed[index]], len(BOUNDS) + 1)


@given(st.lists(st.floats(0, 99), min_size=1, max_size=60), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_in_the_class_of_the_call_that_it_is_of(times: List[float], share: float) -> None:
    counts = counted(list(map(class_of, times)), len(BOUNDS) + 1)
    exact = sorted(times)[max(1, math.ceil(share * len(times))) - 1]
    found = quantile(counts, share)
    place = class_of(exact)
    assert (BOUNDS[place - 1] if place else 0.0) <= found <= BOUNDS[place]


def test_a_quantile_of_nothing_and_of_what_is_longer_than_all_bounds() -> None:
    assert quantile([0] * (len(BOUNDS) + 1), 0.5) == 0.0
    assert quantile([*[0] * len(BOUNDS), 3], 0.5) == BOUNDS[-1]


def test_bounds_are_the_numbers_that_people_write() -> None:
    assert [repr(bound) for bound in BOUNDS[:4]] == ["1e-05", "2e-05", "5e-05", "0.0001"]
    assert sorted(BOUNDS) == BOUNDS
    assert BOUNDS[-4:] == [10.0, 20.0, 50.0, 100.0]


@given(st.lists(st.text(max_size=10), max_size=30))
def test_names_that_somebody_makes_up_are_one_key(names: List[str]) -> None:
    calls = CallStatistics()
    for name in names:
        calls.end(METHODS.get(f"No{name}"), Code.UNIMPLEMENTED, 0.1, 0.1)
    assert set(calls.methods) <= {OTHER}


# In the relay.


def of(node: Node, id: str, method: str) -> statistics.MethodStatistics:
    return node.runtimes[id].statistics.methods[method]


def test_a_call_is_counted_with_the_runtimes_part_of_its_time() -> None:
    node = Node()
    stream = node.call("StopContainer", container_id=CONTAINER)
    node.loop.advance(0.3)
    node.give(ALT, "StopContainer", b"")
    assert node.answer(stream).code == Code.OK
    (call,) = node.context.statistics.methods.values()
    assert call.codes[Code.OK] == 1
    assert [call.times.sum, call.own.sum] == pytest.approx([0.3, 0.0])
    assert of(node, ALT, "StopContainer").times.sum == pytest.approx(0.3)
    assert "StopContainer" not in node.runtimes[PRIMARY].statistics.methods


def test_a_list_is_one_call_of_kubelets_and_one_of_each_runtimes() -> None:
    node = Node()
    node.call("ListImages")
    node.loop.advance(0.1)
    node.give(PRIMARY, "ListImages", b"")
    node.loop.advance(0.2)
    node.give(ALT, "ListImages", b"")
    assert of(node, PRIMARY, "ListImages").times.sum == pytest.approx(0.1)
    assert of(node, ALT, "ListImages").times.sum == pytest.approx(0.3)
    call = node.context.statistics.methods["ListImages"]
    assert sum(call.codes) == call.codes[Code.OK] == 1
    assert [call.times.sum, call.own.sum] == pytest.approx([0.3, 0.0])


def test_a_runtime_that_is_given_up_has_exceeded_the_deadline() -> None:
    node = Node()
    node.call("ListImages")
    node.give(PRIMARY, "ListImages", b"")
    node.loop.advance(5.1)
    assert of(node, ALT, "ListImages").codes[Code.DEADLINE_EXCEEDED] == 1
    assert node.context.statistics.methods["ListImages"].codes[Code.OK] == 1


@pytest.mark.parametrize(("method", "fields"), [("StopContainer", {"container_id": CONTAINER}), ("ListImages", {})])
def test_a_call_that_kubelet_cancels_is_counted_once(method: str, fields: Dict[str, Any]) -> None:
    node = Node()
    stream = node.call(method, **fields)
    node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
    node.kubelet.say()
    assert node.context.statistics.methods[method].codes == counted([Code.CANCELLED], CODES)
    assert of(node, ALT, method).codes == counted([Code.CANCELLED], CODES)


def test_a_call_for_a_runtime_that_is_away_is_an_error_without_a_time() -> None:
    node = Node()
    node.lose(ALT)
    node.call("StopContainer", container_id=CONTAINER)
    there = of(node, ALT, "StopContainer")
    assert there.codes[Code.UNAVAILABLE] == 1
    assert sum(there.times.counts) == 0


def test_a_stream_of_events_is_counted_without_a_time() -> None:
    node = Node()
    node.call(LONG_LIVED)
    node.loop.advance(3600)
    node.lose(ALT)
    call = node.context.statistics.methods[LONG_LIVED]
    assert call.codes[Code.UNAVAILABLE] == 1
    assert sum(call.times.counts) == 0


def test_refused_and_unknown_calls_are_other_calls() -> None:
    node = Node()
    node.call_path("/some.Service/Method", b"")
    node.give(PRIMARY, "Method", b"")
    assert node.context.statistics.methods[OTHER].codes[Code.OK] == 1
    assert node.runtimes[PRIMARY].statistics.methods[OTHER].codes[Code.OK] == 1


def test_what_a_list_has_not_waited_for_and_has_been_without_is_counted_by_runtime() -> None:
    node = Node()
    node.call("ListImages")
    node.give(PRIMARY, "ListImages", b"")
    node.loop.advance(5.1)
    there, primary = node.runtimes[ALT].statistics, node.runtimes[PRIMARY].statistics
    assert [there.late, there.missing, there.cut] == [1, 1, 0]
    assert [primary.late, primary.missing, primary.cut] == [0, 0, 0]


def test_a_list_of_which_an_entry_is_left_out_is_counted() -> None:
    node = Node()
    for _ in range(2):
        node.call("ListContainers")
        node.give(PRIMARY, "ListContainers", b"")
        node.give(
            ALT, "ListContainers", message("ListContainersResponse", containers=[{"id": "a"}]) + b"\x0a\x02\x0a\x7f"
        )
    assert [node.runtimes[ALT].statistics.cut, node.runtimes[PRIMARY].statistics.cut] == [2, 0]


def test_a_list_that_does_not_fit_is_counted_as_one_of_which_something_is_left_out() -> None:
    node = Node(max_message_size=300)
    body = message("ListContainersResponse", containers=[{"id": "c" * 40} for _ in range(5)])
    node.call("ListContainers")
    node.give(PRIMARY, "ListContainers", body)
    node.give(ALT, "ListContainers", body)
    assert node.runtimes[ALT].statistics.cut == 1


def test_the_size_of_a_whole_list_is_that_of_the_last_one() -> None:
    node = Node()

    def listed(body: bytes, **fields: Any) -> Dict[str, int]:
        node.call("ListImages", **fields)
        node.give(PRIMARY, "ListImages", body)
        node.give(ALT, "ListImages", b"")
        return node.runtimes[PRIMARY].statistics.lists

    large, small = (message("ListImagesResponse", images=[{"id": "i" * size}]) for size in (5, 3))
    assert listed(large) == {"ListImages": len(large)}
    assert listed(small) == {"ListImages": len(small)}
    assert listed(large, filter={"image": {"image": "some"}}) == {"ListImages": len(small)}


def test_a_runtime_is_counted_each_time_that_it_is_found() -> None:
    node = Node()
    assert node.runtimes[ALT].statistics.found == 1
    node.lose(ALT)
    node.find(ALT)
    assert node.runtimes[ALT].statistics.found == 2


def test_what_is_read_and_written_is_counted_on_all_connections_of_a_runtime() -> None:
    node = Node()
    traffic = node.runtimes[ALT].statistics.traffic
    received, sent = traffic.received, traffic.sent
    assert min(received, sent) > 0
    node.lose(ALT)
    node.find(ALT)
    assert traffic.received >= 2 * received
    assert traffic.sent >= 2 * sent


def test_what_a_slow_reader_takes_late_is_counted_when_it_takes_it() -> None:
    loop, traffic = ClockLoop(), Traffic()
    ours, theirs = socketpair(loop)
    theirs.room = 1
    connection = Connection(client=True)
    Transport(loop.real, ours, connection, lambda events: None, lambda reason: None, traffic)
    loop.settle()
    assert traffic.sent == 1
    theirs.room = 1 << 20
    heard = 0
    loop.settle()
    while theirs.readable:
        heard += len(theirs.recv(1 << 20))
        loop.settle()
    assert traffic.sent == heard > 1
