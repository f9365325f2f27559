"""What HTTP/2's frames and streams let a peer violate, and what comes of it (RFC 9113, 3 to 7; conformance.py).

Messages are in test_conformance_messages.py, field blocks in test_conformance_blocks.py, gRPC's own rules in
../relay/test_conformance_grpc.py.
"""

from __future__ import annotations

from conformance import (
    ASKED,
    BEFORE,
    BOTH,
    CLIENT,
    CLOSED,
    HALF_CLOSED,
    IDLE,
    RESET,
    SERVER,
    STREAM_WINDOW,
    Row,
    cases,
    check,
)
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
    data,
    frame,
    headers,
    number,
    plain_block,
    settings,
)

BLOCK = plain_block(REQUEST)
UNKNOWN = 0xFA
MOST = 2**31 - 1
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE = 0x1, 0x2, 0x3, 0x6

NEW = ("a server before the preface",)
GOING = ("a server, going away", "a client, going away")
NEVER_USED = ("a server, stream 5 open, 1 and 3 never used",)
PEER_RESET = ("a server, stream 1 reset by the peer",)
RESERVED = 0x80000000


def ping(payload: bytes = bytes(8), flags: int = 0, stream_id: int = 0) -> bytes:
    return frame(PING, flags, stream_id, payload)


def reset(stream_id: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream_id, number(code))


def window(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, number(increment))


def goaway(last: int, code: int = 0, text: bytes = b"", stream_id: int = 0) -> bytes:
    return frame(GOAWAY, 0, stream_id, number(last) + number(code) + text)


def padded(kind: int, flags: int, stream_id: int, pad: int, payload: bytes) -> bytes:
    """A frame that says it has so much padding."""
    return frame(kind, flags | PADDED, stream_id, bytes((pad,)) + payload)


_PREFACE = [
    Row("3.4", "the preface", NEW, PREFACE, "ignored"),
    Row("3.4", "the preface and SETTINGS", NEW, PREFACE + settings(), "settings, -> SETTINGS ACK"),
    Row("3.4", "HTTP/1.1", NEW, b"GET / HTTP/1.1\r\n\r\n", "connection PROTOCOL_ERROR"),
    Row("3.4", "another version in the preface", NEW, PREFACE.replace(b"2.0", b"2.1"), "connection PROTOCOL_ERROR"),
    Row("3.4", "frames without the preface", NEW, settings(), "connection PROTOCOL_ERROR"),
    Row("3.4", "TLS", NEW, b"\x16\x03\x01\x02\x00", "connection PROTOCOL_ERROR"),
    Row("3.4", "PING before SETTINGS", BEFORE, ping(), "connection PROTOCOL_ERROR"),
    Row("3.4", "HEADERS before SETTINGS", BEFORE, headers(1, REQUEST), "connection PROTOCOL_ERROR"),
    Row("3.4", "GOAWAY before SETTINGS", BEFORE, goaway(0), "connection PROTOCOL_ERROR"),
    Row("3.4", "an unknown frame before SETTINGS", BEFORE, frame(UNKNOWN, 0, 0), "connection PROTOCOL_ERROR"),
    Row("3.4", "an acknowledgement before SETTINGS", BEFORE, frame(SETTINGS, ACK, 0), "connection PROTOCOL_ERROR"),
    Row("3.4", "empty SETTINGS first", BEFORE, settings(), "settings, -> SETTINGS ACK"),
]

