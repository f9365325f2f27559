"""``criproxy demo-runtime`` as its callers see it: other people's CRI messages and gRPC's own client, over a socket."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List

import grpc
import pytest

from criproxy.cri.messages import api
from criproxy.cri.schema import load
from criproxy.demo.server import AFTER_V1ALPHA2

WAIT = 10.0
VERSIONS = ["v1", "v1alpha2"]
NOT_IMPLEMENTED = {"CheckpointContainer", "CheckpointPod", "RestorePod"}
COMMAND = [sys.executable, "-m", "criproxy", "demo-runtime"]


class Peer:
    """A runtime's process, and one version's stubs for it."""

    def __init__(self, process: subprocess.Popen[str], path: str) -> None:
        self.process = process
        self.path = path
        size = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"unix:{path}", options=size)
        self.speak("v1")

    def speak(self, version: str) -> None:
        """From now on in this version."""
        self.pb: Any = importlib.import_module(f"cri_api.{version}.api_pb2")
        stubs: Any = importlib.import_module(f"cri_api.{version}.api_pb2_grpc")
        self.runtime, self.images = stubs.RuntimeServiceStub(self.channel), stubs.ImageServiceStub(self.channel)

    def __call__(self, method: str, **fields: Any) -> Any:
        stub = self.runtime if hasattr(self.runtime, method) else self.images
        return getattr(stub, method)(getattr(self.pb, load().methods[method].request)(**fields), timeout=WAIT)

    def raw(self, version: str, method: str) -> List[bytes]:
        """Calls a method that the stubs may not have, with an empty request; gives the messages of its answer."""
        rpc = load().methods[method]
        make: Any = self.channel.unary_stream if rpc.server_streaming else self.channel.unary_unary
        answer = make(f"/runtime.{version}.{rpc.service}/{method}")(b"", timeout=WAIT)
        return list(answer) if rpc.server_streaming else [answer]

    def outcome(self, version: str, method: str) -> grpc.StatusCode:
        """The status that such a call ends with."""
        try:
            self.raw(version, method)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def pod(self, **config: Any) -> str:
        metadata = {"name": "web", "namespace": "default", "uid": "1"}
        return str(self("RunPodSandbox", config={"metadata": metadata, **config}).pod_sandbox_id)

    def container(self, pod_id: str) -> str:
        self("PullImage", image={"image": "nginx"})
        config = {"metadata": {"name": "app"}, "image": {"image": "nginx"}}
        container_id = self("CreateContainer", pod_sandbox_id=pod_id, config=config).container_id
        self("StartContainer", container_id=container_id)
        return str(container_id)


@contextmanager
def running(path: str, *options: str) -> Iterator[Peer]:
    process = subprocess.Popen([*COMMAND, "--listen", path, *options], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert f"serves {path}" in line
        peer = Peer(process, path)
        try:
            yield peer
        finally:
            peer.channel.close()
    finally:
        process.terminate()
        process.communicate(timeout=WAIT)


@pytest.fixture
def directory() -> Iterator[str]:
    """A directory with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="cri") as path:
        yield path


@pytest.fixture
def path(directory: str) -> str:
    return os.path.join(directory, "r.sock")


@pytest.fixture
def start(path: str) -> Callable[..., Any]:
    return lambda *options: running(path, "--name", "demo", *options)


@pytest.fixture(scope="module")
def shared() -> Iterator[Peer]:
    with tempfile.TemporaryDirectory(prefix="cri") as path, running(os.path.join(path, "r.sock")) as peer:
        yield peer


@pytest.fixture(params=VERSIONS)
def peer(shared: Peer, request: pytest.FixtureRequest) -> Peer:
    """A runtime, spoken to in each version; it keeps what other tests have left there."""
    shared.speak(request.param)
    return shared


@contextmanager
def fails(code: grpc.StatusCode) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as raised:
        yield
    assert raised.value.code() is code


