"""What is remembered to be faster, within a bound of bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Callable, Dict, Final, Generic, Hashable, List, Optional, Tuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
ENTRY: Final = 256
"""What an entry takes beside what it holds, bytes: its places in two tables, and the objects' heads."""


class Cache(Generic[K, V]):
    """A table of at most ``limit`` bytes: what was kept first goes first.

    A value that is larger than an eighth of that is not kept: it would push everything else out.
    """

    __slots__ = ("_sizes", "_values", "get", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """bytes"""
        self._values: OrderedDict[K, V] = OrderedDict()
        self._sizes: Dict[K, int] = {}
        self.get: Callable[[K], Optional[V]] = self._values.get
        """What is kept for a key, or None. The table's own method: one of Python's would take as long again."""

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, key: K, value: V, size: int) -> None:
        """Keeps a value that takes so many bytes, as the last one."""
        size += ENTRY
        self.drop(key)
        if size > self.limit // 8:
            return
        while self.size + size > self.limit:
            self.drop(next(iter(self._values)))
        self._values[key] = value
        self._sizes[key] = size
        self.size += size

    def items(self) -> List[Tuple[K, V]]:
        """All that is kept, what goes first first."""
        return list(self._values.items())

    def drop(self, key: K) -> None:
        """Keeps it no longer, if it is kept."""
        if key in self._sizes:
            self.size -= self._sizes.pop(key)
            del self._values[key]

    def clear(self) -> None:
        """Keeps nothing."""
        self._values.clear()
        self._sizes.clear()
        self.size = 0
