"""Lists of several runtimes: `UnaryList` makes one message of them, `StreamedList` one stream.

To concatenate serialized protobuf messages is to merge them, so that as a rule nothing is parsed for it; where what
several runtimes list is one thing (the row's `Merge`), the messages are looked into. A list of pods or of containers
fails without the retiring runtime, as it does without the primary. A streamed list is served only if every connected
runtime has the method: otherwise kubelet is told so and asks for the list in one message.
"""

from __future__ import annotations

from typing import Dict, Final, List, Optional, Sequence

from criproxy.cri.filter import UNFILTERED, ListKind, is_whole, list_kind_of
from criproxy.cri.merge import Listed, MergeOf
from criproxy.cri.shares import MOST_STREAMED, Allowance, fitting, shares
from criproxy.cri.steps import then
from criproxy.cri.verify import LARGEST_MESSAGE
from criproxy.http2.grpc import RpcError, too_large
from criproxy.relay.context import Context
from criproxy.relay.exchange import Exchange
from criproxy.relay.known import LARGEST_LIST
from criproxy.relay.loop import Timer
from criproxy.relay.memory import Memories, Memory
from criproxy.relay.outcome import Outcome
from criproxy.relay.response import Response
from criproxy.relay.runtime import Runtime
from criproxy.relay.scatter import Scatter, ScatterSink, lacks_method, leave_out
from criproxy.relay.upstream import STREAM_WINDOW

_ADVICE: Final = "remove there what nobody needs, or raise --max-message-size if that is below 16Mi"


class StandIn:
    """What stands in for the parts of runtimes that are away, in one list (memory.py)."""

    def __init__(self, memories: Memories, response: Response) -> None:
        row = response.request.plan.method
        self.kind: Optional[ListKind] = None if row is None else list_kind_of(row)
        self._memories = memories
        self._body = response.request.body
        self._stamp = memories.stamp()
        """When the runtimes were asked."""

    def settle(self, exchange: Exchange, outcome: Outcome, sent: Optional[bytes]) -> Optional[bytes]:
        """The rest of another runtime's part of the list, after the runtime's exchange has ended.

        After a failure that is its remembered list, or nothing: then the list leaves the runtime out. None if the list
        fails without it. ``sent``: the entries that kubelet has got; None if they were too large to be kept.
        """
        memory = None if self.kind is None else self._memories.of(exchange.runtime)
        if outcome.ok:
            exchange.runtime.clear_warning(exchange.request.plan.name)
            if memory is not None and self.kind is not None:
                memory.came(self.kind, self._body, sent, self._stamp)
            return b""
        rest = self._instead(memory, outcome, sent)
        if rest is None and self.needs(exchange):
            return None
        if rest is None:
            leave_out(exchange, outcome)
        return rest or b""

    def needs(self, exchange: Exchange) -> bool:
        """Whether the list fails without this runtime's part."""
        return self.kind is not None and exchange.runtime.needed

    def _instead(self, memory: Optional[Memory], outcome: Outcome, sent: Optional[bytes]) -> Optional[bytes]:
        if memory is None or self.kind is None:
            return None
        return memory.instead(self.kind, self._body, outcome, sent)


