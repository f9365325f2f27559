"""Images without the name of a runtime, of pods that say where they belong."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import grpc
import pytest
from peers import Client, Connect, Proxy, Runtime, StartProxy, v1

TARGET = "kubernetes.io/target-runtime"
ALT = {TARGET: "alt.test"}
GAMMA = {TARGET: "gamma.test"}
OPTIONS = ("-v", "5", "--handler", "vm=alt.test,big-vm=alt.test:large,gamma=gamma.test")


@pytest.fixture
def gamma(runtime: Callable[..., Runtime]) -> Runtime:
    """Another alternative runtime, ``gamma.test``."""
    return runtime("gamma").start()


@pytest.fixture
def runtimes(primary: Runtime, other: Runtime, gamma: Runtime) -> Dict[str, Runtime]:
    """All of them by their ids."""
    return {"": primary, "alt.test": other, "gamma.test": gamma}


@pytest.fixture
def proxy(start_proxy: StartProxy, runtimes: Dict[str, Runtime]) -> Proxy:
    """The proxy before them."""
    return start_proxy(runtimes[""], {key: each for key, each in runtimes.items() if key}, *OPTIONS)


def asked(runtimes: Dict[str, Runtime], method: str) -> List[str]:
    """Who has got a call of this method."""
    return [key for key, runtime in runtimes.items() if runtime.called(method)]


SPECS = [
    ({}, ""),
    ({"runtime_handler": "runc"}, ""),
    ({"runtime_handler": "vm"}, "alt.test"),
    ({"annotations": ALT}, "alt.test"),
    ({"annotations": {TARGET: "nobody"}}, ""),
    ({"runtime_handler": "runc", "annotations": ALT}, "alt.test"),
    ({"runtime_handler": "vm", "annotations": GAMMA}, "alt.test"),
]
"""Runtime selectors in an ImageSpec, and the runtime that they name."""


@pytest.mark.parametrize(("selectors", "owner"), SPECS)
@pytest.mark.parametrize("method", ["ImageStatus", "PullImage", "RemoveImage"])
def test_an_image_is_of_the_runtime_that_the_first_selector_names(
    selectors: Dict[str, Any],
    owner: str,
    method: str,
    client: Client,
    runtimes: Dict[str, Runtime],
) -> None:
    client.call(method, image={"image": "library/busybox:1", **selectors})
    assert asked(runtimes, method) == [owner]
    assert runtimes[owner].called(method)[0].request.image.image == "library/busybox:1"


def test_an_annotation_is_a_selector_to_an_older_kubelet_too(
    proxy: Proxy, connect: Connect, runtimes: Dict[str, Runtime]
) -> None:
    connect(proxy, "runtime.v1alpha2").call("PullImage", image={"image": "busybox", "annotations": ALT})
    assert asked(runtimes, "PullImage") == ["alt.test"]


def test_the_runtime_sees_its_own_name_of_the_handler(client: Client, other: Runtime) -> None:
    client.call("PullImage", image={"image": "busybox", "runtime_handler": "big-vm"})
    assert other.called("PullImage")[0].request.image.runtime_handler == "large"


@pytest.mark.parametrize("selectors", [selectors for selectors, _ in SPECS])
@pytest.mark.parametrize("method", ["ImageStatus", "PullImage", "RemoveImage"])
def test_an_explicit_prefix_always_wins(
    selectors: Dict[str, Any], method: str, client: Client, runtimes: Dict[str, Runtime]
) -> None:
    client.call(method, image={"image": "gamma.test/busybox", **selectors})
    assert asked(runtimes, method) == ["gamma.test"]
    got = runtimes["gamma.test"].called(method)[0].request.image
    assert got.image == "busybox"
    assert got.runtime_handler == (
        "" if selectors.get("runtime_handler") == "vm" else selectors.get("runtime_handler", "")
    )


def test_what_a_runtime_answers_is_named_as_its_images_are(client: Client, other: Runtime) -> None:
    image = v1.Image(id="sha256:0a", repo_tags=["busybox:1"], spec=v1.ImageSpec(image="busybox:1"))
    other.answers["ImageStatus"] = v1.ImageStatusResponse(image=image)
    other.answers["PullImage"] = v1.PullImageResponse(image_ref="busybox@sha256:0a")
    spec = {"image": "busybox:1", "annotations": ALT}
    assert list(client.call("ImageStatus", image=spec).image.repo_tags) == ["alt.test/busybox:1"]
    assert client.call("PullImage", image=spec).image_ref == "alt.test/busybox@sha256:0a"


class TestAPull:
    def test_is_for_the_runtime_that_the_pod_s_annotation_names(
        self, client: Client, runtimes: Dict[str, Runtime]
    ) -> None:
        client.call("PullImage", image={"image": "busybox"}, sandbox_config={"annotations": ALT})
        assert asked(runtimes, "PullImage") == ["alt.test"]

    def test_is_for_the_runtime_that_the_pod_was_started_on(self, client: Client, runtimes: Dict[str, Runtime]) -> None:
        client.call("RunPodSandbox", config={"metadata": {"uid": "1"}}, runtime_handler="vm")
        client.call("RunPodSandbox", config={"metadata": {"uid": "2"}})
        client.call("PullImage", image={"image": "busybox"}, sandbox_config={"metadata": {"uid": "1"}})
        assert asked(runtimes, "PullImage") == ["alt.test"]
        client.call("PullImage", image={"image": "busybox"}, sandbox_config={"metadata": {"uid": "2"}})
        client.call("PullImage", image={"image": "busybox"}, sandbox_config={"metadata": {"uid": "3"}})
        assert len(runtimes[""].called("PullImage")) == 2

    def test_is_for_the_runtime_that_the_pod_was_started_on_last(
        self, client: Client, runtimes: Dict[str, Runtime]
    ) -> None:
        client.call("RunPodSandbox", config={"metadata": {"uid": "1"}}, runtime_handler="vm")
        client.call("RunPodSandbox", config={"metadata": {"uid": "1"}})
        client.call("PullImage", image={"image": "busybox"}, sandbox_config={"metadata": {"uid": "1"}})
        assert asked(runtimes, "PullImage") == [""]

    def test_is_for_the_runtime_that_has_listed_the_pod_if_it_was_started_before_us(
        self, client: Client, runtimes: Dict[str, Runtime]
    ) -> None:
        pod = v1.PodSandbox(id="p", metadata=v1.PodSandboxMetadata(uid="old"))
        runtimes["gamma.test"].answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[pod])
        assert [item.id for item in client.call("ListPodSandbox").items] == ["gamma.test__p"]
        client.call("PullImage", image={"image": "busybox"}, sandbox_config={"metadata": {"uid": "old"}})
        assert asked(runtimes, "PullImage") == ["gamma.test"]

    def test_of_what_says_otherwise_is_not_for_the_pod_s_runtime(
        self, client: Client, runtimes: Dict[str, Runtime]
    ) -> None:
        client.call("RunPodSandbox", config={"metadata": {"uid": "1"}}, runtime_handler="vm")
        pod = {"metadata": {"uid": "1"}, "annotations": ALT}
        client.call("PullImage", image={"image": "busybox", "annotations": GAMMA}, sandbox_config=pod)
        assert asked(runtimes, "PullImage") == ["gamma.test"]


SELECTED = [
    {"config": {"image": {"image": "busybox", "runtime_handler": "vm"}}},
    {"config": {"image": {"image": "busybox", "annotations": ALT}}},
    {"config": {"image": {"image": "busybox"}}, "sandbox_config": {"annotations": ALT}},
]


class TestAContainer:
    @pytest.mark.parametrize("fields", SELECTED)
    def test_takes_an_unprefixed_image_where_its_request_says_whose_it_is(
        self, fields: Dict[str, Any], client: Client, other: Runtime
    ) -> None:
        client.call("CreateContainer", pod_sandbox_id="alt.test__p", **fields)
        assert other.called("CreateContainer")[0].request.config.image.image == "busybox"

    def test_takes_unprefixed_images_for_its_mounts_then_too(self, client: Client, other: Runtime) -> None:
        config = v1.ContainerConfig(image={"image": "busybox"}, mounts=[v1.Mount(image=v1.ImageSpec(image="data"))])
        client.call("CreateContainer", pod_sandbox_id="alt.test__p", config=config, sandbox_config={"annotations": ALT})
        assert other.called("CreateContainer")[0].request.config.mounts[0].image.image == "data"

    @pytest.mark.parametrize(
        "fields",
        [
            {"config": {"image": {"image": "busybox"}}},
            {"config": {"image": {"image": "busybox", "runtime_handler": "runc"}}},
            {"config": {"image": {"image": "busybox", "annotations": GAMMA}}},
            {"config": {"image": {"image": "gamma.test/busybox", "annotations": ALT}}},
            {"config": {"image": {"image": "busybox", "runtime_handler": "gamma", "annotations": ALT}}},
        ],
    )
    def test_takes_none_where_it_says_nothing_or_something_else(
        self, fields: Dict[str, Any], client: Client, runtimes: Dict[str, Runtime]
    ) -> None:
        client.call("RunPodSandbox", config={"metadata": {"uid": "1"}}, runtime_handler="vm")
        image = fields["config"]["image"]["image"]
        code, text = client.fail(
            "CreateContainer", pod_sandbox_id="alt.test__p", sandbox_config={"metadata": {"uid": "1"}}, **fields
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text.startswith(f'criproxy: image "{image}" is for a wrong runtime: it is of ')
        assert not asked(runtimes, "CreateContainer")

    def test_of_the_primary_takes_none_of_another_runtime_whatever_it_says(self, client: Client) -> None:
        fields = {"config": {"image": {"image": "alt.test/busybox"}}, "sandbox_config": {"annotations": ALT}}
        code, _ = client.fail("CreateContainer", pod_sandbox_id="p", **fields)
        assert code is grpc.StatusCode.INVALID_ARGUMENT


class TestWhereAPrefixIsRequired:
    @pytest.fixture
    def client(self, start_proxy: StartProxy, connect: Connect, runtimes: Dict[str, Runtime]) -> Client:
        """A client of a proxy that requires it."""
        others = {key: each for key, each in runtimes.items() if key}
        return connect(start_proxy(runtimes[""], others, *OPTIONS, "--image-prefix", "required"))

    @pytest.mark.parametrize("selectors", [selectors for selectors, _ in SPECS])
    @pytest.mark.parametrize("method", ["ImageStatus", "PullImage"])
    def test_an_image_without_one_is_the_primary_s(
        self, selectors: Dict[str, Any], method: str, client: Client, runtimes: Dict[str, Runtime]
    ) -> None:
        client.call(method, image={"image": "busybox", **selectors})
        assert asked(runtimes, method) == [""]

    def test_a_pull_is_not_for_the_runtime_of_the_pod(self, client: Client, runtimes: Dict[str, Runtime]) -> None:
        client.call("RunPodSandbox", config={"metadata": {"uid": "1"}}, runtime_handler="vm")
        pod = {"metadata": {"uid": "1"}, "annotations": ALT}
        client.call("PullImage", image={"image": "busybox"}, sandbox_config=pod)
        assert asked(runtimes, "PullImage") == [""]

    @pytest.mark.parametrize("fields", SELECTED)
    def test_a_container_needs_it(self, fields: Dict[str, Any], client: Client) -> None:
        code, text = client.fail("CreateContainer", pod_sandbox_id="alt.test__p", **fields)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text.startswith('criproxy: image "busybox" is for a wrong runtime: it is of the primary runtime')

    def test_a_pod_still_goes_where_its_handler_says(self, client: Client, runtimes: Dict[str, Runtime]) -> None:
        client.call("RunPodSandbox", config={}, runtime_handler="vm")
        assert asked(runtimes, "RunPodSandbox") == ["alt.test"]
