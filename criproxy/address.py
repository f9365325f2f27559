"""Addresses of unix sockets."""

from __future__ import annotations

_SCHEMES = ("unix://", "unix:")
"""gRPC's ways to say that a path follows (gRPC Name Resolution)."""


def path_of(address: str) -> str:
    """The path of ``unix://PATH`` or ``unix:PATH``; another text as it stands."""
    scheme = next(filter(address.startswith, _SCHEMES), "")
    return address[len(scheme) :]
