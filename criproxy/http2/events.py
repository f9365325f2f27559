"""What a connection tells its user: one event for each thing that has happened (RFC 9113)."""

from __future__ import annotations

from typing import NamedTuple, Union

from criproxy.http2.headers import Block

# The first two are made for each call. Compiled, tuples with names would be 6 % of what it takes.


class HeadersReceived:
    """A field block: the head of a request or an answer, or trailers."""

    __slots__ = ("block", "end_stream", "stream_id")

    def __init__(self, stream_id: int, block: Block, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.block = block
        self.end_stream = end_stream

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, HeadersReceived)
            and self.stream_id == other.stream_id
            and self.block == other.block
            and self.end_stream == other.end_stream
        )

    def __repr__(self) -> str:
        return f"HeadersReceived({self.stream_id}, {self.block!r}, {self.end_stream})"


class DataReceived:
    """Data; ``size`` is what it took of the stream's window (padding included) and is owed to `consumed`, bytes."""

    __slots__ = ("data", "end_stream", "size", "stream_id")

    def __init__(self, stream_id: int, data: bytes, size: int, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.data = data
        self.size = size
        self.end_stream = end_stream

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DataReceived)
            and self.stream_id == other.stream_id
            and self.data == other.data
            and self.size == other.size
            and self.end_stream == other.end_stream
        )

    def __repr__(self) -> str:
        return f"DataReceived({self.stream_id}, {self.data!r}, {self.size}, {self.end_stream})"


class StreamReset(NamedTuple):
    """The stream is over before its end: by the peer's RST_STREAM or GOAWAY, or by an error of the peer's."""

    stream_id: int
    code: int


class Sent(NamedTuple):
    """So many bytes that `send_data` had queued have left."""

    stream_id: int
    size: int


class SettingsReceived(NamedTuple):
    """The peer's SETTINGS are in force here."""


class PingAcknowledged(NamedTuple):
    """The peer has answered our PING."""

    payload: bytes


class GoAwayReceived(NamedTuple):
    """The peer takes no new streams. Those above ``last_stream_id`` it has not looked at; they are reset."""

    last_stream_id: int
    code: int
    text: bytes


Event = Union[
    HeadersReceived,
    DataReceived,
    StreamReset,
    Sent,
    SettingsReceived,
    PingAcknowledged,
    GoAwayReceived,
]
