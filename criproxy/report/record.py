"""A record of the log, and what takes it."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Sequence, Tuple

LIMIT = 64 * 1024
"""bytes: the most that a record has."""
_NOTE = 64
"""bytes: as many as the note needs that says how many are left out."""

Fields = Sequence[Tuple[str, str]]
"""What a record can be found by in the journal, as ``CRI_POD``."""


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
    """Whether it takes fields; where it does not nobody need find them out."""

    def write(self, level: Level, text: str, fields: Fields) -> bool:
        """Writes a record of one or more lines, says whether it is written whole. Never waits, never raises OSError."""


def shortened(text: str) -> bytes:
    """A record in bytes, and of one that is too long as much as fits, with a note of how much does not."""
    record = text.encode(errors="replace")
    if len(record) < LIMIT:
        return record
    kept = record[: LIMIT - _NOTE].decode(errors="ignore").encode()
    return kept + b" ... (%d bytes left out)" % (len(record) - len(kept))
