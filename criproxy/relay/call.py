"""A call of kubelet's, and its way to one runtime and back.

`Call` is what kubelet's connection knows of: it is fed, may be cancelled, and answers. `SingleCall` goes to one
runtime; its answer flows through frame by frame as it comes, unless something in it has another name for kubelet
(or the log wants to show it): then each message is collected, changed and sent on. `PassThrough` is for methods that
nobody knows: its requests flow as they come, too.

The two directions of a flow are coupled by the windows of HTTP/2: a sender gets back as much of its window as the
receiver has taken (`on_taken`, `on_sent`), so whoever is slow slows its sender and no memory fills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.identity import Names
from criproxy.http2.errors import ErrorCode
from criproxy.http2.headers import Block
from criproxy.relay import facts
from criproxy.relay.backend import STREAM_WINDOW, Backend, Link
from criproxy.relay.grpc import (
    OK_TRAILERS,
    RESPONSE_HEADERS,
    Code,
    Meter,
    Reader,
    RpcError,
    check_head,
    cut_off,
    prefix,
    status_of,
    text_of,
    timeout_of,
    unreadable,
    with_timeout,
)
from criproxy.relay.plan import Plan, Transform
from criproxy.report.record import Fields

if TYPE_CHECKING:
    from criproxy.relay.frontend import FrontConnection


class Origin:
    """Where a call has come from: kubelet's connection, the stream there, the request's head, and when (seconds)."""

    __slots__ = ("asked", "block", "front", "plan", "started", "stream")

    def __init__(self, front: FrontConnection, stream: int, block: Block, plan: Plan) -> None:
        self.front = front
        self.stream = stream
        self.block = block
        self.plan = plan
        self.started = front.proxy.loop.time()
        self.asked = b""
        """The request's message as kubelet has sent it, when it is there."""


class Call:
    """One call of kubelet's. Ends once: by an answer, an error or its cancellation."""

    lasting = False
    """Whether it does not end by itself."""

    def __init__(self, origin: Origin, complete: bool = True) -> None:
        self.front = origin.front
        self.proxy = origin.front.proxy
        self.front_stream = origin.stream
        self.block = origin.block
        self.plan = origin.plan
        self.started = origin.started
        self.asked = origin.asked
        self.headers_sent = False
        self.complete = complete
        """Whether kubelet has sent all of its request."""

    def start(self, body: bytes) -> None:
        """Takes the request, which is there as a whole, on its way."""
        raise NotImplementedError

    # From kubelet.

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """Data of the request; ``size`` is owed to Connection.consumed."""

    def on_taken(self, size: int) -> None:
        """So much of the answer's data that had to wait has gone to kubelet, bytes."""

    def cancel(self) -> None:
        """Kubelet does not want the answer any more."""

    # To kubelet.

    def send_headers(self, wire: bytes) -> None:
        """Sends the answer's headers."""
        self.headers_sent = True
        self.front.connection.send_headers(self.front_stream, wire)
        self.front.transport.flush_soon()

    def send_data(self, data: bytes, end: bool = False) -> int:
        """Sends data of the answer; gives how much of it left at once, bytes."""
        sent = self.front.connection.send_data(self.front_stream, data, end)
        self.front.transport.flush_soon()
        return sent

    def finish(self, trailers: bytes) -> None:
        """Sends the trailers: the call is over."""
        self.front.connection.send_headers(self.front_stream, trailers, True)
        self.front.transport.flush_soon()
        self.front.forget(self)

    def answer_empty(self) -> None:
        """The answer is a message with nothing in it."""
        self.send_headers(RESPONSE_HEADERS)
        self.send_data(prefix(0))
        self.log_answer(b"")
        self.finish(OK_TRAILERS)

    def fail(self, error: RpcError) -> None:
        """Ends the call with an error of the proxy's own."""
        self.log_failure(error.code, str(error))
        self.finish(error.trailers() if self.headers_sent else error.trailers_only())
        if not self.complete:
            self._take_no_more()

    def reset(self, code: int) -> None:
        """Ends the call as its runtime did, without a status."""
        known = ErrorCode(code) if code in ErrorCode.__members__.values() else ErrorCode.INTERNAL_ERROR
        self.log_failure(Code.UNKNOWN, f"the runtime reset the stream: {known.name}")
        self.front.connection.reset(self.front_stream, known)
        self.front.transport.flush_soon()
        self.front.forget(self)

    def _take_no_more(self) -> None:
        """The answer is there though the request is not: the rest of that is not wanted (RFC 9113, section 8.1).

        Where the answer has to wait for kubelet the stream is left to it, since a reset would lose what waits.
        """
        connection = self.front.connection
        if not connection.has_queued(self.front_stream):
            connection.reset(self.front_stream, ErrorCode.NO_ERROR)
            self.front.transport.flush_soon()
            self.front.forget(self)

    # What calls have in common.

    def remaining(self) -> Optional[float]:
        """How long the caller will wait for the answer, seconds; None if it does not say."""
        timeout = timeout_of(self.block)
        return None if timeout is None else self.started + timeout - self.proxy.loop.time()

    def patience(self) -> float:
        """How long the call may wait for the primary runtime, seconds."""
        seconds = self.proxy.config.connection_timeout
        remaining = self.remaining()
        return seconds if remaining is None else max(0.0, min(seconds, remaining))

    def tail(self, waited: bool) -> bytes:
        """The end of the request's field block; of a call that has waited, with what is left of its deadline."""
        tail = self.block.tail
        remaining = self.remaining() if waited and tail else None
        return tail if remaining is None else with_timeout(self.block, remaining)

    def log_answer(self, body: bytes) -> None:
        """Shows a message of the answer, if it is to be shown."""
        row = self.plan.method
        if row is not None and self.proxy.log.enabled(row.loud):
            # Nothing but success follows the answer of a method that has one.
            code = None if row.rpc.server_streaming else Code.OK
            self.proxy.log.leave(self.plan.path, row.rpc.response, body, lambda: self._facts(code, body))

    def log_trailers(self, block: Block) -> None:
        """Says that the call has failed, if it has."""
        status = status_of(block.head)
        if status:
            self.log_failure(status, text_of(block))

    def log_failure(self, code: int, text: str) -> None:
        """Says that the call has failed."""
        self.proxy.log.fail(self.plan.path, code, text, lambda: self._facts(code))

    def runtimes(self) -> Sequence[Names]:
        """Those that have been asked."""
        return ()

    def _facts(self, code: Optional[int], answer: Optional[bytes] = None) -> Fields:
        seconds = self.proxy.loop.time() - self.started
        return facts.of_call(self.plan, self.runtimes(), self.asked, answer) + facts.of_end(code, seconds)


