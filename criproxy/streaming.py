"""Where streaming servers are (exec, attach, port-forward) that say no more than a path."""

from __future__ import annotations

import socket
from contextlib import closing

from criproxy.config import Config

# Addresses of documentation (RFC 5737, RFC 3849): nothing is sent to them.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1", "{}"), (socket.AF_INET6, "2001:db8::1", "[{}]"))


def stream_url(config: Config) -> str:
    """The address that is put before a streaming URL that is only a path."""
    if config.stream_url:
        return config.stream_url.rstrip("/")
    return f"http://{node_address()}:{config.stream_port}"


def node_address() -> str:
    """The address from which this node reaches the world, as a URL writes it; that of the loopback if there is none."""
    for family, elsewhere, form in _ELSEWHERE:
        try:
            with closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
                sock.connect((elsewhere, 9))
                return form.format(sock.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"
