"""The nodes of the tests: each is a whole machine for whoever is on it, and nothing of it remains."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Dict, List

import pytest

from . import debs
from .layouts import KIND, KUBEADM, KUBEADM_1_11, Layout
from .node import Node


@pytest.mark.parametrize("layout", [KUBEADM_1_11, KUBEADM, KIND], ids=str)
def test_a_node_that_stops_leaves_nothing_though_a_pod_runs_on_it(layout: Layout, tmp_path: Path) -> None:
    before = _machine()
    node = Node(layout, tmp_path)
    try:
        node.dpkg("--install", debs.built(layout.package))
        node.run_pod()
        assert len(_machine()["processes"]) >= len(["systemd", "containerd", "criproxy", "kubelet", "shim", "pause"])
    finally:
        node.stop()
    assert _machine() == before


def test_nodes_do_not_see_each_other(tmp_path: Path) -> None:
    nodes = [Node(KUBEADM, tmp_path) for _ in range(2)]
    try:
        nodes[0].write("/etc/only-here", "")
        assert not nodes[1].path("/etc/only-here").exists()
        nodes[0].run("systemctl", "stop", "kubelet")
        assert [node.state("kubelet.service") for node in nodes] == ["inactive", "active"]
    finally:
        for node in nodes:
            node.stop()


def _machine() -> Dict[str, List[str]]:
    """What this machine has of what a node makes."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    interfaces = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()]
    return {
        "mounts": sorted(mounts),
        "interfaces": sorted(interfaces),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").rglob("criproxy-node-*")),
        "folders": sorted(str(path) for path in Path(tempfile.gettempdir()).glob("criproxy-node-*")),
        "processes": sorted(path.parent.name for path in Path("/proc").glob("[0-9]*/cgroup") if _is_of_a_node(path)),
    }


def _is_of_a_node(cgroups: Path) -> bool:
    try:
        return "/criproxy-node-" in cgroups.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