class SingleCall(Call):
    """A call to one runtime, and the leg that is its stream there."""

    def __init__(self, origin: Origin, backend: Backend) -> None:
        super().__init__(origin)
        self.backend = backend
        self.link: Optional[Link] = None
        self.stream_id = 0
        self._body = b""
        self._waited = False
        self._retried = False
        self._change: Optional[Transform] = None
        self._reader: Optional[Reader] = None
        self._meter = Meter(self.proxy.config.max_message_size)
        self._unsent = 0
        self._owed = 0

    def runtimes(self) -> Sequence[Names]:
        """The one that it is for."""
        return (self.backend.names,)

    def start(self, body: bytes) -> None:
        """Sends the request, as soon as its runtime is there."""
        self._body = body
        link = self.backend.available
        if link is not None:
            self._send(link)
        elif self.backend.primary:
            self._waited = True
            self.backend.wait(self, self.patience())
        else:
            self.on_unavailable(self.backend.error())

    def on_available(self, link: Link) -> None:
        """The runtime that the call has waited for is there."""
        self._send(link)

    def on_unavailable(self, error: RpcError) -> None:
        """The runtime is not there."""
        row = self.plan.method
        if row is not None and row.empty_if_absent and not self.backend.primary:
            self.answer_empty()
            return
        self.fail(error)

    def _wire(self, link: Link) -> Tuple[bytes, bytes]:
        """The field block and the message for the runtime, in its version; sets what changes the answer."""
        plan, row = self.plan, self.plan.method
        way = link.ways.get(plan)
        if way is None:
            way = link.way(plan, self.proxy.router)
        body = self._body if way.request is None else way.request(self._body)
        self._change = way.answer
        if self._change is not None or (row is not None and self.proxy.log.enabled(row.loud)):
            self._reader = Reader(self.proxy.config.max_message_size)
        return way.wire + self.tail(self._waited), body

    def _send(self, link: Link) -> None:
        try:
            wire, body = self._wire(link)
        except DecodeError as error:
            self.fail(RpcError(Code.INVALID_ARGUMENT, f"criproxy: the request does not parse: {error}"))
            return
        self.link = link
        link.open(self, wire, prefix(len(body)) + body)

    def cancel(self) -> None:
        """Kubelet does not want the answer: neither do we."""
        self.backend.leave(self)
        if self.link is not None:
            self.link.cancel(self)

    # From the runtime.

    def on_opened(self) -> None:
        """The request is on its way."""

    def on_headers(self, block: Block, end: bool) -> None:
        """Headers and trailers go through as they are."""
        try:
            if not end:
                check_head(block.head)
            elif self._reader is not None and not self._reader.idle:
                raise cut_off()
        except RpcError as error:
            self._refuse_answer(error)
            return
        if not end:
            if self._reader is not None:
                self._reader.encoding = block.get(b"grpc-encoding") or b"identity"
            self.send_headers(block.wire)
            return
        self.log_trailers(block)
        row = self.plan.method
        if row is not None and row.moves:
            self.proxy.note_change(self.backend)
        self.finish(block.wire)

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        """Data goes through as it is, or message by message."""
        link = self.link
        if link is None:
            return
        if self._reader is None:
            try:
                self._meter.feed(data)
            except RpcError as error:
                self._refuse_answer(error)
                return
            taken = self.send_data(data, end) + size - len(data)
            if taken and not end:
                link.consumed(self.stream_id, taken)
        else:
            try:
                for body in self._reader.feed(data):
                    self._pass_on(body if self._change is None else self._change(body))
            except (RpcError, DecodeError) as error:
                self._refuse_answer(error)
                return
            self._owed += size
            self._return_owed()
            if end:
                self.send_data(b"", True)
        if end:
            self.front.forget(self)

    def _pass_on(self, body: bytes) -> None:
        """Sends kubelet a message as it is to see it."""
        self.log_answer(body)
        data = prefix(len(body)) + body
        self._unsent += len(data) - self.send_data(data)

    def _return_owed(self) -> None:
        """Lets the runtime send more, unless too much of what it has sent still waits for kubelet."""
        if self._owed and self._unsent <= STREAM_WINDOW and self.link is not None:
            self.link.consumed(self.stream_id, self._owed)
            self._owed = 0

    def on_taken(self, size: int) -> None:
        """Kubelet has taken something: the runtime may send as much again."""
        if self._reader is not None:
            self._unsent -= size
            self._return_owed()
        elif self.link is not None:
            self.link.consumed(self.stream_id, size)

    def _refuse_answer(self, error: Exception) -> None:
        """The runtime's answer cannot be passed on."""
        if self.link is not None:
            self.link.cancel(self)
        self.fail(unreadable(self.backend, error))

    def on_sent(self, size: int) -> None:
        """Data of the request that had waited has left."""

    def on_reset(self, code: int) -> None:
        """The runtime has reset the stream; what it has not looked at may be sent again."""
        if code == ErrorCode.REFUSED_STREAM and not self._retried and self._may_retry():
            self._retried = True
            self.link = None
            self.start(self._body)
            return
        self.reset(code)

    def _may_retry(self) -> bool:
        return not self.headers_sent

    def on_lost(self, reason: str) -> None:
        """The runtime has gone while it had the call."""
        self.link = None
        self.fail(RpcError(Code.UNAVAILABLE, f"criproxy: {self.backend} has gone during the call: {reason}"))


