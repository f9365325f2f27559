"""The demo runtime keeps the promises of the CRI: states, filters, idempotence, codes, events, statistics."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import Any, Iterator, List

import pytest

from criproxy.cri.schema import load
from criproxy.demo.messages import MESSAGES, CriError
from criproxy.demo.runtime import PAGE, DemoRuntime

ENUMS = load().enums
READY, NOT_READY = 0, 1
CREATED, RUNNING, EXITED = 0, 1, 2
SECOND = 10**9


class Node:
    """A runtime, the clock that it goes by, and short ways to call it."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_700_000_000 * SECOND
        self.runtime = DemoRuntime("demo", clock=lambda: self.now, **options)
        self.events: List[Any] = []
        self.runtime.subscribe(self.events.append)

    def __call__(self, method: str, **fields: Any) -> Any:
        return getattr(self.runtime, method)(MESSAGES[load().methods[method].request](**fields))

    def pod(self, name: str = "web", **config: Any) -> str:
        metadata = {"name": name, "namespace": "default", "uid": name}
        return str(self("RunPodSandbox", config={"metadata": metadata, **config}).pod_sandbox_id)

    def container(self, pod_id: str, name: str = "app", start: bool = True, **config: Any) -> str:
        self("PullImage", image={"image": "nginx"})
        config = {"metadata": {"name": name}, "image": {"image": "nginx"}, **config}
        container_id = self("CreateContainer", pod_sandbox_id=pod_id, config=config).container_id
        if start:
            self("StartContainer", container_id=container_id)
        return str(container_id)

    def pod_state(self, pod_id: str) -> int:
        return int(self("PodSandboxStatus", pod_sandbox_id=pod_id).status.state)

    def status(self, container_id: str) -> Any:
        return self("ContainerStatus", container_id=container_id).status

    def seen(self) -> List[Any]:
        """The events so far, as pairs of what has happened and to whom."""
        names = {
            number: name[len("CONTAINER_") : -len("_EVENT")] for name, number in ENUMS["ContainerEventType"].items()
        }
        return [(names[event.container_event_type], event.container_id) for event in self.events]


@pytest.fixture
def node() -> Node:
    return Node()


@contextmanager
def fails(code: str) -> Iterator[None]:
    with pytest.raises(CriError) as raised:
        yield
    assert raised.value.code == code


# The runtime itself.


def test_version_has_all_four_fields_which_kubelet_wants(node: Node) -> None:
    version = node("Version")
    assert version.runtime_name == "demo"
    assert version.version
    assert version.runtime_version
    assert version.runtime_api_version == "v1"


def test_the_status_says_that_runtime_and_network_are_ready(node: Node) -> None:
    conditions = node("Status").status.conditions
    assert {condition.type: condition.status for condition in conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }


def test_the_pods_network_is_seen_in_the_status_once_it_is_set(node: Node) -> None:
    node("UpdateRuntimeConfig", runtime_config={"network_config": {"pod_cidr": "10.9.0.0/16"}})
    assert not node("Status").info
    assert json.loads(node("Status", verbose=True).info["info"])["network_config"] == {"pod_cidr": "10.9.0.0/16"}


def test_the_status_lists_the_handlers_with_all_features_for_those_that_have_a_name() -> None:
    handlers = Node(handlers=["kata", "gvisor"])("Status").runtime_handlers
    features = [(one.features.recursive_read_only_mounts, one.features.user_namespaces) for one in handlers]
    assert [one.name for one in handlers] == ["", "kata", "gvisor"]
    assert features == [(False, False), (True, True), (True, True)]


# Pods.


def test_a_pod_is_as_its_configuration_says(node: Node) -> None:
    pod_id = node.pod(labels={"app": "web"}, annotations={"a": "b"})
    status = node("PodSandboxStatus", pod_sandbox_id=pod_id).status
    (item,) = node("ListPodSandbox").items
    for seen in (status, item):
        assert seen.id == pod_id
        assert (seen.metadata.name, seen.metadata.namespace, seen.metadata.uid) == ("web", "default", "web")
        assert seen.state == READY
        assert seen.created_at == node.now
        assert dict(seen.labels) == {"app": "web"}
        assert dict(seen.annotations) == {"a": "b"}


