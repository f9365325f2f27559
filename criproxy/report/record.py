"""A record of the log, and what takes it."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Sequence, Tuple

LIMIT = 64 * 1024
"""bytes: the most that a record has."""
_NOTE = 64
"""bytes: room for the note that says how many bytes are left out."""

JournalFields = Sequence[Tuple[str, str]]
"""Fields by which a record is found in the journal, such as ``CRI_POD``, with their values."""


class Level(NamedTuple):
    """How serious a record is: glog's letter, and syslog's priority."""

    letter: str
    priority: int


INFO = Level("I", 6)
WARNING = Level("W", 4)
ERROR = Level("E", 3)
REFUSAL = Level("E", 4)
"""A call that fails because of what it asks for."""


class Output(Protocol):
    """Where records go."""

    name: str
    has_fields: bool
    """Whether it takes fields. If not, they need not be found out."""

    def write(self, level: Level, text: str, fields: JournalFields) -> bool:
        """Writes a record of one or more lines. Says whether it is written whole. Never waits or raises OSError."""


def shortened(text: str) -> bytes:
    """A record in bytes. One that is too long is cut, with a note of how many bytes are left out."""
    record = text.encode(errors="replace")
    if len(record) < LIMIT:
        return record
    kept = record[: LIMIT - _NOTE].decode(errors="ignore").encode()
    return kept + b" ... (%d bytes left out)" % (len(record) - len(kept))
