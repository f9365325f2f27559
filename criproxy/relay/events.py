"""Container events: the endless streams of several runtimes in one."""

from __future__ import annotations

from functools import partial
from typing import Callable, Sequence, Set

from criproxy.http2.grpc import Code, RpcError
from criproxy.relay.context import Context
from criproxy.relay.exchange import Exchange
from criproxy.relay.outcome import Outcome
from criproxy.relay.response import Downstream, Response
from criproxy.relay.runtime import Runtime
from criproxy.relay.scatter import Scatter, ScatterSink, lacks_method, present


class Events(ScatterSink):
    """GetContainerEvents: the streams of all runtimes that are there, in one.

    What happens in a runtime while it is away is never told, and kubelet lists anew only when the stream ends. So it
    ends with UNAVAILABLE as soon as a runtime in it is lost, falls silent or ends its part, and when one comes that is
    not in it; while the primary is away there is none. If a runtime does not have the method, it ends with
    UNIMPLEMENTED: kubelet lists then.

    ``lasting``: the calls that do not end by themselves, of which this is one; ``on_change`` is told of a runtime in
    which something has changed.
    """

    def __init__(
        self,
        context: Context,
        response: Response,
        runtimes: Sequence[Runtime],
        downstream: Downstream,
        lasting: Set[Events],
        on_change: Callable[[Runtime], None],
    ) -> None:
        self.downstream = downstream
        self._runtimes = runtimes
        self._response = response
        self._on_change = on_change
        self.scatter = Scatter(context, response.request, present(runtimes), self, response, waits=False)
        self.scatter.on_stop = partial(lasting.discard, self)
        response.targets = [exchange.runtime.names for exchange in self.scatter.exchanges]
        lasting.add(self)

    def fail(self, error: RpcError) -> None:
        """Ends the stream for a reason of the proxy's own."""
        self.scatter.stop()
        self._response.fail(error)

    def held(self, exchange: Exchange) -> int:
        """Nothing: what has come has gone to kubelet."""
        return 0

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """Goes to kubelet, and says that lists are others now."""
        self._on_change(exchange.runtime)
        if body or exchange is self.scatter.primary:  # else it has been left out
            self._response.send_message(body, self.scatter.primary.head)

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """The end of one is the end of all: in the runtime's words if it is the primary, or has no such method."""
        self.scatter.stop()
        if exchange is self.scatter.primary or lacks_method(outcome):
            self._response.end(outcome, exchange.head)
            return
        runtime, name = exchange.runtime, exchange.request.plan.name
        text = f"{name}: {runtime} has ended its part{'' if outcome.ok else f': {outcome}'}"
        if runtime.there:
            runtime.warn_once(name, text)
        self._response.fail(RpcError(Code.UNAVAILABLE, f"criproxy: {text}"))

    def follow(self, runtime: Runtime) -> None:
        """A runtime is there, or is not there any more."""
        inside = any(exchange.runtime is runtime for exchange in self.scatter.exchanges)
        if inside and not runtime.there:
            self.fail(runtime.error())
        elif runtime.there and not inside and runtime in self._runtimes:
            self.fail(RpcError(Code.UNAVAILABLE, f"criproxy: {runtime} has come: its events are not in this stream"))