def test_pods_have_addresses_of_their_own(node: Node) -> None:
    first, second = (node("PodSandboxStatus", pod_sandbox_id=node.pod(name)).status for name in "ab")
    assert first.network.ip
    assert second.network.ip
    assert first.network.ip != second.network.ip


def test_a_pod_in_the_nodes_network_has_no_address(node: Node) -> None:
    options = {"network": ENUMS["NamespaceMode"]["NODE"]}
    pod_id = node.pod(linux={"security_context": {"namespace_options": options}})
    status = node("PodSandboxStatus", pod_sandbox_id=pod_id).status
    assert not status.network.ip
    assert status.linux.namespaces.options.network == options["network"]


def test_a_pod_without_a_name_is_refused(node: Node) -> None:
    with fails("INVALID_ARGUMENT"):
        node("RunPodSandbox", config={})


def test_a_pod_tells_the_handler_that_it_has_asked_for() -> None:
    node = Node(handlers=["kata"])
    metadata = {"name": "web", "namespace": "default", "uid": "1"}
    pod_id = node("RunPodSandbox", config={"metadata": metadata}, runtime_handler="kata").pod_sandbox_id
    assert node("PodSandboxStatus", pod_sandbox_id=pod_id).status.runtime_handler == "kata"
    assert [pod.runtime_handler for pod in node("ListPodSandbox").items] == ["kata"]


def test_a_pod_that_asks_for_an_unknown_handler_is_refused(node: Node) -> None:
    metadata = {"name": "web", "namespace": "default", "uid": "1"}
    with pytest.raises(CriError, match=r'^no runtime for "kata" is configured$') as raised:
        node("RunPodSandbox", config={"metadata": metadata}, runtime_handler="kata")
    assert raised.value.code == "INVALID_ARGUMENT"
    assert not node("ListPodSandbox").items


def test_stopping_a_pod_stops_its_containers(node: Node) -> None:
    pod_id = node.pod()
    container_id = node.container(pod_id)
    node("StopPodSandbox", pod_sandbox_id=pod_id)
    assert node.pod_state(pod_id) == NOT_READY
    assert node.status(container_id).state == EXITED


def test_removing_a_pod_removes_its_containers(node: Node) -> None:
    pod_id, other = node.pod("a"), node.pod("b")
    node.container(pod_id)
    kept = node.container(other)
    node("RemovePodSandbox", pod_sandbox_id=pod_id)
    assert [pod.id for pod in node("ListPodSandbox").items] == [other]
    assert [container.id for container in node("ListContainers").containers] == [kept]


def test_resources_given_to_a_pod_are_seen_in_its_verbose_status(node: Node) -> None:
    pod_id = node.pod()
    node("UpdatePodSandboxResources", pod_sandbox_id=pod_id, resources={"cpu_shares": 512})
    node("UpdatePodSandboxResources", pod_sandbox_id=pod_id, resources={"memory_limit_in_bytes": 4096})
    config = json.loads(node("PodSandboxStatus", pod_sandbox_id=pod_id, verbose=True).info["info"])["config"]
    assert config["linux"]["resources"] == {"cpu_shares": "512", "memory_limit_in_bytes": "4096"}


# Containers.


def test_a_container_goes_from_created_to_running_to_exited_with_the_times_of_each(node: Node) -> None:
    created_at = node.now
    container_id = node.container(node.pod(), start=False)
    assert node.status(container_id).state == CREATED
    started_at = node.now = created_at + SECOND
    node("StartContainer", container_id=container_id)
    assert node.status(container_id).state == RUNNING
    finished_at = node.now = started_at + SECOND
    node("StopContainer", container_id=container_id, timeout=30)
    status = node.status(container_id)
    assert status.state == EXITED
    assert (status.created_at, status.started_at, status.finished_at) == (created_at, started_at, finished_at)
    assert (status.exit_code, status.reason) == (0, "Completed")


def test_a_container_without_time_to_stop_is_killed(node: Node) -> None:
    container_id = node.container(node.pod())
    node("StopContainer", container_id=container_id)
    assert (node.status(container_id).exit_code, node.status(container_id).reason) == (137, "Error")


