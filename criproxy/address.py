"""Addresses of sockets."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import Tuple

_SCHEMES = ("unix://", "unix:")
"""gRPC's ways to say that a path follows (gRPC Name Resolution)."""


def path_of(address: str) -> str:
    """The path of ``unix://PATH`` or ``unix:PATH``; another text as it stands."""
    scheme = next(filter(address.startswith, _SCHEMES), "")
    return address[len(scheme) :]


def host_and_port(address: str) -> Tuple[str, int]:
    """The parts of HOST:PORT, in which HOST is an IPv4 address, or an IPv6 address in brackets.

    Raises ValueError. Names are none: what they mean may change, and to ask for it takes time.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})", address)
    if match is not None and 0 < int(match[3]) < 65536:
        with suppress(OSError):
            socket.inet_pton(socket.AF_INET6 if match[1] else socket.AF_INET, match[1] or match[2])
            return match[1] or match[2], int(match[3])
    raise ValueError(f"{address!r} is not unix:PATH, nor an address and a port like 127.0.0.1:11251 or [::1]:11251")
