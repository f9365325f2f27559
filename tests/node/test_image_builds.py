"""Where no systemd runs, as while an image is built, only files are laid; the node that boots from them is complete."""

from __future__ import annotations

import shutil

import pytest

from . import debs
from .conftest import Boot
from .layouts import KIND, KUBEADM, Layout
from .node import DROP_IN, SOCKET, Node


def _dpkg(node: Node, action: str, package: str) -> str:
    # What tells that systemd runs is out of sight, and systemd out of reach.
    script = 'mount -t tmpfs tmpfs /run && exec dpkg "$@"'
    return node.run("unshare", "--mount", "sh", "-c", script, "sh", action, package)


def _place(node: Node, layout: Layout) -> str:
    """The package where a build sees it."""
    shutil.copy(debs.built(layout.package), node.path("/var/cache/criproxy.deb"))
    return "/var/cache/criproxy.deb"


@pytest.mark.parametrize("layout", [KUBEADM, KIND], ids=str)
def test_an_image_gets_files_and_its_nodes_are_turned_over(boot: Boot, layout: Layout) -> None:
    node = boot(layout)
    before, kubelet = node.files(), node.kubelet
    _dpkg(node, "--install", _place(node, layout))
    assert node.kubelet == kubelet
    assert node.path(DROP_IN).exists()
    assert node.show("criproxy.service", "UnitFileState") == "enabled"
    assert not node.path(SOCKET).exists()
    # What a boot does: all units are read anew, and those that are enabled start.
    node.run("systemctl", "stop", "kubelet.service")
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "start", "multi-user.target", "sockets.target")
    node.run("systemctl", "start", "kubelet.service")
    assert node.kubelet_command == node.turned_command
    assert node.state("criproxy.service") == "active"
    node.run_pod()
    node.dpkg("--purge", layout.package)
    assert node.files().changes(before) == {}
    assert node.kubelet_command == node.own_command


def test_an_image_without_kubelet_gets_files_and_gives_them_back(boot: Boot) -> None:
    node = boot(KIND, kubelet=False)
    before = node.files()
    _dpkg(node, "--install", _place(node, KIND))
    _dpkg(node, "--purge", KIND.package)
    assert node.files().changes(before) == {}
