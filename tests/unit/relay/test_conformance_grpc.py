"""What gRPC lets a client and a runtime violate, and what comes of it ("gRPC over HTTP2", "Compression", …).

HTTP/2's own rules are in ../http2/test_conformance.py.
"""

from __future__ import annotations

import gzip
import zlib
from typing import List, NamedTuple, Optional, Sequence, Tuple

import pytest
from scene import ALT, PRIMARY, Node, message

from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import HeadersReceived
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, Code, prefix
from criproxy.http2.headers import encode

Field = Tuple[bytes, bytes]
LIMIT = 10_000
"""--max-message-size here, bytes."""
METHOD = (b":method", b"POST")
SCHEME = (b":scheme", b"http")
PATH = (b":path", b"/runtime.v1.RuntimeService/ContainerStatus")
TYPE = (b"content-type", b"application/grpc")
TE = (b"te", b"trailers")
ASKED = message("ContainerStatusRequest", container_id="c")
TOLD = message("ContainerStatusResponse", status={"id": "c"})


def encoding(name: bytes) -> Field:
    return b"grpc-encoding", name


def whole(body: bytes) -> bytes:
    """A message with its prefix."""
    return prefix(len(body)) + body


def packed(body: bytes, flag: int = 1) -> bytes:
    """A message that says it is compressed."""
    return bytes((flag,)) + len(body).to_bytes(4, "big") + body


class Asking(NamedTuple):
    """A request: its fields, its data, and the status that it gets; None: a runtime is asked."""

    what: str
    fields: Sequence[Field]
    data: bytes
    code: Optional[int]


_HEAD = [METHOD, SCHEME, PATH]
_GRPC = [*_HEAD, TYPE, TE]
_REQUESTS = [
    Asking("a call", _GRPC, whole(ASKED), None),
    # gRPC has a server answer 415 (SHOULD): its clients tell no more of that than "UNKNOWN".
    Asking("no content-type", _HEAD, whole(ASKED), Code.INVALID_ARGUMENT),
    Asking("another content-type", [*_HEAD, (b"content-type", b"text/html")], whole(ASKED), Code.INVALID_ARGUMENT),
    Asking("application/grpc-web", [*_HEAD, (b"content-type", b"application/grpc-web")], b"", Code.INVALID_ARGUMENT),
    Asking("application/grpcfoo", [*_HEAD, (b"content-type", b"application/grpcfoo")], b"", Code.INVALID_ARGUMENT),
    Asking("application/grpc+proto", [*_HEAD, (b"content-type", b"application/grpc+proto")], whole(ASKED), None),
    Asking("application/grpc;v=1", [*_HEAD, (b"content-type", b"application/grpc;v=1")], whole(ASKED), None),
    Asking("GET", [(b":method", b"GET"), SCHEME, PATH, TYPE], whole(ASKED), Code.UNIMPLEMENTED),
    Asking("CONNECT", [(b":method", b"CONNECT"), (b":authority", b"a:1"), TYPE], b"", Code.UNIMPLEMENTED),
    # It only helps to find proxies that drop it, and there is none between kubelet and us.
    Asking("no te", [*_HEAD, TYPE], whole(ASKED), None),
    Asking("no data", _GRPC, b"", Code.INVALID_ARGUMENT),
    Asking("a prefix that is cut off", _GRPC, whole(ASKED)[:4], Code.INVALID_ARGUMENT),
    Asking("a message that is cut off", _GRPC, whole(ASKED)[:-1], Code.INVALID_ARGUMENT),
    # "Statuscodes" has UNIMPLEMENTED for one message too many or too few, which to kubelet says "no such method".
    Asking("two messages", _GRPC, whole(ASKED) * 2, Code.INVALID_ARGUMENT),
    Asking("a message and a part", _GRPC, whole(ASKED) + b"\0", Code.INVALID_ARGUMENT),
    Asking("a message that does not parse", _GRPC, whole(b"\xff"), Code.INVALID_ARGUMENT),
    Asking("a message of the largest size", _GRPC, whole(ASKED + b"\x7a\x8a\x4e" + bytes(LIMIT - 6)), None),
    Asking("a message that is too large", _GRPC, prefix(LIMIT + 1), Code.RESOURCE_EXHAUSTED),
    Asking("a compressed message", [*_GRPC, encoding(b"gzip")], packed(gzip.compress(ASKED)), None),
    Asking("deflate", [*_GRPC, encoding(b"deflate")], packed(zlib.compress(ASKED)), None),
    Asking("an encoding that is not used", [*_GRPC, encoding(b"snappy")], whole(ASKED), None),
    Asking("an unknown encoding", [*_GRPC, encoding(b"snappy")], packed(ASKED), Code.UNIMPLEMENTED),
    Asking("an encoding that is not ASCII", [*_GRPC, encoding(b"\xff")], packed(ASKED), Code.UNIMPLEMENTED),
    Asking("a compressed message without an encoding", _GRPC, packed(gzip.compress(ASKED)), Code.INTERNAL),
    Asking("a compressed message that is identity", [*_GRPC, encoding(b"identity")], packed(ASKED), Code.INTERNAL),
    Asking("a flag that is no flag", [*_GRPC, encoding(b"gzip")], packed(gzip.compress(ASKED), 2), Code.INTERNAL),
    Asking("a flag of 255", _GRPC, packed(ASKED, 255), Code.INTERNAL),
    Asking("a message compressed otherwise", [*_GRPC, encoding(b"gzip")], packed(ASKED), Code.INTERNAL),
]
_REQUESTS += [
    # gRPC does not say what comes of it: it goes to the runtime as it is, and says nothing to us.
    Asking(f"a timeout of {value!r}", [*_GRPC, (b"grpc-timeout", value)], whole(ASKED), None)
    for value in (b"5S", b"99999999H", b"123456789S", b"5", b"S", b"", b"5s", b"-1S", b"1.5S", "٣S".encode(), b"5 S")
]


