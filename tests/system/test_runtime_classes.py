"""Pods that ask for a runtime by a runtime handler (RuntimeClass), and what kubelet is told of handlers."""

from __future__ import annotations

import signal
from typing import Any, Callable

import grpc
import pytest
from peers import Client, Connect, Proxy, Runtime, StartProxy, v1

TARGET = "kubernetes.io/target-runtime"
HANDLERS = "vm=alt.test,big-vm=alt.test:large,fc=kata:firecracker"


@pytest.fixture
def kata(runtime: Callable[..., Runtime]) -> Runtime:
    """An alternative runtime whose id is one that a RuntimeClass can have as its handler."""
    return runtime("kata").start()


@pytest.fixture
def proxy(start_proxy: StartProxy, primary: Runtime, other: Runtime, kata: Runtime) -> Proxy:
    """The proxy before three runtimes."""
    for runtime in (primary, other, kata):
        runtime.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    return start_proxy(primary, {"alt.test": other, "kata": kata}, "-v", "5", "--handler", HANDLERS)


def run(client: Client, handler: str, target: str = "") -> str:
    """Runs a pod; gives its id."""
    annotations = {TARGET: target} if target else {}
    return str(
        client.call("RunPodSandbox", config={"annotations": annotations}, runtime_handler=handler).pod_sandbox_id
    )


@pytest.mark.parametrize(
    ("handler", "target", "pod", "inner"),
    [
        ("", "", "p", ""),
        ("runc", "", "p", "runc"),
        ("large", "", "p", "large"),
        ("vm", "", "alt.test__p", ""),
        ("big-vm", "", "alt.test__p", "large"),
        ("alt.test", "", "alt.test__p", ""),
        ("kata", "", "kata__p", ""),
        ("fc", "", "kata__p", "firecracker"),
        ("", "alt.test", "alt.test__p", ""),
        ("vm", "alt.test", "alt.test__p", ""),
        ("big-vm", "alt.test", "alt.test__p", "large"),
        ("runc", "alt.test", "alt.test__p", "runc"),
    ],
)
@pytest.mark.parametrize("package", ["runtime.v1", "runtime.v1alpha2"])
def test_a_pod_goes_where_its_handler_and_its_annotation_say(
    handler: str,
    target: str,
    pod: str,
    inner: str,
    package: str,
    proxy: Proxy,
    connect: Connect,
    primary: Runtime,
    other: Runtime,
    kata: Runtime,
) -> None:
    assert run(connect(proxy, package), handler, target) == pod
    (call,) = [call for runtime in (primary, other, kata) for call in runtime.called("RunPodSandbox")]
    assert call.request.runtime_handler == inner


def test_a_handler_and_an_annotation_that_differ_are_refused_by_name(
    client: Client, primary: Runtime, other: Runtime, kata: Runtime
) -> None:
    code, text = client.fail("RunPodSandbox", config={"annotations": {TARGET: "alt.test"}}, runtime_handler="fc")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text == (
        'criproxy: the annotation kubernetes.io/target-runtime asks for the runtime "alt.test", and the runtime handler'
        ' "fc" for "kata"'
    )
    assert not any(runtime.called("RunPodSandbox") for runtime in (primary, other, kata))


def test_a_restored_pod_goes_where_its_handler_says(client: Client, other: Runtime) -> None:
    request = client.request("RestorePod", runtime_handler="big-vm")
    request.container_configs.add().image.image = "busybox"
    client.stub("RestorePod")(request, timeout=20)
    (call,) = other.called("RestorePod")
    assert call.request.runtime_handler == "large"
    assert call.request.container_configs[0].image.image == "busybox"


SEEN = {"": "vm", "large": "big-vm", "unmapped": "unmapped"}
"""A handler of ``alt.test`` as kubelet sees it."""


