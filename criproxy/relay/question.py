"""What the proxy itself asks one runtime."""

from __future__ import annotations

from typing import Callable

from criproxy.relay.context import Context
from criproxy.relay.exchange import Exchange
from criproxy.relay.outcome import Outcome
from criproxy.relay.request import own_request
from criproxy.relay.runtime import Runtime
from criproxy.relay.scatter import Scatter, ScatterSink


class Question(ScatterSink):
    """A call of a unary method that the proxy itself makes. ``done`` is told what has come, once.

    ``request`` is the message, in v1.
    """

    def __init__(
        self,
        context: Context,
        runtime: Runtime,
        method: str,
        request: bytes,
        done: Callable[[bytes, Outcome], None],
    ) -> None:
        self._done = done
        self._request = request
        self._body = b""
        self._scatter = Scatter(context, own_request(context.clock, method), [runtime], self)
        self.cancel = self._scatter.stop

    @property
    def taken(self) -> int:
        """The memory that is taken by what has come, bytes."""
        return sum(size for _, size in self._scatter.held().answers)

    def ask(self) -> None:
        """Asks."""
        self._scatter.start(self._request)

    def held(self, exchange: Exchange) -> int:
        """The answer."""
        return len(self._body)

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """The answer."""
        self._body = body

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Whether what has come is the answer."""
        self.cancel()
        self._done(self._body, outcome)
