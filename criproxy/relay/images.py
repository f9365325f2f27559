"""Images by their digests, which do not say whose they are: they are found, and removed, wherever they are.

`Broadcast`, for which only the effect counts, is here because `Remove` is one that forgives.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Final, List, Optional, Sequence

from criproxy.cri.incremental import MOST_ENTRIES
from criproxy.cri.merge import Listed, MergeOf
from criproxy.cri.rewrite import VIEWS
from criproxy.cri.shares import Allowance
from criproxy.cri.steps import then
from criproxy.cri.verify import LARGEST_MESSAGE
from criproxy.http2.grpc import Code, too_large
from criproxy.relay.context import Context
from criproxy.relay.exchange import Exchange
from criproxy.relay.outcome import Outcome, failure
from criproxy.relay.response import Response
from criproxy.relay.runtime import Runtime
from criproxy.relay.scatter import Scatter, lacks_method, leave_out, present

_STATUS: Final = VIEWS["ImageStatusResponse"]


class FirstHolder:
    """ImageStatus of a digest: the answer is that of the first runtime, in their order, that has the image.

    If nobody has it that is the primary's.
    """

    def __init__(self, context: Context, response: Response, runtimes: Sequence[Runtime]) -> None:
        self._response = response
        self._bodies: Dict[Exchange, bytes] = {}
        self._having: Dict[Exchange, bool] = {}
        self.scatter = Scatter(context, response.request, present(runtimes), self, response)
        response.targets = [exchange.runtime.names for exchange in self.scatter.exchanges]

    def held(self, exchange: Exchange) -> int:
        """What may be the answer."""
        return len(self._bodies.get(exchange, b""))

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """Kept until it is known whether it is the answer. Raises DecodeError for one that nobody can parse."""
        self._having[exchange] = _STATUS.FromString(body).HasField("image")
        self._bodies[exchange] = body

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answers if all before the first that has the image have ended."""
        if outcome.ok:
            exchange.runtime.clear_warning(exchange.request.plan.name)
        elif exchange is self.scatter.primary:
            self.scatter.stop()
            self._response.end(outcome, exchange.head)
            return
        else:
            leave_out(exchange, outcome)
        answer = self._answer()
        if answer is not None:
            self.scatter.stop()
            self._response.send_message(self._bodies[answer], answer.head)
            self._response.end(self.scatter.outcomes[answer], answer.head)

    def _answer(self) -> Optional[Exchange]:
        """Whose answer it is, as soon as that is known."""
        for exchange in self.scatter.exchanges:
            outcome = self.scatter.outcomes.get(exchange)
            if outcome is None:
                return None
            if outcome.ok and self._having[exchange]:
                return exchange
        return self.scatter.primary


Decide = Callable[[List[Outcome]], Optional[int]]
"""Gives, of the outcomes of all runtimes in their order, the index of the one that is the call's; None: success."""


def any_failure(outcomes: List[Outcome]) -> Optional[int]:
    """The first failure."""
    return next((index for index, outcome in enumerate(outcomes) if not outcome.ok), None)


def failed_removal(outcomes: List[Outcome]) -> Optional[int]:
    """The first failure to remove an image. That some do not have it is none, unless nobody has."""
    for index, outcome in enumerate(outcomes):
        if not outcome.ok and outcome.code != Code.NOT_FOUND:
            return index
    return None if any(outcome.ok for outcome in outcomes) else 0