def test_a_pod_lives_and_dies(peer: Peer) -> None:
    pod_id = peer.pod(labels={"a": "b"})
    container_id = peer.container(pod_id)
    (container,) = peer("ListContainers", filter={"pod_sandbox_id": pod_id}).containers
    assert (container.id, container.state) == (container_id, peer.pb.CONTAINER_RUNNING)
    assert peer("ExecSync", container_id=container_id, cmd=["echo", "hello"]).stdout == b"hello\n"
    peer("StopContainer", container_id=container_id)
    assert peer("ContainerStatus", container_id=container_id).status.state == peer.pb.CONTAINER_EXITED
    peer("StopPodSandbox", pod_sandbox_id=pod_id)
    (pod,) = peer("ListPodSandbox", filter={"id": pod_id}).items
    assert (pod.state, dict(pod.labels)) == (peer.pb.SANDBOX_NOTREADY, {"a": "b"})
    peer("RemovePodSandbox", pod_sandbox_id=pod_id)
    assert not peer("ListPodSandbox", filter={"id": pod_id}).items
    with fails(grpc.StatusCode.NOT_FOUND):
        peer("ContainerStatus", container_id=container_id)


def test_images_are_pulled_and_removed(peer: Peer) -> None:
    image_id = peer("PullImage", image={"image": "busybox"}).image_ref
    image = peer("ImageStatus", image={"image": "busybox"}).image
    assert image.id == image_id
    assert image.size > 0
    assert image_id in [one.id for one in peer("ListImages").images]
    peer("RemoveImage", image={"image": image_id})
    assert not peer("ImageStatus", image={"image": "busybox"}).HasField("image")
    assert peer("ImageFsInfo").image_filesystems[0].used_bytes.value > 0


def test_statistics_are_there_for_pods_and_containers(peer: Peer) -> None:
    pod_id = peer.pod()
    container_id = peer.container(pod_id)
    first, second = (peer("ContainerStats", container_id=container_id).stats for _ in range(2))
    assert second.cpu.usage_core_nano_seconds.value > first.cpu.usage_core_nano_seconds.value
    (stats,) = peer("PodSandboxStats", pod_sandbox_id=pod_id).stats.linux.containers
    assert stats.attributes.id == container_id


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_says_which_it_is(shared: Peer, version: str) -> None:
    shared.speak(version)
    assert shared("Version").runtime_api_version == version


@pytest.mark.parametrize("version", VERSIONS)
def test_a_runtime_of_one_version_does_not_know_the_other(start: Callable[..., Any], version: str) -> None:
    with start("--version", version) as peer:
        peer.speak(version)
        assert peer("Version").runtime_name == "demo"
        (other,) = set(VERSIONS) - {version}
        peer.speak(other)
        with fails(grpc.StatusCode.UNIMPLEMENTED):
            peer("Version")


def test_the_methods_of_v1_alone_are_those_that_v1alpha2_does_not_have() -> None:
    services = importlib.import_module("cri_api.v1alpha2.api_pb2").DESCRIPTOR.services_by_name.values()
    known = {method.name for service in services for method in service.methods}
    assert set(load().methods) - known == AFTER_V1ALPHA2


@pytest.mark.parametrize("method", sorted(AFTER_V1ALPHA2))
def test_v1alpha2_does_not_know_the_methods_that_came_later(shared: Peer, method: str) -> None:
    assert shared.outcome("v1alpha2", method) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", sorted(NOT_IMPLEMENTED))
def test_checkpoints_are_not_implemented(shared: Peer, method: str) -> None:
    assert shared.outcome("v1", method) is grpc.StatusCode.UNIMPLEMENTED


def test_methods_that_it_is_to_be_without_are_not_implemented(start: Callable[..., Any]) -> None:
    with start("--without", "StreamImages,Attach", "--without", "GetContainerEvents") as peer:
        for method in ("StreamImages", "Attach", "GetContainerEvents"):
            assert peer.outcome("v1", method) is grpc.StatusCode.UNIMPLEMENTED
        assert peer.outcome("v1", "ListImages") is grpc.StatusCode.OK


def test_without_a_service_it_has_none_of_its_methods(start: Callable[..., Any]) -> None:
    with start("--without", "RuntimeService,StreamImages") as peer:
        for method in ("Version", "ListPodSandbox", "StreamImages"):
            assert peer.outcome("v1", method) is grpc.StatusCode.UNIMPLEMENTED
        assert peer.outcome("v1", "ListImages") is grpc.StatusCode.OK


