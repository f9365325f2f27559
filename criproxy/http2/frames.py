"""The layout of frames (RFC 9113, sections 4 and 6): numbers, and the functions that write and read them."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, Iterable, Tuple, Union

from criproxy.http2.compiled import COMPILED
from criproxy.http2.errors import ConnectionFault, ErrorCode

if TYPE_CHECKING:  # compiled, these are numbers of C's, and else Python's
    from mypy_extensions import i64

Buffer = Union[bytes, memoryview]
"""Bytes that are read and never written to."""

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4)."""

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

_HEADER: Final = Struct(">HBBBL")
HEADER_SIZE: Final = 9
"""bytes before each payload (section 4.1)."""
PRIORITY_SIZE: Final = 5
"""What a priority has, bytes (section 6.3)."""
WORD: Final = Struct(">L")
TWO_WORDS: Final = Struct(">LL")
SETTING: Final = Struct(">HL")

SETTINGS_HEADER_TABLE_SIZE: Final = 0x1
SETTINGS_ENABLE_PUSH: Final = 0x2
SETTINGS_MAX_CONCURRENT_STREAMS: Final = 0x3
SETTINGS_INITIAL_WINDOW_SIZE: Final = 0x4
SETTINGS_MAX_FRAME_SIZE: Final = 0x5
SETTINGS_MAX_HEADER_LIST_SIZE: Final = 0x6

DEFAULT_WINDOW: Final = 65_535
"""Of a stream and of the connection, until told otherwise (section 6.9.2), bytes."""
MAX_WINDOW: Final = 2**31 - 1
"""The largest flow-control window (section 6.9.1), bytes."""
DEFAULT_FRAME_SIZE: Final = 16_384
"""The largest payload until SETTINGS_MAX_FRAME_SIZE says otherwise (section 6.5.2), bytes."""
"""The largest payload until SETTINGS_MAX_FRAME_SIZE says otherwise (section 6.5.2), bytes."""
MAX_FRAME_SIZE: Final = 2**24 - 1
"""The largest payload that SETTINGS_MAX_FRAME_SIZE can allow (section 6.5.2), bytes."""
MAX_STREAM_ID: Final = 2**31 - 1
"""The largest stream identifier, of 31 bits (section 5.1.1)."""


def header_at(data: bytes, at: i64) -> Tuple[i64, i64, i64, i64]:
    """The length, the type, the flags and the stream of the frame whose header stands there (section 4.1).

    Compiled, single bytes take a tenth of what `Struct` does; in Python that is quicker.
    """
    if not COMPILED:
        high, low, kind, flags, stream_id = _HEADER.unpack_from(data, at)
        return high << 8 | low, kind, flags, stream_id & MAX_STREAM_ID
    size: i64 = data[at]
    size = (size << 8 | data[at + 1]) << 8 | data[at + 2]
    return size, data[at + 3], data[at + 4], word_at(data, at + 5) & MAX_STREAM_ID


def word_at(data: bytes, at: i64) -> i64:
    """A number of 32 bits."""
    word: i64 = data[at]
    return ((word << 8 | data[at + 1]) << 8 | data[at + 2]) << 8 | data[at + 3]


def header(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The header of a frame whose payload has so many bytes (section 4.1).

    As one number: compiled, that takes half of what `Struct` does. In Python it takes 0.1 µs more.
    """
    return (((size << 8 | kind) << 8 | flags) << 32 | stream_id).to_bytes(HEADER_SIZE, "big")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame. The payload must fit the peer's SETTINGS_MAX_FRAME_SIZE."""
    return header(len(payload), kind, flags, stream_id) + payload


def settings(values: Iterable[Tuple[int, int]]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*pair) for pair in values))


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, WORD.pack(increment))


def rst_stream(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, WORD.pack(code))


def goaway(last_stream_id: int, code: int, text: str) -> bytes:
    """A GOAWAY frame with ``text`` as its debug data."""
    return frame(GOAWAY, 0, 0, TWO_WORDS.pack(last_stream_id, code) + text.encode("utf-8", "replace")[:256])


def missing(begun: bytes, data: bytes) -> int:
    """How much of ``data`` belongs to the frame that ``begun`` is the beginning of, bytes."""
    return HEADER_SIZE + header_at(begun + data[:HEADER_SIZE], 0)[0] - len(begun)


def coalesced(data: bytes, begin: int, at: int, stream_id: int) -> Tuple[bytes, int, int]:
    """A large message is a row of full DATA frames: as many as are here count as one with the flags of the last.

    The first one's payload stands from ``begin`` to ``at``. Gives the payload of all, the flags, and where the next
    frame begins.
    """
    view = memoryview(data)
    parts = [view[begin:at]]
    flags = 0
    while not flags and len(data) - at >= HEADER_SIZE:
        size, kind, next_flags, next_id = header_at(data, at)
        stop = at + HEADER_SIZE + size
        plain = kind == DATA and next_id == stream_id and next_flags <= END_STREAM
        if not plain or size > DEFAULT_FRAME_SIZE or stop > len(data):
            break
        parts.append(view[at + HEADER_SIZE : stop])
        at, flags = stop, next_flags
    return b"".join(parts), flags, at


def unpad(payload: bytes, least: int = 0) -> bytes:
    """Takes the padding off (section 6.1); what is left has ``least`` bytes or more. Raises ConnectionFault."""
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame too short for its padding")
    if payload[0] + least >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def fragment(flags: int, payload: bytes) -> bytes:
    """What HEADERS has of a field block: without padding and priority (section 6.2). Raises ConnectionFault."""
    priority = PRIORITY_SIZE if flags & PRIORITY_FLAG else 0
    if len(payload) < priority + bool(flags & PADDED):
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for padding or priority")
    if flags & PADDED:
        payload = unpad(payload, priority)
    return payload[priority:]
