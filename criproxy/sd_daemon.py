"""The two functions of python-systemd's ``systemd.daemon`` that are needed, for where that cannot be installed.

criproxy-nodeps has no libsystemd, and from PyPI python-systemd takes a compiler and libsystemd's headers.
"""

from __future__ import annotations

import os
import socket
from typing import List

_FIRST_FD = 3
"""SD_LISTEN_FDS_START."""


def notify(status: str) -> bool:
    """sd_notify(3): whether there is anybody to tell. Raises OSError. It waits for PID 1, as sd_notify does."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # "@": an abstract socket, whose name begins with a zero.
        sock.sendto(status.encode(), "\0" + address[1:] if address.startswith("@") else address)
    return True


def listen_fds() -> List[int]:
    """sd_listen_fds(3)."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    return list(range(_FIRST_FD, _FIRST_FD + int(count)))
