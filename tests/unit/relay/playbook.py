"""The relay in memory: a loop with a clock of the test's, sockets that are buffers, and an HTTP/2 peer at their end."""

from __future__ import annotations

import errno
import itertools
import math
import socket
from typing import Any, Dict, List, Optional, Set, Tuple

from criproxy.cri.messages import api
from criproxy.http2.connection import Connection
from criproxy.http2.events import Event, HeadersReceived
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, prefix
from criproxy.http2.headers import encode
from criproxy.relay.loop import READ, WRITE, Loop
from criproxy.relay.transport import Transport

UNIMPLEMENTED = RESPONSE_HEADERS + encode(((b"grpc-status", b"12"),))
_numbers = itertools.count(1000)
_SOMEBODY = (-1, READ)
"""An event of a descriptor that nobody here watches."""


class ClockLoop:
    """A loop (``real``) that never sleeps: `settle` works off what can be done now, `advance` lets time pass.

    It is the clock that the real one reads, and the epoll that it asks.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.pace = 0.0
        """What a look at the clock takes, seconds."""
        self.crowded = False
        """Whether somebody else is always ready, so that what has been deferred waits."""
        self.sockets: Dict[int, FakeSocket] = {}
        self._interests: Dict[int, int] = {}
        self._end = self.now
        self._idle = False
        self.real = Loop(_fail, epoll=self, clock=self._look)

    @property
    def watched(self) -> Set[int]:
        """The descriptors that are watched."""
        return set(self._interests)

    @property
    def timers(self) -> int:
        """How many timers run."""
        return len(self._dues)

    @property
    def due(self) -> float:
        """When the next timer is."""
        return min(self._dues, default=math.inf)

    def settle(self) -> None:
        """Goes on until nothing moves any more."""
        self.advance(0)

    def advance(self, seconds: float) -> None:
        """Lets so much time pass: what is due happens in its order, each with its consequences."""
        self._end = self.now + seconds
        self._idle = False
        self.real.run()

    # What the real loop asks.

    def register(self, fd: int, eventmask: int) -> None:
        assert fd not in self._interests
        self._interests[fd] = eventmask

    def modify(self, fd: int, eventmask: int) -> None:
        self._interests[fd] = eventmask

    def unregister(self, fd: int) -> None:
        del self._interests[fd]

    def poll(self, timeout: float, maxevents: int) -> List[Tuple[int, int]]:
        ready = self._ready()
        if ready or not (timeout or self.crowded):
            self._idle = False
            return ready
        # What the round before has still written may be heard in this one.
        if self._idle:
            self._sleep()
        self._idle = True
        return [_SOMEBODY] if self.crowded else []

    def close(self) -> None:
        """Has nothing to give back."""

    def _look(self) -> float:
        self.now += self.pace
        return self.now

    @property
    def _dues(self) -> List[float]:
        return [due for due, _, timer in self.real._timers if timer.callback is not None]

    def _ready(self) -> List[Tuple[int, int]]:
        found = ((fd, self.sockets[fd].ready & interest) for fd, interest in self._interests.items())
        return [(fd, events) for fd, events in found if events]

    def _sleep(self) -> None:
        if self.due <= self._end:
            self.now = max(self.now, self.due)
        else:
            self.now = max(self.now, self._end)
            self.real.stop()


def _fail(error: BaseException) -> None:
    raise error


class FakeSocket:
    """One end of a pair. ``room`` is how much the other end takes until it is read, bytes."""

    def __init__(self, loop: ClockLoop) -> None:
        self._fd = next(_numbers)
        self._in = bytearray()
        self.peer: Optional[FakeSocket] = None
        self.room = 1 << 30
        self.deaf = False
        """Whether what comes in is left unread, as by a process that hangs."""
        self.closed = False
        loop.sockets[self._fd] = self

    @property
    def ready(self) -> int:
        """The events that epoll tells."""
        return (READ if self.readable else 0) | (WRITE if self.writable else 0)

    @property
    def readable(self) -> bool:
        return not self.deaf and bool(self._in or self.peer is None or self.peer.closed)

    @property
    def writable(self) -> bool:
        return self.peer is None or len(self.peer._in) < self.peer.room

    def fileno(self) -> int:
        return self._fd

    def setsockopt(self, *_: int) -> None:
        """Has no options."""

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def send(self, data: Any) -> int:
        peer = self.peer
        if peer is None or peer.closed:
            raise OSError(errno.EPIPE, "Broken pipe")
        taken = bytes(data)[: max(0, peer.room - len(peer._in))]
        peer._in += taken
        if not taken and data:
            raise BlockingIOError
        return len(taken)

    def sendmsg(self, buffers: Any) -> int:
        return self.send(b"".join(bytes(buffer) for buffer in buffers))

    def recv(self, size: int) -> bytes:
        if not self._in and not (self.peer is None or self.peer.closed):
            raise BlockingIOError
        data = bytes(self._in[:size])
        del self._in[:size]
        return data

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_WR
        self.closed = True

    def close(self) -> None:
        self.closed = True


def socketpair(loop: ClockLoop) -> Tuple[Any, Any]:
    """Two ends of a connection."""
    one, other = FakeSocket(loop), FakeSocket(loop)
    one.peer, other.peer = other, one
    return one, other


class Peer:
    """Who is at the other end of a connection: says what the test says, and remembers what it hears."""

    def __init__(self, loop: ClockLoop, sock: Any, client: bool = False, max_streams: int = 1_000) -> None:
        self.sock = sock
        self.events: List[Event] = []
        self.closed: Optional[str] = None
        """Why the connection is over, when it is."""
        self.connection = Connection(client, max_streams=max_streams)
        self.transport = Transport(loop.real, sock, self.connection, self.on_events, self._on_closed)
        self._loop = loop

    def on_events(self, events: List[Event]) -> None:
        """Remembers them."""
        self.events += events

    def heard(self, kind: Any) -> List[Any]:
        """The events of this kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def say(self) -> None:
        """Sends what has been put into the connection, and lets it have its consequences."""
        self.transport.flush_soon()
        self._loop.settle()

    def answer(self, stream_id: int, body: bytes = b"", trailers: bytes = OK_TRAILERS) -> None:
        """A unary response."""
        self.connection.sender.headers(stream_id, RESPONSE_HEADERS)
        self.connection.sender.data(stream_id, prefix(len(body)) + body)
        self.connection.sender.headers(stream_id, trailers, True)
        self.say()

    def close(self) -> None:
        """Hangs up."""
        self.transport.close("")
        self._loop.settle()

    def _on_closed(self, reason: str) -> None:
        self.closed = reason


