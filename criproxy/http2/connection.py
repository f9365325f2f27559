"""One end of an HTTP/2 connection (RFC 9113), as a machine without I/O.

Bytes from the peer go into `Connection.receive`, which gives back the events they amount to. What is to be sent is
said by methods (`send_headers`, `send_data`, `reset` …) and collected until `data_to_send` takes it: whoever feeds
the machine takes once for each piece of input, so that the frames of a piece leave in one write.

Flow control, the two halves:

- *Receiving.* The connection's window is large and is given back as soon as data arrives, so that no stream can
  stall another. A stream's window is given back only as its data is `consumed`; so a peer can have at most one
  stream window (``stream_window`` bytes) waiting here for each stream.
- *Sending.* `send_data` sends what the peer's windows allow and queues the rest of the stream in order, trailers
  included. As windows open, queued data leaves in turns of one frame a stream, and each piece is told in a `Sent`
  event, by which a relay lets the data's own sender go on (`consumed`, on the other connection). While the socket
  beneath takes nothing (`hold`), the windows count as closed.

The bulk of `receive` is one loop with the two frequent frames, HEADERS and DATA, written out in it; all others are
found in a table of methods.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Callable, ClassVar, Deque, Dict, List, NamedTuple, Optional, Pattern, Tuple, Union

from criproxy.http2 import frames
from criproxy.http2.errors import ConnectionFault, ErrorCode, StreamFault
from criproxy.http2.frames import ACK, END_HEADERS, END_STREAM, PADDED, PRIORITY_FLAG
from criproxy.http2.headers import MAX_BLOCK, NO_TABLE, Block, BlockDecoder, Role

CONNECTION_WINDOW = 16 * 2**20
"""What a peer may send on all its streams together before we must have read it, bytes."""
MAX_CONTROL_FRAMES = 50_000
MAX_RESETS = 2_500
"""Frames a peer may send in a second that cost us work and move no call: SETTINGS, PING and such; those that end a
stream before its end, RST_STREAM and whatever makes us send one."""
_REMEMBERED_RESETS = 2_048
_MAX_CONTINUATIONS = 64

_TRAILERS = Role.TRAILERS  # An enumeration's members are slow to get in the middle of a call.

Buffer = Union[bytes, memoryview]


class HeadersReceived(NamedTuple):
    """A field block: the head of a request or an answer, or trailers."""

    stream_id: int
    block: Block
    end_stream: bool


class DataReceived(NamedTuple):
    """Data; ``size`` is what it took of the stream's window (padding included) and is owed to `consumed`, bytes."""

    stream_id: int
    data: bytes
    size: int
    end_stream: bool


class StreamReset(NamedTuple):
    """The stream is over before its end: by the peer's RST_STREAM or GOAWAY, or by an error of the peer's."""

    stream_id: int
    code: int


class Sent(NamedTuple):
    """So many bytes that `send_data` had queued have left."""

    stream_id: int
    size: int


class SettingsAcknowledged(NamedTuple):
    """The peer has taken our SETTINGS."""


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
    SettingsAcknowledged,
    SettingsReceived,
    PingAcknowledged,
    GoAwayReceived,
]


class _Stream:
    """``headed``: the peer's head has come, and trailers may. ``queue`` holds what waits for a window: (frame type,
    bytes, END_STREAM); None as long as nothing ever did."""

    __slots__ = ("headed", "local_closed", "queue", "receive_window", "remote_closed", "send_window", "unreturned")

    def __init__(self, receive_window: int, send_window: int) -> None:
        self.receive_window = receive_window
        self.send_window = send_window
        self.unreturned = 0
        self.headed = False
        self.local_closed = False
        self.remote_closed = False
        self.queue: Optional[Deque[Tuple[int, Buffer, bool]]] = None


