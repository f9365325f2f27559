"""A call to one runtime, and calls of unknown methods.

The response passes frame by frame, unless a field of it has to be renamed, somebody sees it, it tells the id of what
has been started or it is a list in which names can be found: then message by message.
The request of an unknown method passes frame by frame, too.

The two directions of a flow are coupled by the windows of HTTP/2: a sender gets back as much of its window as the
receiver has taken, so a slow receiver slows its sender, and buffers stay small.
"""

from __future__ import annotations

from typing import Callable, Optional

from criproxy.http2.headers import Block
from criproxy.relay.context import Context
from criproxy.relay.exchange import Exchange, Sink
from criproxy.relay.known import STARTS
from criproxy.relay.outcome import PROXY, Outcome
from criproxy.relay.response import Call, Held, Response
from criproxy.relay.runtime import Runtime


class Single(Call, Sink):
    """A call to one runtime. ``on_change`` is told when it has ended, if it changes what lists have."""

    __slots__ = ("_changes_lists", "_exchange", "_in_frames", "_known", "_listed", "_on_change", "_response", "_starts")

    def __init__(
        self, context: Context, response: Response, runtime: Runtime, on_change: Callable[[Runtime], None]
    ) -> None:
        row = response.request.plan.method
        self._response = response
        self._on_change = on_change
        self._in_frames = True
        self._changes_lists = row is not None and row.changes_lists
        # What starts something tells its id, which is to be known by its name.
        self._starts = self._changes_lists and response.request.plan.name in STARTS
        # Where there is one runtime alone, its lists tell what people call its pods.
        self._listed = response.request.plan.listed
        self._known = context.known
        in_messages = response.shown or self._starts or self._listed is not None
        self._exchange = Exchange(context, runtime, response.request, self, in_messages)

    def start(self, body: Optional[bytes]) -> None:
        """Sends the request; ``body`` is None if its data follows."""
        self._exchange.start(body)

    def held(self) -> Held:
        """What waits for the runtime or, of a message, for its end."""
        exchange = self._exchange
        request = len(self._response.request.body) + exchange.request_held
        return Held(request, ((exchange.runtime, exchange.answer_held),))

    # From kubelet.

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """Data of a request that flows."""
        self._response.complete = end
        taken = self._exchange.send(data, size, end)
        if taken:
            self._response.consumed(taken)

    def on_sent(self, size: int) -> None:
        """Kubelet has taken something: the runtime may send as much again."""
        if self._in_frames:
            self._exchange.give_back(size)
            return
        self._response.on_sent(size)
        if self._response.takes_more:
            self._exchange.return_owed()

    def cancel(self) -> None:
        """Kubelet does not want the response: neither do we."""
        self._exchange.cancel()
        self._response.cancelled()
        if self._changes_lists:
            self._note_change()

    # From the runtime.

    def on_head(self, exchange: Exchange, block: Block) -> None:
        """Headers go through as they are."""
        self._response.send_headers(block.wire)

    def on_data(self, exchange: Exchange, data: bytes) -> int:
        """So does data."""
        return self._response.send_data(data)

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """A message goes through as kubelet is to see it."""
        self._in_frames = False
        self._response.send_message(body)
        if self._starts:
            self._response.note_start(body)
        elif self._listed is not None:
            self._known.listed(self._listed, self._response.request.body, (body,))

    def takes_more(self, exchange: Exchange) -> bool:
        """Whether the runtime may send more."""
        return self._response.takes_more

    def on_request_sent(self, size: int) -> None:
        """The runtime has taken something: kubelet may send as much again."""
        self._response.consumed(size)

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """The end of the exchange is the call's."""
        if outcome.reset is not None:
            self._response.reset(outcome.reset)
        elif outcome.source is PROXY and self._is_empty_without(exchange):
            self._response.answer_empty()
        else:
            self._response.end(outcome, exchange.head)
        if self._changes_lists:
            self._note_change()

    def _is_empty_without(self, exchange: Exchange) -> bool:
        """Whether the runtime was not there, and that means an empty answer."""
        row = exchange.request.plan.method
        return row is not None and row.empty_if_absent and not exchange.opened and not exchange.runtime.primary

    def _note_change(self) -> None:
        """Even a call that has failed may have changed something in the runtime."""
        if self._exchange.opened:
            self._on_change(self._exchange.runtime)
