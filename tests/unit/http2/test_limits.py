"""What a peer that means ill can make us do: so much a second, then the connection is over."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Tuple

import pytest
from http2_reference import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PRIORITY,
    REQUEST,
    RESPONSE,
    RST_STREAM,
    SETTINGS,
    TRAILERS,
    WINDOW_UPDATE,
    client,
    data,
    frame,
    headers,
    number,
    plain_block,
    sent,
    server,
    settings,
)

from criproxy.http2 import limits
from criproxy.http2.compiled import COMPILED
from criproxy.http2.connection import Connection
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.events import HeadersReceived, Sent, StreamReset
from criproxy.http2.headers import encode

MAX_CONTROL_FRAMES = 5_000
MAX_RESETS = 250
MAX_BLOCK_BYTES = 1_600_000
BLOCK_BYTES_A_SECOND = 100_000
"""A tenth of the real numbers: a flood takes a tenth of the time. Compiled code has the real ones."""
if COMPILED:
    MAX_CONTROL_FRAMES, MAX_RESETS = limits.MAX_CONTROL_FRAMES, limits.MAX_RESETS
    MAX_BLOCK_BYTES, BLOCK_BYTES_A_SECOND = limits.MAX_BLOCK_BYTES, limits.BLOCK_BYTES_A_SECOND


@pytest.fixture(autouse=True)
def _small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_CONTROL_FRAMES", "MAX_RESETS", "MAX_BLOCK_BYTES", "BLOCK_BYTES_A_SECOND"):
        monkeypatch.setattr(limits, name, globals()[name])


class Clock:
    """A time that stands still until it is told otherwise, seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


Flood = Callable[[int], bytes]
"""Gives so many frames."""


def streams(one: Callable[[int], bytes]) -> Flood:
    """A flood of new streams: what is sent on each, by its id."""
    ids = itertools.count(3, 2)
    return lambda count: b"".join(one(next(ids)) for _ in range(count))


def endure(connection: Connection, clock: Clock, flood: Flood, limit: int) -> None:
    """As much as the limit passes, each second anew; one frame more ends the connection."""
    connection.receive(flood(limit))
    clock.now += 1
    connection.receive(flood(limit))
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(flood(1))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def flooded(**options: Any) -> Tuple[Connection, Clock]:
    """A server's end with a request begun on stream 1, at the beginning of a second."""
    clock = Clock()
    connection = server(clock=clock, **options)
    connection.receive(headers(1, REQUEST))
    connection.data_to_send()
    clock.now += 1
    return connection, clock


_FLOODS = {
    "settings": settings(),
    "settings acknowledged": frame(SETTINGS, ACK, 0),
    "pings": frame(PING, 0, 0, bytes(8)),
    "pings acknowledged": frame(PING, ACK, 0, bytes(8)),
    "frames of an unknown type": frame(0xFA, 0, 0),
    "priorities": frame(PRIORITY, 0, 1, bytes(5)),
    "goaways": frame(GOAWAY, 0, 0, bytes(8)),
    "data frames without data": data(1, b""),
    "data frames of padding": frame(0, 0x8, 1, b"\x03\0\0\0"),
    "data frames of a byte": data(1, b"x"),
    "data frames of padding and a byte": frame(0, 0x8, 1, b"\xc8x" + bytes(200)),
    "window updates that move nothing": frame(WINDOW_UPDATE, 0, 1, number(1)),
    "connection window updates that move nothing": frame(WINDOW_UPDATE, 0, 0, number(1)),
}


@pytest.mark.parametrize("one", _FLOODS.values(), ids=_FLOODS)
def test_a_second_has_room_for_a_number_of_frames_that_move_nothing(one: bytes) -> None:
    connection, clock = flooded(stream_window=2**30)
    endure(connection, clock, lambda count: one * count, MAX_CONTROL_FRAMES)


