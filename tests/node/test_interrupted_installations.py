"""An installation, an upgrade or a removal that is killed at any point and started again ends as it should."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List

import pytest

from . import debs, go_package, killing
from .files import Files
from .layouts import FULL, KUBEADM_1_10
from .node import Node

pytestmark = pytest.mark.timeout(600)
_PARTS = 3
"""So many tests share the points, so that they can run beside each other."""
in_parts = pytest.mark.parametrize("part", range(_PARTS))


def _killed(node: Node, point: int, *words: str) -> bool:
    """Runs dpkg and has it killed at a point. False: it has succeeded, with fewer points."""
    return killing.killed(node, point, "dpkg", *words)


def _points_of(part: int, node: Node, least: int) -> Iterator[int]:
    """A part of the points, by their numbers, of a run that has not been killed."""
    count = len(killing.points(node))
    assert count >= least, killing.points(node)
    yield from range(1 + part, count + 1, _PARTS)


def _differences(node: Node, turned: Files) -> List[str]:
    """Where the node is not as it should be. What debhelper keeps for itself depends on how often it was there."""
    return [path for path in node.files().changes(turned) if not path.startswith("/var/lib/systemd/deb-systemd-helper")]


def _kubelet_is_served(node: Node) -> None:
    command = node.kubelet_command
    assert command in (node.own_command, node.turned_command)
    if command == node.turned_command:
        with node.client() as client:
            assert client.Version().runtime_name == "containerd"


@in_parts
def test_an_installation_killed_at_any_point_is_finished_by_dpkg(node: Node, part: int) -> None:
    before, package = node.files(), node.bring(debs.built(FULL))
    assert not _killed(node, 0, "--install", package)
    turned = node.files()
    for point in _points_of(part, node, least=5):
        node.dpkg("--purge", FULL)
        assert node.files().changes(before) == {}, f"before point {point}"
        assert _killed(node, point, "--install", package) or point > 5
        _kubelet_is_served(node)
        node.run("dpkg", "--configure", "--pending")
        assert _differences(node, turned) == [], f"after a kill at point {point}"
        assert node.kubelet_command == node.turned_command, f"after a kill at point {point}"
        assert node.state("criproxy.service") == "active"
    node.dpkg("--purge", FULL)
    assert node.files().changes(before) == {}


@in_parts
def test_the_go_packages_node_is_taken_over_wherever_that_is_killed(tmp_path: Path, part: int) -> None:
    with Node(KUBEADM_1_10, tmp_path) as node:
        go_package.install(node)
        assert not _killed(node, 0, "--install", node.bring(debs.built(FULL)))
        points = list(_points_of(part, node, least=5))
    for point in points:
        with Node(KUBEADM_1_10, tmp_path) as node:
            go_package.install(node)
            assert _killed(node, point, "--install", node.bring(debs.built(FULL))) or point > 5
            node.run("dpkg", "--configure", "--pending")
            assert node.kubelet_command == node.turned_command, f"after a kill at point {point}"
            shim = (*node.layout.program, "--experimental-dockershim", "--port", "11250")
            assert node.dockershim_command[: len(shim)] == shim, f"after a kill at point {point}"
            with node.client() as client:
                assert client.Version().runtime_name == "docker"


@in_parts
def test_a_removal_killed_at_any_point_can_be_repeated(node: Node, part: int) -> None:
    before = node.files()
    node.dpkg("--install", debs.built(FULL))
    assert not _killed(node, 0, "--remove", FULL)
    node.dpkg("--purge", FULL)
    for point in _points_of(part, node, least=5):
        node.dpkg("--install", debs.built(FULL))
        assert _killed(node, point, "--remove", FULL) or point > 5
        _kubelet_is_served(node)
        node.dpkg("--purge", FULL)
        assert node.files().changes(before) == {}, f"after a kill at point {point}"
        assert node.kubelet_command == node.own_command, f"after a kill at point {point}"


@in_parts
def test_an_upgrade_killed_at_any_point_is_finished_by_dpkg(node: Node, tmp_path: Path, part: int) -> None:
    later = debs.later(debs.built(FULL), tmp_path)
    node.dpkg("--install", debs.built(FULL))
    assert not _killed(node, 0, "--install", node.bring(later))
    turned = node.files()
    for point in _points_of(part, node, least=2):
        node.dpkg("--install", debs.built(FULL))
        assert _killed(node, point, "--install", node.bring(later)) or point > 2
        _kubelet_is_served(node)
        node.run("dpkg", "--configure", "--pending")
        assert _differences(node, turned) == [], f"after a kill at point {point}"
        assert node.kubelet_command == node.turned_command
        assert node.state("criproxy.service") == "active"