class Connection:
    """One end of a connection.

    ``client``: whether this end is the client. ``stream_window``: our SETTINGS_INITIAL_WINDOW_SIZE, bytes; a peer
    that has not read it yet sends up to frames.DEFAULT_WINDOW, which is a fault if that is more.
    ``max_streams``: how many streams a client may have open here. ``volatile``: see headers.spelling.
    ``clock`` gives seconds and serves only to count frames a second.
    """

    def __init__(
        self,
        client: bool,
        stream_window: int = frames.DEFAULT_WINDOW,
        max_streams: int = 1_000,
        volatile: Optional[Pattern[bytes]] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.stream_window = stream_window
        self.max_streams = max_streams
        self.peer_max_streams = frames.MAX_STREAM_ID
        """How many streams the peer lets us have open (SETTINGS_MAX_CONCURRENT_STREAMS)."""
        self.going_away = False
        """A GOAWAY has been sent or received: no new streams."""
        self._takes_no_streams = False
        """We have sent GOAWAY. The peer's GOAWAY is not about the streams that it opens itself."""
        self._head_role = Role.RESPONSE if client else Role.REQUEST
        self._interim_role = Role.INTERIM if client else None
        self._decoder = BlockDecoder(volatile)
        self._clock = clock
        self._streams: Dict[int, _Stream] = {}
        self._next_id = 1
        self._last_peer_id = 0
        self._was_reset: Dict[int, None] = {}
        self._out: List[Buffer] = []
        self._rest = b""
        self._awaits_preface = not client
        self._awaits_settings = True
        self._fragments: Optional[Tuple[int, bool, List[bytes]]] = None
        self._fragments_size = 0
        self._receive_window = CONNECTION_WINDOW
        self._send_window = frames.DEFAULT_WINDOW
        self._initial_send_window = frames.DEFAULT_WINDOW
        self._max_frame = frames.DEFAULT_FRAME_SIZE
        self._waiting: Dict[int, None] = {}
        self._held = False
        self._opened = False
        self._first_block = True
        self._second = 0.0
        self._control_frames = 0
        self._resets = 0
        self._begin()

    def _begin(self) -> None:
        values = [
            (frames.SETTINGS_HEADER_TABLE_SIZE, 0),
            (frames.SETTINGS_INITIAL_WINDOW_SIZE, self.stream_window),
            (frames.SETTINGS_MAX_HEADER_LIST_SIZE, MAX_BLOCK),
        ]
        if self.client:
            self._out.append(frames.PREFACE)
            values.append((frames.SETTINGS_ENABLE_PUSH, 0))
        else:
            values.append((frames.SETTINGS_MAX_CONCURRENT_STREAMS, self.max_streams))
        self._out.append(frames.settings(values))
        self._out.append(frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW))

    # What is to be sent.

    def data_to_send(self) -> bytes:
        """Takes all that is ready to be written."""
        return b"".join(self.buffers_to_send())

    @property
    def has_to_send(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self._out)

    def buffers_to_send(self) -> List[Buffer]:
        """Takes all that is ready to be written, in its pieces, so that nothing large is copied."""
        out, self._out = self._out, []
        return out

    @property
    def open_streams(self) -> int:
        """How many streams are open in at least one direction."""
        return len(self._streams)

    def knows(self, stream_id: int) -> bool:
        """Whether the stream is open in at least one direction."""
        return stream_id in self._streams

    @property
    def used_up(self) -> bool:
        """Whether this end has opened all the streams that a connection can have (section 5.1.1)."""
        return self._next_id > frames.MAX_STREAM_ID

    def has_queued(self, stream_id: int) -> bool:
        """Whether something that is to be sent on the stream waits for a window."""
        stream = self._streams.get(stream_id)
        return stream is not None and bool(stream.queue)

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` may be called: the peer takes one stream more."""
        return (
            not self.going_away and len(self._streams) < self.peer_max_streams and self._next_id <= frames.MAX_STREAM_ID
        )

    def open_stream(self) -> int:
        """A new stream of ours (client); its HEADERS must be sent next, for the ids to go up on the wire."""
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = _Stream(self.stream_window, self._initial_send_window)
        return stream_id

    def send_headers(self, stream_id: int, wire: bytes, end_stream: bool = False) -> None:
        """Sends a field block (headers.Block.wire), behind whatever the stream has queued.

        A stream that is over, or whose end has been sent, is left alone.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_closed:
            return
        stream.local_closed = end_stream
        if stream.queue:
            stream.queue.append((frames.HEADERS, wire, end_stream))
            return
        self._emit_headers(stream_id, wire, end_stream)
        if end_stream and stream.remote_closed:
            del self._streams[stream_id]

    def send_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> int:
        """Sends data, or queues what the windows do not let pass; says how many bytes were sent.

        A stream that is over, or whose end has been sent, swallows the data as if it had been sent.
        """
        size = len(data)
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_closed:
            return size
        stream.local_closed = end_stream
        if stream.queue:
            stream.queue.append((frames.DATA, memoryview(data), end_stream))
            return 0
        if size <= self._max_frame and size <= stream.send_window and size <= self._send_window and not self._held:
            stream.send_window -= size
            self._send_window -= size
            self._out.append(frames.HEADER.pack(size >> 8, size & 0xFF, frames.DATA, end_stream, stream_id))
            self._out.append(data)
            if end_stream and stream.remote_closed:
                del self._streams[stream_id]
            return size
        # A view: what does not fit a frame is cut off many times, and should not be copied each time.
        stream.queue = deque(((frames.DATA, memoryview(data), end_stream),))
        self._waiting[stream_id] = None
        sent = 0
        while self._step(stream_id, stream):
            sent = size - (len(stream.queue[0][1]) if stream.queue else 0)
        return sent

    def _emit_headers(self, stream_id: int, wire: bytes, end_stream: bool) -> None:
        if self._first_block:
            self._first_block = False
            wire = NO_TABLE + wire
        limit = self._max_frame
        flags = END_STREAM if end_stream else 0
        if len(wire) <= limit:
            size = len(wire)
            head = frames.HEADER.pack(size >> 8, size & 0xFF, frames.HEADERS, flags | END_HEADERS, stream_id)
            self._out.append(head + wire)
            return
        self._out.append(frames.frame(frames.HEADERS, flags, stream_id, wire[:limit]))
        for at in range(limit, len(wire), limit):
            last = END_HEADERS if at + limit >= len(wire) else 0
            self._out.append(frames.frame(frames.CONTINUATION, last, stream_id, wire[at : at + limit]))

    def _step(self, stream_id: int, stream: _Stream) -> int:
        """Sends the next frame of a queue if it may pass; gives the bytes of data in it, plus one, or 0 for none."""
        if not stream.queue:
            return 0
        kind, data, end_stream = stream.queue[0]
        if kind == frames.HEADERS:
            stream.queue.popleft()
            self._emit_headers(stream_id, bytes(data), end_stream)
            size = 0
        else:
            room = min(self._max_frame, stream.send_window, self._send_window)
            if self._held or (room <= 0 and data):
                return 0
            size = min(room, len(data)) if data else 0
            if size == len(data):
                stream.queue.popleft()
            else:
                stream.queue[0] = (kind, data[size:], end_stream)
                data, end_stream = data[:size], False
            stream.send_window -= size
            self._send_window -= size
            self._out.append(frames.HEADER.pack(size >> 8, size & 0xFF, frames.DATA, end_stream, stream_id))
            self._out.append(data)
        if not stream.queue:
            self._waiting.pop(stream_id, None)
            if stream.local_closed and stream.remote_closed:
                del self._streams[stream_id]
        return size + 1

    def _send_queued(self, events: List[Event]) -> None:
        """Lets queued frames pass, one a stream in turn, until the windows are used up."""
        moved = bool(self._waiting) and not self._held
        while moved:
            moved = False
            for stream_id in list(self._waiting):
                stream = self._streams.get(stream_id)
                size = self._step(stream_id, stream) if stream is not None else 0
                if size:
                    moved = True
                    if size > 1:
                        events.append(Sent(stream_id, size - 1))

    def hold(self, held: bool) -> List[Event]:
        """Whether data must wait for the socket; lifting it sends what was queued and gives its `Sent` events."""
        self._held = held
        events: List[Event] = []
        if not held:
            self._send_queued(events)
        return events

    def consumed(self, stream_id: int, size: int) -> None:
        """So many bytes of the stream's data have gone their way: the peer may send as many again."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            return
        stream.unreturned += size
        if stream.unreturned * 2 >= self.stream_window:
            self._out.append(frames.window_update(stream_id, stream.unreturned))
            stream.receive_window += stream.unreturned
            stream.unreturned = 0

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Ends a stream with RST_STREAM; one that is over already is left alone."""
        if self._streams.pop(stream_id, None) is not None:
            self._forget(stream_id)
            self._out.append(frames.rst_stream(stream_id, code))

    def _forget(self, stream_id: int) -> None:
        """Frames that were on their way when a stream was reset are to be ignored (section 5.1, closed)."""
        self._waiting.pop(stream_id, None)
        self._was_reset[stream_id] = None
        if len(self._was_reset) > _REMEMBERED_RESETS:
            del self._was_reset[next(iter(self._was_reset))]

    def ping(self, payload: bytes) -> None:
        """Sends a PING with these 8 bytes; the answer is a `PingAcknowledged`."""
        self._out.append(frames.frame(frames.PING, 0, 0, payload))

    def announce_going_away(self) -> None:
        """Sends a GOAWAY after which the peer opens no streams; those it has opened meanwhile are taken."""
        self._out.append(frames.goaway(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR, ""))

    def go_away(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Sends GOAWAY: streams that the peer has open go on unless ``code`` is an error, new ones are ignored."""
        self.going_away = self._takes_no_streams = True
        self._out.append(frames.goaway(self._last_peer_id, code, text))

    # What was received.

    def take_rest(self) -> bytes:
        """The part of a frame that the last bytes ended with: whoever can put it before the next ones saves a copy."""
        rest, self._rest = self._rest, b""
        return rest

    def receive(self, data: Buffer) -> List[Event]:
        """Takes bytes from the peer and gives their events, in order; what their windows let go (`Sent`) comes last.

        Raises ConnectionFault; the GOAWAY that says it is then ready to be sent, and the connection is over.
        """
        events: List[Event] = []
        try:
            self._receive(data, events)
        except ConnectionFault as fault:
            self.go_away(fault.code, str(fault))
            raise
        return events

    def _receive(self, data: Buffer, events: List[Event]) -> None:
        if self._rest:
            data = self._rest + data
        at = self._skip_preface(data) if self._awaits_preface else 0
        end = len(data)
        unpack = frames.HEADER.unpack_from
        credit = 0
        while end - at >= frames.HEADER_SIZE and not self._awaits_preface:
            high, low, kind, flags, stream_id = unpack(data, at)
            size = high << 8 | low
            if size > frames.DEFAULT_FRAME_SIZE:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            stop = at + frames.HEADER_SIZE + size
            if stop > end:
                break
            stream_id &= frames.MAX_STREAM_ID
            begin, at = at + frames.HEADER_SIZE, stop
            try:
                if self._fragments is not None or self._awaits_settings:
                    self._check_expected(kind, stream_id)
                if kind == frames.DATA:
                    if size == frames.DEFAULT_FRAME_SIZE and not flags:
                        payload, flags, at = _gather(data, begin, at, stream_id)
                    else:
                        payload = bytes(data[begin:stop])
                    credit += len(payload)
                    self._on_data(flags, stream_id, payload, events)
                elif kind == frames.HEADERS:
                    self._on_headers(flags, stream_id, bytes(data[begin:stop]), events)
                elif kind in self._OTHERS:
                    self._OTHERS[kind](self, flags, stream_id, bytes(data[begin:stop]), events)
                else:  # of an unknown type, to be ignored (section 4.1)
                    self._count_control_frame()
            except StreamFault as fault:
                self._count_reset()
                if stream_id in self._streams:
                    self.reset(stream_id, fault.code)
                    events.append(StreamReset(stream_id, fault.code))
        self._rest = bytes(data[at:])
        if self._opened:
            # Once for all that came: a peer could have us look at all streams that wait for each byte it grants.
            self._opened = False
            self._send_queued(events)
        if credit:
            self._return_credit(credit)

    def _return_credit(self, size: int) -> None:
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window allows")
        if self._receive_window * 2 <= CONNECTION_WINDOW:
            self._out.append(frames.window_update(0, CONNECTION_WINDOW - self._receive_window))
            self._receive_window = CONNECTION_WINDOW

    def _skip_preface(self, data: Buffer) -> int:
        have = bytes(data[: len(frames.PREFACE)])
        if not frames.PREFACE.startswith(have):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"not an HTTP/2 client: it began with {have!r}")
        if len(have) < len(frames.PREFACE):
            return 0
        self._awaits_preface = False
        return len(frames.PREFACE)

    def _check_expected(self, kind: int, stream_id: int) -> None:
        """A block must not be interrupted (section 4.3); the first frame must be SETTINGS (section 3.4)."""
        if self._fragments is not None and (kind != frames.CONTINUATION or stream_id != self._fragments[0]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a field block interrupted by another frame")
        if self._awaits_settings:
            if kind != frames.SETTINGS:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frame type {kind} before SETTINGS")
            self._awaits_settings = False

    def _on_data(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        size = len(payload)
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            self._on_closed(stream_id, stream is not None)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window allows")
        if not stream.headed:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "data before the head")
        if flags & PADDED:
            payload = _unpad(payload)
        end_stream = bool(flags & END_STREAM)
        if not payload and not end_stream:
            self._count_control_frame()
        if end_stream:
            stream.remote_closed = True
            if stream.local_closed and not stream.queue:
                del self._streams[stream_id]
        events.append(DataReceived(stream_id, payload, size, end_stream))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if flags & (PADDED | PRIORITY_FLAG):
            payload = _unpad(payload) if flags & PADDED else payload
            if flags & PRIORITY_FLAG:
                if len(payload) < 5:
                    raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
                payload = payload[5:]
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        end_stream = bool(flags & END_STREAM)
        if not flags & END_HEADERS:
            self._fragments = (stream_id, end_stream, [payload])
            self._fragments_size = len(payload)
            return
        self._on_block(stream_id, payload, end_stream, events)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if self._fragments is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        _, end_stream, fragments = self._fragments
        fragments.append(payload)
        self._fragments_size += len(payload)
        if self._fragments_size > MAX_BLOCK or len(fragments) > _MAX_CONTINUATIONS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a field block of more than {MAX_BLOCK} bytes")
        if flags & END_HEADERS:
            self._fragments = None
            self._on_block(stream_id, b"".join(fragments), end_stream, events)

    def _on_block(self, stream_id: int, wire: bytes, end_stream: bool, events: List[Event]) -> None:
        block = self._decoder.decode(wire)  # always: the decoder's state belongs to the connection
        stream = self._streams.get(stream_id)
        if stream is None:
            if self.client or stream_id <= self._last_peer_id or not stream_id & 1:
                self._on_closed(stream_id, False)
                return
            stream = self._accept(stream_id)
            if stream is None:
                return
        elif stream.remote_closed:
            self._on_closed(stream_id, True)
            return
        head = block.head
        malformed = block.malformed if block.tail else head.malformed
        if malformed:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, malformed)
        role = head.role
        if stream.headed:
            if role is not _TRAILERS or not end_stream:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "a second head, or trailers without END_STREAM")
        elif role is self._head_role:
            stream.headed = True
        elif role is not self._interim_role or end_stream:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "no head, or one of the wrong kind")
        if end_stream:
            stream.remote_closed = True
            if stream.local_closed and not stream.queue:
                del self._streams[stream_id]
        events.append(HeadersReceived(stream_id, block, end_stream))

    def _accept(self, stream_id: int) -> Optional[_Stream]:
        """A client's new stream, unless we have said that we take none (GOAWAY) or not so many."""
        if self._takes_no_streams:
            self._count_control_frame()
            return None
        self._last_peer_id = stream_id
        if len(self._streams) >= self.max_streams:
            self._count_control_frame()
            self._forget(stream_id)
            self._out.append(frames.rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
            return None
        stream = self._streams[stream_id] = _Stream(self.stream_window, self._initial_send_window)
        return stream

    def _is_idle(self, stream_id: int) -> bool:
        """Whether the stream has never been used (section 5.1)."""
        if bool(stream_id & 1) == self.client:
            return stream_id >= self._next_id
        return stream_id > self._last_peer_id and not self._takes_no_streams

    def _on_closed(self, stream_id: int, half: bool) -> None:
        """HEADERS or DATA on a stream that takes none: an error, unless it crossed our RST_STREAM or GOAWAY."""
        if not stream_id or self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a frame on stream {stream_id}, which is idle")
        if half:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "a frame after END_STREAM")
        self._count_control_frame()
        if stream_id not in self._was_reset and not self._takes_no_streams:
            self._out.append(frames.rst_stream(stream_id, ErrorCode.STREAM_CLOSED))

    def _on_priority(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        self._count_control_frame()
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY that is not 5 bytes long")

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM that is not 4 bytes long")
        if not stream_id or self._is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"RST_STREAM on stream {stream_id}, which is idle")
        self._count_reset()
        if self._streams.pop(stream_id, None) is not None:
            self._forget(stream_id)
            events.append(StreamReset(stream_id, frames.WORD.unpack(payload)[0]))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        self._count_control_frame()
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with content")
            self._decoder.settle()
            events.append(SettingsAcknowledged())
            return
        if len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS that is no multiple of 6 bytes long")
        for setting, value in frames.SETTING.iter_unpack(payload):
            self._apply(setting, value)
        self._out.append(frames.frame(frames.SETTINGS, ACK, 0))
        events.append(SettingsReceived())

    def _apply(self, setting: int, value: int) -> None:
        """Takes one of the peer's settings (section 6.5.2). Unknown ones are ignored."""
        if setting == frames.SETTINGS_INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE {value}")
            # Windows may become negative by this (section 6.9.2).
            change = value - self._initial_send_window
            if not change:
                return
            self._count_control_frame(len(self._streams))
            self._initial_send_window = value
            self._opened = True
            for stream in self._streams.values():
                stream.send_window += change
                if stream.send_window > frames.MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window beyond 2^31-1")
        elif setting == frames.SETTINGS_MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_SIZE <= value <= frames.MAX_FRAME_SIZE:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE {value}")
            self._max_frame = value
        elif setting == frames.SETTINGS_MAX_CONCURRENT_STREAMS:
            self.peer_max_streams = value
        elif setting == frames.SETTINGS_ENABLE_PUSH and (value > 1 or (value and self.client)):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH {value}")

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody allowed")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING that is not 8 bytes long")
        self._count_control_frame()
        if flags & ACK:
            events.append(PingAcknowledged(payload))
            return
        self._out.append(frames.frame(frames.PING, ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        self._count_control_frame()
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY that is too short")
        last, code = frames.TWO_WORDS.unpack_from(payload)
        last &= frames.MAX_STREAM_ID
        self.going_away = True
        events.append(GoAwayReceived(last, code, payload[8:]))
        if self.client:
            for unseen in [opened for opened in self._streams if opened > last]:
                del self._streams[unseen]
                self._forget(unseen)
                events.append(StreamReset(unseen, ErrorCode.REFUSED_STREAM))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE that is not 4 bytes long")
        increment = frames.WORD.unpack(payload)[0] & frames.MAX_WINDOW
        if not stream_id:
            useful = bool(self._waiting) and self._send_window <= 0
            self._send_window += increment
            if not increment or self._send_window > frames.MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise ConnectionFault(code, f"a connection window opened by {increment}")
        else:
            if self._is_idle(stream_id):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"WINDOW_UPDATE on stream {stream_id}, which is idle")
            stream = self._streams.get(stream_id)
            if stream is None:
                self._count_control_frame()
                return
            useful = bool(stream.queue)
            stream.send_window += increment
            if not increment or stream.send_window > frames.MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise StreamFault(stream_id, code, f"a window opened by {increment}")
        if useful:
            self._opened = True
        else:
            self._count_control_frame()

    def _tick(self) -> None:
        now = self._clock()
        if now - self._second >= 1:
            self._second = now
            self._control_frames = self._resets = 0

    def _count_reset(self) -> None:
        self._tick()
        self._resets += 1
        if self._resets > MAX_RESETS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {MAX_RESETS} resets a second")

    def _count_control_frame(self, weight: int = 1) -> None:
        self._tick()
        self._control_frames += weight
        if self._control_frames > MAX_CONTROL_FRAMES:
            text = f"more than {MAX_CONTROL_FRAMES} frames a second that move nothing"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, text)

    _OTHERS: ClassVar[Dict[int, Callable[[Connection, int, int, bytes, List[Event]], None]]] = {
        frames.PRIORITY: _on_priority,
        frames.RST_STREAM: _on_rst_stream,
        frames.SETTINGS: _on_settings,
        frames.PUSH_PROMISE: _on_push_promise,
        frames.PING: _on_ping,
        frames.GOAWAY: _on_goaway,
        frames.WINDOW_UPDATE: _on_window_update,
        frames.CONTINUATION: _on_continuation,
    }


def _gather(data: Buffer, begin: int, at: int, stream_id: int) -> Tuple[bytes, int, int]:
    """A large message is a row of full DATA frames: as many as are here count as one with the flags of the last.

    The first one's payload stands from ``begin`` to ``at``. Gives the payload of all, the flags, and where the next
    frame begins.
    """
    view = memoryview(data)
    parts = [view[begin:at]]
    flags = 0
    while not flags and len(data) - at >= frames.HEADER_SIZE:
        high, low, kind, next_flags, next_id = frames.HEADER.unpack_from(data, at)
        size = high << 8 | low
        stop = at + frames.HEADER_SIZE + size
        plain = kind == frames.DATA and next_id == stream_id and next_flags <= END_STREAM
        if not plain or size > frames.DEFAULT_FRAME_SIZE or stop > len(data):
            break
        parts.append(view[at + frames.HEADER_SIZE : stop])
        at, flags = stop, next_flags
    return b"".join(parts), flags, at


def _unpad(payload: bytes) -> bytes:
    """Takes the padding off (section 6.1)."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
