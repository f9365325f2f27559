"""The streaming half of the CRI, and kubelet's, as far as these tests need it."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from contextlib import contextmanager
from typing import BinaryIO, Iterator, Protocol, Tuple
from urllib.parse import urlsplit

STDIN, STDOUT, STDERR, STATUS = range(4)
"""The channels of a command; what comes on the last one is a JSON object."""

_BINARY, _CLOSE = 2, 8
_FINAL, _MASKED = 0x80, 0x80


class Dials(Protocol):
    """Whoever gives connections to a port in a network."""

    def dial(self, address: str, port: int) -> socket.socket: ...


class Stream:
    """An open WebSocket. As an iterator it gives what comes, as channel and data, until the other side closes."""

    def __init__(self, sock: socket.socket, file: BinaryIO) -> None:
        self._sock = sock
        self._file = file

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Tuple[int, bytes]:
        # RFC 6455, section 5.2; what a server sends is not masked.
        head = self._file.read(2)
        if len(head) < 2 or head[0] & 0x0F == _CLOSE:
            raise StopIteration
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
        payload = self._file.read(size)
        return payload[0], payload[1:]

    def send(self, channel: int, data: bytes) -> None:
        """Sends up to 124 bytes."""
        payload = bytes([channel]) + data
        # The mask must be there; one of zeros changes nothing.
        self._sock.sendall(bytes([_FINAL | _BINARY, _MASKED | len(payload)]) + bytes(4) + payload)


@contextmanager
def opened(node: Dials, url: str) -> Iterator[Stream]:
    """Opens a streaming URL of a runtime on the node, or of kubelet, as a WebSocket."""
    parts = urlsplit(url)
    assert parts.hostname, f"{url!r} names no host"
    assert parts.port, f"{url!r} names no port"
    with _secured(node.dial(parts.hostname, parts.port), parts.scheme) as sock, sock.makefile("rb") as file:
        _upgrade(sock, file, parts.netloc, f"{parts.path}?{parts.query}" if parts.query else parts.path)
        yield Stream(sock, file)


def _secured(sock: socket.socket, scheme: str) -> socket.socket:
    return unverified().wrap_socket(sock) if scheme == "https" else sock


def unverified() -> ssl.SSLContext:
    """TLS with whoever it is: kubelet's certificate is its own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _upgrade(sock: socket.socket, file: BinaryIO, host: str, path: str) -> None:
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: v4.channel.k8s.io",
    )
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    status = file.readline()
    assert b" 101 " in status, f"no WebSocket at {path}: {status!r}"
    while file.readline().strip():
        pass  # the headers: there is no more to agree upon
