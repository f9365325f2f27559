"""One end of an HTTP/2 connection (RFC 9113), as a machine without I/O.

Bytes from the peer go into `Connection.receive`, which gives back the events they amount to. What is to be sent is
said by methods (`send_headers`, `send_data`, `reset` …) and collected until `data_to_send` takes it: whoever feeds
the machine takes once for each piece of input, so that the frames of a piece leave in one write.

Flow control, the two halves:

- *Receiving.* The connection's window is large and is given back as soon as data arrives, so that no stream can
  stall another. A stream's window is given back only as its data is `consumed`; so a peer can have at most one
  stream window (``stream_window`` bytes) waiting here for each stream.
- *Sending* (`criproxy.http2.sending`). `send_data` sends what the peer's windows allow and queues the rest of the
  stream in order, trailers included. As windows open, queued data leaves in turns of one frame a stream, and each
  piece is told in a `Sent` event, by which a relay lets the data's own sender go on (`consumed`, on the other
  connection). While the socket beneath takes nothing (`hold`), the windows count as closed.

An error of the peer's ends the stream that it concerns (RST_STREAM, section 5.4.2). It ends the connection (GOAWAY,
5.4.1) where the section says so, or where both ends would no longer agree on what follows.

The bulk of `receive` is one loop with the frames of calls, HEADERS and DATA, written out in it; all others are for
`criproxy.http2.control`.
"""

from __future__ import annotations

import sys
import time
from typing import Callable, Final, List, Optional

from criproxy.http2 import frames, settings
from criproxy.http2.assembly import BlockAssembly, UnreadBlock
from criproxy.http2.control import ControlFrames
from criproxy.http2.errors import ConnectionFault, ErrorCode, StreamFault
from criproxy.http2.events import DataReceived, Event, HeadersReceived, StreamReset
from criproxy.http2.frames import DATA, END_HEADERS, END_STREAM, HEADER_SIZE, HEADERS, Buffer, header_at
from criproxy.http2.headers import Block, BlockDecoder, Role, Spelling
from criproxy.http2.limits import LARGE_BLOCK, TINY_DATA, Limits
from criproxy.http2.sending import Sender
from criproxy.http2.streams import (
    BODY,
    HEAD,
    MEASURED,
    NO_SHUTDOWN,
    OUR_SHUTDOWN,
    OVER,
    Phase,
    Shutdown,
    Stream,
    Streams,
)

CONNECTION_WINDOW: Final = 16 * 2**20
"""What a peer may send on all its streams together before we must have read it, bytes. It is given back when half of it
is used: so large that this never makes a peer wait, and not a frame for each piece of data."""

_JOINED: Final = 64 * 1024
"""Up to so many bytes are put behind the beginning of a frame that came before: to copy them costs next to nothing."""
_FRAMES_OF_A_STEP: Final = 16
"""How many frames take as long as a step of reading a large field block (fields.STEP)."""
_SHAPES: Final = END_HEADERS | frames.PADDED | frames.PRIORITY_FLAG
"""The flags of HEADERS that say what it consists of: of most frames, of a whole block alone."""
_BYTES_OF_A_FRAME: Final = 256
"""How many bytes of a block that is read in one go, which may be Huffman code, take as long as a frame."""

# An enumeration's members are slow to get in the middle of a call.
_PREFACE: Final = Phase.PREFACE
_SETTINGS: Final = Phase.SETTINGS
_FRAMES: Final = Phase.FRAMES
_BLOCK: Final = Phase.BLOCK
_TRAILERS: Final = Role.TRAILERS
_INTERIM: Final = Role.INTERIM


