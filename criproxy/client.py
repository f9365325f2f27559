"""Asks whoever serves the CRI on a unix socket, by gRPC's own library."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Any, Iterable, Iterator, Optional, Type, TypeVar

import grpc

from criproxy.cri.messages import api
from criproxy.cri.schema import load
from criproxy.cri.versions import ApiVersion, path_of
from criproxy.http2 import frames
from criproxy.http2.grpc import not_grpc

TIMEOUT = 10.0
"""How long an answer may take, seconds."""
_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),  # bytes: the default of --max-message-size
    # Some releases make the authority of the socket's path, which Go's servers refuse.
    ("grpc.default_authority", "localhost"),
    # Whoever waits for a socket to be there wants to know soon, however long that has taken.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
"""The statuses of who is there and does not want to."""
VERSIONS = (ApiVersion.V1, ApiVersion.V1ALPHA2)
"""Those that are tried, in this order."""
_GREETING_TIME = 2.0
"""How long a peer that does not speak HTTP/2 may take to answer, seconds."""
_OURS = "criproxy: "
"""Errors of criproxy's own begin with this."""
_NOT_CONNECTED = "failed to connect to all addresses"
"""The library's text for a connection that could not be made begins with this."""


class ClientError(Exception):
    """No answer, or an error for one. The text is one line that names the socket."""

    def __init__(self, text: str, code: Optional[grpc.StatusCode] = None, cause: str = "") -> None:
        super().__init__(" ".join(text.split()))
        self.code = code
        """The status that the call has ended with; None if nobody could be asked."""
        self.cause = " ".join(cause.split()) or str(self)
        """The text without the socket's path."""

    @property
    def late(self) -> bool:
        """Whether nobody has answered in time."""
        return self.code is grpc.StatusCode.DEADLINE_EXCEEDED

    @property
    def refused(self) -> bool:
        """Whether somebody has answered, and does not do what it is asked for."""
        return self.code in _REFUSALS


def channel(path: str) -> grpc.Channel:
    """A channel to a unix socket, which need not be there yet."""
    return grpc.insecure_channel(f"unix:{path}", options=_OPTIONS)


AnyConnection = TypeVar("AnyConnection", bound="Connection")


class Connection:
    """Asks whoever serves gRPC on a unix socket, and tells well why that fails. To be used in a ``with`` statement."""

    def __init__(self, path: str, timeout: Optional[float] = None) -> None:
        self.path = path
        self.timeout = TIMEOUT if timeout is None else timeout
        """How long the next answer may take, seconds."""
        self._channel: Optional[grpc.Channel] = None

    def __enter__(self: AnyConnection) -> AnyConnection:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._channel is not None:
            self._channel.close()

    def ask(self, path: str, request: Any, response: Any) -> Any:
        """The answer of a method, by its path, to a message; ``response`` is the answer's class. Raises ClientError."""
        ask = self._reached().unary_unary(
            path, request_serializer=_serialized, response_deserializer=response.FromString
        )
        try:
            return ask(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise self._failed(path, error) from error

    def listen(self, path: str, request: Any, response: Any) -> Iterator[Any]:
        """The answers of a method that streams them, for as long as it does. Raises ClientError, now or later."""
        ask = self._reached().unary_stream(
            path, request_serializer=_serialized, response_deserializer=response.FromString
        )
        return self._listened(path, ask(request))

    def _listened(self, path: str, answers: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from answers
        except grpc.RpcError as error:
            raise self._failed(path, error) from error

    def _failed(self, path: str, error: Any) -> ClientError:
        code, details = error.code(), error.details() or ""
        return self._error(self._cause(path.rpartition("/")[2], code, details), code)

    def _reached(self) -> grpc.Channel:
        if self._channel is None:
            self._reach()
            self._channel = channel(self.path)
        return self._channel

    def _reach(self) -> None:
        """Tries to connect: the system tells more of what is wrong with a socket than gRPC does."""
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            probe.settimeout(self.timeout)
            try:
                probe.connect(self.path)
            except OSError as error:
                raise self._error(error.strerror or str(error)) from error

    def _greeted(self) -> str:
        """Why there is no HTTP/2 connection, by what the peer answers to the preface (RFC 9113, 3.4)."""
        said = b""
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            probe.settimeout(_GREETING_TIME)
            try:
                probe.connect(self.path)
                with contextlib.suppress(BrokenPipeError):
                    probe.sendall(frames.PREFACE + frames.settings(()))
                said = probe.recv(4096)
            except socket.timeout:
                return "it accepts connections and does not answer"
            except ConnectionResetError:
                pass
            except OSError as error:
                return error.strerror or str(error)
        return not_grpc(said) or "it closed the connection before it answered"

    def _error(self, cause: str, code: Optional[grpc.StatusCode] = None) -> ClientError:
        return ClientError(f"{self.path}: {cause}", code, cause)

    def _cause(self, method: str, code: grpc.StatusCode, details: str) -> str:
        if details.startswith(_OURS):  # a sentence that names what it is about
            return details[len(_OURS) :]
        if details.startswith(_NOT_CONNECTED):
            return self._greeted()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{method}: no answer within {self.timeout:g} s"
        return f"{method}: {code.name}: {details}"


class Client(Connection):
    """Calls methods of the CRI, in v1, or in v1alpha2 where that is not spoken."""

    def __init__(self, path: str, timeout: Optional[float] = None) -> None:
        super().__init__(path, timeout)
        self.version: Optional[ApiVersion] = None
        """The version that is spoken, once something has been called."""

    def call(self, method: str, **fields: Any) -> Any:
        """The answer to a request with these fields. Raises ClientError."""
        if self.version is None:
            self.version = self._find_version()
        return self.call_in(self.version, method, **fields)

    def call_in(self, version: ApiVersion, method: str, **fields: Any) -> Any:
        """The same in this version, even if it is not spoken. Raises ClientError."""
        rpc, messages = load().methods[method], api(version.value)
        path = path_of(version, rpc.service, method)
        return self.ask(path, messages[rpc.request](**fields), messages[rpc.response])

    def _find_version(self) -> ApiVersion:
        for version in VERSIONS:
            try:
                self.call_in(version, "Version")
            except ClientError as error:
                if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
            else:
                return version
        versions = ", ".join(version.spoken for version in VERSIONS)
        raise self._error(f"it speaks no known version of the CRI ({versions})")


def _serialized(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized
