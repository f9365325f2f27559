"""One connection to a runtime, and the streams on it.

It knows nothing of calls. A `StreamSink` hears of the events of one stream, the `Owner` of those of the connection.
"""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from itertools import islice
from typing import Any, Callable, Dict, Final, FrozenSet, Iterator, List, NamedTuple, Optional, Protocol, Set, Tuple

from criproxy.cri.identity import Names
from criproxy.cri.versions import ApiVersion
from criproxy.http2.cache import Cache
from criproxy.http2.connection import Connection
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcknowledged,
    Sent,
    SettingsReceived,
    StreamReset,
)
from criproxy.http2.grpc import Code, RpcError
from criproxy.http2.headers import Block
from criproxy.relay.loop import Loop, Timer
from criproxy.relay.statistics import Traffic
from criproxy.relay.transport import Transport

STREAM_WINDOW: Final = 1024 * 1024
"""What a runtime may send of one response before kubelet has taken it, bytes: a list of 1,000 containers in one go."""
LIVENESS_TIMEOUT: Final = 1.0
"""How long a PING may remain unanswered before the runtime counts as silent, seconds. HTTP/2 libraries answer it beside
the calls, within a millisecond; a second lets a busy machine catch up, and leaves most of the fan-out timeout."""
_TRANSLATIONS: Final = 2**20
"""What the translations of a connection may take, bytes. Kubelet's calls have about a hundred of them."""
MOST_UNREAD: Final = 16 * 2**20
"""With more than this waiting for a runtime, a large request is refused, bytes: it may have stopped reading."""
LARGE_REQUEST: Final = 16 * 1024
"""Larger requests than this are large, bytes. Kubelet's are not: what others send does not make its calls fail."""
_TOLD_AT_ONCE: Final = 32
"""So many streams hear in one step that their connection is gone: three milliseconds, for calls that fail by it."""
_PING: Final = b"criproxy"
_LONGEST_PARTING: Final = 200
"""bytes of what a runtime says when it ends a connection: the reason is one line of the log."""


class StreamSink(Protocol):
    """What one stream's events go to. ``stream_id`` is set when the stream opens, and 0 until then.

    The last event is a call with ``end``, `on_reset` or `on_lost`; after `Upstream.cancel` there is none.
    """

    stream_id: int

    def on_opened(self) -> None:
        """The stream is open: the request is on its way."""

    def on_headers(self, block: Block, end: bool) -> None:
        """The response's headers, or its trailers."""

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        """Data of the response; ``size`` is owed to `Upstream.consumed`, bytes."""

    def on_request_sent(self, size: int) -> None:
        """So much of the request's data that had to wait for a window has left, bytes."""

    def on_reset(self, code: int) -> None:
        """The runtime has reset the stream (RFC 9113, section 7: an error code)."""

    def on_lost(self, reason: str) -> None:
        """The connection is gone."""


class Parting(NamedTuple):
    """How a connection ends on which no more streams can be opened."""

    reason: str
    graceful: bool
    """Whether nothing is wrong with it: it is old, or the runtime stops (RFC 9113, section 6.8)."""
    served: bool
    """Whether the runtime has taken a call on it."""


class Owner(Protocol):
    """The runtime that a connection is to."""

    names: Names

    def on_silence(self, upstream: Upstream) -> None:
        """It does not answer a PING."""

    def on_heard(self, upstream: Upstream) -> None:
        """It has been silent, and has answered the PING now."""

    def on_going_away(self, upstream: Upstream, parting: Parting) -> None:
        """No more streams can be opened; those that are open may end."""

    def on_closed(self, upstream: Upstream, reason: str) -> None:
        """The connection is gone; the reason is empty if the runtime closed it."""


