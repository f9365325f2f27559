"""Asks the daemon over its control socket."""

from __future__ import annotations

from typing import Any, Iterator, Optional

from criproxy.client import Connection
from criproxy.control.api import Api, control


class ControlClient(Connection):
    """Calls the daemon's methods. To be used in a ``with`` statement.

    A daemon of another version is understood: fields that only one of both knows are left alone.
    """

    def call(self, method: str, api: Optional[Api] = None, /, **fields: Any) -> Any:
        """The answer of a method to a request with these fields. Raises ClientError."""
        of = api or control()
        rpc = of.rpcs[method]
        return self.ask(of.path(method), of.messages[rpc.request](**fields), of.messages[rpc.response])

    def stream(self, method: str, api: Optional[Api] = None, /, **fields: Any) -> Iterator[Any]:
        """The answers of a method that streams, until that ends. Raises ClientError."""
        of = api or control()
        rpc = of.rpcs[method]
        return self.listen(of.path(method), of.messages[rpc.request](**fields), of.messages[rpc.response])
