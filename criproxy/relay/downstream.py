"""Kubelet's side: its connections, and what happens on them."""

from __future__ import annotations

import socket
from enum import Enum
from typing import Callable, Dict, Final, FrozenSet, List, Optional

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import DataReceived, Event, HeadersReceived, PingAcknowledged, Sent, StreamReset
from criproxy.http2.grpc import TIMEOUT
from criproxy.http2.headers import Block, Spelling
from criproxy.relay.loop import Loop, Timer
from criproxy.relay.peer import Peer
from criproxy.relay.response import Call, Downstream
from criproxy.relay.statistics import Traffic
from criproxy.relay.transport import Transport
from criproxy.report.log import STATES, Log

STREAM_WINDOW: Final = 256 * 1024
"""What kubelet may send of one request before we have read it, bytes: any request but the largest goes in one go."""
MAX_STREAMS: Final = 1_000
"""Calls that kubelet may have under way on one connection (SETTINGS_MAX_CONCURRENT_STREAMS): some for each of the 110
pods of a node, and a bound for what a client can make us remember."""
_PING: Final = b"goodbye!"
_HEARING_TIME: Final = 1.0
"""How long a client may take to hear that we go away, and again to hang up, seconds."""
_VOLATILE: Final = Spelling(TIMEOUT)
_AND_RESET: Final = 3
"""Events that a stream has at least which is opened and reset in one piece and costs more than its head."""


class Drain(Enum):
    """How far the drain of a connection is."""

    OPEN = "open"
    """It takes calls."""
    ANNOUNCED = "announced"
    """Kubelet has got a first GOAWAY, which does not name the last call yet."""
    PARTING = "parting"
    """Kubelet has got the second GOAWAY, which names the last call. Calls under way go on to their end."""
    LINGERING = "lingering"
    """All calls have ended. Kubelet has a second to close the connection."""
    CLOSED = "closed"
    """Nothing is left of it."""


TRANSITIONS: Final[Dict[Drain, FrozenSet[Drain]]] = {
    Drain.OPEN: frozenset((Drain.ANNOUNCED, Drain.CLOSED)),
    Drain.ANNOUNCED: frozenset((Drain.PARTING, Drain.CLOSED)),
    Drain.PARTING: frozenset((Drain.LINGERING, Drain.CLOSED)),
    Drain.LINGERING: frozenset((Drain.CLOSED,)),
    Drain.CLOSED: frozenset(),
}
"""Which state may follow which."""