class FakeRuntime(Peer):
    """A runtime that answers the first questions, and leaves what follows to the test.

    ``refusal`` is answered instead: the trailers of a response that has nothing else.
    """

    QUESTIONS: Tuple[bytes, ...] = (b"Version", b"ImageStatus")

    def __init__(self, loop: ClockLoop, sock: Any, refusal: bytes = b"", max_streams: int = 1_000) -> None:
        super().__init__(loop, sock, max_streams=max_streams)
        self.refusal = refusal
        self.name = b""
        """The runtime's, in its answer to Version."""

    def on_events(self, events: List[Event]) -> None:
        """Answers the questions."""
        for event in events:
            path = event.block.get(b":path") if isinstance(event, HeadersReceived) else None
            if path is None or path.rpartition(b"/")[2] not in self.QUESTIONS:
                self.events.append(event)
                continue
            assert isinstance(event, HeadersReceived)
            if self.refusal:
                self.connection.sender.headers(event.stream_id, self.refusal, True)
            else:
                self.connection.sender.headers(event.stream_id, RESPONSE_HEADERS)
                named = api()["VersionResponse"](runtime_name=self.name).SerializeToString()
                self.connection.sender.data(event.stream_id, prefix(len(named)) + named)
                self.connection.sender.headers(event.stream_id, OK_TRAILERS, True)
        self.transport.flush_soon()


class RecordingSink:
    """A stream that remembers what it has been told."""

    def __init__(self) -> None:
        self.stream_id = 0
        self.told: List[Tuple[Any, ...]] = []

    @property
    def ends(self) -> int:
        """How often it has been told that it is over."""
        return sum(event[0] in ("reset", "lost") or event[-1] is True for event in self.told)

    def on_opened(self) -> None:
        self.told.append(("opened",))

    def on_headers(self, block: Any, end: bool) -> None:
        self.told.append(("headers", block.get(b"grpc-status"), end))

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        self.told.append(("data", data, end))

    def on_request_sent(self, size: int) -> None:
        self.told.append(("sent", size))

    def on_reset(self, code: int) -> None:
        self.told.append(("reset", code))

    def on_lost(self, reason: str) -> None:
        self.told.append(("lost", reason))
