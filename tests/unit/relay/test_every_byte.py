"""Every text that comes over the wire, with every byte in it: what is wrong ends a call, and never a connection.

Kubelet's connection has all of its calls, a runtime's has everybody's: an exception at a text would end them.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import pytest
from playbook import ClockLoop, socketpair
from scene import ALT, PRIMARY, Node, message

from criproxy.http2.connection import Connection
from criproxy.http2.events import HeadersReceived, StreamReset
from criproxy.http2.frames import GOAWAY, frame
from criproxy.http2.grpc import OK_TRAILERS, not_grpc, prefix
from criproxy.http2.headers import encode
from criproxy.relay.transport import Transport

Field = Tuple[bytes, bytes]
Fields = List[Field]
PATH = b"/runtime.v1.RuntimeService/ContainerStatus"
REQUEST: Fields = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", PATH),
    (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
    (b"grpc-encoding", b"gzip"),
    (b"grpc-accept-encoding", b"gzip"),
    (b"grpc-timeout", b"5S"),
    (b"user-agent", b"grpc-go"),
    (b"x-text-bin", b"AA=="),
]
HEAD: Fields = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-encoding", b"gzip"), (b"x", b"y")]
TRAILERS: Fields = [(b"grpc-status", b"5"), (b"grpc-message", b"not found"), (b"grpc-status-details-bin", b"CAU=")]
PACKED = b"\1" + prefix(3)[1:] + b"abc"
"""A message that says it is compressed, so that its encoding is looked at."""


def texts(text: bytes) -> Iterator[bytes]:
    """Every byte alone, and within a text."""
    for number in range(256):
        byte = bytes((number,))
        yield from (byte, text[:2] + byte + text[2:])


def varied(fields: Fields) -> Dict[str, Callable[[], Iterator[Fields]]]:
    """Each field's value, and the name of the last, with every byte."""

    def values(at: int) -> Iterator[Fields]:
        name, value = fields[at]
        return ([*fields[:at], (name, changed), *fields[at + 1 :]] for changed in texts(value))

    def names() -> Iterator[Fields]:
        name, value = fields[-1]
        return ([*fields[:-1], (changed, value)] for changed in texts(name))

    found: Dict[str, Callable[[], Iterator[Fields]]] = {"a name": names}
    for at, (name, _) in enumerate(fields):
        found[name.decode()] = lambda at=at: values(at)  # type: ignore[misc]
    return found


def check(node: Node, streams: Sequence[int]) -> None:
    """Each call has ended, once, and no connection has."""
    ends: Dict[int, int] = dict.fromkeys(streams, 0)
    for event in node.kubelet.events:
        if isinstance(event, StreamReset) or (isinstance(event, HeadersReceived) and event.end_stream):
            ends[event.stream_id] += 1
    assert set(ends.values()) == {1}
    assert not node.downstream.calls
    assert node.kubelet.closed is None
    assert [served.closed for served in node.served.values()] == [None, None]
    assert "internal error" not in node.text.getvalue()


_REQUESTS = varied(REQUEST)


@pytest.mark.parametrize("what", _REQUESTS)
def test_a_request_that_has_any_byte_in(what: str) -> None:
    node = Node(verbosity=6)
    streams: List[int] = []
    for number, fields in enumerate(_REQUESTS[what]()):
        connection = node.kubelet.connection
        streams.append(connection.open_stream())
        connection.sender.headers(streams[-1], encode(fields))
        connection.sender.data(streams[-1], PACKED if number % 2 else prefix(0), True)
        node.kubelet.say()
        answer_all(node)
    check(node, streams)


def answer_all(node: Node) -> None:
    """The runtimes answer whatever they are asked."""
    for served in node.served.values():
        for event in served.heard(HeadersReceived):
            served.connection.sender.headers(event.stream_id, encode([*HEAD[:2], *TRAILERS]), True)
        served.events.clear()
        served.say()


_CALLS: Dict[str, Tuple[str, str, Dict[str, Any]]] = {
    "in frames": ("ContainerStatus", PRIMARY, {"container_id": "c"}),
    "in messages": ("ContainerStatus", ALT, {"container_id": "alt.test__c"}),
    "of a list": ("ListContainers", ALT, {}),
    "of the status": ("Status", ALT, {"verbose": True}),
}
_PARTS = {"head": varied(HEAD), "trailers": varied(TRAILERS), "trailers alone": varied(HEAD[:2] + TRAILERS)}
_WHERE = {
    "head": list(_CALLS),
    "trailers": ["in messages", "of the status"],
    "trailers alone": ["in frames", "of a list"],
}


@pytest.mark.parametrize(
    ("part", "what", "call"),
    [(part, what, call) for part, found in _PARTS.items() for what in found for call in _WHERE[part]],
)
def test_a_response_that_has_any_byte_in(part: str, what: str, call: str) -> None:
    method, id, request = _CALLS[call]
    node = Node(verbosity=6 if call == "in messages" else 0)
    streams: List[int] = []
    for number, fields in enumerate(_PARTS[part][what]()):
        streams.append(node.call(method, **request))
        if id != PRIMARY and node.asked(PRIMARY, method):
            node.give(PRIMARY, method, message(f"{method}Response"))
        at, connection = node.asked(id, method)[-1], node.served[id].connection
        if part != "trailers alone":
            connection.sender.headers(at, encode(fields if part == "head" else HEAD))
            connection.sender.data(at, PACKED if number % 2 else prefix(0))
        connection.sender.headers(at, OK_TRAILERS if part == "head" else encode(fields), True)
        node.served[id].say()
        for served in node.served.values():
            served.events.clear()
    check(node, streams)


def test_a_goaway_that_says_anything() -> None:
    node = Node()
    stream = node.call("ContainerStatus", container_id="alt.test__c")
    node.served[ALT].connection._out.append(frame(GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4) + bytes(range(256))))
    node.give(ALT, "ContainerStatus", b"")
    assert node.answer(stream).code == 0
    assert "internal error" not in node.text.getvalue()


@pytest.mark.parametrize("client", [True, False], ids=["a runtime", "a client"])
def test_a_peer_that_begins_with_anything(client: bool) -> None:
    for text in (*texts(b"HTTP/1.1 400 Bad Request\r\n"), *texts(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")):
        loop = ClockLoop()
        ours, theirs = socketpair(loop)
        closed: List[str] = []
        Transport(loop.real, ours, Connection(client), lambda events: None, closed.append)
        theirs.send(text)
        loop.settle()
        theirs.close()
        loop.settle()
        assert len(closed) == 1
        assert closed[0] != "an internal error"


def test_what_a_peer_has_begun_with_is_told_whatever_it_is() -> None:
    for first in range(256):
        for second in range(256):
            told = not_grpc(bytes((first, second)))
            assert told.startswith("it does not speak gRPC") == bool(first)
            assert told.isprintable()
