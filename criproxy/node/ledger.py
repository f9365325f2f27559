"""Changes of a node's files, registered before they are made, so that each can be undone whenever we are stopped.

The ledger is one file. A change's entry says what stood at its path before criproxy came (nothing, a file, a link) and
what we have put there. An entry is on the disk before the file that it speaks of is touched; a second change of the
same path keeps the first one's *before*. So whoever reads the ledger, after a crash or a year, can put back what was.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from criproxy.node.kubelet import NodeError
from criproxy.node.tree import Tree

FOLDER = "/var/lib/criproxy"
_FILE = f"{FOLDER}/node.json"
_LOCK = f"{FOLDER}/lock"
_NEW = ".criproxy-new"
"""Ends the name of a file that is about to take the place of another."""
SAVED = ".criproxy-saved"
"""Ends the name of a copy of what somebody had made of a file of ours."""


@dataclass(frozen=True)
class Before:
    """What stood at a path: a file's content (base64) or where a link led to."""

    content: str
    link: str
    mode: int
    uid: int
    gid: int


@dataclass(frozen=True)
class Entry:
    """One path's change."""

    path: str
    before: Optional[Before]
    """None: nothing."""
    after: str
    """The SHA-256 of what we have put there."""


class Ledger:
    """The registered changes of a node. Every method that writes may raise OSError, with the file's name in it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.entries: Dict[str, Entry] = {}
        self.folders: List[str] = []
        """Directories that we have made, in that order."""
        self.enabled: List[str] = []
        """Units that we have enabled."""
        self.owed: List[str] = []
        """Units to restart: what runs of them may be older than their files."""
        self._run: List[Tuple[str, Optional[Before], Optional[Entry]]] = []
        self._run_folders: List[str] = []
        text = tree.text(_FILE)
        if text is not None:
            self._read(text)
        self._owed_before = list(self.owed)

    def _read(self, text: str) -> None:
        try:
            found = json.loads(text)
            for entry in found["files"]:
                before = Before(**entry["before"]) if entry["before"] is not None else None
                self.entries[entry["path"]] = Entry(entry["path"], before, entry["after"])
            self.folders, self.enabled = list(found["folders"]), list(found["enabled"])
            self.owed = list(found["owed"])
        except (ValueError, KeyError, TypeError) as error:
            raise NodeError(f"{_FILE} is damaged ({error}): what was changed on this node cannot be told") from error

    @property
    def empty(self) -> bool:
        """Whether nothing is registered."""
        return not (self.entries or self.folders or self.enabled or self.owed)

    def write(self, path: str, text: str, foreign: bool = False) -> bool:
        """Registers and makes a change; says whether anything changed.

        ``foreign``: what stands there now is no part of the node as it was before (another program's leftover).
        """
        data = text.encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(data).hexdigest()
        now, known = self._seen(path), self.entries.get(path)
        same = now is not None and not now.link and _digest(now) == digest
        if same and known is not None and known.after == digest:
            return False
        if known is not None and now is not None and _digest(now) != known.after and not same:
            self._set_aside(path)
        before = known.before if known is not None else None if foreign else now
        self._make_folders(os.path.dirname(path))
        self._run.append((path, now, known))
        self.entries[path] = Entry(path, before, digest)
        self.save()
        if not same:
            self._put(path, data, now)
        return not same

    def keep(self, path: str, text: str) -> bool:
        """Writes what is the operator's and stays when all is undone; says whether anything changed."""
        now, data = self._seen(path), text.encode("utf-8", "surrogateescape")
        if now is not None and base64.b64decode(now.content) == data:
            return False
        self._run.append((path, now, None))
        os.makedirs(os.path.dirname(self._tree.host(path)), 0o755, exist_ok=True)
        self._put(path, data, now)
        return True

    def take_away(self, path: str) -> None:
        """Removes another program's leftover, with a copy, for somebody may have edited it."""
        self._run.append((path, self._seen(path), None))
        self._set_aside(path)

    def roll_back(self) -> None:
        """Makes everything as it was when this object was made: a change that was begun and cannot be finished."""
        for path, now, known in reversed(self._run):
            if now is None:
                with suppress(FileNotFoundError):
                    os.unlink(self._tree.host(path))
            elif self._seen(path) != now:
                self._restore(path, now)
            if known is None:
                self.entries.pop(path, None)
            else:
                self.entries[path] = known
        self._run.clear()
        self._remove_folders(self._run_folders)
        self.folders = [folder for folder in self.folders if folder not in self._run_folders]
        self.owed = self._owed_before
        if self.empty:
            self._unlink_itself()
        else:
            self.save()

    def register_enabled(self, unit: str) -> None:
        """To be called before a unit is enabled."""
        if unit not in self.enabled:
            self.enabled.append(unit)
            self.save()

    def forget_enabled(self, names: Sequence[str]) -> None:
        """The units are disabled."""
        self.enabled = [name for name in self.enabled if name not in names]
        self.save()

    def owe(self, unit: str) -> None:
        """To be called before a file of a unit that runs is changed."""
        if unit not in self.owed:
            self.owed.append(unit)
            self.save()

    def settle(self, unit: str) -> None:
        """The unit has been restarted, or need not be."""
        if unit in self.owed:
            self.owed.remove(unit)
            self.save()

    def undo(self, path: str) -> Optional[str]:
        """Puts back what stood at a path. Gives the name of the copy if somebody had edited ours."""
        entry = self.entries[path]
        host, now = self._tree.host(path), self._seen(path)
        with suppress(FileNotFoundError):
            os.unlink(host + _NEW)
        copy = None
        if now is not None and now != entry.before and _digest(now) != entry.after:
            copy = self._set_aside(path)
        if entry.before is None:
            with suppress(FileNotFoundError):
                os.unlink(host)
        elif now != entry.before:
            self._restore(path, entry.before)
        del self.entries[path]
        self.save()
        return copy

    def finish_undoing(self) -> None:
        """Removes the directories that we have made, as far as nobody uses them, and the ledger itself."""
        self._remove_folders(self.folders)
        self.folders.clear()
        self.owed.clear()
        self._unlink_itself()

    def _remove_folders(self, folders: List[str]) -> None:
        for folder in reversed(folders):
            with suppress(OSError):  # somebody has put something there, or it is gone
                os.rmdir(self._tree.host(folder))

    def _unlink_itself(self) -> None:
        for path in (_FILE, _FILE + _NEW):
            with suppress(FileNotFoundError):
                os.unlink(self._tree.host(path))

    def _set_aside(self, path: str) -> str:
        os.replace(self._tree.host(path), self._tree.host(path + SAVED))
        return path + SAVED

    def save(self) -> None:
        """Brings the ledger to the disk."""
        found = {
            "files": [asdict(entry) for entry in self.entries.values()],
            "folders": self.folders,
            "enabled": self.enabled,
            "owed": self.owed,
        }
        os.makedirs(self._tree.host(FOLDER), 0o755, exist_ok=True)
        self._replace(_FILE, (json.dumps(found, indent=1) + "\n").encode(), 0o600)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes this node meanwhile."""
        os.makedirs(self._tree.host(FOLDER), 0o755, exist_ok=True)
        with open(self._tree.host(_LOCK), "w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NodeError("another criproxy node apply or revert is at work on this node") from None
            try:
                yield
            finally:
                if self.empty:
                    os.unlink(lock.name)
                    with suppress(OSError):  # there is something else in it
                        os.rmdir(self._tree.host(FOLDER))

    def _make_folders(self, folder: str) -> None:
        missing = []
        while not self._tree.is_folder(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            self.folders.append(path)
            self._run_folders.append(path)
            self.save()
            os.mkdir(self._tree.host(path), 0o755)

    def _seen(self, path: str) -> Optional[Before]:
        try:
            found = os.lstat(self._tree.host(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        link = self._tree.link(path)
        content = b""
        if link is None:
            with open(self._tree.host(path), "rb") as file:
                content = file.read()
        mode = stat.S_IMODE(found.st_mode)
        return Before(base64.b64encode(content).decode(), link or "", mode, found.st_uid, found.st_gid)

    def _put(self, path: str, data: bytes, now: Optional[Before]) -> None:
        mode = 0o644 if now is None or now.link else now.mode
        self._replace(path, data, mode)

    def _restore(self, path: str, before: Before) -> None:
        host = self._tree.host(path)
        if before.link:
            with suppress(FileNotFoundError):
                os.unlink(host + _NEW)
            os.symlink(before.link, host + _NEW)
            os.replace(host + _NEW, host)
            return
        self._replace(path, base64.b64decode(before.content), before.mode, (before.uid, before.gid))

    def _replace(self, path: str, data: bytes, mode: int, owner: Optional[Tuple[int, int]] = None) -> None:
        """Writes a file so that it is there whole or not at all, whenever the power fails."""
        host = self._tree.host(path)
        fd = os.open(host + _NEW, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                if owner is not None:
                    os.fchown(file.fileno(), *owner)
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(FileNotFoundError):
                os.unlink(host + _NEW)
            raise OSError(error.errno, error.strerror, path) from error
        os.replace(host + _NEW, host)


def _digest(seen: Before) -> str:
    return hashlib.sha256(base64.b64decode(seen.content)).hexdigest()
