"""Kubelet's side: the socket that it connects to, its connections, and what becomes a call on them."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Union

from criproxy.cri.identity import Names
from criproxy.cri.methods import Method, To
from criproxy.http2.connection import (
    Connection,
    DataReceived,
    Event,
    HeadersReceived,
    PingAcknowledged,
    Sent,
    StreamReset,
)
from criproxy.http2.headers import Block, spelling
from criproxy.relay import facts
from criproxy.relay.backend import Backend
from criproxy.relay.call import Call, Origin, PassThrough, SingleCall
from criproxy.relay.events import Blend
from criproxy.relay.fan import Broadcast
from criproxy.relay.grpc import PREFIX_SIZE, TIMEOUT, Code, Reader, RpcError, is_one_message
from criproxy.relay.images import Find, MergedStream, Remove
from criproxy.relay.lists import Chain, Gather, Lone
from criproxy.relay.loop import Loop, Timer
from criproxy.relay.plan import Plan, Route, plan_of
from criproxy.relay.status import Survey
from criproxy.relay.transport import Transport

if TYPE_CHECKING:
    from criproxy.relay.proxy import Proxy

STREAM_WINDOW = 256 * 1024
"""What kubelet may send of one request before it has been looked at, bytes."""
MAX_STREAMS = 1_000
"""Calls that kubelet may have under way on one connection."""
_BATCH = 64
"""Connections accepted in one round of the loop."""
_PAUSE = 1.0
"""How long no connection is accepted when there are no descriptors left, seconds."""
_PING = b"goodbye!"
_HEARING_TIME = 1.0
"""How long a client may take to hear that we go away, and again to hang up, seconds."""
_VOLATILE = spelling(TIMEOUT)
_BY_DIGEST: Dict[To, Callable[[Origin, List[Backend]], Call]] = {To.FINDER: Find, To.HOLDERS: Remove}


class Incoming(Origin):
    """A call whose request is still on its way in. As soon as that is whole, the call it is for takes its place."""

    __slots__ = ("_body", "_reader")

    def __init__(self, front: FrontConnection, stream: int, block: Block, plan: Plan) -> None:
        super().__init__(front, stream, block, plan)
        self._body: Optional[bytes] = None
        self._reader: Optional[Reader] = None

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """Collects the one message that a request to a known method is."""
        try:
            # All of a small request is in one frame, as a rule: nothing to collect then.
            limit = self.front.proxy.config.max_message_size
            if end and self._reader is None and len(data) - PREFIX_SIZE <= limit and is_one_message(data):
                self._start(data[PREFIX_SIZE:])
            else:
                self._collect(data, size, end)
        except RpcError as error:
            Call(self, end).fail(error)

    def on_taken(self, size: int) -> None:
        """Nothing has been sent yet."""

    def cancel(self) -> None:
        """Nobody has been asked yet."""

    def _collect(self, data: bytes, size: int, end: bool) -> None:
        if self._reader is None:
            self._reader = Reader(self.front.proxy.config.max_message_size)
            self._reader.encoding = self.block.get(b"grpc-encoding") or b"identity"
        for body in self._reader.feed(data):
            if self._body is not None:
                raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: {self.plan.path} takes one message, not several")
            self._body = body
        if not end:
            self.front.consumed(self.stream, size)
        elif self._body is None or not self._reader.idle:
            raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: {self.plan.path} takes a message, and there is none")
        else:
            self._start(self._body)

    def _start(self, body: bytes) -> None:
        row, proxy = self.plan.method, self.front.proxy
        assert row is not None  # a call of a method without a row is a PassThrough from its head on
        self.asked = body
        route = self._logged_route(row, body) if proxy.log.enabled(row.loud) else proxy.router.route(row, body)
        call = self._call(row, [proxy.backend_of(names) for names in route.targets])
        self.front.calls[self.stream] = call
        call.start(route.body)

    def _logged_route(self, row: Method, body: bytes) -> Route:
        """Logs the request, which may turn out to be for nobody."""
        targets: Sequence[Names] = ()
        try:
            route = self.front.proxy.router.route(row, body)
            targets = route.targets
            return route
        finally:
            about = partial(facts.of_call, self.plan, targets, body)
            self.front.proxy.log.enter(self.plan.path, row.rpc.request, body, about)

    def _call(self, row: Method, backends: List[Backend]) -> Call:
        if row.to is To.EVENTS:
            return Blend(self, backends)
        if row.to is To.CONNECTED:
            return Broadcast(self, backends)
        if row.to is To.STATUS and self.front.proxy.router.rules.status:
            return Survey(self, backends)
        if len(backends) == 1:
            return Lone(self, backends[0]) if row.twin else SingleCall(self, backends[0])
        if not backends:
            return Unasked(self)
        if row.to is To.IMAGE:
            return _BY_DIGEST[row.digest](self, backends)
        if not row.rpc.server_streaming:
            return Gather(self, backends)
        return MergedStream(self, backends) if self.front.proxy.router.merge(row) else Chain(self, backends)


class Unasked(Call):
    """A call that no runtime can have anything to say to."""

    def start(self, body: bytes) -> None:
        """Answers."""
        self.answer_empty()


class FrontConnection:
    """One connection of kubelet's (or of any client's), and the calls on it."""

    def __init__(self, proxy: Proxy, sock: socket.socket) -> None:
        self.proxy = proxy
        self.calls: Dict[int, Union[Call, Incoming]] = {}
        self.connection = Connection(False, STREAM_WINDOW, MAX_STREAMS, _VOLATILE)
        self._hearing: Optional[Timer] = None
        self._parting = False
        """We have said that we go away, and which call was the last."""
        self._lingering: Optional[Timer] = None
        self.transport = Transport(proxy.loop, sock, self.connection, self._on_events, self._on_closed)

    def consumed(self, stream_id: int, size: int) -> None:
        """So much of a request's data has gone its way, bytes."""
        self.connection.consumed(stream_id, size)
        self.transport.flush_soon()

    def forget(self, call: Call) -> None:
        """The call is over."""
        self.calls.pop(call.front_stream, None)
        if self.connection.going_away:
            self._close_if_done()

    def drain(self) -> None:
        """Takes no new calls; the connection ends when those that are under way are over.

        RFC 9113, section 6.8: a call that is on its way to us while we say so would be lost. So kubelet is told first
        that there will be no more, and when it has heard that (or does not answer) which was the last. Then it is
        kubelet that hangs up: if it were us, what it has yet to write would fail, and gRPC's library in C then takes
        the answers that it has yet to read for lost.
        """
        self.proxy.end_lasting(self)
        self.connection.announce_going_away()
        self.connection.ping(_PING)
        self.transport.flush_soon()
        self._hearing = self.proxy.loop.call_later(_HEARING_TIME, self._go_away)

    def _go_away(self) -> None:
        if self._hearing is None or self.transport.closed:
            return
        self._hearing.cancel()
        self._hearing = None
        self._parting = True
        self.connection.go_away()
        self.transport.flush_soon()
        self.proxy.end_lasting(self)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.calls or self.connection.open_streams:
            return
        if not self._parting:
            self.transport.close_when_flushed()
        elif self._lingering is None:
            self._lingering = self.proxy.loop.call_later(_HEARING_TIME, self.transport.close_when_flushed)

    def _on_events(self, events: List[Event]) -> None:
        calls = self.calls
        for event in events:
            if isinstance(event, HeadersReceived):
                stream_id, block, end = event
                if stream_id in calls:  # a request's trailers: gRPC has none, but HTTP/2 lets them end it
                    calls[stream_id].on_request(b"", 0, end)
                else:
                    self._on_call(stream_id, block, end)
            elif isinstance(event, DataReceived):
                stream_id, data, size, end = event
                call = calls.get(stream_id)
                if call is not None:
                    call.on_request(data, size, end)
            elif isinstance(event, Sent):
                stream_id, size = event
                call = calls.get(stream_id)
                if call is not None:
                    call.on_taken(size)
            elif isinstance(event, StreamReset):
                call = calls.pop(event.stream_id, None)
                if call is not None:
                    call.cancel()
            elif isinstance(event, PingAcknowledged):
                # What has come together with it is a call like any other: it may have been written before.
                self.proxy.loop.call_later(0, self._go_away)
        if self.connection.going_away:
            self._close_if_done()

    def _on_call(self, stream_id: int, block: Block, end: bool) -> None:
        plan = plan_of(block.head)
        call: Union[Call, Incoming]
        if plan.refusal is not None:
            Call(Origin(self, stream_id, block, plan), end).fail(plan.refusal)
            return
        if plan.method is None:
            call = PassThrough(Origin(self, stream_id, block, plan), self.proxy.primary)
            self.calls[stream_id] = call
            call.start(b"")
        else:
            call = self.calls[stream_id] = Incoming(self, stream_id, block, plan)
        if end:
            call.on_request(b"", 0, True)

    def _on_closed(self, reason: str) -> None:
        del reason  # A client that has gone is no news.
        if self._lingering is not None:
            self._lingering.cancel()
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.cancel()
        self.proxy.forget(self)


class Listener:
    """The socket that kubelet connects to; makes a `FrontConnection` of each connection."""

    def __init__(self, proxy: Proxy, sock: socket.socket) -> None:
        self._proxy = proxy
        self._sock = sock
        self._loop: Loop = proxy.loop
        self.is_open = False
        sock.setblocking(False)

    def open(self) -> None:
        """Takes connections from now on; until then they wait in the socket's queue."""
        if not self.is_open:
            self.is_open = True
            self._watch()

    def close(self) -> None:
        """Takes no more connections. Those that wait go with the socket, unless somebody else has it, too."""
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()

    def _watch(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.watch(self._sock.fileno(), self._on_ready)

    def _on_ready(self, events: int) -> None:
        for _ in range(_BATCH):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                # The connection stays in the queue, so the socket would be ready again at once.
                self._proxy.log.error(f"cannot accept a connection: {os.strerror(error.errno)}; trying again")
                self._loop.unwatch(self._sock.fileno())
                self._loop.call_later(_PAUSE, self._watch)
                return
            sock.setblocking(False)
            self._proxy.fronts.add(FrontConnection(self._proxy, sock))
