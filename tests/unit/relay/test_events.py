"""Container events: the streams of several runtimes in one, and when it ends."""

from __future__ import annotations

from typing import Any, List

import pytest
from scene import ALT, INTERNAL, PRIMARY, UNAVAILABLE, UNIMPLEMENTED, Node, message, wire_of

from criproxy.cri.messages import api
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import HeadersReceived
from criproxy.http2.grpc import Code, RpcError, prefix

EVENTS = "GetContainerEvents"


def event(id: str) -> bytes:
    """An event."""
    return message("ContainerEventResponse", container_id=id)


def ids(node: Node, stream: int) -> List[str]:
    """Of which containers kubelet has got events."""
    events: List[Any] = [api()["ContainerEventResponse"].FromString(body) for body in node.answer(stream).bodies]
    return [each.container_id for each in events]


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def stream(node: Node) -> int:
    """A stream that all runtimes have begun."""
    made = node.call(EVENTS)
    for id in (PRIMARY, ALT):
        node.send(id, EVENTS)
    return made


def test_all_are_heard_as_they_come(node: Node, stream: int) -> None:
    node.send(ALT, EVENTS, event("b"), head=b"")
    node.send(PRIMARY, EVENTS, event("a"), head=b"")
    assert ids(node, stream) == ["alt.test__b", "a"]
    node.loop.advance(3600)
    assert node.answer(stream).code is None


def test_one_that_kubelet_could_not_parse_is_left_out(node: Node, stream: int) -> None:
    bad = event("b").replace(b"b", b"\xff")
    for id in (ALT, PRIMARY):
        node.send(id, EVENTS, bad, event("c"), head=b"")
    assert [body[:3] for body in node.answer(stream).bodies] == [b"\x0a\x0ba", bad[:3], event("c")[:3]]
    assert node.answer(stream).code is None
    assert 'of runtime "alt.test": a ContainerEventResponse is left out: container_id is not UTF-8' in (
        node.text.getvalue()
    )


def test_the_end_of_the_primarys_is_the_end(node: Node, stream: int) -> None:
    node.end(PRIMARY, EVENTS)
    assert node.answer(stream).code == 0
    assert node.resets(ALT) == node.asked(ALT, EVENTS)
    assert not node.dispatcher.lasting


@pytest.mark.parametrize("code", [0, INTERNAL])
def test_the_end_of_an_alternative_runtimes_is_the_end_too(node: Node, stream: int, code: int) -> None:
    node.end(ALT, EVENTS, wire_of(code, "broken"))
    answer = node.answer(stream)
    why = ": INTERNAL: broken" if code else ""
    text = f'criproxy: GetContainerEvents: runtime "alt.test" has ended its part{why}'
    assert (answer.code, answer.text) == (UNAVAILABLE, text)
    assert node.resets(PRIMARY) == node.asked(PRIMARY, EVENTS)
    assert not node.dispatcher.lasting


@pytest.mark.parametrize("id", [PRIMARY, ALT])
@pytest.mark.parametrize("how", ["it is lost", "it falls silent"])
def test_they_end_when_a_runtime_in_them_is_away(node: Node, stream: int, id: str, how: str) -> None:
    if how == "it is lost":
        node.lose(id)
    else:
        node.silence(id)
    assert node.answer(stream).code == UNAVAILABLE
    assert str(node.runtimes[id]) in node.answer(stream).text
    assert not node.dispatcher.lasting


def test_they_are_of_those_that_are_there_and_end_when_another_comes(node: Node) -> None:
    node.lose(ALT)
    stream = node.call(EVENTS)
    node.send(PRIMARY, EVENTS, event("a"))
    assert (ids(node, stream), node.answer(stream).code) == (["a"], None)
    node.find(ALT)
    text = 'criproxy: runtime "alt.test" has come: its events are not in this stream'
    assert (node.answer(stream).code, node.answer(stream).text) == (UNAVAILABLE, text)
    stream = node.call(EVENTS)
    for id in (PRIMARY, ALT):
        node.send(id, EVENTS, event("x"))
    assert ids(node, stream) == ["x", "alt.test__x"]


def test_there_are_none_at_once_while_the_primary_is_away(node: Node) -> None:
    node.lose(PRIMARY)
    stream = node.call(EVENTS)
    assert node.answer(stream).code == UNAVAILABLE
    assert "the primary runtime () is not available" in node.answer(stream).text
    assert not node.dispatcher.lasting


@pytest.mark.parametrize("id", [PRIMARY, ALT])
def test_they_go_on_while_a_runtime_moves_to_another_connection(node: Node, stream: int, id: str) -> None:
    before = node.served[id]
    node.move(id)
    node.arrive(id)
    assert node.served[id] is not before
    body = event("a")
    before.connection.sender.data(before.heard(HeadersReceived)[0].stream_id, prefix(len(body)) + body)
    before.say()
    assert (len(ids(node, stream)), node.answer(stream).code) == (1, None)
    # The end of the old connection is then the end.
    before.close()
    assert node.answer(stream).code == UNAVAILABLE


def test_a_runtime_that_moves_is_in_those_that_begin(node: Node) -> None:
    node.move(ALT)
    stream = node.call(EVENTS)
    node.arrive(ALT)
    node.send(PRIMARY, EVENTS)
    node.send(ALT, EVENTS, event("b"))
    assert (ids(node, stream), node.answer(stream).code) == (["alt.test__b"], None)


@pytest.mark.parametrize("old", [PRIMARY, ALT])
def test_there_are_none_if_one_runtime_has_none(node: Node, old: str) -> None:
    stream = node.call(EVENTS)
    node.refuse(old, EVENTS, UNIMPLEMENTED, "old")
    assert (node.answer(stream).code, node.answer(stream).text) == (UNIMPLEMENTED, "old")


def test_what_has_changed_makes_lists_that_are_known_old(node: Node, stream: int) -> None:
    before = node.memories.stamp()
    node.send(ALT, EVENTS, event("b"), head=b"")
    assert node.memories.stamp() == before + 1


def test_kubelets_cancellation_ends_them_everywhere(node: Node, stream: int) -> None:
    node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
    node.kubelet.say()
    assert node.resets(PRIMARY)
    assert node.resets(ALT)
    assert not node.dispatcher.lasting


def test_a_reason_of_the_proxys_own_ends_them(node: Node, stream: int) -> None:
    (call,) = node.dispatcher.lasting
    call.fail(RpcError(Code.UNAVAILABLE, "criproxy: the end"))
    node.loop.settle()
    assert node.answer(stream).text == "criproxy: the end"
    assert not node.dispatcher.lasting
