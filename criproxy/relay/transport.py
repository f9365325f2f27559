"""A socket and the HTTP/2 connection on it.

A peer has one turn at a time: what one look at its socket brings, or `_TURN` frames of it. After a turn that was full
or long, everybody else who has something goes first (`Loop.defer`). So a flood slows the connection it comes over. If
it is of frames that move no call, and goes on, it ends the connection (RFC 9113, section 10.5).
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Callable, Deque, Final, List, Optional

from criproxy.http2.compiled import COMPILED
from criproxy.http2.connection import Connection
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.events import Event
from criproxy.http2.frames import Buffer
from criproxy.http2.grpc import not_grpc
from criproxy.relay.loop import READ, WRITE, Flushable, Loop
from criproxy.relay.statistics import Traffic

_CHUNK: Final = 256 * 1024
"""The most that is read from a socket at once, bytes: one peer does not keep the others waiting for longer."""
_BACKLOG: Final = 1024 * 1024
"""With more than this waiting for the socket, nothing more is read from the peer: it could make us answer (PING,
SETTINGS) without end otherwise."""

_GREETING: Final = 1024
"""bytes that are read of a peer that does not speak HTTP/2: enough to quote its first line."""
_JOINED: Final = 64 * 1024
"""Up to so many bytes are joined in order to be written as one piece: a copy of that size costs less than a list of
buffers does."""
_GATHERED: Final = 128
"""How many buffers are written at once, at most (IOV_MAX is 1024)."""
_TURN: Final = 64
"""Frames of one turn, at most: some thirty calls, which take a few milliseconds."""
_LONG_TURN: Final = 1e-3
"""A turn of so much, seconds, is followed by everybody else's."""
_WASTE: Final = 1.0
"""Seconds of work, in `_WASTE_PERIOD`, for frames that move no call, after which the peer is cut off. Windows, PINGs
and SETTINGS of a peer that has thousands of calls a second take a hundredth of that."""
_WASTE_PERIOD: Final = 10.0
"""seconds"""


