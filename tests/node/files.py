"""All that is kept on a node, so that two moments can be compared byte for byte."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple

_ASIDE = {
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "var/cache",
    "var/lib/containerd",
    "var/lib/dpkg",
    "var/log",
}
"""What is not kept, and what dpkg, containerd and logs keep for themselves."""
_TICK = 10**9
"""How old a file's last change must be for a later one to have another time for sure, nanoseconds."""
_read: Dict[Tuple[int, ...], str] = {}
"""What was in files that have not been changed since, whichever node they are on: most are those of its Debian."""


@dataclass(frozen=True)
class Files:
    """What there is at each path: its kind, mode, owner, and content or where it leads to."""

    entries: Dict[str, str]

    @classmethod
    def of(cls, root: Path) -> Files:
        """Everything below a directory."""
        entries: Dict[str, str] = {}
        for folder, folders, names in os.walk(root):
            below = os.path.relpath(folder, root)
            prefix = "" if below == "." else f"{below}/"
            folders[:] = [name for name in folders if prefix + name not in _ASIDE]
            for name in (*folders, *names):
                with suppress(FileNotFoundError):  # somebody on the node has removed it just now
                    entries[f"/{prefix}{name}"] = _entry(os.path.join(folder, name))
        return cls(entries)

    def changes(self, before: Files) -> Dict[str, str]:
        """Where this differs from what was before: what there was, and what there is."""
        paths = sorted(self.entries.keys() | before.entries.keys())
        seen = {path: (before.entries.get(path, "nothing"), self.entries.get(path, "nothing")) for path in paths}
        return {path: f"{was} -> {now}" for path, (was, now) in seen.items() if was != now}


def _entry(path: str) -> str:
    status = os.lstat(path)
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(status.st_mode) and not path.endswith(".pyc"):  # Python does not compile twice to the same
        content = _content(path, status)
    return f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {content}"


def _content(path: str, status: os.stat_result) -> str:
    # Each node's file system has a device number of its own, whatever is below it.
    version = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if version in _read:
        return _read[version]
    with open(path, "rb") as file:
        content = hashlib.blake2b(file.read(), digest_size=16).hexdigest()
    if time.time_ns() - status.st_ctime_ns > _TICK:
        _read[version] = content
    return content
