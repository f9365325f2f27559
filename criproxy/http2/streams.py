"""The states of a connection and of its streams (RFC 9113, section 5.1), their ids, and those that were reset."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Deque, Dict, Final, Optional, Tuple

from criproxy.http2.errors import ErrorCode, StreamFault
from criproxy.http2.frames import MAX_STREAM_ID
from criproxy.http2.headers import UNREADABLE, Block

_REMEMBERED_RESETS: Final = 2_048
"""Streams that we have reset and of which frames may still be on their way. The peer hears of a reset within a round
trip; a stream that is forgotten too early costs one more RST_STREAM."""
_REMEMBERED_GAPS: Final = 64
"""Rows of ids that a client has left out. No client leaves any out; what is forgotten counts as a closed stream."""

_NOT_MODIFIED: Final = (b":status", b"304")
"""What such a response begins with: it has no other pseudo-header, and these come first (section 8.3)."""


class Phase(Enum):
    """What must come next."""

    PREFACE = "the client's preface (section 3.4)"
    SETTINGS = "the peer's first frame, SETTINGS (section 3.4)"
    FRAMES = "any frame"
    BLOCK = "CONTINUATION of the field block that has begun (section 4.3)"


class Half(Enum):
    """What one direction of a stream has come to (section 8.1). Both together are the states of section 5.1."""

    HEAD = "the head has yet to come"
    BODY = "the head has come: data may follow, and trailers"
    MEASURED = "the same, and the head has said how much data follows (content-length, section 8.1.1)"
    OVER = "END_STREAM"


class Shutdown(Enum):
    """Who has sent GOAWAY (section 6.8)."""

    NONE = "neither end"
    PEER = "the peer alone: we open no streams, but take those that it opens"
    OURS = "this end, or both: nobody opens streams"


# An enumeration's members are slow to get in the middle of a call.
HEAD: Final = Half.HEAD
BODY: Final = Half.BODY
MEASURED: Final = Half.MEASURED
OVER: Final = Half.OVER
NO_SHUTDOWN: Final = Shutdown.NONE
OUR_SHUTDOWN: Final = Shutdown.OURS


class Stream:
    """One stream.

    ``receiving``, ``sending``: the two halves. What we send is not checked, so that half is never HEAD; it is OVER as
    soon as END_STREAM is given to us, though it may still wait in the queue. ``missing``: bytes of data that are still
    to come, if ``receiving`` is MEASURED; unset otherwise. ``receive_window``, ``send_window``: bytes; the latter may
    be negative (section 6.9.2). ``unreturned``: bytes that are consumed and not yet given back by
    WINDOW_UPDATE. ``queue``: what waits for a window, as (frame type, bytes, END_STREAM); None as long as nothing
    ever did.
    """

    __slots__ = ("missing", "queue", "receive_window", "receiving", "send_window", "sending", "unreturned")

    missing: int

    def __init__(self, receive_window: int, send_window: int) -> None:
        self.receive_window = receive_window
        self.send_window = send_window
        self.unreturned = 0
        self.receiving = HEAD
        self.sending = BODY
        self.queue: Optional[Deque[Tuple[int, memoryview, bool]]] = None

    def expect(self, stream_id: int, block: Block, end_stream: bool) -> None:
        """A head says by content-length how much data follows; that of a 304 is another response's (RFC 9110, 8.6).

        Raises StreamFault if it cannot be read, or ``end_stream`` says that nothing follows.
        """
        length = block.length
        if length is None or length == UNREADABLE:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "a content-length that is not one number")
        if block.head.fields[0] != _NOT_MODIFIED:
            self.receiving = MEASURED
            self.missing = length
            self.measure(stream_id, 0, end_stream)

    def measure(self, stream_id: int, size: int, end_stream: bool) -> None:
        """Counts data of a half that is MEASURED. Raises StreamFault if it does not add up to content-length."""
        self.missing -= size
        if self.missing < 0 or (end_stream and self.missing):
            text = f"{abs(self.missing)} bytes {'less' if self.missing > 0 else 'more'} than content-length says"
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, text)


class Streams:
    """The table of streams.

    ``open``: the streams that are open in at least one direction or have something queued. ``next_id``: the id of
    our next stream (client). ``last_peer_id``: the highest id that the peer has opened (server). ``shutdown``: who has
    said that there will be no more. ``peer_max_streams``: how many streams the peer lets us have open
    (SETTINGS_MAX_CONCURRENT_STREAMS).
    """

    __slots__ = ("_client", "_gaps", "_reset", "last_peer_id", "next_id", "open", "peer_max_streams", "shutdown")

    def __init__(self, client: bool) -> None:
        self._client = client
        self.open: Dict[int, Stream] = {}
        self.next_id = 1
        self.last_peer_id = 0
        self.shutdown = NO_SHUTDOWN
        self.peer_max_streams = MAX_STREAM_ID
        self._reset: Dict[int, None] = {}
        self._gaps: Deque[range] = deque(maxlen=_REMEMBERED_GAPS)

    def leave_out(self, stream_id: int) -> None:
        """The peer is about to open this stream, which closes those below it that it has not used (section 5.1.1)."""
        self._gaps.append(range(self.last_peer_id + 1, stream_id))

    def was_left_out(self, stream_id: int) -> bool:
        """Whether the peer has opened a stream above this one without ever using it, as far as is remembered."""
        return any(stream_id in gap for gap in self._gaps)

    def remember_reset(self, stream_id: int) -> None:
        """Frames that were on their way when the stream was reset are to be ignored (section 5.1, closed)."""
        self._reset[stream_id] = None
        if len(self._reset) > _REMEMBERED_RESETS:
            del self._reset[next(iter(self._reset))]

    def was_reset(self, stream_id: int) -> bool:
        """Whether the stream has been reset, as far as is remembered."""
        return stream_id in self._reset

    def is_idle(self, stream_id: int) -> bool:
        """Whether the stream has never been used (section 5.1); after our GOAWAY that is not known of the peer's."""
        if bool(stream_id & 1) == self._client:
            return stream_id >= self.next_id
        # A server opens none: push is disabled.
        return self._client or (stream_id > self.last_peer_id and self.shutdown is not OUR_SHUTDOWN)

    def end(self, shutdown: Shutdown) -> None:
        """A GOAWAY has been sent or received."""
        if self.shutdown is not OUR_SHUTDOWN:
            self.shutdown = shutdown
