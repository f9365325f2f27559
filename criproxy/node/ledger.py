"""Changes of a node's files, registered before they are made, so that each can be undone whenever we are stopped.

The ledger is one file. A change's entry says what stood at its path before criproxy came (nothing, a file, a link) and
what we have put there. An entry is on the disk before the file that it speaks of is touched; a second change of the
same path keeps the first one's *before*. So the node can be restored from the ledger, after a crash or a year.

It may hold more than there is to undo (its last change was not made, or is undone already), never less: undoing what
is undone changes nothing. So a disk on which the ledger cannot be written stops changes, but not their undoing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Dict, Iterator, List, Optional, Sequence

from criproxy.node.entries import Entry, digest, entry_of, has_content, is_generated, plain, sha, take, take_texts
from criproxy.node.files import SAVED, STAGED, Before, Files, new_file
from criproxy.node.kubelet import NodeError
from criproxy.node.tree import Tree, naming

__all__ = ["DIST", "FOLDER", "SAVED", "Before", "Entry", "How", "Ledger", "Undone", "Written"]

FOLDER = "/var/lib/criproxy"
DIST = ".criproxy-dist"
"""Ends the name of a file of ours that lies beside its place, where somebody's edited one is in force."""
_FILE = f"{FOLDER}/node.json"
_OLD_LOCK = f"{FOLDER}/lock"
"""What earlier releases locked."""
LOCKED = "/etc"
"""What we lock: it is there on each node, and nobody removes it or puts another in its place."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_USE = (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
"""What rmdir() says of a directory that is somebody else's by now, or gone."""


class Written(Enum):
    """What became of a text that was to be written."""

    UNCHANGED = "unchanged"
    """It was there."""
    CHANGED = "changed"
    """It is there now."""
    BESIDE = "beside"
    """Somebody has edited the file: his stays in force, and ours lies beside it, at the path with `DIST`."""


class How(Enum):
    """What became of a path whose change was to be undone."""

    REMOVED = "removed {path}"
    """There was nothing before, and there is nothing now."""
    RESTORED = "restored {path}"
    """What was there before is there again."""
    UNCHANGED = "{path} is as before already"
    NOT_REMOVED = "could not remove {path}: {error}"
    NOT_RESTORED = "could not restore {path}: {error}"


@dataclass(frozen=True)
class Undone:
    """What became of one path. As a text: a line that says so."""

    path: str
    how: How
    copy: str = ""
    """Where that is now which somebody had made of our file; empty if nobody had."""
    error: str = ""
    """Why it could not be."""

    @property
    def failed(self) -> bool:
        """Whether the path is not, or not for sure, as it was before. Its entry stays registered."""
        return self.how in (How.NOT_REMOVED, How.NOT_RESTORED)

    def __str__(self) -> str:
        line = self.how.value.format(path=self.path, error=self.error)
        return f"{line}; the edited version is in {self.copy}" if self.copy else line


@dataclass(frozen=True)
class _Was:
    """How a path was before this run changed it."""

    now: Optional[Before]
    known: Optional[Entry]
    copy: str = ""
    """Where that is now."""