_FRAMES = [
    Row("4.1, 5.5", "a frame of an unknown type", BOTH, frame(UNKNOWN, 0xFF, 1, b"x"), "ignored"),
    Row("4.1, 5.5", "a frame of an unknown type on an idle stream", BOTH, frame(UNKNOWN, 0, 77), "ignored"),
    Row("4.1", "flags that have no meaning", BOTH, frame(PING, 0xFE, 0, bytes(8)), "-> PING ACK"),
    Row("4.1", "the reserved bit", BOTH, frame(DATA, 0, RESERVED | 1, b"abcde"), "data"),
    Row("4.2", "the largest frame", BOTH, data(1, bytes(16_384)), "data"),
    # 4.2 lets DATA that is too large end the stream alone, and 5.4.1 lets us end the connection. It would have to be
    # skipped, up to 16 MiB of it, and no library of gRPC's sends it: who does has lost its place in the bytes.
    Row("4.2", "DATA too large", BOTH, frame(DATA, 0, 1, bytes(16_385))[:9], "connection FRAME_SIZE_ERROR"),
    Row("4.2", "HEADERS too large", BOTH, frame(HEADERS, 4, 1, bytes(16_385))[:9], "connection FRAME_SIZE_ERROR"),
    Row("4.2", "SETTINGS too large", BOTH, frame(SETTINGS, 0, 0, bytes(16_386))[:9], "connection FRAME_SIZE_ERROR"),
    Row(
        "4.2",
        "an unknown frame too large",
        BOTH,
        frame(UNKNOWN, 0, 0, bytes(16_385))[:9],
        "connection FRAME_SIZE_ERROR",
    ),
    Row("4.2", "DATA too short for its padding", BOTH, frame(DATA, PADDED, 1), "connection FRAME_SIZE_ERROR"),
    Row("4.2", "HEADERS too short for its padding", BOTH, frame(HEADERS, PADDED | 4, 1), "connection FRAME_SIZE_ERROR"),
    Row(
        "4.2",
        "HEADERS too short for its priority",
        BOTH,
        frame(HEADERS, HAS_PRIORITY | END_HEADERS, 1, bytes(4)),
        "connection FRAME_SIZE_ERROR",
    ),
    Row(
        "4.2",
        "HEADERS too short for both",
        BOTH,
        frame(HEADERS, PADDED | HAS_PRIORITY | END_HEADERS, 1, bytes(5)),
        "connection FRAME_SIZE_ERROR",
    ),
    Row(
        "4.3",
        "a block interrupted by DATA",
        SERVER,
        frame(HEADERS, 0, 3, BLOCK) + data(1, b"x"),
        "connection PROTOCOL_ERROR",
    ),
    Row(
        "4.3", "a block interrupted by PING", SERVER, frame(HEADERS, 0, 3, BLOCK) + ping(), "connection PROTOCOL_ERROR"
    ),
    Row(
        "4.3",
        "a block interrupted by an unknown frame",
        SERVER,
        frame(HEADERS, 0, 3, BLOCK) + frame(UNKNOWN, 0, 3),
        "connection PROTOCOL_ERROR",
    ),
    Row(
        "4.3",
        "a block interrupted by the CONTINUATION of another stream",
        SERVER,
        frame(HEADERS, 0, 3, BLOCK) + frame(CONTINUATION, END_HEADERS, 5, b""),
        "connection PROTOCOL_ERROR",
    ),
    Row(
        "4.3",
        "a block interrupted by HEADERS of its own stream",
        SERVER,
        frame(HEADERS, 0, 3, BLOCK) + frame(HEADERS, END_HEADERS, 3, b""),
        "connection PROTOCOL_ERROR",
    ),
    Row("4.3", "a block that is none", SERVER, frame(HEADERS, 4, 3, b"\xff\xff\xff"), "connection COMPRESSION_ERROR"),
    Row("4.3", "an answer's block that is none", ASKED, frame(HEADERS, 4, 1, b"\x80"), "connection COMPRESSION_ERROR"),
]

