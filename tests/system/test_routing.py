"""Whom a call reaches, and what it looks like there and back. The other side's messages are cri_api's."""

from __future__ import annotations

import threading
from typing import Any, Dict

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, message_class, v1

from criproxy.cri import schema

pytestmark = pytest.mark.stateless

METHODS = schema.load().methods
OF_A_POD = [m for m, rpc in METHODS.items() if "pod_sandbox_id" in schema.load().messages[rpc.request]]
OF_A_CONTAINER = [m for m, rpc in METHODS.items() if "container_id" in schema.load().messages[rpc.request]]
LISTS = {
    "ListPodSandbox": ("items", "id"),
    "ListContainers": ("containers", "id"),
    "ListContainerStats": ("stats", "attributes.id"),
    "ListPodSandboxStats": ("stats", "attributes.id"),
    "ListPodSandboxMetrics": ("pod_metrics", "pod_sandbox_id"),
    "StreamPodSandboxes": ("pod_sandboxes", "id"),
    "StreamContainers": ("containers", "id"),
    "StreamContainerStats": ("container_stats", "attributes.id"),
    "StreamPodSandboxStats": ("pod_sandbox_stats", "attributes.id"),
    "StreamPodSandboxMetrics": ("pod_sandbox_metrics", "pod_sandbox_id"),
}
IMAGE = {"image": {"image": "busybox"}}


def listed(method: str, *ids: str) -> object:
    """A list's answer with entries of these ids."""
    container, path = LISTS[method]
    answer = message_class("runtime.v1", METHODS[method].response)()
    for name in ids:
        entry = getattr(answer, container).add()
        *way, last = path.split(".")
        for part in way:
            entry = getattr(entry, part)
        setattr(entry, last, name)
    return answer


def ids_in(method: str, answer: object) -> list[str]:
    """The entries' ids in a list's answer, or in all messages of a streamed one."""
    container, path = LISTS[method]
    found = []
    for message in answer if isinstance(answer, list) else [answer]:
        for entry in getattr(message, container):
            for part in path.split("."):
                entry = getattr(entry, part)
            found.append(entry)
    return found


def config_for(target: str, **fields: object) -> v1.PodSandboxConfig:
    """A pod's configuration that asks for a runtime."""
    return v1.PodSandboxConfig(annotations={"kubernetes.io/target-runtime": target} if target else {}, **fields)


def container_config(method: str) -> Dict[str, Any]:
    return {"config": {"image": {"image": "alt.test/busybox"}}} if method == "CreateContainer" else {}


