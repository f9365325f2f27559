"""The names of pods and containers: from which lists and answers they are known, and for how long."""

from __future__ import annotations

from typing import Any, Tuple

import pytest
from scene import ALT, INTERNAL, PRIMARY, Node, message

from criproxy.cri.filter import PODS
from criproxy.cri.methods import METHODS
from criproxy.cri.names import ContainerName, PodName
from criproxy.cri.subjects import CONTAINER, POD
from criproxy.cri.verify import LONGEST_ID
from criproxy.relay.known import LARGEST_LIST, Known

WEB, VM = PodName("default", "web"), PodName("default", "vm")
_OF_WEB = {"namespace": "default", "name": "web"}
_OF_VM = {"namespace": "default", "name": "vm"}
_ON_ALT = {"kubernetes.io/target-runtime": "alt.test"}


def list_pods(node: Node, method: str = "ListPodSandbox", field: str = "items", **filters: Any) -> None:
    """Kubelet lists pods: web on the primary runtime, vm on the other."""
    stream = node.call(method, **filters)
    answer = METHODS[method].rpc.response
    node.give(PRIMARY, method, message(answer, **{field: [{"id": "p", "metadata": _OF_WEB}]}))
    node.give(ALT, method, message(answer, **{field: [{"id": "p", "metadata": _OF_VM}]}))
    assert node.answer(stream).code == 0


def list_containers(node: Node, method: str = "ListContainers") -> None:
    """Kubelet lists containers: nginx in the primary's pod, db in the other's."""
    stream = node.call(method)
    for id, name in ((PRIMARY, "nginx"), (ALT, "db")):
        listed = [{"id": "c", "pod_sandbox_id": "p", "metadata": {"name": name}, "image": {"image": "i"}}]
        node.give(id, method, message(METHODS[method].rpc.response, containers=listed))
    assert node.answer(stream).code == 0


@pytest.mark.parametrize(
    ("pods", "field", "containers"),
    [
        ("ListPodSandbox", "items", "ListContainers"),
        ("StreamPodSandboxes", "pod_sandboxes", "StreamContainers"),
    ],
)
def test_names_are_found_in_the_lists_that_kubelet_has_got(pods: str, field: str, containers: str) -> None:
    node = Node()
    list_pods(node, pods, field)
    list_containers(node, containers)
    known = node.context.known
    assert (known.pod(b"p"), known.pod(b"alt.test__p")) == (WEB, VM)
    assert known.container(b"c") == ContainerName(WEB, "nginx")
    assert known.container(b"alt.test__c") == ContainerName(VM, "db")
    assert (known.pod(b"c"), known.container(b"p"), known.pod(b""), known.container(b"")) == (None,) * 4


def test_names_are_found_in_the_lists_of_the_primary_runtime_alone() -> None:
    node = Node((PRIMARY,))
    lists = {
        "ListPodSandbox": message("ListPodSandboxResponse", items=[{"id": "p", "metadata": _OF_WEB}]),
        "ListContainers": message(
            "ListContainersResponse", containers=[{"id": "c", "pod_sandbox_id": "p", "metadata": {"name": "nginx"}}]
        ),
    }
    for method, listed in lists.items():
        stream = node.call(method)
        node.give(PRIMARY, method, listed)
        assert (node.answer(stream).bodies, node.answer(stream).code) == ([listed], 0)
    assert node.context.known.container(b"c") == ContainerName(WEB, "nginx")


def test_names_are_not_looked_for_in_a_list_that_is_narrowed() -> None:
    node = Node((PRIMARY,))
    node.call("ListPodSandbox", filter={"id": "p"})
    node.give(PRIMARY, "ListPodSandbox", message("ListPodSandboxResponse", items=[{"id": "p", "metadata": _OF_WEB}]))
    assert node.context.known.pod(b"p") is None


