"""Both ends of a connection, against any bytes of the peer's; and field blocks, against the library hpack."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from hpack import Decoder, HPACKError
from http2_reference import (
    ACK,
    PREFACE,
    REQUEST,
    RESPONSE,
    SETTINGS,
    TRAILERS,
    WINDOW_UPDATE,
    Frame,
    Ledger,
    frame,
    frames,
    settings,
)

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.events import DataReceived, Event, HeadersReceived, Sent, StreamReset
from criproxy.http2.headers import UNREADABLE, BlockDecoder, Spelling, decode, encode
from tests.fuzz.target import Target, cut, options_of

_VOLATILE = Spelling(b"grpc-timeout")
_SIZES = (1, 5, 9, 13, 64, 1_000)
"""Pieces in which bytes arrive."""
_STREAMS = 8
"""Streams that are used beside what the peer does."""
_MOST = 3
"""Streams that a client may have open here."""
_HANDSHAKE = settings() + frame(SETTINGS, ACK, 0)
_SHAKEN = 0x80
"""The option that the peer has greeted already."""


def _server(options: int) -> Connection:
    connection = Connection(False, max_streams=_MOST, volatile=_VOLATILE, clock=lambda: 0.0)
    if options & _SHAKEN:
        connection.receive(PREFACE + _HANDSHAKE)
    connection.data_to_send()
    return connection


def _client(options: int) -> Connection:
    """It has two calls under way, and has sent all of the first one's request."""
    connection = Connection(True, stream_window=65_535, clock=lambda: 0.0)
    if options & _SHAKEN:
        connection.receive(_HANDSHAKE)
    for _ in range(2):
        connection.sender.headers(connection.open_stream(), encode(REQUEST))
    connection.sender.data(1, b"abc", True)
    connection.data_to_send()
    return connection


Heard = Tuple[List[Tuple[Any, ...]], Optional[ErrorCode], List[Frame]]
"""What has been told, the fault, and what has been answered but for WINDOW_UPDATE, which depends on the pieces."""


def _hear(connection: Connection, pieces: Iterable[bytes], most: int = sys.maxsize) -> Heard:
    """What comes of the bytes when they come in these pieces, and at most so many frames are taken at once."""
    told: List[Tuple[Any, ...]] = []
    fault: Optional[ErrorCode] = None
    try:
        for piece in pieces:
            for event in connection.receive(piece, most):
                _tell(told, event)
            while connection.has_more:
                for event in connection.receive(b"", most):
                    _tell(told, event)
    except ConnectionFault as error:
        fault = error.code
    found, rest = frames(connection.data_to_send())
    assert not rest
    return told, fault, [each for each in found if each.kind != WINDOW_UPDATE]


def _tell(told: List[Tuple[Any, ...]], event: Event) -> None:
    """Adds an event; data that comes in a row is one piece."""
    if isinstance(event, HeadersReceived):
        told.append((HeadersReceived, event.stream_id, event.block.fields, event.end_stream))
        return
    if isinstance(event, DataReceived):
        data, size = event.data, event.size
        if told and told[-1][:2] == (DataReceived, event.stream_id):
            _, _, before, owed, _ = told.pop()
            data, size = before + data, owed + size
        told.append((DataReceived, event.stream_id, data, size, event.end_stream))
        return
    told.append((type(event), *event))


def _check_order(told: List[Tuple[Any, ...]], opened: Iterable[int]) -> None:
    """A stream has a head, data, and one end, after which nothing but a reset may come."""
    states: Dict[int, str] = dict.fromkeys(opened, "asked")
    for kind, stream_id, *rest in (each for each in told if each[0] in (HeadersReceived, DataReceived, StreamReset)):
        state = states.get(stream_id, "asked")
        assert state != "reset", f"stream {stream_id}: {kind.__name__} after its reset"
        if kind is StreamReset:
            states[stream_id] = "reset"
            continue
        end = rest[-1]
        assert state != "over", f"stream {stream_id}: {kind.__name__} after its end"
        if kind is HeadersReceived:
            assert state == "asked" or end, f"stream {stream_id}: a second head"
        else:
            assert state == "answered", f"stream {stream_id}: data before the head"
        states[stream_id] = "over" if end else "answered"


def _use(connection: Connection, stream_ids: Iterable[int], options: int) -> None:
    """Does to streams what a user may, whether they are there or not."""
    for stream_id in stream_ids:
        connection.sender.headers(stream_id, encode(RESPONSE))
        connection.sender.data(stream_id, b"abc" * (10, 7_000)[options & 1], bool(options & 2))
        connection.consumed(stream_id, 5)
        if options & 4:
            connection.sender.headers(stream_id, encode(TRAILERS), True)
        if options & 8 and stream_id % 3 == 0:
            connection.reset(stream_id, ErrorCode.CANCEL)
    if options & 16:
        connection.sender.hold(True)
        connection.sender.hold(False)


