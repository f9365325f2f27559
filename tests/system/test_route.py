"""``criproxy route`` says what the daemon with the same options then does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Dict, List

import grpc
import pytest
from peers import Connect, Proxy, Runtime, StartProxy

TARGET = "kubernetes.io/target-runtime"
HANDLERS = "vm=alt.test,big=alt.test:large"
ID = "alt.test"


@pytest.fixture
def options(primary: Runtime, other: Runtime) -> List[str]:
    return ["--handler", HANDLERS, "--connect", f"{primary.path},{ID}:{other.path}"]


@pytest.fixture
def proxy(start_proxy: StartProxy, primary: Runtime, other: Runtime) -> Proxy:
    """One with these handlers."""
    return start_proxy(primary, {ID: other}, "--handler", HANDLERS)


def said(options: List[str], *words: str, manifest: str = "") -> List[Dict[str, Any]]:
    """What the command answers."""
    done = subprocess.run(
        [sys.executable, "-m", "criproxy", "route", "-o", "json", *words, *options],
        input=manifest,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    answers: List[Dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == any(answer["rule"] == "refused" for answer in answers)
    return answers


@pytest.mark.parametrize("annotation", ["", ID, "alt.tset"])
@pytest.mark.parametrize("handler", ["", "vm", "big", "gvisor"])
def test_a_pod_goes_where_it_says(
    annotation: str, handler: str, options: List[str], proxy: Proxy, primary: Runtime, other: Runtime, connect: Connect
) -> None:
    annotations = {TARGET: annotation} if annotation else {}
    metadata = {"name": "web", "annotations": annotations}
    manifest = {"kind": "Pod", "metadata": metadata, "spec": {"runtimeClassName": handler}}
    (answer,) = said(options, "-f", "-", manifest=json.dumps(manifest))
    config = {"metadata": {"name": "web", "namespace": "default"}, "annotations": annotations}
    client = connect(proxy)
    if answer["rule"] == "refused":
        assert client.fail("RunPodSandbox", config=config, runtime_handler=handler) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            answer["why"],
        )
        return
    client.call("RunPodSandbox", config=config, runtime_handler=handler)
    reached = {"": primary, ID: other}[answer["runtimes"][0]["id"]]
    (call,) = reached.called("RunPodSandbox")
    assert (reached.path, call.request.runtime_handler) == (answer["runtimes"][0]["socket"], answer["inner"])


@pytest.mark.parametrize("name", ["3f2a", f"{ID}__3f2a", "gone.test__3f2a"])
def test_the_calls_of_an_id_go_where_it_says(
    name: str, options: List[str], proxy: Proxy, primary: Runtime, other: Runtime, connect: Connect
) -> None:
    (answer,) = said(options, "--id", name)
    client = connect(proxy)
    if answer["rule"] == "refused":
        assert client.fail("StopContainer", container_id=name) == (grpc.StatusCode.NOT_FOUND, answer["why"])
        return
    client.call("StopContainer", container_id=name)
    (call,) = {"": primary, ID: other}[answer["runtimes"][0]["id"]].called("StopContainer")
    assert call.request.container_id == answer["inner"]


@pytest.mark.parametrize("name", ["nginx", f"{ID}/nginx", f"sha256:{'a' * 64}"])
def test_an_image_is_looked_for_where_it_says(
    name: str, options: List[str], proxy: Proxy, primary: Runtime, other: Runtime, connect: Connect
) -> None:
    (answer,) = said(options, "--image", name)
    connect(proxy).call("ImageStatus", image={"image": name})
    asked = {id: runtime.called("ImageStatus") for id, runtime in (("", primary), (ID, other))}
    assert [id for id, calls in asked.items() if calls] == [each["id"] for each in answer["runtimes"]]
    assert {call.request.image.image for calls in asked.values() for call in calls} == {answer["inner"]}


@pytest.mark.parametrize("image", ["nginx", f"{ID}/nginx"])
@pytest.mark.parametrize("handler", ["", "vm"])
def test_the_images_of_a_pod_are_pulled_where_it_says_or_their_containers_refused(
    image: str, handler: str, options: List[str], proxy: Proxy, primary: Runtime, other: Runtime, connect: Connect
) -> None:
    spec = {"runtimeClassName": handler, "containers": [{"name": "app", "image": image}]}
    manifest = {"kind": "Pod", "metadata": {"name": "web"}, "spec": spec}
    pod, answer = said(options, "-f", "-", manifest=json.dumps(manifest))
    config = {"metadata": {"name": "web", "namespace": "default", "uid": "1"}}
    client = connect(proxy)
    client.call("RunPodSandbox", config=config, runtime_handler=handler)
    pulled = {"image": {"image": f"sha256:{'a' * 64}", "user_specified_image": image}}
    pod_id = f"{ID}__1" if pod["runtimes"][0]["id"] else "1"
    create = {"pod_sandbox_id": pod_id, "config": pulled, "sandbox_config": config}
    if answer["rule"] == "refused":
        assert client.fail("CreateContainer", **create) == (grpc.StatusCode.INVALID_ARGUMENT, answer["why"])
        return
    client.call("PullImage", image={"image": image}, sandbox_config=config)
    client.call("CreateContainer", **create)
    (call,) = {"": primary, ID: other}[answer["runtimes"][0]["id"]].called("PullImage")
    assert call.request.image.image == answer["inner"]
