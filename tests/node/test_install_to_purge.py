"""From the installation to the purge, on each kind of node. The steps are one node's life, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Set

import pytest

from tests.containerd.client import Client

from . import debs, layouts
from .caller import Caller
from .files import Files
from .layouts import DEFAULTS, Layout
from .node import DROP_IN, SOCKET, Node
from .workers import shared

_UNITS = ("criproxy.service", "criproxy.socket")


@pytest.fixture(scope="class", params=layouts.ALL, ids=shared)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of each layout."""
    layout: Layout = request.param
    with Node(layout, tmp_path_factory.mktemp(layout.name)) as node:
        yield node


@pytest.fixture(scope="class")
def before(node: Node) -> Files:
    """The node's files before criproxy has come."""
    return node.files()


@pytest.fixture(autouse=True)
def _whole(node: Node) -> None:
    if node.broken:
        pytest.skip(f"{node.broken} has failed on this node")


class TestTheLifeOfAnInstallation:
    def test_before_it_kubelet_runs_as_the_layout_says(self, node: Node, before: Files) -> None:
        assert node.kubelet_command == node.own_command
        has_python = not node.attempt("sh", "-c", "command -v python3").returncode
        assert has_python == (node.layout.package == layouts.FULL)

    def test_the_installation_turns_kubelet_to_the_proxy(self, node: Node) -> None:
        kubelet = node.kubelet
        node.install()
        assert node.kubelet != kubelet
        assert node.kubelet_command == node.turned_command

    def test_the_proxy_is_ready_and_says_how_its_runtimes_are(self, node: Node) -> None:
        assert [node.state(unit) for unit in _UNITS] == ["active", "active"]
        assert [node.show(unit, "UnitFileState") for unit in _UNITS] == ["enabled", "enabled"]
        assert "virtlet.cloud" in node.show("criproxy.service", "StatusText")
        assert node.show("criproxy.service", "MainPID") in node.run("pgrep", "--exact", "criproxy").split()
        assert "kubelet is on criproxy" in node.run("criproxy", "node", "status")

    def test_its_runtimes_are_the_one_that_kubelet_has_used_and_the_others(self, node: Node) -> None:
        lines = node.path("/etc/default/criproxy").read_text().splitlines()
        assert f"CRI_PRIMARY={node.layout.primary}" in lines
        other = node.layout.answers.get("criproxy/other_cri", "virtlet.cloud:/run/virtlet.sock")
        assert f"CRI_OTHER={other}" in lines
        images = [line for line in lines if line.startswith("CRI_IMAGE_SERVICE=/")]
        assert images == ([f"CRI_IMAGE_SERVICE={node.layout.images}"] if node.layout.images else [])

    def test_kubelets_dockershim_lives_on_where_docker_was_used(self, node: Node) -> None:
        if node.layout.primary != layouts.DOCKERSHIM:
            assert node.show("dockershim.service", "LoadState") == "not-found"
            return
        program, rest = node.dockershim_command[: len(node.layout.program)], node.dockershim_command
        assert program == node.layout.program
        assert rest[len(program) :][:3] == ("--experimental-dockershim", "--port", "11250")
        assert set(rest[len(program) + 3 :]) <= set(node.layout.flags)
        with node.client() as client:
            assert client.Version().runtime_name == "docker"

    def test_pods_are_made_on_containerd_through_it(self, node: Node) -> None:
        pod = node.run_pod()
        assert node.pods() == [pod]

    def test_images_are_where_kubelet_has_looked_for_them(self, node: Node) -> None:
        with node.client() as client:
            if node.layout.images:
                client.PullImage(image={"image": "registry.test/lazy:1"})
                assert node.image_service.pulled == ["registry.test/lazy:1"]
            seen = _tags(client)
        version = "v1" if node.layout.images or node.layout.primary == layouts.DOCKERSHIM else node.api_version
        with node.client(node.layout.images or node.layout.primary, version) as client:
            assert _tags(client) <= seen

    def test_it_runs_again_as_it_was_after_all_has_been_stopped(self, node: Node) -> None:
        node.run("systemctl", "stop", "kubelet.service", *_UNITS)
        assert not node.path(SOCKET).exists()
        node.run("systemctl", "start", "kubelet.service")
        assert node.state("criproxy.service") == "active"
        assert node.kubelet_command == node.turned_command

    def test_a_restart_refuses_no_call(self, node: Node) -> None:
        with Caller(node.path(SOCKET)) as caller:
            for _ in range(3):
                node.run("systemctl", "restart", "criproxy.service")
                caller.await_more()
        assert caller.refused == []

    def test_after_a_crash_calls_wait_for_its_successor(self, node: Node) -> None:
        killed = node.show("criproxy.service", "MainPID")
        node.run("kill", "-KILL", killed)
        with node.client() as client:
            assert client.Version().runtime_name
        assert node.show("criproxy.service", "MainPID") != killed

    def test_an_upgrade_refuses_no_call_and_leaves_kubelet_alone(self, node: Node, tmp_path: Path) -> None:
        kubelet, proxy = node.kubelet, node.show("criproxy.service", "MainPID")
        with Caller(node.path(SOCKET)) as caller:
            node.dpkg("--install", debs.later(debs.built(node.layout.package), tmp_path))
        assert caller.refused == []
        assert node.run("dpkg-query", "--show", "--showformat=${Version}", node.layout.package).endswith("+later")
        assert node.show("criproxy.service", "MainPID") != proxy
        assert node.kubelet == kubelet

    def test_installing_and_configuring_it_again_changes_nothing(self, node: Node) -> None:
        node.dpkg("--install", debs.built(node.layout.package))
        kubelet, files, proxy = node.kubelet, node.files(), node.show("criproxy.service", "MainPID")
        node.dpkg("--install", debs.built(node.layout.package))
        node.run("dpkg-reconfigure", node.layout.package)
        assert node.files().changes(files) == {}
        assert node.kubelet == kubelet
        assert node.show("criproxy.service", "MainPID") == proxy
        assert node.state("criproxy.service") == "active"

    def test_kubelets_defaults_can_be_edited_still(self, node: Node) -> None:
        if DEFAULTS not in node.layout.files:
            pytest.skip("this layout has none")
        text = node.path(DEFAULTS).read_text()
        node.write(DEFAULTS, "KUBELET_EXTRA_ARGS=--edited=yes\n")
        node.run("systemctl", "restart", "kubelet")
        command = node.kubelet_command
        node.write(DEFAULTS, text)
        node.run("systemctl", "restart", "kubelet")
        assert "--edited=yes" in command
        assert command[-len(node.layout.added) :] == node.layout.added
        assert node.kubelet_command == node.turned_command

    def test_its_removal_gives_kubelet_back_and_keeps_pods(self, node: Node) -> None:
        pods = node.pods()
        node.dpkg("--remove", node.layout.package)
        assert node.kubelet_command == node.own_command
        assert node.pods() == pods != []
        assert [node.show(unit, "LoadState") for unit in (*_UNITS, "dockershim.service")] == ["not-found"] * 3
        assert not node.path(DROP_IN).exists()
        assert not node.path(SOCKET).exists()
        assert node.path("/etc/default/criproxy").exists()

    def test_it_can_come_again_with_the_settings_that_it_had(self, node: Node) -> None:
        settings = node.path("/etc/default/criproxy").read_text().replace("-v 2", "-v 3")
        node.write("/etc/default/criproxy", settings)
        node.dpkg("--install", debs.built(node.layout.package))
        assert node.kubelet_command == node.turned_command
        assert node.path("/etc/default/criproxy").read_text() == settings
        node.dpkg("--remove", node.layout.package)

    def test_its_purge_leaves_nothing(self, node: Node, before: Files) -> None:
        kubelet = node.kubelet
        node.dpkg("--purge", node.layout.package)
        assert node.files().changes(before) == {}
        assert node.kubelet == kubelet
        assert node.kubelet_command == node.own_command
        assert node.status(node.layout.package) == "not-installed"
        assert "criproxy/" not in node.path("/var/cache/debconf/config.dat").read_text()
        assert "criproxy" not in node.run("systemctl", "list-units", "--all", "--plain", "--no-legend")
        assert list(node.path("/var/lib/dpkg/info").glob("criproxy*")) == []


def _tags(client: Client) -> Set[str]:
    return {tag for image in client.ListImages().images for tag in image.repo_tags}
