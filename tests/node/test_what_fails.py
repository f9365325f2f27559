"""Installations that cannot succeed leave kubelet as it was, running, and say why; later they do succeed."""

from __future__ import annotations

from typing import List

import pytest

from . import debs
from .conftest import Boot
from .files import Files
from .layouts import FULL, KUBEADM, KUBEADM_1_11
from .node import DROP_IN, Node

_OURS = ("/etc/systemd/system/criproxy", "/etc/systemd/system/kubelet.service.d/", "/var/lib/criproxy/")
_LATER = "/etc/systemd/system/kubelet.service.d/50-local.conf"


def _refused(node: Node) -> str:
    """Tries an installation that is to fail, and sees that it has not touched kubelet; gives what dpkg has said."""
    before, kubelet = node.files(), node.kubelet
    text = node.refused("--install", debs.built(FULL))
    assert node.status(FULL) == "half-configured"
    assert node.kubelet == kubelet != 0
    assert "criproxy.sock" not in node.show("kubelet.service", "ExecStart")
    assert _generated(node.files(), before) == []
    assert [node.state(unit) for unit in ("criproxy.service", "criproxy.socket")] == ["inactive", "inactive"]
    return text


def _generated(now: Files, before: Files) -> List[str]:
    """What the package itself does not bring, but `criproxy node apply` makes."""
    return [path for path in now.changes(before) if path.startswith(_OURS) or path == "/etc/default/criproxy"]


def _succeeds_now(node: Node) -> None:
    node.run("dpkg", "--configure", "--pending")
    assert node.kubelet_command == node.turned_command
    assert node.state("criproxy.service") == "active"


def _leaves_nothing(node: Node, before: Files) -> None:
    node.dpkg("--purge", FULL)
    assert node.files().changes(before) == {}
    assert node.kubelet_command == node.own_command


def test_containerd_that_is_stopped_is_named(node: Node) -> None:
    before = node.files()
    node.run("systemctl", "stop", "containerd.service")
    text = _refused(node)
    assert "/run/containerd/containerd.sock" in text
    node.run("systemctl", "start", "containerd.service")
    _succeeds_now(node)
    _leaves_nothing(node, before)


def test_a_failed_installation_can_be_purged(node: Node) -> None:
    before, kubelet = node.files(), node.kubelet
    node.run("systemctl", "stop", "containerd.service")
    _refused(node)
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
    text = _refused(node)
    assert "kubelet" in text
    assert named in text
    node.path(_LATER).unlink()
    node.run("systemctl", "daemon-reload")
    _succeeds_now(node)
    _leaves_nothing(node, before)


def test_a_drop_in_that_would_undo_ours_is_named(node: Node) -> None:
    before = node.files()
    later = "/etc/systemd/system/kubelet.service.d/99-local.conf"
    node.write(later, "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet --local\n")
    assert later in _refused(node)
    node.path(later).rename(node.path(later).with_name("50-local.conf"))
    node.run("systemctl", "daemon-reload")
    node.run("dpkg", "--configure", "--pending")
    assert node.kubelet_command == ("/usr/bin/kubelet", "--local", *KUBEADM.added)
    node.path(_LATER).unlink()
    node.run("criproxy", "node", "apply")
    _leaves_nothing(node, before)


@pytest.mark.parametrize(
    "folder", ["/etc/systemd/system", "/etc/systemd/system/kubelet.service.d", "/var/lib/criproxy"]
)
def test_a_full_disk_is_named(node: Node, folder: str) -> None:
    node.path(folder).mkdir(exist_ok=True)
    node.write("/etc/systemd/system/kubelet.service.d/10-local.conf", "# so that debhelper does not tidy it up\n")
    before = node.files()
    node.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "full", "/mnt")
    node.run("cp", "-a", f"{folder}/.", "/mnt")
    node.attempt("dd", "if=/dev/zero", "of=/mnt/filler", "bs=4k")
    node.run("mount", "--bind", "/mnt", folder)
    text = _refused(node)
    assert "No space left on device" in text
    assert folder in text
    node.run("umount", folder, "/mnt")
    _succeeds_now(node)
    node.dpkg("--purge", FULL)
    assert node.kubelet_command == node.own_command
    assert node.files().changes(before).keys() <= {"/var/lib/criproxy"}, node.files().changes(before)


def test_a_runtime_that_is_not_on_the_node_can_be_put_right_and_tried_again(boot: Boot) -> None:
    node = boot(KUBEADM_1_11)
    node.run("debconf-set-selections", stdin="criproxy criproxy/primary_cri select crio\n")
    text = _refused(node)
    assert "/run/crio/crio.sock" in text
    node.run("debconf-set-selections", stdin="criproxy criproxy/primary_cri select containerd\n")
    _succeeds_now(node)


def test_dockershim_of_a_kubelet_that_has_none_is_explained(node: Node) -> None:
    node.run("debconf-set-selections", stdin="criproxy criproxy/primary_cri select dockershim\n")
    text = _refused(node)
    assert "1.33.1" in text
    assert "cri-dockerd" in text
    assert not node.path(DROP_IN).exists()