def test_each_call_has_room_for_what_libraries_send_beside_it() -> None:
    """HAProxy gives two windows back with each answer, and has had 80,000 answers a second."""
    connection, clock = flooded()
    one = frame(WINDOW_UPDATE, 0, 0, number(1_000))
    for stream_id in range(3, 3 + 2 * MAX_CONTROL_FRAMES, 2):
        assert len(connection.receive(headers(stream_id, REQUEST, True) + one * limits.CONTROL_FRAMES_OF_A_CALL)) == 1
        connection.sender.headers(stream_id, encode(RESPONSE), True)
        connection.data_to_send()
    clock.now += 1
    endure(connection, clock, lambda count: one * count, MAX_CONTROL_FRAMES)


def waiting(count: int, **options: Any) -> Tuple[Connection, Clock]:
    """A server's end on which so many answers wait for a window, at the beginning of a second."""
    connection, clock = flooded(max_streams=count + 1, **options)
    connection.receive(settings((INITIAL_WINDOW_SIZE, 0)))
    for stream_id in range(3, 3 + 2 * count, 2):
        connection.receive(headers(stream_id, REQUEST, True))
        connection.sender.headers(stream_id, encode(RESPONSE))
        connection.sender.data(stream_id, bytes(1_000))
    connection.data_to_send()
    clock.now += 1
    return connection, clock


@pytest.mark.parametrize("stream_id", [0, 1])
def test_a_second_has_room_for_a_number_of_window_updates_beside_what_waits(stream_id: int) -> None:
    """They open windows that are open, while data waits for the window of another stream."""
    connection, clock = waiting(1)
    one = frame(WINDOW_UPDATE, 0, stream_id, number(1))
    endure(connection, clock, lambda count: one * count, MAX_CONTROL_FRAMES)


@pytest.mark.parametrize("stream_id", [0, 1], ids=["the connection's", "a stream's"])
def test_a_second_has_room_for_a_number_of_windows_opened_by_a_byte_that_waits(stream_id: int) -> None:
    """Each has us send that byte in a frame of its own."""
    connection, clock = flooded()
    if stream_id:
        connection.receive(settings((INITIAL_WINDOW_SIZE, 0)))
    else:
        connection.receive(settings((INITIAL_WINDOW_SIZE, 2**30)))
    connection.sender.data(1, bytes(100_000))
    clock.now += 1
    one = frame(WINDOW_UPDATE, 0, stream_id, number(1))
    endure(connection, clock, lambda count: one * count, MAX_CONTROL_FRAMES)


