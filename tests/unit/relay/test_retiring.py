"""The runtime that was the primary one before: whose an id without a prefix is, and lists that need both."""

from __future__ import annotations

from typing import Any, Dict, List, Set, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from scene import ALT, INTERNAL, PRIMARY, UNAVAILABLE, Node, message, wire_of

from criproxy.cri.identity import RETIRING
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, Method, To
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import DataReceived, HeadersReceived
from criproxy.http2.grpc import Code

NOT_FOUND = int(Code.NOT_FOUND)
UNKNOWN = int(Code.UNKNOWN)
BOTH = (PRIMARY, RETIRING)
STATUS = {"pod_sandbox_id": "PodSandboxStatus", "container_id": "ContainerStatus"}
OWNED = [row for row in METHODS.values() if row.to is To.OWNER]


def status(method: str, id: str) -> bytes:
    """The answer of a runtime that has this id."""
    return message(f"{method}Response", status={"id": id})


def of(row: Method, id: str) -> Dict[str, Any]:
    """The request's fields."""
    more: Dict[str, Any] = {"config": {"image": {"image": "i"}}} if row.name == "CreateContainer" else {}
    return {row.owner_field: id, **more}


def tell(node: Node, id: str, method: str = "ContainerStatus", runtime: str = RETIRING) -> None:
    """The runtimes answer whose an id is."""
    for each in BOTH:
        if each == runtime:
            node.give(each, method, status(method, id))
        else:
            node.refuse(each, method, NOT_FOUND)


@pytest.mark.parametrize("row", OWNED, ids=lambda row: row.name)
@pytest.mark.parametrize("runtime", BOTH, ids=["primary", "retiring"])
class TestACallWithAnUnknownId:
    def test_goes_to_who_has_it_and_to_nobody_else(self, row: Method, runtime: str) -> None:
        node = Node(BOTH)
        node.call(row.name, **of(row, "x"))
        question = STATUS[row.owner_field]
        assert [len(node.asked(each, question)) for each in BOTH] == [1, 1]
        tell(node, "x", question, runtime)
        other = RETIRING if runtime == PRIMARY else PRIMARY
        asked = 2 if row.name == question else 1
        assert len(node.asked(runtime, row.name)) == asked
        assert len(node.asked(other, row.name)) == asked - 1

    def test_is_asked_for_once(self, row: Method, runtime: str) -> None:
        node = Node(BOTH)
        node.call(row.name, **of(row, "x"))
        question = STATUS[row.owner_field]
        tell(node, "x", question, runtime)
        before = {each: len(node.asked(each, question)) for each in BOTH}
        node.call("StopContainer", container_id="x")
        assert {each: len(node.asked(each, question)) for each in BOTH} == before
        assert len(node.asked(runtime, "StopContainer")) == (2 if row.name == "StopContainer" else 1)


