"""The socket that kubelet connects to."""

from __future__ import annotations

import errno
import os
import socket
from typing import Callable, Final

from criproxy.relay.loop import Loop
from criproxy.report.log import Log
from criproxy.report.ratelimit import RateLimit

_BATCH: Final = 64
"""Connections accepted in one round of the loop: calls under way are served between two rounds."""
_PAUSE: Final = 1.0
"""How long no connection is accepted when no descriptors are left (EMFILE), seconds: the socket stays readable, and
the loop would spin."""


class Listener:
    """The socket that kubelet connects to. ``on_connection`` gets each connection made to it."""

    def __init__(
        self, loop: Loop, log: Log, sock: socket.socket, on_connection: Callable[[socket.socket], None]
    ) -> None:
        self._loop = loop
        self._log = log
        self._records = RateLimit(loop)
        self._sock = sock
        self._on_connection = on_connection
        self.is_open = False
        self._paused = False
        sock.setblocking(False)

    def open(self) -> None:
        """Takes connections from now on; until then they wait in the socket's queue."""
        if not self.is_open:
            self.is_open = True
            self._watch()

    def pause(self, paused: bool) -> None:
        """Whether connections wait in the socket's queue for now."""
        self._paused = paused
        if self.is_open and paused:
            self._loop.unwatch(self._sock.fileno())
        elif self.is_open:
            self._watch()

    def close(self) -> None:
        """Takes no more connections. Those in the backlog are lost, unless another process has the socket, too."""
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        self._records.finish()

    def _watch(self) -> None:
        if self._sock.fileno() >= 0 and not self._paused:
            self._loop.unwatch(self._sock.fileno())
            self._loop.watch(self._sock.fileno(), self._on_ready)

    def _on_ready(self, events: int) -> None:
        for _ in range(_BATCH):
            if self._paused:
                return
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                # The connection stays in the queue, so the socket would be ready again at once.
                text = f"cannot accept a connection: {os.strerror(error.errno)}; trying again"
                self._records.say(self._log.error, text)
                self._loop.unwatch(self._sock.fileno())
                self._loop.call_later(_PAUSE, self._watch)
                return
            sock.setblocking(False)
            self._on_connection(sock)