class Broadcast:
    """A call that changes something in all connected runtimes. It waits for the primary, so that one at least gets it.

    ``is_work``: the call waits beyond the fan-out timeout for an alternative runtime that answers PINGs.
    """

    def __init__(
        self, context: Context, response: Response, runtimes: Sequence[Runtime], decide: Decide, is_work: bool
    ) -> None:
        self._context = context
        self._response = response
        self._decide = decide
        on_timeout = self._on_timeout if is_work else None
        self.scatter = Scatter(context, response.request, present(runtimes), self, response, on_timeout)
        response.targets = [exchange.runtime.names for exchange in self.scatter.exchanges]

    def _on_timeout(self) -> None:
        """Work may take longer: only runtimes that do not answer a PING are given up."""
        for exchange in self.scatter.exchanges:
            if exchange.ended or exchange.runtime.primary or self.scatter.over:
                continue
            if exchange.upstream is None or not exchange.runtime.there:
                self.scatter.give_up(exchange)
            else:
                exchange.upstream.check_liveness()
        self.scatter.start_timer(self._context.config.fan_out_timeout)

    def held(self, exchange: Exchange) -> int:
        """Nothing."""
        return 0

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """It says nothing."""

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answers when the last one has ended: which failure is told is then no matter of who was first."""
        if not self.scatter.all_ended:
            return
        self.scatter.stop()
        exchanges = self.scatter.exchanges
        outcomes = [self.scatter.outcomes[each] for each in exchanges]
        decisive = self._decide(outcomes)
        if decisive is None:
            self._response.answer_empty()
        else:
            self._response.end(outcomes[decisive], exchanges[decisive].head)


class MergedStream:
    """A streamed list with one entry for what several runtimes have. It begins when all have answered."""

    def __init__(self, context: Context, response: Response, runtimes: Sequence[Runtime], merge: MergeOf) -> None:
        self._context = context
        self._response = response
        self._merge = merge
        self.scatter = Scatter(context, response.request, runtimes, self, response)
        self._limit = context.config.max_message_size
        largest = min(self._limit, LARGEST_MESSAGE)
        self._allowances = {exchange: Allowance(MOST_ENTRIES, largest) for exchange in self.scatter.exchanges[1:]}
        self._listed: Dict[Exchange, List[Listed]] = {exchange: [] for exchange in self.scatter.exchanges}
        self._sizes: Dict[Exchange, int] = dict.fromkeys(self.scatter.exchanges, 0)

    def held(self, exchange: Exchange) -> int:
        """What waits for the others."""
        return self._sizes[exchange]

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """Kept until all are there. Raises RpcError or DecodeError for more than a runtime may list.

        The primary may list no more in all than one message may be.
        """
        self._sizes[exchange] += len(body)
        allowance = self._allowances.get(exchange)
        if allowance is not None:
            allowance.take(body)
            if not body:
                return
        elif self._sizes[exchange] > self._limit:
            raise too_large(self._sizes[exchange], self._limit)
        self._listed[exchange].append(self._merge.read(body))

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answers when the last one is there."""
        if outcome.ok:
            exchange.runtime.clear_warning(exchange.request.plan.name)
        elif exchange is self.scatter.primary or lacks_method(outcome):
            self.scatter.stop()
            self._response.end(outcome, exchange.head)
            return
        else:
            self._listed[exchange].clear()
            self._sizes[exchange] = 0
            leave_out(exchange, outcome)
        if self.scatter.all_ended:
            self._answer()

    def _answer(self) -> None:
        own = self._listed[self.scatter.primary]
        alone = [body for body, _ in own]
        merge = self._merge.merge([each for exchange in self.scatter.exchanges for each in self._listed[exchange]])
        self.scatter.work(then(merge, partial(self._send, alone)))

    def _send(self, alone: List[bytes], merged: List[bytes]) -> None:
        """Sends the merged messages; the primary's alone if one of them is more than kubelet takes."""
        self.scatter.stop()
        primary, *others = self.scatter.exchanges
        limit = min(self._context.config.max_message_size, LARGEST_MESSAGE)
        largest = max(map(len, merged), default=0)
        if largest > max(limit, *map(len, alone), 0):
            for exchange in others:
                leave_out(exchange, failure(too_large(largest, limit)))
            merged = alone
        for message in merged:
            self._response.send_message(message, primary.head)
        self._response.end(self.scatter.outcomes[primary], primary.head)
