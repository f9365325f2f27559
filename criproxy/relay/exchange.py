"""One stream to one runtime, from the wait for the runtime to the outcome.

The path of a request: `Exchange.start` takes the runtime's connection, or waits for one; the message is made one of the
runtime's version (`Translation`); the stream opens as soon as the runtime takes one more. A stream that the runtime has
refused unseen is opened once more (RFC 9113, section 8.7).

The path of a response: headers, then data, then trailers. The data goes to the sink in frames as it comes, or in
messages where somebody has to see them: a translation, the log, or a sink that makes one response of several. What is
no response is found here and nowhere else: headers that are not gRPC's, a message that is cut off, too large or
unreadable, too many messages or none, no trailers.

What takes long with a message, to decompress it or to change a long list, is done in steps between which others have
their turns (`Loop.work`). What comes meanwhile waits behind it: at most a stream's window, which is given back only
then.

Flow control: a runtime may send as much again as has been given back. In frames that is what the sink says has gone to
kubelet (`give_back`), in messages all that has come, as soon as the sink takes more (`return_owed`).
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from functools import partial
from typing import Callable, Deque, Final, Iterator, List, Optional, Protocol, Sequence, Tuple

from criproxy.cri.wire import DecodeError
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import (
    PREFIX_SIZE,
    Code,
    Compressed,
    Message,
    Meter,
    Reader,
    RpcError,
    check_head,
    cut_off,
    held_by,
    is_one_message,
    no_message,
    no_trailers,
    prefix,
    several_messages,
    status_of,
    too_large,
    unreadable,
)
from criproxy.http2.headers import Block
from criproxy.relay.context import Context
from criproxy.relay.loop import Timer
from criproxy.relay.outcome import PROXY, RUNTIME, Outcome, failure
from criproxy.relay.request import Request
from criproxy.relay.runtime import Runtime, Waiter
from criproxy.relay.translation import Translation, translation_of
from criproxy.relay.upstream import StreamSink, Upstream
from criproxy.report.log import STATES


class ExchangeState(IntEnum):
    """How far an exchange is."""

    WAITING = 0
    """Waits for its runtime, or for the runtime to take one more stream."""
    OPEN = 1
    """The stream is open and the request is being sent."""
    HEADERS = 2
    """The response's headers have come."""
    ENDED = 3


# An enumeration's members are slow to get in the middle of a call.
_WAITING: Final = ExchangeState.WAITING
_OPEN: Final = ExchangeState.OPEN
_HEADERS: Final = ExchangeState.HEADERS
_ENDED: Final = ExchangeState.ENDED
_CANCELLED: Final = int(Code.CANCELLED)
_IDLE: Final = Meter(0)
"""Stands for the flow of a response whose messages have each come in one frame."""
_GOOD_HEAD: Final = object()
"""The memo of a head that has been checked: the same bytes need not be looked at twice."""
NEXT: Final[Tuple[Tuple[ExchangeState, ...], ...]] = (
    (ExchangeState.OPEN, ExchangeState.ENDED),
    (ExchangeState.HEADERS, ExchangeState.ENDED, ExchangeState.WAITING),
    (ExchangeState.ENDED,),
    (),
)
"""Which state may follow each."""


class Sink(Protocol):
    """What an exchange's response goes to. It may cancel the exchange at any time, and hears nothing more then."""

    __slots__ = ()

    def on_head(self, exchange: Exchange, block: Block) -> None:
        """The response's headers."""

    def on_data(self, exchange: Exchange, data: bytes) -> int:
        """Data of the response; gives how much of it has gone on at once, bytes. The rest is for `give_back`."""

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """A message of the response as kubelet is to see it. May raise RpcError or DecodeError if it is unusable."""

    def takes_more(self, exchange: Exchange) -> bool:
        """Whether the runtime may send more; if not, the sink calls `return_owed` later."""

    def on_request_sent(self, size: int) -> None:
        """So much of the request's data that had to wait has left, bytes."""

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """The exchange has ended."""