class Upstream:
    """One connection to a runtime, and the streams that are open on it or wait to be."""

    def __init__(self, loop: Loop, sock: socket.socket, runtime: Owner, traffic: Optional[Traffic] = None) -> None:
        self.loop = loop
        self.runtime = runtime
        self.versions: FrozenSet[ApiVersion] = frozenset()
        """The versions of the CRI that the runtime speaks."""
        self.since = 0.0
        """When the runtime was found on it, seconds since 1970."""
        self._last_question = 0
        """The last stream that was opened before `take_calls`."""
        self.silent = False
        """It has not answered a PING within `LIVENESS_TIMEOUT`."""
        self.translations: Cache[Any, Any] = Cache(_TRANSLATIONS)
        """What those who open streams keep with the connection (exchange.py). Empty again when the names change."""
        self._sinks: Dict[int, StreamSink] = {}
        self._waiting: OrderedDict[StreamSink, Tuple[bytes, Optional[bytes]]] = OrderedDict()
        self._lost: Dict[StreamSink, None] = {}
        """Those that have not been told yet that the connection is gone."""
        self._pinged: Optional[Timer] = None
        """Runs from a PING on; there until the PING is answered."""
        self._on_silence: Set[Callable[[], None]] = set()
        self.connection = Connection(client=True, stream_window=STREAM_WINDOW)
        self.transport = Transport(loop, sock, self.connection, self._on_events, self._on_closed, traffic)

    def take_calls(self, versions: FrozenSet[ApiVersion]) -> None:
        """The runtime has been found on it, in these versions: the streams that follow are calls."""
        self.versions = versions
        self.since = time.time()
        self._last_question = self.connection.last_opened

    def open(self, sink: StreamSink, wire: bytes, data: Optional[bytes]) -> None:
        """Sends a request: its field block and, if ``data`` is not None, all its data.

        Where the runtime takes no more streams at once (RFC 9113, section 5.1.2), the request waits for one to end.
        Raises RpcError if it is large, and the runtime does not read.
        """
        if data is not None and len(data) > LARGE_REQUEST and self.unread > MOST_UNREAD:
            text = f"criproxy: {self.runtime} does not read: {self.unread} bytes of requests wait for it"
            raise RpcError(Code.RESOURCE_EXHAUSTED, text)
        self._open(sink, wire, data)

    def _open(self, sink: StreamSink, wire: bytes, data: Optional[bytes]) -> None:
        connection = self.connection
        if not connection.can_open:
            self._waiting[sink] = (wire, data)
            return
        sink.stream_id = stream_id = connection.open_stream()
        if connection.used_up:
            connection.go_away()
            self.runtime.on_going_away(self, Parting("its stream ids are used up", True, True))
        self._sinks[stream_id] = sink
        connection.sender.headers(stream_id, wire)
        if data is not None:
            connection.sender.data(stream_id, data, True)
        self.transport.flush_soon()
        sink.on_opened()

    def cancel(self, sink: StreamSink, code: int = ErrorCode.CANCEL) -> None:
        """Ends a stream before its end; its sink hears nothing more."""
        if self._sinks.get(sink.stream_id) is sink:
            del self._sinks[sink.stream_id]
            self.connection.reset(sink.stream_id, ErrorCode(code))
            self.transport.flush_soon()
            self._open_waiting()
            if self.connection.going_away:
                self._close_if_done()
        else:
            self._waiting.pop(sink, None)
            self._lost.pop(sink, None)

    def consumed(self, stream_id: int, size: int) -> None:
        """So much of a response's data has been passed on, bytes."""
        self.connection.consumed(stream_id, size)
        if self.connection.has_to_send:  # not yet, as a rule: windows are given back by the half
            self.transport.flush_soon()

    @property
    def under_way(self) -> int:
        """How many streams have not ended yet."""
        return len(self._sinks) + len(self._waiting)

    @property
    def unread(self) -> int:
        """The memory that is taken by requests that the runtime has not read, bytes."""
        return self.transport.unread + sum(len(data) for _, data in self._waiting.values() if data is not None)

    def check_liveness(self, on_silence: Optional[Callable[[], None]] = None) -> None:
        """Sends a PING. The runtime counts as silent if that is not answered in time, until it is: slow is not hung.

        ``on_silence`` is called then; at once if the runtime is silent already.
        """
        if on_silence is not None and self.silent:
            on_silence()
        elif on_silence is not None:
            self._on_silence.add(on_silence)
        if self._pinged is None:
            self._pinged = self.loop.call_later(LIVENESS_TIMEOUT, self._on_ping_timeout)
            self.connection.ping(_PING)
            self.transport.flush_soon()

    def _on_ping_timeout(self) -> None:
        self.silent = True
        self.runtime.on_silence(self)
        told, self._on_silence = self._on_silence, set()
        for on_silence in told:
            on_silence()

    def _on_pong(self) -> None:
        if self._pinged is not None:
            self._pinged.cancel()
            self._pinged = None
        self._on_silence.clear()
        if self.silent:
            self.silent = False
            self.runtime.on_heard(self)

    def go_away(self) -> None:
        """Opens no more streams, and closes the connection as soon as none is left."""
        self.connection.go_away()
        self.transport.flush_soon()
        self._open_waiting()
        self._close_if_done()

    def _close_if_done(self) -> None:
        if not self.under_way:
            self.transport.close_when_flushed()

    def _on_events(self, events: List[Event]) -> None:
        sinks = self._sinks
        for event in events:
            if isinstance(event, HeadersReceived):
                end = event.end_stream
                sink = self._pop(event.stream_id) if end else sinks.get(event.stream_id)
                if sink is not None:
                    sink.on_headers(event.block, end)
            elif isinstance(event, DataReceived):
                end = event.end_stream
                sink = self._pop(event.stream_id) if end else sinks.get(event.stream_id)
                if sink is not None:
                    sink.on_data(event.data, event.size, end)
            elif isinstance(event, Sent):
                stream_id, size = event
                sink = sinks.get(stream_id)
                if sink is not None:
                    sink.on_request_sent(size)
            elif isinstance(event, StreamReset):
                stream_id, code = event
                sink = sinks.pop(stream_id, None)
                if sink is not None:
                    sink.on_reset(code)
            elif isinstance(event, PingAcknowledged):
                self._on_pong()
            elif isinstance(event, GoAwayReceived):
                self.runtime.on_going_away(self, self._parting(event))
            elif isinstance(event, SettingsReceived):
                self._open_waiting()
        if self._waiting:
            self._open_waiting()
        if self.connection.going_away:
            self._close_if_done()

    def _parting(self, event: GoAwayReceived) -> Parting:
        served = min(event.last_stream_id, self.connection.last_opened) > self._last_question
        if event.code == ErrorCode.NO_ERROR:
            return Parting("it is going away", True, served)
        text = event.text[:_LONGEST_PARTING].decode("utf-8", "replace")
        parts = ("it ends the connection", ErrorCode.name_of(event.code), text)
        return Parting(": ".join(filter(None, parts)), False, served)

    def _pop(self, stream_id: int) -> Optional[StreamSink]:
        """The sink of a response that ends. What the runtime has not taken of the request it will not take any more."""
        if self.connection.knows(stream_id):
            self.connection.reset(stream_id, ErrorCode.NO_ERROR)
            self.transport.flush_soon()
        return self._sinks.pop(stream_id, None)

    def _open_waiting(self) -> None:
        while self._waiting and self.connection.can_open:
            sink, request = self._waiting.popitem(last=False)
            self._open(sink, *request)
        if self._waiting and self.connection.going_away:
            waiting, self._waiting = self._waiting, OrderedDict()
            for sink in waiting:
                sink.on_reset(ErrorCode.REFUSED_STREAM)

    def _on_closed(self, reason: str) -> None:
        if self._pinged is not None:
            self._pinged.cancel()
        # The runtime first: a call that tries again must not find this connection.
        self.runtime.on_closed(self, reason)
        self._lost = dict.fromkeys((*self._sinks.values(), *self._waiting))
        self._sinks.clear()
        self._waiting.clear()
        self.loop.begin(self._lose(reason or "it closed the connection"))

    def _lose(self, reason: str) -> Iterator[None]:
        """Tells all who were on the connection, some in a step: a runtime may have had a thousand calls."""
        while self._lost:
            for sink in list(islice(self._lost, _TOLD_AT_ONCE)):
                if sink in self._lost:  # Who was told before may have cancelled it.
                    del self._lost[sink]
                    sink.on_lost(reason)
            yield
