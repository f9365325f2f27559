"""The whole life of a pod, as each kubelet leads it on each runtime."""

from __future__ import annotations

from typing import Callable, Iterator

import grpc
import pytest

from .client import Client
from .kubelet import STOPPED, Proxy, Runtime, remove_pod, run_pod
from .node import Node

UNKNOWN = "0" * 64
"""An id that no runtime has given."""


@pytest.fixture(params=["primary", "alternative"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """One of the runtimes."""
    runtime: Runtime = request.getfixturevalue(request.param)
    return runtime


@pytest.fixture(params=["v1", "v1alpha2"])
def kubelet(request: pytest.FixtureRequest, proxy: Proxy) -> Iterator[Client]:
    """A kubelet of today or of before 1.23, whatever the runtime behind the proxy speaks."""
    with Client(proxy.socket, request.param) as client:
        yield client


def failure_of(call: Callable[[], object]) -> grpc.RpcError:
    """How a call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_the_whole_life_of_a_pod(kubelet: Client, node: Node, runtime: Runtime) -> None:
    pod = run_pod(kubelet, node, runtime)
    assert [item.id for item in kubelet.ListPodSandbox().items] == [pod.id]
    assert kubelet.PodSandboxStatus(pod_sandbox_id=pod.id).status.state == kubelet.api.SANDBOX_READY

    (container,) = kubelet.ListContainers(filter={"pod_sandbox_id": pod.id}).containers
    assert (container.id, container.pod_sandbox_id) == (pod.container, pod.id)
    assert container.state == kubelet.api.CONTAINER_RUNNING
    assert kubelet.ExecSync(container_id=pod.container, cmd=["echo", "here"]).stdout == b"here\n"

    kubelet.StopContainer(container_id=pod.container, timeout=20)
    status = kubelet.ContainerStatus(container_id=pod.container).status
    assert (status.state, status.exit_code) == (kubelet.api.CONTAINER_EXITED, STOPPED)
    kubelet.RemoveContainer(container_id=pod.container)
    assert list(kubelet.ListContainers().containers) == []

    kubelet.StopPodSandbox(pod_sandbox_id=pod.id)
    assert kubelet.PodSandboxStatus(pod_sandbox_id=pod.id).status.state == kubelet.api.SANDBOX_NOTREADY
    kubelet.RemovePodSandbox(pod_sandbox_id=pod.id)
    assert list(kubelet.ListPodSandbox().items) == []


def test_a_pod_is_removed_with_all_that_is_in_it_and_once_more(cri: Client, node: Node, runtime: Runtime) -> None:
    pod = run_pod(cri, node, runtime)
    remove_pod(cri, pod)
    cri.RemovePodSandbox(pod_sandbox_id=pod.id)
    assert list(cri.ListContainers().containers) == []
    assert list(runtime.direct.ListPodSandbox().items) == []


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("PodSandboxStatus", "pod_sandbox_id"),
        ("ContainerStatus", "container_id"),
        ("StartContainer", "container_id"),
        ("ExecSync", "container_id"),
        ("ContainerStats", "container_id"),
    ],
)
def test_what_is_not_there_is_not_found(cri: Client, runtime: Runtime, method: str, field: str) -> None:
    seen = failure_of(lambda: getattr(cri, method)(**{field: runtime.outer_id(UNKNOWN)}))
    direct = failure_of(lambda: getattr(runtime.direct, method)(**{field: UNKNOWN}))
    assert seen.code() is grpc.StatusCode.NOT_FOUND
    assert (seen.code(), seen.details()) == (direct.code(), direct.details())


def test_a_pod_for_a_runtime_that_nobody_knows_is_refused(cri: Client) -> None:
    config = {"metadata": {"name": "pod", "uid": "1"}, "annotations": {"kubernetes.io/target-runtime": "other.test"}}
    error = failure_of(lambda: cri.RunPodSandbox(config=config))
    assert "other.test" in str(error.details())
    assert list(cri.ListPodSandbox().items) == []