def test_a_second_has_room_for_a_number_of_windows_changed_by_settings() -> None:
    """A frame of SETTINGS costs as much as there are streams of which it changes the window."""
    connection, _ = waiting(999)
    change = settings((INITIAL_WINDOW_SIZE, 1)) + settings((INITIAL_WINDOW_SIZE, 2))
    times = (MAX_CONTROL_FRAMES - 1_000) // 2_000
    assert len(connection.receive(settings() * 100 + change * times)) == 100 + 2 * times + 999
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(change)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_second_has_room_for_a_number_of_settings_in_a_frame() -> None:
    connection, clock = flooded()
    full = settings(*[(0x7A7A, 1)] * 2_730)
    endure(connection, clock, lambda count: full * count, MAX_CONTROL_FRAMES // (1 + (len(full) - 9) // 64))


def test_a_piece_full_of_windows_opened_by_a_byte_lets_go_one_frame_a_stream() -> None:
    connection, _ = waiting(3)
    one = b"".join(frame(WINDOW_UPDATE, 0, stream_id, number(1)) for stream_id in (3, 5, 7))
    assert connection.receive(one * 100) == [Sent(3, 100), Sent(5, 100), Sent(7, 100)]
    assert len(sent(connection)) == 3


_TO_A_STREAM_THAT_IS_OVER = {
    "data": data(1, b"x"),
    "headers": headers(1, REQUEST),
    "window updates": frame(WINDOW_UPDATE, 0, 1, number(1)),
}


@pytest.mark.parametrize("one", _TO_A_STREAM_THAT_IS_OVER.values(), ids=_TO_A_STREAM_THAT_IS_OVER)
@pytest.mark.parametrize("how", ["reset", "ended"])
def test_a_second_has_room_for_a_number_of_frames_to_a_stream_that_is_over(one: bytes, how: str) -> None:
    connection, clock = flooded()
    if how == "reset":
        connection.reset(1, ErrorCode.CANCEL)
    else:
        connection.receive(data(1, b"", True))
        connection.sender.headers(1, encode(RESPONSE + TRAILERS), True)
    endure(connection, clock, lambda count: one * count, MAX_CONTROL_FRAMES)


def test_a_second_has_room_for_a_number_of_streams_that_are_refused() -> None:
    connection, clock = flooded(max_streams=1)
    endure(connection, clock, streams(lambda stream_id: headers(stream_id, REQUEST)), MAX_CONTROL_FRAMES)


def test_a_second_has_room_for_a_number_of_streams_that_come_after_our_goaway() -> None:
    connection, clock = flooded()
    connection.go_away()
    endure(connection, clock, streams(lambda stream_id: headers(stream_id, REQUEST)), MAX_CONTROL_FRAMES)


def test_a_second_has_room_for_a_number_of_resets() -> None:
    """Rapid reset, CVE-2023-44487."""
    connection, clock = flooded()
    flood = streams(lambda stream_id: headers(stream_id, REQUEST) + frame(RST_STREAM, 0, stream_id, number(8)))
    endure(connection, clock, flood, MAX_RESETS)


@pytest.mark.parametrize(
    "fault",
    [
        lambda stream_id: frame(WINDOW_UPDATE, 0, stream_id, number(0)),
        lambda stream_id: frame(WINDOW_UPDATE, 0, stream_id, number(2**31 - 1)),
        lambda stream_id: frame(PRIORITY, 0, stream_id, bytes(4)),
        lambda stream_id: headers(stream_id, [(b"grpc-status", b"0")]),
        lambda stream_id: data(stream_id, b"", True) + data(stream_id, b"x"),
        lambda stream_id: data(stream_id, bytes(11)),
    ],
    ids=["no window", "too large a window", "priority", "trailers without end", "data after the end", "too much data"],
)
def test_a_second_has_room_for_a_number_of_resets_that_we_are_made_to_send(fault: Callable[[int], bytes]) -> None:
    """Made you reset, CVE-2025-8671: the peer opens streams and breaks a rule on each, so that we end them."""
    connection, clock = flooded(stream_window=10)
    flood = streams(lambda stream_id: headers(stream_id, REQUEST) + fault(stream_id))
    endure(connection, clock, flood, MAX_RESETS)


def test_a_second_has_room_for_a_number_of_malformed_requests() -> None:
    connection, clock = flooded()
    flood = streams(lambda stream_id: headers(stream_id, [*REQUEST, (b"Upper", b"case")]))
    endure(connection, clock, flood, MAX_RESETS)


@pytest.mark.parametrize("size", [0, 10, 900])
def test_a_block_has_a_largest_number_of_small_continuations(size: int) -> None:
    """CONTINUATION flood, CVE-2024-27316: frames that add little never make the block too large."""
    connection = server()
    connection.receive(frame(HEADERS, 0, 1, plain_block(REQUEST)))
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(frame(CONTINUATION, 0, 1, bytes(size)) * 1_000)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def large(stream_id: int, size: int) -> bytes:
    """A request with a field block of ``size`` bytes and a little, in frames of the default size."""
    pieces = [b"v" * min(16_384, size - at) for at in range(0, size, 16_384)]
    begin = frame(HEADERS, 1, stream_id, plain_block([*REQUEST, (b"x", b"v" * size)])[:-size])
    rest = b"".join(frame(CONTINUATION, 0, stream_id, piece) for piece in pieces)
    return begin + rest + frame(CONTINUATION, END_HEADERS, stream_id)


def test_large_blocks_have_a_budget_and_beyond_it_only_their_streams_end() -> None:
    connection, clock = flooded()
    size = MAX_BLOCK_BYTES // 4
    events = [event for number_ in range(3) for event in connection.receive(large(3 + 2 * number_, size))]
    assert [type(event) for event in events] == [HeadersReceived] * 3
    assert connection.receive(large(9, size)) == [StreamReset(9, ErrorCode.ENHANCE_YOUR_CALM)]
    assert [type(event) for event in connection.receive(headers(11, REQUEST))] == [HeadersReceived]
    clock.now += MAX_BLOCK_BYTES / BLOCK_BYTES_A_SECOND
    assert [type(event) for event in connection.receive(large(13, size))] == [HeadersReceived]


def test_large_blocks_beyond_the_budget_end_a_connection_that_has_a_dynamic_table() -> None:
    connection = Connection(False, clock=Clock())
    connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings())
    allowed = MAX_BLOCK_BYTES // 61_000
    for stream_id in range(1, 2 * allowed, 2):
        connection.receive(large(stream_id, 60_000))
    assert connection.open_streams == allowed
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(b"".join(large(2 * allowed + 1 + 2 * more, 60_000) for more in range(10)))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_block_that_nobody_waits_for_is_not_read() -> None:
    """To read it costs a hundred times what it costs to send it."""
    connection, _ = flooded()
    connection.reset(1, ErrorCode.CANCEL)
    assert connection.receive(frame(HEADERS, END_HEADERS, 1, b"\x80 no block at all")) == []


