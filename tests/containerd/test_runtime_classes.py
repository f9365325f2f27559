"""Pods that ask for a runtime by a RuntimeClass, and images without a prefix."""

from __future__ import annotations

from typing import Any, Iterator, List

import grpc
import pytest

from .client import Client
from .images import Registry
from .kubelet import IMAGE, Pod, Proxy, Runtime, remove_pod, run_sandbox, start_container
from .node import Node
from .runtime import HANDLER


@pytest.fixture(scope="module")
def cri(node: Node, primary: Runtime, alternative: Runtime) -> Iterator[Client]:
    """Kubelet's side of a proxy that knows handlers of the alternative runtime."""
    handlers = f"vm={alternative.id},special-vm={alternative.id}:{HANDLER}"
    proxy = Proxy(node.folder, primary, alternative, "--handler", handlers, name="criproxy-with-handlers")
    proxy.start()
    with Client(proxy.socket) as client:
        yield client
    assert proxy.stop() == 0


def has(runtime: Runtime, pod: Pod) -> bool:
    """Whether a runtime has the pod and its container."""
    pods = {item.id for item in runtime.direct.ListPodSandbox().items}
    return pod.inner in pods and pod.inner_container in {item.id for item in runtime.direct.ListContainers().containers}


def ids(images: List[Any]) -> List[str]:
    """Images' ids."""
    return [image.id for image in images]


@pytest.mark.parametrize(("handler", "inner"), [("vm", ""), ("special-vm", HANDLER)])
def test_a_pod_without_annotation_and_prefix_runs_where_its_handler_says(
    cri: Client, node: Node, registry: Registry, primary: Runtime, alternative: Runtime, handler: str, inner: str
) -> None:
    """As kubelet does it: the pod, the image pulled for it, and the container by the image's reference."""
    name = f"{registry.host}/busybox:test"
    sandbox = run_sandbox(cri, node, alternative, handler=handler)
    assert not cri.ImageStatus(image={"image": name}).HasField("image")
    reference = cri.PullImage(image={"image": name}, sandbox_config=sandbox.config).image_ref
    assert reference in ids(alternative.direct.ListImages().images)
    assert reference not in ids(primary.direct.ListImages().images)

    pod = start_container(cri, sandbox, reference)
    assert has(alternative, pod)
    assert not has(primary, pod)
    assert alternative.direct.PodSandboxStatus(pod_sandbox_id=pod.inner).status.runtime_handler == inner
    assert cri.PodSandboxStatus(pod_sandbox_id=pod.id).status.runtime_handler == handler
    (listed,) = cri.ListPodSandbox(filter={"id": pod.id}).items
    assert listed.runtime_handler == handler

    remove_pod(cri, pod)
    cri.RemoveImage(image={"image": alternative.outer_image(name)})
    assert reference not in ids(alternative.direct.ListImages().images)


def test_a_pod_with_an_annotation_needs_no_prefix(
    cri: Client, node: Node, primary: Runtime, alternative: Runtime
) -> None:
    sandbox = run_sandbox(cri, node, alternative)
    pod = start_container(cri, sandbox, IMAGE)
    assert has(alternative, pod)
    assert not has(primary, pod)
    assert cri.ContainerStatus(container_id=pod.container).status.image.image == alternative.outer_image(IMAGE)
    remove_pod(cri, pod)


def test_a_handler_that_nobody_has_is_refused_in_the_primary_s_words(cri: Client, node: Node, primary: Runtime) -> None:
    refusals = []
    for client in (cri, primary.direct):
        with pytest.raises(grpc.RpcError) as caught:
            run_sandbox(client, node, primary, handler="nobody")
        refusals.append((caught.value.code(), str(caught.value.details())))
    assert refusals[0][0] == refusals[1][0]
    assert 'no runtime for "nobody"' in refusals[0][1]
    assert 'no runtime for "nobody"' in refusals[1][1]
