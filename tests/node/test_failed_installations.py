"""Installations that cannot succeed leave kubelet as it was, running, and say why; later they do succeed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .conftest import Boot
from .layouts import FULL, KUBEADM, KUBEADM_1_11
from .node import DROP_IN, SOCKET, Node
from .outcomes import completes, install_refused, leaves_nothing

_LATER = "/etc/systemd/system/kubelet.service.d/50-local.conf"


def test_containerd_that_is_stopped_is_named(node: Node) -> None:
    before = node.files()
    node.run("systemctl", "stop", "containerd.service")
    text = install_refused(node)
    assert "/run/containerd/containerd.sock" in text
    node.run("systemctl", "start", "containerd.service")
    completes(node)
    leaves_nothing(node, before)


def test_a_failed_installation_can_be_purged(node: Node) -> None:
    before, kubelet = node.files(), node.kubelet
    node.run("systemctl", "stop", "containerd.service")
    install_refused(node)
    node.dpkg("--purge", FULL)
    assert node.files().changes(before) == {}
    assert node.kubelet == kubelet


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("/opt/start-kubelet --quick", "/opt/start-kubelet"),
        ("/usr/bin/missing/kubelet --quick", "/usr/bin/missing/kubelet"),
        ('/usr/bin/kubelet "--quick', '/usr/bin/kubelet "--quick'),
    ],
)
def test_a_unit_that_cannot_be_worked_with_is_named(node: Node, command: str, named: str) -> None:
    before = node.files()
    node.write(_LATER, f"[Service]\nExecStart=\nExecStart={command}\n")
    text = install_refused(node)
    assert "kubelet" in text
    assert named in text
    node.path(_LATER).unlink()
    node.run("systemctl", "daemon-reload")
    completes(node)
    leaves_nothing(node, before)


def test_a_drop_in_that_would_undo_ours_is_named(node: Node) -> None:
    before = node.files()
    later = "/etc/systemd/system/kubelet.service.d/99-local.conf"
    node.write(later, "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet --local\n")
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "restart", "kubelet.service")
    assert later in install_refused(node)
    node.path(later).rename(node.path(later).with_name("50-local.conf"))
    node.run("systemctl", "daemon-reload")
    node.run("dpkg", "--configure", "--pending")
    assert node.kubelet_command == ("/usr/bin/kubelet", "--local", *KUBEADM.added)
    node.path(_LATER).unlink()
    node.run("criproxy", "node", "apply")
    leaves_nothing(node, before)


def test_a_directory_in_the_sockets_place_is_named(node: Node) -> None:
    before = node.files()
    node.path(SOCKET).mkdir()
    assert f"{SOCKET} is a directory" in install_refused(node)
    node.path(SOCKET).rmdir()
    completes(node)
    leaves_nothing(node, before)


def test_a_kubelet_without_a_version_has_to_be_told_of_one(boot: Boot) -> None:
    node = boot(replace(KUBEADM, version="0.0.0-master+$Format:%H$"))
    before = node.files()
    text = install_refused(node)
    assert "v0.0.0-master" in text
    assert "--kubelet-version" in text
    node.run("criproxy", "node", "apply", "--kubelet-version", "1.33.1")
    assert node.kubelet_command == node.turned_command
    node.run("dpkg", "--configure", "--pending")
    assert node.status(FULL) == "installed"
    leaves_nothing(node, before)


def test_a_runtime_that_is_not_on_the_node_can_be_put_right_and_tried_again(boot: Boot) -> None:
    node = boot(KUBEADM_1_11)
    node.run("debconf-set-selections", stdin="criproxy criproxy/primary_cri select crio\n")
    text = install_refused(node)
    assert "/run/crio/crio.sock" in text
    node.run("debconf-set-selections", stdin="criproxy criproxy/primary_cri select containerd\n")
    completes(node)


def test_dockershim_of_a_kubelet_that_has_none_is_explained(node: Node) -> None:
    node.run("debconf-set-selections", stdin="criproxy criproxy/primary_cri select dockershim\n")
    text = install_refused(node)
    assert "1.33.1" in text
    assert "cri-dockerd" in text
    assert not node.path(DROP_IN).exists()
