"""Changes of a node's files, each made whole or not at all, and on the disk when it is done.

A new content is written beside its place, brought to the disk, and renamed; the folder is brought to the disk after it
(rename(2) alone promises no order). Every method may raise OSError, with the node's path in it.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Dict, List, Mapping, Optional

from criproxy.node.tree import Tree, naming

STAGED = ".criproxy-new"
"""Ends the name of a file that is about to take the place of another."""
SAVED = ".criproxy-saved"
"""Ends the name of a copy of what somebody had made of a file of ours."""
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What fsync() says of folders on file systems that have it for files only."""
_OF_CONTENT = ("security.evm", "security.ima")
"""Extended attributes that vouch for a content: they say nothing of another."""


@dataclass(frozen=True)
class Before:
    """What stands, or stood, at a path: a file's content (base64) or where a link leads to."""

    content: str
    link: str
    mode: int
    uid: int
    gid: int
    attributes: Mapping[str, str] = field(default_factory=dict, compare=False)
    """A file's extended attributes (base64) by their names, as its access list and its SELinux label (xattr(7))."""
    extra: Dict[str, Any] = field(default_factory=dict, compare=False)
    """What a newer release has written of it."""

    @property
    def data(self) -> bytes:
        """A file's content; nothing of a link."""
        return base64.b64decode(self.content)


def new_file(data: bytes, like: Optional[Before] = None, mode: int = 0o644) -> Before:
    """A file with this content, and with the mode, the owner and the attributes of the file that it replaces, if it
    does."""
    content = base64.b64encode(data).decode()
    if like is None or like.link:
        return Before(content, "", mode, os.geteuid(), os.getegid())
    kept = {name: value for name, value in like.attributes.items() if name not in _OF_CONTENT}
    return Before(content, "", like.mode, like.uid, like.gid, kept)


class Files:
    """Changes the files of a node."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def seen(self, path: str) -> Optional[Before]:
        """What stands at a path; None if there is nothing. What is neither a file nor a link is an error."""
        with naming(path):
            try:
                host = self._tree.host(path)
                found = os.lstat(host)
            except (FileNotFoundError, NotADirectoryError):
                return None
            content, attributes = b"", {}
            if stat.S_ISREG(found.st_mode):
                with open(host, "rb") as file:
                    content, attributes = file.read(), _attributes(file.fileno())
            elif not stat.S_ISLNK(found.st_mode):
                raise OSError(errno.EINVAL, "it is neither a file nor a link: move it away")
            link = os.readlink(host) if stat.S_ISLNK(found.st_mode) else ""
        mode = stat.S_IMODE(found.st_mode)
        return Before(base64.b64encode(content).decode(), link, mode, found.st_uid, found.st_gid, attributes)

    def put(self, path: str, wanted: Before) -> None:
        """Lets this stand at a path, in the place of what stands there."""
        self.stage(path, wanted)
        self.install(path)

    def stage(self, path: str, wanted: Before) -> None:
        """Writes what is to stand at a path beside it: all that takes room on the disk."""
        self.clear(path)
        with naming(path):
            staged = self._tree.host(path) + STAGED
            try:
                if wanted.link:
                    os.symlink(wanted.link, staged)
                    if not _owns(os.lstat(staged), wanted):
                        os.lchown(staged, wanted.uid, wanted.gid)
                else:
                    fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                    with open(fd, "wb") as file:
                        _fill(file, wanted)
            except OSError:
                with suppress(OSError):  # the first error counts
                    os.unlink(staged)
                raise

    def install(self, path: str) -> None:
        """Lets what was staged take its place."""
        with naming(path):
            host = self._tree.host(path)
            os.replace(host + STAGED, host)
            _sync(os.path.dirname(host))

    def overwrite(self, path: str, wanted: Before) -> None:
        """Gives the file at a path this content where it lies, for there is no room for a second one.

        If the power fails meanwhile, parts of both are in it: the whole must be somewhere else. Room for all of it is
        had, or refused, before the first byte is changed.
        """
        with naming(path):
            fd = os.open(self._tree.host(path), os.O_RDWR | os.O_NOFOLLOW)
            with open(fd, "wb") as file:
                data = wanted.data
                if data:
                    os.posix_fallocate(fd, 0, len(data))
                os.ftruncate(fd, len(data))
                _fill(file, wanted)

    def clear(self, path: str) -> None:
        """Removes what was staged for a path when somebody was stopped."""
        if self._tree.exists(path + STAGED):  # a disk that can only be read refuses to remove nothing, too
            with naming(path):
                os.unlink(self._tree.host(path) + STAGED)

    def remove(self, path: str) -> None:
        """Removes a file or a link, if it is there."""
        if self._tree.exists(path):
            with naming(path):
                host = self._tree.host(path)
                os.unlink(host)
                _sync(os.path.dirname(host))

    def free_name(self, path: str) -> str:
        """Where what stands at a path can be set aside: a name that nothing has yet."""
        name, number = path + SAVED, 1
        while self._tree.exists(name):
            number += 1
            name = f"{path}{SAVED}.{number}"
        return name

    def move(self, path: str, name: str) -> None:
        """Gives what stands at a path another name in its folder."""
        with naming(path):
            host = self._tree.host(path)
            os.replace(host, self._tree.host(name))
            _sync(os.path.dirname(host))

    def missing(self, folder: str) -> List[str]:
        """The directories that are to be made for this one to be there, in that order."""
        folder, found = self._tree.real(folder), []
        while folder != "/" and not self._tree.is_folder(folder):
            found.append(folder)
            folder = os.path.dirname(folder)
        return found[::-1]

    def make_folder(self, folder: str) -> None:
        """Makes one directory."""
        with naming(folder):
            host = self._tree.host(folder)
            os.mkdir(host, 0o755)
            _sync(os.path.dirname(host))

    def remove_folder(self, folder: str) -> None:
        """Removes an empty directory."""
        with naming(folder):
            host = self._tree.host(folder)
            os.rmdir(host)
            _sync(os.path.dirname(host))


def _fill(file: BinaryIO, wanted: Before) -> None:
    file.write(wanted.data)
    file.flush()
    fd = file.fileno()
    if not _owns(os.fstat(fd), wanted):
        os.fchown(fd, wanted.uid, wanted.gid)
    os.fchmod(fd, wanted.mode)  # after chown(), which takes bits away
    _attach(fd, wanted.attributes)
    os.fsync(fd)


def _attributes(fd: int) -> Dict[str, str]:
    try:
        return {name: base64.b64encode(os.getxattr(fd, name)).decode() for name in os.listxattr(fd)}
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
    return {}


def _attach(fd: int, wanted: Mapping[str, str]) -> None:
    """Gives a file those attributes that it does not have already. A file system that has none cannot keep them."""
    there = _attributes(fd) if wanted else {}
    for name, value in wanted.items():
        if there.get(name) == value:
            continue
        try:
            os.setxattr(fd, name, base64.b64decode(value))
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise


def _owns(found: os.stat_result, wanted: Before) -> bool:
    return (found.st_uid, found.st_gid) == (wanted.uid, wanted.gid)


def _sync(folder: str) -> None:
    fd = os.open(folder or "/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(fd)
