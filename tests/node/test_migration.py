"""A node moves to another runtime while its pods run, and back: on criproxy already, or put on it for the move.

The node's kubelet uses CRI-O, which a containerd plays here, and moves to containerd.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from tests.containerd.runtime import cni
from tests.containerd.service import eventually

from . import debs, killing, layouts
from .layouts import CONTAINERD, CRIO, FULL
from .node import SOCKET, Node

pytestmark = pytest.mark.timeout(600)
_DEFAULTS = "/etc/default/criproxy"
_NOTE = "/var/lib/criproxy/only-for-a-move"
_NETWORK = "192.0.2.0/24"
_THERE = ("criproxy", "node", "migrate", "--to", "containerd", "--yes", "--watch", "1s")
_BACK = ("criproxy", "node", "migrate", "--back", "--yes", "--watch", "1s")


def _on_crio(folder: Path) -> Node:
    """A node with both runtimes in one network."""
    node = Node(layouts.JSON, folder)
    network = cni(Path("/var/lib/containerd"), _NETWORK)
    for place in ("/var/lib/containerd", "/var/lib/containerd/crio"):
        node.write(f"{place}/cni/net.conflist", network)
    node.run("systemctl", "restart", "containerd", "crio")
    return node


def _run_pod(node: Node, socket: str) -> str:
    """Makes a pod by that socket; gives its id."""
    with node.client(socket) as client:
        config: Dict[str, Any] = {
            "metadata": {"name": f"at-{Path(socket).stem}", "uid": str(uuid.uuid4()), "namespace": "default"},
            "linux": {"security_context": {"namespace_options": {"network": client.api.NODE}}},
        }
        return str(client.RunPodSandbox(config=config).pod_sandbox_id)


def _pods(node: Node, socket: str) -> List[str]:
    """The pods that run there."""
    with node.client(socket) as client:
        return [pod.id for pod in client.ListPodSandbox().items if pod.state == client.api.SANDBOX_READY]


def _configured(node: Node) -> List[str]:
    lines = node.path(_DEFAULTS).read_text().splitlines()
    return [line for line in lines if line.startswith(("CRI_PRIMARY=", "CRI_RETIRING="))]


_MOVED = [f"CRI_PRIMARY={CONTAINERD}", f"CRI_RETIRING={CRIO}"]


def _is_whole(node: Node, primary: str, retiring: str) -> None:
    """The configuration, the daemon and kubelet agree."""
    assert _configured(node) == [f"CRI_PRIMARY={primary}", f"CRI_RETIRING={retiring}"]
    wanted = (f"primary {primary}: ", f"retiring {retiring}: ")
    told = eventually(lambda: node.show("criproxy.service", "StatusText"), lambda told: all(w in told for w in wanted))
    assert all(text in told for text in wanted), told
    assert SOCKET in " ".join(node.kubelet_command)
    assert "nothing to change" in node.run("criproxy", "node", "plan")


@pytest.fixture(scope="class")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that is on criproxy."""
    with _on_crio(tmp_path_factory.mktemp("migration")) as node:
        node.install()
        node.run("criproxy", "node", "apply", "--other", "")
        yield node


@pytest.fixture(scope="class")
def old(node: Node) -> str:
    """A pod on the old runtime."""
    return _run_pod(node, SOCKET)