def ids(rows: Sequence[Tuple[object, ...]]) -> List[str]:
    return [str(row[0]) for row in rows]


@pytest.mark.parametrize("row", _REQUESTS, ids=ids(_REQUESTS))
@pytest.mark.parametrize("cut", [0, 3], ids=["in one frame", "in two"])
def test_request(row: Asking, cut: int) -> None:
    node = Node()
    connection = node.kubelet.connection
    stream_id = connection.open_stream()
    connection.sender.headers(stream_id, encode(row.fields))
    if cut:
        connection.sender.data(stream_id, row.data[:cut])
    connection.sender.data(stream_id, row.data[cut:], True)
    node.kubelet.say()
    if row.code is None:
        node.give(PRIMARY, "ContainerStatus", TOLD)
        assert node.answer(stream_id).bodies == [TOLD]
        assert node.answer(stream_id).code == 0
    else:
        assert node.answer(stream_id).code == row.code
        assert node.answer(stream_id).text.startswith("criproxy: ")
        assert not node.asked(PRIMARY, "ContainerStatus")
    assert not node.downstream.calls
    assert node.kubelet.closed is None


class Answering(NamedTuple):
    """A response: its head, its data, its trailers (None: none), and the status that kubelet gets."""

    what: str
    head: bytes
    data: bytes
    trailers: Optional[bytes]
    code: int


def head(*fields: Field, status: bytes = b"200") -> bytes:
    return encode(((b":status", status), *fields))


def trailers(*fields: Field) -> bytes:
    return encode(fields)


