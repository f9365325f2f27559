"""The log: one record a line, in the shape that the Go program's logging library gave it, so that what reads the one
reads the other; calls with their messages as YAML below.

What is logged at which verbosity is the callers' business (`Loud` of ``cri.methods``): 2 failed calls, 3 what changes
something, 4 states, 5 lists. Information, warnings and errors are always written.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Optional, TextIO

from criproxy.report import yaml

FAILED_CALLS = 2
MAX_RECORD = 64 * 1024
"""The longest record, bytes; what is beyond is left out, and said to be."""

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
# A runtime's error text must not look like a record of its own.
_ESCAPED = {number: f"\\x{number:02x}" for number in (*range(32), *range(127, 160))}
_ESCAPED.update({ord("\n"): "\\n", ord("\t"): "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"})


class Log:
    """Writes records of at most this verbosity to a stream (standard error)."""

    def __init__(self, verbosity: int, stream: Optional[TextIO] = None) -> None:
        self.verbosity = verbosity
        self._stream = sys.stderr if stream is None else stream

    def enabled(self, level: int) -> bool:
        """Whether what belongs to this level is written."""
        return level <= self.verbosity

    def info(self, text: str) -> None:
        """A fact of the process's life."""
        self._write("I", _one_line(text))

    def warning(self, text: str) -> None:
        """Something that somebody should look at one day."""
        self._write("W", _one_line(text))

    def error(self, text: str) -> None:
        """Something that does not work."""
        self._write("E", _one_line(text))

    def enter(self, path: str, message: str, body: bytes) -> None:
        """A request: its gRPC path, its message's name and serialized form."""
        self._call("ENTER", path, message, body)

    def leave(self, path: str, message: str, body: bytes) -> None:
        """A message of an answer."""
        self._call("LEAVE", path, message, body)

    def fail(self, path: str, code: int, text: str) -> None:
        """A call that has ended with this gRPC status."""
        if self.enabled(FAILED_CALLS):
            name = _CODES[code] if 0 <= code < len(_CODES) else str(code)
            self._write("E", f"FAIL: {_one_line(path)}(): {name}: {_one_line(text)}")

    def _call(self, what: str, path: str, message: str, body: bytes) -> None:
        shown = yaml.dump(message, body, MAX_RECORD)
        below = "\n" + shown.rstrip("\n") if shown else " nothing"
        self._write("I", f"{what}: {_one_line(path)}():{below}")

    def _write(self, severity: str, text: str) -> None:
        now = time.time()
        stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now))
        record = f"{severity}{stamp}.{int(now % 1 * 1e6):06d} {os.getpid():7d} criproxy] {_bounded(text)}\n"
        # Who has closed our standard error does not want to read it; calls matter more than their log.
        with suppress(OSError, ValueError):
            self._stream.write(record)
            self._stream.flush()


def _one_line(text: str) -> str:
    return text.translate(_ESCAPED)


def _bounded(text: str) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_RECORD:
        return data.decode()
    return f"{data[:MAX_RECORD].decode('utf-8', 'ignore')}… ({len(data) - MAX_RECORD} bytes more)"