def test_a_second_has_room_for_a_number_of_bytes_in_interim_responses() -> None:
    connection = client(clock=Clock())
    connection.sender.headers(connection.open_stream(), encode(REQUEST))
    interim = headers(1, [(b":status", b"103"), (b"link", b"v" * 4_000)])
    assert connection.receive(interim * (MAX_CONTROL_FRAMES // 550)) == []
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(interim * (MAX_CONTROL_FRAMES // 500))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_second_has_room_for_a_number_of_bytes_in_blocks_that_are_read_for_the_tables_sake() -> None:
    """To read a byte of Huffman code takes longer than to send it."""
    connection = Connection(False, max_streams=0, clock=Clock())
    connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings())
    flood = streams(lambda stream_id: headers(stream_id, [*REQUEST, (b"x", b"v" * 15_000)]))
    assert connection.receive(flood(MAX_CONTROL_FRAMES // 2_000)) == []
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(flood(2))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_fields_that_a_table_makes_small_on_the_wire_end_only_their_stream() -> None:
    """One byte may stand for a field of 4 kB as long as there is a dynamic table."""
    connection = Connection(False)
    insert = b"\x40" + plain_block([(b"x-large", b"v" * 4_000)])[1:]
    wire = frame(HEADERS, END_HEADERS, 1, plain_block(REQUEST) + insert)
    connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings() + wire)
    bomb = plain_block(REQUEST) + b"\xbe" * 5_000
    events = connection.receive(frame(HEADERS, END_HEADERS, 3, bomb) + headers(5, REQUEST))
    assert events[0] == StreamReset(3, ErrorCode.ENHANCE_YOUR_CALM)
    assert isinstance(events[1], HeadersReceived)


def test_kubelets_calls_come_nowhere_near_the_real_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand calls cancelled at once, twice; and a PING for each of 10,000 pieces of data."""
    monkeypatch.undo()
    connection, _ = flooded()
    cancelled = streams(lambda stream_id: headers(stream_id, REQUEST) + frame(RST_STREAM, 0, stream_id, number(8)))
    assert len(connection.receive(cancelled(2_000))) == 4_000
    connection.receive((data(1, b"x") + frame(PING, 0, 0, bytes(8)) + frame(PING, ACK, 0, bytes(8))) * 10_000)


def test_a_flood_makes_us_say_no_more_than_it_says_itself() -> None:
    for one in (settings(), frame(PING, 0, 0, bytes(8)), data(1, b""), frame(WINDOW_UPDATE, 0, 1, number(1))):
        connection, _ = flooded()
        connection.receive(one * 1_000)
        assert len(connection.data_to_send()) <= 1_000 * len(one)
