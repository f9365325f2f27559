"""What the messages of HTTP/2 let a peer violate, and what comes of it (RFC 9113, section 8; conformance.py)."""

from __future__ import annotations

from typing import List, Tuple

from conformance import ASKED, BOTH, CLIENT, CUTTING, IDLE, SERVER, Row, cases, check
from http2_reference import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PADDED,
    REQUEST,
    RESPONSE,
    TRAILERS,
    data,
    frame,
    headers,
    plain_block,
)

Field = Tuple[bytes, bytes]
_METHOD, _SCHEME, _PATH, _AUTHORITY, *_REGULAR = REQUEST
_STATUS, *_OF_RESPONSE = RESPONSE
_DEADLINE = (b"grpc-timeout", b"5S")
INTERIM: List[Field] = [(b":status", b"103")]
NEW = IDLE[:1]
MALFORMED = "stream PROTOCOL_ERROR"
_X = data(1, b"x")


def length(value: bytes) -> Field:
    return b"content-length", value


def asked(*more: Field, end: bool = False) -> bytes:
    """A request with more fields."""
    return headers(1, [*REQUEST, *more], end)


def answered(*more: Field, end: bool = False) -> bytes:
    """A response's head with more fields."""
    return headers(1, [*RESPONSE, *more], end)


_FRAMING = [
    Row("8.1", "a request of a head alone", NEW, asked(end=True), "headers END_STREAM"),
    Row("8.1", "a request", NEW, asked() + data(1, b"x", True), "headers, data END_STREAM"),
    Row("8.1", "a request with trailers", SERVER, _X + headers(1, TRAILERS, True), "data, headers END_STREAM"),
    Row("8.1", "trailers that do not end the stream", BOTH, headers(1, TRAILERS), MALFORMED),
    Row("8.1", "a second request", SERVER, headers(1, REQUEST, True), MALFORMED),
    Row("8.1", "trailers with pseudo-headers", CLIENT, headers(1, [_STATUS, *TRAILERS], True), MALFORMED),
    Row("8.1", "a request's trailers with a :path", SERVER, headers(1, [_PATH, *TRAILERS], True), MALFORMED),
    Row("8.1", "no field at all", SERVER, frame(HEADERS, END_HEADERS, 1), MALFORMED),
    Row("8.1", "empty trailers", BOTH, headers(1, [], True), "headers END_STREAM"),
    Row("8.1", "a request of no field", NEW, frame(HEADERS, END_HEADERS, 1), MALFORMED),
    Row("8.1", "data before the head", ASKED, _X, MALFORMED),
    Row("8.1", "trailers before the head", ASKED, headers(1, TRAILERS, True), MALFORMED),
    Row("8.1", "a second response", CLIENT, headers(1, RESPONSE, True), MALFORMED),
    Row("8.1", "an interim response", ASKED, headers(1, INTERIM), "ignored"),
    Row("8.1", "interim responses, and one", ASKED, headers(1, INTERIM) * 2 + answered(), "headers"),
    Row("8.1", "an interim response that ends the stream", ASKED, headers(1, INTERIM, True), MALFORMED),
    Row("8.1", "an interim response behind the head", CLIENT, headers(1, INTERIM), MALFORMED),
    Row("8.1", "data behind an interim response", ASKED, headers(1, INTERIM) + _X, MALFORMED),
    Row(
        "8.1", "trailers behind an interim response", ASKED, headers(1, INTERIM) + headers(1, TRAILERS, True), MALFORMED
    ),
    Row("8.1", "a head that is all", ASKED, headers(1, RESPONSE + TRAILERS, True), "headers END_STREAM"),
    Row("8.1", "data that ends a response", CLIENT, data(1, b"x", True), "data END_STREAM"),
]