_OK = RESPONSE_HEADERS
_GZIP = RESPONSE_HEADERS + encode((encoding(b"gzip"),))
_RESPONSES = [
    Answering("a response", _OK, whole(TOLD), OK_TRAILERS, Code.OK),
    # "Statuscodes" has UNIMPLEMENTED for one message too many or too few, which to kubelet says "no such method".
    Answering("two messages", _OK, whole(TOLD) * 2, OK_TRAILERS, Code.INTERNAL),
    Answering("no message", _OK, b"", OK_TRAILERS, Code.INTERNAL),
    Answering("a prefix that is cut off", _OK, whole(TOLD)[:4], OK_TRAILERS, Code.INTERNAL),
    Answering("a message that is cut off", _OK, whole(TOLD)[:-1], OK_TRAILERS, Code.INTERNAL),
    Answering("a message and a part", _OK, whole(TOLD) + b"\0", OK_TRAILERS, Code.INTERNAL),
    Answering("a message that is too large", _OK, prefix(LIMIT + 1), OK_TRAILERS, Code.RESOURCE_EXHAUSTED),
    Answering("no trailers", _OK, whole(TOLD), None, Code.INTERNAL),
    Answering("no trailers and no data", _OK, b"", None, Code.INTERNAL),
    Answering("trailers without a status", _OK, whole(TOLD), trailers((b"x", b"y")), Code.UNKNOWN),
    Answering("an error behind a message", _OK, whole(TOLD), trailers((b"grpc-status", b"5")), Code.NOT_FOUND),
    Answering("an error behind half a message", _OK, b"\0", trailers((b"grpc-status", b"5")), Code.NOT_FOUND),
    Answering("another content-type", head((b"content-type", b"text/html")), b"<", None, Code.UNKNOWN),
    Answering("application/grpcfoo", head((b"content-type", b"application/grpcfoo")), b"", None, Code.UNKNOWN),
    Answering("no content-type", head(), whole(TOLD), OK_TRAILERS, Code.UNKNOWN),
    Answering("a content-type that is not ASCII", head((b"content-type", b"\xff")), b"", None, Code.UNKNOWN),
    Answering(
        "a content-type with a format", head((b"content-type", b"application/grpc+proto")), whole(TOLD), OK_TRAILERS, 0
    ),
]
_HTTP = {
    b"400": Code.INTERNAL,
    b"401": Code.UNAUTHENTICATED,
    b"403": Code.PERMISSION_DENIED,
    b"404": Code.UNIMPLEMENTED,
    b"429": Code.UNAVAILABLE,
    b"502": Code.UNAVAILABLE,
    b"503": Code.UNAVAILABLE,
    b"504": Code.UNAVAILABLE,
    b"500": Code.UNKNOWN,
    b"204": Code.UNKNOWN,
    b"302": Code.UNKNOWN,
    b"999": Code.UNKNOWN,
}
"""gRPC's "HTTP to gRPC Status Code Mapping"."""
_RESPONSES += [
    Answering(f"HTTP status {status.decode()}", head(TYPE, status=status), b"", None, code)
    for status, code in _HTTP.items()
]
_READ = [
    Answering("a compressed message", _GZIP, packed(gzip.compress(TOLD)), OK_TRAILERS, Code.OK),
    Answering("a message that is not compressed", _GZIP, whole(TOLD), OK_TRAILERS, Code.OK),
    Answering("a compressed message without an encoding", _OK, packed(gzip.compress(TOLD)), OK_TRAILERS, Code.INTERNAL),
    Answering("an unknown encoding", _OK + encode((encoding(b"\xff"),)), packed(TOLD), OK_TRAILERS, Code.INTERNAL),
    Answering("a flag that is no flag", _GZIP, packed(gzip.compress(TOLD), 2), OK_TRAILERS, Code.INTERNAL),
    Answering("a message compressed otherwise", _GZIP, packed(TOLD), OK_TRAILERS, Code.INTERNAL),
    Answering("a message that does not parse", _OK, whole(b"\xff"), OK_TRAILERS, Code.INTERNAL),
]
"""Where the message is read; otherwise it goes to kubelet as it is, with the encoding that the runtime has named."""


def respond(id: str, row: Answering, cut: int) -> Tuple[Node, int, int]:
    """Lets a runtime respond; gives the node, the stream, and another call of kubelet's to the same runtime."""
    node = Node(max_message_size=LIMIT)
    container = "c" if id == PRIMARY else f"{id}__c"
    other = node.call("StopContainer", container_id=container)
    stream_id = node.call("ContainerStatus", container_id=container)
    connection, at = node.served[id].connection, node.asked(id, "ContainerStatus")[0]
    connection.sender.headers(at, row.head)
    if cut:
        connection.sender.data(at, row.data[:cut])
    connection.sender.data(at, row.data[cut:], row.trailers is None)
    if row.trailers is not None:
        connection.sender.headers(at, row.trailers, True)
    node.served[id].say()
    return node, stream_id, other


