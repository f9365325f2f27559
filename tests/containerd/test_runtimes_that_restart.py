"""Runtimes that end and come back, while their pods go on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
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
    for pod in pods:
        eventually(partial(is_there, cri, pod), bool)
        remove_pod(cri, pod)


def is_there(cri: Client, pod: Pod) -> bool:
    """Whether the pod's runtime itself says that it has it: a list for one runtime alone is from no memory."""
    try:
        return bool(cri.ListPodSandbox(filter={"id": pod.id}).items)
    except grpc.RpcError:
        return False


@contextmanager
def listing(cri: Client) -> Iterator[List[List[str]]]:
    """Lists all the time; what has been listed is in the list that it gives."""
    over = threading.Event()
    lists: List[List[str]] = []

    def look() -> None:
        while not over.is_set():
            lists.append(listed(cri) + [container.id for container in cri.ListContainers().containers])

    with ThreadPoolExecutor(1) as executor:
        looking = executor.submit(look)
        try:
            yield lists
        finally:
            over.set()
        looking.result()


def listed(cri: Client) -> List[str]:
    """The ids of the pods that kubelet sees."""
    return [item.id for item in cri.ListPodSandbox().items]


def greet(cri: Client, pod: Pod) -> bytes:
    """What a command in the pod's container says."""
    answer: bytes = cri.ExecSync(container_id=pod.container, cmd=["echo", "hello"], timeout=20).stdout
    return answer


def test_the_pod_of_an_alternative_that_restarts_is_in_the_lists_all_the_time(
    cri: Client, proxy: Proxy, pods: Tuple[Pod, Pod]
) -> None:
    of_primary, of_alternative = pods
    wanted = [of_primary.id, of_alternative.id, of_primary.container, of_alternative.container]
    with listing(cri) as lists:
        eventually(lambda: lists, bool)
        for end in (of_alternative.runtime.containerd.kill, of_alternative.runtime.containerd.stop):
            proxy.begin_log()
            end()
            eventually(proxy.log, lambda log: "is away: lists keep what it had (pods: 1, containers: 1)" in log)
            assert not is_there(cri, of_alternative)
            assert greet(cri, of_primary) == b"hello\n"
            of_alternative.runtime.containerd.start()
            assert "lists have what it lists now" in eventually(
                proxy.log, lambda log: "lists have what it lists now" in log
            )
    assert {tuple(each) for each in lists} == {tuple(wanted)}
    assert greet(cri, of_alternative) == b"hello\n"


def test_calls_for_an_alternative_that_has_crashed_say_that_it_is_not_there(cri: Client, pods: Tuple[Pod, Pod]) -> None:
    _, pod = pods
    pod.runtime.containerd.kill()
    with pytest.raises(grpc.RpcError) as caught:
        greet(cri, pod)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "alt.test" in str(caught.value.details())


def test_an_alternative_that_comes_back_is_found_and_so_is_its_pod(cri: Client, pods: Tuple[Pod, Pod]) -> None:
    of_primary, of_alternative = pods
    of_alternative.runtime.containerd.kill()
    of_alternative.runtime.containerd.start()
    assert eventually(lambda: is_there(cri, of_alternative), bool)
    assert listed(cri) == [of_primary.id, of_alternative.id]
    assert greet(cri, of_alternative) == b"hello\n"


def test_a_call_that_waits_for_the_primary_to_come_back_does_not_notice(
    cri: Client, proxy: Proxy, pods: Tuple[Pod, Pod]
) -> None:
    pod, _ = pods
    pod.runtime.containerd.stop()
    proxy.begin_log()
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
