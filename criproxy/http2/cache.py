"""What is remembered to be faster, within a bound of bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Dict, TypeVar

K = TypeVar("K")
V = TypeVar("V")
ENTRY = 256
"""What an entry takes beside what it holds, bytes: its places in two tables, and the objects' heads."""


class Cache(OrderedDict[K, V]):
    """A table of at most ``limit`` bytes: what was kept first goes first.

    A value that is larger than an eighth of that is not kept: it would push everything else out.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.size = 0
        """bytes"""
        self._sizes: Dict[K, int] = {}

    def keep(self, key: K, value: V, size: int) -> None:
        """Keeps a value that takes so many bytes, as the last one."""
        size += ENTRY
        self.drop(key)
        if size > self.limit // 8:
            return
        while self.size + size > self.limit:
            self.drop(next(iter(self)))
        self[key] = value
        self._sizes[key] = size
        self.size += size

    def drop(self, key: K) -> None:
        """Keeps it no longer, if it is kept."""
        if key in self._sizes:
            self.size -= self._sizes.pop(key)
            del self[key]

    def clear(self) -> None:
        """Keeps nothing."""
        super().clear()
        self._sizes.clear()
        self.size = 0