_OVER = frame(HEADERS, END_HEADERS | 1, 1, plain_block(TRAILERS))
_LENGTH = [
    Row(
        "8.1.1",
        "a request as long as it says",
        NEW,
        asked(length(b"3")) + data(1, b"abc", True),
        "headers, data END_STREAM",
    ),
    Row(
        "8.1.1",
        "a response as long as it says",
        ASKED,
        answered(length(b"1")) + _X + _OVER,
        "headers, data, headers END_STREAM",
    ),
    Row(
        "8.1.1",
        "a request in pieces",
        NEW,
        asked(length(b"2")) + _X + data(1, b"y", True),
        "headers, data, data END_STREAM",
    ),
    Row("8.1.1", "a shorter request", NEW, asked(length(b"4")) + data(1, b"abc", True), f"headers, {MALFORMED}"),
    Row(
        "8.1.1", "a shorter request with trailers", NEW, asked(length(b"2")) + _X + _OVER, f"headers, data, {MALFORMED}"
    ),
    Row("8.1.1", "a longer request", NEW, asked(length(b"2")) + data(1, b"abc", True), f"headers, {MALFORMED}"),
    Row("8.1.1", "a longer request that goes on", NEW, asked(length(b"1")) + _X * 2, f"headers, data, {MALFORMED}"),
    Row("8.1.1", "a request without its data", NEW, asked(length(b"1"), end=True), MALFORMED),
    Row("8.1.1", "a shorter response", ASKED, answered(length(b"2")) + _X + _OVER, f"headers, data, {MALFORMED}"),
    Row(
        "8.1.1",
        "a response shorter at its END_STREAM",
        ASKED,
        answered(length(b"2")) + data(1, b"x", True),
        f"headers, {MALFORMED}",
    ),
    Row("8.1.1", "a longer response", ASKED, answered(length(b"0")) + _X, f"headers, {MALFORMED}"),
    Row("8.1.1", "a response without its data", ASKED, answered(length(b"1"), end=True), MALFORMED),
    Row("8.1.1", "nothing, as it says", NEW, asked(length(b"0"), end=True), "headers END_STREAM"),
    Row(
        "8.1.1",
        "padding, which does not count",
        NEW,
        asked(length(b"1")) + frame(DATA, PADDED | 1, 1, b"\x02x\0\0"),
        "headers, data END_STREAM",
    ),
    Row("8.1.1", "a length that is no number", NEW, asked(length(b"3x")), MALFORMED),
    Row("8.1.1", "an empty length", NEW, asked(length(b"")), MALFORMED),
    Row("8.1.1", "a length below nothing", NEW, asked(length(b"-1")), MALFORMED),
    Row("8.1.1", "a length with a plus", NEW, asked(length(b"+1")), MALFORMED),
    Row("8.1.1", "a length of too many digits", NEW, asked(length(b"9" * 5_000)), MALFORMED),
    Row("8.1.1", "a length in other digits", NEW, asked(length("٣".encode())), MALFORMED),
    Row("8.1.1", "two lengths", NEW, asked(length(b"3"), length(b"4")), MALFORMED),
    Row(
        "8.1.1",
        "a length behind the deadline",
        CUTTING,
        asked(_DEADLINE, length(b"2")) + _X + _OVER,
        f"headers, data, {MALFORMED}",
    ),
    Row(
        "8.1.1",
        "one length before and one behind the deadline",
        CUTTING,
        asked(length(b"1"), _DEADLINE, length(b"1")),
        MALFORMED,
    ),
    # RFC 9110, section 8.6, lets a recipient take what is there twice and the same; no peer of ours sends it.
    Row("8.1.1", "a length twice", NEW, asked(length(b"3"), length(b"3")), MALFORMED),
    Row("8.1.1", "a length in a list", NEW, asked(length(b"3, 3")), MALFORMED),
    Row("8.1.1", "a response with a length that is no number", ASKED, answered(length(b"?")), MALFORMED),
    Row(
        "8.1.1",
        "a 304, whose length is another response's",
        ASKED,
        headers(1, [(b":status", b"304"), length(b"9")], True),
        "headers END_STREAM",
    ),
    Row(
        "8.1.1",
        "an interim response, whose length says nothing",
        ASKED,
        headers(1, [*INTERIM, length(b"9")]) + answered() + _X,
        "headers, data",
    ),
    Row(
        "8.1.1",
        "a length in trailers, where it says nothing",
        BOTH,
        headers(1, [*TRAILERS, length(b"9")], True),
        "headers END_STREAM",
    ),
]