class TestWhoseAnIdIs:
    def test_is_told_by_the_first_that_has_it_though_the_other_hangs(self) -> None:
        node = Node(BOTH)
        node.call("StopContainer", container_id="x")
        node.give(RETIRING, "ContainerStatus", status("ContainerStatus", "x"))
        assert len(node.asked(RETIRING, "StopContainer")) == 1
        assert node.resets(PRIMARY) == node.asked(PRIMARY, "ContainerStatus")

    def test_is_the_primarys_if_nobody_has_it(self) -> None:
        node = Node(BOTH)
        stream = node.call("RemoveContainer", container_id="x")
        tell(node, "x", runtime="nobody")
        node.give(PRIMARY, "RemoveContainer", b"")
        assert node.answer(stream).code == 0
        assert not node.asked(RETIRING, "RemoveContainer")

    def test_is_asked_again_if_nobody_has_had_it(self) -> None:
        node = Node(BOTH)
        for asked in (1, 2):
            node.call("RemoveContainer", container_id="x")
            assert len(node.asked(RETIRING, "ContainerStatus")) == asked
            tell(node, "x", runtime="nobody")

    @pytest.mark.parametrize(
        "text",
        [
            "No such container: x",
            "could not find container x",
            "container with ID starting with x not found: ID does not exist",
        ],
    )
    def test_is_not_of_a_runtime_that_says_so_by_another_code(self, text: str) -> None:
        """dockershim, and CRI-O of some releases."""
        node = Node(BOTH)
        node.call("StopContainer", container_id="x")
        node.refuse(PRIMARY, "ContainerStatus", NOT_FOUND)
        node.refuse(RETIRING, "ContainerStatus", UNKNOWN, text)
        assert len(node.asked(PRIMARY, "StopContainer")) == 1

    @pytest.mark.parametrize("broken", BOTH, ids=["primary", "retiring"])
    def test_cannot_be_told_if_one_that_may_have_it_fails(self, broken: str) -> None:
        node = Node(BOTH)
        stream = node.call("StopContainer", container_id="x")
        for each in BOTH:
            node.refuse(each, "ContainerStatus", INTERNAL if each == broken else NOT_FOUND, "broken")
        answer = node.answer(stream)
        assert answer.code == UNAVAILABLE
        assert 'whose "x" is cannot be told' in answer.text
        assert "INTERNAL: broken" in answer.text
        assert not any(node.asked(each, "StopContainer") for each in BOTH)

    def test_cannot_be_told_if_the_retiring_runtime_is_away(self) -> None:
        """NOT_FOUND would say that it is gone."""
        node = Node(BOTH)
        node.lose(RETIRING)
        stream = node.call("StopContainer", container_id="x")
        node.refuse(PRIMARY, "ContainerStatus", NOT_FOUND)
        answer = node.answer(stream)
        assert (answer.code, "the retiring runtime" in answer.text) == (UNAVAILABLE, True)

    def test_is_told_by_the_primary_though_the_retiring_runtime_is_away(self) -> None:
        node = Node(BOTH)
        node.lose(RETIRING)
        node.call("StopContainer", container_id="x")
        node.give(PRIMARY, "ContainerStatus", status("ContainerStatus", "x"))
        assert len(node.asked(PRIMARY, "StopContainer")) == 1

    def test_cannot_be_told_by_an_answer_without_it(self) -> None:
        node = Node(BOTH)
        node.call("StopContainer", container_id="x")
        node.give(RETIRING, "ContainerStatus", message("ContainerStatusResponse", info={"a": "b"}))
        node.give(PRIMARY, "ContainerStatus", status("ContainerStatus", "x"))
        assert len(node.asked(PRIMARY, "StopContainer")) == 1

    def test_is_told_by_its_prefix_if_it_has_one(self) -> None:
        node = Node((PRIMARY, ALT, RETIRING))
        node.call("StopContainer", container_id=f"{ALT}__x")
        assert len(node.asked(ALT, "StopContainer")) == 1

    def test_is_nobodys_to_ask_any_more_when_kubelet_has_given_up(self) -> None:
        node = Node(BOTH)
        stream = node.call("StopContainer", container_id="x")
        node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
        node.kubelet.say()
        for each in BOTH:
            assert node.resets(each) == node.asked(each, "ContainerStatus")
        assert not node.downstream.calls

    @pytest.mark.parametrize("method", ["ListContainers", "StreamContainers"])
    def test_is_learned_from_lists(self, method: str) -> None:
        node = Node(BOTH)
        node.call(method)
        row = message("ListContainersResponse", containers=[{"id": "c", "pod_sandbox_id": "p"}])
        node.give(RETIRING, method, row)
        node.call("StopContainer", container_id="c")
        node.call("StopPodSandbox", pod_sandbox_id="p")
        for call in ("StopContainer", "StopPodSandbox"):
            assert len(node.asked(RETIRING, call)) == 1
            assert not node.asked(PRIMARY, call)

    def test_is_learned_from_a_large_list_of_which_others_are_served_in_between(self) -> None:
        node = Node(BOTH, max_message_size=1 << 22)
        stream = node.call("ListContainers")
        ids = [f"{number:064}" for number in range(600)]
        node.give(RETIRING, "ListContainers", message("ListContainersResponse", containers=[{"id": id} for id in ids]))
        node.give(PRIMARY, "ListContainers", b"")
        node.loop.settle()
        assert node.listed(stream, "ListContainers", "containers") == ids
        for asked, id in enumerate((ids[0], ids[300], ids[-1]), 1):
            node.call("StopContainer", container_id=id)
            assert len(node.asked(RETIRING, "StopContainer")) == asked

    @pytest.mark.parametrize(
        ("starts", "fields", "answer", "calls"),
        [
            ("RunPodSandbox", {}, {"pod_sandbox_id": "new"}, "StopPodSandbox"),
            (
                "RestorePod",
                {},
                {"pod_sandbox_id": "new", "restored_containers": [{"container_id": "c"}]},
                "StopPodSandbox",
            ),
        ],
    )
    def test_is_learned_when_the_primary_makes_something(
        self, starts: str, fields: Dict[str, Any], answer: Dict[str, Any], calls: str
    ) -> None:
        node = Node(BOTH)
        node.call(starts, **fields)
        node.give(PRIMARY, starts, message(METHODS[starts].rpc.response, **answer))
        node.call(calls, pod_sandbox_id="new")
        assert len(node.asked(PRIMARY, calls)) == 1
        assert not node.asked(PRIMARY, "PodSandboxStatus")

    @pytest.mark.parametrize("runtime", BOTH, ids=["primary", "retiring"])
    def test_is_learned_when_a_container_is_made(self, runtime: str) -> None:
        node = Node(BOTH)
        node.call("CreateContainer", **of(METHODS["CreateContainer"], "p"))
        tell(node, "p", "PodSandboxStatus", runtime)
        node.give(runtime, "CreateContainer", message("CreateContainerResponse", container_id="c"))
        node.call("StartContainer", container_id="c")
        assert len(node.asked(runtime, "StartContainer")) == 1
        assert not node.asked(runtime, "ContainerStatus")