def test_a_container_is_as_its_configuration_says(node: Node) -> None:
    pod_id = node.pod(log_directory="/var/log/pods/web")
    container_id = node.container(pod_id, labels={"a": "b"}, log_path="app/0.log", mounts=[{"host_path": "/srv"}])
    image = node("ImageStatus", image={"image": "nginx"}).image
    status, (item,) = node.status(container_id), node("ListContainers").containers
    for seen in (status, item):
        assert (seen.id, seen.metadata.name, dict(seen.labels)) == (container_id, "app", {"a": "b"})
        assert (seen.image.image, seen.image_id) == ("nginx", image.id)
        assert seen.image_ref in image.repo_digests
    assert item.pod_sandbox_id == pod_id
    assert status.log_path == "/var/log/pods/web/app/0.log"
    assert [mount.host_path for mount in status.mounts] == ["/srv"]


def test_a_container_starts_once(node: Node) -> None:
    container_id = node.container(node.pod())
    with fails("FAILED_PRECONDITION"):
        node("StartContainer", container_id=container_id)


def test_a_container_needs_a_pod_that_is_ready(node: Node) -> None:
    pod_id = node.pod()
    early = node.container(pod_id, start=False)
    node("StopPodSandbox", pod_sandbox_id=pod_id)
    with fails("FAILED_PRECONDITION"):
        node.container(pod_id)
    with fails("FAILED_PRECONDITION"):
        node("StartContainer", container_id=early)


def test_a_container_needs_an_image_that_has_been_pulled(node: Node) -> None:
    config = {"metadata": {"name": "app"}, "image": {"image": "nginx"}}
    with fails("NOT_FOUND"):
        node("CreateContainer", pod_sandbox_id=node.pod(), config=config)


def test_a_container_without_a_name_is_refused(node: Node) -> None:
    with fails("INVALID_ARGUMENT"):
        node.container(node.pod(), metadata={})


def test_resources_given_to_a_container_are_seen_in_its_status(node: Node) -> None:
    container_id = node.container(node.pod(), linux={"resources": {"cpu_shares": 2, "cpu_quota": 100}})
    node("UpdateContainerResources", container_id=container_id, linux={"cpu_shares": 512})
    resources = node.status(container_id).resources.linux
    assert (resources.cpu_shares, resources.cpu_quota) == (512, 100)


def test_an_exited_container_takes_no_resources(node: Node) -> None:
    container_id = node.container(node.pod())
    node("StopContainer", container_id=container_id)
    with fails("FAILED_PRECONDITION"):
        node("UpdateContainerResources", container_id=container_id, linux={"cpu_shares": 512})


# What is not there.


@pytest.mark.parametrize("method", ["StopPodSandbox", "RemovePodSandbox"])
def test_stopping_and_removing_a_pod_succeed_however_often(node: Node, method: str) -> None:
    pod_id = node.pod()
    for _ in range(2):
        node(method, pod_sandbox_id=pod_id)
    node(method, pod_sandbox_id="absent")


@pytest.mark.parametrize("method", ["StopContainer", "RemoveContainer"])
def test_stopping_and_removing_a_container_succeed_however_often(node: Node, method: str) -> None:
    container_id = node.container(node.pod())
    for _ in range(2):
        node(method, container_id=container_id)
    node(method, container_id="absent")


OF_A_POD = ["PodSandboxStatus", "PodSandboxStats", "UpdatePodSandboxResources", "PortForward", "CreateContainer"]
OF_A_CONTAINER = [
    "ContainerStatus",
    "ContainerStats",
    "StartContainer",
    "UpdateContainerResources",
    "ReopenContainerLog",
    "ExecSync",
    "Exec",
    "Attach",
]


@pytest.mark.parametrize(("thing_id", "code"), [("absent", "NOT_FOUND"), ("", "INVALID_ARGUMENT")])
@pytest.mark.parametrize("method", OF_A_POD + OF_A_CONTAINER)
def test_a_call_for_what_is_not_there_fails(node: Node, method: str, thing_id: str, code: str) -> None:
    node.container(node.pod())
    with fails(code):
        node(method, **{"pod_sandbox_id" if method in OF_A_POD else "container_id": thing_id})


def test_an_id_may_be_cut_short_while_it_is_still_of_one_thing(node: Node) -> None:
    container_id = node.container(node.pod())
    assert node.status(container_id[:12]).id == container_id
    # There are 16 hexadecimal digits: of 17 containers two begin with the same.
    ids = [container_id, *(node.container(node.pod()) for _ in range(16))]
    first = next(digit for digit in "0123456789abcdef" if sum(one.startswith(digit) for one in ids) > 1)
    with fails("INVALID_ARGUMENT"):
        node.status(first)


