"""What is bounded: message sizes, streams, what a slow reader leaves unread, memory."""

from __future__ import annotations

import threading
from typing import Callable, Iterator, List

import grpc
import pytest
from peers import PATIENCE, Client, Connect, Proxy, Runtime, StartProxy, message_class, v1

TOO_LARGE = grpc.StatusCode.RESOURCE_EXHAUSTED
MIB = 2**20


@pytest.fixture
def proxy(start_proxy: StartProxy, primary: Runtime, other: Runtime) -> Proxy:
    return start_proxy(primary, {"alt.test": other}, "-v", "2")


@pytest.fixture
def small(start_proxy: StartProxy, primary: Runtime, other: Runtime, connect: Connect) -> Client:
    """A client of a proxy that takes messages of 100,000 bytes."""
    return connect(start_proxy(primary, {"alt.test": other}, "--max-message-size", "100k"))


def status(size: int) -> v1.ContainerStatusResponse:
    return v1.ContainerStatusResponse(status=v1.ContainerStatus(id="c", message="m" * size))


@pytest.mark.parametrize("name", ["c", "alt.test__c"])
class TestMessages:
    def test_of_many_megabytes_pass_both_ways(
        self, name: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        for runtime in (primary, other):
            runtime.answers["ContainerStatus"] = status(30 * MIB)
            runtime.answers["ExecSync"] = v1.ExecSyncResponse(exit_code=3)
        got = client.call("ContainerStatus", container_id=name)
        assert (got.status.id, len(got.status.message)) == (name, 30 * MIB)
        assert client.call("ExecSync", container_id=name, cmd=["x" * 20 * MIB]).exit_code == 3
        (call,) = (other if "__" in name else primary).called("ExecSync")
        assert len(call.request.cmd[0]) == 20 * MIB

    def test_larger_than_the_limit_are_refused_from_a_runtime(
        self, name: str, small: Client, primary: Runtime, other: Runtime
    ) -> None:
        for runtime in (primary, other):
            runtime.answers["ContainerStatus"] = status(100_000)
        code, text = small.fail("ContainerStatus", container_id=name)
        assert code is TOO_LARGE
        assert "--max-message-size" in text

    @pytest.mark.parametrize("size", [101_000, 5 * MIB])
    def test_larger_than_the_limit_are_refused_from_kubelet(
        self, name: str, size: int, small: Client, primary: Runtime, other: Runtime
    ) -> None:
        code, text = small.fail("ExecSync", container_id=name, cmd=["x" * size])
        assert code is TOO_LARGE
        assert "--max-message-size" in text
        assert not primary.called("ExecSync")
        assert not other.called("ExecSync")

    def test_of_the_limits_size_pass(self, name: str, small: Client, primary: Runtime, other: Runtime) -> None:
        for runtime in (primary, other):
            runtime.answers["ContainerStatus"] = status(99_900)
        assert small.call("ContainerStatus", container_id=name).status.id == name


@pytest.mark.parametrize("name", ["c", "alt.test__c"])
def test_a_long_error_reaches_kubelet_and_leaves_other_calls_alone(
    name: str, proxy: Proxy, connect: Connect, primary: Runtime, other: Runtime
) -> None:
    text = "exec: 脚本" + "本" * 100_000  # 9 bytes a letter on the wire
    told = threading.Event()
    runtime_of = other if "__" in name else primary
    runtime_of.answers["StopContainer"] = lambda request, context: context.abort(grpc.StatusCode.UNKNOWN, text)
    runtime_of.answers["ContainerStatus"] = lambda request, _: told.wait(PATIENCE) and status(1)
    client = connect(proxy, **{"grpc.max_metadata_size": 2**24, "grpc.absolute_max_metadata_size": 2**24})
    stub = client.stub("ContainerStatus")
    under_way = stub.future(client.request("ContainerStatus", container_id=name), timeout=PATIENCE)
    runtime_of.wait_for("ContainerStatus")
    assert client.fail("StopContainer", container_id=name) == (grpc.StatusCode.UNKNOWN, text)
    told.set()
    assert under_way.result().status.message == "m"


def test_a_list_of_all_runtimes_has_the_primary_s_part_and_what_fits_beside_it(
    small: Client, primary: Runtime, other: Runtime
) -> None:
    for runtime, size in ((primary, 60_000), (other, 30_000)):
        pod = v1.PodSandbox(id="p", runtime_handler="h" * size)
        runtime.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[pod, pod] if runtime is other else [pod])
    assert [pod.id for pod in small.call("ListPodSandbox").items] == ["p", "alt.test__p"]