class Ledger:
    """The registered changes of a node.

    Every method may raise OSError, with the node's path in it, unless it says otherwise; the change is not made then.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._files = Files(tree)
        self.entries: Dict[str, Entry] = {}
        self.folders: List[str] = []
        """Directories that we have made, in that order."""
        self.enabled: List[str] = []
        """Units that we have enabled."""
        self.owed: List[str] = []
        """Units to restart: what runs of them may be older than their files."""
        self.kept: List[str] = []
        """Files of the operator's that we have written: a staged one may be left beside them."""
        self.laid: List[str] = []
        """What this run has laid beside an edited file, or changed there."""
        self._extra: Dict[str, Any] = {}
        self._run: Dict[str, _Was] = {}
        self._run_folders: List[str] = []
        self._unsaved = False
        text = tree.text(_FILE)
        if text is not None:
            self._load(text)
        self._owed_before, self._kept_before = list(self.owed), list(self.kept)

    @classmethod
    def read(cls, tree: Tree) -> Ledger:
        """The ledger for a look: somebody may be changing it. Raises NodeError for a damaged one."""
        return cls(tree)

    @classmethod
    @contextmanager
    def opened(cls, tree: Tree) -> Iterator[Ledger]:
        """The ledger for changes: nobody else changes this node meanwhile.

        Raises NodeError if somebody does, and for a damaged ledger.
        """
        with locked(tree):
            ledger = cls(tree)
            try:
                yield ledger
            finally:
                ledger._close()

    def _load(self, text: str) -> None:
        try:
            found = take({"": json.loads(text)}, "", dict)
            for entry in map(entry_of, take(found, "files", list)):
                self.entries[entry.path] = entry
            self.folders, self.enabled = take_texts(found, "folders"), take_texts(found, "enabled")
            self.owed, self.kept = take_texts(found, "owed"), take_texts(found, "kept")
        except ValueError as error:
            raise NodeError(
                f"{_FILE} is damaged ({error}), so criproxy cannot tell what it changed on this node: restore it from a"
                " backup, or move it away and try again; criproxy then knows its files by their first line"
            ) from error
        self._extra = found

    @property
    def empty(self) -> bool:
        """Whether nothing is registered."""
        return not (self.entries or self.folders or self.enabled or self.owed or self.kept)

    # There.

    def write(self, path: str, text: str, foreign: bool = False) -> Written:
        """Registers and makes a change, unless somebody has edited what we had put there.

        ``foreign``: the present file is another program's leftover, not a part of the node as it was before. Nor is a
        file that criproxy has generated, as on another node from which it was copied.
        """
        now, known, data = self._files.seen(path), self.entries.get(path), _bytes(text)
        if known is not None and now is not None and not has_content(now, data) and not known.is_ours(now):
            self._lay_beside(path, data)
            return Written.BESIDE
        changed = self._write(path, data, now, foreign)
        self._drop_beside(path)
        return Written.CHANGED if changed else Written.UNCHANGED

    def _write(self, path: str, data: bytes, now: Optional[Before], foreign: bool = False) -> bool:
        known, same = self.entries.get(path), now is not None and has_content(now, data)
        if same and known is not None and known.after == sha(data):
            return False
        before = None if foreign or is_generated(now) else now
        entry = known or Entry(path, before, "")
        self._make_folders(os.path.dirname(path))
        self._run.setdefault(path, _Was(now, known))
        self.entries[path] = replace(entry, after=sha(data), earlier=digest(now))
        self.save()
        if not same:
            self._files.put(path, new_file(data, now))
        return not same

    def _lay_beside(self, path: str, data: bytes) -> None:
        beside = path + DIST
        now, known = self._files.seen(beside), self.entries.get(beside)
        if known is not None and now is not None and not has_content(now, data) and not known.is_ours(now):
            self._set_aside(beside, now)
            now = None
        if self._write(beside, data, now):
            self.laid.append(beside)

    def _drop_beside(self, path: str) -> None:
        entry = self.entries.get(path + DIST)
        if entry is not None and not self._put_back(entry.path, entry.before, entry).failed:  # or else the next time
            del self.entries[entry.path]
            self._unsaved = True

    def keep(self, path: str, text: str) -> bool:
        """Writes what is the operator's and stays when all is undone; says whether anything changed.

        A link stays one: the file is written that it leads to.
        """
        path, data = self._tree.real(path), _bytes(text)
        now = self._files.seen(path)
        if now is not None and has_content(now, data):
            return False
        if path not in self.kept:
            self.kept.append(path)
            self.save()
        self._make_folders(os.path.dirname(path))
        self._run.setdefault(path, _Was(now, self.entries.get(path)))
        self._files.put(path, new_file(data, now))
        return True

    def take_away(self, path: str) -> None:
        """Removes another program's leftover, with a copy, for somebody may have edited it."""
        now = self._files.seen(path)
        if now is not None:
            self._set_aside(path, now)

    def _set_aside(self, path: str, now: Before) -> None:
        copy = self._files.free_name(path)
        self._run.setdefault(path, _Was(now, self.entries.get(path), copy))
        self._files.move(path, copy)

    def register_enabled(self, unit: str) -> None:
        """To be called before a unit is enabled."""
        if unit not in self.enabled:
            self.enabled.append(unit)
            self.save()

    def forget_enabled(self, names: Sequence[str]) -> None:
        """The units are disabled. Raises nothing: what is still registered is disabled once more."""
        self.enabled = [name for name in self.enabled if name not in names]
        self._save_if_possible()

    def owe(self, unit: str) -> None:
        """To be called before a file of a unit that runs is changed.

        Raises nothing. A change of a file saves this entry, too, or changes nothing; the undoing of a change saves both
        at once, or else the change stays registered.
        """
        if unit not in self.owed:
            self.owed.append(unit)
            self._save_if_possible()

    def settle(self, unit: str) -> None:
        """The unit has been restarted, or need not be. Raises nothing: what is still owed is done once more."""
        if unit in self.owed:
            self.owed.remove(unit)
            self._save_if_possible()

    def save(self) -> None:
        """Brings the ledger to the disk."""
        found = {
            **self._extra,
            "files": [plain(entry) for entry in self.entries.values()],
            "folders": self.folders,
            "enabled": self.enabled,
            "owed": self.owed,
            "kept": self.kept,
        }
        self._unsaved = True
        for folder in self._files.missing(FOLDER):
            self._files.make_folder(folder)
        self._files.put(_FILE, new_file((json.dumps(found, indent=1) + "\n").encode(), mode=0o600))
        self._unsaved = False

    def _save_if_possible(self) -> None:
        with suppress(OSError):  # the one on the disk says more than there is, or the next save says it
            self.save()

    def _make_folders(self, folder: str) -> None:
        for path in self._files.missing(folder):
            self._run_folders.append(path)
            if path not in self.folders:
                self.folders.append(path)
                self.save()
            self._files.make_folder(path)

    # Back.

    def undo(self, paths: Optional[Sequence[str]] = None) -> List[Undone]:
        """Puts back what stood at these paths (all of them), the last change first; raises nothing.

        A change that cannot be undone stays registered, and the others are undone. An edited file is set aside. Changes
        whose undoing makes room on the disk come first.
        """
        wanted = set(self.entries if paths is None else (*paths, *(path + DIST for path in paths)))
        chosen = [entry for entry in reversed(list(self.entries.values())) if entry.path in wanted]
        done = []
        for entry in sorted(chosen, key=lambda entry: _room(entry.before)):
            done.append(self._put_back(entry.path, entry.before, entry))
            if not done[-1].failed:
                del self.entries[entry.path]
        if done:
            self._save_if_possible()
        return done

    def roll_back(self) -> List[Undone]:
        """Makes everything as it was when this object was made; raises nothing.

        For a change that was begun and cannot be finished. It goes on past what cannot be put back, which stays as
        it is registered now.
        """
        done = []
        for path, was in sorted(self._run.items(), key=lambda item: _room(item[1].now)):
            done.append(self._return(path, was))
            if done[-1].failed:
                continue
            del self._run[path]
            if was.known is None:
                self.entries.pop(path, None)
            else:
                self.entries[path] = was.known
        done += self._remove_folders(self._run_folders)
        self._run_folders.clear()
        self.laid.clear()
        self.owed, self.kept = list(self._owed_before), list(self._kept_before)
        if self.empty:
            return done + self._end()
        self._save_if_possible()
        return done

    def finish_undoing(self) -> List[Undone]:
        """Removes the directories that we have made, unless they are in use, and the ledger itself; raises nothing.

        The ledger stays until every change is undone.
        """
        done = []
        for path in list(self.kept):
            try:
                self._files.clear(path)
                self.kept.remove(path)
            except OSError as error:
                done.append(Undone(path + STAGED, How.NOT_REMOVED, error=_text(error)))
        done += self._remove_folders(self.folders)
        if self.entries or self.folders or self.kept:
            self._save_if_possible()
            return done
        self.enabled.clear()
        self.owed.clear()
        return done + self._end()

    def _return(self, path: str, was: _Was) -> Undone:
        try:
            if was.copy and self._tree.exists(was.copy):
                self._files.move(was.copy, path)
                return Undone(path, How.RESTORED)
        except OSError as error:
            return Undone(path, How.NOT_RESTORED, error=_text(error))
        return self._put_back(path, was.now)

    def _put_back(self, path: str, before: Optional[Before], entry: Optional[Entry] = None) -> Undone:
        """Lets that stand at a path which stood there before. With an entry: somebody may have edited ours."""
        copy = ""
        try:
            self._files.clear(path)
            now = self._files.seen(path)
            edited = now != before and entry is not None and now is not None and not entry.is_ours(now)
            name = self._files.free_name(path) if edited else ""
            if entry is not None:
                self._run.setdefault(path, _Was(now, entry, name))
            if now == before:
                return Undone(path, How.UNCHANGED)
            staged = before is not None and self._stage(path, before, None if edited else now)
            if edited:
                self._files.move(path, name)
                copy = name
            if staged:
                self._files.install(path)
            elif before is None and not edited:
                self._files.remove(path)
        except OSError as error:
            return Undone(path, How.NOT_REMOVED if before is None else How.NOT_RESTORED, copy, _text(error))
        return Undone(path, How.REMOVED if before is None else How.RESTORED, copy)

    def _stage(self, path: str, before: Before, replaceable: Optional[Before]) -> bool:
        """Writes what was before beside its place, or at once into it if there is no room for both."""
        try:
            self._files.stage(path, before)
        except OSError as error:
            if error.errno not in _FULL or replaceable is None or replaceable.link or before.link:
                raise
            # What is in the way is ours, and the whole of what was before is in the ledger: if the power fails
            # meanwhile, the next undoing puts it back, and sets the mixture aside as if somebody had made it.
            self._files.overwrite(path, before)
            return False
        return True

    def _remove_folders(self, folders: Sequence[str]) -> List[Undone]:
        done = []
        for folder in reversed(list(folders)):
            try:
                if self._tree.exists(folder):
                    self._files.remove_folder(folder)
                    done.append(Undone(folder, How.REMOVED))
            except OSError as error:
                if error.errno not in _IN_USE:
                    done.append(Undone(folder, How.NOT_REMOVED, error=_text(error)))
                    continue
                if self.entries:  # of which one may be what is in it
                    continue
            if folder in self.folders:
                self.folders.remove(folder)
        return done

    def _end(self) -> List[Undone]:
        """Removes the ledger itself, and what earlier releases have left beside it."""
        try:
            self._files.clear(_FILE)
            self._files.remove(_FILE)
            self._files.remove(_OLD_LOCK)
        except OSError as error:
            return [Undone(str(error.filename), How.NOT_REMOVED, error=_text(error))]
        return [undone for undone in self._remove_folders([FOLDER]) if undone.failed]

    def _close(self) -> None:
        if self.empty:
            self._end()
        elif self._unsaved:
            self._save_if_possible()


@contextmanager
def locked(tree: Tree, folder: str = LOCKED) -> Iterator[None]:
    """Holds a lock on a directory: it needs no file of its own, which somebody would have to remove, and no disk that
    can be written. Raises NodeError if somebody else holds it."""
    with naming(folder):
        fd = os.open(tree.target(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            with naming(folder):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NodeError("another criproxy command is changing this node: try again when it has ended") from None
        yield
    finally:
        os.close(fd)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _room(before: Optional[Before]) -> int:
    """What takes more room on the disk has a greater number."""
    if before is None:
        return 0
    return 1 if before.link else 2


def _text(error: OSError) -> str:
    return error.strerror or str(error)
