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
    data,
    frame,
    headers,
    number,
    plain_block,
    sent,
    server,
    settings,
)

from criproxy.http2.connection import MAX_CONTROL_FRAMES, MAX_RESETS, Connection, Sent
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.headers import MAX_BLOCK, encode


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
    "window updates that move nothing": frame(WINDOW_UPDATE, 0, 1, number(1)),
    "connection window updates that move nothing": frame(WINDOW_UPDATE, 0, 0, number(1)),
}


@pytest.mark.parametrize("one", _FLOODS.values(), ids=_FLOODS)
def test_a_second_has_room_for_a_number_of_frames_that_move_nothing(one: bytes) -> None:
    connection, clock = flooded(stream_window=2**30)
    endure(connection, clock, lambda count: one * count, MAX_CONTROL_FRAMES)


def waiting(count: int, **options: Any) -> Tuple[Connection, Clock]:
    """A server's end on which so many answers wait for a window, at the beginning of a second."""
    connection, clock = flooded(max_streams=count + 1, **options)
    connection.receive(settings((INITIAL_WINDOW_SIZE, 0)))
    for stream_id in range(3, 3 + 2 * count, 2):
        connection.receive(headers(stream_id, REQUEST, True))
        connection.send_headers(stream_id, encode(RESPONSE))
        connection.send_data(stream_id, bytes(1_000))
    connection.data_to_send()
    clock.now += 1
    return connection, clock


@pytest.mark.parametrize("stream_id", [0, 1])
def test_a_second_has_room_for_a_number_of_window_updates_beside_what_waits(stream_id: int) -> None:
    """They open windows that are open, while data waits for the window of another stream."""
    connection, clock = waiting(1)
    one = frame(WINDOW_UPDATE, 0, stream_id, number(1))
    endure(connection, clock, lambda count: one * count, MAX_CONTROL_FRAMES)


def test_a_second_has_room_for_a_number_of_windows_changed_by_settings() -> None:
    """A frame of SETTINGS costs as much as there are streams of which it changes the window."""
    connection, _ = waiting(999)
    change = settings((INITIAL_WINDOW_SIZE, 1)) + settings((INITIAL_WINDOW_SIZE, 2))
    assert len(connection.receive(settings() * 1_000 + change * 20)) == 1_000 + 40 + 999
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(change * 20)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


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
        connection.send_headers(1, encode(RESPONSE + TRAILERS), True)
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


def test_a_block_has_a_largest_size() -> None:
    connection = server()
    filler = frame(CONTINUATION, 0, 1, bytes(16_384))
    connection.receive(frame(HEADERS, 0, 1, b""))
    connection.receive(filler * (MAX_BLOCK // 16_384))
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(frame(CONTINUATION, 0, 1, b"x"))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_a_block_has_a_largest_number_of_continuations() -> None:
    """CONTINUATION flood, CVE-2024-27316: frames that add nothing never make the block too large."""
    connection = server()
    connection.receive(frame(HEADERS, 0, 1, plain_block(REQUEST)))
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(frame(CONTINUATION, 0, 1) * 100)
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_fields_have_a_largest_size_though_a_table_makes_them_small_on_the_wire() -> None:
    """One byte may stand for a field of 4 kB as long as there is a dynamic table."""
    connection = Connection(False)
    insert = b"\x40" + plain_block([(b"x-large", b"v" * 4_000)])[1:]
    wire = frame(HEADERS, END_HEADERS, 1, plain_block(REQUEST) + insert)
    connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings() + wire)
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(frame(HEADERS, END_HEADERS, 3, plain_block(REQUEST) + b"\xbe" * 17))
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


def test_a_flood_makes_us_say_no_more_than_it_says_itself() -> None:
    for one in (settings(), frame(PING, 0, 0, bytes(8)), data(1, b""), frame(WINDOW_UPDATE, 0, 1, number(1))):
        connection, _ = flooded()
        connection.receive(one * 1_000)
        assert len(connection.data_to_send()) <= 1_000 * len(one)