@pytest.mark.parametrize("method", OF_A_POD + OF_A_CONTAINER)
class TestACallWithAnId:
    def field(self, method: str) -> str:
        return "pod_sandbox_id" if method in OF_A_POD else "container_id"

    def test_reaches_the_runtime_of_its_prefix_without_it(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        client.call(method, **{self.field(method): "alt.test__x1"}, **container_config(method))
        (call,) = other.called(method)
        assert getattr(call.request, self.field(method)) == "x1"
        assert not primary.called(method)

    def test_without_a_prefix_reaches_the_primary_as_it_is(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        fields = {"config": {"image": {"image": "busybox"}}} if method == "CreateContainer" else {}
        request = client.request(method, **{self.field(method): "other_x1"}, **fields)
        client.stub(method)(request, timeout=20)
        (call,) = primary.called(method)
        assert call.raw == request.SerializeToString()
        assert not other.called(method)

    def test_with_the_prefix_of_no_runtime_reaches_nobody(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        assert client.fail(method, **{self.field(method): "removed.test__x1"}) == (
            grpc.StatusCode.NOT_FOUND,
            'criproxy: an id begins with "removed.test__", and there is no such runtime (configured: alt.test)',
        )
        assert not primary.called(method)
        assert not other.called(method)


def test_a_pod_goes_where_its_annotation_says(client: Client, primary: Runtime, other: Runtime) -> None:
    primary.answers["RunPodSandbox"] = other.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    assert client.call("RunPodSandbox", config=config_for("alt.test")).pod_sandbox_id == "alt.test__p"
    assert not primary.called("RunPodSandbox")
    assert client.call("RunPodSandbox", config=config_for("")).pod_sandbox_id == "p"
    assert len(other.called("RunPodSandbox")) == 1


def test_of_an_annotation_that_stands_twice_the_last_counts(client: Client, primary: Runtime, other: Runtime) -> None:
    """As protobuf reads a map, and so the runtime too."""
    other.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    requests = [client.request("RunPodSandbox", config=config_for(target)) for target in ("nobody", "alt.test")]
    body = b"".join(request.SerializeToString() for request in requests)
    assert client.stub("RunPodSandbox")(body, timeout=20).pod_sandbox_id == "alt.test__p"
    assert not primary.called("RunPodSandbox")


def test_an_unknown_runtime_is_refused_by_name(client: Client, primary: Runtime) -> None:
    config = {"annotations": {"kubernetes.io/target-runtime": "x"}}
    for method in ("RunPodSandbox", "RestorePod"):
        assert client.fail(method, config=config) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            'criproxy: unknown runtime: "x" (configured: alt.test)',
        )
    assert not primary.called("RunPodSandbox")


def test_an_unknown_runtime_is_refused_where_no_other_is_configured(
    primary: Runtime, start_proxy: StartProxy, connect: Connect
) -> None:
    code, text = connect(start_proxy(primary, {})).fail("RunPodSandbox", config=config_for("x" * 10_000))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text == f'criproxy: unknown runtime: "{"x" * 253}" (configured: none)'


def test_restored_pods_and_their_containers_get_the_prefix(client: Client, other: Runtime) -> None:
    answer = message_class("runtime.v1", "RestorePodResponse")(pod_sandbox_id="p")
    answer.restored_containers.add().container_id = "c"
    other.answers["RestorePod"] = answer
    request = client.request("RestorePod")
    request.config.annotations["kubernetes.io/target-runtime"] = "alt.test"
    request.container_configs.add().image.image = "alt.test/busybox"
    got = client.stub("RestorePod")(request, timeout=20)
    assert (got.pod_sandbox_id, got.restored_containers[0].container_id) == ("alt.test__p", "alt.test__c")
    assert other.called("RestorePod")[0].request.container_configs[0].image.image == "busybox"


class TestCreateContainer:
    def test_takes_the_names_off_all_that_it_names(self, client: Client, other: Runtime) -> None:
        other.answers["CreateContainer"] = v1.CreateContainerResponse(container_id="c")
        config = v1.ContainerConfig(
            image=v1.ImageSpec(image="alt.test/busybox", user_specified_image="alt.test/busybox:1"),
            mounts=[v1.Mount(image=v1.ImageSpec(image="alt.test/data"))],
        )
        config.linux.security_context.namespace_options.target_id = "alt.test__t"
        answer = client.call("CreateContainer", pod_sandbox_id="alt.test__p", config=config)
        assert answer.container_id == "alt.test__c"
        got = other.called("CreateContainer")[0].request
        assert got.pod_sandbox_id == "p"
        assert got.config.image.image == "busybox"
        assert got.config.image.user_specified_image == "busybox:1"
        assert got.config.mounts[0].image.image == "data"
        assert got.config.linux.security_context.namespace_options.target_id == "t"

    @pytest.mark.parametrize(
        ("pod", "image", "why"),
        [
            ("alt.test__p", "busybox", 'it is of the primary runtime, and its pod of runtime "alt.test"'),
            ("p", "alt.test/busybox", 'it is of runtime "alt.test", and its pod of the primary runtime'),
            ("alt.test__p", "alt.tes/busybox", 'it is of the primary runtime, and its pod of runtime "alt.test"'),
        ],
    )
    def test_with_another_runtimes_image_is_refused(
        self, pod: str, image: str, why: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        code, text = client.fail("CreateContainer", pod_sandbox_id=pod, config={"image": {"image": image}})
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text == f'criproxy: image "{image}" is for a wrong runtime: {why}'
        assert not primary.called("CreateContainer")
        assert not other.called("CreateContainer")

    @pytest.mark.parametrize(("pod", "said"), [("p", "alt.test/busybox:1"), ("gamma.test__p", "alt.test/busybox:1")])
    def test_by_the_digest_of_what_its_pod_calls_another_runtimes_image_is_refused(
        self,
        pod: str,
        said: str,
        start_proxy: StartProxy,
        connect: Connect,
        primary: Runtime,
        other: Runtime,
        runtime: MakeRuntime,
    ) -> None:
        """kubelet 1.28 and newer tells: the container would otherwise run from an image that happens to be there."""
        gamma = runtime("gamma").start()
        client = connect(start_proxy(primary, {"alt.test": other, "gamma.test": gamma}))
        image = {"image": "sha256:0a", "user_specified_image": said}
        code, text = client.fail("CreateContainer", pod_sandbox_id=pod, config={"image": image})
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text.startswith(
            'criproxy: image "alt.test/busybox:1" is for a wrong runtime: it is of runtime "alt.test"'
        )
        assert not any(each.called("CreateContainer") for each in (primary, other, gamma))

    @pytest.mark.parametrize("said", ["busybox:1", "alt.test/busybox:1"])
    def test_by_a_digest_may_be_of_a_pod_that_calls_its_image_with_or_without_the_prefix(
        self, said: str, client: Client, other: Runtime
    ) -> None:
        image = {"image": "sha256:0a", "user_specified_image": said}
        client.call("CreateContainer", pod_sandbox_id="alt.test__p", config={"image": image})
        assert other.called("CreateContainer")[0].request.config.image.user_specified_image == "busybox:1"

    def test_without_an_image_is_refused(self, client: Client) -> None:
        code, text = client.fail("CreateContainer", pod_sandbox_id="alt.test__p")
        assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "criproxy: no image specified")

    def test_takes_a_digest_for_the_sandboxs_runtimes(self, client: Client, other: Runtime) -> None:
        client.call("CreateContainer", pod_sandbox_id="alt.test__p", config={"image": {"image": "sha256:0a"}})
        assert other.called("CreateContainer")[0].request.config.image.image == "sha256:0a"


class TestImages:
    @pytest.mark.parametrize("method", ["ImageStatus", "PullImage", "RemoveImage"])
    def test_reach_the_runtime_of_their_prefix_without_it(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        client.call(method, image={"image": "alt.test/library/busybox:1"})
        assert other.called(method)[0].request.image.image == "library/busybox:1"
        assert not primary.called(method)

    @pytest.mark.parametrize(
        "name", ["busybox", "docker.io/alt.test/busybox", "alt.testing/busybox", "busybox@sha256:0a"]
    )
    @pytest.mark.parametrize("method", ["ImageStatus", "PullImage", "RemoveImage"])
    def test_without_a_prefix_are_the_primarys(
        self, method: str, name: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        client.call(method, image={"image": name})
        assert primary.called(method)[0].request.image.image == name
        assert not other.called(method)

    def test_in_an_answer_get_the_prefix_unless_they_are_digests(self, client: Client, other: Runtime) -> None:
        image = v1.Image(
            id="sha256:0a",
            repo_tags=["busybox:1", "lib/busybox:2"],
            repo_digests=["busybox@sha256:0b"],
            spec=v1.ImageSpec(image="busybox:1"),
        )
        other.answers["ImageStatus"] = v1.ImageStatusResponse(image=image)
        got = client.call("ImageStatus", image={"image": "alt.test/busybox:1"}).image
        assert got.id == "sha256:0a"
        assert list(got.repo_tags) == ["alt.test/busybox:1", "alt.test/lib/busybox:2"]
        assert list(got.repo_digests) == ["alt.test/busybox@sha256:0b"]
        assert got.spec.image == "alt.test/busybox:1"

    @pytest.mark.parametrize(("ref", "seen"), [("busybox@sha256:0a", "alt.test/busybox@sha256:0a"), ("sha256:0a",) * 2])
    def test_that_were_pulled_have_a_reference(self, ref: str, seen: str, client: Client, other: Runtime) -> None:
        other.answers["PullImage"] = v1.PullImageResponse(image_ref=ref)
        assert client.call("PullImage", image={"image": "alt.test/busybox"}).image_ref == seen


class TestAnswers:
    def test_of_a_container_name_its_image_and_its_reference(self, client: Client, other: Runtime) -> None:
        container = v1.Container(id="c", pod_sandbox_id="p", image=v1.ImageSpec(image="busybox"), image_ref="0a1b")
        other.answers["ListContainers"] = v1.ListContainersResponse(containers=[container])
        (got,) = client.call("ListContainers").containers
        assert (got.id, got.pod_sandbox_id, got.image.image) == ("alt.test__c", "alt.test__p", "alt.test/busybox")
        assert got.image_ref == "alt.test/0a1b"

    def test_of_a_pods_status_prefix_its_containers_ids(self, client: Client, other: Runtime) -> None:
        other.answers["PodSandboxStatus"] = v1.PodSandboxStatusResponse(
            status=v1.PodSandboxStatus(id="p"),
            containers_statuses=[v1.ContainerStatus(id="c", image=v1.ImageSpec(image="i"))],
        )
        got = client.call("PodSandboxStatus", pod_sandbox_id="alt.test__p")
        assert got.status.id == "alt.test__p"
        assert got.containers_statuses[0].id == "alt.test__c"
        assert got.containers_statuses[0].image.image == "alt.test/i"

    def test_of_a_pods_stats_prefix_its_containers_ids(self, client: Client, other: Runtime) -> None:
        stats = v1.PodSandboxStats(attributes=v1.PodSandboxAttributes(id="p"))
        stats.linux.containers.add().attributes.id = "c"
        stats.windows.containers.add().attributes.id = "w"
        other.answers["PodSandboxStats"] = v1.PodSandboxStatsResponse(stats=stats)
        got = client.call("PodSandboxStats", pod_sandbox_id="alt.test__p").stats
        assert got.attributes.id == "alt.test__p"
        assert got.linux.containers[0].attributes.id == "alt.test__c"
        assert got.windows.containers[0].attributes.id == "alt.test__w"

    def test_of_metrics_prefix_pods_and_containers(self, client: Client, other: Runtime) -> None:
        metrics = v1.PodSandboxMetrics(pod_sandbox_id="p", container_metrics=[v1.ContainerMetrics(container_id="c")])
        other.answers["ListPodSandboxMetrics"] = v1.ListPodSandboxMetricsResponse(pod_metrics=[metrics])
        (got,) = client.call("ListPodSandboxMetrics").pod_metrics
        assert (got.pod_sandbox_id, got.container_metrics[0].container_id) == ("alt.test__p", "alt.test__c")


@pytest.mark.parametrize("method", LISTS)
class TestALists:
    def test_answers_stand_in_the_order_of_the_runtimes(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        streams = METHODS[method].server_streaming
        for runtime in (primary, other):
            answer = listed(method, f"{runtime.name}1", f"{runtime.name}2")
            runtime.answers[method] = (lambda *_, answer=answer: [answer]) if streams else answer
        wanted = ["primary1", "primary2", "alt.test__other1", "alt.test__other2"]
        assert ids_in(method, client.call(method)) == wanted

    def test_id_filter_asks_its_runtime_alone(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        if "filter" not in schema.load().messages[METHODS[method].request]:
            pytest.skip("it has no filter")
        request = client.request(method)
        request.filter.id = "alt.test__x"
        answer = client.stub(method)(request, timeout=20)
        list(answer) if METHODS[method].server_streaming else answer
        assert other.called(method)[0].request.filter.id == "x"
        assert not primary.called(method)


def test_a_sandbox_filter_asks_its_runtime_alone(client: Client, primary: Runtime, other: Runtime) -> None:
    client.call("ListContainers", filter={"pod_sandbox_id": "alt.test__p", "id": "alt.test__c"})
    assert not primary.called("ListContainers")
    got = other.called("ListContainers")[0].request.filter
    assert (got.pod_sandbox_id, got.id) == ("p", "c")


@pytest.mark.parametrize("method", ["ListContainers", "ListContainerStats", "StreamContainers", "StreamContainerStats"])
def test_contradicting_filters_ask_nobody(method: str, client: Client, primary: Runtime, other: Runtime) -> None:
    request = client.request(method)
    request.filter.id, request.filter.pod_sandbox_id = "alt.test__c", "p"
    answer = client.stub(method)(request, timeout=20)
    answers = list(answer) if METHODS[method].server_streaming else [answer]
    assert b"".join(each.SerializeToString() for each in answers) == b""
    assert not primary.called(method)
    assert not other.called(method)


def test_an_image_filter_asks_its_runtime_alone(client: Client, primary: Runtime, other: Runtime) -> None:
    other.answers["ListImages"] = v1.ListImagesResponse(images=[v1.Image(id="sha256:1", repo_tags=["busybox:1"])])
    got = client.call("ListImages", filter={"image": {"image": "alt.test/busybox:1"}})
    assert [list(image.repo_tags) for image in got.images] == [["alt.test/busybox:1"]]
    assert other.called("ListImages")[0].request.filter.image.image == "busybox:1"
    assert not primary.called("ListImages")


def test_images_of_all_runtimes_are_listed(client: Client, primary: Runtime, other: Runtime) -> None:
    for runtime in (primary, other):
        image = v1.Image(id=f"sha256:{runtime.name}", repo_tags=[f"{runtime.name}:1"])
        runtime.answers["ListImages"] = v1.ListImagesResponse(images=[image])
    assert [image.repo_tags[0] for image in client.call("ListImages").images] == ["primary:1", "alt.test/other:1"]


def test_file_systems_of_all_runtimes_are_listed_the_primarys_first(
    client: Client, primary: Runtime, other: Runtime
) -> None:
    for runtime in (primary, other):
        usage = v1.FilesystemUsage(fs_id=v1.FilesystemIdentifier(mountpoint=f"/{runtime.name}"))
        runtime.answers["ImageFsInfo"] = v1.ImageFsInfoResponse(image_filesystems=[usage])
    got = client.call("ImageFsInfo").image_filesystems
    assert [usage.fs_id.mountpoint for usage in got] == ["/primary", "/other"]


def test_a_metrics_description_is_the_first_runtimes(client: Client, primary: Runtime, other: Runtime) -> None:
    for runtime in (primary, other):
        descriptors = [v1.MetricDescriptor(name=name, help=runtime.name) for name in ("shared", runtime.name)]
        runtime.answers["ListMetricDescriptors"] = v1.ListMetricDescriptorsResponse(descriptors=descriptors)
    got = [(each.name, each.help) for each in client.call("ListMetricDescriptors").descriptors]
    assert got == [("shared", "primary"), ("primary", "primary"), ("other", "other")]


@pytest.mark.parametrize("method", ["Version", "RuntimeConfig"])
def test_what_concerns_the_node_is_the_primarys(
    method: str, client: Client, proxy: Proxy, primary: Runtime, other: Runtime
) -> None:
    before = len(other.called(method))
    client.call(method)
    assert primary.called(method)
    assert len(other.called(method)) == before


POD_CIDR = {"runtime_config": {"network_config": {"pod_cidr": "10.0.0.0/24"}}}


class TestUpdateRuntimeConfig:
    def test_reaches_all(self, client: Client, primary: Runtime, other: Runtime) -> None:
        client.call("UpdateRuntimeConfig", **POD_CIDR)
        for runtime in (primary, other):
            (call,) = runtime.called("UpdateRuntimeConfig")
            assert call.request.runtime_config.network_config.pod_cidr == "10.0.0.0/24"

    def test_ends_as_the_first_that_fails_in_the_order_of_the_runtimes(
        self, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        other_has_answered = threading.Event()

        def refuse(request: object, context: grpc.ServicerContext) -> None:
            context.add_callback(other_has_answered.set)
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "other is busy")

        def refuse_later(request: object, context: grpc.ServicerContext) -> None:
            assert other_has_answered.wait(PATIENCE)
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "primary is busy")

        other.answers["UpdateRuntimeConfig"] = refuse
        primary.answers["UpdateRuntimeConfig"] = refuse_later
        code, text = client.fail("UpdateRuntimeConfig", **POD_CIDR)
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert text == "primary is busy"


@pytest.mark.parametrize("method", ["Exec", "Attach", "PortForward"])
class TestAStreamingUrl:
    def url(self, client: Client, runtime: Runtime, method: str, url: str, prefix: str) -> str:
        runtime.answers[method] = message_class("runtime.v1", METHODS[method].response)(url=url)
        field = "pod_sandbox_id" if method == "PortForward" else "container_id"
        return str(client.call(method, **{field: f"{prefix}x"}).url)

    @pytest.mark.parametrize("url", ["http://127.0.0.1:99/exec/T", "//[::]:99/exec/T", "https://h/x?y=1"])
    def test_that_names_a_host_is_left_as_it_is(
        self, method: str, url: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        assert self.url(client, primary, method, url, "") == url
        assert self.url(client, other, method, url, "alt.test__") == url

    def test_that_is_a_path_gets_the_nodes_address_and_port(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        for runtime, prefix in ((primary, ""), (other, "alt.test__")):
            url = self.url(client, runtime, method, "/cri/exec/T", prefix)
            assert url.startswith("http://")
            assert url.endswith(":11250/cri/exec/T")

    def test_that_is_a_path_gets_the_operators_url(
        self, method: str, start_proxy: StartProxy, connect: Connect, primary: Runtime
    ) -> None:
        client = connect(start_proxy(primary, {}, "-streamUrl", "http://10.1.1.1:88"))
        assert self.url(client, primary, method, "/cri/exec/T", "") == "http://10.1.1.1:88/cri/exec/T"