def test_a_container_is_known_without_its_pod() -> None:
    node = Node()
    list_containers(node)
    assert node.context.known.container(b"c") == ContainerName(None, "nginx")
    list_pods(node)
    assert node.context.known.container(b"c") == ContainerName(WEB, "nginx")


def test_a_list_with_a_filter_does_not_replace_the_list_of_all() -> None:
    node = Node()
    list_pods(node)
    list_pods(node, filter={"label_selector": {"a": "b"}})
    assert node.context.known.pod(b"p") == WEB


def test_what_has_been_found_is_known_when_it_is_gone_from_the_list() -> None:
    node = Node()
    list_pods(node)
    known = node.context.known
    assert known.pod(b"p") == WEB
    known.listed(None, b"", ())
    stream = node.call("ListPodSandbox")
    node.give(PRIMARY, "ListPodSandbox", b"")
    node.give(ALT, "ListPodSandbox", b"")
    assert node.answer(stream).code == 0
    assert (known.pod(b"p"), known.pod(b"alt.test__p")) == (WEB, None)


def run_pod(node: Node, id: str, code: int = 0) -> None:
    annotations = _ON_ALT if id else {}
    config = {"metadata": _OF_VM if id else _OF_WEB, "annotations": annotations}
    stream = node.call("RunPodSandbox", config=config)
    body = message("RunPodSandboxResponse", pod_sandbox_id="p")
    if code:
        node.refuse(id, "RunPodSandbox", code, "no")
    else:
        node.give(id, "RunPodSandbox", body)
    assert node.answer(stream).code == code


def create(node: Node, id: str, **more: Any) -> None:
    prefix = "alt.test__" if id else ""
    image = {"image": "alt.test/i" if id else "i"}
    stream = node.call(
        "CreateContainer", pod_sandbox_id=f"{prefix}p", config={"metadata": {"name": "nginx"}, "image": image}, **more
    )
    node.give(id, "CreateContainer", message("CreateContainerResponse", container_id="c"))
    assert node.answer(stream).bodies == [message("CreateContainerResponse", container_id=f"{prefix}c")]


@pytest.mark.parametrize(
    ("id", "pod", "ids"), [(PRIMARY, WEB, (b"p", b"c")), (ALT, VM, (b"alt.test__p", b"alt.test__c"))]
)
def test_what_has_been_started_is_known_before_any_list_has_it(id: str, pod: PodName, ids: Tuple[bytes, bytes]) -> None:
    node = Node()
    run_pod(node, id)
    assert node.context.known.pod(ids[0]) == pod
    create(node, id)
    assert node.context.known.container(ids[1]) == ContainerName(pod, "nginx")


def test_a_container_has_the_pod_of_its_request() -> None:
    node = Node()
    create(node, PRIMARY, sandbox_config={"metadata": _OF_WEB})
    assert node.context.known.container(b"c") == ContainerName(WEB, "nginx")


def test_what_has_not_been_started_is_not_known() -> None:
    node = Node()
    run_pod(node, PRIMARY, INTERNAL)
    assert node.context.known.pod(b"p") is None


@pytest.mark.parametrize(
    ("method", "fields", "shown", "ids"),
    [
        ("StopContainer", {"container_id": "c"}, "default/web/nginx", [(CONTAINER, "c")]),
        ("StopPodSandbox", {"pod_sandbox_id": "p"}, "default/web", [(POD, "p")]),
        ("ListContainers", {"filter": {"pod_sandbox_id": "p"}}, "default/web", [(POD, "p")]),
        ("ListContainers", {}, "", []),
        ("StopContainer", {"container_id": "gone"}, "gone", [(CONTAINER, "gone")]),
        ("RunPodSandbox", {"config": {"metadata": _OF_VM}}, "default/vm", []),
        ("PullImage", {"sandbox_config": {"metadata": _OF_VM}}, "default/vm", []),
        (
            "CreateContainer",
            {"pod_sandbox_id": "p", "config": {"metadata": {"name": "db"}}},
            "default/web/db",
            [(POD, "p")],
        ),
    ],
)
def test_a_call_is_about_what_its_request_names(method: str, fields: Any, shown: str, ids: Any) -> None:
    node = Node()
    list_pods(node)
    list_containers(node)
    row = METHODS[method]
    about = node.context.known.subject(row, message(row.rpc.request, **fields))
    assert (str(about), about.ids) == (shown, ids)


