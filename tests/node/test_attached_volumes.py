"""Virtlet's volumes want kubelet to attach them; CSI's are attached by the controller, if kubelet lets it."""

from __future__ import annotations

import socket
from typing import Callable

import pytest

from .layouts import FULL, KUBEADM
from .node import Node

_FLAG = "--enable-controller-attach-detach=false"
_REGISTRATION = "/var/lib/kubelet/plugins_registry/csi.example.com-reg.sock"


def _register(node: Node) -> None:
    """Has a CSI driver's socket where kubelet looks for them."""
    node.path(_REGISTRATION).parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(node.path(_REGISTRATION)))


def _keep_a_folder(node: Node) -> None:
    """Has a CSI driver's own place."""
    node.path("/var/lib/kubelet/plugins/csi.example.com").mkdir(parents=True)


def test_kubelet_attaches_for_virtlet_and_that_is_said(node: Node) -> None:
    text = node.install()
    assert _FLAG in node.kubelet_command
    assert _FLAG in text


@pytest.mark.parametrize("have_driver", [_register, _keep_a_folder])
def test_the_controller_goes_on_where_a_csi_driver_is_and_that_is_said(
    node: Node, have_driver: Callable[[Node], None]
) -> None:
    have_driver(node)
    text = node.install()
    assert node.kubelet_command == (*node.own_command, *KUBEADM.added[:-1])
    assert "CSI" in text
    assert _FLAG.partition("=")[0] in text
    node.run("criproxy", "node", "apply", "--attach-detach", "off")
    assert node.kubelet_command == node.turned_command


def test_it_goes_on_where_no_runtime_is_virtlet(node: Node) -> None:
    node.run("debconf-set-selections", stdin=f"{FULL} criproxy/other_cri string alt.test:/run/alt.sock\n")
    node.install()
    assert _FLAG not in node.kubelet_command