_BOTH = [(id, row) for id in (PRIMARY, ALT) for row in _RESPONSES] + [(ALT, row) for row in _READ]


@pytest.mark.parametrize(("id", "row"), _BOTH, ids=[f"{row.what} ({id or 'in frames'})" for id, row in _BOTH])
@pytest.mark.parametrize("cut", [0, 3, len(whole(TOLD))], ids=["in one frame", "in two", "a frame for each message"])
def test_response(id: str, row: Answering, cut: int) -> None:
    node, stream_id, other = respond(id, row, cut)
    answer = node.answer(stream_id)
    # A status that the runtime does not give goes on as it is: kubelet's library finds UNKNOWN itself.
    assert (answer.code if answer.code != -1 else Code.UNKNOWN) == row.code
    assert len(answer.bodies) <= 1
    assert answer.bodies or row.code
    node.give(id, "StopContainer", b"")
    assert node.answer(other).code == 0
    assert not node.downstream.calls


class Refusing(NamedTuple):
    """A response that is one block (Trailers-Only): its fields, and what kubelet gets."""

    what: str
    fields: Sequence[Field]
    code: int


_STATUS = (b":status", b"200")
_ONLY = [
    Refusing("an error", [_STATUS, TYPE, (b"grpc-status", b"5")], Code.NOT_FOUND),
    Refusing(
        "an error with a text", [_STATUS, TYPE, (b"grpc-status", b"5"), (b"grpc-message", b"%e4%")], Code.NOT_FOUND
    ),
    Refusing("success without a message", [_STATUS, TYPE, (b"grpc-status", b"0")], Code.INTERNAL),
    Refusing("an HTTP status and gRPC's", [(b":status", b"503"), TYPE, (b"grpc-status", b"5")], Code.NOT_FOUND),
    Refusing("a status beyond gRPC's", [_STATUS, TYPE, (b"grpc-status", b"77")], 77),
]


@pytest.mark.parametrize("row", _ONLY, ids=ids(_ONLY))
@pytest.mark.parametrize("id", [PRIMARY, ALT], ids=["in frames", "in messages"])
def test_trailers_only(id: str, row: Refusing) -> None:
    node = Node()
    stream_id = node.call("ContainerStatus", container_id="c" if id == PRIMARY else f"{id}__c")
    node.end(id, "ContainerStatus", encode(row.fields))
    assert node.answer(stream_id).code == row.code
    assert not node.downstream.calls


@pytest.mark.parametrize("status", [b"", b"x", b"-1", b"1.0", b"+1", b"\xff", "٣".encode(), b"9" * 5_000])
def test_a_status_that_is_no_number_is_an_error_and_goes_on_as_it_is(status: bytes) -> None:
    node = Node(verbosity=2)
    stream_id = node.call("StopContainer", container_id="c")
    node.end(PRIMARY, "StopContainer", encode((_STATUS, TYPE, (b"grpc-status", status))))
    (end,) = [event for event in node.kubelet.heard(HeadersReceived) if event.stream_id == stream_id]
    assert (end.block.get(b"grpc-status"), end.end_stream) == (status, True)
    assert " UNKNOWN: " in node.text.getvalue()


@pytest.mark.parametrize("code", [0, 1, 2, 8, 0xB, 0xDEAD])
def test_a_reset_goes_on_as_it_is_and_an_unknown_code_as_an_internal_error(code: int) -> None:
    node = Node()
    stream_id = node.call("ContainerStatus", container_id="c")
    peer = node.served[PRIMARY].connection
    peer._out.append(
        b"\0\0\4\3\0" + node.asked(PRIMARY, "ContainerStatus")[0].to_bytes(4, "big") + code.to_bytes(4, "big")
    )
    node.served[PRIMARY].say()
    assert node.answer(stream_id).reset == (code if code != 0xDEAD else ErrorCode.INTERNAL_ERROR)