_STREAMS = [
    # Idle.
    Row("5.1", "DATA on an idle stream", BOTH, data(99, b"x"), "connection PROTOCOL_ERROR"),
    Row("5.1", "RST_STREAM on an idle stream", BOTH, reset(99), "connection PROTOCOL_ERROR"),
    Row("5.1", "WINDOW_UPDATE on an idle stream", BOTH, window(99, 1), "connection PROTOCOL_ERROR"),
    Row("5.1", "PRIORITY on an idle stream", BOTH, frame(PRIORITY, 0, 99, bytes(5)), "ignored"),
    Row("5.1", "an answer that nobody asked for", CLIENT, headers(99, RESPONSE), "connection PROTOCOL_ERROR"),
    # Half-closed (remote): it has said that nothing more comes.
    Row("5.1", "DATA after END_STREAM", HALF_CLOSED, data(1, b"x"), "stream STREAM_CLOSED"),
    Row("5.1", "empty DATA after END_STREAM", HALF_CLOSED, data(1, b"", True), "stream STREAM_CLOSED"),
    Row("5.1", "HEADERS after END_STREAM", HALF_CLOSED, headers(1, TRAILERS, True), "stream STREAM_CLOSED"),
    Row("5.1", "WINDOW_UPDATE after END_STREAM", HALF_CLOSED, window(1, 1), "ignored"),
    Row("5.1", "PRIORITY after END_STREAM", HALF_CLOSED, frame(PRIORITY, 0, 1, bytes(5)), "ignored"),
    Row("5.1", "RST_STREAM after END_STREAM", HALF_CLOSED, reset(1), "reset"),
    # Closed. Section 5.1 lets these end the connection; that the stream's error is told is enough.
    Row("5.1", "DATA on a closed stream", CLOSED, data(1, b"x"), "stream STREAM_CLOSED"),
    Row("5.1", "HEADERS on a closed stream", CLOSED, headers(1, TRAILERS, True), "stream STREAM_CLOSED"),
    Row("5.1", "WINDOW_UPDATE on a closed stream", CLOSED, window(1, 1), "ignored"),
    Row("5.1", "RST_STREAM on a closed stream", CLOSED, reset(1), "ignored"),
    Row("5.1", "PRIORITY on a closed stream", CLOSED, frame(PRIORITY, 0, 1, bytes(5)), "ignored"),
    # What may have crossed our RST_STREAM is dropped; so is what follows one of the peer's.
    Row("5.1", "DATA after our RST_STREAM", RESET, data(1, b"x", True), "ignored"),
    Row("5.1", "HEADERS after our RST_STREAM", RESET, headers(1, TRAILERS, True), "ignored"),
    Row("5.1", "WINDOW_UPDATE after our RST_STREAM", RESET, window(1, 1), "ignored"),
    Row("5.1", "RST_STREAM after our RST_STREAM", RESET, reset(1), "ignored"),
    Row("5.1", "DATA after its RST_STREAM", PEER_RESET, data(1, b"x"), "ignored"),
    Row("5.1", "HEADERS after its RST_STREAM", PEER_RESET, headers(1, TRAILERS, True), "ignored"),
    # Identifiers.
    Row("5.1.1", "a request on an even stream", SERVER, headers(2, REQUEST), "connection PROTOCOL_ERROR"),
    Row("5.1.1", "DATA on an even stream", BOTH, data(2, b"x"), "connection PROTOCOL_ERROR"),
    Row("5.1.1", "RST_STREAM on an even stream", BOTH, reset(2), "connection PROTOCOL_ERROR"),
    Row("5.1.1", "a stream that the server opens", CLIENT, headers(2, RESPONSE), "connection PROTOCOL_ERROR"),
    Row("5.1.1", "an id that has been passed over", NEVER_USED, headers(3, REQUEST), "connection PROTOCOL_ERROR"),
    Row("5.1.1", "DATA on an id that has been passed over", NEVER_USED, data(1, b"x"), "stream STREAM_CLOSED"),
    Row("5.1.1", "RST_STREAM on an id that has been passed over", NEVER_USED, reset(1), "ignored"),
    Row("5.1.1", "ids that leave some out", SERVER, headers(7, REQUEST) + headers(1001, REQUEST), "headers, headers"),
    Row("5.1.1", "the last id that there is", SERVER, headers(MOST, REQUEST, True), "headers END_STREAM"),
]

