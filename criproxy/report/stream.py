"""Standard error as a log: glog's lines, one record after the other."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import Optional, TextIO

from criproxy.report.record import JournalFields, Level, shortened

_AT_ONCE = 4096
"""bytes: a pipe that poll(2) calls writable has room for as many (PIPE_BUF), so writing them does not wait."""


class StreamOutput:
    """An output that is a stream (``sys.stderr`` if none is given; nowhere if that is closed)."""

    name = "standard error"
    has_fields = False

    def __init__(self, stream: Optional[TextIO] = None) -> None:
        self._stream: Optional[TextIO] = sys.stderr if stream is None else stream
        self._torn = False
        self._fd: Optional[int] = None
        self._poll = select.poll()
        try:
            self._fd = self._stream.fileno() if self._stream is not None else None
        except (OSError, ValueError):  # a stream without a file, as tests have
            return
        if self._fd is not None:
            self._poll.register(self._fd, select.POLLOUT)

    def write(self, level: Level, text: str, fields: JournalFields) -> bool:
        """Writes a record. Says whether all of it is written. Never waits, never raises OSError."""
        del fields  # a line has none
        if self._stream is None:
            return True
        record = _line(level.letter, text)
        if self._torn:
            record = b"\n" + record
        written = 0
        try:
            if self._fd is None:
                self._stream.write(record.decode())
                self._stream.flush()
                return True
            while written < len(record) and self._poll.poll(0):
                written += os.write(self._fd, record[written : written + _AT_ONCE])
        except (OSError, ValueError):  # ValueError: the stream is closed
            pass
        if written:
            self._torn = written < len(record)
        return written == len(record)


def _line(letter: str, text: str) -> bytes:
    now = time.time()
    stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now))
    record = shortened(f"{letter}{stamp}.{int(now % 1 * 1e6):06d} {os.getpid():7d} criproxy] {text}")
    return record if record.endswith(b"\n") else record + b"\n"
