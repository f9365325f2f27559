"""Docker as the primary runtime, served by a dockershim that the package sets up, and containerd as the alternative."""

from __future__ import annotations

from typing import Dict

import pytest

from tests.containerd.websocket import STDERR, STDIN, STDOUT
from tests.node.layouts import FULL

from .conftest import Boot
from .docker import DOCKER, LAYOUT_OF_DOCKER, DockerNode
from .kubelet import Kubelet
from .node import ALTERNATIVE, Runtime
from .pods import sleeping, web
from .streams import all_of, until

NAMES: Dict[Runtime, str] = {DOCKER: "on-docker", ALTERNATIVE: "on-containerd"}


@pytest.fixture(scope="module")
def node(boot: Boot) -> DockerNode:
    """A node whose operator has chosen dockershim."""
    node: DockerNode = boot(DockerNode, LAYOUT_OF_DOCKER)
    node.install()
    return node


@pytest.fixture(scope="module")
def kubelet(node: DockerNode) -> Kubelet:
    """Its kubelet, with a pod on each runtime."""
    kubelet = Kubelet(node)
    for runtime, name in NAMES.items():
        kubelet.add(name, runtime.annotations, web(runtime))
    kubelet.ready(*NAMES.values())
    return kubelet


@pytest.fixture(params=NAMES, ids=NAMES.get)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """One of the two."""
    found: Runtime = request.param
    return found


def test_the_containers_are_in_docker_and_in_containerd(node: DockerNode, kubelet: Kubelet) -> None:
    pods = kubelet.ready(*NAMES.values())
    running = node.run("docker", "ps", "--no-trunc", "--quiet", "--filter", "label=io.kubernetes.docker.type=container")
    assert set(running.split()) == set(pods[NAMES[DOCKER]].ids.values())
    assert node.containers_of(ALTERNATIVE) == set(pods[NAMES[ALTERNATIVE]].ids.values())


def test_log_and_command_are_those_of_the_right_container(kubelet: Kubelet, runtime: Runtime) -> None:
    pod = NAMES[runtime]
    assert kubelet.logs(pod, "main") == f"main on {runtime} has started\n"
    assert kubelet.run(pod, "main", "cat /data/page") == f"this is init on {runtime}\n"


def test_a_command_s_streams_come_from_whoever_serves_them(kubelet: Kubelet, runtime: Runtime) -> None:
    """dockershim's URL is a path alone, and criproxy knows the rest of it."""
    script = "read -r line; echo $NAME: $line; echo not so good >&2"
    with kubelet.exec(NAMES[runtime], "main", ["sh", "-c", script]) as stream:
        stream.send(STDIN, b"good\n")
        said = all_of(stream)
    assert said[STDOUT] == f"main on {runtime}: good\n".encode()
    assert said[STDERR] == b"not so good\n"


def test_attached_one_talks_to_the_container_s_own_process(kubelet: Kubelet, runtime: Runtime) -> None:
    with kubelet.attach(NAMES[runtime], "answering") as stream:
        stream.send(STDIN, b"a word\n")
        wanted = f"answering on {runtime} has heard a word\n".encode()
        assert wanted in until(stream, STDOUT, wanted)


def test_the_pod_on_docker_runs_on_when_criproxy_is_removed(node: DockerNode, kubelet: Kubelet) -> None:
    """The last test of the node's life: kubelet's own dockershim takes over."""
    name = NAMES[DOCKER]
    before = kubelet.ready(name)
    node.dpkg("--remove", FULL)
    assert node.state("dockershim.service") == "inactive"
    kubelet.add("new", DOCKER.annotations, sleeping(DOCKER))
    kubelet.ready("new")
    assert kubelet.ready(name) == before
