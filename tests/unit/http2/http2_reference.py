"""HTTP/2 as plainly as it can be written, to check criproxy.http2 against; and the ends that the tests talk to.

Nothing here is fast and nothing is shared with the code under test but the classes of its events: frames are cut by
adding bytes up, field blocks are read by hpack's Decoder, and `Ledger` keeps the windows of section 6.9 as an account
book that watches both directions of a wire.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from hpack import Decoder
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from criproxy.http2.connection import Connection
from criproxy.http2.events import DataReceived, Event, HeadersReceived

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 0x4, 0x5

_HUFFMAN = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/runtime.v1.RuntimeService/Version"),
    (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
]
RESPONSE = [(b":status", b"200"), (b"content-type", b"application/grpc")]
TRAILERS = [(b"grpc-status", b"0"), (b"grpc-message", b"")]

Fields = List[Tuple[bytes, bytes]]


class Frame(NamedTuple):
    """A frame as it is on the wire."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame's bytes."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def frames(wire: bytes) -> Tuple[List[Frame], bytes]:
    """The frames in these bytes (a client's preface left out), and what is left of the last."""
    found = []
    if wire.startswith(PREFACE):
        wire = wire[len(PREFACE) :]
    while len(wire) >= 9 and len(wire) >= 9 + int.from_bytes(wire[:3], "big"):
        size = int.from_bytes(wire[:3], "big")
        stream_id = int.from_bytes(wire[5:9], "big") & 0x7FFFFFFF
        found.append(Frame(wire[3], wire[4], stream_id, wire[9 : 9 + size]))
        wire = wire[9 + size :]
    return found, wire


def sent(connection: Connection) -> List[Frame]:
    """The frames that the connection has to send."""
    found, rest = frames(connection.data_to_send())
    assert not rest
    return found


def number(value: int) -> bytes:
    """A word of four bytes, as the payload of RST_STREAM and WINDOW_UPDATE is."""
    return value.to_bytes(4, "big")


