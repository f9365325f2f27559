"""The journal as a log: records with fields, by journald's native protocol.

python-systemd is not used here: sd_journal_sendv waits for journald, so kubelet would wait for us while journald is
slow or stuck. The protocol is small: fields in one datagram to one socket
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
"""

from __future__ import annotations

import os
import socket
from typing import Mapping

from criproxy.report.record import JournalFields, Level, shortened

SOCKET = "/run/systemd/journal/socket"
_BUFFER = 8 * 1024 * 1024
"""bytes that may wait for journald, as far as the kernel allows; the largest record must fit."""
_LONGEST_FIELD = 4096
"""characters: the values of some fields come from callers."""


class Journal:
    """An output that is journald's socket. It may come and go: each record looks for it anew."""

    name = "the journal"
    has_fields = True

    def __init__(self, path: str) -> None:
        self._path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    def write(self, level: Level, text: str, fields: JournalFields) -> bool:
        """Sends a record. Says whether journald's socket has taken it. Never waits, never raises OSError."""
        record = bytearray(_field("MESSAGE", shortened(text.rstrip("\n"))))
        record += b"PRIORITY=%d\nSYSLOG_IDENTIFIER=criproxy\n" % level.priority
        for name, value in fields:
            record += _field(name, value[:_LONGEST_FIELD].encode(errors="replace"))
        try:
            self._sock.sendto(record, self._path)
        except OSError:
            return False
        return True


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def is_stderr(environ: Mapping[str, str]) -> bool:
    """Whether standard error goes to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(2)
    except OSError:  # there is no standard error
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