@pytest.mark.parametrize("method", sorted(set(load().methods) - NOT_IMPLEMENTED - {"GetContainerEvents"}))
def test_all_else_is_implemented(shared: Peer, method: str) -> None:
    assert shared.outcome("v1", method) in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)


def test_a_list_comes_as_a_stream_of_messages(shared: Peer) -> None:
    shared.speak("v1")
    ids = {shared.pod() for _ in range(5)}
    response: Any = api()["StreamPodSandboxesResponse"]
    messages = [response.FromString(body) for body in shared.raw("v1", "StreamPodSandboxes")]
    assert len(messages) > 2
    assert ids <= {pod.id for message in messages for pod in message.pod_sandboxes}


def test_events_reach_every_subscriber(shared: Peer) -> None:
    shared.speak("v1")
    streams = [shared.runtime.GetContainerEvents(shared.pb.GetEventsRequest(), timeout=WAIT) for _ in range(3)]
    for stream in streams:
        stream.initial_metadata()
    pod_id = shared.pod()
    container_id = shared.container(pod_id)
    shared("RemovePodSandbox", pod_sandbox_id=pod_id)
    kinds = shared.pb.ContainerEventType.Name
    for stream in streams:
        events = [next(stream) for _ in range(8)]
        stream.cancel()
        assert [kinds(event.container_event_type) for event in events if event.container_id == container_id] == [
            "CONTAINER_CREATED_EVENT",
            "CONTAINER_STARTED_EVENT",
            "CONTAINER_STOPPED_EVENT",
            "CONTAINER_DELETED_EVENT",
        ]
        # Read as we do: cri_api's last release for Python 3.9 does not know the field.
        ours: List[Any] = [api()["ContainerEventResponse"].FromString(event.SerializeToString()) for event in events]
        assert {event.pod_sandbox_status.id for event in ours} == {pod_id}


def test_messages_of_many_megabytes_pass_both_ways(shared: Peer) -> None:
    shared.speak("v1")
    annotations = {"large": "x" * (20 << 20)}
    pod_id = shared.pod(annotations=annotations)
    (pod,) = shared("ListPodSandbox", filter={"id": pod_id}).items
    assert dict(pod.annotations) == annotations
    shared("RemovePodSandbox", pod_sandbox_id=pod_id)


def test_calls_at_the_same_time_do_not_disturb_each_other(start: Callable[..., Any]) -> None:
    with start() as peer, ThreadPoolExecutor(16) as pool:
        pods = list(pool.map(lambda _: peer.pod(), range(64)))
        containers = list(pool.map(peer.container, pods))
        assert {pod.id for pod in peer("ListPodSandbox").items} == set(pods)
        assert {one.id: one.pod_sandbox_id for one in peer("ListContainers").containers} == dict(zip(containers, pods))


def test_urls_begin_as_the_option_says(start: Callable[..., Any]) -> None:
    with start("--stream-url", "http://node:10250") as peer:
        url = peer("PortForward", pod_sandbox_id=peer.pod()).url
    assert url.startswith("http://node:10250/cri/portforward/")


def test_pods_can_ask_for_the_handlers_of_the_option(start: Callable[..., Any]) -> None:
    config = {"metadata": {"name": "web", "namespace": "default", "uid": "1"}}
    with start("--handler", "kata", "--handler", "gvisor") as peer:
        # Read as we do: cri_api's last release for Python 3.9 does not know the handlers.
        status: Any = api()["StatusResponse"].FromString(*peer.raw("v1", "Status"))
        assert [one.name for one in status.runtime_handlers] == ["", "kata", "gvisor"]
        assert peer("RunPodSandbox", config=config, runtime_handler="gvisor").pod_sandbox_id
        with fails(grpc.StatusCode.INVALID_ARGUMENT):
            peer("RunPodSandbox", config=config, runtime_handler="runc")


def test_a_runtime_begins_with_what_it_is_seeded_with(start: Callable[..., Any]) -> None:
    with start("--seed", "kube-system/dns=coredns:1.11,proxy", "--seed", "default/empty=") as peer:
        pods = {pod.id: (pod.metadata.namespace, pod.metadata.name) for pod in peer("ListPodSandbox").items}
        containers = peer("ListContainers").containers
    assert sorted(pods.values()) == [("default", "empty"), ("kube-system", "dns")]
    assert [(pods[one.pod_sandbox_id][1], one.metadata.name, one.image.image, one.state) for one in containers] == [
        ("dns", "coredns", "coredns:1.11", 1),
        ("dns", "proxy", "proxy", 1),
    ]


