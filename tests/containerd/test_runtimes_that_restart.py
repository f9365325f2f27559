"""Runtimes that end and come back, while their pods go on."""

from __future__ import annotations

from typing import Iterator, List, Tuple

import grpc
import pytest

from .client import Client
from .kubelet import Pod, Proxy, Runtime, remove_pod, run_pod
from .node import Node
from .service import eventually


@pytest.fixture
def pods(cri: Client, node: Node, primary: Runtime, alternative: Runtime) -> Iterator[Tuple[Pod, Pod]]:
    """A pod on the primary runtime and one on the alternative, both of which are there again in the end."""
    pods = (run_pod(cri, node, primary, "on-primary"), run_pod(cri, node, alternative, "on-alternative"))
    yield pods
    for pod in pods:
        if not pod.runtime.containerd.running:
            pod.runtime.containerd.start()
    eventually(lambda: listed(cri), lambda ids: len(ids) == len(pods))
    for pod in pods:
        remove_pod(cri, pod)


def listed(cri: Client) -> List[str]:
    """The ids of the pods that kubelet sees."""
    return [item.id for item in cri.ListPodSandbox().items]


def greet(cri: Client, pod: Pod) -> bytes:
    """What a command in the pod's container says."""
    answer: bytes = cri.ExecSync(container_id=pod.container, cmd=["echo", "hello"], timeout=20).stdout
    return answer


def test_the_lists_go_on_without_an_alternative_that_has_crashed(cri: Client, pods: Tuple[Pod, Pod]) -> None:
    of_primary, of_alternative = pods
    of_alternative.runtime.containerd.kill()
    assert eventually(lambda: listed(cri), lambda ids: of_alternative.id not in ids) == [of_primary.id]
    assert greet(cri, of_primary) == b"hello\n"


def test_calls_for_an_alternative_that_has_crashed_say_that_it_is_not_there(cri: Client, pods: Tuple[Pod, Pod]) -> None:
    _, pod = pods
    pod.runtime.containerd.kill()
    with pytest.raises(grpc.RpcError) as caught:
        greet(cri, pod)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "alt.test" in caught.value.details()


def test_an_alternative_that_comes_back_is_found_and_so_is_its_pod(cri: Client, pods: Tuple[Pod, Pod]) -> None:
    of_primary, of_alternative = pods
    of_alternative.runtime.containerd.kill()
    of_alternative.runtime.containerd.start()
    wanted = [of_primary.id, of_alternative.id]
    assert eventually(lambda: listed(cri), lambda ids: ids == wanted) == wanted
    assert greet(cri, of_alternative) == b"hello\n"


def test_a_call_that_waits_for_the_primary_to_come_back_does_not_notice(
    cri: Client, proxy: Proxy, pods: Tuple[Pod, Pod]
) -> None:
    pod, _ = pods
    pod.runtime.containerd.stop()
    proxy.mark()
    call = cri.begin("ExecSync", container_id=pod.container, cmd=["echo", "hello"])
    assert "ENTER: /runtime.v1.RuntimeService/ExecSync()" in eventually(proxy.log, lambda log: "ExecSync" in log)
    assert not call.done()
    pod.runtime.containerd.start()
    assert call.result().stdout == b"hello\n"


def test_pods_survive_both_runtimes_and_the_proxy(cri: Client, proxy: Proxy, pods: Tuple[Pod, Pod]) -> None:
    for pod in pods:
        pod.runtime.containerd.kill()
    assert proxy.stop() == 0
    for pod in pods:
        pod.runtime.containerd.start()
    proxy.start()
    assert eventually(lambda: listed(cri), lambda ids: len(ids) == len(pods)) == [pod.id for pod in pods]
    assert [greet(cri, pod) for pod in pods] == [b"hello\n", b"hello\n"]
