"""Every state of one exchange, and every event in each: it ends once, and nothing is told after that."""

from __future__ import annotations

import gzip
import re
from typing import Any, Callable, Dict, Hashable, List, NamedTuple, Optional, Set, Tuple

import pytest
from explore import Graph, explore
from hypothesis import given
from hypothesis import strategies as st
from scene import ALT, PRIMARY, Node

from criproxy.http2 import frames
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, prefix
from criproxy.http2.headers import Block, encode
from criproxy.relay.exchange import NEXT, Exchange, ExchangeState
from criproxy.relay.outcome import Outcome, Source
from criproxy.relay.request import own_request
from criproxy.report.log import STATES

MOST = 500
LIMIT = 100
"""The largest message, bytes."""
WHOLE, HALF, TOO_LARGE = prefix(3) + b"\x0a\x01a", prefix(9)[:3], prefix(LIMIT + 1)
COMPRESSED = gzip.compress(b"\x0a\x01a", mtime=0)
COMPRESSED = b"\1" + prefix(len(COMPRESSED))[1:] + COMPRESSED
UNREADABLE = prefix(2) + b"\x0a\x7f"
HEAD = RESPONSE_HEADERS + encode(((b"grpc-encoding", b"gzip"),))
HTML = encode(((b":status", b"200"), (b"content-type", b"text/html")))
REFUSED = encode(((b"grpc-status", b"9"),))
Transition = Tuple[ExchangeState, ExchangeState]


class Sink:
    """Remembers what it is told, and may cancel the exchange when it is told something, or take nothing more."""

    def __init__(self) -> None:
        self.told: List[str] = []
        self.outcomes: List[Outcome] = []
        self.cancels = False
        self.full = False
        self.cancelled = False

    def hear(self, exchange: Exchange, what: str) -> None:
        assert not self.outcomes, f"{what} after the end"
        assert not self.cancelled, f"{what} after it was cancelled"
        self.told.append(what)
        if self.cancels:
            self.cancelled = True
            exchange.cancel()

    def on_head(self, exchange: Exchange, block: Block) -> None:
        self.hear(exchange, "head")

    def on_data(self, exchange: Exchange, data: bytes) -> int:
        self.hear(exchange, "data")
        return 0 if self.full else len(data)

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        self.hear(exchange, "message")

    def takes_more(self, exchange: Exchange) -> bool:
        return not self.full

    def on_request_sent(self, size: int) -> None:
        """Nothing waits for it."""

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        assert not self.cancelled, "an end after it was cancelled"
        self.outcomes.append(outcome)


class Kind(NamedTuple):
    """What kind of exchange."""

    id: str
    method: str
    in_messages: bool
    body: Optional[bytes]


