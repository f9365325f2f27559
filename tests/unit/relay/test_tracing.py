"""What those who watch are told of the runtimes' parts in a call."""

from __future__ import annotations

from typing import List, Tuple

from scene import ALT, INTERNAL, PRIMARY, Node, message

from criproxy.relay.request import own_request
from criproxy.relay.tracing import MOST_QUESTIONS, EndedCall


class Watcher:
    def __init__(self) -> None:
        self.calls: List[EndedCall] = []

    def ended(self, call: EndedCall) -> None:
        self.calls.append(call)


def watched() -> Tuple[Node, Watcher]:
    node, watcher = Node(), Watcher()
    node.context.tracing.add(watcher, False)
    return node, watcher


def test_each_runtime_that_was_asked_is_there_with_what_came_of_it() -> None:
    node, watcher = watched()
    node.call("ListContainers")
    node.refuse(ALT, "ListContainers", INTERNAL)
    node.give(PRIMARY, "ListContainers", message("ListContainersResponse"))
    (call,) = watcher.calls
    assert [(asked.names.runtime, asked.code, asked.reached) for asked in call.asked] == [
        (ALT, INTERNAL, True),
        (PRIMARY, 0, True),
    ]
    assert all(0 <= asked.begun <= asked.ended <= call.total for asked in call.asked)


def test_a_call_that_its_caller_gives_up_has_the_runtime_that_was_asked() -> None:
    node, watcher = watched()
    stream = node.call("ContainerStatus", container_id="c")
    node.downstream.calls[stream].cancel()
    (call,) = watcher.calls
    assert [(asked.names.runtime, asked.code) for asked in call.asked] == [(PRIMARY, call.code)]


def test_the_head_of_the_request_is_there() -> None:
    node, watcher = watched()
    node.call("ContainerStatus", container_id="c")
    node.give(PRIMARY, "ContainerStatus", message("ContainerStatusResponse"))
    (call,) = watcher.calls
    assert call.block.get(b":path") == b"/runtime.v1.RuntimeService/ContainerStatus"


def test_a_stream_that_asks_again_and_again_keeps_no_more_than_some() -> None:
    node, watcher = watched()
    request = own_request(node.context.clock, "GetContainerEvents")
    for _ in range(MOST_QUESTIONS + 1):
        request.answered(node.context, node.runtimes[ALT], 0, request.asked(), True)
    request.ended(node.context, 0)
    (call,) = watcher.calls
    assert len(call.asked) == MOST_QUESTIONS
