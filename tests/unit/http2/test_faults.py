"""What a peer must not do, and what comes of it: the stream's end, or the connection's, with the code for it."""

from __future__ import annotations

from typing import List, Tuple

import pytest
from http2_reference import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
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

from criproxy.http2.connection import CONNECTION_WINDOW, Connection, DataReceived, StreamReset
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.headers import encode, spelling

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


# Connection errors.

_TO_ANY = [
    ("data on stream 0", data(0, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("headers on stream 0", headers(0, REQUEST), ErrorCode.PROTOCOL_ERROR),
    ("reset of stream 0", frame(RST_STREAM, 0, 0, number(8)), ErrorCode.PROTOCOL_ERROR),
    ("priority of stream 0", frame(PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    ("settings on a stream", frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    ("ping on a stream", frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ("goaway on a stream", frame(GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    ("data on an idle stream", data(99, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("reset of an idle stream", frame(RST_STREAM, 0, 99, number(8)), ErrorCode.PROTOCOL_ERROR),
    ("window update of an idle stream", frame(WINDOW_UPDATE, 0, 99, number(1)), ErrorCode.PROTOCOL_ERROR),
    ("headers on an even stream", headers(2, REQUEST), ErrorCode.PROTOCOL_ERROR),
    ("data on an even stream", data(2, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("reset of an even stream", frame(RST_STREAM, 0, 2, number(8)), ErrorCode.PROTOCOL_ERROR),
    ("push promise", frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + BLOCK), ErrorCode.PROTOCOL_ERROR),
    ("continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, BLOCK), ErrorCode.PROTOCOL_ERROR),
    ("reset of 3 bytes", frame(RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    ("settings of 5 bytes", frame(SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    ("settings acknowledged with content", frame(SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    ("ping of 7 bytes", frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    ("goaway of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    ("window update of 5 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    ("a frame larger than ours may be", frame(DATA, 0, 1, bytes(16_385))[:9], ErrorCode.FRAME_SIZE_ERROR),
    ("headers cut before their priority", frame(HEADERS, HAS_PRIORITY, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    ("headers padded beyond their end", frame(HEADERS, PADDED | END_HEADERS, 1, b"\x04abc"), ErrorCode.PROTOCOL_ERROR),
    ("headers without their padding", frame(HEADERS, PADDED | END_HEADERS, 1), ErrorCode.PROTOCOL_ERROR),
    ("connection window opened by 0", frame(WINDOW_UPDATE, 0, 0, number(0)), ErrorCode.PROTOCOL_ERROR),
    ("connection window too large", frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1)), ErrorCode.FLOW_CONTROL_ERROR),
    ("initial window too large", settings((INITIAL_WINDOW_SIZE, 2**31)), ErrorCode.FLOW_CONTROL_ERROR),
    ("max frame size too small", settings((MAX_FRAME_SIZE, 16_383)), ErrorCode.PROTOCOL_ERROR),
    ("max frame size too large", settings((MAX_FRAME_SIZE, 2**24)), ErrorCode.PROTOCOL_ERROR),
    ("enable push 2", settings((0x2, 2)), ErrorCode.PROTOCOL_ERROR),
    ("a block that is no block", frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    ("headers, then data", frame(HEADERS, 0, 1, BLOCK) + data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
    ("headers, then a ping", frame(HEADERS, 0, 1, BLOCK) + frame(PING, 0, 0, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    (
        "headers, then other headers",
        frame(HEADERS, 0, 1, BLOCK) + frame(CONTINUATION, END_HEADERS, 3, BLOCK),
        ErrorCode.PROTOCOL_ERROR,
    ),
    ("headers, then the unknown", frame(HEADERS, 0, 1, BLOCK) + frame(0xFA, 0, 1), ErrorCode.PROTOCOL_ERROR),
]


@pytest.mark.parametrize(("wire", "code"), [entry[1:] for entry in _TO_ANY], ids=[entry[0] for entry in _TO_ANY])
def test_the_connection_ends_at(wire: bytes, code: ErrorCode) -> None:
    assert fault_of(server(), wire)[0] is code
    opened = client()
    opened.open_stream()
    opened.send_headers(1, encode(REQUEST))
    opened.data_to_send()
    assert fault_of(opened, wire)[0] is code


def test_data_padded_beyond_its_end_ends_the_connection() -> None:
    connection = server()
    connection.receive(headers(1, REQUEST))
    assert fault_of(connection, frame(DATA, PADDED, 1, b"\x04abc"))[0] is ErrorCode.PROTOCOL_ERROR


def test_a_server_that_pushes_ends_the_connection() -> None:
    assert fault_of(client(), settings((0x2, 1)))[0] is ErrorCode.PROTOCOL_ERROR
    assert fault_of(client(), headers(2, REQUEST))[0] is ErrorCode.PROTOCOL_ERROR


def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    assert fault_of(client(), headers(1, RESPONSE))[0] is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("wire", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01"])
def test_what_begins_otherwise_is_no_client(wire: bytes) -> None:
    code, text = fault_of(Connection(False), wire)
    assert code is ErrorCode.PROTOCOL_ERROR
    assert "not an HTTP/2 client" in text


@pytest.mark.parametrize("first", [frame(PING, 0, 0, bytes(8)), headers(1, REQUEST), frame(0xFA, 0, 0)])
def test_the_first_frame_must_be_settings(first: bytes) -> None:
    assert fault_of(Connection(False), PREFACE + first)[0] is ErrorCode.PROTOCOL_ERROR
    assert fault_of(Connection(True), first)[0] is ErrorCode.PROTOCOL_ERROR


def test_an_initial_window_that_makes_a_stream_window_too_large_ends_the_connection() -> None:
    connection = server()
    connection.receive(headers(1, REQUEST) + frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1 - 65_535)))
    assert fault_of(connection, settings((INITIAL_WINDOW_SIZE, 65_536)))[0] is ErrorCode.FLOW_CONTROL_ERROR


def test_more_data_than_the_connections_window_allows_ends_the_connection() -> None:
    connection = server(stream_window=2 * CONNECTION_WINDOW)
    connection.receive(headers(1, REQUEST))
    wire = data(1, bytes(16_384)) * (CONNECTION_WINDOW // 16_384)
    assert sum(event.size for event in connection.receive(wire)) == CONNECTION_WINDOW
    assert fault_of(connection, wire + data(1, b"x"))[0] is ErrorCode.FLOW_CONTROL_ERROR


# Stream errors: the stream ends, others do not notice.


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


def test_more_data_than_the_streams_window_allows_ends_the_stream() -> None:
    connection = serving(stream_window=20_000)
    connection.receive(data(1, bytes(16_384)) + data(1, bytes(3_616)))
    assert reset_of(connection, data(1, b"x")) is ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("late", [data(1, b"x"), headers(1, TRAILERS, True)])
def test_a_frame_after_the_end_ends_the_stream(late: bytes) -> None:
    connection = serving()
    connection.receive(data(1, b"", True))
    assert reset_of(connection, late) is ErrorCode.STREAM_CLOSED


@pytest.mark.parametrize("late", [data(1, b"x"), headers(1, TRAILERS, True)])
def test_a_frame_on_a_closed_stream_is_answered_by_a_reset(late: bytes) -> None:
    connection = serving()
    connection.receive(data(1, b"", True))
    connection.send_headers(1, encode(RESPONSE + TRAILERS), True)
    connection.data_to_send()
    assert connection.receive(late) == []
    assert sent(connection) == [(RST_STREAM, 0, 1, number(ErrorCode.STREAM_CLOSED))]


def test_a_window_opened_by_nothing_or_too_much_ends_the_stream() -> None:
    assert reset_of(serving(), frame(WINDOW_UPDATE, 0, 1, number(0))) is ErrorCode.PROTOCOL_ERROR
    assert reset_of(serving(), frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1))) is ErrorCode.FLOW_CONTROL_ERROR


def test_a_priority_of_another_size_ends_the_stream_if_there_is_one() -> None:
    assert reset_of(serving(), frame(PRIORITY, 0, 1, bytes(4))) is ErrorCode.FRAME_SIZE_ERROR
    connection = serving()
    assert connection.receive(frame(PRIORITY, 0, 3, bytes(4))) == []
    assert sent(connection) == []


def test_a_requests_trailers_must_end_it() -> None:
    assert reset_of(serving(), headers(1, TRAILERS)) is ErrorCode.PROTOCOL_ERROR


_BAD_FIELDS: List[Tuple[str, List[Tuple[bytes, bytes]]]] = [
    ("an uppercase name", [*REQUEST, (b"X-Name", b"value")]),
    ("an empty name", [*REQUEST, (b"", b"value")]),
    ("a field of HTTP/1's connections", [*REQUEST, (b"connection", b"close")]),
    ("transfer-encoding", [*REQUEST, (b"transfer-encoding", b"chunked")]),
    ("te other than trailers", [*REQUEST[:5], (b"te", b"gzip")]),
    ("a pseudo-header after regular fields", [*REQUEST, (b":path", b"/other")]),
    ("a space in a name", [*REQUEST, (b"a name", b"value")]),
    ("a colon in a name", [*REQUEST, (b"a:name", b"value")]),
    ("a name beyond ASCII", [*REQUEST, (b"n\xc3\xa4me", b"value")]),
    ("a line feed in a value", [*REQUEST, (b"name", b"a\nb")]),
    ("a carriage return in a value", [*REQUEST, (b"name", b"a\rb")]),
    ("a NUL in a value", [*REQUEST, (b"name", b"a\0b")]),
]


@pytest.mark.parametrize("fields", [entry[1] for entry in _BAD_FIELDS], ids=[entry[0] for entry in _BAD_FIELDS])
def test_a_request_is_refused_for(fields: List[Tuple[bytes, bytes]]) -> None:
    connection = server()
    connection.receive(headers(99, REQUEST))
    assert reset_of(connection, headers(101, fields, True), 101) is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("fields", [entry[1] for entry in _BAD_FIELDS], ids=[entry[0] for entry in _BAD_FIELDS])
def test_a_request_is_refused_though_it_is_cut_for(fields: List[Tuple[bytes, bytes]]) -> None:
    connection = server(volatile=spelling(b"grpc-timeout"))
    connection.receive(headers(99, REQUEST))
    cut = [*fields[:5], (b"grpc-timeout", b"5S"), *fields[5:]]
    assert reset_of(connection, headers(101, cut, True), 101) is ErrorCode.PROTOCOL_ERROR


_METHOD, _SCHEME, _PATH, _AUTHORITY, *_REGULAR = REQUEST
_NO_REQUESTS: List[Tuple[str, List[Tuple[bytes, bytes]]]] = [
    ("nothing at all", []),
    ("no :method", [_SCHEME, _PATH, _AUTHORITY, *_REGULAR]),
    ("no :scheme", [_METHOD, _PATH, _AUTHORITY, *_REGULAR]),
    ("no :path", [_METHOD, _SCHEME, _AUTHORITY, *_REGULAR]),
    ("two of :path", [_METHOD, _SCHEME, _PATH, (b":path", b"/other"), *_REGULAR]),
    ("two of :authority", [*REQUEST[:4], _AUTHORITY, *_REGULAR]),
    ("an unknown pseudo-header", [*REQUEST[:4], (b":protocol", b"websocket"), *_REGULAR]),
    ("an answer's pseudo-header", [*REQUEST[:4], (b":status", b"200"), *_REGULAR]),
    ("an answer", RESPONSE),
    ("trailers", TRAILERS),
]


@pytest.mark.parametrize("fields", [entry[1] for entry in _NO_REQUESTS], ids=[entry[0] for entry in _NO_REQUESTS])
def test_what_is_no_request_is_refused(fields: List[Tuple[bytes, bytes]]) -> None:
    connection = server()
    connection.receive(headers(99, REQUEST))
    assert reset_of(connection, headers(101, fields, True), 101) is ErrorCode.PROTOCOL_ERROR


def test_a_request_without_an_authority_is_one() -> None:
    assert len(server().receive(headers(1, [_METHOD, _SCHEME, _PATH]))) == 1


@pytest.mark.parametrize("fields", [REQUEST, RESPONSE])
def test_a_request_has_no_second_head(fields: List[Tuple[bytes, bytes]]) -> None:
    assert reset_of(serving(), headers(1, fields, True)) is ErrorCode.PROTOCOL_ERROR


def asked() -> Connection:
    """A client's end with two calls under way, of which the one on stream 3 is being answered."""
    connection = client()
    for _ in range(2):
        connection.send_headers(connection.open_stream(), encode(REQUEST))
    connection.receive(headers(3, RESPONSE))
    connection.data_to_send()
    return connection


_INTERIM = [(b":status", b"103")]
_NO_ANSWERS = {
    "a request": headers(1, REQUEST),
    "trailers": headers(1, TRAILERS, True),
    "two of :status": headers(1, [*RESPONSE[:1], *RESPONSE]),
    "data": data(1, b"x"),
    "data after an interim answer": headers(1, _INTERIM) + data(1, b"x"),
    "an interim answer that is all": headers(1, _INTERIM, True),
    "a second head": headers(1, RESPONSE) + headers(1, RESPONSE, True),
    "a late interim answer": headers(1, RESPONSE) + headers(1, _INTERIM),
    "trailers that do not end it": headers(1, RESPONSE) + headers(1, TRAILERS),
}


@pytest.mark.parametrize("wire", _NO_ANSWERS.values(), ids=_NO_ANSWERS)
def test_what_is_no_answer_ends_the_stream(wire: bytes) -> None:
    connection = asked()
    events = connection.receive(wire + data(3, b"goes on"))
    assert events[-2:] == [StreamReset(1, ErrorCode.PROTOCOL_ERROR), DataReceived(3, b"goes on", 7, False)]
    assert sent(connection) == [(RST_STREAM, 0, 1, number(ErrorCode.PROTOCOL_ERROR))]


def test_interim_answers_may_come_before_the_answer() -> None:
    connection = asked()
    wire = headers(1, _INTERIM) * 2 + headers(1, RESPONSE) + data(1, b"x") + headers(1, TRAILERS, True)
    assert len(connection.receive(wire)) == 5


def test_a_value_may_end_in_a_space() -> None:
    """HTTP forbids it, but gRPC writes the text of an error as it is."""
    assert len(asked().receive(headers(1, [*RESPONSE, (b"grpc-message", b"not found: ")], True))) == 1


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
