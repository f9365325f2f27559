"""A cgroup of the tests' own for all their pods, in whichever version of cgroups there is."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Iterable, List, Optional, Set

from .service import eventually

_CONTROLLERS = {"cpu", "memory", "pids"}
"""Those without which runc starts no container that has limits."""
_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""The same in cgroup version 2 and 1."""


class Cgroup:
    """A directory below the root of each hierarchy. ``path``: where, seen from there; runc makes it when needed.

    ``unified``: in version 2 alone, which machines with version 1 have beside it, without controllers.
    """

    def __init__(self, name: str, unified: bool = False) -> None:
        self.path = f"/{name}"
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        self._roots = {
            kind: sorted({Path(fields[4]) for fields in mounts if fields[fields.index("-") + 1] == kind})
            for kind in (("cgroup2",) if unified else ("cgroup", "cgroup2"))
        }
        assert any(self._roots.values()), f"no {' or '.join(self._roots)} is mounted on this machine"
        self._shelter: Optional[_Shelter] = None
        if not self._roots.get("cgroup"):
            self._shelter = _Shelter(self._roots["cgroup2"][0], name)

    def make(self) -> List[Path]:
        """Makes it at once; gives its directory in each hierarchy."""
        made = [root / self.path[1:] for roots in self._roots.values() for root in roots]
        for path in made:
            path.mkdir()
            inherits = path / "cgroup.clone_children"
            if inherits.exists() and (path / "cpuset.cpus").exists():
                # In version 1 a cpuset begins without anything that a process could run on.
                inherits.write_text("1")
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (path / name).write_text((path.parent / name).read_text())
        return made

    def tree(self) -> List[Path]:
        """It and what is in it, in all hierarchies, the innermost first."""
        tops = [f"{root}{self.path}" for roots in self._roots.values() for root in roots]
        return [Path(path) for top in tops for path, _, _ in os.walk(top, topdown=False)]

    def memory_limit(self, container: str) -> int:
        """The limit of a container (by its runtime's id for it), bytes."""
        files = [cgroup / name for cgroup in self.tree() if cgroup.name == container for name in _LIMITS]
        return int(next(file for file in files if file.exists()).read_text())

    def remove(self) -> None:
        """Removes it and what is in it; no process may be in it any more."""
        for cgroup in self.tree():
            # The kernel takes a moment to see that those who were in it have gone.
            assert eventually(partial(_removed, cgroup), bool), f"{cgroup} cannot be removed"
        if self._shelter is not None:
            self._shelter.leave()


class _Shelter:
    """Makes room for cgroups with controllers in a container with cgroup version 2, and unmakes it.

    There the root that we see holds processes, and a cgroup that does can have no controllers for those in it
    (cgroup-v2.rst, "No Internal Process Constraint"): the processes move into a cgroup of their own meanwhile.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._place = root / f"{name}-shelter"
        self._switch = root / "cgroup.subtree_control"
        self._before = self._enabled()
        missing = (_CONTROLLERS & set((root / "cgroup.controllers").read_text().split())) - self._before
        # Only the real root has no type, and no such constraint.
        self._used = bool(missing) and (root / "cgroup.type").exists()
        if self._used:
            self._place.mkdir()
            _move_all(root, self._place)
            self._write("+", missing)

    def leave(self) -> None:
        """All is as before, with the controllers too that runc has enabled beyond those that it must have."""
        if self._used:
            self._write("-", self._enabled() - self._before)
            _move_all(self._place, self._root)
            assert eventually(partial(_removed, self._place), bool), f"{self._place} cannot be removed"

    def _enabled(self) -> Set[str]:
        return set(self._switch.read_text().split())

    def _write(self, sign: str, controllers: Iterable[str]) -> None:
        self._switch.write_text(" ".join(sign + name for name in sorted(controllers)))


def _move_all(origin: Path, place: Path) -> None:
    """Moves all processes, those included that are started meanwhile."""
    procs = origin / "cgroup.procs"

    def moved() -> bool:
        for pid in procs.read_text().split():
            try:
                (place / "cgroup.procs").write_text(pid)
            except ProcessLookupError:
                continue
        return not procs.read_text()

    assert eventually(moved, bool), f"some processes stay in {origin}"


def _removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:
        return False
    return True
