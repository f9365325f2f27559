"""One call on the control socket: its request comes in, a handler answers it.

A handler gets the request's message and an `Answer`. It may answer at once or later. A method that streams may be
answered for as long as the client listens; the handler then has to bear with a client that reads slowly: what is sent
to it is dropped, not kept.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

from criproxy.control.api import Api
from criproxy.cri.wire import DecodeError
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, Code, Message, Reader, RpcError, plain, prefix
from criproxy.http2.headers import Block
from criproxy.relay.downstream import DownstreamConnection
from criproxy.relay.response import Held

LARGEST_REQUEST = 64 * 1024
"""bytes"""
MOST_UNREAD = 256 * 1024
"""With more than this waiting for a client, it is a slow reader, bytes."""


class Answer:
    """The answer to one call, for its handler. After its end nothing can be sent, and ``on_cancel`` is not called."""

    def __init__(self, client: DownstreamConnection, stream_id: int) -> None:
        self.over = False
        self.on_cancel: Callable[[], None] = _nothing
        """Called, once, if the client goes away or does not want the answer any more."""
        self.complete = False
        """Whether the client has sent all of its request."""
        self._client = client
        self._stream_id = stream_id
        self._unsent = 0
        """What waits for the client to open its window, bytes."""
        self._begun = False

    @property
    def takes_more(self) -> bool:
        """Whether the client reads what it gets. If not, what is sent is dropped."""
        return not self.over and max(self._unsent, self._client.transport.unread) <= MOST_UNREAD

    def send(self, message: Any) -> bool:
        """Sends a message of a stream, unless the client is a slow reader; says whether it has been sent."""
        if not self.takes_more:
            return False
        self._send(message)
        return True

    def reply(self, message: Any) -> None:
        """Ends with success, and this message: the answer of a method that does not stream."""
        if not self.over:
            self._send(message)
            self.end()

    def end(self) -> None:
        """Ends with success."""
        self._finish(OK_TRAILERS)

    def fail(self, error: RpcError) -> None:
        """Ends with an error."""
        self._finish(error.trailers() if self._begun else error.trailers_only())

    def on_sent(self, size: int) -> None:
        """So much of what has waited has gone, bytes."""
        self._unsent -= size

    def cancel(self) -> None:
        """The client does not want it any more."""
        if not self.over:
            self.over = True
            on_cancel, self.on_cancel = self.on_cancel, _nothing
            on_cancel()

    def begin(self) -> None:
        """Sends the headers: the client of a stream sees that it has begun."""
        if not self._begun:
            self._begun = True
            self._client.send_headers(self._stream_id, RESPONSE_HEADERS)

    def _send(self, message: Any) -> None:
        self.begin()
        body = message.SerializeToString()
        data = prefix(len(body)) + body
        self._unsent += len(data) - self._client.send_data(self._stream_id, data)

    def _finish(self, trailers: bytes) -> None:
        if self.over:
            return
        self.over = True
        self.on_cancel = _nothing
        self._client.send_headers(self._stream_id, trailers, True)
        self._client.forget(self._stream_id)
        # What is left of the request is not wanted (RFC 9113, section 8.1); a reset would lose what waits.
        if not self.complete and not self._client.has_queued(self._stream_id):
            self._client.reset(self._stream_id, ErrorCode.NO_ERROR)


Handler = Callable[[Any, Answer], None]
"""Answers a request's message. May raise RpcError, which is the answer then."""


class Method(NamedTuple):
    """A method that is served."""

    request: Any
    """The message's class."""
    handler: Handler


def method_of(api: Api, name: str, handler: Handler) -> Method:
    """A method of a service by its name. Raises KeyError."""
    return Method(api.messages[api.rpcs[name].request], handler)


def methods_of(api: Api, handlers: Mapping[str, Handler]) -> Dict[str, Method]:
    """Methods of a service by their paths; ``handlers`` by their names. Raises KeyError."""
    return {api.path(name): method_of(api, name, handler) for name, handler in handlers.items()}


class Call:
    """A call as the connection knows it."""

    def __init__(self, client: DownstreamConnection, stream_id: int, block: Block, method: Method) -> None:
        self._client = client
        self._stream_id = stream_id
        self._method = method
        self._answer = Answer(client, stream_id)
        self._reader = Reader(LARGEST_REQUEST)
        self._reader.encoding = block.get(b"grpc-encoding") or b"identity"
        self._message: Optional[Message] = None

    def held(self) -> Held:
        """What has come of the request."""
        return Held(self._reader.held)

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """Collects the one message that a request is, and has it answered."""
        if self._answer.over or self._answer.complete:
            return
        self._answer.complete = end
        try:
            self._collect(data)
            if end:
                self._method.handler(self._parsed(), self._answer)
            else:
                self._client.consumed(self._stream_id, size)
        except RpcError as error:
            self._answer.fail(error)

    def _collect(self, data: bytes) -> None:
        for message in self._reader.feed(data):
            if self._message is not None:
                raise RpcError(Code.INVALID_ARGUMENT, "criproxy: the request has several messages, not one")
            self._message = message

    def _parsed(self) -> Any:
        from criproxy.cri.messages import parse  # protobuf is there, since there is a method

        if self._message is None or not self._reader.idle:
            raise RpcError(Code.INVALID_ARGUMENT, "criproxy: the request has no message")
        message, self._message = self._message, None
        try:
            return parse(self._method.request, plain(message))
        except DecodeError as error:
            raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: the request does not parse: {error}") from error

    def on_sent(self, size: int) -> None:
        """So much of the answer that had to wait has gone, bytes."""
        self._answer.on_sent(size)

    def cancel(self) -> None:
        """The client does not want the answer any more."""
        self._answer.cancel()


def _nothing() -> None:
    """There is nothing to do."""
