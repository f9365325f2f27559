"""Errors of a peer that are more than a row (conformance.py): large field blocks, windows, streams that are refused."""

from __future__ import annotations

import tracemalloc
from typing import Iterable, List, Tuple

import pytest
from http2_reference import (
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PREFACE,
    REQUEST,
    RESPONSE,
    RST_STREAM,
    TRAILERS,
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

from criproxy.http2.connection import CONNECTION_WINDOW, Connection
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.events import DataReceived, HeadersReceived, StreamReset
from criproxy.http2.headers import MAX_LIST_SIZE, encode

BLOCK = plain_block(REQUEST)


def fault_of(connection: Connection, wire: bytes) -> Tuple[ErrorCode, str]:
    """The connection error that these bytes are; checks that GOAWAY says it to the peer."""
    with pytest.raises(ConnectionFault) as caught:
        connection.receive(wire)
    last = sent(connection)[-1]
    assert last.kind == GOAWAY
    assert int.from_bytes(last.payload[4:8], "big") == caught.value.code
    assert last.payload[8:] == str(caught.value).encode()[:256]
    assert connection.going_away
    return caught.value.code, str(caught.value)


def test_more_data_than_the_connections_window_allows_ends_the_connection() -> None:
    connection = server(stream_window=2 * CONNECTION_WINDOW)
    connection.receive(headers(1, REQUEST))
    wire = data(1, bytes(16_384)) * (CONNECTION_WINDOW // 16_384)
    received = connection.receive(wire)
    assert sum(event.size for event in received if isinstance(event, DataReceived)) == CONNECTION_WINDOW
    assert fault_of(connection, wire + data(1, b"x"))[0] is ErrorCode.FLOW_CONTROL_ERROR


def reset_of(connection: Connection, wire: bytes, stream_id: int = 1) -> ErrorCode:
    """The code with which the stream is reset at these bytes; checks that another stream goes on."""
    events = connection.receive(wire + data(99, b"goes on"))
    assert events[-1] == DataReceived(99, b"goes on", 7, False)
    (code,) = [event.code for event in events if isinstance(event, StreamReset) and event.stream_id == stream_id]
    (told,) = [found for found in sent(connection) if found.kind == RST_STREAM]
    assert (told.stream_id, told.payload) == (stream_id, number(code))
    assert not connection.knows(stream_id)
    return ErrorCode(code)


def serving(**options: object) -> Connection:
    """A server's end on which a request has been begun on stream 1 (nothing of it but its head) and on stream 99."""
    connection = server(**options)  # type: ignore[arg-type]
    connection.receive(headers(1, REQUEST) + headers(99, REQUEST))
    return connection


_MUCH = b"v" * (MAX_LIST_SIZE - 100)


def block_in_frames(stream_id: int, fields: Iterable[Tuple[bytes, bytes]], end_stream: bool = False) -> bytes:
    """A field block in frames of the default size."""
    block = plain_block(fields)
    pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    wire = frame(HEADERS, int(end_stream), stream_id, pieces[0])
    wire += b"".join(frame(CONTINUATION, 0, stream_id, piece) for piece in pieces[1:])
    return wire + frame(CONTINUATION, END_HEADERS, stream_id)


_TOO_LARGE = {
    "a block too large on the wire": [(b"x", _MUCH + bytes(100))],
    "a list too large": [(b"x", _MUCH), (b"y", bytes(36))],
}


@pytest.mark.parametrize("fields", _TOO_LARGE.values(), ids=_TOO_LARGE)
def test_fields_that_are_too_large_end_the_stream(fields: List[Tuple[bytes, bytes]]) -> None:
    """RFC 9113, section 10.5.1."""
    assert reset_of(serving(), block_in_frames(1, fields, True)) is ErrorCode.ENHANCE_YOUR_CALM


def asked() -> Connection:
    """A client's end with two calls under way, of which the one on stream 3 is being answered."""
    connection = client()
    for _ in range(2):
        connection.sender.headers(connection.open_stream(), encode(REQUEST))
    connection.receive(headers(3, RESPONSE))
    connection.data_to_send()
    return connection


_INTERIM = [(b":status", b"103")]


def test_interim_responses_are_skipped() -> None:
    """RFC 9110, section 15.2."""
    connection = asked()
    wire = headers(1, _INTERIM) * 2 + headers(1, RESPONSE) + data(1, b"x") + headers(1, TRAILERS, True)
    head, body, trailers = connection.receive(wire)
    assert isinstance(head, HeadersReceived)
    assert list(head.block.fields) == RESPONSE
    assert body == DataReceived(1, b"x", 1, False)
    assert isinstance(trailers, HeadersReceived)
    assert trailers.end_stream


def test_a_long_field_block_is_received_and_leaves_other_calls_alone() -> None:
    connection = asked()
    text = (b"grpc-message", _MUCH[: MAX_LIST_SIZE - 1_000])
    last, other = connection.receive(block_in_frames(1, [*RESPONSE, text], True) + data(3, b"goes on"))
    assert isinstance(last, HeadersReceived)
    assert last.block.get(b"grpc-message") == text[1]
    assert other == DataReceived(3, b"goes on", 7, False)


def test_a_field_block_that_is_too_long_is_forgotten_with_its_stream() -> None:
    connection = asked()
    wire = block_in_frames(1, [*RESPONSE, (b"x", _MUCH)] * 2, True)[:-9]
    connection.receive(wire[: 20 * 2**20])
    tracemalloc.start()
    try:
        connection.receive(wire[20 * 2**20 :])
        connection.receive(frame(CONTINUATION, END_HEADERS, 1))
        assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()
    assert not connection.knows(1)


def test_a_field_block_that_does_not_end_ends_the_connection() -> None:
    connection = asked()
    filler = frame(CONTINUATION, 0, 1, bytes(16_384))
    connection.receive(frame(HEADERS, 0, 1) + filler * (2 * MAX_LIST_SIZE // 16_384))
    assert fault_of(connection, filler)[0] is ErrorCode.ENHANCE_YOUR_CALM


def test_before_the_peer_knows_our_settings_a_long_block_ends_the_connection() -> None:
    """Skipped, it would leave the two dynamic tables out of step; and it may not know yet that we take more."""
    connection = Connection(True)
    connection.sender.headers(connection.open_stream(), encode(REQUEST))
    filler = frame(CONTINUATION, 0, 1, bytes(16_384))
    connection.receive(settings() + frame(HEADERS, 0, 1) + filler * 4)
    assert fault_of(connection, filler)[0] is ErrorCode.ENHANCE_YOUR_CALM


def test_a_stream_beyond_the_limit_is_refused() -> None:
    connection = server(max_streams=2)
    connection.receive(headers(1, REQUEST) + headers(3, REQUEST))
    assert connection.receive(headers(5, REQUEST) + data(5, b"abc", True)) == []
    assert sent(connection) == [(RST_STREAM, 0, 5, number(ErrorCode.REFUSED_STREAM))]
    connection.reset(1, ErrorCode.CANCEL)
    assert len(connection.receive(headers(7, REQUEST))) == 1
    assert connection.open_streams == 2


def test_the_block_of_a_refused_stream_is_read_for_the_tables_sake() -> None:
    connection = Connection(False, max_streams=1)
    indexed = b"\x40" + BLOCK[1:]  # :method POST, with indexing: entry 62 from here on
    refused = frame(HEADERS, END_HEADERS, 3, indexed)
    connection.receive(PREFACE + settings() + headers(1, REQUEST) + refused + frame(RST_STREAM, 0, 1, number(8)))
    (event,) = connection.receive(frame(HEADERS, END_HEADERS, 5, b"\xbe" + BLOCK[1 + 8 + 5 :]))
    assert event.block.get(b":method") == b"POST"  # type: ignore[union-attr]
