"""The log: glog's lines on standard error, which is the journal under systemd.

Verbosity, by which a caller decides whether to log a call: 2 calls that fail, 3 also requests and answers of calls
that change something, 4 also status, 5 also lists.

The daemon has one thread, and kubelet waits for it: the log must never be what it waits for. So what cannot be written
at once is lost, and the next record that can be says how many were; a standard error that nobody reads any more costs
the log and nothing else.
"""

from __future__ import annotations

import os
import select
import sys
import time
from typing import Optional, TextIO

from criproxy.report.yaml import dump, escape

LIMIT = 64 * 1024
"""bytes: the most that a record has."""
_NOTE = 64
"""bytes: as many as the note needs that says how many are left out."""

_AT_ONCE = 4096
"""bytes: as many as poll(2) promises room for in a pipe (PIPE_BUF), so that writing them does not wait."""

_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


class Log:
    """Writes records to a stream (``sys.stderr`` if none is given; nowhere if that is closed).

    Texts are one line, whatever is in them: control characters come out escaped, so nobody can make a record that we
    did not.
    """

    def __init__(self, verbosity: int, stream: Optional[TextIO] = None) -> None:
        self._verbosity = verbosity
        self._stream: Optional[TextIO] = sys.stderr if stream is None else stream
        self._lost = 0
        self._torn = False
        self._fd: Optional[int] = None
        self._poll = select.poll()
        try:
            self._fd = self._stream.fileno() if self._stream is not None else None
        except (OSError, ValueError):  # a stream without a file, as tests have
            return
        if self._fd is not None:
            self._poll.register(self._fd, select.POLLOUT)

    def enabled(self, level: int) -> bool:
        """Whether what belongs to this verbosity is to be logged."""
        return level <= self._verbosity

    def info(self, text: str) -> None:
        """Logs a line, at any verbosity."""
        self._record("I", escape(text))

    def warning(self, text: str) -> None:
        """Logs a line about something that is not as it should be, at any verbosity."""
        self._record("W", escape(text))

    def error(self, text: str) -> None:
        """Logs a line about something that failed, at any verbosity."""
        self._record("E", escape(text))

    def enter(self, path: str, message: str, body: bytes) -> None:
        """Logs a call's request: ``body`` is the serialized CRI message called ``message``."""
        self._record("I", f"ENTER: {escape(path)}():\n{dump(message, body)}")

    def leave(self, path: str, message: str, body: bytes) -> None:
        """Logs a call's answer, likewise."""
        self._record("I", f"LEAVE: {escape(path)}():\n{dump(message, body)}")

    def fail(self, path: str, code: int, text: str) -> None:
        """Logs, from verbosity 2 on, that a call ends with this gRPC status."""
        if self.enabled(2):
            name = _CODES[code] if 0 <= code < len(_CODES) else str(code)
            self._record("E", f"FAIL: {escape(path)}(): {name}: {escape(text)}")

    def _record(self, letter: str, text: str) -> None:
        if self._lost:
            said = self._write(_line("W", f"{self._lost} records are lost: standard error did not take them"))
            if not said:
                self._lost += 1
                return
            self._lost = 0
        if not self._write(_line(letter, text)):
            self._lost += 1

    def _write(self, record: bytes) -> bool:
        """Writes a record, says whether it is written whole. Never waits, never raises OSError."""
        if self._stream is None:
            return True
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
    record = f"{letter}{stamp}.{int(now % 1 * 1e6):06d} {os.getpid():7d} criproxy] {text}".encode(errors="replace")
    if len(record) >= LIMIT:
        kept = record[: LIMIT - _NOTE].decode(errors="ignore").encode()
        record = kept + b" ... (%d bytes left out)" % (len(record) - len(kept))
    return record if record.endswith(b"\n") else record + b"\n"
