"""Bytes that make no sense: the connection ends with a reason or goes on, and takes no more memory for it."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from typing import List

import pytest
from http2_reference import (
    ACK,
    END_HEADERS,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    REQUEST,
    RESPONSE,
    RST_STREAM,
    SETTINGS,
    TRAILERS,
    client,
    frame,
    headers,
    number,
    plain_block,
    server,
    settings,
)
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.events import HeadersReceived
from criproxy.http2.headers import Spelling, decode, encode

_PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        (
            plain_block(REQUEST),
            plain_block(RESPONSE),
            plain_block(TRAILERS),
            encode(REQUEST) + plain_block([(b"grpc-timeout", b"5S"), (b":path", b"/")]),
            b"\x02" + plain_block(REQUEST) + b"\0\0",
            bytes(4),
            number(1),
            number(2**31 - 1),
            bytes(8),
            number(1) + bytes(4),
            settings((4, 0))[9:],
            settings((4, 2**31 - 1))[9:],
            settings((5, 2**24 - 1), (3, 1))[9:],
            bytes(16_384),
        )
    ),
)
_FRAMES = st.builds(
    frame,
    st.one_of(st.integers(0, 10), st.integers(0, 255)),
    st.one_of(st.sampled_from((0, 1, 4, 5, 8, 0x20, 0x2D)), st.integers(0, 255)),
    st.one_of(st.integers(0, 8), st.sampled_from((2**31 - 1, 2**31 + 1, 2**32 - 1))),
    _PAYLOADS,
)
_VOLATILE = Spelling(b"grpc-timeout")


def ends() -> List[Connection]:
    """A client that has two calls under way, one begun to be answered, and a server that has begun an answer."""
    asking = client()
    for _ in range(2):
        asking.sender.headers(asking.open_stream(), encode(REQUEST))
    asking.receive(headers(1, RESPONSE))
    answering = server(volatile=_VOLATILE, max_streams=3)
    answering.receive(headers(1, REQUEST))
    answering.sender.headers(1, encode(RESPONSE))
    return [asking, answering]


def use(connection: Connection) -> None:
    """Does to each stream whatever its user may, whether it is there or not."""
    for stream_id in (1, 3, 5):
        connection.sender.headers(stream_id, encode(RESPONSE))
        connection.sender.data(stream_id, b"abc" * 10_000)
        connection.consumed(stream_id, 5)
    connection.sender.data(1, b"", True)
    connection.sender.headers(3, encode(TRAILERS), True)
    connection.reset(5, ErrorCode.CANCEL)
    connection.sender.hold(True)
    connection.sender.hold(False)
    connection.data_to_send()


@given(st.binary(max_size=200))
@example(b"\0\0\0\4\0\0\0\0\0" + bytes(100))
def test_random_bytes_raise_nothing_but_faults(wire: bytes) -> None:
    for connection in [*ends(), Connection(True), Connection(False, volatile=_VOLATILE)]:
        with suppress(ConnectionFault):
            connection.receive(wire)
        use(connection)


@hypothesis_settings(max_examples=300)
@given(st.lists(_FRAMES, max_size=12))
def test_random_frames_raise_nothing_but_faults(wires: List[bytes]) -> None:
    for connection in ends():
        with suppress(ConnectionFault):
            for wire in wires:
                for event in connection.receive(wire):
                    if isinstance(event, HeadersReceived):
                        assert decode(event.block.wire) == event.block.fields
                use(connection)
        use(connection)
        assert connection.open_streams <= 3


@hypothesis_settings(max_examples=300)
@given(st.lists(_FRAMES, max_size=12))
def test_random_frames_are_answered_with_little(wires: List[bytes]) -> None:
    for connection in ends():
        connection.data_to_send()
        with suppress(ConnectionFault):
            connection.receive(b"".join(wires))
        assert len(connection.data_to_send()) <= 13 * len(wires) + 300


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_random_blocks_raise_nothing_but_faults(blocks: List[bytes], settled: bool) -> None:
    connection = Connection(False, volatile=_VOLATILE)
    connection.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings())
    if settled:
        connection.receive(frame(SETTINGS, ACK, 0))
    with suppress(ConnectionFault):
        for number_, block in enumerate(blocks):
            connection.receive(frame(HEADERS, END_HEADERS, 2 * number_ + 1, block))


@pytest.mark.parametrize("how", ["reset by the peer", "reset by us", "reset while data waits", "ended"])
def test_streams_that_are_over_take_no_memory(how: str) -> None:
    now = [0.0]
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 0),), clock=lambda: now[0])

    def live(first: int, count: int) -> int:
        """Lets so many streams live and end; gives the memory in use, bytes."""
        for stream_id in range(first, first + 2 * count, 2):
            now[0] += 1
            connection.receive(headers(stream_id, REQUEST, how == "ended"))
            if how == "ended":
                connection.sender.headers(stream_id, encode(RESPONSE + TRAILERS), True)
            elif how == "reset by us":
                connection.reset(stream_id, ErrorCode.CANCEL)
            else:
                if how == "reset while data waits":
                    connection.sender.data(stream_id, b"abc")
                connection.receive(frame(RST_STREAM, 0, stream_id, number(8)))
            connection.data_to_send()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = live(1, 4_000)
        after = live(8_001, 4_000)
    finally:
        tracemalloc.stop()
    assert connection.open_streams == 0
    assert after - before < 20_000
