"""How much memory messages may take where nobody says so: a share of what this process may have."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

LARGEST_DEFAULT = 96 * 2**20
"""The most, bytes: kubelet's lists of a node with 1,000 pods, fifty times, and the largest message, in and out."""
_SHARE = 5
"""Part of what there is. The account takes action at half as much again (relay/account.py), a message is copied on its
way, and the interpreter and malloc(3) have their own share: together that stays below half."""
_FILES = {"0::": ("sys/fs/cgroup", "memory.max"), ":memory:": ("sys/fs/cgroup/memory", "memory.limit_in_bytes")}
"""By what is in a line of /proc/self/cgroup before the path: where the control groups are, and what has the limit of
one (cgroups(7); version 2, and version 1)."""


def default_limit(root: Path) -> int:
    """The limit, bytes. ``root``: where /proc and /sys are."""
    return min((LARGEST_DEFAULT, *(found // _SHARE for found in _limits(root))))


def _limits(root: Path) -> Iterator[int]:
    """What bounds the memory of this process: the machine, and each control group that it is in, bytes."""
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            yield int(line.split()[1]) * 1024
    for line in _lines(root / "proc/self/cgroup"):
        for mark, (folder, name) in _FILES.items():
            _, found, path = line.partition(mark)
            if found:
                groups = Path(path.lstrip("/"))
                for group in (groups, *groups.parents):
                    yield from map(int, filter(str.isdigit, _lines(root / folder / group / name)))


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
