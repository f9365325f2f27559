"""The sending half of a connection: its frames leave as the peer's windows and the socket allow (RFC 9113, 6.9)."""

from __future__ import annotations

from collections import deque
from typing import Dict, Final, List

from criproxy.http2 import frames
from criproxy.http2.errors import ConnectionFault, ErrorCode, StreamFault
from criproxy.http2.events import Event, Sent
from criproxy.http2.fields import NO_TABLE
from criproxy.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, Buffer, header
from criproxy.http2.streams import OVER, Stream, Streams

_ENTRY: Final = 256
"""What an entry of a queue takes beside its bytes (a tuple, a view, the objects' heads), bytes. It counts: a peer may
cut what it sends into pieces of one byte."""


class Sender:
    """Writes HEADERS and DATA to ``out`` and queues what must wait.

    ``initial_window``, ``max_frame``: the peer's settings, bytes. ``opened``: a window has been opened that something
    waits for; `send_queued` is to be called. ``queued``: the memory that what waits takes, bytes; data that has left in
    part still takes all of it.
    """

    __slots__ = (
        "_first_block",
        "_held",
        "_out",
        "_streams",
        "_table",
        "_waiting",
        "_window",
        "initial_window",
        "max_frame",
        "opened",
        "queued",
    )

    def __init__(self, streams: Streams, out: List[Buffer]) -> None:
        self._table = streams
        self._streams = streams.open
        self._out = out
        self._window = frames.DEFAULT_WINDOW
        self._waiting: Dict[int, Stream] = {}
        self._held = False
        self._first_block = True
        self.initial_window = frames.DEFAULT_WINDOW
        self.max_frame = frames.DEFAULT_FRAME_SIZE
        self.opened = False
        self.queued = 0

    def headers(self, stream_id: int, wire: bytes, end_stream: bool = False) -> None:
        """Sends a field block (headers.Block.wire), behind whatever the stream has queued.

        A stream that is over, or whose end has been sent, is left alone.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.sending is OVER:
            return
        if end_stream:
            stream.sending = OVER
        if stream.queue:
            stream.queue.append((HEADERS, memoryview(wire), end_stream))
            self.queued += len(wire) + _ENTRY
            return
        if self._first_block or len(wire) > self.max_frame:
            self._emit_block(stream_id, wire, end_stream)
        else:  # As in `data`, written out: a call of Python's more is a hundredth of what a CRI call takes.
            flags = END_HEADERS | END_STREAM if end_stream else END_HEADERS
            out = self._out
            out.append(header(len(wire), HEADERS, flags, stream_id))
            out.append(wire)
        if end_stream and stream.receiving is OVER:
            del self._streams[stream_id]

    def data(self, stream_id: int, data: bytes, end_stream: bool = False) -> int:
        """Sends data, or queues what the windows do not let pass; says how many bytes were sent.

        A stream that is over, or whose end has been sent, swallows the data as if it had been sent.
        """
        size = len(data)
        stream = self._streams.get(stream_id)
        if stream is None or stream.sending is OVER:
            return size
        if end_stream:
            stream.sending = OVER
        if stream.queue:
            stream.queue.append((DATA, memoryview(data), end_stream))
            self.queued += size + _ENTRY
            return 0
        may_pass = size <= self.max_frame or not self._waiting
        if may_pass and size <= stream.send_window and size <= self._window and not self._held:
            stream.send_window -= size
            self._window -= size
            if size <= self.max_frame:
                out = self._out
                out.append(header(size, DATA, END_STREAM if end_stream else 0, stream_id))
                out.append(data)
            else:
                self._emit_data(stream_id, memoryview(data), end_stream)
            if end_stream and stream.receiving is OVER:
                del self._streams[stream_id]
            return size
        # A view: what does not fit a frame is cut off many times, and should not be copied each time.
        stream.queue = deque(((DATA, memoryview(data), end_stream),))
        self._waiting[stream_id] = stream
        self.queued += size + _ENTRY
        sent = 0
        while self._step(stream_id, stream):
            sent = size - (len(stream.queue[0][1]) if stream.queue else 0)
        return sent

    def hold(self, held: bool) -> List[Event]:
        """Whether data must wait for the socket; lifting it sends what was queued and gives its `Sent` events."""
        self._held = held
        events: List[Event] = []
        if not held:
            self.send_queued(events)
        return events

    def forget(self, stream_id: int) -> None:
        """The stream has been reset: nothing of it waits, and what the peer still sends on it is ignored."""
        stream = self._waiting.pop(stream_id, None)
        if stream is not None and stream.queue:
            self.queued -= sum(_taken(data) for _, data, _ in stream.queue)
            stream.queue = None
        self._table.remember_reset(stream_id)

    def send_queued(self, events: List[Event]) -> None:
        """Lets queued frames pass, one a stream in turn, until the windows are used up."""
        self.opened = False
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

    def open_connection(self, increment: int) -> bool:
        """The peer opens the connection's window by so many bytes; says whether anything waits for that.

        Raises ConnectionFault for no increment, or a window that is too large (sections 6.9, 6.9.1).
        """
        useful = bool(self._waiting) and self._window <= 0
        self._window += increment
        if not increment or self._window > frames.MAX_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            raise ConnectionFault(code, f"a connection window opened by {increment}")
        self.opened = self.opened or useful
        return useful

    def open_stream(self, stream_id: int, stream: Stream, increment: int) -> bool:
        """The same of a stream's window. Raises StreamFault."""
        useful = bool(stream.queue)
        stream.send_window += increment
        if not increment or stream.send_window > frames.MAX_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            raise StreamFault(stream_id, code, f"a window opened by {increment}")
        self.opened = self.opened or useful
        return useful

    def set_initial_window(self, size: int) -> int:
        """Takes the peer's SETTINGS_INITIAL_WINDOW_SIZE, bytes; says how many windows have changed by it.

        They may become negative (section 6.9.2). Raises ConnectionFault for one that becomes too large.
        """
        change = size - self.initial_window
        if not change:
            return 0
        self.initial_window = size
        self.opened = True
        for stream in self._streams.values():
            stream.send_window += change
            if stream.send_window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window beyond 2^31-1")
        return len(self._streams)

    def _emit_block(self, stream_id: int, wire: bytes, end_stream: bool) -> None:
        """Any field block: the first one, or one that takes several frames, too."""
        if self._first_block:
            self._first_block = False
            wire = NO_TABLE + wire
        limit = self.max_frame
        flags = END_STREAM if end_stream else 0
        if len(wire) <= limit:
            flags |= END_HEADERS
        self._out.append(frames.frame(HEADERS, flags, stream_id, wire[:limit]))
        for at in range(limit, len(wire), limit):
            last = END_HEADERS if at + limit >= len(wire) else 0
            self._out.append(frames.frame(frames.CONTINUATION, last, stream_id, wire[at : at + limit]))

    def _emit_data(self, stream_id: int, data: memoryview, end_stream: bool) -> None:
        """Data in one frame or more."""
        limit = self.max_frame
        for at in range(0, len(data) or 1, limit):
            piece = data[at : at + limit]
            flags = END_STREAM if end_stream and at + limit >= len(data) else 0
            self._out.append(header(len(piece), DATA, flags, stream_id))
            self._out.append(piece)

    def _step(self, stream_id: int, stream: Stream) -> int:
        """Sends the next frame of a queue if it may pass; gives the bytes of data in it, plus one, or 0 for none."""
        if not stream.queue:
            return 0
        kind, data, end_stream = stream.queue[0]
        if kind == HEADERS:
            stream.queue.popleft()
            self.queued -= _taken(data)
            self._emit_block(stream_id, bytes(data), end_stream)
            size = 0
        else:
            room = min(self.max_frame, stream.send_window, self._window)
            if self._held or (room <= 0 and data):
                return 0
            size = min(room, len(data)) if data else 0
            if size == len(data):
                stream.queue.popleft()
                self.queued -= _taken(data)
            else:
                stream.queue[0] = (kind, data[size:], end_stream)
                data, end_stream = data[:size], False
            stream.send_window -= size
            self._window -= size
            self._emit_data(stream_id, data, end_stream)
        if not stream.queue:
            self._waiting.pop(stream_id, None)
            if stream.sending is OVER and stream.receiving is OVER:
                del self._streams[stream_id]
        return size + 1


def _taken(data: memoryview) -> int:
    """The memory that an entry of a queue takes, bytes: a view keeps all of what it is a view of."""
    return memoryview(data.obj).nbytes + _ENTRY
