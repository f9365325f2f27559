"""Serves pages to whoever scrapes, in the daemon's loop.

Whoever can connect may be hostile: a head has a bound, a connection has one request and a time for all of it, and
there are few connections. For one more, the one that has let us wait for its request for the longest time is hung up
on; if all are being answered, the next waits in the socket's queue.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from enum import Enum
from typing import Callable, Dict, Final, Generator, Mapping, Optional

from criproxy.metrics.http import Answer, Head, HttpError, Request, parse, written
from criproxy.relay.listener import Listener
from criproxy.relay.loop import READ, WRITE, Loop, Timer
from criproxy.report.log import Log

MOST_CONNECTIONS: Final = 8
PATIENCE: Final = 10.0
"""How long a connection may last, seconds: as long as Prometheus waits for an answer if nothing else is said."""
_CHUNK: Final = 64 * 1024
"""The most that is read or written at once, bytes: a copy of that takes some ten microseconds."""
_LEFT_OVER: Final = 64 * 1024
"""What a client may send behind its request before it is hung up on, bytes."""

Page = Callable[[Request], Generator[None, None, Answer]]
"""Makes an answer in steps of a millisecond at most."""


class State(Enum):
    """How far a connection is."""

    READING = "reading"
    """The head of the request is not whole yet."""
    ANSWERING = "answering"
    """The page is being made."""
    WRITING = "writing"
    """The client is to take the answer."""
    PARTING = "parting"
    """It has all of it, and is to hang up: if we did, what it has sent beyond its request would lose it the answer."""
    CLOSED = "closed"
    """Nothing is left of it."""


class MetricsServer:
    """Answers on a listening socket with the pages of ``pages``, which are found by their paths."""

    def __init__(self, loop: Loop, log: Log, sock: socket.socket, pages: Mapping[str, Page]) -> None:
        self._loop = loop
        self._pages = pages
        self._connections: Dict[_Connection, None] = {}
        """In the order in which they have come."""
        self._full = False
        self._listener = Listener(loop, log, sock, self._on_connection)
        self._listener.open()

    def close(self) -> None:
        """Hangs up on everybody, and takes no more connections."""
        for connection in list(self._connections):
            connection.close()
        self._listener.close()

    def _on_connection(self, sock: socket.socket) -> None:
        self._connections[_Connection(self._loop, sock, self._page, self._on_change)] = None
        if len(self._connections) > MOST_CONNECTIONS:
            waited_for = (each for each in self._connections if each.state in (State.READING, State.PARTING))
            next(waited_for).close()

    def _on_change(self, connection: _Connection) -> None:
        if connection.state is State.CLOSED:
            del self._connections[connection]
        self._pause_if_full()

    def _pause_if_full(self) -> None:
        busy = [each for each in self._connections if each.state in (State.ANSWERING, State.WRITING)]
        full = len(busy) >= MOST_CONNECTIONS
        if full is not self._full:
            self._full = full
            self._listener.pause(full)

    def _page(self, request: Request) -> Generator[None, None, Answer]:
        """The page that a request is for. Raises HttpError."""
        page = self._pages.get(request.path)
        if page is None:
            raise HttpError(404, f"there is {', '.join(self._pages)}")
        return page(request)


class _Connection:
    """One connection: a request and its answer."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        page: Callable[[Request], Generator[None, None, Answer]],
        on_change: Callable[[_Connection], None],
    ) -> None:
        self.state = State.READING
        self._loop = loop
        self._sock = sock
        self._page = page
        self._on_change = on_change
        self._head = Head()
        self._unsent = memoryview(b"")
        self._left_over = 0
        self._work: Optional[Timer] = None
        """What is left of the page's making."""
        self._end = loop.call_later(PATIENCE, self.close)
        loop.watch(sock.fileno(), self._on_ready)

    def close(self) -> None:
        """Hangs up."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._end.cancel()
        if self._work is not None:
            self._work.cancel()
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        self._on_change(self)

    def _on_ready(self, events: int) -> None:
        try:
            if self.state is State.WRITING:
                self._write()
            elif self.state is State.ANSWERING:
                # Of a connection that is not watched for anything only its end is told.
                self.close()
            else:
                self._read()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _read(self) -> None:
        data = self._sock.recv(_CHUNK)
        if not data:
            self.close()
        elif self.state is State.PARTING:
            self._left_over += len(data)
            if self._left_over > _LEFT_OVER:
                self.close()
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            head = self._head.feed(data)
        except HttpError as error:
            self._send(error.answer)
            return
        if head is not None:
            self._become(State.ANSWERING, 0)
            self._work = self._loop.begin(self._answer(head))

    def _answer(self, head: bytes) -> Generator[None, None, None]:
        try:
            answer = yield from self._page(parse(head))
        except HttpError as error:
            answer = error.answer
        except Exception:
            # A defect of ours. Who asks again may have more luck.
            self.close()
            raise
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self._unsent = memoryview(written(answer))
        self._become(State.WRITING, WRITE)

    def _write(self) -> None:
        self._unsent = self._unsent[self._sock.send(self._unsent[:_CHUNK]) :]
        if not self._unsent:
            with suppress(OSError):  # it may have gone, which the next look will tell
                self._sock.shutdown(socket.SHUT_WR)
            self._become(State.PARTING, READ)

    def _become(self, state: State, events: int) -> None:
        self.state = state
        self._loop.change(self._sock.fileno(), events)
        self._on_change(self)
