"""Asks whoever serves the CRI on a unix socket, by gRPC's own library."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Any, Optional, Type

import grpc

from criproxy.cri.messages import api
from criproxy.cri.schema import load
from criproxy.cri.versions import Version, path_of

TIMEOUT = 10.0
"""How long an answer may take, seconds."""
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    # Some releases make the authority of the socket's path, which Go's servers refuse.
    ("grpc.default_authority", "localhost"),
    # Whoever waits for a socket to be there wants to know soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
)
_VERSIONS = (Version.V1, Version.V1ALPHA2)


class ClientError(Exception):
    """No answer, or an error for one. The text is one line that names the socket."""

    def __init__(self, text: str, code: Optional[grpc.StatusCode] = None) -> None:
        super().__init__(" ".join(text.split()))
        self.code = code
        """The status that the call has ended with; None if nobody could be asked."""


def channel(path: str) -> grpc.Channel:
    """A channel to a unix socket, which need not be there yet."""
    return grpc.insecure_channel(f"unix:{path}", options=_OPTIONS)


class Client:
    """Calls methods of the CRI, in v1, or in v1alpha2 where that is not spoken. To be used in a ``with`` statement."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.version: Optional[Version] = None
        """The version that is spoken, once something has been called."""
        self._channel: Optional[grpc.Channel] = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._channel is not None:
            self._channel.close()

    def call(self, method: str, **fields: Any) -> Any:
        """The answer to a request with these fields. Raises ClientError."""
        if self.version is None:
            self.version = self._find_version(self._reached())
        return self.call_in(self.version, method, **fields)

    def call_in(self, version: Version, method: str, **fields: Any) -> Any:
        """The same in this version, whether it is spoken or not."""
        return self._call(self._reached(), version, method, **fields)

    def _reached(self) -> grpc.Channel:
        if self._channel is None:
            self._reach()
            self._channel = channel(self.path)
        return self._channel

    def _reach(self) -> None:
        """Tries to connect: the system tells more of what is wrong with a socket than gRPC does."""
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            probe.settimeout(TIMEOUT)
            try:
                probe.connect(self.path)
            except OSError as error:
                raise ClientError(f"{self.path}: {error.strerror or error}") from error

    def _find_version(self, to: grpc.Channel) -> Version:
        for version in _VERSIONS:
            try:
                self._call(to, version, "Version")
            except ClientError as error:
                if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
            else:
                return version
        raise ClientError(f"{self.path}: it speaks no version of the CRI that is known here")

    def _call(self, to: grpc.Channel, version: Version, method: str, **fields: Any) -> Any:
        rpc, messages = load().methods[method], api(version.value)
        ask = to.unary_unary(
            path_of(version, rpc.service, method),
            request_serializer=messages[rpc.request].SerializeToString,
            response_deserializer=messages[rpc.response].FromString,
        )
        try:
            return ask(messages[rpc.request](**fields), timeout=TIMEOUT)
        except grpc.RpcError as error:
            code = error.code()
            raise ClientError(f"{self.path}: {method}: {code.name}: {error.details()}", code) from error
