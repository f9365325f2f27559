"""A memory and a runtime that changes, in any order of things: what counts as fresh has every change that has ended."""

from __future__ import annotations

from typing import Any, Dict, List, Set, Tuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from scene import ALT, PRIMARY, Node, message

from criproxy.cri.filter import CONTAINERS, PODS, ListKind
from criproxy.cri.messages import api

NAMES = st.sampled_from(["a", "b", "c"])
METHODS = {"ListPodSandbox": PODS, "ListContainers": CONTAINERS}


class Memory(RuleBasedStateMachine):
    """The runtime does what it is asked for at any moment between the call and its end, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.node = Node((PRIMARY, ALT), absence_grace=1e9, fan_out_timeout=1e9)
        self.pods: Set[str] = set()
        self.calls: List[Tuple[int, str]] = []
        """The runtime's streams on which it has been asked for a change, and the pod."""
        self.read: Dict[int, bytes] = {}
        """What it has found for the lists that it has not answered yet, by the streams."""
        self.answered: Set[int] = set()
        self.noted: Set[str] = set()
        """The pods that there were when the last change had ended."""

    def here(self) -> bool:
        """Whether the runtime is there."""
        return ALT not in self.node.lost

    def lists(self) -> List[Tuple[str, int]]:
        """The lists that it has not answered yet."""
        asked = [(method, stream) for method in METHODS for stream in self.node.asked(ALT, method)]
        return [each for each in asked if each[1] not in self.answered]

    def listed(self, method: str) -> bytes:
        """What it would list now; a container is called as its pod is."""
        if method == "ListPodSandbox":
            return message("ListPodSandboxResponse", items=[{"id": name} for name in sorted(self.pods)])
        return message("ListContainersResponse", containers=[{"id": name} for name in sorted(self.pods)])

    @precondition(here)
    @rule(name=NAMES)
    def ask_for_a_change(self, name: str) -> None:
        self.node.call("StopPodSandbox", pod_sandbox_id=f"alt.test__{name}")
        self.calls.append((self.node.asked(ALT, "StopPodSandbox")[-1], name))

    @precondition(lambda self: self.here() and self.calls)
    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        _, name = data.draw(st.sampled_from(self.calls))
        self.pods ^= {name}

    @precondition(lambda self: self.here() and self.calls)
    @rule(data=st.data())
    def end_a_change(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.calls.remove(call)
        served = self.node.served[ALT]
        served.answer(call[0])
        if not self.calls:
            self.noted = set(self.pods)

    @rule(method=st.sampled_from(sorted(METHODS)))
    def kubelet_lists(self, method: str) -> None:
        self.node.call(method)
        self.node.give(PRIMARY, method, b"")

    @precondition(lambda self: self.here() and self.lists())
    @rule(data=st.data())
    def read_a_list(self, data: st.DataObject) -> None:
        method, stream = data.draw(st.sampled_from(self.lists()))
        self.read.setdefault(stream, self.listed(method))

    @precondition(lambda self: self.here() and any(stream in self.read for _, stream in self.lists()))
    @rule(data=st.data())
    def answer_a_list(self, data: st.DataObject) -> None:
        _, stream = data.draw(st.sampled_from([each for each in self.lists() if each[1] in self.read]))
        self.answered.add(stream)
        self.node.served[ALT].answer(stream, self.read.pop(stream))

    @precondition(here)
    @rule()
    def lose(self) -> None:
        self.node.lose(ALT)
        self.calls.clear()
        self.noted = set(self.pods)

    @precondition(lambda self: not self.here())
    @rule()
    def find(self) -> None:
        self.node.find(ALT)
        self.read.clear()
        self.answered.clear()

    @rule(seconds=st.sampled_from([0.5, 2.5]))
    def wait(self, seconds: float) -> None:
        self.node.loop.advance(seconds)

    @invariant()
    def what_is_fresh_has_every_change(self) -> None:
        memory = self.node.memories.of(self.node.runtimes[ALT])
        assert memory is not None
        if self.calls:
            return
        for kind in (PODS, CONTAINERS):
            if memory.is_fresh(kind):
                assert _names(kind, memory._bodies[kind]) == {f"alt.test__{name}" for name in self.noted}


def _names(kind: ListKind, body: bytes) -> Set[str]:
    answer: Any = api()["ListPodSandboxResponse" if kind is PODS else "ListContainersResponse"].FromString(body)
    return {entry.id for entry in (answer.items if kind is PODS else answer.containers)}


Memory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMemory = Memory.TestCase
