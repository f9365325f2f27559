"""The nodes of the tests: each is a whole machine for whoever is on it, and nothing of it remains."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Dict, List

import pytest

from . import debs
from .conftest import Boot
from .layouts import GENERATOR, KIND, KUBEADM, KUBEADM_1_11, Layout
from .node import Node


@pytest.mark.parametrize("layout", [KUBEADM_1_11, KUBEADM, KIND, GENERATOR], ids=str)
def test_a_node_that_stops_leaves_nothing_though_a_pod_runs_on_it(layout: Layout, tmp_path: Path) -> None:
    with Node(layout, tmp_path) as node:
        node.dpkg("--install", debs.built(layout.package))
        node.run_pod()
        during = _traces(node.name)
        assert len(during["processes"]) >= len(["systemd", "containerd", "criproxy", "kubelet", "shim", "pause"])
        assert during["cgroups"]
        assert during["folders"]
    assert _traces(node.name) == {"cgroups": [], "folders": [], "mounts": [], "processes": []}


def test_nodes_do_not_see_each_other(boot: Boot) -> None:
    nodes = [boot(KUBEADM) for _ in range(2)]
    nodes[0].write("/etc/only-here", "")
    assert not nodes[1].path("/etc/only-here").exists()
    nodes[0].run("systemctl", "stop", "kubelet")
    assert [node.state("kubelet.service") for node in nodes] == ["inactive", "active"]


def _traces(name: str) -> Dict[str, List[str]]:
    """What this machine has of a node. Others may be there at the same time, and end while this looks."""
    return {
        "cgroups": [f"{path}/{name}" for path, folders, _ in os.walk("/sys/fs/cgroup") if name in folders],
        "folders": [str(path) for path in Path(tempfile.gettempdir()).glob(name)],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line],
        "processes": [path.parent.name for path in Path("/proc").glob("[0-9]*/cgroup") if name in _text(path)],
    }


def _text(cgroups: Path) -> str:
    try:
        return cgroups.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