# Lists.


def test_pods_are_filtered_by_id_state_and_labels(node: Node) -> None:
    web = node.pod("web", labels={"app": "web", "tier": "front"})
    db = node.pod("db", labels={"app": "db"})
    node("StopPodSandbox", pod_sandbox_id=db)

    def listed(**wanted: Any) -> List[str]:
        return [pod.id for pod in node("ListPodSandbox", filter=wanted).items]

    assert listed() == [web, db]
    assert listed(id=web) == listed(id=web[:13]) == [web]
    assert listed(id="absent") == []
    assert listed(state={"state": READY}) == [web]
    assert listed(state={"state": NOT_READY}) == [db]
    assert listed(label_selector={"app": "web"}) == [web]
    assert listed(label_selector={"app": "web", "tier": "back"}) == []
    assert listed(id=web, state={"state": NOT_READY}) == []


def test_containers_are_filtered_by_id_pod_state_and_labels(node: Node) -> None:
    pod, other = node.pod("a"), node.pod("b")
    first = node.container(pod, labels={"app": "web"})
    second = node.container(pod, start=False)
    third = node.container(other)

    def listed(**wanted: Any) -> List[str]:
        return [container.id for container in node("ListContainers", filter=wanted).containers]

    assert listed() == [first, second, third]
    assert listed(id=second) == [second]
    assert listed(pod_sandbox_id=pod) == [first, second]
    assert listed(state={"state": CREATED}) == [second]
    assert listed(state={"state": RUNNING}, pod_sandbox_id=pod) == [first]
    assert listed(label_selector={"app": "web"}) == [first]


@pytest.mark.parametrize(("method", "answer"), [("ListContainerStats", "stats"), ("ListPodSandboxStats", "stats")])
def test_lists_of_statistics_are_filtered_too(node: Node, method: str, answer: str) -> None:
    ids = {"ListPodSandboxStats": [node.pod("a", labels={"n": "1"}), node.pod("b", labels={"n": "2"})]}
    ids["ListContainerStats"] = [
        node.container(pod_id, labels={"n": str(number)}) for number, pod_id in enumerate(ids["ListPodSandboxStats"], 1)
    ]

    def listed(**wanted: Any) -> List[str]:
        return [stats.attributes.id for stats in getattr(node(method, filter=wanted), answer)]

    assert listed() == ids[method]
    assert listed(id=ids[method][1]) == ids[method][1:]
    assert listed(label_selector={"n": "1"}) == ids[method][:1]


STREAMS = {
    "StreamPodSandboxes": "ListPodSandbox",
    "StreamContainers": "ListContainers",
    "StreamContainerStats": "ListContainerStats",
    "StreamPodSandboxStats": "ListPodSandboxStats",
    "StreamPodSandboxMetrics": "ListPodSandboxMetrics",
    "StreamImages": "ListImages",
}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_list_as_a_stream_has_the_items_of_the_list_in_several_messages(node: Node, stream: str) -> None:
    for number in range(PAGE + 1):
        node.container(node.pod())
        node("PullImage", image={"image": f"image:{number}"})
    messages = node(stream)
    assert len(messages) > 1
    streamed = [item for message in messages for _, items in message.ListFields() for item in items]
    ((_, listed),) = node(STREAMS[stream]).ListFields()
    assert streamed == list(listed)


def test_a_list_as_a_stream_is_filtered_too(node: Node) -> None:
    pod_id = [node.pod(str(number)) for number in range(3)][1]
    (message,) = node("StreamPodSandboxes", filter={"id": pod_id})
    assert [pod.id for pod in message.pod_sandboxes] == [pod_id]


# Streaming.


def test_a_command_gets_an_answer_that_tells_the_runtime(node: Node) -> None:
    container_id = node.container(node.pod())

    def said(*command: str) -> Any:
        answer = node("ExecSync", container_id=container_id, cmd=command)
        return answer.exit_code, answer.stdout

    assert said("echo", "hello", "world") == (0, b"hello world\n")
    assert said("ls", "-l") == (0, b"demo: ls -l\n")
    assert said("false")[0] == 1