_BAD_FIELDS: List[Tuple[str, str, Field]] = [
    ("8.2", "an uppercase name", (b"X-Name", b"v")),
    ("8.2.1", "an empty name", (b"", b"v")),
    ("8.2.1", "a space in a name", (b"a name", b"v")),
    ("8.2.1", "a control character in a name", (b"a\x1fname", b"v")),
    ("8.2.1", "DEL in a name", (b"a\x7fname", b"v")),
    ("8.2.1", "a name beyond ASCII", (b"n\xc3\xa4me", b"v")),
    ("8.2.1", "a colon in a name", (b"a:name", b"v")),
    ("8.2.1", "NUL in a value", (b"name", b"a\0b")),
    ("8.2.1", "LF in a value", (b"name", b"a\nb")),
    ("8.2.1", "CR in a value", (b"name", b"a\rb")),
    ("8.2.1", "LF at the end of a value", (b"name", b"a\n")),
    ("8.2.1", "a space before a value", (b"name", b" a")),
    ("8.2.1", "a space behind a value", (b"name", b"a ")),
    ("8.2.1", "a tabulator before a value", (b"name", b"\ta")),
    ("8.2.1", "a tabulator behind a value", (b"name", b"a\t")),
    ("8.2.1", "a value that is a space", (b"name", b" ")),
    ("8.2.2", "connection", (b"connection", b"close")),
    ("8.2.2", "keep-alive", (b"keep-alive", b"timeout=5")),
    ("8.2.2", "proxy-connection", (b"proxy-connection", b"close")),
    ("8.2.2", "transfer-encoding", (b"transfer-encoding", b"chunked")),
    ("8.2.2, 8.6", "upgrade", (b"upgrade", b"h2c")),
    ("8.2.2", "te other than trailers", (b"te", b"gzip")),
    ("8.2.2", "te of trailers and more", (b"te", b"trailers, gzip")),
    ("8.3", "a pseudo-header that nobody knows", (b":other", b"v")),
    ("8.3", "a pseudo-header after regular fields", (b":path", b"/")),
]
_GOOD_FIELDS: List[Tuple[str, str, Field]] = [
    ("8.2.1", "an empty value", (b"name", b"")),
    ("8.2.1", "blanks within a value", (b"name", b"a \t b")),
    ("8.2.1", "control characters and bytes beyond ASCII", (b"name", bytes(set(range(1, 256)) - set(b"\n\r\t ")))),
    ("8.2.1", "the characters of a name", (b"!#$%&'*+-.^_`|~09az", b"v")),
    # gRPC's libraries write the text of an error with its blanks, and "exit status 1: " is one (8.2.1 forbids it).
    ("8.2.1: differs", "a blank behind the text of an error", (b"grpc-message", b"exit status 1: ")),
    ("8.2.2", "te of trailers", (b"te", b"trailers")),
    ("8.2.3", "cookies in crumbs", (b"cookie", b"a=b")),
    # That Host must agree with :authority is a SHOULD of 8.3.1: neither says anything to a unix socket.
    ("8.3.1: SHOULD", "a host that is not the authority", (b"host", b"elsewhere")),
]


def with_field(section: str, what: str, field: Field, good: bool) -> List[Row]:
    """A field in a request, in a response, and in the trailers of each."""
    end = "headers END_STREAM" if good else MALFORMED
    return [
        Row(section, f"a request with {what}", NEW, asked(field, end=True), end),
        Row(section, f"a request with {what} behind its deadline", CUTTING, asked(_DEADLINE, field, end=True), end),
        Row(section, f"a response with {what}", ASKED, answered(field, end=True), end),
        Row(section, f"trailers with {what}", BOTH, headers(1, [*TRAILERS, field], True), end),
    ]


_FIELDS = [row for section, what, field in _BAD_FIELDS for row in with_field(section, what, field, False)]
_FIELDS += [row for section, what, field in _GOOD_FIELDS for row in with_field(section, what, field, True)]

