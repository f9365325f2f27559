"""A client for latency: one call at a time on a blocking socket, with as little Python as possible around each.

Not h2load (its ``--log-file`` has each request's time), because its median says more of the scheduler than of what is
called: on a virtual machine a client that polls is woken now on the core that it has slept on, now on another, and
between these two lies more than any of the contestants adds. One that blocks in recv(2) is woken always alike: over
rounds its medians stay within a few microseconds. Both mean the same time, from the request to the trailers.
"""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Any, List, Optional, Type

from criproxy.cri.messages import api
from criproxy.http2 import frames
from criproxy.http2.grpc import Message, Reader, plain, prefix, request_head
from criproxy.http2.headers import NO_TABLE
from tests.bench.figures import UnservedError
from tests.bench.runtime import SERVICE

_WINDOW = 2**30
_TIMEOUT = 30.0
"""seconds"""
FEWEST = 3
"""Calls or events of a batch, however short it is."""


class LatencyClient:
    """Calls one method with one request, again and again. ``size``: the answer's, bytes. To be used in a ``with``."""

    def __init__(self, path: str, method: str, body: bytes, size: int = -1) -> None:
        self._size = size
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(_TIMEOUT)
        self._sock.connect(path)
        settings = frames.settings(
            ((frames.SETTINGS_HEADER_TABLE_SIZE, 0), (frames.SETTINGS_INITIAL_WINDOW_SIZE, _WINDOW))
        )
        self._sock.sendall(frames.PREFACE + settings + frames.window_update(0, _WINDOW))
        self._block = request_head(method if method.startswith("/") else SERVICE + method).wire
        message, step = prefix(len(body)) + body, frames.DEFAULT_FRAME_SIZE
        self._pieces = [message[at : at + step] for at in range(0, len(message), step)]
        self._initial = self._stream_window = self._window = frames.DEFAULT_WINDOW
        self._next = 1
        self._rest = b""
        self._received = 0
        self._owed = 0
        self._reader: Optional[Reader] = None
        self._messages: List[Message] = []

    def __enter__(self) -> LatencyClient:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._sock.close()

    def call(self) -> float:
        """One call's time, seconds. Raises ConnectionError for an answer that has another size, or none."""
        self._received = 0
        start = time.perf_counter()
        stream_id = self._send()
        while not self._read(stream_id):
            pass
        taken = time.perf_counter() - start
        self._check()
        self._return_credit()
        return taken

    def measure(self, seconds: float, fewest: int = FEWEST) -> List[float]:
        """Calls for so long; each one's time, seconds. Raises ConnectionError."""
        end = time.perf_counter() + seconds
        times = [self.call() for _ in range(fewest)]
        while time.perf_counter() < end:
            times.append(self.call())
        return times

    def ask(self, calls: int) -> None:
        """Sends so many requests, of one frame each, and waits for no answer."""
        for _ in range(calls):
            self._send()

    def events(self, seconds: float) -> List[float]:
        """Reads a stream of events for so long; how old each was when it came, seconds.

        Raises UnservedError if there is no such stream, and ConnectionError if it ends.
        """
        self._reader = Reader(_WINDOW)
        stream_id = self._send()
        ages: List[float] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(ages) < FEWEST:
            if self._read(stream_id):
                self._on_end_of_events()
            now = time.time_ns()
            for message in self._messages:
                event: Any = api()["ContainerEventResponse"].FromString(plain(message))
                ages.append((now - event.created_at) / 1e9)
            self._messages.clear()
        return ages

    def _send(self) -> int:
        stream_id, self._next = self._next, self._next + 2
        block = NO_TABLE + self._block if stream_id == 1 else self._block
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block)
        if len(self._pieces) > 1:
            self._send_pieces(head, stream_id)
        else:
            self._sock.sendall(head + frames.frame(frames.DATA, frames.END_STREAM, stream_id, self._pieces[0]))
        return stream_id

    def _send_pieces(self, head: bytes, stream_id: int) -> None:
        self._sock.sendall(head)
        self._stream_window = self._initial
        for number, piece in enumerate(self._pieces, 1):
            while min(self._window, self._stream_window) < len(piece):
                self._read(stream_id)
            self._window -= len(piece)
            self._stream_window -= len(piece)
            flags = frames.END_STREAM if number == len(self._pieces) else 0
            self._sock.sendall(frames.frame(frames.DATA, flags, stream_id, piece))

    def _on_end_of_events(self) -> None:
        if not self._received:
            raise UnservedError("there are no events")
        raise ConnectionError("the stream of events has ended")

    def _check(self) -> None:
        if self._size < 0:
            self._size = self._received
        if self._received != self._size:
            raise ConnectionError(f"an answer of {self._received} bytes instead of {self._size}")

    def _return_credit(self) -> None:
        self._owed += self._received
        if self._owed > _WINDOW // 2:
            self._sock.sendall(frames.window_update(0, self._owed))
            self._owed = 0

    def _read(self, stream_id: int) -> bool:
        """Takes what has come. Whether the stream has ended."""
        data = self._sock.recv(1 << 20)
        if not data:
            raise ConnectionError("the connection was closed")
        if self._rest:
            data = self._rest + data
        ended, at = False, 0
        while len(data) - at >= frames.HEADER_SIZE:
            size, kind, flags, stream = frames.header_at(data, at)
            begin, stop = at + frames.HEADER_SIZE, at + frames.HEADER_SIZE + size
            if stop > len(data):
                break
            if stream == stream_id and kind in (frames.DATA, frames.HEADERS):
                ended = bool(flags & frames.END_STREAM)
                if kind == frames.DATA:
                    self._received += size
                    if self._reader is not None:
                        self._messages += self._reader.feed(data[begin:stop])
            elif kind == frames.RST_STREAM:
                raise ConnectionError("the stream was reset")
            else:
                self._on_control(kind, flags, stream, data[begin:stop])
            at = stop
        self._rest = data[at:]
        return ended

    def _on_control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.GOAWAY:
            raise ConnectionError(f"GOAWAY: {payload[8:]!r}")
        if kind == frames.WINDOW_UPDATE:
            self._on_credit(stream, frames.WORD.unpack(payload)[0])
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._on_settings(payload)
            self._sock.sendall(frames.frame(kind, frames.ACK, 0))
        elif kind == frames.PING and not flags & frames.ACK:
            self._sock.sendall(frames.frame(kind, frames.ACK, 0, payload))

    def _on_credit(self, stream: int, more: int) -> None:
        if not stream:
            self._window += more
        elif stream == self._next - 2:
            self._stream_window += more

    def _on_settings(self, payload: bytes) -> None:
        for number, value in frames.SETTING.iter_unpack(payload):
            if number == frames.SETTINGS_INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial
                self._initial = value
