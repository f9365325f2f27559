"""A runtime whose pods kubelet would lose sight of is not given up unsaid. The steps are one node's life."""

from __future__ import annotations

from typing import Iterator

import pytest

from . import layouts
from .layouts import FULL
from .node import Node

_POD = "default/pod"


@pytest.fixture(scope="class")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with Docker, and with a pod on containerd, its other runtime."""
    with Node(layouts.KUBEADM_1_10, tmp_path_factory.mktemp("pods")) as node:
        node.install()
        node.run_pod()
        yield node


def _refused(node: Node, *words: str) -> str:
    files, kubelet = node.files(), node.kubelet
    done = node.attempt("criproxy", "node", *words)
    assert done.returncode == 1
    assert _POD in done.stdout
    assert "--force" in done.stdout
    assert node.files().changes(files) == {}
    assert node.kubelet == kubelet
    return done.stdout


class TestRuntimesThatStillHavePods:
    def test_they_keep_the_node_from_being_given_back(self, node: Node) -> None:
        _refused(node, "revert")
        assert node.kubelet_command == node.turned_command

    def test_they_are_not_left_out(self, node: Node) -> None:
        assert layouts.VIRTLET in _refused(node, "apply", "--other", "")
        assert layouts.VIRTLET in node.show("criproxy.service", "StatusText")

    def test_they_are_given_up_by_force(self, node: Node) -> None:
        pods = node.pods()
        node.run("criproxy", "node", "revert", "--force")
        assert node.kubelet_command == node.own_command
        assert node.pods() == pods != []

    def test_dpkg_warns_and_goes_on(self, node: Node) -> None:
        pods = node.pods()
        node.run("criproxy", "node", "apply")
        assert node.kubelet_command == node.turned_command
        assert _POD in node.dpkg("--remove", FULL)
        assert node.kubelet_command == node.own_command
        assert node.pods() == pods != []
