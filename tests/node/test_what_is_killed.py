"""An installation, an upgrade or a removal that is killed at any point and started again ends as it should."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import List

import pytest

from . import debs, go_package
from .files import Files
from .layouts import FULL, KUBEADM_1_10
from .node import Node

pytestmark = pytest.mark.timeout(600)
# Stands before systemctl on the path, and at the N-th call kills dpkg and all that it has started, as a power failure
# does.
_KILLER = """\
#!/bin/sh
echo "$*" >> /run/calls
[ "$(wc -l < /run/calls)" != {call} ] || kill -KILL 0
exec /usr/bin/systemctl "$@"
"""
_PLACE = "/usr/local/sbin/systemctl"


def _killed(node: Node, call: int, *words: str) -> bool:
    """Runs dpkg and has it killed at a call of systemctl. False: it has succeeded, without as many calls."""
    node.write("/run/calls", "")
    node.write(_PLACE, _KILLER.format(call=call), 0o755)
    done = node.attempt("setsid", "--wait", "dpkg", *words)
    node.path(_PLACE).unlink()
    calls = node.path("/run/calls").read_text().splitlines()
    assert (done.returncode != 0) == (len(calls) >= call), f"at call {call} of {calls}:\n{done.stdout}"
    return len(calls) >= call


def _differences(node: Node, turned: Files) -> List[str]:
    """Where the node is not as it should be. What debhelper keeps for itself depends on how often it was there."""
    return [path for path in node.files().changes(turned) if not path.startswith("/var/lib/systemd/deb-systemd-helper")]


def _kubelet_is_served(node: Node) -> None:
    command = node.kubelet_command
    assert command in (node.own_command, node.turned_command)
    if command == node.turned_command:
        with node.client() as client:
            assert client.Version().runtime_name == "containerd"


def test_an_installation_killed_at_any_point_is_finished_by_dpkg(node: Node) -> None:
    before = node.files()
    node.dpkg("--install", debs.built(FULL))
    turned = node.files()
    for call in itertools.count(1):
        node.dpkg("--purge", FULL)
        assert node.files().changes(before) == {}, f"after a kill before call {call}"
        if not _killed(node, call, "--install", node.bring(debs.built(FULL))):
            break
        _kubelet_is_served(node)
        node.run("dpkg", "--configure", "--pending")
        assert _differences(node, turned) == [], f"after a kill at call {call}"
        assert node.kubelet_command == node.turned_command, f"after a kill at call {call}"
        assert node.state("criproxy.service") == "active"
    assert call > 4


def test_the_go_packages_node_is_taken_over_wherever_that_is_killed(tmp_path: Path) -> None:
    for call in itertools.count(1):
        with Node(KUBEADM_1_10, tmp_path) as node:
            go_package.install(node)
            killed = _killed(node, call, "--install", node.bring(debs.built(FULL)))
            node.run("dpkg", "--configure", "--pending")
            assert node.kubelet_command == node.turned_command, f"after a kill at call {call}"
            shim = (*node.layout.program, "--experimental-dockershim", "--port", "11250")
            assert node.dockershim_command[: len(shim)] == shim, f"after a kill at call {call}"
            with node.client() as client:
                assert client.Version().runtime_name == "docker"
        if not killed:
            break
    assert call > 4


def test_a_removal_killed_at_any_point_can_be_repeated(node: Node) -> None:
    before = node.files()
    for call in itertools.count(1):
        node.dpkg("--install", debs.built(FULL))
        if not _killed(node, call, "--remove", FULL):
            break
        _kubelet_is_served(node)
        node.dpkg("--purge", FULL)
        assert node.files().changes(before) == {}, f"after a kill at call {call}"
        assert node.kubelet_command == node.own_command, f"after a kill at call {call}"
    assert call > 4


def test_an_upgrade_killed_at_any_point_is_finished_by_dpkg(node: Node, tmp_path: Path) -> None:
    later = debs.later(debs.built(FULL), tmp_path)
    node.dpkg("--install", debs.built(FULL))
    turned = node.files()
    for call in itertools.count(1):
        if not _killed(node, call, "--install", node.bring(later)):
            break
        _kubelet_is_served(node)
        node.run("dpkg", "--configure", "--pending")
        assert _differences(node, turned) == [], f"after a kill at call {call}"
        assert node.kubelet_command == node.turned_command
        assert node.state("criproxy.service") == "active"
    assert call > 1
