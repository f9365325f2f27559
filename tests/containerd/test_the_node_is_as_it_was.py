"""What remains on a node: of pods that have been removed nothing, and of the tests' node nothing either."""

from __future__ import annotations

from .client import Client
from .kubelet import Runtime, remove_pod, run_pod
from .node import Node
from .service import eventually


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
