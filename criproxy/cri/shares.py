"""How much of a list of all each runtime may have, so that the primary's part always fits."""

from __future__ import annotations

import math
from typing import Final, List, Sequence

from criproxy.cri.filter import count
from criproxy.cri.wire import DecodeError, field_at

MOST_STREAMED: Final = 65_536
"""The most entries of an alternative runtime's streamed list."""


def shares(room: int, sizes: Sequence[int]) -> List[int]:
    """How much each of several lists may have of the room, bytes: all that it has, or as much as every other such."""
    found = [0] * len(sizes)
    for before, index in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        found[index] = min(sizes[index], max(0, room) // (len(sizes) - before))
        room -= found[index]
    return found


def fitting(body: bytes, size: int) -> bytes:
    """As many of a list's first fields as have this size together, bytes. The list consists of whole fields."""
    at = 0
    while at < len(body):
        end = field_at(body, at, len(body))[3]
        if end > size:
            break
        at = end
    return body[:at]


class Allowance:
    """What an alternative runtime may list in one stream: entries, and bytes. A message without any counts as one."""

    __slots__ = ("_entries", "_size", "_text")

    def __init__(self, entries: int, size: float = math.inf) -> None:
        self._text = f"a runtime may list {entries} entries" + (f" and {size:.0f} bytes" if size < math.inf else "")
        self._entries = entries
        self._size = size

    def take(self, body: bytes) -> None:
        """Another message. Raises DecodeError if that is more than the runtime may list."""
        self._size -= len(body)
        self._entries -= max(1, count(body, max(self._entries, 0)))
        if self._size < 0 or self._entries < 0:
            raise DecodeError(self._text)