class Transport(Flushable):
    """Reads a non-blocking socket into a connection and writes what the connection has to send.

    ``on_events`` gets the events of each piece that arrived, ``on_closed`` the reason when the connection is over
    (an empty one if the peer closed it), once. What is read and written is added to ``traffic``.
    """

    __slots__ = (
        "_backlog",
        "_backlog_size",
        "_flushing",
        "_gives_way",
        "_interest",
        "_loop",
        "_on_closed",
        "_on_events",
        "_sock",
        "_traffic",
        "_waste",
        "_waste_since",
        "at_fault",
        "closed",
        "closing",
        "connection",
        "fd",
        "paused",
        "turn",
    )

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        connection: Connection,
        on_events: Callable[[List[Event]], None],
        on_closed: Callable[[str], None],
        traffic: Optional[Traffic] = None,
    ) -> None:
        self.connection = connection
        self.at_fault = False
        """Whether the peer has broken the protocol, or cost too much time."""
        self.closed = False
        self.closing = False
        self.paused = False
        """Whether nothing is read from the peer for now."""
        self.turn = 0.0
        """When it last had something of the peer's to look at, seconds of the loop's clock."""
        self.fd = sock.fileno()
        self._loop = loop
        self._sock = sock
        self._on_events = on_events
        self._on_closed = on_closed
        self._backlog: Deque[Buffer] = deque()
        self._backlog_size = 0
        self._traffic = traffic or Traffic()
        self._interest = READ
        self._flushing = False
        self._gives_way = False
        self._waste = 0.0
        self._waste_since = 0.0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        loop.watch(self.fd, self._on_ready)
        self.flush_soon()

    def flush_soon(self) -> None:
        """To be called whenever the connection may have got something to send."""
        if not self._flushing:
            self._flushing = True
            self._loop.flush_soon(self)

    def flush(self) -> None:
        """Writes what the connection has to send, as far as the socket takes it."""
        self._flushing = False
        if self.closed:
            return
        buffers = self.connection.buffers_to_send()
        if self._backlog:
            self._backlog.extend(buffers)
            self._backlog_size += _size(buffers)
            self._watch()
        elif buffers:
            self._write(buffers)
        if self.closing and not self._backlog and not self.closed:
            self.close("")

    @property
    def unread(self) -> int:
        """The memory that is taken by what the peer has not read, bytes."""
        return self._backlog_size + self.connection.queued

    def close(self, reason: str) -> None:
        """Closes the socket at once and says so."""
        if self.closed:
            return
        self.closed = True
        self._loop.unwatch(self.fd)
        self._sock.close()
        self._backlog.clear()
        on_closed = self._on_closed
        # They know each other: without this all that waits would be there until the collector finds it.
        self._on_events = self._on_closed = _nobody
        on_closed(reason)

    def pause(self, paused: bool) -> None:
        """Reads nothing from the peer for now, or goes on with it."""
        if paused is not self.paused and not self.closed:
            self.paused = paused
            self._watch()
            if not self._gives_way and self.connection.has_more:
                self._give_way()

    def cut_off(self, text: str, code: ErrorCode = ErrorCode.ENHANCE_YOUR_CALM) -> None:
        """Ends the connection at once, because of what the peer costs: the text tells it, and is the reason."""
        self.connection.go_away(code, text)
        self._send_last()
        self.close(text)

    def give_up(self, reason: str) -> None:
        """Closes the socket for this reason, or a better one that the peer has given."""
        self.close(self._better(self.connection.rest, reason))

    def close_when_flushed(self) -> None:
        """Closes the socket as soon as everything is written."""
        self.closing = True
        self.flush_soon()

    def _write(self, buffers: List[Buffer]) -> None:
        """Writes buffers that nothing is waiting before; what the socket does not take becomes the backlog."""
        size = _size(buffers)
        try:
            # To join a few small pieces is cheaper than to describe each of them to the kernel.
            sent = self._sock.send(b"".join(buffers)) if size <= _JOINED else self._sock.sendmsg(buffers[:_GATHERED])
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._cannot_write(error)
            return
        self._traffic.sent += sent
        if sent < size:
            self._backlog.extend(buffers)
            self._backlog_size = size
            self.connection.sender.hold(True)
            self._take_off_backlog(sent)
            self._watch()

    def _write_backlog(self) -> None:
        try:
            sent = self._sock.sendmsg(islice(self._backlog, _GATHERED))
        except BlockingIOError:
            return
        except OSError as error:
            self._cannot_write(error)
            return
        self._traffic.sent += sent
        self._take_off_backlog(sent)
        self._watch()
        if not self._backlog:
            events = self.connection.sender.hold(False)
            self.flush_soon()
            if events:
                self._on_events(events)

    def _cannot_write(self, error: OSError) -> None:
        """Closes the socket. A peer that has hung up at our first words may have said why."""
        said = b""
        if not self.connection.greeted:
            with suppress(OSError):
                said = self._sock.recv(_GREETING)
        self.close(self._better(self.connection.rest + said, _reason("write", error)))

    def _better(self, said: bytes, reason: str) -> str:
        """Why the connection ends. The first line of a peer that does not speak HTTP/2 explains more than an error."""
        return reason if self.connection.greeted else not_grpc(said[:_GREETING]) or reason

    def _take_off_backlog(self, sent: int) -> None:
        backlog = self._backlog
        self._backlog_size -= sent
        while sent:
            size = len(backlog[0])
            if size > sent:
                backlog[0] = memoryview(backlog[0])[sent:]
                return
            backlog.popleft()
            sent -= size

    def _watch(self) -> None:
        interest = WRITE if self._backlog else 0
        if not (self.paused or self._backlog_size > _BACKLOG):
            interest |= READ
        if interest != self._interest:
            self._interest = interest
            if not self._gives_way:
                self._loop.change(self.fd, interest)

    def _on_ready(self, events: int) -> None:
        if events & WRITE and self._backlog:
            self._write_backlog()
        if events & ~WRITE and not self.closed:
            self._read()

    def _read(self) -> None:
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(self._better(self.connection.rest, _reason("read", error)))
            return
        if not data:
            self.close(self._better(self.connection.rest, ""))
            return
        loop = self._loop
        size = len(data)
        self._traffic.received += size
        loop.received += size
        if loop.received >= loop.alarm:
            loop.on_alarm()
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Has a turn with what has come; nothing, if the last turn has left enough."""
        self.turn = began = self._loop.time()
        try:
            events = self.connection.receive(data, _TURN)
        except ConnectionFault as fault:
            self.at_fault = True
            self._send_last()
            self.close(self._better(self.connection.rest + data, str(fault)))
            return
        if self.connection.has_to_send:
            self.flush_soon()
        if events:
            try:
                self._on_events(events)
            except Exception:
                # A defect of ours: the state of this connection cannot be relied on any more, others are sound.
                self.close("an internal error")
                raise
        took = self._loop.time() - began
        if not (events or self.connection.is_reading):
            self._count_waste(began, took)
        if (took > _LONG_TURN or self.connection.has_more) and not self.closed:
            self._give_way()

    def _give_way(self) -> None:
        self._gives_way = True
        # Not watched with no events: that a peer has hung up would be told even so, again and again.
        self._loop.unwatch(self.fd)
        self._loop.defer(self._go_on)

    def _go_on(self) -> None:
        if self.closed:
            return
        self._gives_way = False
        self._loop.watch(self.fd, self._on_ready, self._interest)
        if self.connection.has_more and not self.paused:
            self._take(b"")

    def _count_waste(self, now: float, seconds: float) -> None:
        if now - self._waste_since > _WASTE_PERIOD:
            self._waste_since, self._waste = now, 0.0
        self._waste += seconds
        if self._waste > _WASTE:
            self.at_fault = True
            self.cut_off(f"more than {_WASTE:g} s of work in {_WASTE_PERIOD:g} s for frames that move no call")

    def _send_last(self) -> None:
        """Writes the GOAWAY of a connection error, if the socket takes it."""
        if not self._backlog:
            with suppress(OSError):
                self._sock.send(self.connection.data_to_send())


def _size(buffers: List[Buffer]) -> int:
    if not COMPILED:
        return sum(map(len, buffers))
    size = 0
    for buffer in buffers:
        size += len(buffer)
    return size


def _nobody(_: object) -> None:
    """Hears nothing."""


def _reason(what: str, error: OSError) -> str:
    """Why a connection ends at which ``what`` has failed."""
    # What the peer has not read before it closed makes the difference, which says nothing of it.
    return "" if error.errno in (errno.EPIPE, errno.ECONNRESET) else f"{what}: {error.strerror}"