_FLOW_CONTROL = [
    Row("5.2.1", "all that a stream's window allows", BOTH, data(1, bytes(10_000)) * 2, "data, data"),
    Row(
        "6.9.1",
        "more than a stream's window allows",
        BOTH,
        data(1, bytes(16_000)) * 2,
        "data, stream FLOW_CONTROL_ERROR",
    ),
    Row(
        "6.9.1",
        "padding beyond a stream's window",
        BOTH,
        data(1, bytes(10_000)) + data(1, bytes(9_990)) + padded(DATA, 0, 1, 200, bytes(205)),
        "data, data, stream FLOW_CONTROL_ERROR",
    ),
    Row("6.9", "WINDOW_UPDATE of 3 bytes", BOTH, frame(WINDOW_UPDATE, 0, 1, bytes(3)), "connection FRAME_SIZE_ERROR"),
    Row("6.9", "WINDOW_UPDATE of 5 bytes", BOTH, frame(WINDOW_UPDATE, 0, 0, bytes(5)), "connection FRAME_SIZE_ERROR"),
    Row("6.9", "a stream's window opened by 0", BOTH, window(1, 0), "stream PROTOCOL_ERROR"),
    Row("6.9", "the connection's window opened by 0", BOTH, window(0, 0), "connection PROTOCOL_ERROR"),
    Row("6.9", "the reserved bit of WINDOW_UPDATE alone", BOTH, window(1, RESERVED), "stream PROTOCOL_ERROR"),
    Row("6.9", "the reserved bit of WINDOW_UPDATE", BOTH, window(1, RESERVED | 5), "ignored"),
    Row("6.9", "a closed stream's window opened by 0", CLOSED, window(1, 0), "ignored"),
    Row("6.9.1", "a stream's window beyond 2^31-1", BOTH, window(1, MOST), "stream FLOW_CONTROL_ERROR"),
    Row("6.9.1", "the connection's window beyond 2^31-1", BOTH, window(0, MOST), "connection FLOW_CONTROL_ERROR"),
    Row("6.9.1", "the largest windows", BOTH, window(1, MOST - 65_535) + window(0, MOST - 65_535), "ignored"),
    Row(
        "6.9.2",
        "an initial window that makes a stream's too large",
        BOTH,
        window(1, MOST - 65_535) + settings((INITIAL_WINDOW_SIZE, 65_536)),
        "connection FLOW_CONTROL_ERROR",
    ),
    Row(
        "6.9.2",
        "an initial window that makes a stream's negative",
        BOTH,
        settings((INITIAL_WINDOW_SIZE, 0)),
        "settings, -> SETTINGS ACK",
    ),
]

_DATA_AND_HEADERS = [
    Row("6.1", "DATA on stream 0", BOTH, data(0, b"x"), "connection PROTOCOL_ERROR"),
    Row("6.1", "DATA with padding", BOTH, padded(DATA, 0, 1, 3, b"abc" + bytes(3)), "data"),
    Row("6.1", "DATA of padding alone", BOTH, padded(DATA, 0, 1, 3, bytes(3)), "data"),
    Row("6.1", "DATA with a padding of 0", BOTH, padded(DATA, 1, 1, 0, b"abc"), "data END_STREAM"),
    # A receiver need not verify that padding is zero.
    Row("6.1", "padding that is not zero", BOTH, padded(DATA, 0, 1, 3, b"abcdef"), "data"),
    Row("6.1", "padding as long as its frame", BOTH, padded(DATA, 0, 1, 4, b"abc"), "connection PROTOCOL_ERROR"),
    Row("6.1", "padding longer than its frame", BOTH, padded(DATA, 0, 1, 255, b"abc"), "connection PROTOCOL_ERROR"),
    Row("6.2", "HEADERS on stream 0", BOTH, headers(0, REQUEST), "connection PROTOCOL_ERROR"),
    Row("6.2", "HEADERS with padding", SERVER, padded(HEADERS, 4, 3, 2, BLOCK + b"\0\0"), "headers"),
    Row("6.2", "HEADERS with a priority", SERVER, frame(HEADERS, 0x24, 3, number(1) + b"\x10" + BLOCK), "headers"),
    Row("6.2", "HEADERS with both", SERVER, padded(HEADERS, 0x24, 3, 2, bytes(5) + BLOCK + b"\0\0"), "headers"),
    Row("6.2", "padding longer than the block", BOTH, padded(HEADERS, 4, 1, 4, b"abc"), "connection PROTOCOL_ERROR"),
    Row(
        "6.2",
        "padding that reaches into the priority",
        BOTH,
        padded(HEADERS, 0x24, 1, 5, bytes(5) + bytes(3)),
        "connection PROTOCOL_ERROR",
    ),
    # RFC 9113 has given RFC 7540's priorities up (5.3.2): a stream may depend on itself.
    Row(
        "5.3.2",
        "a stream that depends on itself",
        SERVER,
        frame(HEADERS, 0x24, 3, number(3) + b"\0" + BLOCK),
        "headers",
    ),
    Row("5.3.2", "a PRIORITY that depends on itself", BOTH, frame(PRIORITY, 0, 1, number(1) + b"\0"), "ignored"),
    Row("6.3", "PRIORITY on stream 0", BOTH, frame(PRIORITY, 0, 0, bytes(5)), "connection PROTOCOL_ERROR"),
    Row("6.3", "PRIORITY of 4 bytes", BOTH, frame(PRIORITY, 0, 1, bytes(4)), "stream FRAME_SIZE_ERROR"),
    Row("6.3", "PRIORITY of 6 bytes", BOTH, frame(PRIORITY, 0, 1, bytes(6)), "stream FRAME_SIZE_ERROR"),
    # RST_STREAM must not be sent on an idle stream (6.4).
    Row("6.3", "PRIORITY of 4 bytes on an idle stream", BOTH, frame(PRIORITY, 0, 99, bytes(4)), "ignored"),
    Row("6.4", "RST_STREAM on stream 0", BOTH, reset(0), "connection PROTOCOL_ERROR"),
    Row("6.4", "RST_STREAM of 3 bytes", BOTH, frame(RST_STREAM, 0, 1, bytes(3)), "connection FRAME_SIZE_ERROR"),
    Row("6.4", "RST_STREAM of 5 bytes", BOTH, frame(RST_STREAM, 0, 1, bytes(5)), "connection FRAME_SIZE_ERROR"),
    Row("6.4, 7", "RST_STREAM with an unknown code", BOTH, reset(1, 0xDEAD), "reset"),
    Row("8.1", "RST_STREAM without an error", CLIENT, reset(1, 0), "reset"),
]

