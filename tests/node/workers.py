"""What the workers of a parallel run (pytest-xdist) have to agree on."""

from __future__ import annotations

import re
import uuid

from xdist.scheduler import LoadScopeScheduling

from tests.containerd.cgroup import Cgroup

_SHARED = re.compile(r"([^:]+)::.*\[([^@]*)@.*")


def shared(value: object) -> str:
    """The id of a fixture's parameter for which the fixture makes one node: the tests of a module that get it stay on
    one worker, in their order."""
    return f"{value}@"


class BySharedNodes(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a worker all tests that share a node: those of one such id, and those of a class. Others go one by one."""

    def _split_scope(self, nodeid: str) -> str:
        found = _SHARED.fullmatch(nodeid)
        if found:
            return f"{found[1]}::{found[2]}"
        whole, _, _ = nodeid.rpartition("::")
        return whole if "::" in whole else nodeid


class Room:
    """Room for the cgroups of all workers' nodes, which is made before the first of them and outlives them all.

    In a container with cgroup version 2 processes are moved for that, which each worker would do for itself.
    """

    def __init__(self) -> None:
        self._cgroup = Cgroup(f"criproxy-node-{uuid.uuid4()}")

    def pytest_unconfigure(self) -> None:
        """Unmakes it."""
        self._cgroup.remove()
