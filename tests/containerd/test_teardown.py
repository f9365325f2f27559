"""What remains on a node: of pods that have been removed nothing, and of the tests' node nothing either."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List

from .client import Client
from .images import Image
from .kubelet import IMAGE, Runtime, remove_pod, run_pod
from .node import Node
from .runtime import PAUSE, Containerd
from .service import eventually

_PLACES = ("/etc/cni", "/opt/containerd", "/run/containerd", "/run/netns", "/var/lib/cni", "/var/lib/containerd")
"""Where containerd, runc and CNI leave things if nobody keeps them from it."""


def test_pods_that_have_been_removed_leave_nothing(
    cri: Client, node: Node, primary: Runtime, alternative: Runtime
) -> None:
    before = node.inventory()
    pods = [run_pod(cri, node, runtime) for runtime in (primary, alternative)]
    during = node.inventory()
    for part in ("processes", "mounts", "interfaces", "run", "leases", "cgroups"):
        assert len(getattr(during, part)) >= len(getattr(before, part)) + len(pods), part
    for pod in pods:
        remove_pod(cri, pod)
    assert eventually(node.inventory, lambda now: now == before) == before


def test_a_node_that_stops_leaves_nothing_though_a_pod_runs_on_it(image: Image, pause: Image) -> None:
    before = machine()
    node = Node()
    try:
        containerd = Containerd(node, "primary", "192.0.2.0/24")
        containerd.start()
        containerd.load(pause, [PAUSE])
        containerd.load(image, [IMAGE])
        with Client(containerd.socket) as client:
            run_pod(client, node, Runtime("", containerd, client))
        assert len(processes_of(node)) >= len(["containerd", "shim", "pod", "container"])
    finally:
        node.stop()
    assert processes_of(node) == []
    assert node.cgroup.tree() == []
    assert not node.folder.exists()
    assert machine() == before


def machine() -> Dict[str, List[str]]:
    """What this machine has of what a node makes."""
    walks = (os.walk(place) for place in _PLACES)
    places = [f"{path}/{name}" for walk in walks for path, folders, names in walk for name in (*folders, *names)]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    interfaces = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()]
    return {"files": sorted(places), "mounts": sorted(mounts), "interfaces": sorted(interfaces)}


def processes_of(node: Node) -> List[str]:
    """This machine's processes that have to do with a node: by what they are called with or by their cgroup."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_text() + (process / "cgroup").read_text()
        except OSError:
            continue  # it has ended meanwhile
        if node.folder.name in told:
            found.append(process.name)
    return found
