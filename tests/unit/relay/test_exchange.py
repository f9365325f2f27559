"""One exchange, in any order of what a runtime can do: it ends once, and nothing is told after that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, List, Optional

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from playbook import ClockLoop

from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, Code, RpcError, prefix
from criproxy.http2.headers import Block, BlockDecoder, encode
from criproxy.relay.exchange import NEXT, Exchange, ExchangeState
from criproxy.relay.outcome import Outcome, Source
from criproxy.relay.request import own_request
from criproxy.relay.translation import Translation
from criproxy.report.log import Log

HTML_HEADERS = encode(((b":status", b"200"), (b"content-type", b"text/html")))


def block(wire: bytes) -> Block:
    """A field block that a runtime has sent."""
    decoder = BlockDecoder()
    decoder.settle()
    read = decoder.decode(wire)
    assert read is not None
    return read


class Sink:
    """Remembers what it is told; may cancel the exchange when it gets a message."""

    def __init__(self) -> None:
        self.messages: List[bytes] = []
        self.outcomes: List[Outcome] = []
        self.cancels = False

    def on_head(self, exchange: Exchange, block: Block) -> None:
        assert not self.outcomes

    def on_data(self, exchange: Exchange, data: bytes) -> int:
        assert not self.outcomes
        return len(data)

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        assert not self.outcomes
        self.messages.append(body)
        if self.cancels:
            exchange.cancel()

    def takes_more(self, exchange: Exchange) -> bool:
        return True

    def on_request_sent(self, size: int) -> None:
        """Nothing waits for it."""

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class Runtime:
    """A primary runtime of which the test says whether it is there, and its connection, which opens what it is told."""

    primary = True
    there = False

    def __init__(self) -> None:
        self.available: Optional[Any] = None
        self.waiting: List[Exchange] = []
        self.queued: List[Exchange] = []
        self.open: List[Exchange] = []
        self.upstream: Any = SimpleNamespace(
            translations=SimpleNamespace(get=lambda plan: Translation(b"", None, None)),
            open=lambda exchange, wire, data: self.queued.append(exchange),
            cancel=self._cancel,
            consumed=lambda stream_id, size: None,
        )

    def __str__(self) -> str:
        return "the primary runtime"

    def _cancel(self, exchange: Exchange) -> None:
        for exchanges in (self.queued, self.open):
            if exchange in exchanges:
                exchanges.remove(exchange)

    def wait(self, exchange: Exchange, seconds: float) -> None:
        self.waiting.append(exchange)

    def leave(self, exchange: Exchange) -> None:
        if exchange in self.waiting:
            self.waiting.remove(exchange)


class OneExchange(RuleBasedStateMachine):
    """What a runtime and its connection may do, as far as `upstream` lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime, self.sink = Runtime(), Sink()
        context: Any = SimpleNamespace(
            config=SimpleNamespace(max_message_size=100, connection_timeout=5.0), log=Log(0), router=None
        )
        runtime: Any = self.runtime
        loop = ClockLoop()
        self.exchange = Exchange(context, runtime, own_request(loop.real, "Status"), self.sink, True)
        self.headed = self.cancelled = False
        self.exchange.start(b"")

    @precondition(lambda self: self.runtime.waiting)
    @rule(there=st.booleans())
    def wait_is_over(self, there: bool) -> None:
        self.runtime.waiting.clear()
        if there:
            self.runtime.available = self.runtime.upstream
            self.exchange.on_available(self.runtime.available)
        else:
            self.exchange.on_unavailable(RpcError(Code.UNAVAILABLE, "gone"))

    @precondition(lambda self: self.runtime.queued)
    @rule()
    def stream_opens(self) -> None:
        self.runtime.queued.clear()
        self.runtime.open.append(self.exchange)
        self.exchange.on_opened()

    @precondition(lambda self: self.runtime.open and not self.headed)
    @rule(wire=st.sampled_from([RESPONSE_HEADERS, HTML_HEADERS]))
    def headers(self, wire: bytes) -> None:
        self.headed = True
        self.exchange.on_headers(block(wire), False)

    @precondition(lambda self: self.runtime.open and self.headed)
    @rule(data=st.sampled_from([prefix(0), prefix(3) + b"abc", prefix(9)[:3], prefix(101)]), end=st.booleans())
    def data(self, data: bytes, end: bool) -> None:
        if end:
            self.runtime.open.clear()
        self.exchange.on_data(data, len(data), end)

    @precondition(lambda self: self.runtime.open)
    @rule(refused=st.booleans())
    def trailers(self, refused: bool) -> None:
        self.runtime.open.clear()
        trailers = encode(((b"grpc-status", b"9"),)) if refused else OK_TRAILERS
        self.exchange.on_headers(block(trailers if self.headed else RESPONSE_HEADERS + trailers), True)

    @precondition(lambda self: self.runtime.open or self.runtime.queued)
    @rule(code=st.sampled_from([ErrorCode.REFUSED_STREAM, ErrorCode.CANCEL, 99]), there=st.booleans())
    def reset(self, code: int, there: bool) -> None:
        self.runtime.open.clear()
        self.runtime.queued.clear()
        self.runtime.available = self.runtime.upstream if there else None
        self.exchange.on_reset(code)

    @precondition(lambda self: self.runtime.open or self.runtime.queued)
    @rule()
    def lost(self) -> None:
        self.runtime.open.clear()
        self.runtime.queued.clear()
        self.exchange.on_lost("it closed the connection")

    @rule()
    def cancel(self) -> None:
        self.cancelled = self.cancelled or not self.sink.outcomes
        self.exchange.cancel()

    @rule()
    def sink_cancels(self) -> None:
        self.sink.cancels = True

    @invariant()
    def it_ends_once(self) -> None:
        assert len(self.sink.outcomes) <= 1
        ended = bool(self.sink.outcomes) or self.cancelled or (self.sink.cancels and bool(self.sink.messages))
        assert self.exchange.ended == ended
        # It is under way in one place as long as it has not ended, and in none afterwards.
        places = (self.runtime.waiting, self.runtime.queued, self.runtime.open)
        assert sum(map(len, places)) == (not ended)

    @invariant()
    def success_has_its_one_message(self) -> None:
        for outcome in self.sink.outcomes:
            assert not outcome.ok or (outcome.source is Source.RUNTIME and len(self.sink.messages) == 1)
            assert outcome.source is Source.RUNTIME or outcome.message


OneExchange.TestCase.settings = settings(max_examples=100, stateful_step_count=12, deadline=None)
TestOneExchange = OneExchange.TestCase


def test_every_state_leads_to_the_end() -> None:
    for state in ExchangeState:
        seen, todo = set(), [state]
        while todo:
            seen.add(todo[-1])
            todo += [each for each in NEXT[todo.pop()] if each not in seen]
        assert ExchangeState.ENDED in seen


@pytest.mark.parametrize("code", [5, 77])
def test_an_outcome_says_who_says_so_and_with_which_words(code: int) -> None:
    outcome = Outcome(Source.RUNTIME, code, block(RESPONSE_HEADERS + OK_TRAILERS))
    assert (outcome.ok, outcome.message, outcome.error.code) == (
        False,
        "",
        Code.NOT_FOUND if code == 5 else Code.UNKNOWN,
    )
