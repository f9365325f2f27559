"""What the log of the whole process says of calls that fail, at the verbosity of somebody who has asked for nothing."""

from __future__ import annotations

import re
from typing import Any, List

import grpc
import pytest
from peers import Client, Proxy, Runtime, StartProxy, v1

OF_WEB = {"namespace": "default", "name": "web", "uid": "u"}
UNKNOWN = {"metadata": OF_WEB, "annotations": {"kubernetes.io/target-runtime": "alt.tset"}}
FLOOD = 1000


@pytest.fixture(params=["0", "2"])
def verbosity(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def proxy(start_proxy: StartProxy, primary: Runtime, other: Runtime, verbosity: str) -> Proxy:
    return start_proxy(primary, {"alt.test": other}, "-v", verbosity, "--connection-timeout", "0.2")


def failing(status: grpc.StatusCode, text: str) -> Any:
    return lambda _, context: context.abort(status, text)


def records(proxy: Proxy, text: str) -> List[str]:
    """The lines with this text, without their heads."""
    return [line.partition("criproxy] ")[2] for line in proxy.logged(text)]


def test_a_pod_that_asks_for_an_unknown_runtime_is_named(client: Client, proxy: Proxy, verbosity: str) -> None:
    client.fail("RunPodSandbox", config=UNKNOWN)
    proxy.wait_for_log("unknown runtime")
    begin = {
        "0": "RunPodSandbox default/web: ",
        "2": "FAIL: /runtime.v1.RuntimeService/RunPodSandbox(): default/web: INVALID_ARGUMENT: ",
    }[verbosity]
    assert records(proxy, "unknown") == [f'{begin}criproxy: unknown runtime: "alt.tset" (configured: alt.test)']


@pytest.mark.parametrize(("id", "prefix"), [("primary", ""), ("other", "alt.test__")])
def test_a_container_that_cannot_be_stopped_is_named_with_its_pod_as_it_was_listed(
    id: str, prefix: str, client: Client, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    runtime: Runtime = request.getfixturevalue(id)
    runtime.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p", "metadata": OF_WEB}])
    runtime.answers["ListContainers"] = v1.ListContainersResponse(
        containers=[{"id": "c", "pod_sandbox_id": "p", "metadata": {"name": "nginx"}}]
    )
    runtime.answers["StopContainer"] = failing(grpc.StatusCode.INTERNAL, "it hangs")
    client.call("ListPodSandbox")
    client.call("ListContainers")
    client.fail("StopContainer", container_id=f"{prefix}c")
    proxy.wait_for_log("default/web/nginx: INTERNAL: it hangs")


def test_a_container_that_does_not_start_is_named_though_no_list_has_had_it(
    client: Client, proxy: Proxy, primary: Runtime
) -> None:
    primary.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    primary.answers["CreateContainer"] = v1.CreateContainerResponse(container_id="c")
    primary.answers["StartContainer"] = failing(grpc.StatusCode.UNKNOWN, "no such file")
    client.call("RunPodSandbox", config={"metadata": OF_WEB})
    client.call("CreateContainer", pod_sandbox_id="p", config={"metadata": {"name": "nginx"}, "image": {"image": "i"}})
    client.fail("StartContainer", container_id="c")
    proxy.wait_for_log("default/web/nginx: UNKNOWN: no such file")


def test_what_kubelet_asks_for_in_vain_all_day_long_is_told_only_to_who_wants_it(
    client: Client, proxy: Proxy, primary: Runtime, verbosity: str
) -> None:
    primary.answers["ContainerStatus"] = failing(grpc.StatusCode.NOT_FOUND, "gone")
    client.fail("ContainerStatus", container_id="c")
    primary.answers["ContainerStatus"] = failing(grpc.StatusCode.INTERNAL, "broken")
    client.fail("ContainerStatus", container_id="c")
    proxy.wait_for_log("INTERNAL: broken")
    assert len(proxy.logged("gone")) == (1 if verbosity == "2" else 0)


def test_a_thousand_failing_calls_are_one_record_and_one_with_the_count(
    client: Client, proxy: Proxy, primary: Runtime
) -> None:
    primary.answers["StopContainer"] = failing(grpc.StatusCode.INTERNAL, "broken")
    for _ in range(FLOOD):
        client.fail("StopContainer", container_id="c")
    proxy.stop()
    first, last = records(proxy, "broken")
    assert first.endswith("c: INTERNAL: broken")
    assert re.search(r"broken \(the last of (\d+) such calls in ", last)[1] == f"{FLOOD - 1}"  # type: ignore[index]


@pytest.mark.parametrize(
    ("id", "prefix", "letter", "title"),
    [("primary", "", "E", "the primary runtime"), ("other", "alt.test__", "W", 'runtime "alt.test"')],
)
def test_an_outage_is_a_few_records_with_the_number_of_calls_that_it_has_cost(
    id: str, prefix: str, letter: str, title: str, client: Client, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    runtime: Runtime = request.getfixturevalue(id)
    about = f"{title} ({runtime.path})"
    runtime.stop()
    assert proxy.wait_for_log(f"{about} has gone: ").startswith(letter)
    calls = 20
    for number in range(calls):
        client.fail("StopContainer", container_id=f"{prefix}{number}")
    runtime.start()
    assert proxy.wait_for_log(f"{about}: {calls - 1} more calls failed without it").startswith("I")
    back = proxy.wait_for_log(f"connected to {about}: ", 2)
    assert back.startswith("I")
    assert re.search(r"; it is back after \d+(\.\d)? s$", back)
    assert len(proxy.logged("is not available")) == 1
    assert len(proxy.logged("has gone")) == 1
    assert not proxy.logged("is not there")


def test_two_containers_are_two_problems(client: Client, proxy: Proxy, other: Runtime) -> None:
    other.answers["StopContainer"] = failing(grpc.StatusCode.INTERNAL, "broken")
    for _ in range(2):
        for id in ("alt.test__c", "alt.test__d"):
            client.fail("StopContainer", container_id=id)
    proxy.stop()
    assert [line.partition(": INTERNAL")[0][-1] for line in records(proxy, "broken")] == ["c", "d", "c", "d"]
