"""What systemd and its service tell each other: sockets, readiness, status, the watchdog.

python-systemd speaks for us where it is installed.
"""

from __future__ import annotations

import os
import time
from typing import List, Mapping, Optional

from criproxy.report.log import Log
from criproxy.text import escape

try:
    from systemd import daemon as sd_daemon  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:
    from criproxy import sd_daemon

_LONGEST_STATUS = 2000
"""bytes: systemd ignores a datagram of more than 4096."""


class SystemdService:
    """This process as a service of systemd's. Without systemd it tells nobody anything."""

    def __init__(self, environ: Mapping[str, str], log: Log) -> None:
        self._environ = environ
        self._log = log
        self._failed = False
        self._status = ""

    def listening_fds(self) -> List[int]:
        """The descriptors that systemd has passed (sd_listen_fds(3))."""
        return list(sd_daemon.listen_fds())

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
        """It serves. Units that are ordered after it may start."""
        self._tell("READY=1")

    def status(self, text: str) -> None:
        """Shows a line in ``systemctl status``."""
        status = escape(text).encode(errors="replace")[:_LONGEST_STATUS].decode(errors="ignore")
        if status != self._status:
            self._status = status
            self._tell(f"STATUS={status}")

    def reloading(self) -> None:
        """It reads its configuration again, and calls `ready` when it is done."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It ends."""
        self._tell("STOPPING=1")

    def feed_watchdog(self) -> None:
        """It is alive."""
        self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        try:
            sd_daemon.notify(state)
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._log.warning(f"cannot tell systemd {state.partition('=')[0]}: {error.strerror}")
