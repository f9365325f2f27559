"""A client for latency: one call at a time on a blocking socket, with as little Python as possible around each.

Not h2load (its ``--log-file`` has each request's time), because its median says more of the scheduler than of what is
called: on a virtual machine a client that polls is woken now on the core that it has slept on, now on another, and
between these two lies more than any of the contestants adds. One that blocks in recv(2) is woken always alike: over
rounds its medians stay within a few microseconds. Both mean the same time, from the request to the trailers.
"""

from __future__ import annotations

import socket
import time
from typing import List

from criproxy.http2 import frames
from criproxy.http2.grpc import CONTENT_TYPE, prefix
from criproxy.http2.headers import NO_TABLE, encode

_WINDOW = 2**30
_TIMEOUT = 30.0
"""seconds"""


class LatencyClient:
    """Calls one method of RuntimeService (v1) with one request, again and again. ``size``: the answer's, bytes."""

    def __init__(self, path: str, method: str, body: bytes, size: int) -> None:
        self._size = size
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(_TIMEOUT)
        self._sock.connect(path)
        settings = frames.settings(
            ((frames.SETTINGS_HEADER_TABLE_SIZE, 0), (frames.SETTINGS_INITIAL_WINDOW_SIZE, _WINDOW))
        )
        self._sock.sendall(frames.PREFACE + settings + frames.window_update(0, _WINDOW))
        fields = (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", f"/runtime.v1.RuntimeService/{method}".encode()),
            (b":authority", b"localhost"),
            (b"content-type", CONTENT_TYPE),
            (b"te", b"trailers"),
        )
        self._block = encode(fields)
        self._message = prefix(len(body)) + body
        self._next = 1
        self._rest = b""
        self._received = 0
        self._owed = 0

    def close(self) -> None:
        """Hangs up."""
        self._sock.close()

    def measure(self, calls: int) -> List[float]:
        """Each call's time, seconds. Raises ConnectionError for an answer that has another size, or none."""
        times = []
        for _ in range(calls):
            stream_id, self._next = self._next, self._next + 2
            block = NO_TABLE + self._block if stream_id == 1 else self._block
            request = frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block) + frames.frame(
                frames.DATA, frames.END_STREAM, stream_id, self._message
            )
            self._received = 0
            start = time.perf_counter()
            self._sock.sendall(request)
            self._read_to_end(stream_id)
            times.append(time.perf_counter() - start)
            if self._received != self._size:
                raise ConnectionError(f"an answer of {self._received} bytes instead of {self._size}")
            self._return_credit()
        return times

    def _return_credit(self) -> None:
        self._owed += self._received
        if self._owed > _WINDOW // 2:
            self._sock.sendall(frames.window_update(0, self._owed))
            self._owed = 0

    def _read_to_end(self, stream_id: int) -> None:
        ended = False
        while not ended:
            data = self._sock.recv(1 << 20)
            if not data:
                raise ConnectionError("the connection was closed")
            if self._rest:
                data = self._rest + data
            at = 0
            while len(data) - at >= frames.HEADER_SIZE:
                high, low, kind, flags, stream = frames.HEADER.unpack_from(data, at)
                size = high << 8 | low
                stop = at + frames.HEADER_SIZE + size
                if stop > len(data):
                    break
                if stream == stream_id and kind in (frames.DATA, frames.HEADERS):
                    ended = bool(flags & frames.END_STREAM)
                    self._received += size if kind == frames.DATA else 0
                elif stream == 0:
                    self._on_control(kind, flags, data[at + frames.HEADER_SIZE : stop])
                elif kind == frames.RST_STREAM:
                    raise ConnectionError("the stream was reset")
                at = stop
            self._rest = data[at:]

    def _on_control(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == frames.GOAWAY:
            raise ConnectionError(f"GOAWAY: {payload[8:]!r}")
        if kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
            answer = payload if kind == frames.PING else b""
            self._sock.sendall(frames.frame(kind, frames.ACK, 0, answer))
