"""The sockets that we listen on: kubelet's, our own at a path or the one that systemd holds for us, the control
socket, and that of the metrics.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import closing, contextmanager, suppress
from typing import Iterator, Sequence, Tuple

from criproxy.address import host_and_port, path_of

_BACKLOG = socket.SOMAXCONN
"""Connections that may wait to be taken; the kernel may allow fewer (net.core.somaxconn)."""
_OF_A_GROUP = 0o660
_OF_ITS_OWNER = 0o600
_EVERYBODYS = 0o666
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link"}
"""What may be at the socket's path instead, by its type; anything else is called a file."""


class SocketError(Exception):
    """There is no socket to listen on. The text names it and says why."""


class Listening:
    """A socket that listens at ``path``. If it is our own, its file goes with it."""

    def __init__(self, sock: socket.socket, path: str, inherited: bool) -> None:
        self.sock = sock
        self.path = path
        self.inherited = inherited
        self._identity = (0, 0) if inherited else _identity(os.stat(path))

    @property
    def gid(self) -> int:
        """The group that the socket's file belongs to; -1 if that is not there."""
        try:
            return os.stat(self.path).st_gid
        except (OSError, ValueError):  # ValueError: an abstract socket
            return -1

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
    """The socket that systemd has passed (sd_listen_fds(3)); the socket's unit says its path and mode.

    Raises SocketError if kubelet could not connect to it.
    """
    if len(fds) != 1:
        raise SocketError(f"systemd passed {len(fds)} sockets; exactly one is expected")
    try:
        sock = socket.socket(fileno=fds[0])
    except OSError as error:
        raise SocketError(f"systemd passed something that is not a socket: {error.strerror}") from error
    os.set_inheritable(fds[0], False)
    kind = (sock.family, sock.type, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if kind != (socket.AF_UNIX, socket.SOCK_STREAM, 1):
        raise SocketError("the socket that systemd passed is not a listening unix stream socket (ListenStream=PATH)")
    return Listening(sock, os.fsdecode(sock.getsockname()), True)


def listen(path: str, gid: int = -1) -> Listening:
    """A socket of mode 0660 at ``path``, of this group, or of the process's own (-1).

    It replaces a socket file that nobody serves. Raises SocketError.
    """
    return _listen(path, gid, _OF_A_GROUP, "--listen")


def listen_for_control(path: str) -> Listening:
    """A socket of mode 0600 at ``path``; its folder is made if that alone is missing, as systemd makes the service's.

    It replaces a socket file that nobody serves. Raises SocketError.
    """
    folder = os.path.dirname(path) or "."
    try:
        with suppress(FileExistsError):
            os.mkdir(folder, 0o755)
    except OSError as error:
        raise SocketError(f"cannot listen on {path}: {folder}: {error.strerror}") from error
    return _listen(path, -1, _OF_ITS_OWNER, "--control")


def listen_for_metrics(address: str) -> Listening:
    """A socket at ``unix:PATH``, to which everybody may connect, or at HOST:PORT. Raises SocketError."""
    if address.startswith("unix:"):
        return _listen(path_of(address), -1, _EVERYBODYS, "--metrics-listen")
    host, port = host_and_port(address)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise SocketError(f"cannot listen on {address}: {error.strerror}") from error
    return Listening(sock, address, inherited=True)  # there is no file that would go with it


def _listen(path: str, gid: int, mode: int, option: str) -> Listening:
    try:
        with _locked(os.path.dirname(path) or "."):
            _clear(path, option)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o777 & ~mode)
            try:
                sock.bind(path)
            finally:
                os.umask(before)
            if gid != -1:  # The service may not call chown(2), and has no need to.
                # Nobody can connect before listen(2), whatever the group is until then.
                _give(path, gid)
            sock.listen(_BACKLOG)
            return Listening(sock, path, False)
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in (None, path) else ""
        raise SocketError(f"cannot listen on {path}: {where}{error.strerror}") from error


def _give(path: str, gid: int) -> None:
    try:
        os.chown(path, -1, gid, follow_symlinks=False)
    except OSError as error:
        os.unlink(path)
        raise SocketError(
            f"cannot give {path} to the group {gid}: {error.strerror}; run criproxy as root or as a member of the group"
        ) from error


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Holds a lock on a directory, so that only one of two processes replaces a dead socket."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _clear(path: str, option: str) -> None:
    """Removes a socket file that nobody serves. Raises SocketError if there is anything else.

    ``option``: what sets the path.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a file")
        raise SocketError(f"cannot listen: {path} is {kind}, not a socket; remove it or set another path with {option}")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result == errno.ECONNREFUSED:
        os.unlink(path)
    elif result in (0, errno.EAGAIN):
        raise SocketError(f"cannot listen on {path}: another process serves it")
    else:
        raise SocketError(f"cannot listen on {path}: {os.strerror(result)}; the file is left alone")