class TestANodeThatIsOnCriproxy:
    """Its life."""

    def test_is_not_moved_where_nobody_can_be_asked(self, node: Node, old: str) -> None:
        files = node.files()
        done = node.attempt("criproxy", "node", "migrate", "--to", "containerd")
        assert done.returncode == 2, done.stdout
        assert f"+{_MOVED[0]}" in done.stdout
        assert "--yes" in done.stdout
        assert node.files().changes(files) == {}

    def test_is_moved_by_a_reload_and_its_pods_stay(self, node: Node, old: str) -> None:
        processes = node.kubelet, node.show("criproxy.service", "MainPID")
        said = node.run(*_THERE)
        assert "kubelet is not restarted; no container is" in said
        assert (node.kubelet, node.show("criproxy.service", "MainPID")) == processes
        _is_whole(node, CONTAINERD, CRIO)
        assert _pods(node, SOCKET) == _pods(node, CRIO) == [old]

    def test_has_new_pods_on_the_new_runtime(self, node: Node, old: str) -> None:
        new = _run_pod(node, SOCKET)
        assert _pods(node, CONTAINERD) == [new]
        assert sorted(_pods(node, SOCKET)) == sorted([old, new])

    def test_tells_of_it(self, node: Node, old: str) -> None:
        text = f"this node moves to {CONTAINERD}"
        assert text in node.run("criproxy", "node", "status")
        assert text in node.run("criproxy", "check")
        status = " ".join(node.run("criproxy", "status").split())
        assert "retiring: it gets no new pods; 1 pod left on it (default/at-criproxy)" in status

    def test_goes_on_moving_through_an_upgrade_and_new_answers(self, node: Node, old: str, tmp_path: Path) -> None:
        node.dpkg("--install", debs.later(debs.built(FULL), tmp_path))
        _is_whole(node, CONTAINERD, CRIO)
        node.run("dpkg-reconfigure", FULL)
        _is_whole(node, CONTAINERD, CRIO)
        node.run("systemctl", "restart", "criproxy.service")
        assert old in _pods(node, SOCKET)
        node.dpkg("--install", debs.built(FULL))

    def test_is_not_given_back_meanwhile(self, node: Node, old: str) -> None:
        files = node.files()
        done = node.attempt("criproxy", "node", "revert")
        assert done.returncode == 1
        assert f"default/at-criproxy ({CONTAINERD})" in done.stdout
        assert node.files().changes(files) == {}

    def test_can_be_moved_back(self, node: Node, old: str) -> None:
        before = sorted(_pods(node, SOCKET))
        process = node.kubelet
        node.run(*_BACK)
        _is_whole(node, CRIO, CONTAINERD)
        assert sorted(_pods(node, SOCKET)) == before
        assert node.kubelet == process
        new = _run_pod(node, SOCKET)
        assert new in _pods(node, CRIO)


def test_a_node_that_is_not_on_criproxy_is_put_on_it_for_the_time(tmp_path: Path) -> None:
    with _on_crio(tmp_path) as node:
        node.install()
        node.run("criproxy", "node", "revert")
        node.path(_DEFAULTS).unlink()
        before, old = node.files(), _run_pod(node, CRIO)
        said = node.run(*_THERE)
        assert "criproxy is put between kubelet and both for the time of the move" in said
        _is_whole(node, CONTAINERD, CRIO)
        assert node.path(_NOTE).exists()
        assert "--enable-controller-attach-detach=false" not in node.kubelet_command
        assert _pods(node, SOCKET) == [old]
        node.run("criproxy", "node", "revert")
        assert list(node.files().changes(before)) == [_DEFAULTS]
        assert node.kubelet_command == node.own_command


class TestKilled:
    def _end(self, node: Node) -> None:
        """The move is over: the node is where it was."""
        node.run(*_BACK)
        text = node.path(_DEFAULTS).read_text()
        node.write(_DEFAULTS, text.replace(f"CRI_RETIRING={CONTAINERD}", "CRI_RETIRING="))
        node.run("criproxy", "node", "apply")

    def test_a_move_that_is_killed_at_any_point_is_completed_by_the_same_again(self, node: Node, old: str) -> None:
        assert not killing.killed(node, 0, *_THERE)
        count = len(killing.points(node))
        assert count >= 3, killing.points(node)
        for point in range(1, count + 1):
            self._end(node)
            assert killing.killed(node, point, *_THERE) or point > 3
            assert eventually(lambda: _pods(node, SOCKET), bool) == [old], f"after a kill at point {point}"
            node.run(*_THERE)
            _is_whole(node, CONTAINERD, CRIO)
            assert _pods(node, SOCKET) == [old]

    def test_one_that_puts_the_node_on_criproxy_leaves_kubelet_served(self, node: Node, old: str) -> None:
        node.run("criproxy", "node", "revert")
        node.path(_DEFAULTS).unlink()
        before = node.files()
        assert not killing.killed(node, 0, *_THERE)
        count = len(killing.points(node))
        assert count >= 5, killing.points(node)
        for point in range(1, count + 1):
            node.run("criproxy", "node", "revert")
            node.path(_DEFAULTS).unlink()
            assert node.files().changes(before) == {}, f"before point {point}"
            assert killing.killed(node, point, *_THERE) or point > 5
            if node.kubelet_command != node.own_command:
                assert eventually(lambda: _pods(node, SOCKET), bool) == [old], f"after a kill at point {point}"
            node.run(*_THERE)
            _is_whole(node, CONTAINERD, CRIO)
            assert _pods(node, SOCKET) == [old]
