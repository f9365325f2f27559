"""Who is at the other end of a unix socket."""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

_UCRED: Final = struct.Struct("iII")
"""``struct ucred``: pid, uid, gid (unix(7), SO_PEERCRED)."""
_NAME: Final = 64
"""bytes read of a process's name; the kernel keeps 15."""


class Peer(NamedTuple):
    """A process as it was when it connected; others may have got its socket since."""

    pid: int
    """0 for one in a PID namespace that is not below ours."""
    uid: int
    gid: int

    def __str__(self) -> str:
        """``pid 123 (kubelet), uid 0``. The name is the process's own to choose: it is a hint, not a proof."""
        name = name_of(self.pid)
        who = f"pid {self.pid}" if self.pid else "a process of another PID namespace"
        group = f", gid {self.gid}" if self.uid else ""
        return f"{who}{f' ({name})' if name else ''}, uid {self.uid}{group}"


def peer_of(sock: socket.socket) -> Peer:
    """Who has connected to a unix socket, or listens on the one that it is connected to. Raises OSError."""
    return Peer(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def name_of(pid: int) -> str:
    """The name of a process; empty if it is gone or hidden."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read(_NAME).removesuffix(b"\n").decode(errors="backslashreplace")
    except OSError:
        return ""