@pytest.mark.parametrize("method", ["ExecSync", "Exec"])
def test_there_has_to_be_a_command(node: Node, method: str) -> None:
    with fails("INVALID_ARGUMENT"):
        node(method, container_id=node.container(node.pod()))


@pytest.mark.parametrize("method", ["ExecSync", "Exec", "Attach", "ReopenContainerLog"])
def test_nothing_is_to_be_done_in_a_container_that_does_not_run(node: Node, method: str) -> None:
    with fails("FAILED_PRECONDITION"):
        node(method, container_id=node.container(node.pod(), start=False))


@pytest.mark.parametrize("prefix", ["", "http://127.0.0.1:1234", "http://127.0.0.1:1234/"])
def test_streaming_urls_begin_as_they_were_asked_to(prefix: str) -> None:
    node = Node(stream_url=prefix)
    pod_id = node.pod()
    container_id = node.container(pod_id)
    begin = prefix.rstrip("/")
    urls = [node("Exec", container_id=container_id, cmd=["sh"]).url for _ in range(2)]
    assert all(url.startswith(f"{begin}/cri/exec/") for url in urls)
    assert urls[0] != urls[1]
    assert node("Attach", container_id=container_id).url.startswith(f"{begin}/cri/attach/")
    assert node("PortForward", pod_sandbox_id=pod_id).url.startswith(f"{begin}/cri/portforward/")


# Events.


def test_events_tell_the_life_of_a_pod_and_its_container(node: Node) -> None:
    pod_id = node.pod()
    container_id = node.container(pod_id)
    node("StopContainer", container_id=container_id)
    node("RemoveContainer", container_id=container_id)
    node("StopPodSandbox", pod_sandbox_id=pod_id)
    node("RemovePodSandbox", pod_sandbox_id=pod_id)
    assert node.seen() == [
        ("CREATED", pod_id),
        ("STARTED", pod_id),
        ("CREATED", container_id),
        ("STARTED", container_id),
        ("STOPPED", container_id),
        ("DELETED", container_id),
        ("STOPPED", pod_id),
        ("DELETED", pod_id),
    ]


def test_an_event_carries_the_pod_and_its_containers_as_they_were_then(node: Node) -> None:
    pod_id = node.pod()
    container_id = node.container(pod_id)
    node("RemovePodSandbox", pod_sandbox_id=pod_id)
    started, stopped = (
        next(
            event for event in node.events if event.container_id == container_id and event.container_event_type == kind
        )
        for kind in (1, 2)
    )
    assert started.pod_sandbox_status.id == stopped.pod_sandbox_status.id == pod_id
    assert [(status.id, status.state) for status in started.containers_statuses] == [(container_id, RUNNING)]
    assert [(status.id, status.state) for status in stopped.containers_statuses] == [(container_id, EXITED)]
    assert started.created_at == node.now


def test_what_has_stopped_already_is_not_told_to_stop_again(node: Node) -> None:
    pod_id = node.pod()
    node.container(pod_id)
    node("StopPodSandbox", pod_sandbox_id=pod_id)
    before = len(node.events)
    node("StopPodSandbox", pod_sandbox_id=pod_id)
    assert len(node.events) == before


def test_every_subscriber_gets_every_event_until_it_leaves(node: Node) -> None:
    other: List[Any] = []
    node.runtime.subscribe(other.append)
    node.pod("a")
    assert other == node.events
    node.runtime.unsubscribe(other.append)
    node.pod("b")
    assert len(other) == 2
    assert len(node.events) == 4


# Statistics.


def test_a_running_container_uses_more_and_more(node: Node) -> None:
    container_id = node.container(node.pod())

    def used() -> Any:
        stats = node("ContainerStats", container_id=container_id).stats
        return stats.cpu.usage_core_nano_seconds.value, stats.memory.working_set_bytes.value, stats.cpu.timestamp

    before = used()
    node.now += 10 * SECOND
    after = used()
    assert all(late > early for early, late in zip(before, after))


def test_an_exited_container_uses_no_more(node: Node) -> None:
    container_id = node.container(node.pod())
    node.now += SECOND
    node("StopContainer", container_id=container_id)
    ended = node("ContainerStats", container_id=container_id).stats
    node.now += SECOND
    later = node("ContainerStats", container_id=container_id).stats
    assert later.cpu.usage_core_nano_seconds == ended.cpu.usage_core_nano_seconds
    assert ended.cpu.usage_core_nano_seconds.value > 0
    assert (later.cpu.usage_nano_cores.value, later.memory.working_set_bytes.value) == (0, 0)


