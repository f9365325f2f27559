"""The fields of a call: what of them goes on to the other side."""

from __future__ import annotations

from typing import List, Tuple

import pytest
from scene import ALT, PRIMARY, Node, message

from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import HeadersReceived
from criproxy.http2.grpc import OK_TRAILERS, prefix, request_head
from criproxy.http2.headers import encode

REQUEST = message("ContainerStatusRequest", container_id="alt.test__c")
RESPONSE = message("ContainerStatusResponse", status={"id": "c"})
Fields = List[Tuple[bytes, bytes]]


def length(*bodies: bytes, wrong_by: int = 0) -> Tuple[bytes, bytes]:
    """The content-length of messages."""
    return b"content-length", b"%d" % (sum(5 + len(body) for body in bodies) + wrong_by)


def call(node: Node, more: Fields, body: bytes = REQUEST) -> int:
    """Kubelet asks for the status of a container, with more fields in the head."""
    stream_id = node.kubelet.connection.open_stream()
    path = "/runtime.v1.RuntimeService/ContainerStatus"
    node.kubelet.connection.sender.headers(stream_id, encode((*request_head(path).fields, *more)))
    node.kubelet.connection.sender.data(stream_id, prefix(len(body)) + body, True)
    node.kubelet.say()
    return stream_id


def answer(node: Node, more: Fields) -> None:
    """The alternative runtime answers with more fields in the head."""
    head = encode(((b":status", b"200"), (b"content-type", b"application/grpc"), *more))
    node.send(ALT, "ContainerStatus", RESPONSE, head=head)
    node.end(ALT, "ContainerStatus", OK_TRAILERS)


_DEADLINE = (b"grpc-timeout", b"5S")
_HEADS = {
    "before the deadline": [length(REQUEST), _DEADLINE],
    "behind the deadline": [_DEADLINE, length(REQUEST), (b"x-more", b"1")],
    "alone": [length(REQUEST)],
}


@pytest.mark.parametrize("more", _HEADS.values(), ids=_HEADS)
def test_the_length_of_a_request_does_not_go_on_since_names_have_other_lengths(more: Fields) -> None:
    """RFC 9113, section 8.1.1: a runtime may close its connection, and other calls with it, if it does not match."""
    node = Node()
    call(node, more)
    (head,) = [event for event in node.served[ALT].heard(HeadersReceived) if not event.end_stream]
    assert head.block.get(b"content-length") is None
    assert head.block.length is None
    assert [field for field in head.block.fields if field[0] != b":path"] == [
        *(field for field in request_head("/").fields if field[0] != b":path"),
        *(field for field in more if field[0] != b"content-length"),
    ]


def test_the_length_of_a_response_does_not_go_on() -> None:
    node = Node()
    stream = call(node, [])
    answer(node, [length(RESPONSE), (b"own", b"x")])
    got = node.answer(stream)
    assert (got.bodies, got.code) == ([message("ContainerStatusResponse", status={"id": "alt.test__c"})], 0)
    assert got.metadata[b"own"] == b"x"


@pytest.mark.parametrize("wrong_by", [-1, 1])
def test_a_request_of_another_length_than_it_says_reaches_no_runtime(wrong_by: int) -> None:
    node = Node()
    stream = call(node, [length(REQUEST, wrong_by=wrong_by)])
    assert node.answer(stream).reset == ErrorCode.PROTOCOL_ERROR
    assert not node.asked(ALT, "ContainerStatus")
    assert not node.downstream.calls


@pytest.mark.parametrize("wrong_by", [-1, 1])
def test_a_response_of_another_length_than_it_says_fails_its_call_alone(wrong_by: int) -> None:
    node = Node()
    other = node.call("StopContainer", container_id="alt.test__c")
    stream = call(node, [])
    answer(node, [length(RESPONSE, wrong_by=wrong_by)])
    assert node.answer(stream).reset == ErrorCode.PROTOCOL_ERROR
    node.give(ALT, "StopContainer", b"")
    assert node.answer(other).code == 0


def test_a_list_of_several_runtimes_has_no_length_of_one_of_them() -> None:
    node = Node()
    stream = node.call("ListContainers")
    for id in (PRIMARY, ALT):
        body = message("ListContainersResponse", containers=[{"id": "c"}])
        head = encode(((b":status", b"200"), (b"content-type", b"application/grpc"), length(body)))
        node.send(id, "ListContainers", body, head=head)
        node.end(id, "ListContainers")
    assert node.listed(stream, "ListContainers", "containers") == ["c", "alt.test__c"]
