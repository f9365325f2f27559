"""A client for latency: one call at a time on a blocking socket, as little Python as possible around each."""

from __future__ import annotations

import socket
import time
from typing import List

from criproxy.http2 import frames
from criproxy.http2.headers import NO_TABLE, encode

_WINDOW = 2**30


class LatencyClient:
    """Calls one method with one request, again and again."""

    def __init__(self, path: str, method: str, body: bytes) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(30)
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
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
        self._block = encode(fields)
        self._message = b"\0" + len(body).to_bytes(4, "big") + body
        self._next = 1
        self._rest = b""
        self._received = 0

    def close(self) -> None:
        """Hangs up."""
        self._sock.close()

    def measure(self, calls: int) -> List[float]:
        """Each call's time, seconds."""
        times = []
        for _ in range(calls):
            stream_id, self._next = self._next, self._next + 2
            block = NO_TABLE + self._block if stream_id == 1 else self._block
            request = frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block) + frames.frame(
                frames.DATA, frames.END_STREAM, stream_id, self._message
            )
            start = time.perf_counter()
            self._sock.send(request)
            self._read_to_end(stream_id)
            times.append(time.perf_counter() - start)
        return times

    def _read_to_end(self, stream_id: int) -> None:
        ended = False
        while not ended:
            data = self._sock.recv(1 << 20)
            if not data:
                raise ConnectionError("the connection was closed")
            self._received += len(data)
            if self._rest:
                data = self._rest + data
            at = 0
            while len(data) - at >= frames.HEADER_SIZE:
                high, low, kind, flags, stream = frames.HEADER.unpack_from(data, at)
                stop = at + frames.HEADER_SIZE + (high << 8 | low)
                if stop > len(data):
                    break
                if stream == stream_id and kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM:
                    ended = True
                elif kind == frames.SETTINGS and not flags & frames.ACK:
                    self._sock.sendall(frames.frame(frames.SETTINGS, frames.ACK, 0))
                elif kind == frames.PING and not flags & frames.ACK:
                    self._sock.sendall(frames.frame(frames.PING, frames.ACK, 0, data[at + 9 : stop]))
                elif kind in (frames.RST_STREAM, frames.GOAWAY):
                    raise ConnectionError(f"frame of type {kind}")
                at = stop
            self._rest = data[at:]
        if self._received > _WINDOW // 2:
            self._sock.sendall(frames.window_update(0, self._received))
            self._received = 0
