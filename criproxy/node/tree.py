"""A node's files, below a root directory that is never left."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Callable, Dict, Iterator, List, Mapping, Optional

_MAX_LINKS = 40
"""So many links are followed for one path, as by Linux (path_resolution(7))."""
_MAGIC = frozenset("*?[")
_ABSENT = (FileNotFoundError, NotADirectoryError)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Lets each OSError name this path of the node's, whatever file of ours it came from.

    A text that no path can be (it has a NUL) is one of which nothing is there.
    """
    try:
        yield
    except ValueError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


class Tree:
    """Reads files by their paths on the node; ``root`` is where the node's ``/`` is.

    Links are followed as in a chroot: an absolute one begins at ``root``, and ``..`` ends there. What cannot be read is
    not taken for absent: every method may raise OSError, with the node's path in it.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")
        self._planned: Dict[str, str] = {}
        """Texts that some files are taken to have, by their paths without a link in them."""

    def planned(self, texts: Mapping[str, str]) -> Tree:
        """The same files as they would be with these texts at these paths. Nothing is written."""
        other = Tree(self.root)
        other._planned = {**self._planned, **{self.real(path): text for path, text in texts.items()}}
        return other

    def host(self, path: str) -> str:
        """Where an entry of the node's is for us: the entry itself, be it a link."""
        return self.root + self._resolved(path, follow=False)

    def target(self, path: str) -> str:
        """Where that which a path leads to is for us."""
        return self.root + self.real(path)

    def real(self, path: str) -> str:
        """The node's path of that which a path leads to, without a link in it; nothing need be there."""
        return self._resolved(path, follow=True)

    def _resolved(self, path: str, follow: bool) -> str:
        done: List[str] = []
        rest = _parts(path)
        links = 0
        while rest:
            name = rest.pop()
            here = "/".join(("", *done, name))
            with naming(path):
                if name == "..":
                    os.lstat(f"{self.root}{here}")  # which Linux, too, has only where there is a directory
                    del done[-1:]
                    continue
                led = _link(self.root + here) if rest or follow else None
            if led is None:
                done.append(name)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if led.startswith("/"):
                done.clear()
            rest += _parts(led)
        return "/" + "/".join(done)

    def exists(self, path: str) -> bool:
        """Whether there is anything, a dangling link included."""
        return self._mode(path, self.host) is not None

    def is_folder(self, path: str) -> bool:
        """Whether it is a directory, or a link to one."""
        mode = self._mode(path, self.target)
        return mode is not None and stat.S_ISDIR(mode)

    def _mode(self, path: str, where: Callable[[str], str]) -> Optional[int]:
        try:
            if self._planned:
                real = self.real(path)
                if real in self._planned:
                    return stat.S_IFREG
                if any(other.startswith(f"{real}/") for other in self._planned):
                    return stat.S_IFDIR
            with naming(path):
                return os.lstat(where(path)).st_mode
        except OSError as error:
            if isinstance(error, _ABSENT) or error.errno == errno.ELOOP:  # behind a loop there is nothing for anybody
                return None
            raise

    def link(self, path: str) -> Optional[str]:
        """Where a symbolic link leads to; None if it is none."""
        try:
            with naming(path):
                return _link(self.host(path))
        except _ABSENT:
            return None

    def text(self, path: str) -> Optional[str]:
        """What a file has in it; None if there is no such file. Raises IsADirectoryError for a directory."""
        if self._planned and self.real(path) in self._planned:
            return self._planned[self.real(path)]
        try:
            with naming(path), open(self.target(path), encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except _ABSENT:
            return None

    def names(self, folder: str) -> List[str]:
        """The names in a directory, sorted; none if there is no such directory.

        Raises NotADirectoryError for anything else.
        """
        real = self.real(folder) if self._planned else ""
        planned = [os.path.basename(path) for path in self._planned if os.path.dirname(path) == real]
        try:
            with naming(folder):
                return sorted({*os.listdir(self.target(folder)), *planned})
        except FileNotFoundError:
            return sorted(planned)
        except NotADirectoryError:
            if self.exists(folder):
                raise
            return []

    def glob(self, pattern: str) -> List[str]:
        """The paths that match, sorted."""
        found = [""]
        for part in reversed(_parts(pattern)):
            if _MAGIC.isdisjoint(part):
                found = [f"{folder}/{part}" for folder in found]
            else:
                found = [f"{folder}/{name}" for folder in found for name in self._matching(folder or "/", part)]
        return sorted(path for path in found if self.exists(path))

    def _matching(self, folder: str, pattern: str) -> List[str]:
        if not self.is_folder(folder):
            return []
        hidden = pattern.startswith(".")
        return [
            name for name in self.names(folder) if fnmatchcase(name, pattern) and (hidden or not name.startswith("."))
        ]


def _parts(path: str) -> List[str]:
    """The names in a path, the last first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _link(host: str) -> Optional[str]:
    try:
        return os.readlink(host)
    except OSError as error:
        if isinstance(error, _ABSENT) or error.errno == errno.EINVAL:  # nothing, or no link
            return None
        raise
