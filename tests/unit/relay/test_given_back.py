"""What a call or a connection has taken is given back when it ends, and not when the cyclic collector runs."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Callable, Dict, Iterator
from typing import Counter as Counts

import pytest
from scene import ALT, PRIMARY, Node, message

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import Reader
from criproxy.http2.streams import Stream
from criproxy.relay.loop import Timer
from criproxy.relay.routing import Plan
from criproxy.relay.translation import Translation

ANSWERS: Dict[str, bytes] = {
    "ListContainers": message("ListContainersResponse", containers=[{"id": "c"}]),
    "StreamContainers": message("StreamContainersResponse", containers=[{"id": "c"}]),
    "ListImages": message("ListImagesResponse", images=[{"id": "sha256:1"}]),
    "StreamImages": message("StreamImagesResponse", images=[{"id": "sha256:1"}]),
    "Status": message("StatusResponse"),
    "UpdateRuntimeConfig": b"",
    "GetContainerEvents": message("ContainerEventResponse", container_id="c"),
    "ContainerStatus": message("ContainerStatusResponse"),
}
"""A call of each strategy, and what a runtime answers."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def there() -> Counts[str]:
    """How many objects of each kind hold something of calls and connections.

    A timer that is off holds nothing, and plans and translations are for all calls: caches that have bounds keep them.
    """
    counts = Counter(type(thing) for thing in gc.get_objects())
    ours = (kind for kind in counts if str(kind.__module__).startswith("criproxy.relay"))
    return Counter(
        {kind.__name__: counts[kind] for kind in {*ours, Connection, Reader, Stream} - {Plan, Timer, Translation}}
    )


def left_by(act: Callable[[], None]) -> Counts[str]:
    """What is there after the second time and was not there before: the first time fills the caches."""
    act()
    gc.collect()
    before = there()
    act()
    return there() - before


def answer(node: Node, id: str, method: str) -> None:
    """A runtime answers, if it has been asked."""
    if node.asked(id, method):
        node.give(id, method, ANSWERS[method])


@pytest.mark.parametrize("method", [method for method in ANSWERS if method != "GetContainerEvents"])
def test_nothing_stays_of_a_call_that_has_been_answered(method: str) -> None:
    node = Node()

    def call() -> None:
        node.call(method)
        for id in (PRIMARY, ALT):
            answer(node, id, method)

    assert left_by(call) == {}


@pytest.mark.parametrize("method", ANSWERS)
def test_nothing_stays_of_a_call_that_kubelet_has_cancelled(method: str) -> None:
    node = Node()

    def call() -> None:
        stream = node.call(method)
        answer(node, ALT, method)
        node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
        node.kubelet.say()

    assert left_by(call) == {}


@pytest.mark.parametrize("method", ANSWERS)
def test_nothing_stays_of_a_client_that_has_hung_up(method: str) -> None:
    node = Node()

    def call() -> None:
        node.connect()
        node.call(method)
        answer(node, ALT, method)
        node.open(method)
        node.kubelet.close()

    assert left_by(call) == {}


def test_nothing_stays_of_answers_that_a_client_has_not_read_before_it_hung_up() -> None:
    node = Node()

    def call() -> None:
        node.connect()
        node.kubelet.sock.deaf, node.kubelet.sock.room = True, 100
        for _ in range(3):
            node.call("ContainerStatus")
            node.give(PRIMARY, "ContainerStatus", bytes(5000))
        assert node.downstream.transport.unread > 15_000
        node.kubelet.close()

    assert left_by(call) == {}


@pytest.mark.parametrize("id", [PRIMARY, ALT])
@pytest.mark.parametrize("method", ANSWERS)
def test_nothing_stays_of_a_runtime_that_is_lost(method: str, id: str) -> None:
    node = Node()

    def call() -> None:
        stream = node.call(method)
        node.lose(id)
        node.find(id)
        node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
        node.kubelet.say()

    assert left_by(call) == {}
