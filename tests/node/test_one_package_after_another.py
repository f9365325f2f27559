"""One package in the place of another: the two of ours, and the Go program's."""

from __future__ import annotations

import pytest

from . import debs, go_package
from .conftest import Boot
from .layouts import FULL, KUBEADM_1_10, NODEPS
from .node import SOCKET, Node


@pytest.mark.parametrize(("first", "second"), [(FULL, NODEPS), (NODEPS, FULL)])
def test_each_can_take_the_others_place_and_keeps_its_settings(node: Node, first: str, second: str) -> None:
    before = node.files()
    node.dpkg("--install", debs.built(first))
    settings = node.path(go_package.DEFAULTS).read_text().replace("-v 2", "-v 4")
    node.write(go_package.DEFAULTS, settings)
    kubelet = node.kubelet
    node.dpkg("--install", debs.built(second))
    assert node.status(second) == "installed"
    assert node.status(first) != "installed"
    assert node.path(go_package.DEFAULTS).read_text() == settings
    assert [node.state(unit) for unit in ("criproxy.service", "criproxy.socket")] == ["active", "active"]
    assert node.show("criproxy.service", "UnitFileState") == "enabled"
    assert node.kubelet == kubelet
    node.run_pod()
    if node.status(first) != "not-installed":
        node.dpkg("--purge", first)
    assert node.path(go_package.DEFAULTS).read_text() == settings
    assert node.state("criproxy.service") == "active"
    node.dpkg("--purge", second)
    assert node.files().changes(before) == {}
    assert node.kubelet_command == node.own_command


def test_what_the_go_package_has_left_is_taken_over(boot: Boot) -> None:
    node = boot(KUBEADM_1_10)
    before = node.files()
    go_package.install(node)
    assert "--container-runtime=remote" in node.kubelet_command
    assert "--node-ip=192.0.2.10" not in node.kubelet_command, "which is why its way of patching was given up"
    node.dpkg("--install", debs.built(FULL))
    assert node.kubelet_command == node.turned_command
    assert node.path(go_package.DEFAULTS).read_text().startswith(go_package.SETTINGS)
    assert node.dockershim_command[:4] == ("/usr/bin/kubelet", "--experimental-dockershim", "--port", "11250")
    with node.client(SOCKET) as client:
        assert client.Version().runtime_name == "docker"
    assert node.run_pod() in node.pods()
    node.dpkg("--purge", FULL)
    assert node.kubelet_command == node.own_command
    # Somebody may have edited the copy: it is kept, under a name that systemd does not read.
    kept = "/etc/systemd/system/dockershim.service.d"
    assert set(node.files().changes(before)) == {kept, f"{kept}/10-kubeadm.conf.criproxy-saved"}
