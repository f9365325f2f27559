"""Images whose names do not say whose they are.

By their digests they are found, and removed, wherever they are. By other names that is so where pods are on several
runtimes without saying so themselves: the image of such a name is there if each of these has it. Otherwise kubelet
pulls it, and names the pod, so that it is pulled where the pod is.

`Broadcast`, for which only the effect counts, is here because `Remove` is one that forgives.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Callable, Dict, Final, List, Optional, Sequence

from criproxy.cri.identity import LONGEST_NAME
from criproxy.cri.incremental import MOST_ENTRIES
from criproxy.cri.merge import Listed, MergeOf
from criproxy.cri.rewrite import VIEWS
from criproxy.cri.shares import Allowance
from criproxy.cri.steps import then
from criproxy.cri.verify import LARGEST_MESSAGE
from criproxy.cri.views import encode
from criproxy.cri.wire import DecodeError
from criproxy.http2.grpc import OK_TRAILERS, Code, too_large
from criproxy.relay.context import Context
from criproxy.relay.exchange import Exchange
from criproxy.relay.outcome import RUNTIME, Outcome, failure
from criproxy.relay.presence import Presence
from criproxy.relay.question import Question
from criproxy.relay.response import Response
from criproxy.relay.runtime import Runtime
from criproxy.relay.scatter import Scatter, ScatterSink, lacks_method, leave_out, present

_STATUS: Final = VIEWS["ImageStatusResponse"]
_ASKED: Final = VIEWS["ImageStatusRequest"]
_PULL: Final = VIEWS["PullImageRequest"]
_DENIED: Final = (
    r"(?i)denied|authori[sz]ed|authorization failed|authentication|basic auth|credential|password|forbidden|signature"
    r"|\b40[13]\b"
)
"""What runtimes say if a pod may not have an image, or nobody may. No gRPC status tells that of all of them. It is
compiled at need: that takes 5 ms, for which kubelet would wait at the start."""
_READ: Final = 2**16
"""The longest error text that is searched for that, characters."""


class FirstHolder(ScatterSink):
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
        self._having[exchange] = _STATUS.read(body).image.is_set
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


class InCommon(ScatterSink):
    """ImageStatus of a name without a prefix: the image is there if all runtimes that are there have it with one id.

    If it must be found (`Presence`), it is enough that one has it: the one that has pulled it last, or else the first.
    """

    def __init__(self, context: Context, response: Response, runtimes: Sequence[Runtime], presence: Presence) -> None:
        self._response = response
        self._presence = presence
        self._bodies: Dict[Exchange, bytes] = {}
        self._ids: Dict[Exchange, bytes] = {}
        """The runtimes' own ids of the image; empty for who does not have it."""
        image: Any = _ASKED.read(response.request.body).image
        self._name: bytes = image.image
        self._must_be_found = presence.must_be_found(image.image, bool(image.annotations), context.router.placement)
        self.scatter = Scatter(context, response.request, present(runtimes), self, response)
        response.targets = [exchange.runtime.names for exchange in self.scatter.exchanges]

    def held(self, exchange: Exchange) -> int:
        """What may be the answer."""
        return len(self._bodies.get(exchange, b""))

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """Raises DecodeError for one that nobody can parse."""
        self._ids[exchange] = exchange.runtime.names.inner_image(_STATUS.read(body).image.id)
        self._bodies[exchange] = body

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answers when the last one is there."""
        if outcome.ok:
            exchange.runtime.clear_warning(exchange.request.plan.name)
        elif exchange is self.scatter.primary:
            self.scatter.stop()
            self._response.end(outcome, exchange.head)
            return
        elif outcome.code == Code.NOT_FOUND:
            self._ids[exchange] = b""
        else:
            self._ids.pop(exchange, None)
            leave_out(exchange, outcome)
        if self.scatter.all_ended:
            self._answer()

    def _answer(self) -> None:
        self.scatter.stop()
        primary = self.scatter.primary
        answer: Optional[Exchange] = primary
        if len(set(self._ids.values())) == 1:
            self._presence.same(self._name, bool(self._ids[primary]))
        elif self._must_be_found:
            answer = self._holder()
        else:
            self._presence.lacking(self._name)
            answer = None
        self._response.send_message(b"" if answer is None else self._bodies[answer], primary.head)
        self._response.end(self.scatter.outcomes[primary], primary.head)

    def _holder(self) -> Exchange:
        having = [exchange for exchange, id in self._ids.items() if id]
        last = self._presence.holder(self._name)
        return next((each for each in having if each.runtime.names.runtime == last), having[0])


class PulledOrThere(ScatterSink):
    """PullImage of a name without a prefix.

    If it fails and ImageStatus has said before that the image is not there only because another runtime lacks it, the
    answer is the image that the runtime has: kubelet would not have asked for more. Who was denied an image does not
    get it so.
    """

    def __init__(self, context: Context, response: Response, runtime: Runtime, presence: Presence) -> None:
        self._context = context
        self._response = response
        self._message = b""
        self._image: Any = _PULL.read(response.request.body).image
        self._presence = presence
        self._has_been_lacking = presence.has_been_lacking(self._image.image)
        self.scatter = Scatter(context, response.request, [runtime], self, response)

    def held(self, exchange: Exchange) -> int:
        """The answer."""
        return len(self._message)

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """The answer, unless the call fails all the same."""
        self._message = body

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answers, or asks what the runtime has."""
        if outcome.ok:
            self.scatter.stop()
            self._presence.pulled(self._image.image, exchange.runtime.names.runtime)
            self._response.send_message(self._message, exchange.head)
            self._response.end(outcome, exchange.head)
        elif self._has_been_lacking and outcome.source is RUNTIME and not _is_denial(outcome):
            image = {"image": self._image.image, "runtime_handler": self._image.runtime_handler}
            asked = encode("ImageStatusRequest", {"image": image})
            done = partial(self._on_status, exchange, outcome)
            question = Question(self._context, exchange.runtime, "ImageStatus", asked, done)
            self.scatter.on_stop = question.cancel
            question.ask()
        else:
            self._fail(exchange, outcome)

    def _on_status(self, exchange: Exchange, outcome: Outcome, body: bytes, answer: Outcome) -> None:
        image = _id_of(body) if answer.ok else b""
        if not image:
            self._fail(exchange, outcome)
            return
        self.scatter.stop()
        self._presence.pulled(self._image.image, exchange.runtime.names.runtime)
        name = self._image.image[:LONGEST_NAME].decode("utf-8", "replace")
        exchange.runtime.tell(f'{exchange.runtime} could not pull "{name}", and the one that it has is used: {outcome}')
        self._response.send_message(encode("PullImageResponse", {"image_ref": image}))
        self._response.finish(OK_TRAILERS)

    def _fail(self, exchange: Exchange, outcome: Outcome) -> None:
        self.scatter.stop()
        if outcome.reset is None:
            self._response.end(outcome, exchange.head)
        else:
            self._response.reset(outcome.reset)


def _is_denial(outcome: Outcome) -> bool:
    """Whether a pull has failed because the image is not to be had. What is too long to be searched counts as that."""
    if outcome.code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED) or len(outcome.message) > _READ:
        return True
    return re.search(_DENIED, outcome.message) is not None


def _id_of(body: bytes) -> bytes:
    """The id of the image in an answer to ImageStatus; empty if there is none in it."""
    try:
        image: bytes = _STATUS.read(body).image.id
    except DecodeError:
        return b""
    return image


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


class Broadcast(ScatterSink):
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


class MergedStream(ScatterSink):
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