@pytest.mark.parametrize("inner", SEEN)
class TestAPodsHandler:
    def test_is_the_name_that_kubelet_knows_in_lists(self, inner: str, client: Client, other: Runtime) -> None:
        other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p", "runtime_handler": inner}])
        (got,) = client.call("ListPodSandbox").items
        assert got == v1.PodSandbox(id="alt.test__p", runtime_handler=SEEN[inner])

    def test_is_the_name_that_kubelet_knows_in_its_status(self, inner: str, client: Client, other: Runtime) -> None:
        status = v1.PodSandboxStatus(id="p", runtime_handler=inner)
        other.answers["PodSandboxStatus"] = v1.PodSandboxStatusResponse(status=status)
        got = client.call("PodSandboxStatus", pod_sandbox_id="alt.test__p").status
        assert got == v1.PodSandboxStatus(id="alt.test__p", runtime_handler=SEEN[inner])

    def test_of_the_primary_is_its_own(self, inner: str, client: Client, primary: Runtime) -> None:
        primary.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p", "runtime_handler": inner}])
        assert client.call("ListPodSandbox").items[0].runtime_handler == inner


def test_an_image_s_handler_is_the_name_that_each_side_knows(client: Client, other: Runtime) -> None:
    spec = v1.ImageSpec(image="busybox", runtime_handler="large")
    other.answers["ListContainers"] = v1.ListContainersResponse(containers=[v1.Container(id="c", image=spec)])
    other.answers["ImageStatus"] = v1.ImageStatusResponse(image=v1.Image(id="sha256:0a", spec=spec))
    assert client.call("ListContainers").containers[0].image.runtime_handler == "big-vm"
    got = client.call("ImageStatus", image={"image": "alt.test/busybox", "runtime_handler": "big-vm"}).image
    assert got.spec.runtime_handler == "big-vm"
    assert other.called("ImageStatus")[0].request.image.runtime_handler == "large"


def test_an_image_without_a_handler_has_none_on_the_way_back_either(client: Client, other: Runtime) -> None:
    """kubelet takes an image and its handler together for one thing: lists of images and of containers must agree."""
    other.answers["ListContainers"] = v1.ListContainersResponse(containers=[{"id": "c", "image": {"image": "busybox"}}])
    assert client.call("ListContainers").containers[0].image.runtime_handler == ""


def test_a_runtime_without_a_handler_s_name_is_as_it_has_always_been(
    start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
) -> None:
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(
        items=[{"id": "p"}, {"id": "q", "runtime_handler": "x"}]
    )
    client = connect(start_proxy(primary, {"alt.test": other}))
    assert [item.runtime_handler for item in client.call("ListPodSandbox").items] == ["", "x"]


def test_a_reload_changes_the_names_of_handlers(
    start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime, folder: Any
) -> None:
    file = folder / "criproxy.conf"
    file.write_text("handler = vm=alt.test\n")
    proxy = start_proxy(primary, {"alt.test": other}, "--config", str(file))
    client = connect(proxy)
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p"}])
    assert client.call("ListPodSandbox").items[0].runtime_handler == "vm"
    file.write_text("handler = machine=alt.test\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reloaded: handler")
    assert client.call("ListPodSandbox").items[0].runtime_handler == "machine"
    run(client, "vm")
    assert primary.called("RunPodSandbox")[0].request.runtime_handler == "vm"
    run(client, "machine")
    assert other.called("RunPodSandbox")


def test_with_the_go_program_s_compatibility_handlers_are_left_alone(
    start_proxy: StartProxy, connect: Connect, primary: Runtime, kata: Runtime
) -> None:
    for runtime in (primary, kata):
        runtime.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    client = connect(start_proxy(primary, {"kata": kata}, "--compatibility", "go"))
    assert run(client, "kata") == "p"
    assert primary.called("RunPodSandbox")[0].request.runtime_handler == "kata"
    assert run(client, "kata", target="kata") == "kata__p"
    assert kata.called("RunPodSandbox")[0].request.runtime_handler == "kata"
    kata.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p"}])
    assert [item.runtime_handler for item in client.call("ListPodSandbox").items] == [""]