class Exchange(StreamSink, Waiter):
    """One stream to one runtime.

    ``in_messages``: whether the sink wants messages even where frames would do. ``waits``: whether it waits for a
    primary runtime that is not there. Any runtime is waited for that moves to its next connection.
    """

    __deletable__ = ("_sink",)
    # What most exchanges never set stands here: they are made for each call.
    stream_id = 0
    upstream: Optional[Upstream] = None
    """The connection that it is on, or waits for a stream on."""
    head: Optional[Block] = None
    """The response's headers."""
    heard = False
    """The runtime has sent something; for a sink that looks now and then, and resets it."""
    opened = False
    """Whether the runtime has ever been asked."""
    owed = 0
    """What has come in messages and has not been given back, bytes."""
    _early: Optional[List[Tuple[bytes, int, bool]]] = None
    _request_meter: Optional[Meter] = None
    _translation: Translation
    """How it goes over its connection, as soon as it is on one."""
    _work: Optional[Timer] = None
    _behind: Optional[Deque[Callable[[], None]]] = None
    """What has come and waits, while there is work on a message."""
    _reader: Optional[Reader] = None
    _meter: Optional[Meter] = None
    _received = 0
    _waited = False
    _retried = False

    def __init__(
        self, context: Context, runtime: Runtime, request: Request, sink: Sink, in_messages: bool, waits: bool = True
    ) -> None:
        self.state = _WAITING
        self._worked_on: Optional[Message] = None
        self.runtime = runtime
        self.request = request
        self._context = context
        self._sink = sink
        self._in_messages = in_messages
        self._waits = waits
        self._body: Optional[bytes] = None
        self._asked = request.asked()
        row = request.plan.method
        self._unary = row is not None and not row.rpc.server_streaming

    def __repr__(self) -> str:
        return f"{self.request.plan.name} to {self.runtime}, stream {self.stream_id}"

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state is _ENDED

    def _become(self, state: ExchangeState) -> None:
        assert state in NEXT[self.state]
        if self._context.log.verbosity >= STATES:
            self._context.log.info(f"{self!r}: {self.state.name} -> {state.name}")
        self.state = state

    # To the runtime.

    @property
    def request_held(self) -> int:
        """The memory that is taken by what waits for the runtime, or is kept for a second try, bytes."""
        body = self._body
        own = 0 if body is None or body is self.request.body else len(body)
        return own + sum(len(data) for data, _, _ in self._early or ())

    @property
    def answer_held(self) -> int:
        """The memory that is taken by the beginning of a message, and by one that is being worked on, bytes."""
        return (0 if self._reader is None else self._reader.held) + held_by(self._worked_on)

    def start(self, body: Optional[bytes]) -> None:
        """Sends the request as soon as the runtime is there.

        ``body``: the message as the runtime is to see it, in the caller's version; None if data follows by `send`.
        """
        self._body = body
        upstream = self.runtime.available
        if upstream is not None:
            self._open(upstream)
        elif self.runtime.there or (self.runtime.primary and self._waits):
            self._waited = True
            self.runtime.wait(self, self.request.within(self._context.config.connection_timeout))
        else:
            self._end(failure(self.runtime.error()))

    def on_available(self, upstream: Upstream) -> None:
        """The runtime that it has waited for is there."""
        self._open(upstream)

    def on_unavailable(self, error: RpcError) -> None:
        """The runtime has not come in time."""
        self._end(failure(error))

    def _open(self, upstream: Upstream) -> None:
        translation = upstream.translations.get(self.request.plan)
        if translation is None:
            translation = translation_of(upstream, self.request.plan, self._context.router, self.runtime)
        data = None
        body = self._body
        if body is not None:
            try:
                translated = body if translation.request is None else translation.request(body)
            except DecodeError as error:
                self._end(failure(RpcError(Code.INVALID_ARGUMENT, f"criproxy: the request does not parse: {error}")))
                return
            data = prefix(len(translated)) + translated
        self.upstream = upstream
        self._translation = translation
        if translation.response is not None:
            self._in_messages = True
        try:
            upstream.open(self, translation.wire + self.request.tail(self._waited), data)
        except RpcError as error:
            self.upstream = None
            self._end(failure(error))

    def on_opened(self) -> None:
        """The stream is open and the request is being sent: sends what has been queued meanwhile."""
        self.opened = True
        self._become(_OPEN)
        if self._early is not None:
            early, self._early = self._early, None
            for data, size, end in early:
                taken = self.send(data, size, end)
                if taken and self.state is not _ENDED:
                    self._sink.on_request_sent(taken)

    def send(self, data: bytes, size: int, end: bool) -> int:
        """Sends data of a request that was started without a body.

        ``size`` is what it owes its sender, bytes. Gives how much of that may be given back at once; the sink is told
        of the rest.
        """
        upstream = self.upstream
        if self.state is _ENDED or not (data or end):
            return size
        if upstream is None or self.state is _WAITING:
            self._early = [*(self._early or ()), (data, size, end)]
            return 0
        if self._request_meter is None:
            self._request_meter = Meter(self._context.config.max_message_size)
        try:
            self._request_meter.feed(data)
        except RpcError as error:
            self._give_up(error)
            return size
        sent = upstream.connection.sender.data(self.stream_id, data, end)
        upstream.transport.flush_soon()
        return sent + size - len(data)

    def on_request_sent(self, size: int) -> None:
        """Data of the request that had waited has left."""
        self._sink.on_request_sent(size)

    def cancel(self, code: int = _CANCELLED) -> None:
        """The response is not wanted any more: the sink hears nothing more. ``code``: what it counts as."""
        if self.state is not _ENDED:
            self._leave(code)
            self.runtime.leave(self)
            if self.upstream is not None:
                self.upstream.cancel(self)

    # From the runtime.

    def on_headers(self, block: Block, end: bool) -> None:
        """Headers, or trailers, which may be all that there is."""
        self.heard = True
        if self._behind is not None:
            self._behind.append(lambda: self.on_headers(block, end))
            return
        if end:
            self._on_trailers(block)
            return
        head = block.head
        if head.memo is not _GOOD_HEAD:
            try:
                check_head(head)
            except RpcError as error:
                self._give_up(error)
                return
            head.memo = _GOOD_HEAD
        self._become(_HEADERS)
        self.head = block
        self._sink.on_head(self, block)

    def _on_trailers(self, block: Block) -> None:
        code = status_of(block.head)
        if code:
            outcome = Outcome(RUNTIME, code, block)
        elif not (self._reader or self._meter or _IDLE).idle:
            outcome = failure(cut_off())
        elif self._unary and not self._received:
            # To take it for an empty list would mean to kubelet that all is gone.
            outcome = failure(no_message())
        else:
            outcome = Outcome(RUNTIME, 0, block)
        self._end(outcome)

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        """Data, in frames or in messages."""
        self.heard = True
        if self._behind is not None:
            self._behind.append(lambda: self.on_data(data, size, end))
            return
        try:
            if self._in_messages:
                self._take(data, size)
            else:
                self._pass_on(data, 0 if end else size)
        except (RpcError, DecodeError) as error:
            self._give_up(unreadable(self.runtime, error))
            return
        if end and self.state is not _ENDED:
            self._end(failure(no_trailers()))

    def _pass_on(self, data: bytes, size: int) -> None:
        if not data:  # Many empty frames are a flood to kubelet, which would end the connection.
            if size:
                self.give_back(size)
            return
        length = len(data)
        limit = self._context.config.max_message_size
        if self._meter is not None:
            self._meter.feed(data)
        elif not is_one_message(data):
            self._meter = Meter(limit, 1 - bool(self._received)) if self._unary else Meter(limit)
            self._meter.feed(data)
        elif length - PREFIX_SIZE > limit:
            raise too_large(length - PREFIX_SIZE, limit)
        elif self._unary and self._received:
            raise several_messages()
        self._received += length
        taken = self._sink.on_data(self, data) + size - length
        if size and taken and self.upstream is not None:
            self.upstream.consumed(self.stream_id, taken)

    def _take(self, data: bytes, size: int) -> None:
        for message in self._messages(data):
            if self._behind is not None:
                self._behind.append(partial(self._on_message, message))
            else:
                self._on_message(message)
            if self.state is _ENDED:
                return
        if self._behind is not None:
            self._behind.append(partial(self._owe, size))
        else:
            self._owe(size)

    def _on_message(self, message: Message) -> None:
        self._received += 1
        if self._unary and self._received > 1:
            raise several_messages()
        translation = self._translation
        if isinstance(message, Compressed):
            self._behind = deque()
            self._worked_on = message
            self._work = self._context.clock.work(self._worked(message))
        elif translation.in_steps is not None and len(message) > translation.in_steps.long:
            self._change(message)
        else:
            self._sink.on_message(self, message if translation.response is None else translation.response(message))

    def _change(self, message: bytes) -> None:
        """The first step is all that there is to do with a list that is nearly the last one."""
        self._behind = deque()
        self._worked_on = message
        rest = self._context.clock.begin(self._worked(message))
        if rest is not None:
            self._work = rest

    def _worked(self, message: Message) -> Iterator[None]:
        """Works on a message, and then off what has come behind it; there may be another like it."""
        try:
            body = (yield from message.steps()) if isinstance(message, Compressed) else message
            translation = self._translation
            if translation.in_steps is not None:
                body = yield from translation.in_steps.steps(body)
            elif translation.response is not None:
                body = translation.response(body)
            behind, self._behind, self._work, self._worked_on = self._behind, None, None, None
            self._sink.on_message(self, body)
            while behind and not (self.ended or self._goes_behind(behind)):
                behind.popleft()()
        except (RpcError, DecodeError) as error:
            self._behind = self._work = self._worked_on = None
            self._give_up(unreadable(self.runtime, error))

    def _goes_behind(self, calls: Deque[Callable[[], None]]) -> bool:
        """Whether what is left waits again, because one of it takes long, too."""
        if self._behind is None:
            return False
        self._behind.extend(calls)
        return True

    def _stop_work(self) -> None:
        if self._work is not None:
            self._work.cancel()
        self._work = self._behind = self._worked_on = None

    def _owe(self, size: int) -> None:
        self.owed += size
        if self._sink.takes_more(self):
            self.return_owed()

    def _messages(self, data: bytes) -> Sequence[Message]:
        limit = self._context.config.max_message_size
        if self._reader is None:
            # All of a small message is in one frame, as a rule: nothing to collect then.
            if is_one_message(data) and len(data) - PREFIX_SIZE <= limit:
                return (data[PREFIX_SIZE:],)
            self._reader = Reader(limit)
            encoding = None if self.head is None else self.head.get(b"grpc-encoding")
            self._reader.encoding = encoding or b"identity"
        return self._reader.feed(data)

    def give_back(self, size: int) -> None:
        """The sink has passed on so much of what it got in frames: the runtime may send as much again, bytes."""
        if self.upstream is not None and self.state is not _ENDED:
            self.upstream.consumed(self.stream_id, size)

    def return_owed(self) -> None:
        """The sink has passed on all messages."""
        if self.owed and self.state is not _ENDED:
            owed, self.owed = self.owed, 0
            # It may have had to wait for this: its time begins anew.
            self.heard = True
            self.give_back(owed)

    def on_reset(self, code: int) -> None:
        """The runtime has reset the stream; what it has not looked at may be sent again (RFC 9113, section 8.7)."""
        if self._behind is not None:
            self._behind.append(lambda: self.on_reset(code))
            return
        refused = code == ErrorCode.REFUSED_STREAM
        if refused and self._may_retry():
            self._retried = True
            self.upstream = None
            if self.state is not _WAITING:
                self._become(_WAITING)
            self.start(self._body)
            return
        how = Code.UNAVAILABLE if refused else Code.INTERNAL
        self._end(Outcome(PROXY, how, None, f"criproxy: the runtime reset the stream: {ErrorCode.name_of(code)}", code))

    def _may_retry(self) -> bool:
        # The data of a request that flows has not been kept.
        return not self._retried and self.head is None and (self._body is not None or self.state is _WAITING)

    def on_lost(self, reason: str) -> None:
        """The runtime has gone while it had the call."""
        if self._behind is not None:
            self._behind.append(lambda: self.on_lost(reason))
            return
        self.upstream = None
        self._end(failure(RpcError(Code.UNAVAILABLE, f"criproxy: {self.runtime} has gone during the call: {reason}")))

    def _give_up(self, error: RpcError) -> None:
        """Ends the exchange before its response does."""
        if self.upstream is not None:
            self.upstream.cancel(self)
        self._end(failure(error))

    def _end(self, outcome: Outcome) -> None:
        sink = self._sink
        self._leave(outcome.code)
        sink.on_end(self, outcome)

    def _leave(self, code: int) -> None:
        self._become(_ENDED)
        self.request.answered(self._context, self.runtime, code, self._asked, self.opened)
        # They know each other: without this both would be there until the collector finds them.
        del self._sink
        self._reader = self._early = None
        if self._behind is not None:
            self._stop_work()
