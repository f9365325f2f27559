"""A node's files, below a root directory."""

from __future__ import annotations

import glob
import os
from typing import List, Optional


class Tree:
    """Reads files by their paths on the node; ``root`` is where the node's ``/`` is."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")

    def host(self, path: str) -> str:
        """Where a file of the node's is for us."""
        return self.root + path

    def exists(self, path: str) -> bool:
        """Whether there is anything, a dangling link included."""
        return os.path.lexists(self.host(path))

    def is_folder(self, path: str) -> bool:
        """Whether it is a directory."""
        return os.path.isdir(self.host(path))

    def link(self, path: str) -> Optional[str]:
        """Where a symbolic link leads to; None if it is none."""
        return os.readlink(self.host(path)) if os.path.islink(self.host(path)) else None

    def text(self, path: str) -> Optional[str]:
        """What a file has in it; None if there is no such file."""
        try:
            with open(self.host(path), encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def names(self, folder: str) -> List[str]:
        """The names in a directory, sorted; none if there is no such directory."""
        try:
            return sorted(os.listdir(self.host(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def glob(self, pattern: str) -> List[str]:
        """The paths that match, sorted."""
        found = sorted(glob.glob(glob.escape(self.root) + pattern))
        return [path[len(self.root) :] for path in found]