class UnaryList(ScatterSink):
    """A list of all runtimes in one message."""

    def __init__(
        self,
        context: Context,
        response: Response,
        runtimes: Sequence[Runtime],
        merge: Optional[MergeOf],
        memories: Memories,
    ) -> None:
        self._context = context
        self._response = response
        self._merge = merge
        self._stand_in = StandIn(memories, response)
        self._bodies: Dict[Exchange, bytes] = {}
        self._listed: Dict[Exchange, Listed] = {}
        self._alone = False
        """Whether the primary's list is cut off: kubelet gets it as it is, and not as if others' were its end."""
        self.scatter = Scatter(context, response.request, runtimes, self, response)

    def held(self, exchange: Exchange) -> int:
        """What waits for the others."""
        return len(self._bodies.get(exchange, b""))

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """Kept until all are there."""
        if exchange is self.scatter.primary:
            self._alone = not is_whole(body)
        if self._merge is not None:
            self._listed[exchange] = self._merge.read(body)
        self._bodies[exchange] = body
        if exchange.request.body in UNFILTERED:
            exchange.runtime.statistics.lists[exchange.request.plan.name] = len(body)

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answers when the last one is there."""
        if not (outcome.ok if exchange is self.scatter.primary else self._settle(exchange, outcome)):
            self.scatter.stop()
            self._response.end(outcome, exchange.head)
            return
        if self.scatter.all_ended:
            self._answer()

    def _settle(self, exchange: Exchange, outcome: Outcome) -> bool:
        """Says whether there is a list with what is there of this runtime."""
        if not outcome.ok:
            self._bodies.pop(exchange, None)
            self._listed.pop(exchange, None)
        rest = self._stand_in.settle(exchange, outcome, self._bodies.get(exchange, b""))
        if rest:
            self._bodies[exchange] = rest
        return rest is not None

    def _answer(self) -> None:
        exchanges = self.scatter.exchanges
        if self._alone:
            self._send([self._bodies[self.scatter.primary]])
            return
        try:
            self._fit()
        except RpcError as error:
            self.scatter.stop()
            self._response.fail(error)
            return
        if self._merge is None:
            self._send([self._bodies[exchange] for exchange in exchanges if exchange in self._bodies])
            return
        merge = self._merge.merge([self._listed[exchange] for exchange in exchanges if exchange in self._listed])
        self.scatter.work(then(merge, self._send))

    def _fit(self) -> None:
        """Leaves out of the alternative runtimes' parts what kubelet would not take beside the primary's.

        Raises RpcError if that would be a part of the retiring runtime's.
        """
        limit = min(self._context.config.max_message_size, LARGEST_MESSAGE)
        size = len(self._bodies[self.scatter.primary])
        others = [exchange for exchange in self.scatter.exchanges[1:] if exchange in self._bodies]
        sizes = [len(self._bodies[exchange]) for exchange in others]
        for exchange, own, share in zip(others, sizes, shares(limit - size, sizes)):
            about = f"{exchange.request.plan.name}: size"
            if own > share and self._stand_in.needs(exchange):
                raise too_large(size + sum(sizes), limit)
            if own > share:
                body = self._bodies[exchange] = fitting(self._bodies[exchange], share)
                if self._merge is not None:
                    self._listed[exchange] = self._merge.read(body)
                exchange.runtime.statistics.cut += 1
                left_out = f"{own - len(body)} of the {own} bytes that {exchange.runtime} lists are left out"
                why = f"all runtimes together may list {limit}, and {size} are the primary runtime's"
                exchange.runtime.warn_once(about, f"{exchange.request.plan.name}: {left_out}: {why}; {_ADVICE}")
            elif exchange.request.body in UNFILTERED:
                exchange.runtime.clear_warning(about)

    def _send(self, parts: List[bytes]) -> None:
        self.scatter.stop()
        self._context.known.listed(self._stand_in.kind, self._response.request.body, parts)
        primary = self.scatter.primary
        self._response.send_parts(parts, primary.head)
        self._response.end(self.scatter.outcomes[primary], primary.head)


class StreamedList(ScatterSink):
    """The Stream… lists: the responses of the runtimes one after the other, in their order."""

    def __init__(self, context: Context, response: Response, runtimes: Sequence[Runtime], memories: Memories) -> None:
        self._context = context
        self._response = response
        self._stand_in = StandIn(memories, response)
        self.scatter = Scatter(context, response.request, runtimes, self, response, self._on_timeout)
        self.scatter.turn = self.scatter.primary
        self._allowances = {exchange: Allowance(MOST_STREAMED) for exchange in self.scatter.exchanges[1:]}
        self._held: Dict[Exchange, List[bytes]] = {exchange: [] for exchange in self.scatter.exchanges}
        """Messages of those whose turn has not come. Their windows bound how many that can be."""
        self._sent = bytearray()
        """What kubelet has got of the runtime whose turn it is; kept only if it is to be remembered."""
        self._sent_size = self._sent_before = 0
        self._listed: List[bytes] = []
        """What kubelet has got, if names are to be found in it."""
        self._listed_size = 0
        self._turn_ends: Optional[Timer] = None
        self._was_slow = False
        """Whether the runtime whose turn it is has had to wait for kubelet."""

    def _on_timeout(self) -> None:
        """A runtime that has said nothing for so long is left out, unless it waits for its turn or for kubelet."""
        for exchange in self.scatter.exchanges:
            waits = exchange.heard or exchange.owed
            if not (waits or exchange.ended or exchange.runtime.primary or self.scatter.over):
                self.scatter.give_up(exchange)
            exchange.heard = False
        self.scatter.start_timer(self._context.config.fan_out_timeout)

    def held(self, exchange: Exchange) -> int:
        """What waits for the runtime's turn, or is kept of it to be remembered."""
        if exchange is self.scatter.turn:
            return len(self._sent) + self._listed_size
        return sum(map(len, self._held.get(exchange, ())))

    def _time_turn(self) -> None:
        """The runtime has so long for its part; as long again if kubelet is slow, or what it has sent is no trickle."""
        self._was_slow = not self._response.takes_more
        self._sent_before = self._sent_size
        self._turn_ends = self._context.clock.call_later(self._context.config.fan_out_timeout, self._on_late)
        self.scatter.on_stop = self._turn_ends.cancel

    def _on_late(self) -> None:
        turn = self.scatter.turn
        assert turn is not None  # somebody always has it
        if self._was_slow or self._sent_size - self._sent_before >= STREAM_WINDOW:
            self._time_turn()
        else:
            self.scatter.give_up(turn)

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """Goes to kubelet, or waits for the runtime's turn. Raises DecodeError for more than a runtime may list."""
        allowance = self._allowances.get(exchange)
        if allowance is not None:
            allowance.take(body)
            if not body:
                return
        if exchange is self.scatter.turn:
            self._send(body)
        else:
            self._held[exchange].append(body)

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """The turn is the next one's."""
        fails = exchange is self.scatter.primary and not outcome.ok
        if fails or lacks_method(outcome):
            self.scatter.stop()
            self._response.end(outcome, exchange.head)
        elif exchange is self.scatter.turn:
            self._go_on()

    def _go_on(self) -> None:
        """Gives the turn to the first that has not ended, with what it has sent meanwhile."""
        exchanges = self.scatter.exchanges
        if self._turn_ends is not None:
            self._turn_ends.cancel()
        while self.scatter.turn in self.scatter.outcomes:
            if not self._end_turn(self.scatter.turn):
                self.scatter.stop()
                self._response.fail(self.scatter.outcomes[self.scatter.turn].error)
                return
            following = exchanges.index(self.scatter.turn) + 1
            if following == len(exchanges):
                self._finish()
                return
            self.scatter.turn = exchanges[following]
            self._sent, self._sent_size = bytearray(), 0
            for body in self._held.pop(self.scatter.turn):
                self._send(body)
        self._time_turn()
        self.scatter.return_owed()

    def _end_turn(self, exchange: Exchange) -> bool:
        """Says whether there is a list with what is there of this runtime."""
        if exchange is self.scatter.primary:
            return True
        sent = None if self._sent_size > self._kept else bytes(self._sent)
        rest = self._stand_in.settle(exchange, self.scatter.outcomes[exchange], sent)
        if rest:
            self._send(rest)
        return rest is not None

    def _send(self, body: bytes) -> None:
        self._response.send_message(body, self.scatter.primary.head)
        self._was_slow = self._was_slow or not self._response.takes_more
        self._sent_size += len(body)
        if self.scatter.turn is not self.scatter.primary and self._sent_size <= self._kept:
            self._sent += body
        self._note(body)

    def _note(self, body: bytes) -> None:
        # What is more than that is not needed: it is enough to see that there is more.
        if self._stand_in.kind is not None and self._listed_size <= LARGEST_LIST:
            self._listed_size += len(body)
            self._listed.append(body)

    @property
    def _kept(self) -> int:
        """How much of a runtime's part is kept to be remembered, bytes."""
        config = self._context.config
        largest = min(config.max_message_size, LARGEST_MESSAGE)
        return largest if config.absence_grace and self._stand_in.kind is not None else 0

    def _finish(self) -> None:
        self.scatter.stop()
        self._context.known.listed(self._stand_in.kind, self._response.request.body, self._listed)
        primary = self.scatter.primary
        self._response.end(self.scatter.outcomes[primary], primary.head)
