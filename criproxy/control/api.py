"""The services of the control socket: their methods and messages, read from files as the CRI's are (cri/schema.py)."""

from __future__ import annotations

import os
from functools import cache, cached_property
from typing import Any, Dict

from criproxy.cri.schema import Rpc, Schema, read


class Api:
    """The services of one file. ``package`` is that of its messages."""

    def __init__(self, package: str, schema: Schema) -> None:
        self.package = package
        self.rpcs: Dict[str, Rpc] = schema.methods
        """By the methods' names."""
        self.enums = schema.enums
        self._schema = schema

    @cached_property
    def messages(self) -> Dict[str, Any]:
        """The classes of its messages, by their names."""
        from criproxy.cri.messages import whole  # it brings protobuf, which the daemon seldom needs

        return {**whole(self._schema, self.package)}

    def path(self, method: str) -> str:
        """The path of a method (``:path``)."""
        return f"/{self.package}.{self.rpcs[method].service}/{method}"


@cache
def control() -> Api:
    """criproxy's own."""
    return _read("criproxy.control.v1", "control.proto")


@cache
def health() -> Api:
    """gRPC's health checks."""
    return _read("grpc.health.v1", "health.proto")


def utf8(text: str) -> str:
    """A text for a field. What has been said by others, and a path (PEP 383), need not be UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _read(package: str, file: str) -> Api:
    return Api(package, read(os.path.join(os.path.dirname(__file__), file)))
