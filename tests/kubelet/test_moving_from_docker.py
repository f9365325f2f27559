"""A node moves from Docker, served by a dockershim, to containerd while its pods run: no container notices.

The tests are the moments of one node's life, in their order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Set

import pytest

from tests.containerd.service import eventually
from tests.containerd.websocket import STDIN, STDOUT
from tests.node.layouts import FULL

from .conftest import Boot
from .docker import DOCKER, LAYOUT_OF_DOCKER, DockerNode
from .kubelet import Kubelet, Pod
from .node import ALTERNATIVE, PATIENCE
from .pods import PORT, crashing, sleeping, web
from .streams import all_of, until

NEW = replace(ALTERNATIVE, id="")
STAYING = ("web", "db-0")
CRASHING = "crashing"
_AWAY = "/run/systemd/system/dockershim.service.d/away.conf"
UNITS = ("kubelet", "criproxy", "dockershim", "docker", "containerd-b")


@pytest.fixture(scope="module")
def node(boot: Boot) -> DockerNode:
    """A node on Docker."""
    answers = {"criproxy/primary_cri": "dockershim", "criproxy/other_cri": ""}
    node: DockerNode = boot(DockerNode, replace(LAYOUT_OF_DOCKER, answers=answers))
    node.install()
    return node


@pytest.fixture(scope="module")
def kubelet(node: DockerNode) -> Kubelet:
    """Its kubelet, with pods."""
    kubelet = Kubelet(node)
    kubelet.add("web", {}, web(DOCKER))
    kubelet.add("db-0", {}, sleeping(DOCKER))
    kubelet.add(CRASHING, {}, crashing(DOCKER))
    kubelet.ready(*STAYING)
    crashes(kubelet)
    return kubelet


@pytest.fixture(scope="module")
def before(kubelet: Kubelet) -> Dict[str, Pod]:
    """The pods as they were before all this."""
    return kubelet.ready(*STAYING)


def crashes(kubelet: Kubelet) -> None:
    """Comes back when the container that crashes has been started once more."""

    def count() -> int:
        pod = kubelet.pods().get(CRASHING)
        return -1 if pod is None else pod.restarts.get("main", -1)

    first = eventually(count, lambda now: now >= 0, PATIENCE)
    assert eventually(count, lambda now: now > first, 2 * PATIENCE) > first


def in_docker(node: DockerNode) -> Set[str]:
    """The pods that Docker has something of."""
    names = node.run("docker", "ps", "--all", '--format={{.Label "io.kubernetes.pod.name"}}')
    return {name[: -len("-node")] for name in names.split()}


def in_containerd(node: DockerNode) -> Set[str]:
    """The same of the new runtime."""
    return {name[: -len("-node")] for name in node.pods_of(NEW)}


def test_the_move_restarts_no_container_and_not_kubelet(
    node: DockerNode, kubelet: Kubelet, before: Dict[str, Pod]
) -> None:
    running = node.kubelet
    said = node.run("criproxy", "node", "migrate", "--to", NEW.socket, "--yes")
    kubelet.await_looks(3)
    assert kubelet.ready(*STAYING) == before
    assert node.kubelet == running, said
    assert node.state("dockershim.service") == "active"
    assert in_docker(node) == {*STAYING, CRASHING}
    assert in_containerd(node) == set()


def test_new_pods_start_in_containerd(node: DockerNode, kubelet: Kubelet) -> None:
    kubelet.add("new", {}, web(NEW))
    kubelet.ready("new")
    assert in_containerd(node) == {"new"}
    assert in_docker(node) == {*STAYING, CRASHING}


@pytest.mark.parametrize("pod", ["web", "new"])
class TestOnBothSides:
    def test_log_and_command(self, kubelet: Kubelet, pod: str) -> None:
        assert kubelet.logs(pod, "main") == "main on primary has started\n"
        assert kubelet.run(pod, "main", "cat /data/page") == "this is init on primary\n"

    def test_a_commands_streams(self, kubelet: Kubelet, pod: str) -> None:
        with kubelet.exec(pod, "main", ["sh", "-c", "read -r line; echo $line"]) as stream:
            stream.send(STDIN, b"good\n")
            assert all_of(stream)[STDOUT] == b"good\n"

    def test_attach(self, kubelet: Kubelet, pod: str) -> None:
        with kubelet.attach(pod, "answering") as stream:
            stream.send(STDIN, b"a word\n")
            wanted = b"answering on primary has heard a word\n"
            assert wanted in until(stream, STDOUT, wanted)

    def test_port_forward(self, kubelet: Kubelet, pod: str) -> None:
        with kubelet.forward(pod, PORT) as stream:
            stream.send(0, b"GET /page HTTP/1.0\r\n\r\n")
            assert b"this is init on primary\n" in until(stream, 0, b"this is init on primary\n")


def test_a_container_that_crashes_goes_on_in_docker(node: DockerNode, kubelet: Kubelet) -> None:
    crashes(kubelet)
    assert CRASHING in in_docker(node)
    assert CRASHING not in in_containerd(node)


@pytest.mark.parametrize("unit", UNITS)
def test_a_restart_in_the_middle_changes_nothing(
    node: DockerNode, kubelet: Kubelet, before: Dict[str, Pod], unit: str
) -> None:
    new = kubelet.ready("new")
    node.run("systemctl", "restart", unit)
    kubelet.await_looks(3)
    assert kubelet.ready(*STAYING) == before
    assert kubelet.ready("new") == new


def test_the_dockershim_is_away_while_criproxy_and_kubelet_start(
    node: DockerNode, kubelet: Kubelet, before: Dict[str, Pod]
) -> None:
    new = kubelet.ready("new")
    # criproxy wants it, and it would be started with that.
    node.write(_AWAY, "[Unit]\nConditionPathExists=/run/dockershim-is-back\n")
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "stop", "dockershim")
    node.run("systemctl", "restart", "criproxy", "kubelet")
    said = "GenericPLEG: Unable to retrieve pods"
    assert said in eventually(lambda: node.journal("kubelet.service", 400), lambda log: said in log, PATIENCE)
    assert in_containerd(node) == {"new"}
    node.write("/run/dockershim-is-back", "")
    node.run("systemctl", "start", "dockershim")
    kubelet.await_looks(3)
    assert kubelet.ready(*STAYING) == before
    assert kubelet.ready("new") == new


def test_a_pod_that_is_removed_leaves_nothing_in_docker(node: DockerNode, kubelet: Kubelet) -> None:
    kubelet.remove("db-0")
    left = {"web", CRASHING}
    assert eventually(lambda: in_docker(node), lambda found: found == left, PATIENCE) == left


def test_what_is_left_comes_to_containerd_at_the_end(node: DockerNode, kubelet: Kubelet) -> None:
    node.run("criproxy", "node", "migrate", "--finish", "--evict", "--yes")
    assert eventually(lambda: in_docker(node), lambda found: not found, PATIENCE) == set()
    kubelet.ready("web", "new")
    assert in_containerd(node) == {"web", "new", CRASHING}
    assert node.state("dockershim.service") == "inactive"


def test_the_pods_run_on_without_criproxy_and_without_docker(node: DockerNode, kubelet: Kubelet) -> None:
    """The last moment of the node's life."""
    seen = kubelet.ready("web", "new")
    node.dpkg("--remove", FULL)
    node.run("systemctl", "stop", "docker.socket", "docker")
    kubelet.await_looks(3)
    kubelet.add("after", {}, sleeping(NEW))
    kubelet.ready("after")
    assert kubelet.ready("web", "new") == seen
    assert "after" in in_containerd(node)
