"""The streaming half of the CRI as far as these tests need it: they listen and say nothing."""

from __future__ import annotations

import base64
import os
import socket
from contextlib import contextmanager
from typing import BinaryIO, Iterator, Tuple
from urllib.parse import urlsplit

from .node import Node

STDOUT, STDERR, STATUS = 1, 2, 3
"""The channels of a command; what comes on the last one is a JSON object."""

Frames = Iterator[Tuple[int, bytes]]
"""What comes, as channel and data, until the other side closes."""

_CLOSE = 8


@contextmanager
def opened(node: Node, url: str) -> Iterator[Frames]:
    """Opens a streaming URL of a runtime on the node as a WebSocket; gives what comes."""
    parts = urlsplit(url)
    assert parts.hostname, f"{url!r} names no host"
    assert parts.port, f"{url!r} names no port"
    with node.dial(parts.hostname, parts.port) as sock, sock.makefile("rb") as file:
        _upgrade(sock, file, parts.netloc, parts.path)
        yield _frames(file)


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


def _frames(file: BinaryIO) -> Frames:
    while True:
        # RFC 6455, section 5.2; what a server sends is not masked.
        head = file.read(2)
        if len(head) < 2 or head[0] & 0x0F == _CLOSE:
            return
        size = head[1]
        if size >= 126:
            size = int.from_bytes(file.read(2 if size == 126 else 8), "big")
        payload = file.read(size)
        yield payload[0], payload[1:]
