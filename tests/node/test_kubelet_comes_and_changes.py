"""kubelet that is not there yet, that does not run, or that changes later."""

from __future__ import annotations

from dataclasses import replace

from . import debs
from .conftest import Boot
from .layouts import FULL, KUBEADM, NODEPS
from .node import DROP_IN, SOCKET, Node

_DROP_IN = "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"


def test_kubelet_that_comes_after_criproxy_is_turned_to_it(boot: Boot) -> None:
    node = boot(KUBEADM, kubelet=False)
    before = node.files()
    node.dpkg("--install", debs.built(NODEPS))
    assert not node.path(DROP_IN).exists()
    node.add_kubelet()
    assert node.kubelet_command == node.turned_command
    assert [node.state(unit) for unit in ("criproxy.service", "criproxy.socket")] == ["active", "active"]
    with node.client() as client:
        assert client.Version().runtime_name == "containerd"
    node.dpkg("--purge", NODEPS)
    assert [path for path in node.files().changes(before) if "criproxy" in path] == []
    assert node.kubelet_command == node.own_command


def test_both_can_come_in_one_go(boot: Boot) -> None:
    node = boot(KUBEADM, kubelet=False)
    node.add_files()
    node.dpkg("--install", debs.built(FULL), node.kubelet_deb())
    assert node.kubelet_command[-len(KUBEADM.added) :] == KUBEADM.added
    assert node.state("criproxy.service") == "active"


def test_criproxy_that_never_sees_a_kubelet_leaves_nothing(boot: Boot) -> None:
    node = boot(KUBEADM, kubelet=False)
    before = node.files()
    node.dpkg("--install", debs.built(NODEPS))
    node.dpkg("--purge", NODEPS)
    assert node.files().changes(before) == {}


def test_kubelet_that_is_stopped_stays_so(node: Node) -> None:
    before = node.files()
    node.run("systemctl", "stop", "kubelet.service")
    node.install()
    assert node.state("kubelet.service") == "inactive"
    node.run("systemctl", "start", "kubelet.service")
    assert node.kubelet_command == node.turned_command
    node.run("systemctl", "stop", "kubelet.service")
    node.dpkg("--purge", FULL)
    assert node.state("kubelet.service") == "inactive"
    assert node.files().changes(before) == {}
    node.run("systemctl", "start", "kubelet.service")
    assert node.kubelet_command == node.own_command


def test_an_upgrade_of_kubelet_that_changes_its_command_is_followed(node: Node) -> None:
    node.install()
    drop_in = f"{KUBEADM.packaged[_DROP_IN].rstrip()} --of-the-new-release\n"
    node.dpkg("--install", "--force-confold", node.kubelet_deb("2.1", {_DROP_IN: drop_in}))
    assert node.kubelet_command == (*node.own_command, "--of-the-new-release", *KUBEADM.added)
    node.dpkg("--remove", FULL)
    assert node.kubelet_command == (*node.own_command, "--of-the-new-release")


def test_an_upgrade_of_kubelet_to_one_without_an_old_flag_is_followed(boot: Boot) -> None:
    node = boot(replace(KUBEADM, version="1.26.15", added=("--container-runtime=remote", *KUBEADM.added)))
    node.install()
    assert node.kubelet_command == node.turned_command
    node.layout = KUBEADM
    node.dpkg("--install", "--force-confold", node.kubelet_deb())
    assert node.kubelet_command == node.turned_command
    with node.client(SOCKET) as client:
        assert client.Version().runtime_name == "containerd"