def _check_use(connection: Connection, pieces: Iterable[bytes], options: int) -> None:
    """Used meanwhile, it sends nothing that the windows do not allow, and all that it had to queue or nothing."""
    ledger = Ledger()
    if options & _SHAKEN:
        ledger.received(_HANDSHAKE)
    seen: List[int] = [1, 3] if connection.client else []
    if connection.client:  # What it has sent already.
        ledger.sent(frame(0, 1, 1, b"abc"))
    with suppress(ConnectionFault):
        for piece in pieces:
            ledger.received(piece if not piece.startswith(PREFACE) else piece[len(PREFACE) :])
            for event in connection.receive(piece):
                if isinstance(event, HeadersReceived) and event.stream_id not in seen:
                    seen.append(event.stream_id)
                assert not isinstance(event, Sent) or event.size > 0
                if isinstance(event, HeadersReceived):
                    assert decode(event.block.wire) == tuple(event.block.fields)
            _use(connection, seen[-_STREAMS:], options)
            ledger.sent(connection.data_to_send())
    # After a fault it says no more than why.
    _use(connection, seen[-_STREAMS:], options)
    assert connection.open_streams <= max(2, _MOST)


def _one(make: Callable[[int], Connection], data: bytes) -> None:
    options, wire = options_of(data)
    if not options & _SHAKEN and make is _server:
        wire = PREFACE + wire
    told, fault, answered = _hear(make(options), [wire])
    size = _SIZES[options % len(_SIZES)]
    cut_told, cut_fault, cut_answered = _hear(make(options), cut(wire, size), 1 + options % 3)
    assert (fault, answered) == (cut_fault, cut_answered)
    # What comes in one piece with a fault is not told of: the connection is over.
    assert fault is not None or told == cut_told
    _check_order(cut_told, (1, 3) if make is _client else ())
    pieces = [wire] if make is _server and not options & _SHAKEN else cut(wire, max(9, size))
    _check_use(make(options), pieces, options)


def _work(make: Callable[[int], Connection], data: bytes) -> None:
    options, wire = options_of(data)
    connection = make(options | _SHAKEN)
    with suppress(ConnectionFault):
        for piece in cut(wire, 65_536):
            connection.receive(piece)
    connection.data_to_send()


SERVER = Target(lambda data: _one(_server, data), lambda data: _work(_server, data))
CLIENT = Target(lambda data: _one(_client, data), lambda data: _work(_client, data))

# Field blocks.

_LARGEST = 1 << 20


def _decoded(decoder: Decoder, wire: bytes) -> Optional[Tuple[Tuple[bytes, bytes], ...]]:
    """What hpack's decoder reads; None if it refuses the block."""
    with suppress(HPACKError, IndexError, ValueError):
        return tuple((bytes(name), bytes(value)) for name, value in decoder.decode(wire, raw=True))
    return None


def _blocks(data: bytes) -> List[bytes]:
    """An input's blocks: each has its length before it, in one byte."""
    found: List[bytes] = []
    at = 0
    while at < len(data):
        found.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return found


def _read_blocks(data: bytes) -> None:
    options, blocks = options_of(data)
    volatile = _VOLATILE if options & 1 else None
    ours, theirs = BlockDecoder(volatile), Decoder(_LARGEST)
    if options & 2:
        ours.settle()
        theirs.header_table_size = theirs.max_allowed_table_size = 0
    for wire in _blocks(blocks):
        expected = _decoded(theirs, wire)
        try:
            block = ours.decode(wire)
        except ConnectionFault as fault:
            assert fault.code is ErrorCode.COMPRESSION_ERROR
            assert expected is None, f"refused, and means {expected}"
            return
        assert expected is not None, "read, and hpack refuses it"
        if block is None:
            return
        lengths = [value for name, value in expected if name == b"content-length"]
        rest = tuple(field for field in expected if field[0] != b"content-length")
        assert block.length == _length(lengths)
        assert tuple(map(tuple, block.fields)) == rest
        # Written anew, it means the same to everybody, without a table.
        assert decode(block.wire) == tuple(block.fields)
        assert _decoded(Decoder(_LARGEST), block.wire) == rest


def _length(said: List[bytes]) -> Optional[int]:
    """What a block's content-length says: one number (RFC 9110, section 8.6)."""
    if not said:
        return None
    return int(said[0]) if re.fullmatch(rb"[0-9]{1,19}", said[0]) and len(said) == 1 else UNREADABLE


def _work_blocks(data: bytes) -> None:
    decoder = BlockDecoder(_VOLATILE)
    if options_of(data)[0] & 2:
        decoder.settle()
    with suppress(ConnectionFault):
        decoder.decode(data[2:])


BLOCKS = Target(_read_blocks, _work_blocks)