_REQUESTS = [
    Row("8.3.1", f"a request {what}", NEW, headers(1, pseudo + _REGULAR, True), MALFORMED)
    for what, pseudo in (
        ("without :method", [_SCHEME, _PATH, _AUTHORITY]),
        ("without :scheme", [_METHOD, _PATH, _AUTHORITY]),
        ("without :path", [_METHOD, _SCHEME, _AUTHORITY]),
        ("with an empty :method", [(b":method", b""), _SCHEME, _PATH]),
        ("with an empty :scheme", [_METHOD, (b":scheme", b""), _PATH]),
        ("with an empty :path", [_METHOD, _SCHEME, (b":path", b"")]),
        ("with two of :method", [_METHOD, _METHOD, _SCHEME, _PATH]),
        ("with two of :path", [_METHOD, _SCHEME, _PATH, _PATH]),
        ("with two of :authority", [_METHOD, _SCHEME, _PATH, _AUTHORITY, _AUTHORITY]),
        ("with :status", [_METHOD, _SCHEME, _PATH, _STATUS]),
        ("with :protocol, which is not announced", [_METHOD, _SCHEME, _PATH, (b":protocol", b"websocket")]),
        ("that is a response", [_STATUS]),
        ("that is trailers", []),
    )
]
_REQUESTS += [
    Row(
        "8.3.1", "a request without :authority", NEW, headers(1, [_METHOD, _SCHEME, _PATH], True), "headers END_STREAM"
    ),
    Row("8.3.1", "another method", NEW, headers(1, [(b":method", b"GET"), _SCHEME, _PATH], True), "headers END_STREAM"),
    Row("8.3.1", "another order", NEW, headers(1, [_PATH, _METHOD, _AUTHORITY, _SCHEME], True), "headers END_STREAM"),
    Row("8.3", "a response's field first", NEW, headers(1, [_REGULAR[0], *REQUEST], True), MALFORMED),
    # That nobody is connected to anything is said by gRPC's rules (UNIMPLEMENTED).
    Row("8.5", "CONNECT", NEW, headers(1, [(b":method", b"CONNECT"), (b":authority", b"a:1")]), "headers"),
    Row("8.5", "CONNECT with a path", NEW, headers(1, [(b":method", b"CONNECT"), *REQUEST[1:]]), MALFORMED),
    Row("8.5", "CONNECT without an authority", NEW, headers(1, [(b":method", b"CONNECT")]), MALFORMED),
]
_RESPONSES = [
    Row("8.3.2", f"a response {what}", ASKED, headers(1, pseudo + _OF_RESPONSE, True), MALFORMED)
    for what, pseudo in (
        ("with two of :status", [_STATUS, _STATUS]),
        ("with an empty :status", [(b":status", b"")]),
        ("with a :status of two digits", [(b":status", b"20")]),
        ("with a :status of four digits", [(b":status", b"2000")]),
        ("with a :status that is no number", [(b":status", b"2x0")]),
        ("with a :status of 0", [(b":status", b"000")]),
        ("with :path", [_STATUS, _PATH]),
        ("that is a request", REQUEST[:4]),
    )
]
_RESPONSES += [
    Row("8.3.2", "any :status", ASKED, headers(1, [(b":status", b"999")], True), "headers END_STREAM"),
    Row("8.6", "switching protocols", ASKED, headers(1, [(b":status", b"101")]), MALFORMED),
    Row("8.6", "switching protocols at the end", ASKED, headers(1, [(b":status", b"101")], True), MALFORMED),
]
_LARGE = frame(HEADERS, 0, 1, plain_block(REQUEST)) + frame(CONTINUATION, END_HEADERS, 1, b"\x00\x01x\x00" * 1_001)
_SIZES = [
    Row("10.5.1", "more fields than are taken", NEW, _LARGE, "stream ENHANCE_YOUR_CALM"),
]


@cases(_FRAMING + _LENGTH + _FIELDS + _REQUESTS + _RESPONSES + _SIZES)
def test_message(row: Row, state: str) -> None:
    check(row, state)
