"""The socket that kubelet connects to: our own at a path, or the one that systemd holds for us."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import closing, contextmanager
from typing import Iterator, Sequence, Tuple

_BACKLOG = 512
_UMASK = 0o117
"""Leaves 0660 of a socket's mode."""


class SocketError(Exception):
    """The socket to listen on cannot be had. The text names it and says why."""


class Listening:
    """A socket that listens at ``path``. Its file goes with it if it is our own."""

    def __init__(self, sock: socket.socket, path: str, inherited: bool) -> None:
        self.sock = sock
        self.path = path
        self.inherited = inherited
        self._identity = (0, 0) if inherited else _identity(os.stat(path))

    def release(self) -> None:
        """Removes the socket's file, unless somebody has put another in its place.

        systemd's own stays, and so do the connections that wait in it: they are for the process that comes next.
        """
        if self.inherited:
            return
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if _identity(found) == self._identity:
            os.unlink(self.path)


def _identity(found: os.stat_result) -> Tuple[int, int]:
    return found.st_dev, found.st_ino


def inherited(fds: Sequence[int]) -> Listening:
    """The socket that systemd has handed over; its path and its mode are what the socket's unit says.

    Raises SocketError if it is none that kubelet could connect to.
    """
    if len(fds) != 1:
        raise SocketError(f"systemd has handed over {len(fds)} sockets, and there is a use for one")
    try:
        sock = socket.socket(fileno=fds[0])
    except OSError as error:
        raise SocketError(f"what systemd has handed over is no socket: {error.strerror}") from error
    os.set_inheritable(fds[0], False)
    kind = (sock.family, sock.type, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if kind != (socket.AF_UNIX, socket.SOCK_STREAM, 1):
        raise SocketError("what systemd has handed over is no unix stream socket that listens")
    return Listening(sock, os.fsdecode(sock.getsockname()), True)


def listen(path: str) -> Listening:
    """A socket of mode 0660 at ``path``. A socket file that nobody serves is replaced. Raises SocketError."""
    try:
        with _locked(os.path.dirname(path) or "."):
            _clear(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(_UMASK)
            try:
                sock.bind(path)
            finally:
                os.umask(before)
            sock.listen(_BACKLOG)
            return Listening(sock, path, False)
    except OSError as error:
        raise SocketError(f"cannot listen on {path}: {error.strerror}") from error


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Holds a lock on a directory, so that of two that find a dead socket one replaces it, not both."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _clear(path: str) -> None:
    """Removes a socket file that nobody serves. Raises SocketError if there is anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketError(f"cannot listen on {path}: a file that is no socket is in the way; it is left alone")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result == errno.ECONNREFUSED:
        os.unlink(path)
    elif result in (0, errno.EAGAIN):
        raise SocketError(f"cannot listen on {path}: another process serves it")
    else:
        raise SocketError(f"cannot listen on {path}: {os.strerror(result)}; the file is left alone")
