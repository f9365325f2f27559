"""A CRI client: grpcio, and messages that are not ours."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, List, Sequence, Tuple

import grpc

from criproxy.cri.messages import api
from criproxy.cri.schema import load

from .service import PATIENCE

# Whoever restarts is found again at once, and not when a second has passed.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
)


class Client:
    """Calls of one version of the CRI on one socket.

    Each method of both services is a method of this; its arguments are the fields of the request. A unary one gives
    the answer, a streaming one the stream, and both raise grpc.RpcError. ``api``: the version's messages; ``options``:
    the channel's.
    """

    def __init__(
        self,
        path: Path,
        version: str = "v1",
        timeout: float = PATIENCE,
        options: Sequence[Tuple[str, Any]] = _OPTIONS,
    ) -> None:
        self.api: ModuleType = import_module(f"cri_api.{version}.api_pb2")
        services: ModuleType = import_module(f"cri_api.{version}.api_pb2_grpc")
        self._timeout = timeout
        self._channel = grpc.insecure_channel(f"unix:{path}", options)
        self._stubs = [services.RuntimeServiceStub(self._channel), services.ImageServiceStub(self._channel)]

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def __getattr__(self, method: str) -> Any:
        return lambda **fields: self._callable(method)(self._request(method, fields), timeout=self._timeout)

    def begin(self, method: str, **fields: Any) -> Any:
        """Starts a unary call and gives its future."""
        return self._callable(method).future(self._request(method, fields), timeout=self._timeout)

    def streamed(self, method: str) -> List[Any]:
        """The messages of a streamed list. cri_api does not have those of 1.36: they are ours."""
        rpc = load().methods[method]
        call = self._channel.unary_stream(f"/runtime.v1.{rpc.service}/{method}", bytes, api()[rpc.response].FromString)
        return list(call(b"", timeout=self._timeout))

    def _callable(self, method: str) -> Any:
        return next(getattr(stub, method) for stub in self._stubs if hasattr(stub, method))

    def _request(self, method: str, fields: Any) -> Any:
        name = {"GetContainerEvents": "GetEventsRequest"}.get(method, f"{method}Request")
        return getattr(self.api, name)(**fields)

    def serves(self) -> bool:
        """Whether somebody on the socket answers Version."""
        try:
            self.Version()
        except grpc.RpcError:
            return False
        return True
