"""Whose an id without a prefix is: the primary runtime's, or that of the runtime that was the primary one before.

What a runtime has listed, or has answered when it made something, is its own. Whose an id is that nobody has told of
yet, as after a restart, is asked (inquiry.py). Nothing is kept but in memory, so that there is nothing that could be
wrong after a restart.
"""

from __future__ import annotations

from typing import Callable, Final, Optional

from criproxy.cri.identity import Names
from criproxy.cri.verify import LONGEST_ID
from criproxy.http2.cache import Cache

_MOST: Final = 2**21
"""What ids may take, bytes: some 6,500, and a node of 110 pods has some 400."""


class UnknownOwner(Exception):
    """It has to be asked whose an id is. ``field``: the request's field that has it."""

    def __init__(self, id: bytes, field: str) -> None:
        super().__init__(id)
        self.id = id
        self.field = field


class Owners:
    """The runtimes of ids, as far as they are known."""

    def __init__(self) -> None:
        self._of: Cache[bytes, Names] = Cache(_MOST)
        self.of: Callable[[bytes], Optional[Names]] = self._of.get
        """The names of an id's runtime, or None."""

    def note(self, names: Names, id: bytes) -> None:
        """An id is this runtime's."""
        if len(id) <= LONGEST_ID and self._of.get(id) is not names:
            self._of.keep(id, names, len(id))

    @property
    def held(self) -> int:
        """The memory that is taken, bytes."""
        return self._of.size