class TestANewPod:
    def test_starts_on_the_primary_runtime(self) -> None:
        node = Node(BOTH)
        node.call("RunPodSandbox", config={"metadata": {"name": "web"}})
        assert [len(node.asked(each, "RunPodSandbox")) for each in BOTH] == [1, 0]

    def test_cannot_ask_for_the_retiring_runtime(self) -> None:
        node = Node(BOTH)
        stream = node.call("RunPodSandbox", config={"annotations": {"kubernetes.io/target-runtime": RETIRING}})
        assert 'unknown runtime: "retiring"' in node.answer(stream).text

    def test_of_an_alternative_runtime_is_where_it_was(self) -> None:
        node = Node((PRIMARY, ALT, RETIRING))
        node.call("RunPodSandbox", config={"annotations": {"kubernetes.io/target-runtime": ALT}})
        assert len(node.asked(ALT, "RunPodSandbox")) == 1


def pods(*ids: str) -> bytes:
    """A list, which is the same on the wire as one message and as one of a stream."""
    return message("ListPodSandboxResponse", items=[{"id": id} for id in ids])


@pytest.mark.parametrize("method", ["ListPodSandbox", "StreamPodSandboxes"])
class TestAListOfPods:
    def test_has_those_of_both_under_the_names_that_kubelet_knows(self, method: str) -> None:
        node = Node((PRIMARY, ALT, RETIRING))
        stream = node.call(method)
        for id, name in ((RETIRING, "c"), (ALT, "b"), (PRIMARY, "a")):
            node.give(id, method, pods(name))
        assert node.listed(stream, "ListPodSandbox", "items") == ["a", f"{ALT}__b", "c"]

    def test_fails_while_the_retiring_runtime_is_away(self, method: str) -> None:
        """Kubelet would run its pods again."""
        node = Node(BOTH)
        node.lose(RETIRING)
        stream = node.call(method)
        node.give(PRIMARY, method, pods("a"))
        answer = node.answer(stream)
        assert (answer.code, "the retiring runtime" in answer.text) == (UNAVAILABLE, True)

    def test_fails_as_the_retiring_runtime_does(self, method: str) -> None:
        node = Node(BOTH)
        stream = node.call(method)
        node.give(PRIMARY, method, pods("a"))
        node.refuse(RETIRING, method, INTERNAL, "broken")
        assert (node.answer(stream).code, node.answer(stream).text) == (INTERNAL, "broken")

    def test_fails_if_the_retiring_runtime_is_late(self, method: str) -> None:
        node = Node(BOTH, fan_out_timeout=2.0)
        stream = node.call(method)
        node.give(PRIMARY, method, pods("a"))
        node.loop.advance(2.1)
        assert node.answer(stream).code == int(Code.DEADLINE_EXCEEDED)

    def test_has_what_the_retiring_runtime_had_while_that_is_remembered(self, method: str) -> None:
        node = Node(BOTH, absence_grace=60.0)
        node.call("ListPodSandbox")
        node.give(PRIMARY, "ListPodSandbox", pods("a"))
        node.give(RETIRING, "ListPodSandbox", pods("c"))
        node.lose(RETIRING)
        stream = node.call(method)
        node.give(PRIMARY, method, pods("a"))
        assert node.listed(stream, "ListPodSandbox", "items") == ["a", "c"]
        node.loop.advance(61)
        stream = node.call(method)
        node.give(PRIMARY, method, pods("a"))
        assert node.answer(stream).code == UNAVAILABLE
        assert "lists fail without it (pods: 1)" in node.text.getvalue()

    def test_of_the_retiring_runtime_is_as_it_says_though_nobody_can_read_it(self, method: str) -> None:
        """It was so when it was the primary one."""
        node = Node(BOTH)
        stream = node.call(method)
        odd = b"\x0a\x03\xff\xff\xff" + pods("c")
        node.give(PRIMARY, method, pods("a"))
        node.give(RETIRING, method, odd)
        assert node.answer(stream).code == 0
        assert b"".join(node.answer(stream).bodies) == pods("a") + odd


