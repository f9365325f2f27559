"""What systemd and a service of its tell each other: sockets handed over, readiness, status, the watchdog.

python-systemd speaks for us where it is installed. From PyPI it is to be had only where there are a compiler and
libsystemd's headers, and a package with everything inside has neither: there the two calls are made here.
"""

from __future__ import annotations

import os
import socket
import time
from functools import cache
from importlib import import_module
from typing import Any, List, Mapping, Optional

from criproxy.report.log import Log
from criproxy.report.yaml import escape

_FIRST_FD = 3
"""SD_LISTEN_FDS_START."""
_LONGEST_STATUS = 2000
"""bytes: systemd ignores a datagram of more than 4096."""


class Service:
    """This process as systemd sees it. Where there is no systemd nobody is told anything."""

    def __init__(self, environ: Mapping[str, str], log: Log) -> None:
        self._environ = environ
        self._log = log
        self._failed = False
        self._status = ""

    def listening_fds(self) -> List[int]:
        """The descriptors that systemd has handed over (sd_listen_fds(3))."""
        if "LISTEN_FDS" not in self._environ:
            return []
        return _listen_fds(self._environ)

    @property
    def watchdog_interval(self) -> Optional[float]:
        """How often the watchdog is to be fed, seconds; None if there is none (sd_watchdog_enabled(3))."""
        usec = self._environ.get("WATCHDOG_USEC", "")
        if not usec.isdecimal() or int(usec) == 0:
            return None
        if self._environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        return int(usec) / 2e6

    def ready(self) -> None:
        """It serves: what has waited for it may go on."""
        self._tell("READY=1")

    def status(self, text: str) -> None:
        """Shows a line in ``systemctl status``."""
        status = escape(text).encode(errors="replace")[:_LONGEST_STATUS].decode(errors="ignore")
        if status != self._status:
            self._status = status
            self._tell(f"STATUS={status}")

    def reloading(self) -> None:
        """It reads its configuration again, until it is `ready`."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It ends."""
        self._tell("STOPPING=1")

    def feed_watchdog(self) -> None:
        """It is alive."""
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        address = self._environ.get("NOTIFY_SOCKET", "")
        if not address:
            return
        try:
            _notify(address, state)
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._log.warning(f"cannot tell systemd {state.partition('=')[0]}: {error.strerror}")


@cache
def _library() -> Any:
    """python-systemd; None where it is not installed."""
    try:
        return import_module("systemd.daemon")
    except ImportError:
        return None


def _notify(address: str, state: str) -> None:
    """sd_notify(3). It waits for the socket, which PID 1 reads before all else."""
    library = _library()
    if library is not None:
        library.notify(state)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # "@": an abstract socket, whose name begins with a zero.
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def _listen_fds(environ: Mapping[str, str]) -> List[int]:
    """sd_listen_fds(3)."""
    library = _library()
    if library is not None:
        return list(library.listen_fds())
    count = environ["LISTEN_FDS"]
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    return list(range(_FIRST_FD, _FIRST_FD + int(count)))
