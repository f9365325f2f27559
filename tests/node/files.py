"""All that is kept on a node, so that two moments can be compared byte for byte."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Dict

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
        with open(path, "rb") as file:
            content = hashlib.blake2b(file.read(), digest_size=16).hexdigest()
    return f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {content}"
