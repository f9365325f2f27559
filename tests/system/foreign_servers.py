"""A server at a runtime's socket that is no runtime."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Callable, List

from peers import PATIENCE

Serve = Callable[[socket.socket], None]

PAGE = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400 Bad Request"
ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
"""protocol_version, fatal (RFC 8446, section 6)."""


class ForeignServer:
    """A socket whose connections are given to a function, and closed when it is done with them."""

    def __init__(self, path: str, serve: Serve) -> None:
        self.path = path
        self._serve = serve
        self._over = threading.Event()
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(path)
        self._sock.listen(128)
        self._taken: List[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._over.is_set():
            taken, _ = self._sock.accept()
            self._taken.append(taken)
            self._threads.append(threading.Thread(target=self._on_connection, args=(taken,)))
            self._threads[-1].start()

    def _on_connection(self, taken: socket.socket) -> None:
        with taken:
            taken.settimeout(PATIENCE)
            try:
                self._serve(taken)
            except OSError:
                return  # whoever had connected has hung up

    def stop(self) -> None:
        """Takes no more connections, and ends those that there are."""
        self._over.set()
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._threads[0].join(PATIENCE)
        for taken in self._taken:
            with suppress(OSError):  # it is over
                taken.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._sock.close()


def answering(size: int, answer: bytes) -> Serve:
    """Reads at most so much, says this, and hangs up."""

    def serve(taken: socket.socket) -> None:
        if size:
            taken.recv(size)
        taken.sendall(answer)

    return serve