def test_a_call_of_an_unknown_method_is_about_nothing() -> None:
    about = Known().subject(None, b"")
    assert (about.pod, about.container, str(about)) == (None, None, "")


def read(node: Node, stream: int) -> None:
    """Kubelet reads an answer that is larger than its window."""
    while node.answer(stream).code is None:
        node.kubelet.say()


def test_a_list_that_is_too_large_to_be_searched_is_not_kept_nor_is_the_one_before() -> None:
    known = Known()
    body = message("ListPodSandboxResponse", items=[{"id": "p", "metadata": _OF_WEB}])
    for size, wanted in ((0, WEB), (LARGEST_LIST - len(body), WEB), (LARGEST_LIST, None)):
        known.forget()
        known.listed(PODS, b"", [body])
        known.listed(PODS, b"", [bytes(size), body])
        assert known.pod(b"p") == wanted


def test_a_stream_that_is_too_large_to_be_searched_is_not_kept() -> None:
    node = Node(max_message_size=64 << 20)
    body = message("StreamPodSandboxesResponse", pod_sandboxes=[{"id": "p", "annotations": {"a": "x" * (1 << 20)}}])
    for count, kept in ((3, True), (6, False)):
        stream = node.call("StreamPodSandboxes")
        node.give(ALT, "StreamPodSandboxes")
        node.give(PRIMARY, "StreamPodSandboxes", *[body] * count)
        read(node, stream)
        assert (node.context.known.held > 0) == kept


def test_an_id_that_is_too_long_is_not_remembered() -> None:
    node = Node()
    row = METHODS["RunPodSandbox"]
    request = message(row.rpc.request, config={"metadata": _OF_WEB})
    for size, wanted in ((LONGEST_ID, WEB), (LONGEST_ID + 1, None)):
        node.context.known.started(row, request, message(row.rpc.response, pod_sandbox_id="x" * size))
        assert node.context.known.pod(b"x" * size) == wanted


def test_what_is_held_is_bounded_and_can_be_forgotten() -> None:
    node = Node()
    known = node.context.known
    row = METHODS["RunPodSandbox"]
    request = message(row.rpc.request, config={"metadata": _OF_WEB})
    for number in range(20_000):
        known.started(row, request, message(row.rpc.response, pod_sandbox_id=f"{number:064}"))
    assert known.held <= 1 << 20
    assert known.pod(b"%064d" % 19_999) == WEB
    list_pods(node)
    known.forget()
    assert (known.held, known.pod(b"p"), known.pod(b"%064d" % 19_999)) == (0, None, None)


def test_a_sandbox_is_found_in_the_last_list_by_its_pods_uid_and_its_attempt() -> None:
    known = Known()
    assert known.sandbox(b"u", 0) is None
    first, second = (
        message("ListPodSandboxResponse", items=[{"id": id, "metadata": {"uid": "u", "attempt": attempt}}])
        for id, attempt in (("p", 0), ("alt.test__p", 1))
    )
    known.listed(PODS, b"", (first, second))
    assert [known.sandbox(b"u", attempt) for attempt in range(3)] == [b"p", b"alt.test__p", None]
    known.listed(PODS, b"", (first, b"\xff u"))
    assert [known.sandbox(uid, 0) for uid in (b"u", b"", b"v")] == [b"p", None, None]
    known.listed(PODS, b"", (b"\xff u",))
    assert known.sandbox(b"u", 0) is None