class Life:
    """One exchange, on a real connection to a runtime that does what it likes."""

    def __init__(self, kind: Kind, happened: Set[Transition]) -> None:
        self.kind = kind
        self.happened = happened
        self.node = Node((PRIMARY, ALT) if kind.id else (PRIMARY,), verbosity=STATES, max_message_size=LIMIT)
        self.sink = Sink()
        self.sent_end = kind.body is not None
        request = own_request(self.node.loop.real, kind.method)
        runtime = self.node.runtimes[kind.id]
        self.exchange = Exchange(self.node.context, runtime, request, self.sink, kind.in_messages)
        self.started = False

    # What may happen.

    def events(self) -> Dict[str, Callable[[], None]]:
        found: Dict[str, Callable[[], None]] = {}
        if not self.started:
            found["it starts"] = self._start
            # What the sink and others do is settled before, for there not to be too many states.
            if not (self.sink.cancels or self.sink.full or self.node.loop.crowded):
                found["the sink will cancel it"] = lambda: setattr(self.sink, "cancels", True)
                found["the sink is full"] = lambda: setattr(self.sink, "full", True)
                found["others go first"] = lambda: setattr(self.node.loop, "crowded", True)
        elif not self.sink.cancelled:
            found["it is cancelled"] = self._cancel
            if not self.sent_end:
                found["data of the request"] = lambda: self._send(WHOLE, False)
                found["too large a request"] = lambda: self._send(TOO_LARGE, False)
                found["the end of the request"] = lambda: self._send(b"", True)
        if self.exchange.ended:
            return {name: self._settled(event) for name, event in found.items()}
        if self.started and self.sink.full:
            found["the sink takes more"] = self._take_more
        if self.started and self.node.loop.crowded:
            found["others have gone"] = lambda: setattr(self.node.loop, "crowded", False)
        if self.kind.id in self.node.lost:
            found["the runtime is found"] = lambda: self.node.find(self.kind.id)
        else:
            found["the runtime ends"] = lambda: self.node.lose(self.kind.id)
            found["the runtime goes away"] = lambda: self._go_away(frames.MAX_STREAM_ID)
            found["the runtime goes away, and has not seen it"] = lambda: self._go_away(1)
        if self.node.loop.timers:
            found["time passes"] = lambda: self.node.loop.advance(5.0)
        found.update(self._of_stream())
        return {name: self._settled(event) for name, event in found.items()}

    def _of_stream(self) -> Dict[str, Callable[[], None]]:
        stream_id, served = self._stream()
        if not stream_id:
            return {}
        found = {
            "trailers": lambda: served.sender.headers(stream_id, self._with_head(OK_TRAILERS), True),
            "a refusal": lambda: served.sender.headers(stream_id, self._with_head(REFUSED), True),
            "a reset": lambda: served.reset(stream_id, ErrorCode.CANCEL),
            "it is refused unseen": lambda: served.reset(stream_id, ErrorCode.REFUSED_STREAM),
        }
        if not self._headed():
            found["a head"] = lambda: served.sender.headers(stream_id, HEAD)
            found["a head that is not gRPC's"] = lambda: served.sender.headers(stream_id, HTML)
            return found
        for name, data, end in (
            ("a message", WHOLE, False),
            ("a compressed message", COMPRESSED, False),
            ("a message and an end without trailers", WHOLE, True),
            ("a compressed message and an end without trailers", COMPRESSED, True),
            ("a part of a message", HALF, False),
            ("too large a message", TOO_LARGE, False),
            ("what is no message of the CRI's", UNREADABLE, False),
        ):
            found[name] = lambda data=data, end=end: served.sender.data(stream_id, data, end)  # type: ignore[misc]
        return found

    def _settled(self, event: Callable[[], None]) -> Callable[[], None]:
        def happen() -> None:
            event()
            self.node.served[self.kind.id].say()

        return happen

    def _start(self) -> None:
        self.started = True
        self.exchange.start(self.kind.body)

    def _send(self, data: bytes, end: bool) -> None:
        self.sent_end = end
        self.exchange.send(data, len(data), end)

    def _cancel(self) -> None:
        self.sink.cancelled = not self.sink.outcomes
        self.exchange.cancel()

    def _take_more(self) -> None:
        self.sink.full = False
        self.exchange.return_owed()

    def _go_away(self, last: int) -> None:
        served = self.node.served[self.kind.id]
        served.connection._out.append(frames.goaway(last, ErrorCode.NO_ERROR, ""))
        served.say()

    # What there is.

    def _stream(self) -> Tuple[int, Any]:
        """The exchange's stream as the runtime has it, and its connection."""
        served = self.node.served[self.kind.id]
        asked = self.node.asked(self.kind.id, self.kind.method)
        known = [stream_id for stream_id in asked if served.connection.knows(stream_id)]
        return (known[-1] if known and served.closed is None else 0), served.connection

    def _headed(self) -> bool:
        return self.exchange.state is ExchangeState.HEADERS or "head" in self.sink.told

    def _with_head(self, trailers: bytes) -> bytes:
        return trailers if self._headed() else RESPONSE_HEADERS + trailers

    def state(self) -> Hashable:
        exchange = self.exchange
        ended = tuple((outcome.source, outcome.code) for outcome in self.sink.outcomes)
        if exchange.ended:
            return (exchange.state, ended, self.sink.cancelled, self.sent_end)
        reader = exchange._reader or exchange._meter
        return (
            exchange.state,
            ended,
            self.sink.cancels,
            self.sink.full,
            bool(exchange.owed),
            self.started,
            self.sent_end,
            self.node.loop.crowded,
            self.kind.id in self.node.lost,
            self.node.runtimes[self.kind.id].state,
            bool(self._stream()[0]),
            exchange._retried,
            exchange._early is not None,
            exchange._behind is not None,
            min(2, exchange._received),
            reader is not None and not reader.idle,
        )

    def check(self) -> None:
        log = self.node.text.getvalue()
        changes = re.findall(r"stream \d+: ([A-Z]+) -> ([A-Z]+)\n", log)
        self.happened.update((ExchangeState[before], ExchangeState[after]) for before, after in changes)
        assert "internal error" not in log
        assert len(self.sink.outcomes) + self.sink.cancelled <= 1
        assert self.exchange.ended == bool(self.sink.outcomes or self.sink.cancelled)
        if self.exchange.ended:
            # The runtime has heard of it, or has said so itself: none of it is left.
            upstreams = [self.node.runtimes[self.kind.id].upstream, *self.node.runtimes[self.kind.id]._old]
            assert all(self.exchange not in upstream._sinks.values() for upstream in upstreams if upstream is not None)
            assert all(self.exchange is not waiter for waiter in self.node.runtimes[self.kind.id]._waiters)
        for outcome in self.sink.outcomes:
            messages, data = self.sink.told.count("message"), self.sink.told.count("data")
            if outcome.ok and self.kind.method != STREAMED:
                assert messages == 1 if self.kind.in_messages else data, "success without its one message"
            assert not outcome.ok or outcome.source is Source.RUNTIME
            assert outcome.source is Source.RUNTIME or outcome.message


UNARY, STREAMED = "ContainerStatus", "GetContainerEvents"
KINDS = [
    Kind(PRIMARY, UNARY, False, b""),
    Kind(PRIMARY, UNARY, True, None),
    Kind(ALT, STREAMED, True, b""),
]


IDS = ["in frames", "with a request that flows", "a stream of messages"]


class Explored(NamedTuple):
    """All lives that an exchange can have."""

    graph: Graph
    happened: Set[Transition]


@pytest.fixture(scope="module", params=KINDS, ids=IDS)
def explored(request: pytest.FixtureRequest) -> Explored:
    happened: Set[Transition] = set()
    return Explored(explore(lambda: Life(request.param, happened), MOST), happened)


def test_no_event_is_forbidden_in_any_state(explored: Explored) -> None:
    assert explored.happened <= {(before, after) for before in ExchangeState for after in NEXT[before]}
    assert {state[0] for state in explored.graph.ways} == set(ExchangeState)  # type: ignore[index]


def test_every_state_leads_to_the_end(explored: Explored) -> None:
    assert explored.graph.stuck(lambda state: state[0] is ExchangeState.ENDED) == []  # type: ignore[index]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@given(data=st.data())
def test_it_ends_once_after_any_history(kind: Kind, data: st.DataObject) -> None:
    """Histories that come to the same state are tried, too, and may not be the same."""
    life = Life(kind, set())
    for _ in range(12):
        events = life.events()
        if not events:
            break
        events[data.draw(st.sampled_from(sorted(events)))]()
        life.check()
