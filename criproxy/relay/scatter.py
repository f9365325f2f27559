"""Several exchanges of one call, and one timer.

A `ScatterSink` makes one response of them: `lists`, `images`, `status` and `events` have one for each kind of call.
The primary runtime is treated as in a call to it alone: the call waits for it and fails if it fails, and the response
has its headers and trailers. An alternative runtime that is not there, fails, or takes longer than the fan-out timeout
is left out with a warning, unless the memory has its last list (memory.py).
"""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Optional, Protocol, Sequence

from criproxy.http2.grpc import Code, RpcError
from criproxy.http2.headers import Block
from criproxy.relay.context import Context
from criproxy.relay.exchange import Exchange, Sink
from criproxy.relay.loop import Timer
from criproxy.relay.outcome import RUNTIME, Outcome, failure
from criproxy.relay.request import Request
from criproxy.relay.response import Call, Held, Response
from criproxy.relay.runtime import Runtime


class ScatterSink(Protocol):
    """Makes one response of the responses of several runtimes."""

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """A whole message, as kubelet is to see it. May raise RpcError or DecodeError if it is unusable."""

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """A runtime's part has ended."""

    def held(self, exchange: Exchange) -> int:
        """The memory that is taken by messages of a runtime's that are kept, bytes."""


class Scatter(Call, Sink):
    """The exchanges of one call with several runtimes, the primary one's first. After `stop` the sink hears nothing.

    ``response``: kubelet's response, which sets the pace at which the runtimes send; ``on_timeout`` is called at the
    fan-out timeout (without it the alternative runtimes that have not answered are given up); ``waits``: see
    `Exchange`.
    """

    __deletable__ = ("_sink",)

    def __init__(
        self,
        context: Context,
        request: Request,
        runtimes: Sequence[Runtime],
        sink: ScatterSink,
        response: Optional[Response] = None,
        on_timeout: Optional[Callable[[], None]] = None,
        waits: bool = True,
    ) -> None:
        self.over = False
        self.on_stop: Callable[[], None] = _nothing
        """Called when all is over."""
        self.turn: Optional[Exchange] = None
        """The only one whose runtime may go on to send, if not all may."""
        self.outcomes: Dict[Exchange, Outcome] = {}
        """How those have ended that have."""
        self._context = context
        self._request = request
        self._sink = sink
        self._response = response
        self._on_timeout = on_timeout or self.give_up_late
        self._timer: Optional[Timer] = None
        self.exchanges: List[Exchange] = [
            Exchange(context, runtime, request, self, True, waits) for runtime in runtimes
        ]

    @property
    def primary(self) -> Exchange:
        """The primary runtime's, which decides."""
        return self.exchanges[0]

    @property
    def all_ended(self) -> bool:
        """Whether nothing more comes."""
        return all(exchange in self.outcomes for exchange in self.exchanges)

    def start(self, body: bytes, timed: bool = True) -> None:
        """Asks all runtimes at once; ``timed``: the slowest is not waited for longer than the fan-out timeout."""
        if timed:
            # The caller has to get an answer from the others yet.
            remaining = self._request.remaining()
            seconds = self._context.config.fan_out_timeout
            self.start_timer(seconds if remaining is None else max(0.0, min(seconds, remaining / 2)))
        for exchange in self.exchanges:
            if not self.over:
                exchange.start(body)

    def start_timer(self, seconds: float) -> None:
        """Calls ``on_timeout`` after so many seconds, unless all is over then."""
        if not self.over:
            self._timer = self._context.clock.call_later(seconds, self._on_timeout)

    def work(self, steps: Iterator[None]) -> None:
        """Works on the answers, in a first step that is all for most of them, and goes on until all is over."""
        rest = self._context.clock.begin(steps)
        if rest is not None:
            self.on_stop = rest.cancel

    def return_owed(self) -> None:
        """Lets the runtimes send more, as far as kubelet takes it."""
        for exchange in self.exchanges:
            if self.takes_more(exchange):
                exchange.return_owed()

    def give_up(self, exchange: Exchange) -> None:
        """Ends the part of a runtime that has not answered in time, and asks whether it lives."""
        exchange.runtime.statistics.late += 1
        upstream = exchange.upstream
        exchange.cancel(Code.DEADLINE_EXCEEDED)
        if upstream is not None:
            upstream.check_liveness()
        text = f"criproxy: {exchange.runtime} has not answered within --fan-out-timeout"
        self.on_end(exchange, failure(RpcError(Code.DEADLINE_EXCEEDED, text)))

    def give_up_late(self) -> None:
        """Ends the part of each alternative runtime that has not answered yet."""
        for exchange in self.exchanges:
            if not (exchange.ended or exchange.runtime.primary or self.over):
                self.give_up(exchange)

    def stop(self) -> None:
        """Ends all exchanges; nothing more is told."""
        if self.over:
            return
        self.over = True
        self.on_stop()
        if self._timer is not None:
            self._timer.cancel()
        for exchange in self.exchanges:
            exchange.cancel()
        # It and its sink know each other: without this both would be there until the collector finds them.
        del self._sink
        self.on_stop = self._on_timeout = _nothing

    def held(self) -> Held:
        """What waits for the runtimes, or for the answers of the others."""
        held = [
            (exchange.runtime, exchange.answer_held + (0 if self.over else self._sink.held(exchange)))
            for exchange in self.exchanges
        ]
        return Held(len(self._request.body) + max(each.request_held for each in self.exchanges), held)

    # From kubelet.

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """There is no more of it."""

    def on_sent(self, size: int) -> None:
        """Kubelet has taken something: the runtimes may send more."""
        if self._response is not None:
            self._response.on_sent(size)
        self.return_owed()

    def cancel(self) -> None:
        """Kubelet does not want the response: neither do we."""
        self.stop()
        if self._response is not None:
            self._response.cancelled()

    # From the exchanges.

    def on_head(self, exchange: Exchange, block: Block) -> None:
        """The exchange keeps it."""

    def on_data(self, exchange: Exchange, data: bytes) -> int:
        """There are messages only."""
        raise NotImplementedError

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """Goes to the sink."""
        self._sink.on_message(exchange, body)

    def takes_more(self, exchange: Exchange) -> bool:
        """Whether it is the runtime's turn, and kubelet takes more."""
        takes_more = self._response is None or self._response.takes_more
        return takes_more and (self.turn is None or self.turn is exchange)

    def on_request_sent(self, size: int) -> None:
        """A request that is one message owes nobody anything."""

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Goes to the sink."""
        self.outcomes[exchange] = outcome
        if not self.over:
            self._sink.on_end(exchange, outcome)


def _nothing() -> None:
    """There is nothing to do."""


def present(runtimes: Sequence[Runtime]) -> List[Runtime]:
    """The runtimes that are there, and the primary one, which is waited for."""
    return [runtime for runtime in runtimes if runtime.primary or runtime.there]


def leave_out(exchange: Exchange, outcome: Outcome) -> None:
    """Warns that a call is answered without a runtime's part; once until that works again."""
    name = exchange.request.plan.name
    exchange.runtime.statistics.missing += 1
    exchange.runtime.warn_once(name, f"{name} is answered without {exchange.runtime}: {outcome}")


def lacks_method(outcome: Outcome) -> bool:
    """Whether a connected runtime does not have the method."""
    return outcome.code == Code.UNIMPLEMENTED and outcome.source is RUNTIME
