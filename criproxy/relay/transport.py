"""A socket and the HTTP/2 connection on it."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Callable, List, Optional

from criproxy.http2.connection import Connection, Event
from criproxy.http2.errors import ConnectionFault
from criproxy.relay.loop import READ, WRITE, Loop

_CHUNK = 256 * 1024
"""The most that is read at once, bytes."""
_BACKLOG = 1024 * 1024
"""With more than this waiting for the socket, nothing more is read from the peer: it could make us answer (PING,
SETTINGS) without end otherwise."""

_buffer = bytearray(_CHUNK)
_view = memoryview(_buffer)


class Transport:
    """Reads a non-blocking socket into a connection and writes what the connection has to send.

    ``on_events`` gets the events of each piece that arrived, ``on_closed`` the reason when the connection is over
    (an empty one if the peer closed it in order), once.
    """

    __slots__ = (
        "_backlog",
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
        self._backlog: Optional[memoryview] = None
        self._interest = READ
        self._flushing = False
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
        data = self.connection.data_to_send()
        if self._backlog is not None:
            if data:
                self._backlog = memoryview(bytes(self._backlog) + data)
                self._watch()
        elif data:
            self._write(memoryview(data))
        if self.closing and self._backlog is None and not self.closed:
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

    def _write(self, data: memoryview) -> None:
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.close(f"write: {error.strerror}")
            return
        if sent == len(data):
            if self._backlog is not None:
                self._backlog = None
                self._watch()
                events = self.connection.hold(False)
                if events:
                    self._on_events(events)
                self.flush_soon()
            return
        if self._backlog is None:
            self.connection.hold(True)
        self._backlog = data[sent:]
        self._watch()

    def _watch(self) -> None:
        backlog = self._backlog
        if backlog is None:
            interest = READ
        elif len(backlog) > _BACKLOG:
            interest = WRITE
        else:
            interest = READ | WRITE
        if interest != self._interest:
            self._interest = interest
            self._loop.change(self.fd, interest)

    def _on_ready(self, events: int) -> None:
        if events & WRITE and self._backlog is not None:
            self._write(self._backlog)
        if events & ~WRITE and not self.closed:
            self._read()

    def _read(self) -> None:
        try:
            size = self._sock.recv_into(_buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(f"read: {error.strerror}")
            return
        if not size:
            self.close("")
            return
        try:
            events = self.connection.receive(bytes(_view[:size]))
        except ConnectionFault as fault:
            self._send_last()
            self.close(str(fault))
            return
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
        if self._backlog is None:
            with suppress(OSError):
                self._sock.send(self.connection.data_to_send())
