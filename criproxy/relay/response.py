"""What kubelet gets: headers, messages, trailers; and what is logged of it."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Protocol, Sequence, Tuple

from criproxy.cri.identity import Names
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, Code, RpcError, prefix, trailers_of
from criproxy.http2.headers import Block
from criproxy.relay import facts
from criproxy.relay.context import Context
from criproxy.relay.failures import log_failure
from criproxy.relay.outcome import Outcome
from criproxy.relay.request import Request
from criproxy.relay.runtime import Runtime
from criproxy.relay.tracing import Messages
from criproxy.relay.upstream import STREAM_WINDOW
from criproxy.report.record import JournalFields


class Held(NamedTuple):
    """The memory that a call takes."""

    request: int
    """bytes of the request"""
    answers: Sequence[Tuple[Runtime, int]] = ()
    """bytes of what has come of the answer of each runtime"""


class Call(Protocol):
    """A call as kubelet's connection knows it."""

    __slots__ = ()

    def held(self) -> Held:
        """The memory that is taken by what waits in the call: for the rest of it, or for its runtimes."""

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """Data of the request; ``size`` is owed to `Downstream.consumed`, bytes."""

    def on_sent(self, size: int) -> None:
        """So much of the response's data that had to wait has gone to kubelet, bytes."""

    def cancel(self) -> None:
        """Kubelet does not want the response any more."""


class Downstream(Protocol):
    """Kubelet's connection as a call knows it."""

    calls: Dict[int, Call]
    """What has the events of each stream."""

    def send_headers(self, stream_id: int, wire: bytes, end: bool = False) -> None:
        """Sends a field block."""

    def send_data(self, stream_id: int, data: bytes, end: bool = False) -> int:
        """Sends data; gives how much of it has left at once, bytes."""

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Ends a stream before its end."""

    def consumed(self, stream_id: int, size: int) -> None:
        """So much of a request's data has been passed on, bytes."""

    def has_queued(self, stream_id: int) -> bool:
        """Whether something that is to be sent on the stream waits."""

    def forget(self, stream_id: int) -> None:
        """The call is over."""