class TestOtherLists:
    def test_of_statistics_leave_it_out(self) -> None:
        """dockershim fails them while it removes a container."""
        node = Node(BOTH)
        stream = node.call("ListContainerStats")
        node.give(PRIMARY, "ListContainerStats", message("ListContainerStatsResponse", stats=[{}]))
        node.refuse(RETIRING, "ListContainerStats", UNKNOWN, "no such container")
        assert node.answer(stream).code == 0

    def test_that_are_narrowed_to_a_known_id_are_its_owners(self) -> None:
        node = Node(BOTH)
        node.call("StopContainer", container_id="x")
        tell(node, "x")
        node.call("ListContainers", filter={"id": "x"})
        assert [len(node.asked(each, "ListContainers")) for each in BOTH] == [0, 1]

    def test_that_are_narrowed_to_an_unknown_id_are_of_both(self) -> None:
        node = Node((PRIMARY, ALT, RETIRING))
        stream = node.call("ListContainers", filter={"id": "x"})
        assert not node.asked(ALT, "ListContainers")
        node.give(PRIMARY, "ListContainers", b"")
        node.give(RETIRING, "ListContainers", message("ListContainersResponse", containers=[{"id": "x"}]))
        assert node.listed(stream, "ListContainers", "containers") == ["x"]

    def test_that_do_not_fit_fail(self) -> None:
        node = Node(BOTH, max_message_size=200)
        stream = node.call("ListContainers")
        for each in BOTH:
            ids = [{"id": f"{each}{number:030}"} for number in range(4)]
            node.give(each, "ListContainers", message("ListContainersResponse", containers=ids))
        assert node.answer(stream).code == int(Code.RESOURCE_EXHAUSTED)