class DownstreamConnection(Downstream):
    """One connection of kubelet's (or of any client's), and the calls on it."""

    def __init__(
        self,
        loop: Loop,
        log: Log,
        sock: socket.socket,
        dispatch: Callable[[DownstreamConnection, int, Block, bool], None],
        on_drain: Callable[[DownstreamConnection], None],
        on_closed: Callable[[DownstreamConnection], None],
        peer: Optional[Peer] = None,
        traffic: Optional[Traffic] = None,
    ) -> None:
        self.calls: Dict[int, Call] = {}
        self.fault = ""
        """What the client has done wrong, for which it has been cut off."""
        self.peer = peer
        self._loop = loop
        self._log = log
        self._dispatch = dispatch
        self._on_drain = on_drain
        self._tell_closed = on_closed
        self.connection = Connection(False, STREAM_WINDOW, MAX_STREAMS, _VOLATILE)
        self.state = Drain.OPEN
        self.has_called = False
        self.last_call = loop.time()
        """When the last call began, or, without one, when the client connected."""
        self._timer: Optional[Timer] = None
        """To the next state, if kubelet does not bring it about before."""
        self.transport = Transport(loop, sock, self.connection, self._on_events, self._on_closed, traffic)

    def __str__(self) -> str:
        return f"a client ({self.peer or f'connection {self.transport.fd}'})"

    def send_headers(self, stream_id: int, wire: bytes, end: bool = False) -> None:
        """Sends a field block."""
        self.connection.sender.headers(stream_id, wire, end)
        self.transport.flush_soon()

    def send_data(self, stream_id: int, data: bytes, end: bool = False) -> int:
        """Sends data; gives how much of it has left at once, bytes."""
        self.transport.flush_soon()
        return self.connection.sender.data(stream_id, data, end)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Ends a stream before its end."""
        self.connection.reset(stream_id, code)
        self.transport.flush_soon()

    def consumed(self, stream_id: int, size: int) -> None:
        """So much of a request's data has been passed on, bytes."""
        self.connection.consumed(stream_id, size)
        if self.connection.has_to_send:  # not yet, as a rule: windows are given back by the half
            self.transport.flush_soon()

    def has_queued(self, stream_id: int) -> bool:
        """Whether something that is to be sent on the stream waits."""
        return self.connection.has_queued(stream_id)

    def forget(self, stream_id: int) -> None:
        """The call is over."""
        self.calls.pop(stream_id, None)
        if self.connection.going_away:
            self._linger_if_done()

    def drain(self) -> None:
        """Takes no new calls; the connection ends when those that are under way are over.

        RFC 9113, section 6.8: a call that kubelet sends at the same time must not be lost. So the first GOAWAY only
        announces the end; the second one, after kubelet has answered a PING or has not answered it in time, names the
        last call. Then kubelet closes the connection. If we closed it, kubelet's next write would fail, and gRPC's
        library in C then drops the answers that it has not read yet.
        """
        if self.state is not Drain.OPEN:
            return
        self._become(Drain.ANNOUNCED)
        self._on_drain(self)
        self.connection.announce_going_away()
        self.connection.ping(_PING)
        self.transport.flush_soon()
        self._wait(self._go_away)

    def is_idle(self, seconds: float) -> bool:
        """Whether it has no call, and has begun none for so long."""
        return not self.calls and self._loop.time() - self.last_call >= seconds

    def part(self) -> None:
        """Hangs up on a client without calls. One that is on its way the client may send again (RFC 9113, 6.8)."""
        self.transport.cut_off("there are too many connections, and this one is idle", ErrorCode.NO_ERROR)

    def _become(self, state: Drain) -> None:
        """The only place where the state changes; what was waited for is over with it."""
        assert state in TRANSITIONS[self.state]
        if self._log.enabled(STATES):
            self._log.info(f"connection of a client ({self.transport.fd}): {self.state.name} -> {state.name}")
        self.state = state
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, then: Callable[[], None]) -> None:
        self._timer = self._loop.call_later(_HEARING_TIME, then)

    def _go_away(self) -> None:
        if self.state is not Drain.ANNOUNCED:
            return
        self._become(Drain.PARTING)
        self.connection.go_away()
        self.transport.flush_soon()
        self._on_drain(self)
        self._linger_if_done()

    def _linger_if_done(self) -> None:
        if self.calls or self.connection.open_streams:
            return
        if self.state is Drain.PARTING:
            self._become(Drain.LINGERING)
            self._wait(self.transport.close_when_flushed)
        elif self.state is not Drain.LINGERING:  # It is kubelet that goes away.
            self.transport.close_when_flushed()

    def _on_events(self, events: List[Event]) -> None:
        calls = self.calls
        for event in events if len(events) < _AND_RESET else self._without_reset_at_once(events):
            if isinstance(event, HeadersReceived):
                call = calls.get(event.stream_id)
                if call is not None:  # a request's trailers: gRPC has none, but HTTP/2 lets them end it
                    call.on_request(b"", 0, event.end_stream)
                else:
                    self.has_called = True
                    self.last_call = self.transport.turn
                    self._dispatch(self, event.stream_id, event.block, event.end_stream)
            elif isinstance(event, DataReceived):
                call = calls.get(event.stream_id)
                if call is not None:
                    call.on_request(event.data, event.size, event.end_stream)
            elif isinstance(event, Sent):
                stream_id, size = event
                call = calls.get(stream_id)
                if call is not None:
                    call.on_sent(size)
            elif isinstance(event, StreamReset):
                call = calls.pop(event.stream_id, None)
                if call is not None:
                    call.cancel()
            elif isinstance(event, PingAcknowledged):
                # What has come together with it is a call like any other: it may have been written before.
                self._loop.call_later(0, self._go_away)
        if self.connection.going_away:
            self._linger_if_done()

    def _without_reset_at_once(self, events: List[Event]) -> List[Event]:
        """Leaves out the streams that are reset in the piece in which they have been opened.

        So rapid reset (CVE-2023-44487) reaches no runtime, and costs no call here.
        """
        reset = {event.stream_id for event in events if isinstance(event, StreamReset)} - self.calls.keys()
        return [event for event in events if getattr(event, "stream_id", 0) not in reset] if reset else events

    def _on_closed(self, reason: str) -> None:
        # A client that has gone is no news, and one that does not speak HTTP/2 has only tried.
        self.fault = reason if self.transport.at_fault and self.connection.greeted else ""
        self._become(Drain.CLOSED)
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.cancel()
        self._tell_closed(self)