class PassThrough(SingleCall):
    """A call of a method that nobody knows: bytes in both directions, to the primary runtime."""

    def __init__(self, origin: Origin, backend: Backend) -> None:
        super().__init__(origin, backend)
        self.complete = False
        self._early: List[Tuple[bytes, int, bool]] = []
        self._request_meter = Meter(self.proxy.config.max_message_size)
        self._open = False

    def _send(self, link: Link) -> None:
        wire, _ = self._wire(link)
        self.link = link
        link.open(self, wire, None)

    def on_opened(self) -> None:
        """What kubelet has sent meanwhile follows."""
        self._open = True
        early, self._early = self._early, []
        for data, size, end in early:
            self.on_request(data, size, end)

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """Data of the request."""
        self.complete = end
        link = self.link
        if link is None or not self._open:
            self._early.append((data, size, end))
            return
        try:
            self._request_meter.feed(data)
        except RpcError as error:
            link.cancel(self)
            self.fail(error)
            return
        taken = link.connection.send_data(self.stream_id, data, end) + size - len(data)
        link.transport.flush_soon()
        self.front.consumed(self.front_stream, taken)

    def finish(self, trailers: bytes) -> None:
        """Sends the trailers: the call is over, though its request may not be."""
        super().finish(trailers)
        if not self.complete:
            self._take_no_more()

    def on_sent(self, size: int) -> None:
        """The runtime has taken something: kubelet may send as much again."""
        self.front.consumed(self.front_stream, size)

    def _may_retry(self) -> bool:
        return not self.headers_sent and not self._open
