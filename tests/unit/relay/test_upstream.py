"""One connection to a runtime: its streams, from the request to each of their ends, and whether the runtime lives."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest
from playbook import ClockLoop, Peer, RecordingSink, socketpair

from criproxy.cri.identity import Runtimes
from criproxy.http2 import frames
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import DataReceived, HeadersReceived, StreamReset
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, RpcError, prefix, request_head
from criproxy.relay.upstream import LARGE_REQUEST, LIVENESS_TIMEOUT, MOST_UNREAD, STREAM_WINDOW, Parting, Upstream

WIRE = request_head("/runtime.v1.RuntimeService/Status").wire


class Owner:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.names = Runtimes([]).primary
        self.told: List[Tuple[Any, ...]] = []

    def __str__(self) -> str:
        return "the primary runtime"

    def on_silence(self, upstream: Upstream) -> None:
        self.told.append(("silence", upstream.silent))

    def on_heard(self, upstream: Upstream) -> None:
        self.told.append(("heard", upstream.silent))

    def on_going_away(self, upstream: Upstream, parting: Parting) -> None:
        self.told.append(("going away", *parting))

    def on_closed(self, upstream: Upstream, reason: str) -> None:
        self.told.append(("closed", reason))


class Scene:
    """An upstream and a runtime at its other end."""

    def __init__(self, max_streams: int = 1_000) -> None:
        self.loop = ClockLoop()
        self.owner = Owner()
        ours, theirs = socketpair(self.loop)
        self.upstream = Upstream(self.loop.real, ours, self.owner)
        self.peer = Peer(self.loop, theirs, max_streams=max_streams)
        self.loop.settle()

    def open(self, data: bytes = prefix(0)) -> RecordingSink:
        """A stream with its request."""
        sink = RecordingSink()
        self.upstream.open(sink, WIRE, data)
        self.loop.settle()
        return sink


def test_a_stream_hears_its_response_and_ends_once() -> None:
    scene = Scene()
    sink = scene.open()
    assert sink.told == [("opened",)]
    assert [event.stream_id for event in scene.peer.heard(HeadersReceived)] == [1]
    assert [event.end_stream for event in scene.peer.heard(DataReceived)] == [True]
    scene.peer.answer(1, b"abc")
    assert sink.told[1:] == [("headers", None, False), ("data", prefix(3) + b"abc", False), ("headers", b"0", True)]
    scene.peer.close()
    assert sink.ends == 1
    assert scene.upstream.under_way == 0


def test_a_request_that_the_runtime_takes_later_waits_for_a_stream_to_end() -> None:
    scene = Scene(max_streams=1)
    first, second, third = scene.open(), scene.open(), scene.open()
    assert (second.told, third.told, scene.upstream.under_way) == ([], [], 3)
    scene.upstream.cancel(second)
    scene.peer.answer(1)
    assert (first.ends, second.told, third.told) == (1, [], [("opened",)])


def test_settings_that_allow_more_streams_open_those_that_wait() -> None:
    scene = Scene(max_streams=1)
    scene.open()
    second = scene.open()
    scene.peer.connection.max_streams = 2
    scene.peer.connection._out.append(frames.settings([(frames.SETTINGS_MAX_CONCURRENT_STREAMS, 2)]))
    scene.peer.say()
    assert second.told == [("opened",)]


def test_a_cancelled_stream_is_reset_and_hears_nothing_more() -> None:
    scene = Scene()
    sink = scene.open()
    scene.upstream.cancel(sink)
    scene.loop.settle()
    assert scene.peer.heard(StreamReset) == [StreamReset(1, ErrorCode.CANCEL)]
    scene.peer.answer(1)
    scene.peer.close()
    assert sink.told == [("opened",)]


def test_a_runtime_that_resets_a_stream_says_why() -> None:
    scene = Scene()
    sink = scene.open()
    scene.peer.connection.reset(1, ErrorCode.REFUSED_STREAM)
    scene.peer.say()
    assert sink.told == [("opened",), ("reset", ErrorCode.REFUSED_STREAM)]


def test_a_response_before_the_end_of_its_request_ends_the_request() -> None:
    scene = Scene()
    sink = RecordingSink()
    scene.upstream.open(sink, WIRE, None)
    scene.loop.settle()
    scene.peer.answer(1)
    assert sink.ends == 1
    assert scene.peer.heard(StreamReset) == [StreamReset(1, ErrorCode.NO_ERROR)]


def test_data_that_waits_for_a_window_is_told_when_it_leaves() -> None:
    scene = Scene()
    size = frames.DEFAULT_WINDOW + 1000
    sink = scene.open(bytes(size))
    assert sink.told == [("opened",)]
    scene.peer.connection.consumed(1, frames.DEFAULT_WINDOW)
    scene.peer.say()
    assert sink.told[1:] == [("sent", 1000)]


def test_a_runtime_that_has_stopped_reading_gets_no_more_large_requests_and_small_ones_wait() -> None:
    scene = Scene()
    scene.peer.sock.deaf = True
    large = bytes(4 * LARGE_REQUEST)
    while scene.upstream.unread <= MOST_UNREAD:
        scene.open(large)
    with pytest.raises(RpcError, match=r"runtime does not read: [0-9]+ bytes of requests wait for it"):
        scene.upstream.open(RecordingSink(), WIRE, large)
    small = scene.open()
    scene.peer.sock.deaf = False
    scene.loop.settle()
    scene.peer.answer(small.stream_id)
    assert small.ends == 1


def test_what_waits_for_a_stream_counts_as_unread_until_it_is_given_up() -> None:
    scene = Scene(max_streams=0)
    sinks = [scene.open(bytes(1000)) for _ in range(3)]
    assert scene.upstream.unread == 3000
    for sink in sinks:
        scene.upstream.cancel(sink)
    assert scene.upstream.unread == 0


def test_a_response_that_nobody_takes_stops_at_the_stream_window() -> None:
    scene = Scene()
    sink = scene.open()
    scene.peer.connection.sender.headers(1, RESPONSE_HEADERS)
    scene.peer.connection.sender.data(1, bytes(2 * STREAM_WINDOW))
    scene.peer.say()

    def taken() -> int:
        return sum(len(event[1]) for event in sink.told if event[0] == "data")

    assert taken() == STREAM_WINDOW
    scene.upstream.consumed(1, STREAM_WINDOW)
    scene.loop.settle()
    assert taken() == 2 * STREAM_WINDOW


def test_a_connection_that_is_lost_ends_every_stream_and_the_owner_hears_first() -> None:
    scene = Scene(max_streams=1)
    sinks = [scene.open(), scene.open()]
    scene.peer.close()
    assert scene.owner.told == [("closed", "")]
    assert [sink.told[-1] for sink in sinks] == [("lost", "it closed the connection")] * 2
    assert not scene.loop.watched - {scene.peer.transport.fd}


def test_of_many_streams_that_lose_their_connection_others_need_not_wait_for_all() -> None:
    scene = Scene(max_streams=30)
    sinks = [scene.open() for _ in range(80)]
    scene.loop.crowded = True
    scene.peer.close()
    assert [sink.ends for sink in sinks] == [1] * 32 + [0] * 48
    for given_up in sinks[40:50]:
        scene.upstream.cancel(given_up)
    scene.loop.crowded = False
    scene.loop.settle()
    assert [sink.ends for sink in sinks] == [1] * 40 + [0] * 10 + [1] * 30


def test_goaway_refuses_what_waits_lets_what_is_open_end_and_then_closes() -> None:
    scene = Scene(max_streams=1)
    first, second = scene.open(), scene.open()
    scene.peer.connection.go_away()
    scene.peer.say()
    assert scene.owner.told == [("going away", "it is going away", True, True)]
    assert second.told == [("reset", ErrorCode.REFUSED_STREAM)]
    scene.peer.answer(1)
    assert first.told[-1] == ("headers", b"0", True)
    assert scene.owner.told[1:] == [("closed", "")]


@pytest.mark.parametrize("seen", [True, False])
def test_goaway_tells_whether_the_runtime_has_taken_a_call_since_it_was_found(seen: bool) -> None:
    scene = Scene()
    scene.open()
    scene.upstream.take_calls(frozenset())
    scene.open()
    scene.peer.connection._table.last_peer_id = 3 if seen else 1
    scene.peer.connection.go_away()
    scene.peer.say()
    assert scene.owner.told == [("going away", "it is going away", True, seen)]


@pytest.mark.parametrize(("code", "named"), [(ErrorCode.ENHANCE_YOUR_CALM, "ENHANCE_YOUR_CALM"), (999, "999")])
def test_goaway_with_an_error_tells_which(code: int, named: str) -> None:
    scene = Scene()
    scene.peer.connection._out.append(frames.goaway(0, code, "so \xe9 " + "x" * 1000))
    scene.peer.say()
    _, reason, graceful, _ = scene.owner.told[0]
    assert (reason[:200].rstrip("x"), graceful) == (f"it ends the connection: {named}: so \xe9 ", False)
    assert len(reason) < 300


def test_going_away_ourselves_waits_for_the_open_streams() -> None:
    scene = Scene()
    sink = scene.open()
    scene.upstream.go_away()
    scene.loop.settle()
    assert not scene.upstream.transport.closed
    scene.peer.answer(1)
    assert sink.ends == 1
    assert scene.upstream.transport.closed


def test_a_connection_with_no_stream_left_to_open_takes_the_last_and_goes_away() -> None:
    scene = Scene()
    scene.upstream.connection._table.next_id = frames.MAX_STREAM_ID
    sink = scene.open()
    assert sink.told == [("opened",)]
    assert scene.owner.told == [("going away", "its stream ids are used up", True, True)]


@pytest.mark.parametrize("end", ["answer", "cancel"])
def test_the_end_of_the_last_stream_closes_a_connection_that_goes_away(end: str) -> None:
    scene = Scene()
    sink = scene.open()
    scene.peer.connection.go_away()
    scene.peer.say()
    if end == "answer":
        scene.peer.answer(1, trailers=OK_TRAILERS)
    else:
        scene.upstream.cancel(sink)
        scene.loop.settle()
    assert scene.upstream.transport.closed


def test_a_runtime_that_answers_the_ping_is_not_silent() -> None:
    scene = Scene()
    told: List[str] = []
    scene.upstream.check_liveness(lambda: told.append("silent"))
    scene.loop.advance(10 * LIVENESS_TIMEOUT)
    assert (told, scene.owner.told, scene.upstream.silent) == ([], [], False)
    assert scene.loop.timers == 0


def test_a_runtime_that_does_not_answer_the_ping_is_silent_until_it_does() -> None:
    scene = Scene()
    told: List[int] = []
    scene.peer.sock.deaf = True
    scene.upstream.check_liveness(lambda: told.append(1))
    scene.upstream.check_liveness(lambda: told.append(2))
    scene.loop.advance(LIVENESS_TIMEOUT * 0.9)
    assert not told
    scene.loop.advance(LIVENESS_TIMEOUT * 0.2)
    assert sorted(told) == [1, 2]
    assert scene.owner.told == [("silence", True)]
    scene.upstream.check_liveness(lambda: told.append(3))
    assert told[2:] == [3]
    scene.peer.sock.deaf = False
    scene.loop.settle()
    assert scene.owner.told == [("silence", True), ("heard", False)]
    assert len(told) == 3
