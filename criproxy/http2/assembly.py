"""A field block that comes in several frames, HEADERS and CONTINUATION (RFC 9113, section 4.3)."""

from __future__ import annotations

from typing import Final, Generator, List, NamedTuple, Optional

from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.headers import Block

_SMALL_FRAGMENTS: Final = 64
_MEAN_FRAGMENT: Final = 1_024
"""A block may have so many fragments, and one more for so many bytes. Small frames that never end a block are the
CONTINUATION flood (CVE-2024-27316, CVE-2023-45288)."""
_SKIPPED: Final = 2
"""How many times the limit a block may have and still be skipped; a larger one closes the connection, on which nothing
else can arrive until the block ends."""


class UnreadBlock(NamedTuple):
    """A large block of which all has come, while it is read. ``steps`` returns it (headers.BlockDecoder.steps)."""

    stream_id: int
    end_stream: bool
    steps: Generator[None, None, Optional[Block]]


class BlockAssembly:
    """Collects the fragments of one block. ``limit``: the largest block that is kept, bytes.

    ``end_stream``: whether the HEADERS frame had END_STREAM.
    """

    __slots__ = ("_count", "_fragments", "_limit", "_size", "end_stream", "stream_id")

    def __init__(self, stream_id: int, end_stream: bool, fragment: bytes, limit: int) -> None:
        self.stream_id = stream_id
        self.end_stream = end_stream
        self._fragments: List[bytes] = [fragment]
        self._limit = limit
        self._size = len(fragment)
        self._count = 1

    def add(self, fragment: bytes, skippable: bool) -> None:
        """Takes the next fragment; ``skippable``: whether the block need not be read if it is too large.

        Raises ConnectionFault if the block costs too much or cannot be skipped.
        """
        self._count += 1
        self._size += len(fragment)
        if self._count > _SMALL_FRAGMENTS + self._size // _MEAN_FRAGMENT:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a field block in {self._count} fragments")
        if self._size <= self._limit:
            self._fragments.append(fragment)
            return
        if not skippable or self._size > _SKIPPED * self._limit:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a field block of more than {self._size} bytes")
        self._fragments.clear()

    def block(self) -> Optional[bytes]:
        """The whole block; None if it was too large."""
        return b"".join(self._fragments) if self._size <= self._limit else None