class Connection:
    """One end of a connection.

    ``client``: whether this end is the client. ``stream_window``: our SETTINGS_INITIAL_WINDOW_SIZE, bytes; a peer
    that has not read it yet sends up to frames.DEFAULT_WINDOW, which is a fault if that is more.
    ``max_streams``: how many streams a client may have open here. ``volatile``: see headers.BlockDecoder.
    ``clock`` gives seconds and serves only to count frames a second.
    """

    def __init__(
        self,
        client: bool,
        stream_window: int = frames.DEFAULT_WINDOW,
        max_streams: int = 1_000,
        volatile: Optional[Spelling] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.stream_window = stream_window
        self.max_streams = max_streams
        self._head_role = Role.RESPONSE if client else Role.REQUEST
        self._decoder = BlockDecoder(volatile)
        self._limits = Limits(clock)
        self._table = Streams(client)
        self._streams = self._table.open
        self._out: List[Buffer] = []
        self.sender = Sender(self._table, self._out)
        """What sends headers and data."""
        self._control = ControlFrames(client, self._table, self.sender, self._decoder, self._limits, self._out)
        self.has_more = False
        """Whether `receive` has left frames for its next call, which may then bring no bytes."""
        self._rest = b""
        self._phase = _SETTINGS if client else _PREFACE
        self._assembly: Optional[BlockAssembly] = None
        self._unread: Optional[UnreadBlock] = None
        self._receive_window = CONNECTION_WINDOW
        if client:
            self._out.append(frames.PREFACE)
        self._out.append(settings.ours(client, stream_window, max_streams))
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
        out = self._out.copy()
        self._out.clear()
        return out

    @property
    def open_streams(self) -> int:
        """How many streams are open in at least one direction."""
        return len(self._streams)

    @property
    def greeted(self) -> bool:
        """Whether the peer has begun as HTTP/2 has it, with SETTINGS (section 3.4)."""
        return self._phase is _FRAMES or self._phase is _BLOCK

    @property
    def is_reading(self) -> bool:
        """Whether a large field block is being read, of which nothing is told before its end."""
        return self._unread is not None

    @property
    def going_away(self) -> bool:
        """Whether a GOAWAY has been sent or received: no new streams."""
        return self._table.shutdown is not NO_SHUTDOWN

    def knows(self, stream_id: int) -> bool:
        """Whether the stream is open in at least one direction."""
        return stream_id in self._streams

    @property
    def used_up(self) -> bool:
        """Whether this end has opened all the streams that a connection can have (section 5.1.1)."""
        return self._table.next_id > frames.MAX_STREAM_ID

    @property
    def last_opened(self) -> int:
        """The id of the last stream that this end has opened; below 1 if there is none (client)."""
        return self._table.next_id - 2

    def has_queued(self, stream_id: int) -> bool:
        """Whether something that is to be sent on the stream waits for a window."""
        stream = self._streams.get(stream_id)
        return stream is not None and bool(stream.queue)

    @property
    def queued(self) -> int:
        """The memory that is taken by what waits for the peer's windows, or for the socket (`hold`), bytes."""
        return self.sender.queued

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` may be called: the peer takes one stream more."""
        table = self._table
        has_room = len(self._streams) < table.peer_max_streams and table.next_id <= frames.MAX_STREAM_ID
        return has_room and table.shutdown is NO_SHUTDOWN

    def open_stream(self) -> int:
        """A new stream of ours (client); its HEADERS must be sent next, for the ids to go up on the wire."""
        stream_id = self._table.next_id
        self._table.next_id += 2
        self._streams[stream_id] = Stream(self.stream_window, self.sender.initial_window)
        return stream_id

    def consumed(self, stream_id: int, size: int) -> None:
        """So many bytes of the stream's data have been consumed: the peer may send as many again."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.receiving is OVER:
            return
        stream.unreturned += size
        if stream.unreturned * 2 >= self.stream_window:
            self._out.append(frames.window_update(stream_id, stream.unreturned))
            stream.receive_window += stream.unreturned
            stream.unreturned = 0

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Ends a stream with RST_STREAM; one that is over already is left alone."""
        if self._streams.pop(stream_id, None) is not None:
            self.sender.forget(stream_id)
            self._out.append(frames.rst_stream(stream_id, code))

    def ping(self, payload: bytes) -> None:
        """Sends a PING with these 8 bytes; the answer is a `PingAcknowledged`."""
        self._out.append(frames.frame(frames.PING, 0, 0, payload))

    def announce_going_away(self) -> None:
        """Sends a GOAWAY after which the peer opens no streams; those it has opened meanwhile are taken."""
        self._out.append(frames.goaway(frames.MAX_STREAM_ID, ErrorCode.NO_ERROR, ""))

    def go_away(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Sends GOAWAY: streams that the peer has open go on unless ``code`` is an error, new ones are ignored."""
        self._table.end(Shutdown.OURS)
        self._out.append(frames.goaway(self._table.last_peer_id, code, text))

    # What was received.

    @property
    def rest(self) -> bytes:
        """What has been received and not been looked at: the beginning of a frame, as a rule."""
        return self._rest

    def receive(self, data: bytes, most: int = sys.maxsize) -> List[Event]:
        """Takes bytes from the peer and gives their events, in order; what their windows let go (`Sent`) comes last.

        After ``most`` frames, or so much of a large field block, it leaves the rest for another call (`has_more`): time
        is spent by the frame, not by the byte. Raises ConnectionFault; the GOAWAY that says it is then ready to be
        sent, and the connection is over.
        """
        events: List[Event] = []
        try:
            self._receive(data, events, most)
        except ConnectionFault as fault:
            self.go_away(fault.code, str(fault))
            raise
        return events

    def _receive(self, data: bytes, events: List[Event], most: int) -> None:
        rest, at = self._rest, 0
        if self._phase is _PREFACE:
            data = rest + data
            at = self._skip_preface(data)
            if not at:  # Without the whole preface there is nothing to read yet.
                self._rest = data
                return
        elif rest and (len(data) <= _JOINED or self.has_more):
            data = rest + data
        elif rest:  # To join them would copy all that has come for the sake of one frame.
            at = frames.missing(rest, data)
            most = self._read_frames(rest + data[:at], 0, events, most)
        if self.has_more:
            self.has_more = False
            most = self._read_on(most, 0, events)
        self._read_frames(data, at, events, most)

    def _read_frames(self, data: bytes, at: int, events: List[Event], most: int) -> int:
        """Reads at most so many frames, the first one from ``at`` on, keeps the rest, and gives how many are left."""
        end = len(data)
        credit = 0
        while end - at >= HEADER_SIZE:
            if most <= 0:
                self.has_more = True
                break
            most -= 1
            size, kind, flags, stream_id = header_at(data, at)
            if size > frames.DEFAULT_FRAME_SIZE:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            begin = at + HEADER_SIZE
            stop = begin + size
            if stop > end:
                break
            at = stop
            try:
                if self._phase is not _FRAMES:
                    self._check_expected(kind, flags, stream_id)
                if kind == DATA:
                    if size == frames.DEFAULT_FRAME_SIZE and not flags:
                        payload, flags, at = frames.coalesced(data, begin, at, stream_id)
                        credit += len(payload)
                    else:
                        payload = data[begin:stop]
                        credit += size
                    self._on_data(flags, stream_id, payload, events)
                elif kind == HEADERS:
                    if stream_id and flags & _SHAPES == END_HEADERS:
                        self._on_block(stream_id, data[begin:stop], flags & END_STREAM != 0, events)
                    else:
                        self._on_headers(flags, stream_id, data[begin:stop], events)
                    if size > LARGE_BLOCK or self._unread is not None:
                        most = self._read_on(most, size, events)
                elif kind == frames.CONTINUATION:
                    self._on_continuation(flags, stream_id, data[begin:stop], events)
                    if size > LARGE_BLOCK or self._unread is not None:
                        most = self._read_on(most, size, events)
                else:
                    self._control.take(kind, flags, stream_id, data[begin:stop], events)
            except StreamFault as fault:
                self._on_fault(fault, events)
        self._rest = data[at:]
        if self.sender.opened:
            # Once for all that came: a peer could have us look at all streams that wait for each byte it grants.
            self.sender.send_queued(events)
        if credit:
            self._return_credit(credit)
        return most

    def _on_fault(self, fault: StreamFault, events: List[Event]) -> None:
        self._limits.count_reset()
        if fault.stream_id in self._streams:
            self.reset(fault.stream_id, fault.code)
            events.append(StreamReset(fault.stream_id, fault.code))

    def _return_credit(self, size: int) -> None:
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window allows")
        if self._receive_window * 2 <= CONNECTION_WINDOW:
            self._out.append(frames.window_update(0, CONNECTION_WINDOW - self._receive_window))
            self._receive_window = CONNECTION_WINDOW

    def _skip_preface(self, data: bytes) -> int:
        have = data[: len(frames.PREFACE)]
        if not frames.PREFACE.startswith(have):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"not an HTTP/2 client: it began with {have!r}")
        if len(have) < len(frames.PREFACE):
            return 0
        self._phase = _SETTINGS
        return len(frames.PREFACE)

    def _check_expected(self, kind: int, flags: int, stream_id: int) -> None:
        if self._assembly is not None:
            if kind != frames.CONTINUATION or stream_id != self._assembly.stream_id:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a field block interrupted by another frame")
        else:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frame type {kind} before SETTINGS")
            self._phase = _FRAMES

    def _on_data(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        size = len(payload)
        stream = self._streams.get(stream_id)
        if stream is None or stream.receiving is OVER:
            self._on_closed(stream_id, stream is not None)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window allows")
        if flags & frames.PADDED:
            payload = frames.unpad(payload)
        end_stream = flags & END_STREAM != 0
        if stream.receiving is not BODY:
            if stream.receiving is HEAD:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "data before the head")
            stream.measure(stream_id, len(payload), end_stream)
        if end_stream:
            stream.receiving = OVER
            if stream.sending is OVER and not stream.queue:
                del self._streams[stream_id]
        elif len(payload) < TINY_DATA:
            self._limits.count_control_frame()
        events.append(DataReceived(stream_id, payload, size, end_stream))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if flags & (frames.PADDED | frames.PRIORITY_FLAG):
            payload = frames.fragment(flags, payload)
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        end_stream = flags & END_STREAM != 0
        if flags & END_HEADERS:
            self._on_block(stream_id, payload, end_stream, events)
            return
        self._assembly = BlockAssembly(stream_id, end_stream, payload, self._decoder.max_block)
        self._phase = _BLOCK

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        assembly = self._assembly
        if assembly is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        assembly.add(payload, self._decoder.settled)
        if flags & END_HEADERS:
            self._assembly = None
            self._phase = _FRAMES
            self._on_block(stream_id, assembly.block(), assembly.end_stream, events)

    def _on_block(
        self,
        stream_id: int,
        wire: Optional[bytes],
        end_stream: bool,
        events: List[Event],
        block: Optional[Block] = None,
    ) -> None:
        """A whole field block; ``wire``: None for one that was too large, or has been read (``block``)."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.receiving is OVER:
            if self.client or stream is not None or stream_id <= self._table.last_peer_id or not stream_id & 1:
                self._skip_block(wire)
                if self._table.was_left_out(stream_id):
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} opened after a higher one")
                self._on_closed(stream_id, stream is not None)
                return
            if not self._accept(stream_id):
                self._skip_block(wire)
                return
            stream = self._streams[stream_id] = Stream(self.stream_window, self.sender.initial_window)
        if wire is not None:
            if len(wire) <= LARGE_BLOCK:
                block = self._decoder.decode(wire)
            elif self._limits.allows_block(len(wire), self._decoder.settled):
                self._unread = UnreadBlock(stream_id, end_stream, self._decoder.steps(wire))
                return
        if block is None:
            raise StreamFault(stream_id, ErrorCode.ENHANCE_YOUR_CALM, "too many fields, or too large ones")
        head = block.head
        if block.malformed:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, block.malformed)
        role = head.role
        if stream.receiving is not HEAD:
            if role is not _TRAILERS or not end_stream:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "a second head, or trailers without END_STREAM")
            if stream.receiving is MEASURED:
                stream.measure(stream_id, 0, True)
        elif role is self._head_role:
            self._limits.count_call()
            stream.receiving = BODY
            if block.length is not None:
                stream.expect(stream_id, block, end_stream)
        elif role is not _INTERIM or not self.client or end_stream:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "no head, or one of the wrong kind")
        else:  # An interim response says nothing to a client of gRPC (RFC 9110, section 15.2).
            self._limits.count_block(len(head.wire))
            return
        if end_stream:
            stream.receiving = OVER
            if stream.sending is OVER and not stream.queue:
                del self._streams[stream_id]
        events.append(HeadersReceived(stream_id, block, end_stream))

    def _read_on(self, most: int, size: int, events: List[Event]) -> int:
        """Reads on in a large block, of which a step counts as many frames; says how many of ``most`` are left."""
        unread = self._unread
        if not self._decoder.settled:  # Then all ``size`` bytes of the frame that has just come have been read at once.
            most -= size // _BYTES_OF_A_FRAME
        if unread is None:
            return most
        while unread.stream_id in self._streams:
            try:
                next(unread.steps)
            except StopIteration as read:
                self._unread = None
                try:
                    self._on_block(unread.stream_id, None, unread.end_stream, events, read.value)
                except StreamFault as fault:
                    self._on_fault(fault, events)
                return most
            most -= _FRAMES_OF_A_STEP
            if most <= 0:
                self.has_more = True
                return most
        self._unread = None  # We have reset the stream meanwhile.
        return most

    def _skip_block(self, wire: Optional[bytes]) -> None:
        """A block that nobody needs. As long as the peer has a table, it is read for the table's sake (section 4.3)."""
        if wire is not None and not self._decoder.settled:
            self._limits.count_block(len(wire))
            self._decoder.decode(wire)

    def _accept(self, stream_id: int) -> bool:
        """Whether a client's new stream is taken: we may have said that we take none (GOAWAY), or not so many."""
        table = self._table
        if table.shutdown is OUR_SHUTDOWN:
            self._limits.count_control_frame()
            return False
        if stream_id > table.last_peer_id + 2:
            table.leave_out(stream_id)
        table.last_peer_id = stream_id
        if len(self._streams) < self.max_streams:
            return True
        self._limits.count_control_frame()
        self.sender.forget(stream_id)
        self._out.append(frames.rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
        return False

    def _on_closed(self, stream_id: int, half: bool) -> None:
        """HEADERS or DATA on a stream that takes none: an error, unless it crossed our RST_STREAM or GOAWAY."""
        if not stream_id or self._table.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a frame on the idle stream {stream_id}")
        if half:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "a frame after END_STREAM")
        self._limits.count_control_frame()
        if not self._table.was_reset(stream_id) and self._table.shutdown is not OUR_SHUTDOWN:
            self._out.append(frames.rst_stream(stream_id, ErrorCode.STREAM_CLOSED))
