"""One package in the place of another: the two of ours, and the Go program's."""

from __future__ import annotations

import pytest

from . import debs, go_package
from .conftest import Boot
from .layouts import ALIAS, DIND_ON_DOCKER, DOCKERSHIM, FULL, GENERATOR, KUBEADM_1_10, KUBESPRAY, NODEPS, Layout
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
    _take_over(node)
    # Somebody may have edited the copy: it is kept, under a name that systemd does not read.
    kept = "/etc/systemd/system/dockershim.service.d"
    assert set(node.files().changes(before)) == {kept, f"{kept}/10-kubeadm.conf.criproxy-saved"}


@pytest.mark.parametrize("layout", [DIND_ON_DOCKER, KUBESPRAY, ALIAS, GENERATOR], ids=str)
def test_it_is_taken_over_where_kubelet_has_never_heard_of_it(boot: Boot, layout: Layout) -> None:
    node = boot(layout)
    before = node.files()
    go_package.install(node)
    assert node.kubelet_command == node.own_command, "its variable is in no command there"
    _take_over(node)
    assert node.files().changes(before) == {}


def _take_over(node: Node) -> None:
    """Installs our package over the Go program's, and purges it."""
    layout = node.layout
    node.dpkg("--install", debs.built(layout.package))
    assert node.kubelet_command == node.turned_command
    assert node.path(go_package.DEFAULTS).read_text().startswith(go_package.settings(layout))
    if layout.primary == DOCKERSHIM:
        shim = (*layout.program, "--experimental-dockershim", "--port", "11250")
        assert node.dockershim_command[: len(shim)] == shim
    with node.client(SOCKET) as client:
        assert client.Version().runtime_name == ("docker" if layout.primary == DOCKERSHIM else "containerd")
    assert node.run_pod() in node.pods()
    node.dpkg("--purge", layout.package)
    assert node.kubelet_command == node.own_command
