"""The streaming half of the CRI, as far as a command that reads nothing needs it: a WebSocket with channels."""

from __future__ import annotations

import base64
import os
import socket
from typing import BinaryIO, Dict
from urllib.parse import urlsplit

STDOUT, STDERR, STATUS = 1, 2, 3
"""The channels of `v4.channel.k8s.io`; on the last of them comes a JSON object in the end."""

_CLOSE = 8


def read_channels(sock: socket.socket, url: str) -> Dict[int, bytes]:
    """Opens a streaming URL over a connection to its host, reads to the end, and gives what came on each channel.

    Raises ValueError if the server does not switch to WebSocket.
    """
    parts = urlsplit(url)
    request = (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\n"
        f"Host: {parts.netloc}\r\n"
        "Connection: Upgrade\r\n"
        "Upgrade: websocket\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n"
        "\r\n"
    )
    sock.sendall(request.encode())
    with sock.makefile("rb") as file:
        status = file.readline()
        if b" 101 " not in status:
            raise ValueError(f"no WebSocket: {status!r}")
        while file.readline().strip():
            pass
        return _channels(file)


def _channels(file: BinaryIO) -> Dict[int, bytes]:
    channels: Dict[int, bytes] = {}
    while True:
        # RFC 6455, section 5.2: a server's frames are not masked.
        head = file.read(2)
        if len(head) < 2 or head[0] & 0x0F == _CLOSE:
            return channels
        size = head[1]
        if size >= 126:
            size = int.from_bytes(file.read(2 if size == 126 else 8), "big")
        payload = file.read(size)
        channels[payload[0]] = channels.get(payload[0], b"") + payload[1:]