class Owners(RuleBasedStateMachine):
    """Any order of calls, absences and restarts: what stops or removes a pod reaches the runtime that has it alone.

    The runtimes say OK to whatever they are asked to stop or remove, as runtimes do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.node = Node(BOTH, absence_grace=1e9, fan_out_timeout=1e9)
        self.has: Dict[str, List[str]] = {PRIMARY: ["p0"], RETIRING: ["r0", "r1"]}
        self.known = ["p0", "r0", "r1"]
        """All that kubelet has ever heard of."""
        self.answered: Set[Tuple[Any, int]] = set()
        self.calls: List[int] = []

    def there(self) -> List[str]:
        """The runtimes that are there."""
        return [runtime for runtime in BOTH if runtime not in self.node.lost]

    @rule(data=st.data(), method=st.sampled_from(["StopPodSandbox", "RemovePodSandbox"]))
    def call(self, data: st.DataObject, method: str) -> None:
        id = data.draw(st.sampled_from(self.known))
        self.calls.append(self.node.call(method, pod_sandbox_id=id))

    @rule()
    def list_all(self) -> None:
        self.calls.append(self.node.call("ListPodSandbox"))

    @rule()
    def start_a_pod(self) -> None:
        self.calls.append(self.node.call("RunPodSandbox", config={"metadata": {"name": "web"}}))

    @precondition(lambda self: self.there())
    @rule(data=st.data())
    def let_answer(self, data: st.DataObject) -> None:
        self.answer(data.draw(st.sampled_from(self.there())))

    def answer(self, runtime: str) -> None:
        """A runtime answers all that it has been asked."""
        peer = self.node.served[runtime]
        asked = {event.stream_id: event.block.get(b":path") or b"" for event in peer.heard(HeadersReceived)}
        bodies = {event.stream_id: event.data[5:] for event in peer.heard(DataReceived)}
        for stream, path in asked.items():
            method = path.rpartition(b"/")[2].decode()
            if method == "Version" or (peer, stream) in self.answered:
                continue
            self.answered.add((peer, stream))
            code, body = self.served(runtime, method, bodies[stream])
            if stream not in self.node.resets(runtime):
                peer.answer(stream, body, wire_of(code))

    def served(self, runtime: str, method: str, request: bytes) -> Tuple[int, bytes]:
        """What comes of a call at a runtime: a status and an answer."""
        has = self.has[runtime]
        if method.startswith("List"):
            return 0, pods(*has) if method == "ListPodSandbox" else b""
        if method == "RunPodSandbox":
            assert runtime == PRIMARY
            has.append(f"p{len(self.known)}")
            self.known.append(has[-1])
            return 0, message("RunPodSandboxResponse", pod_sandbox_id=has[-1])
        sent: Any = api()[f"{method}Request"].FromString(request)
        name: str = sent.pod_sandbox_id
        if method == "PodSandboxStatus":
            return (0, status(method, name)) if name in has else (NOT_FOUND, b"")
        other = self.has[RETIRING if runtime == PRIMARY else PRIMARY]
        assert name not in other, f"{method} of {name}, which is not its own, has come to the {runtime or 'primary'}"
        if method == "RemovePodSandbox" and name in has:
            has.remove(name)
        return 0, b""

    @precondition(lambda self: self.there())
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        self.node.lose(data.draw(st.sampled_from(self.there())))

    @precondition(lambda self: self.node.lost)
    @rule(data=st.data())
    def find(self, data: st.DataObject) -> None:
        self.node.find(data.draw(st.sampled_from(self.node.lost)))

    @rule()
    def forget(self) -> None:
        self.node.forget_owners()

    def teardown(self) -> None:
        """Each call ends."""
        for runtime in list(self.node.lost):
            self.node.find(runtime)
        self.node.loop.advance(10)
        while any(self.node.answer(stream).code is None for stream in self.calls):
            before = len(self.answered)
            for runtime in BOTH:
                self.answer(runtime)
            assert len(self.answered) > before


TestOwners = Owners.TestCase
TestOwners.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