def test_with_a_state_file_a_killed_runtime_comes_back_with_all_that_it_had(
    start: Callable[..., Any], directory: str
) -> None:
    state = os.path.join(directory, "state")
    lists = ("ListPodSandbox", "ListContainers", "ListImages", "Status")
    with start("--state", state) as peer:
        pod_id = peer.pod(labels={"a": "b"})
        container_id = peer.container(pod_id)
        peer("UpdateRuntimeConfig", runtime_config={"network_config": {"pod_cidr": "10.88.0.0/16"}})
        peer("UpdateContainerResources", container_id=container_id, linux={"cpu_shares": 7})
        before = [peer(method) for method in lists]
        peer.process.kill()
        peer.process.wait(WAIT)
    with start("--state", state) as peer:
        assert [peer(method) for method in lists] == before
        status = peer("ContainerStatus", container_id=container_id).status
        assert (status.state, status.resources.linux.cpu_shares) == (peer.pb.CONTAINER_RUNNING, 7)
        other = peer("PodSandboxStatus", pod_sandbox_id=peer.pod()).status
        assert other.network.ip != peer("PodSandboxStatus", pod_sandbox_id=pod_id).status.network.ip
        peer("RemovePodSandbox", pod_sandbox_id=pod_id)
    with start("--state", state) as peer:
        assert [pod.id for pod in peer("ListPodSandbox").items] == [other.id]
        assert list(peer("ListContainers").containers) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"addresses": 1, "network": {"pod": 1}}'])
def test_a_state_file_that_is_none_is_told_in_one_line(directory: str, text: str) -> None:
    state = os.path.join(directory, "state")
    with open(state, "w") as file:
        file.write(text)
    command = [*COMMAND, "--listen", os.path.join(directory, "r.sock"), "--state", state]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=WAIT)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"criproxy demo-runtime: {state}: ")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_without_its_socket_even_while_somebody_waits_for_events(
    start: Callable[..., Any], path: str, number: int
) -> None:
    with start() as peer:
        stream = peer.runtime.GetContainerEvents(peer.pb.GetEventsRequest(), timeout=WAIT)
        stream.initial_metadata()
        peer.process.send_signal(number)
        assert peer.process.wait(WAIT) == 0
    assert not os.path.exists(path)


def test_it_takes_the_place_of_a_runtime_that_was_killed(start: Callable[..., Any], path: str) -> None:
    with start() as killed:
        killed.process.kill()
        killed.process.wait(WAIT)
        assert os.path.exists(path)
        with start() as peer:
            assert peer("Version").runtime_name == "demo"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=WAIT)


def test_it_leaves_a_socket_alone_that_another_serves(start: Callable[..., Any], path: str) -> None:
    with start() as peer:
        ended = run("--listen", path)
        assert (ended.returncode, ended.stderr) == (
            1,
            f"criproxy demo-runtime: cannot listen on {path}: another process serves it\n",
        )
        assert peer("Version").runtime_name == "demo"


@pytest.mark.parametrize("name", ["absent/r.sock", "x" * 108])
def test_a_socket_that_cannot_be_made_is_told_in_one_line(directory: str, name: str) -> None:
    path = os.path.join(directory, name)
    ended = run("--listen", path)
    assert ended.returncode == 1
    assert f"criproxy demo-runtime: cannot listen on {path}: " in ended.stderr.splitlines()[-1]


BAD_USAGE: List[List[str]] = [
    [],
    ["--listen", "x", "--version", "v2"],
    ["--listen", "x", "--seed", "pod=image"],
    ["--listen", "x", "--without", "Status,Nothing"],
]


@pytest.mark.parametrize("options", BAD_USAGE)
def test_bad_usage_ends_with_2(options: List[str]) -> None:
    ended = run(*options)
    assert ended.returncode == 2
    assert "usage: criproxy demo-runtime" in ended.stderr
