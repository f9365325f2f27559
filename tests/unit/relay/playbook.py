"""The relay in memory: a loop with a clock of the test's, sockets that are buffers, and an HTTP/2 peer at their end."""

from __future__ import annotations

import errno
import itertools
import math
from collections import deque
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from criproxy.cri.messages import api
from criproxy.http2.connection import Connection
from criproxy.http2.events import Event, HeadersReceived
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, prefix
from criproxy.http2.headers import encode
from criproxy.relay.loop import READ, WRITE, Flushable, Loop, Timer
from criproxy.relay.transport import Transport

UNIMPLEMENTED = RESPONSE_HEADERS + encode(((b"grpc-status", b"12"),))
_numbers = itertools.count(1000)


class ClockLoop(Loop):
    """A loop that waits for nothing: `settle` works off what can be done now, `advance` lets time pass."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.time = lambda: self.now
        self.received, self.alarm, self.on_alarm = 0, math.inf, lambda: None
        self.sockets: Dict[int, FakeSocket] = {}
        self._callbacks: Dict[int, Callable[[int], None]] = {}
        self._interests: Dict[int, int] = {}
        self._due: List[Tuple[float, int, Timer]] = []
        self._flushables: List[Flushable] = []
        self._deferred = deque()
        self.crowded = False
        """Whether somebody else is always ready, so that what has been deferred waits."""

    def watch(self, fd: int, callback: Callable[[int], None], events: int = READ) -> None:
        assert fd not in self._callbacks
        self._callbacks[fd] = callback
        self._interests[fd] = events

    def change(self, fd: int, events: int) -> None:
        self._interests[fd] = events

    def unwatch(self, fd: int) -> None:
        self._callbacks.pop(fd, None)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        self._due.append((self.now + delay, next(_numbers), timer))
        return timer

    def flush_soon(self, what: Flushable) -> None:
        self._flushables.append(what)

    @property
    def watched(self) -> Set[int]:
        """The descriptors that are watched."""
        return set(self._callbacks)

    @property
    def timers(self) -> int:
        """How many timers run."""
        return sum(timer.callback is not None for _, _, timer in self._due)

    def settle(self) -> None:
        """Goes on until nothing moves any more."""
        while self._flush_all() or self._read_all() or self._go_on():
            pass

    def advance(self, seconds: float) -> None:
        """Lets so much time pass: what is due happens in its order, each with its consequences."""
        end = self.now + seconds
        self.settle()
        while True:
            due = [entry for entry in self._due if entry[2].callback is not None and entry[0] <= end]
            if not due:
                break
            entry = min(due, key=lambda entry: entry[:2])
            self._due.remove(entry)
            self.now = max(self.now, entry[0])
            assert entry[2].callback is not None
            entry[2].callback()
            self.settle()
        self.now = end

    def _flush_all(self) -> bool:
        flushables, self._flushables = self._flushables, []
        for what in flushables:
            what.flush()
        return bool(flushables)

    def _go_on(self) -> bool:
        if self.crowded or not self._deferred:
            return False
        self._run_deferred(True)
        return True

    def _read_all(self) -> bool:
        moved = False
        for fd in list(self._callbacks):
            callback, sock = self._callbacks.get(fd), self.sockets[fd]
            ready = (READ if sock.readable else 0) | (WRITE if sock.writable else 0)
            ready &= self._interests[fd]
            if callback is not None and ready:
                callback(ready)
                moved = True
        return moved


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

    def recv_into(self, buffer: Any) -> int:
        if not self._in and not (self.peer is None or self.peer.closed):
            raise BlockingIOError
        size = min(len(buffer), len(self._in))
        buffer[:size] = self._in[:size]
        del self._in[:size]
        return size

    def recv(self, size: int) -> bytes:
        data = bytes(self._in[:size])
        del self._in[:size]
        return data

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
        self.transport = Transport(loop, sock, self.connection, self.on_events, self._on_closed)
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
        self.connection.send_headers(stream_id, RESPONSE_HEADERS)
        self.connection.send_data(stream_id, prefix(len(body)) + body)
        self.connection.send_headers(stream_id, trailers, True)
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
                self.connection.send_headers(event.stream_id, self.refusal, True)
            else:
                self.connection.send_headers(event.stream_id, RESPONSE_HEADERS)
                named = api()["VersionResponse"](runtime_name=self.name).SerializeToString()
                self.connection.send_data(event.stream_id, prefix(len(named)) + named)
                self.connection.send_headers(event.stream_id, OK_TRAILERS, True)
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
