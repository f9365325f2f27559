"""Which calls are told to who watches, what is kept of their messages, and what nobody reads."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, Callable, List

import pytest
from scene import ALT, PRIMARY, Node, message

from criproxy.control.api import control
from criproxy.control.trace import MOST_TRACERS, MOST_WAITING, Filters, TraceService
from criproxy.cri.identity import Names
from criproxy.cri.names import PodName
from criproxy.cri.steps import finish
from criproxy.cri.verify import whole_fields
from criproxy.http2.grpc import RpcError, request_head
from criproxy.relay.known import Subject
from criproxy.relay.routing import plan_of
from criproxy.relay.tracing import SHOWN, EndedCall, Messages
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput


class Answers:
    """What somebody who watches is sent, as long as it reads."""

    def __init__(self) -> None:
        self.sent: List[Any] = []
        self.takes_more = True
        self.on_cancel: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """The client sees that it has begun."""

    def send(self, told: Any) -> bool:
        self.sent.append(told)
        return True


def request(**fields: Any) -> Any:
    return control().messages["TraceRequest"](**fields)


class Desk(Node):
    """A node, and those who watch it."""

    def __init__(self) -> None:
        super().__init__()
        relay: Any = SimpleNamespace(
            tracing=self.context.tracing, known=self.context.known, runtimes=list(self.runtimes.values())
        )
        self.service = TraceService(relay, self.loop.real, Log(0, StreamOutput(io.StringIO())))

    def watch(self, **fields: Any) -> Answers:
        answers: Any = Answers()
        self.service.trace(request(**fields), answers)
        found: Answers = answers
        return found


def ended(total: float = 0.0, code: int = 0, name: str = "Version", *targets: str) -> EndedCall:
    block = request_head(f"/runtime.v1.RuntimeService/{name}")
    names = [Names(each) for each in targets]
    return EndedCall(1, plan_of(block.head), b"", names, code, "", total, 0.0, None, block, ())


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, True),
        ({"slow": 1.0}, True),
        ({"slow": 1.1}, False),
        ({"errors": True}, True),
        ({"runtime": "primary"}, True),
        ({"runtime": ALT}, False),
        ({"method": "Stop*"}, True),
        ({"method": "stop*"}, False),
        ({"method": "Stop"}, False),
        ({"method": "[RS]top?ontainer", "errors": True, "slow": 0.5}, True),
        ({"method": "Stop*", "slow": 2}, False),
    ],
)
def test_a_call_is_told_if_all_holds(fields: Any, wanted: bool) -> None:
    assert Filters(request(**fields)).take(ended(1.0, 5, "StopContainer", PRIMARY)) is wanted


def test_a_call_that_is_well_is_no_error() -> None:
    assert not Filters(request(errors=True)).take(ended())


@pytest.mark.parametrize(
    ("pod", "wanted"),
    [("default/*", True), ("web", True), ("w*", True), ("kube-system/web", False), ("default", False)],
)
def test_a_pod_is_meant_with_its_namespace_or_without(pod: str, wanted: bool) -> None:
    filters = Filters(request(pod=pod))
    assert filters.take_subject(Subject(PodName("default", "web"), None, [])) is wanted
    assert not filters.take_subject(Subject(None, None, []))


def test_a_pattern_has_an_end() -> None:
    with pytest.raises(RpcError):
        Filters(request(pod="*" * 1000))


def test_while_nobody_wants_to_see_messages_none_are_kept() -> None:
    node = Desk()
    answers = node.watch()
    states = [node.context.tracing.bodies]
    reader = node.watch(bodies=True)
    states.append(node.context.tracing.bodies)
    reader.on_cancel()
    states.append(node.context.tracing.bodies)
    assert states == [False, True, False]
    answers.on_cancel()
    assert node.context.tracing.watchers == []


def test_only_those_who_trace_count_as_such() -> None:
    node = Desk()
    other: Any = SimpleNamespace(ended=lambda call: None)
    node.context.tracing.add(other, False)
    watching = [node.watch() for _ in range(MOST_TRACERS)]
    with pytest.raises(RpcError):
        node.watch()
    watching[0].on_cancel()
    node.watch()
    assert len(node.context.tracing.watchers) == MOST_TRACERS + 1


def test_calls_beyond_what_may_wait_are_counted() -> None:
    node = Desk()
    answers = node.watch()
    (watcher,) = node.context.tracing.watchers
    for _ in range(MOST_WAITING + 7):
        watcher.ended(ended())
    assert answers.sent == [], "kubelet goes first"
    node.loop.settle()
    assert len(answers.sent) == MOST_WAITING
    watcher.ended(ended())
    node.loop.settle()
    assert [answers.sent[-1].lost, answers.sent[-2].lost] == [0, 0]


def test_calls_that_are_not_read_are_counted() -> None:
    node = Desk()
    answers = node.watch()
    (watcher,) = node.context.tracing.watchers
    watcher.ended(ended())
    answers.takes_more = False
    node.loop.settle()
    watcher.ended(ended())
    answers.takes_more = True
    watcher.ended(ended())
    watcher.ended(ended())
    node.loop.settle()
    assert [told.lost for told in answers.sent] == [2, 0]


def test_what_waits_is_dropped_when_the_client_goes() -> None:
    node = Desk()
    answers = node.watch()
    (watcher,) = node.context.tracing.watchers
    watcher.ended(ended())
    answers.on_cancel()
    node.loop.settle()
    assert answers.sent == []


def test_of_an_answer_there_is_the_beginning() -> None:
    kept = Messages()
    kept.add((b"a" * 10, b"b" * SHOWN, b"c"))
    kept.add((b"d",))
    assert [len(body) for body in kept.kept] == [SHOWN]
    assert kept.sizes == [SHOWN + 11]
    assert kept.left == 1


def test_a_message_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    body = message("ListContainersResponse", containers=[{"id": "a" * 100}, {"id": "b" * 100}])
    one = message("ListContainersResponse", containers=[{"id": "a" * 100}])
    assert finish(whole_fields(body)) == body
    assert finish(whole_fields(body[:-1])) == one
    assert finish(whole_fields(one[:-1])) == b""