def settings(*pairs: Tuple[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(key.to_bytes(2, "big") + number(value) for key, value in pairs)
    return frame(SETTINGS, 0, 0, payload)


def plain_block(fields: Iterable[Tuple[bytes, bytes]]) -> bytes:
    """A field block that uses no table and no Huffman code."""
    wire = b""
    for name, value in fields:
        wire += b"\0" + plain_string(name) + plain_string(value)
    return wire


def plain_string(text: bytes) -> bytes:
    """A string literal without Huffman code (RFC 7541, section 5.2)."""
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    wire, size = b"\x7f", size - 127
    while size >= 128:
        wire += bytes((size % 128 + 128,))
        size //= 128
    return wire + bytes((size,)) + text


@cache
def huffman_string(text: bytes) -> bytes:
    """A string literal in Huffman code (RFC 7541, section 5.2)."""
    code = _HUFFMAN.encode(text)
    size = bytearray(plain_string(bytes(len(code)))[: -len(code) or None])
    size[0] |= 0x80
    return bytes(size) + code


def headers(stream_id: int, fields: Iterable[Tuple[bytes, bytes]], end_stream: bool = False) -> bytes:
    """A HEADERS frame that holds its whole block."""
    return frame(HEADERS, END_HEADERS | (END_STREAM if end_stream else 0), stream_id, plain_block(fields))


def data(stream_id: int, payload: bytes, end_stream: bool = False) -> bytes:
    """A DATA frame."""
    return frame(DATA, END_STREAM if end_stream else 0, stream_id, payload)


def unpadded(found: Frame) -> bytes:
    """The payload of a DATA or HEADERS frame without padding and priority."""
    payload = found.payload
    if found.flags & PADDED:
        payload = payload[1 : len(payload) - payload[0]]
    if found.kind == HEADERS and found.flags & HAS_PRIORITY:
        payload = payload[5:]
    return payload


Told = Tuple[Any, ...]


def told_by_wire(wire: bytes) -> List[Told]:
    """What the bytes of a sound peer say: ``("fields", stream, fields, end)`` and ``("data", stream, data, end)``."""
    decoder = Decoder()
    told: List[Told] = []
    block, opened = b"", None
    for found in frames(wire)[0]:
        end = bool(found.flags & END_STREAM)
        if found.kind == DATA:
            told.append(("data", found.stream_id, unpadded(found), end))
        elif found.kind == HEADERS:
            block, opened = unpadded(found), end
        elif found.kind == CONTINUATION:
            block += found.payload
        if found.kind in (HEADERS, CONTINUATION) and found.flags & END_HEADERS:
            fields = [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
            told.append(("fields", found.stream_id, fields, opened))
    return told


def told_by_events(events: Iterable[Event]) -> List[Told]:
    """The same of a connection's events."""
    told: List[Told] = []
    for event in events:
        if isinstance(event, DataReceived):
            told.append(("data", event.stream_id, event.data, event.end_stream))
        elif isinstance(event, HeadersReceived):
            told.append(("fields", event.stream_id, list(event.block.fields), event.end_stream))
    return told


class Ledger:
    """The windows that one end may send in, by what that end has received and sent so far."""

    def __init__(self) -> None:
        self.connection = 65_535
        self.initial = 65_535
        self.largest_frame = 16_384
        self.streams: Dict[int, int] = {}
        self._received = self._sent = b""

    def received(self, wire: bytes) -> None:
        """Books what has arrived at this end."""
        found, self._received = frames(self._received + wire)
        for each in found:
            if each.kind == WINDOW_UPDATE and not each.stream_id:
                self.connection += int.from_bytes(each.payload, "big")
            elif each.kind == WINDOW_UPDATE:
                self._open(each.stream_id)
                self.streams[each.stream_id] += int.from_bytes(each.payload, "big")
            elif each.kind == SETTINGS:
                self._settings(each.payload)

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            key = int.from_bytes(payload[at : at + 2], "big")
            value = int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == INITIAL_WINDOW_SIZE:
                for stream_id in self.streams:
                    self.streams[stream_id] += value - self.initial
                self.initial = value
            elif key == MAX_FRAME_SIZE:
                self.largest_frame = value

    def sent(self, wire: bytes) -> None:
        """Books what this end has sent; fails if that was more than it might."""
        found, self._sent = frames(self._sent + wire)
        for each in found:
            assert len(each.payload) <= self.largest_frame
            if each.kind not in (DATA, HEADERS):
                continue
            self._open(each.stream_id)
            if each.kind == DATA and each.payload:
                self.connection -= len(each.payload)
                self.streams[each.stream_id] -= len(each.payload)
                assert self.connection >= 0
                assert self.streams[each.stream_id] >= 0

    def _open(self, stream_id: int) -> None:
        self.streams.setdefault(stream_id, self.initial)


def server(client_settings: Tuple[Tuple[int, int], ...] = (), **options: object) -> Connection:
    """A server's end that has shaken hands with a client that has these settings, with nothing left to send."""
    connection = Connection(False, **options)  # type: ignore[arg-type]
    connection.receive(PREFACE + settings(*client_settings) + frame(SETTINGS, ACK, 0))
    connection.data_to_send()
    return connection


def client(server_settings: Tuple[Tuple[int, int], ...] = (), **options: object) -> Connection:
    """A client's end that has shaken hands with a server that has these settings, with nothing left to send."""
    connection = Connection(True, **options)  # type: ignore[arg-type]
    connection.receive(settings(*server_settings) + frame(SETTINGS, ACK, 0))
    connection.data_to_send()
    return connection


class Pair:
    """One of our connections and one of h2's, which is somebody else's implementation, joined to each other."""

    def __init__(self, client: bool, **options: object) -> None:
        self.ours = Connection(client, **options)  # type: ignore[arg-type]
        self.theirs = H2Connection(H2Configuration(client_side=not client, header_encoding=None))
        self.theirs.initiate_connection()
        self.exchange()

    def exchange(self) -> Tuple[List[Event], List[object]]:
        """Carries bytes to and fro until both ends are quiet; gives our events, and theirs."""
        our_events: List[Event] = []
        their_events: List[object] = []
        while True:
            to_them, to_us = self.ours.data_to_send(), self.theirs.data_to_send()
            if not (to_them or to_us):
                return our_events, their_events
            if to_us:
                our_events += self.ours.receive(to_us)
            if to_them:
                their_events += self.theirs.receive_data(to_them)
