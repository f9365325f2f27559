"""How much memory messages may take where nobody says so: a share of what this process may have."""

from __future__ import annotations

import os
from typing import Iterator, Union

LARGEST_DEFAULT = 96 * 2**20
"""The most, bytes: kubelet's lists of a node with 1,000 pods, fifty times, and the largest message, in and out."""
_SHARE = 5
"""Part of what there is. The account takes action at half as much again (relay/account.py), a message is copied on its
way, and the interpreter and malloc(3) have their own share: together that stays below half."""
_FILES = {"0::": ("sys/fs/cgroup", "memory.max"), ":memory:": ("sys/fs/cgroup/memory", "memory.limit_in_bytes")}
"""By what is in a line of /proc/self/cgroup before the path: where the control groups are, and what has the limit of
one (cgroups(7); version 2, and version 1)."""
_Root = Union[str, "os.PathLike[str]"]


def default_limit(root: _Root) -> int:
    """The limit, bytes. ``root``: where /proc and /sys are."""
    return min((LARGEST_DEFAULT, *(found // _SHARE for found in _limits(root))))


def _limits(root: _Root) -> Iterator[int]:
    """What bounds the memory of this process: the machine, and each control group that it is in, bytes."""
    for line in _lines(os.path.join(root, "proc/meminfo")):
        if line.startswith("MemTotal:"):
            yield int(line.split()[1]) * 1024
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        for mark, (folder, name) in _FILES.items():
            _, found, path = line.partition(mark)
            if found:
                group = path.strip("/")
                yield from _limit(root, folder, group, name)
                while group:
                    group = os.path.dirname(group)
                    yield from _limit(root, folder, group, name)


def _limit(root: _Root, folder: str, group: str, name: str) -> Iterator[int]:
    """What one control group is given, bytes."""
    yield from map(int, filter(str.isdigit, _lines(os.path.join(root, folder, group, name))))


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from file.read().splitlines()
    except OSError:
        return