def test_a_pod_uses_what_its_containers_use(node: Node) -> None:
    pod_id = node.pod()
    for _ in range(2):
        node.container(pod_id)
    node.now += SECOND
    linux = node("PodSandboxStats", pod_sandbox_id=pod_id).stats.linux
    assert len(linux.containers) == 2
    assert linux.cpu.usage_core_nano_seconds.value == sum(
        stats.cpu.usage_core_nano_seconds.value for stats in linux.containers
    )
    assert linux.memory.working_set_bytes.value == sum(
        stats.memory.working_set_bytes.value for stats in linux.containers
    )
    assert linux.network.default_interface.rx_bytes.value > 0


def test_every_metric_is_described_with_as_many_labels_as_it_has(node: Node) -> None:
    pod_id = node.pod()
    container_id = node.container(pod_id)
    (metrics,) = node("ListPodSandboxMetrics").pod_metrics
    (of_container,) = metrics.container_metrics
    assert (metrics.pod_sandbox_id, of_container.container_id) == (pod_id, container_id)
    described = {one.name: len(one.label_keys) for one in node("ListMetricDescriptors").descriptors}
    measured = {one.name: len(one.label_values) for one in (*metrics.metrics, *of_container.metrics)}
    assert measured == described


# Images.


def test_a_pulled_image_has_a_stable_id_and_names(node: Node) -> None:
    image_id = node("PullImage", image={"image": "registry.test:5000/web"}).image_ref
    (image,) = node("ListImages").images
    assert image.id == image_id
    assert list(image.repo_tags) == ["registry.test:5000/web:latest"]
    assert image.repo_digests[0].startswith("registry.test:5000/web@sha256:")
    assert image.size > 0
    assert Node()("PullImage", image={"image": "registry.test:5000/web"}).image_ref == image_id


def test_an_image_is_known_by_its_id_its_tag_and_its_digest(node: Node) -> None:
    node("PullImage", image={"image": "web:1.0"})
    (image,) = node("ListImages").images
    for name in (image.id, image.id[len("sha256:") :], "web:1.0", image.repo_digests[0]):
        assert node("ImageStatus", image={"image": name}).image == image
        assert list(node("ListImages", filter={"image": {"image": name}}).images) == [image]
        assert node("PullImage", image={"image": name}).image_ref == image.id
    assert len(node("ListImages").images) == 1


def test_an_image_that_came_by_its_digest_gets_its_tag_when_it_comes_by_that(node: Node) -> None:
    node("PullImage", image={"image": "web:1.0"})
    (digest,) = node("ListImages").images[0].repo_digests
    fresh = Node()
    fresh("PullImage", image={"image": digest})
    assert list(fresh("ListImages").images[0].repo_tags) == []
    fresh("PullImage", image={"image": "web:1.0"})
    (image,) = fresh("ListImages").images
    assert list(image.repo_tags) == ["web:1.0"]


def test_an_absent_image_has_an_empty_status_and_is_removed_with_success(node: Node) -> None:
    assert not node("ImageStatus", image={"image": "absent"}).HasField("image")
    assert not node("ListImages", filter={"image": {"image": "absent"}}).images
    node("RemoveImage", image={"image": "absent"})


def test_a_removed_image_is_gone(node: Node) -> None:
    node("PullImage", image={"image": "web"})
    node("RemoveImage", image={"image": "web:latest"})
    assert not node("ListImages").images


@pytest.mark.parametrize("method", ["PullImage", "ImageStatus", "RemoveImage"])
def test_an_image_has_to_have_a_name(node: Node, method: str) -> None:
    with fails("INVALID_ARGUMENT"):
        node(method)


def test_images_take_room_on_the_disk_and_even_none_take_some(node: Node) -> None:
    def used() -> Any:
        info = node("ImageFsInfo")
        return info.image_filesystems[0].used_bytes.value, info.container_filesystems[0].used_bytes.value

    empty = used()
    assert min(empty) > 0
    node.container(node.pod())
    (image,) = node("ListImages").images
    assert used()[0] == empty[0] + image.size
    assert used()[1] > empty[1]
