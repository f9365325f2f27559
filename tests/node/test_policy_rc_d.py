"""/usr/sbin/policy-rc.d says whether packages may start, stop and restart services (Debian Policy 9.3.3)."""

from __future__ import annotations

from pathlib import Path

from . import debs
from .layouts import FULL
from .node import DROP_IN, SOCKET, Node

_POLICY = "/usr/sbin/policy-rc.d"
_UNITS = ("criproxy.service", "criproxy.socket")


def _forbid(node: Node) -> None:
    node.write(_POLICY, "#!/bin/sh\nexit 101\n", 0o755)


def _allow(node: Node) -> None:
    node.path(_POLICY).unlink()


def test_an_installation_lays_files_and_the_command_completes_it(node: Node) -> None:
    before, kubelet = node.files(), node.kubelet
    _forbid(node)
    node.install()
    assert node.status(FULL) == "installed"
    assert node.kubelet == kubelet
    assert [node.state(unit) for unit in _UNITS] == ["inactive", "inactive"]
    assert not node.path(SOCKET).exists()
    assert node.path(DROP_IN).exists()
    _allow(node)
    node.run("criproxy", "node", "apply")
    assert node.kubelet_command == node.turned_command
    assert [node.state(unit) for unit in _UNITS] == ["active", "active"]
    node.run_pod()
    node.dpkg("--purge", FULL)
    assert node.files().changes(before) == {}
    assert node.kubelet_command == node.own_command


def test_an_upgrade_leaves_the_daemon_alone(node: Node, tmp_path: Path) -> None:
    node.install()
    _forbid(node)
    kubelet, proxy = node.kubelet, node.show("criproxy.service", "MainPID")
    node.dpkg("--install", debs.later(debs.built(FULL), tmp_path))
    assert node.show("criproxy.service", "MainPID") == proxy
    assert node.kubelet == kubelet


def test_a_purge_gives_files_back_and_goes_on_serving_the_kubelet_that_runs(node: Node) -> None:
    before = node.files()
    node.install()
    _forbid(node)
    kubelet = node.kubelet
    node.dpkg("--purge", FULL)
    _allow(node)
    assert node.files().changes(before) == {}
    assert node.kubelet == kubelet
    with node.client() as client:
        assert client.Version().runtime_name == "containerd"
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "restart", "kubelet.service")
    assert node.kubelet_command == node.own_command
