"""All that kubelet can ask about a pod that runs, on each runtime.

What is true is what the runtime itself says; through the proxy the same is to be seen, under kubelet's names.
"""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address, ip_network
from typing import Any, Dict, Iterator

import grpc
import pytest

from .client import Client
from .images import Image
from .kubelet import GREETING, IMAGE, Pod, Runtime, remove_pod, run_pod
from .node import Node
from .service import eventually
from .websocket import STATUS, STDERR, STDOUT, opened

WHOSE = ["primary", "alternative"]
MiB = 2**20


@pytest.fixture(scope="module")
def pods(cri: Client, node: Node, primary: Runtime, alternative: Runtime) -> Iterator[Dict[str, Pod]]:
    """A pod on each runtime."""
    pods = {whose: run_pod(cri, node, runtime, f"on-{whose}") for whose, runtime in zip(WHOSE, (primary, alternative))}
    yield pods
    for pod in pods.values():
        remove_pod(cri, pod)


@pytest.fixture(params=WHOSE)
def pod(request: pytest.FixtureRequest, pods: Dict[str, Pod]) -> Pod:
    """One of them."""
    return pods[request.param]


def outer_pod(pod: Pod, message: Any) -> Any:
    """A runtime's PodSandbox or PodSandboxStatus as kubelet is to see it."""
    message.id = pod.runtime.outer_id(message.id)
    return message


def outer_container(pod: Pod, message: Any) -> Any:
    """A runtime's Container or ContainerStatus as kubelet is to see it."""
    message.id = pod.runtime.outer_id(message.id)
    message.image.image = pod.runtime.outer_image(message.image.image)
    if hasattr(message, "pod_sandbox_id"):
        message.pod_sandbox_id = pod.runtime.outer_id(message.pod_sandbox_id)
    return message


def test_a_pod_is_on_the_runtime_that_it_asks_for_and_its_id_says_so(
    pods: Dict[str, Pod], primary: Runtime, alternative: Runtime
) -> None:
    first, second = pods.values()
    for runtime, mine, other in ((primary, first, second), (alternative, second, first)):
        known = [item.id for item in runtime.direct.ListPodSandbox().items]
        assert mine.inner in known
        assert other.inner not in known
    assert "__" not in pods["primary"].id
    assert pods["alternative"].id.startswith("alt.test__")
    assert pods["alternative"].container.startswith("alt.test__")


def test_a_pod_s_status_is_what_its_runtime_says(cri: Client, pod: Pod) -> None:
    seen = cri.PodSandboxStatus(pod_sandbox_id=pod.id).status
    assert seen == outer_pod(pod, pod.runtime.direct.PodSandboxStatus(pod_sandbox_id=pod.inner).status)
    assert seen.state == cri.api.SANDBOX_READY
    assert ip_address(seen.network.ip) in ip_network(pod.runtime.containerd.network)


def test_a_container_s_status_is_what_its_runtime_says(cri: Client, pod: Pod, image: Image) -> None:
    seen = cri.ContainerStatus(container_id=pod.container).status
    direct = pod.runtime.direct.ContainerStatus(container_id=pod.inner_container).status
    assert seen == outer_container(pod, direct)
    assert seen.state == cri.api.CONTAINER_RUNNING
    assert seen.image.image == pod.runtime.outer_image(IMAGE)
    assert seen.image_ref == image.config


def test_the_lists_have_the_pods_of_all_runtimes_the_primary_s_first(cri: Client, pods: Dict[str, Pod]) -> None:
    direct = {whose: pod.runtime.direct for whose, pod in pods.items()}
    assert list(cri.ListPodSandbox().items) == [
        outer_pod(pod, item) for whose, pod in pods.items() for item in direct[whose].ListPodSandbox().items
    ]
    assert list(cri.ListContainers().containers) == [
        outer_container(pod, item) for whose, pod in pods.items() for item in direct[whose].ListContainers().containers
    ]
    assert [item.id for item in cri.ListPodSandbox().items] == [pod.id for pod in pods.values()]
    assert [item.id for item in cri.ListContainers().containers] == [pod.container for pod in pods.values()]