_CONTROL = [
    Row("6.5", "SETTINGS on a stream", BOTH, frame(SETTINGS, 0, 1), "connection PROTOCOL_ERROR"),
    Row("6.5", "SETTINGS of 5 bytes", BOTH, frame(SETTINGS, 0, 0, bytes(5)), "connection FRAME_SIZE_ERROR"),
    Row(
        "6.5", "an acknowledgement with content", BOTH, frame(SETTINGS, ACK, 0, bytes(6)), "connection FRAME_SIZE_ERROR"
    ),
    Row("6.5.3", "an acknowledgement of nothing", BOTH, frame(SETTINGS, ACK, 0), "ignored"),
    Row("6.5.2", "an unknown setting", BOTH, settings((0x7A7A, 2**32 - 1)), "settings, -> SETTINGS ACK"),
    Row("6.5.2", "a table of any size", BOTH, settings((HEADER_TABLE_SIZE, 2**32 - 1)), "settings, -> SETTINGS ACK"),
    Row("6.5.2", "a client that would take pushes", SERVER, settings((ENABLE_PUSH, 1)), "settings, -> SETTINGS ACK"),
    Row("6.5.2", "a server that pushes", CLIENT, settings((ENABLE_PUSH, 1)), "connection PROTOCOL_ERROR"),
    Row("6.5.2", "a server that does not push", CLIENT, settings((ENABLE_PUSH, 0)), "settings, -> SETTINGS ACK"),
    Row("6.5.2", "a push that is neither on nor off", BOTH, settings((ENABLE_PUSH, 2)), "connection PROTOCOL_ERROR"),
    Row("6.5.2", "no stream at once", BOTH, settings((MAX_CONCURRENT_STREAMS, 0)), "settings, -> SETTINGS ACK"),
    Row("6.5.2", "the largest window", IDLE, settings((INITIAL_WINDOW_SIZE, MOST)), "settings, -> SETTINGS ACK"),
    Row("6.5.2", "a window too large", BOTH, settings((INITIAL_WINDOW_SIZE, 2**31)), "connection FLOW_CONTROL_ERROR"),
    Row("6.5.2", "the smallest frame size", BOTH, settings((MAX_FRAME_SIZE, 16_384)), "settings, -> SETTINGS ACK"),
    Row("6.5.2", "a frame size too small", BOTH, settings((MAX_FRAME_SIZE, 16_383)), "connection PROTOCOL_ERROR"),
    Row("6.5.2", "the largest frame size", BOTH, settings((MAX_FRAME_SIZE, 2**24 - 1)), "settings, -> SETTINGS ACK"),
    Row("6.5.2", "a frame size too large", BOTH, settings((MAX_FRAME_SIZE, 2**24)), "connection PROTOCOL_ERROR"),
    # Advice (6.5.2): what a runtime says in an error goes on whole, and the peer decides.
    Row("6.5.2", "a small list of fields", BOTH, settings((MAX_HEADER_LIST_SIZE, 0)), "settings, -> SETTINGS ACK"),
    Row(
        "6.5.3",
        "the values of a setting in their order",
        BOTH,
        settings((MAX_FRAME_SIZE, 20_000), (MAX_FRAME_SIZE, 1)),
        "connection PROTOCOL_ERROR",
    ),
    Row(
        "6.6, 8.4",
        "PUSH_PROMISE of a client",
        SERVER,
        frame(PUSH_PROMISE, 4, 1, number(2)),
        "connection PROTOCOL_ERROR",
    ),
    Row(
        "6.6, 8.4",
        "PUSH_PROMISE though it is off",
        CLIENT,
        frame(PUSH_PROMISE, 4, 1, number(2)),
        "connection PROTOCOL_ERROR",
    ),
    Row("6.7", "PING", BOTH, ping(b"12345678"), "-> PING ACK"),
    Row("6.7", "an acknowledgement of a PING", BOTH, ping(flags=ACK), "ping acknowledged"),
    Row("6.7", "PING on a stream", BOTH, ping(stream_id=1), "connection PROTOCOL_ERROR"),
    Row("6.7", "PING of 7 bytes", BOTH, ping(bytes(7)), "connection FRAME_SIZE_ERROR"),
    Row("6.7", "PING of 9 bytes", BOTH, ping(bytes(9)), "connection FRAME_SIZE_ERROR"),
    Row("6.8", "GOAWAY on a stream", BOTH, goaway(0, stream_id=1), "connection PROTOCOL_ERROR"),
    Row("6.8, 4.2", "GOAWAY of 7 bytes", BOTH, frame(GOAWAY, 0, 0, bytes(7)), "connection FRAME_SIZE_ERROR"),
    Row("6.8", "GOAWAY that has seen the stream", BOTH, goaway(1, 0, b"bye"), "goaway"),
    Row("6.8, 7", "GOAWAY with an unknown code and any text", BOTH, goaway(MOST, 0xDEAD, bytes(range(256))), "goaway"),
    Row("6.8, 8.7", "GOAWAY that has not seen the stream", CLIENT, goaway(0), "goaway, reset"),
    # It must not go up, but nothing says what comes of that; what is over stays over.
    Row("6.8", "GOAWAY with a larger last stream than before", BOTH, goaway(1) + goaway(MOST), "goaway, goaway"),
    Row("6.8", "new streams after our GOAWAY", GOING[:1], headers(3, REQUEST) + data(3, b"abcde"), "ignored"),
    Row("6.8", "a server's stream after our GOAWAY", GOING[1:], headers(2, RESPONSE), "connection PROTOCOL_ERROR"),
    Row(
        "6.10", "CONTINUATION of nothing", BOTH, frame(CONTINUATION, END_HEADERS, 1, BLOCK), "connection PROTOCOL_ERROR"
    ),
    Row(
        "6.10",
        "CONTINUATION on stream 0",
        BOTH,
        frame(CONTINUATION, END_HEADERS, 0, BLOCK),
        "connection PROTOCOL_ERROR",
    ),
    Row(
        "6.10",
        "CONTINUATION of a block that is over",
        SERVER,
        headers(3, REQUEST) + frame(CONTINUATION, END_HEADERS, 3, BLOCK),
        "connection PROTOCOL_ERROR",
    ),
    Row(
        "6.10",
        "CONTINUATION, and empty ones",
        SERVER,
        frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3) + frame(CONTINUATION, END_HEADERS, 3, BLOCK),
        "headers",
    ),
    Row(
        "6.10",
        "END_STREAM on CONTINUATION, where it has no meaning",
        SERVER,
        frame(HEADERS, 0, 3, BLOCK) + frame(CONTINUATION, END_HEADERS | 1, 3),
        "headers",
    ),
    Row(
        "10.5",
        "CONTINUATION without end",
        BOTH,
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 65,
        "connection ENHANCE_YOUR_CALM",
    ),
]

assert STREAM_WINDOW == 20_000


@cases(_PREFACE + _FRAMES + _STREAMS + _FLOW_CONTROL + _DATA_AND_HEADERS + _CONTROL)
def test_frame(row: Row, state: str) -> None:
    check(row, state)