class Response:
    """The response to one request. It ends once."""

    __slots__ = (
        "_context",
        "_downstream",
        "_headers_sent",
        "_kept",
        "_stream_id",
        "complete",
        "logged",
        "request",
        "shown",
        "targets",
        "unsent",
    )

    def __init__(
        self, context: Context, downstream: Downstream, stream_id: int, request: Request, complete: bool = True
    ) -> None:
        self.request = request
        row = request.plan.method
        self.logged = row is not None and row.verbosity <= context.log.verbosity
        """Whether the log shows the call's messages."""
        self._kept = Messages() if row is not None and context.tracing.bodies else None
        """For those who watch calls with their messages."""
        self.shown = self.logged or self._kept is not None
        """Whether somebody sees the call's messages, so that they have to be known as such."""
        self.targets: Sequence[Names] = ()
        """The runtimes that are asked, for the log."""
        self.complete = complete
        """Whether kubelet has sent all of its request."""
        self.unsent = 0
        """What waits for kubelet of the messages that have been sent, bytes."""
        self._context = context
        self._downstream = downstream
        self._stream_id = stream_id
        self._headers_sent = False

    # Its parts.

    def send_headers(self, wire: bytes) -> None:
        """Sends the headers."""
        self._headers_sent = True
        self._downstream.send_headers(self._stream_id, wire)

    def send_data(self, data: bytes) -> int:
        """Sends data as it is; gives how much of it has left at once, bytes."""
        return self._downstream.send_data(self._stream_id, data)

    def send_message(self, body: bytes, head: Optional[Block] = None) -> None:
        """Sends a message, behind the headers: a runtime's, if there are any."""
        if not self._headers_sent:
            self.send_headers(RESPONSE_HEADERS if head is None else head.wire)
        if self.shown:
            self._show((body,))
        data = prefix(len(body)) + body
        self.unsent += len(data) - self._downstream.send_data(self._stream_id, data)

    def send_parts(self, parts: Sequence[bytes], head: Optional[Block]) -> None:
        """Sends one message that is the concatenation of ``parts``, without making a copy of it."""
        self.send_headers(RESPONSE_HEADERS if head is None else head.wire)
        if self.shown:
            self._show(parts)
        for data in (prefix(sum(map(len, parts))), *parts):
            self.unsent += len(data) - self._downstream.send_data(self._stream_id, data)

    def on_sent(self, size: int) -> None:
        """So much of what has waited has gone to kubelet, bytes."""
        self.unsent -= size

    @property
    def takes_more(self) -> bool:
        """Whether not too much waits for kubelet."""
        return self.unsent <= STREAM_WINDOW

    def consumed(self, size: int) -> None:
        """So much of the request's data has been passed on, bytes."""
        self._downstream.consumed(self._stream_id, size)

    # Its end.

    def finish(self, trailers: bytes, code: int = 0, text: str = "") -> None:
        """Sends the trailers, which have this status."""
        self._downstream.send_headers(self._stream_id, trailers, True)
        self._downstream.forget(self._stream_id)
        self._ended(code, text)
        if not self.complete:
            self._take_no_more()

    def end(self, outcome: Outcome, head: Optional[Block] = None) -> None:
        """Ends as an exchange has ended: in the runtime's own words, if there are any.

        ``head``: the headers that the runtime has sent before its trailers, if any.
        """
        trailers = outcome.trailers
        if trailers is None:
            self.fail(outcome.error)
            return
        if outcome.code:
            self._log_failure(outcome.code, outcome.message, False)
        if head is not None and not self._headers_sent:
            self.send_headers(head.wire)
        # Without headers of its own the trailers may be all that the runtime has said.
        wire = trailers_of(trailers) if self._headers_sent and head is None else trailers.wire
        self.finish(wire, outcome.code, outcome.message if outcome.code else "")

    def fail(self, error: RpcError) -> None:
        """Ends with an error of the proxy's own."""
        text = str(error)
        self._log_failure(error.code, text, True)
        self.finish(error.trailers() if self._headers_sent else error.trailers_only(), error.code, text)

    def reset(self, code: int) -> None:
        """Ends as the runtime has ended it, without a status (an error code of RFC 9113, section 7)."""
        known = ErrorCode(code) if code in ErrorCode.__members__.values() else ErrorCode.INTERNAL_ERROR
        text = f"the runtime reset the stream: {known.name}"
        self._log_failure(Code.UNKNOWN, text, False)
        self._downstream.reset(self._stream_id, known)
        self._downstream.forget(self._stream_id)
        self._ended(Code.UNKNOWN, text)

    def cancelled(self) -> None:
        """Kubelet does not want it any more."""
        self._ended(Code.CANCELLED, "")

    def answer_empty(self) -> None:
        """Ends with a message that has nothing in it."""
        self.send_message(b"")
        self.finish(OK_TRAILERS)

    def _ended(self, code: int, text: str) -> None:
        self.request.ended(self._context, code, text, self.targets, self._kept)

    def _take_no_more(self) -> None:
        """The response is there though the request is not: the rest of that is not wanted (RFC 9113, section 8.1).

        Where the response has to wait for kubelet the stream is left to it, since a reset would lose what waits.
        """
        if not self._downstream.has_queued(self._stream_id):
            self._downstream.reset(self._stream_id, ErrorCode.NO_ERROR)

    # The log, and those who watch.

    def _show(self, parts: Sequence[bytes]) -> None:
        """Shows a message that is the concatenation of ``parts``."""
        if self._kept is not None:
            self._kept.add(parts)
        if self.logged:
            self._log_message(b"".join(parts))

    def note_start(self, body: bytes) -> None:
        """The message that has been sent tells the id of what the call has started."""
        row = self.request.plan.method
        assert row is not None  # what starts something has a row
        self._context.known.started(row, self.request.body, body)

    def _log_message(self, body: bytes) -> None:
        plan = self.request.plan
        assert plan.method is not None  # what is shown has a row
        rpc = plan.method.rpc
        # Nothing but success follows the message of a method that has one.
        code = None if rpc.server_streaming else Code.OK
        self._context.log.leave(plan.path, rpc.response, body, lambda: self._facts(code, body))

    def _log_failure(self, code: int, text: str, own: bool) -> None:
        log_failure(self._context, self.request, self.targets, code, text, own)

    def _facts(self, code: Optional[int], message: bytes) -> JournalFields:
        request = self.request
        known = self._context.known
        about = facts.of_call(known, request.number, request.plan, self.targets, request.body, message)
        return about + facts.of_end(code, request.age)
