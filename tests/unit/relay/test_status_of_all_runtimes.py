"""The status of all runtimes."""

from __future__ import annotations

from typing import Any, Dict, Tuple

import pytest
from scene import ALT, PRIMARY, Node, message

from criproxy.cri.messages import api
from criproxy.http2.grpc import Code
from criproxy.relay.upstream import LIVENESS_TIMEOUT

READY = message("StatusResponse", status={"conditions": [{"type": "RuntimeReady", "status": True}]})
KIND = "alt.test/RuntimeReady"


def conditions(node: Node, stream: int) -> Dict[str, Tuple[bool, str]]:
    """Whether each condition is met, and why not."""
    (body,) = node.answer(stream).bodies
    answer: Any = api()["StatusResponse"].FromString(body)
    return {each.type: (each.status, each.reason) for each in answer.status.conditions}


def test_each_runtime_has_its_condition() -> None:
    node = Node()
    stream = node.call("Status")
    node.give(ALT, "Status", READY)
    node.give(PRIMARY, "Status", READY)
    assert conditions(node, stream) == {"RuntimeReady": (True, ""), KIND: (True, "")}


def test_what_the_primary_fails_with_is_the_calls() -> None:
    node = Node()
    stream = node.call("Status")
    node.refuse(PRIMARY, "Status", 13, "broken", (b"own", b"x"))
    answer = node.answer(stream)
    assert (answer.code, answer.text, answer.metadata[b"own"]) == (13, "broken", b"x")


@pytest.mark.parametrize(("what", "reason"), [("fails", "RuntimeStatusFailed"), ("is late", "RuntimeDoesNotAnswer")])
def test_an_alternative_runtime_that_does_not_answer_is_not_ready(what: str, reason: str) -> None:
    node = Node(fan_out_timeout=1.0)
    stream = node.call("Status")
    node.give(PRIMARY, "Status", READY)
    if what == "fails":
        node.refuse(ALT, "Status", 13)
    node.loop.advance(1.1)
    assert conditions(node, stream)[KIND] == (False, reason)


def test_one_that_is_not_there_is_not_ready() -> None:
    node = Node()
    node.lose(ALT)
    stream = node.call("Status")
    node.give(PRIMARY, "Status", READY)
    assert conditions(node, stream)[KIND] == (False, "RuntimeNotAvailable")


def test_a_primary_that_is_not_there_fails_kubelets_call_after_a_while() -> None:
    node = Node(connection_timeout=5.0)
    node.lose(PRIMARY)
    stream = node.call("Status")
    node.give(ALT, "Status", READY)
    node.loop.advance(4.9)
    assert node.answer(stream).code is None
    node.loop.advance(0.1)
    answer = node.answer(stream)
    assert (answer.code, answer.bodies) == (Code.UNAVAILABLE, [])
    assert "the primary runtime () is not available" in answer.text


def test_a_primary_that_restarts_is_waited_for() -> None:
    node = Node((PRIMARY,))
    node.lose(PRIMARY)
    stream = node.call("Status")
    node.find(PRIMARY)
    node.give(PRIMARY, "Status", READY)
    assert conditions(node, stream) == {"RuntimeReady": (True, "")}


def test_a_primary_that_goes_with_kubelets_call_fails_it() -> None:
    node = Node((PRIMARY,))
    stream = node.call("Status")
    node.lose(PRIMARY)
    assert node.answer(stream).code == Code.UNAVAILABLE


@pytest.mark.parametrize("when", ["before", "during the call"])
def test_a_person_is_told_at_once_that_the_primary_is_not_there(when: str) -> None:
    node = Node()
    if when == "before":
        node.lose(PRIMARY)
    stream = node.call("Status", verbose=True)
    if when != "before":
        node.lose(PRIMARY)
    node.give(ALT, "Status", READY)
    node.loop.settle()
    assert conditions(node, stream)["RuntimeReady"] == (False, "RuntimeNotAvailable")
    assert conditions(node, stream)[KIND] == (True, "")
    assert node.answer(stream).code == Code.OK


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("id", [PRIMARY, ALT])
def test_one_that_moves_to_another_connection_is_there(id: str, verbose: bool) -> None:
    node = Node()
    node.move(id)
    stream = node.call("Status", verbose=verbose)
    node.arrive(id)
    for each in (PRIMARY, ALT):
        node.give(each, "Status", READY)
    assert conditions(node, stream) == {"RuntimeReady": (True, ""), KIND: (True, "")}


def test_a_primary_that_is_silent_is_not_there_and_one_that_is_slow_is_waited_for() -> None:
    node = Node((PRIMARY,), fan_out_timeout=1.0)
    stream = node.call("Status")
    node.loop.advance(10)
    assert node.answer(stream).code is None
    node.give(PRIMARY, "Status", READY)
    assert conditions(node, stream) == {"RuntimeReady": (True, "")}
    stream = node.call("Status")
    node.served[PRIMARY].sock.deaf = True
    node.loop.advance(1 + LIVENESS_TIMEOUT)
    answer = node.answer(stream)
    assert (answer.code, "it does not answer" in answer.text) == (Code.UNAVAILABLE, True)


def test_a_request_that_does_not_parse_is_refused() -> None:
    node = Node()
    answer = node.answer(node.call_path("/runtime.v1.RuntimeService/Status", b"\x08"))
    assert answer.code == Code.INVALID_ARGUMENT
    assert answer.text.startswith("criproxy: the request is not a StatusRequest")
