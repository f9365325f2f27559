"""The tables of fields that a field block may refer to (RFC 7541, section 2.3): the static and a dynamic one."""

from __future__ import annotations

from collections import deque
from typing import Deque, Final, Tuple

TABLE_SIZE: Final = 4_096
"""bytes of the dynamic table until SETTINGS_HEADER_TABLE_SIZE says otherwise (RFC 9113, section 6.5.2)."""
OVERHEAD: Final = 32
"""What a field counts beside its name and value (RFC 7541, section 4.1; RFC 9113, section 6.5.2), bytes."""

STATIC: Final[Tuple[Tuple[bytes, bytes], ...]] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
)
"""RFC 7541, appendix A, from index 1 on."""


class DynamicTable:
    """What one peer's blocks have added, the newest first (RFC 7541, sections 2.3.2 and 4)."""

    __slots__ = ("_entries", "_limit", "_size")

    def __init__(self) -> None:
        self._entries: Deque[Tuple[bytes, bytes]] = deque()
        self._limit = TABLE_SIZE
        self._size = 0

    def add(self, name: bytes, value: bytes) -> None:
        """Puts a field before all others, which go, the oldest first, as far as it takes their place."""
        size = len(name) + len(value) + OVERHEAD
        self._shrink(self._limit - size)
        # One that is larger than the table empties it, and is not in it.
        if size <= self._limit:
            self._entries.appendleft((name, value))
            self._size += size

    def resize(self, limit: int) -> None:
        """The table may have so many bytes."""
        self._limit = limit
        self._shrink(limit)

    def field(self, index: int) -> Tuple[bytes, bytes]:
        """The field with this index, of which the first is the one behind `STATIC`'s last. Raises IndexError."""
        at = index - len(STATIC) - 1
        if at < 0:
            raise IndexError(f"index {index} in the dynamic table")
        return self._entries[at]

    def _shrink(self, size: int) -> None:
        while self._size > size and self._entries:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + OVERHEAD
