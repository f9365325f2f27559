"""What runtimes have: counted when somebody looks, soon, and not too often."""

from __future__ import annotations

from typing import List, Optional

import pytest
from scene import ALT, INTERNAL, PRIMARY, UNAVAILABLE, UNIMPLEMENTED, Node, message

from criproxy.relay.inventory import FRESH, PATIENCE, UNKNOWN, Counts, Inventory

POD = {"id": "p", "metadata": {"name": "web", "namespace": "default", "uid": "1"}}
PODS = message("ListPodSandboxResponse", items=[POD, {**POD, "id": "q"}])
CONTAINERS = message("ListContainersResponse", containers=[{"id": "c"}])
IMAGES = message("ListImagesResponse", images=[{"id": name} for name in "abc"])
METHODS = {"ListPodSandbox": PODS, "ListContainers": CONTAINERS, "ListImages": IMAGES}


class Counted(Node):
    """A node, and somebody who looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.inventory = Inventory(self.context)
        self.done = 0

    def look(self) -> None:
        self.inventory.take(list(self.runtimes.values()), self._tell)
        self.loop.settle()

    def _tell(self) -> None:
        self.done += 1

    def answer_all(self, *ids: str) -> None:
        for id in ids or (PRIMARY, ALT):
            for method, body in METHODS.items():
                self.give(id, method, body)

    def of(self, id: str) -> Optional[List[int]]:
        counts: Optional[Counts] = self.inventory.of(self.runtimes[id])
        return None if counts is None else [counts.pods, counts.containers, counts.images]


@pytest.fixture
def node() -> Counted:
    return Counted()


def test_each_runtime_is_asked_for_what_it_has(node: Counted) -> None:
    node.look()
    node.answer_all(PRIMARY)
    assert node.done == 0
    node.answer_all(ALT)
    assert node.done == 1
    assert node.of(PRIMARY) == node.of(ALT) == [2, 1, 3]


def test_whoever_looks_meanwhile_gets_the_same_answer(node: Counted) -> None:
    node.look()
    node.look()
    node.answer_all()
    assert node.done == 2
    assert len(node.asked(PRIMARY, "ListImages")) == 1


def test_who_looks_often_does_not_have_them_asked_often(node: Counted) -> None:
    node.look()
    node.answer_all()
    node.loop.advance(FRESH / 2)
    node.look()
    assert node.done == 2
    assert len(node.asked(PRIMARY, "ListImages")) == 1
    node.loop.advance(FRESH)
    node.look()
    assert node.done == 2
    assert len(node.asked(PRIMARY, "ListImages")) == 2


def test_a_runtime_that_has_just_come_is_asked_at_once(node: Counted) -> None:
    """Somebody adds a runtime and looks."""
    added = node.runtimes.pop(ALT)
    node.look()
    node.answer_all(PRIMARY)
    assert (node.done, node.of(PRIMARY)) == (1, [2, 1, 3])
    node.runtimes[ALT] = added
    node.look()
    node.answer_all()
    assert (node.done, node.of(ALT)) == (2, [2, 1, 3])


def test_a_runtime_that_hangs_is_not_waited_for(node: Counted) -> None:
    node.look()
    node.answer_all(PRIMARY)
    node.give(ALT, "ListPodSandbox", PODS)
    node.loop.advance(PATIENCE)
    assert node.done == 1
    assert node.of(PRIMARY) == [2, 1, 3]
    assert node.of(ALT) == [2, UNKNOWN, UNKNOWN]
    assert len(node.resets(ALT)) == 2, "nobody waits for the rest"


@pytest.mark.parametrize("code", [UNIMPLEMENTED, UNAVAILABLE, INTERNAL])
def test_what_a_runtime_does_not_tell_is_not_known(node: Counted, code: int) -> None:
    node.look()
    node.answer_all(PRIMARY)
    for method in METHODS:
        node.refuse(ALT, method, code)
    assert node.done == 1
    assert node.of(ALT) is None


def test_a_runtime_that_is_away_is_not_asked(node: Counted) -> None:
    node.lose(ALT)
    node.look()
    node.answer_all(PRIMARY)
    assert node.done == 1
    assert node.of(ALT) is None


def test_without_any_runtime_the_answer_comes_at_once(node: Counted) -> None:
    node.lose(ALT)
    node.lose(PRIMARY)
    node.look()
    assert node.done == 1


def test_what_the_proxy_asks_is_not_among_the_calls_of_the_last_minutes(node: Counted) -> None:
    node.look()
    node.answer_all()
    statistics = node.runtimes[PRIMARY].statistics
    assert sum(statistics.methods["ListImages"].codes) == 1
    assert sum(statistics.recent().codes) == 0