def test_a_runtime_with_too_large_a_list_is_left_out_of_it(small: Client, primary: Runtime, other: Runtime) -> None:
    primary.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[v1.PodSandbox(id="a")])
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[v1.PodSandbox(id="b" * 200_000)])
    assert [pod.id for pod in small.call("ListPodSandbox").items] == ["a"]


def test_500_calls_may_be_under_way_on_one_connection(client: Client, primary: Runtime) -> None:
    primary.answers["ContainerStatus"] = lambda request, _: v1.ContainerStatusResponse(
        status=v1.ContainerStatus(id=request.container_id)
    )
    stub = client.stub("ContainerStatus")
    names = [f"c{number}" for number in range(500)]
    futures = [stub.future(client.request("ContainerStatus", container_id=name), timeout=60) for name in names]
    assert [future.result(60).status.id for future in futures] == names


def pages(count: int, size: int, taken: List[int]) -> Callable[..., Iterator[object]]:
    """A streamed list of so many containers of this size; ``taken`` counts what has left the runtime."""
    response = message_class("runtime.v1", "StreamContainersResponse")

    def answer(request: object, context: grpc.ServicerContext) -> Iterator[object]:
        for number in range(count):
            page = response()
            page.containers.add(id=f"c{number}", image_ref="r" * size)
            taken.append(number)
            yield page

    return answer


class TestASlowReader:
    def test_is_not_read_ahead_for(self, client: Client, proxy: Proxy, primary: Runtime, other: Runtime) -> None:
        taken: List[int] = []
        others: List[int] = []
        primary.answers["StreamContainers"] = pages(200, MIB, taken)
        other.answers["StreamContainers"] = pages(200, MIB, others)
        before = proxy.memory()
        stream = client.stub("StreamContainers")(client.request("StreamContainers"), timeout=100)
        assert next(stream).containers[0].id == "c0"
        # Whatever the runtimes can get rid of meanwhile, other calls pass, and the proxy holds a few windows of it.
        for _ in range(200):
            client.call("Status")
        assert proxy.memory() - before < 40 * MIB
        assert len(taken) < 100
        assert [page.containers[0].id for page in stream] == [
            *(f"c{number}" for number in range(1, 200)),
            *(f"alt.test__c{number}" for number in range(200)),
        ]

    def test_that_gives_up_frees_its_calls(self, client: Client, primary: Runtime) -> None:
        taken: List[int] = []
        over = threading.Event()

        def answer(request: object, context: grpc.ServicerContext) -> Iterator[object]:
            context.add_callback(over.set)
            yield from pages(500, MIB, taken)(request, context)

        primary.answers["StreamContainers"] = answer
        stream = client.stub("StreamContainers")(client.request("StreamContainers"), timeout=100)
        next(stream)
        stream.cancel()
        assert over.wait(PATIENCE)
        client.call("Status")


def test_memory_does_not_grow_with_calls(client: Client, proxy: Proxy, primary: Runtime, other: Runtime) -> None:
    def calls(count: int) -> None:
        for number in range(count):
            client.call("ContainerStatus", container_id=f"c{number}")
            client.call("ContainerStatus", container_id=f"alt.test__c{number}")
            client.call("ListPodSandbox")

    calls(300)
    before = proxy.memory()
    calls(1500)
    assert proxy.memory() - before < 2 * MIB