def test_a_filter_for_an_id_narrows_the_lists_to_it(cri: Client, pods: Dict[str, Pod], pod: Pod) -> None:
    assert [item.id for item in cri.ListPodSandbox(filter={"id": pod.id}).items] == [pod.id]
    assert [item.id for item in cri.ListContainers(filter={"id": pod.container}).containers] == [pod.container]
    in_pod = cri.ListContainers(filter={"pod_sandbox_id": pod.id}).containers
    assert [item.id for item in in_pod] == [pod.container]


def test_a_filter_for_labels_reaches_all_runtimes(cri: Client, pods: Dict[str, Pod]) -> None:
    selected = cri.ListPodSandbox(filter={"label_selector": {"name": "on-alternative"}}).items
    assert [item.id for item in selected] == [pods["alternative"].id]


def test_a_command_s_output_and_exit_status_come_back(cri: Client, pod: Pod) -> None:
    command = ["sh", "-c", "echo $(hostname); echo oops >&2; exit 3"]
    answer = cri.ExecSync(container_id=pod.container, cmd=command, timeout=10)
    assert answer.stdout.startswith(b"on-")
    assert (answer.stderr, answer.exit_code) == (b"oops\n", 3)


def test_a_command_that_takes_too_long_fails_as_its_runtime_says(cri: Client, pod: Pod) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        cri.ExecSync(container_id=pod.container, cmd=["sleep", "60"], timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_url_of_exec_leads_to_the_command(cri: Client, node: Node, pod: Pod) -> None:
    command = ["sh", "-c", "echo to all; echo and to some >&2"]
    url = cri.Exec(container_id=pod.container, cmd=command, stdout=True, stderr=True).url
    said: Dict[int, bytes] = {}
    with opened(node, url) as frames:
        for channel, data in frames:
            said[channel] = said.get(channel, b"") + data
    assert said[STDOUT] == b"to all\n"
    assert said[STDERR] == b"and to some\n"
    assert json.loads(said[STATUS])["status"] == "Success"


def test_the_url_of_attach_leads_to_what_the_container_says(cri: Client, node: Node, pod: Pod) -> None:
    url = cri.Attach(container_id=pod.container, stdout=True, stderr=True).url
    with opened(node, url) as frames:
        # It hears what is said from some moment on: until then the container goes on saying it.
        say = ["sh", "-c", "while sleep 0.1; do echo listen > /proc/1/fd/1; done"]
        saying = cri.begin("ExecSync", container_id=pod.container, cmd=say, timeout=20)
        assert next(data for channel, data in frames if channel == STDOUT and data) == b"listen\n"
    saying.cancel()


def test_the_url_of_port_forward_leads_to_the_port(cri: Client, node: Node, pod: Pod) -> None:
    url = cri.PortForward(pod_sandbox_id=pod.id, port=[80]).url
    with opened(node, url) as frames:
        # Of each port's two channels the first data is the port's number.
        assert [next(frames), next(frames)] == [(0, b"\x50\0"), (1, b"\x50\0")]


def test_a_container_s_output_is_in_its_log_in_kubelet_s_folder(pod: Pod) -> None:
    time, stream, tag, text = pod.logs.read_text().splitlines()[0].split(" ", 3)
    assert time.endswith("Z") or "+" in time
    assert (stream, tag, text) == ("stdout", "F", GREETING)


def test_a_log_that_kubelet_has_rotated_is_begun_anew(cri: Client, pod: Pod) -> None:
    rotated = pod.logs.with_suffix(".1")
    pod.logs.rename(rotated)
    cri.ReopenContainerLog(container_id=pod.container)
    cri.ExecSync(container_id=pod.container, cmd=["sh", "-c", "echo once more > /proc/1/fd/1"], timeout=20)
    assert "once more" in eventually(pod.logs.read_text, lambda text: "once more" in text)
    assert "once more" not in rotated.read_text()


def test_a_container_s_statistics_are_those_of_its_runtime(cri: Client, pod: Pod) -> None:
    seen = cri.ContainerStats(container_id=pod.container).stats
    assert seen.attributes.id == pod.container
    assert (
        seen.attributes.labels["name"]
        == pod.runtime.direct.ContainerStatus(container_id=pod.inner_container).status.labels["name"]
    )
    assert seen.memory.working_set_bytes.value > 0
    assert seen.cpu.usage_core_nano_seconds.value > 0


def test_the_list_of_statistics_has_the_containers_of_all_runtimes(cri: Client, pods: Dict[str, Pod]) -> None:
    containers = [pod.container for pod in pods.values()]
    assert [stats.attributes.id for stats in cri.ListContainerStats().stats] == containers
    for pod in pods.values():
        for narrowed in ({"id": pod.container}, {"pod_sandbox_id": pod.id}):
            stats = cri.ListContainerStats(filter=narrowed).stats
            assert [element.attributes.id for element in stats] == [pod.container]


def test_a_pod_s_statistics_have_kubelet_s_ids(cri: Client, pods: Dict[str, Pod]) -> None:
    for pod in pods.values():
        stats = cri.PodSandboxStats(pod_sandbox_id=pod.id).stats
        assert stats.attributes.id == pod.id
        assert [element.attributes.id for element in stats.linux.containers] == [pod.container]
    assert [stats.attributes.id for stats in cri.ListPodSandboxStats().stats] == [pod.id for pod in pods.values()]


def test_a_container_s_resources_can_be_changed(cri: Client, node: Node, pod: Pod) -> None:
    cri.UpdateContainerResources(container_id=pod.container, linux={"memory_limit_in_bytes": 48 * MiB})
    assert node.cgroup.memory_limit(pod.inner_container) == 48 * MiB


def test_the_proxy_s_first_filesystem_is_the_primary_s(cri: Client, primary: Runtime, alternative: Runtime) -> None:
    seen = [filesystem.fs_id.mountpoint for filesystem in cri.ImageFsInfo().image_filesystems]
    direct = [runtime.direct.ImageFsInfo().image_filesystems for runtime in (primary, alternative)]
    assert seen == [filesystem.fs_id.mountpoint for filesystems in direct for filesystem in filesystems]


def test_the_proxy_is_as_ready_as_the_primary(cri: Client, primary: Runtime) -> None:
    assert cri.Version() == primary.direct.Version()
    conditions = cri.Status().status.conditions[:2]
    assert conditions == primary.direct.Status().status.conditions[:]
    assert [condition.status for condition in conditions] == [True, True]


def test_a_check_finds_all_right_and_has_run_nothing(
    pods: Dict[str, Pod], node: Node, primary: Runtime, alternative: Runtime
) -> None:
    before = [pod.runtime.direct.ContainerStatus(container_id=pod.inner_container) for pod in pods.values()]
    connect = f"{primary.containerd.socket},{alternative.id}:{alternative.containerd.socket}"
    command = [sys.executable, "-m", "criproxy", "check", "-o", "json", "--connect", connect]
    done = subprocess.run(node.enter(*command), stdout=subprocess.PIPE, check=False, timeout=60)
    findings = json.loads(done.stdout)["findings"]
    assert [finding for finding in findings if finding["state"] not in ("right", "not applicable")] == []
    assert done.returncode == 0
    streaming = [finding["state"] for finding in findings if finding["what"] == "streaming"]
    assert streaming == ["right", "right"]
    after = [pod.runtime.direct.ContainerStatus(container_id=pod.inner_container) for pod in pods.values()]
    assert before == after
