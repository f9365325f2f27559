"""A socket and the HTTP/2 connection on it."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Callable, Deque, List

from criproxy.http2.connection import Buffer, Connection, Event
from criproxy.http2.errors import ConnectionFault
from criproxy.relay.loop import READ, WRITE, Loop

_CHUNK = 256 * 1024
"""The most that is read at once, bytes."""
_BACKLOG = 1024 * 1024
"""With more than this waiting for the socket, nothing more is read from the peer: it could make us answer (PING,
SETTINGS) without end otherwise."""

_JOINED = 64 * 1024
_GATHERED = 128
"""How many buffers are written at once, at most (IOV_MAX is 1024)."""

_buffer = bytearray(_CHUNK)
_view = memoryview(_buffer)


class Transport:
    """Reads a non-blocking socket into a connection and writes what the connection has to send.

    ``on_events`` gets the events of each piece that arrived, ``on_closed`` the reason when the connection is over
    (an empty one if the peer closed it in order), once.
    """

    __slots__ = (
        "_backlog",
        "_backlog_size",
        "_flushing",
        "_interest",
        "_loop",
        "_on_closed",
        "_on_events",
        "_sock",
        "closed",
        "closing",
        "connection",
        "fd",
    )

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        connection: Connection,
        on_events: Callable[[List[Event]], None],
        on_closed: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self.closed = False
        self.closing = False
        self.fd = sock.fileno()
        self._loop = loop
        self._sock = sock
        self._on_events = on_events
        self._on_closed = on_closed
        self._backlog: Deque[Buffer] = deque()
        self._backlog_size = 0
        self._interest = READ
        self._flushing = False
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
            self._backlog_size += sum(map(len, buffers))
            self._watch()
        elif buffers:
            self._write(buffers)
        if self.closing and not self._backlog and not self.closed:
            self.close("")

    def close(self, reason: str) -> None:
        """Closes the socket at once and says so."""
        if self.closed:
            return
        self.closed = True
        self._loop.unwatch(self.fd)
        self._sock.close()
        self._on_closed(reason)

    def close_when_flushed(self) -> None:
        """Closes the socket as soon as everything is written."""
        self.closing = True
        self.flush_soon()

    def _write(self, buffers: List[Buffer]) -> None:
        """Writes buffers that nothing is waiting before; what the socket does not take becomes the backlog."""
        size = sum(map(len, buffers))
        try:
            # To join a few small pieces is cheaper than to describe each of them to the kernel.
            sent = self._sock.send(b"".join(buffers)) if size <= _JOINED else self._sock.sendmsg(buffers[:_GATHERED])
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.close(f"write: {error.strerror}")
            return
        if sent < size:
            self._backlog.extend(buffers)
            self._backlog_size = size
            self.connection.hold(True)
            self._take_off_backlog(sent)
            self._watch()

    def _write_backlog(self) -> None:
        try:
            sent = self._sock.sendmsg(islice(self._backlog, _GATHERED))
        except BlockingIOError:
            return
        except OSError as error:
            self.close(f"write: {error.strerror}")
            return
        self._take_off_backlog(sent)
        self._watch()
        if not self._backlog:
            events = self.connection.hold(False)
            self.flush_soon()
            if events:
                self._on_events(events)

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
        if not self._backlog:
            interest = READ
        elif self._backlog_size > _BACKLOG:
            interest = WRITE
        else:
            interest = READ | WRITE
        if interest != self._interest:
            self._interest = interest
            self._loop.change(self.fd, interest)

    def _on_ready(self, events: int) -> None:
        if events & WRITE and self._backlog:
            self._write_backlog()
        if events & ~WRITE and not self.closed:
            self._read()

    def _read(self) -> None:
        # What has come of the next frame goes before what comes now, in the one buffer that all transports read into.
        rest = self.connection.take_rest()
        begin = len(rest)
        try:
            if begin:
                _view[:begin] = rest
                size = self._sock.recv_into(_view[begin:])
            else:
                size = self._sock.recv_into(_buffer)
        except BlockingIOError:
            self.connection.receive(rest)
            return
        except OSError as error:
            self.close(f"read: {error.strerror}")
            return
        if not size:
            self.close("")
            return
        try:
            data = _view[: begin + size]
            # A view saves the copy of what is large, but each look into it costs more than one into bytes.
            events = self.connection.receive(data if size > _JOINED else bytes(data))
        except ConnectionFault as fault:
            self._send_last()
            self.close(str(fault))
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

    def _send_last(self) -> None:
        """Writes the GOAWAY of a connection error, if the socket takes it."""
        if not self._backlog:
            with suppress(OSError):
                self._sock.send(self.connection.data_to_send())
