"""A call on the control socket: one answer or many, a reader that is slow, and one that goes away."""

from __future__ import annotations

import io
from typing import Any, List

import pytest
from playbook import ClockLoop, Peer, socketpair

from criproxy.control.api import health
from criproxy.control.call import MOST_UNREAD, Answer, Call, method_of
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import DataReceived, HeadersReceived, StreamReset
from criproxy.http2.grpc import Code, Reader, RpcError, plain, prefix, request_head
from criproxy.relay.downstream import DownstreamConnection
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput

API = health()
REQUEST, RESPONSE = API.messages["HealthCheckRequest"], API.messages["HealthCheckResponse"]
LARGE = RESPONSE.FromString(b"\x12\xff\x7f" + bytes(16383))
"""A message of 16 KiB, most of it in a field that is not known."""


class Desk:
    """A client, and a handler that keeps what it is given."""

    def __init__(self) -> None:
        self.loop = ClockLoop()
        self.asked: List[Any] = []
        self.answers: List[Answer] = []
        self.cancelled: List[Answer] = []
        self.error: Any = None
        ours, theirs = socketpair(self.loop)
        log = Log(0, StreamOutput(io.StringIO()))
        self.server = DownstreamConnection(self.loop.real, log, ours, self._dispatch, lambda _: None, lambda _: None)
        self.client = Peer(self.loop, theirs, client=True)
        self.loop.settle()

    def _dispatch(self, client: DownstreamConnection, stream_id: int, block: Any, end: bool) -> None:
        client.calls[stream_id] = Call(client, stream_id, block, method_of(API, "Watch", self._handle))

    def _handle(self, request: Any, answer: Answer) -> None:
        self.asked.append(request)
        self.answers.append(answer)
        answer.on_cancel = lambda: self.cancelled.append(answer)
        if self.error is not None:
            raise self.error

    def open(self, *data: bytes, end: bool = True) -> int:
        connection = self.client.connection
        stream_id = connection.open_stream()
        connection.sender.headers(stream_id, request_head(API.path("Watch")).wire)
        for part in data:
            connection.sender.data(stream_id, part)
        if end:
            connection.sender.data(stream_id, b"", True)
        self.client.say()
        self.loop.settle()
        return stream_id

    def call(self, service: str = "") -> int:
        body = REQUEST(service=service).SerializeToString()
        return self.open(prefix(len(body)) + body)

    def messages(self) -> List[Any]:
        """What has come, which is read with this."""
        reader = Reader(1 << 30)
        found: List[Any] = []
        for event in self.client.heard(DataReceived):
            found += [RESPONSE.FromString(plain(message)) for message in reader.feed(event.data)]
        return found

    def read(self) -> None:
        """The client opens its window again for all that has come."""
        for event in self.client.heard(DataReceived):
            self.client.connection.consumed(event.stream_id, event.size)
        self.client.say()
        self.loop.settle()

    @property
    def status(self) -> List[bytes]:
        ends = [event.block for event in self.client.heard(HeadersReceived) if event.end_stream]
        return [block.get(b"grpc-status") for block in ends]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_answer_may_come_later(desk: Desk) -> None:
    desk.call("criproxy")
    assert [request.service for request in desk.asked] == ["criproxy"]
    assert desk.status == []
    desk.answers[0].reply(RESPONSE(status=1))
    desk.loop.settle()
    assert [message.status for message in desk.messages()] == [1]
    assert desk.status == [b"0"]
    assert desk.server.calls == {}


def test_a_stream_is_any_number_of_messages_and_an_end(desk: Desk) -> None:
    desk.call()
    (answer,) = desk.answers
    assert [answer.send(RESPONSE(status=number)) for number in (1, 2, 3)] == [True] * 3
    answer.end()
    desk.loop.settle()
    assert [message.status for message in desk.messages()] == [1, 2, 3]
    assert desk.status == [b"0"]
    assert not answer.send(RESPONSE(status=4)), "it is over"


def test_a_handler_may_refuse(desk: Desk) -> None:
    desk.error = RpcError(Code.NOT_FOUND, "criproxy: there is none")
    desk.call()
    assert desk.status == [b"5"]
    assert desk.server.calls == {}


def test_an_error_ends_a_stream_that_has_begun(desk: Desk) -> None:
    desk.call()
    desk.answers[0].send(RESPONSE(status=1))
    desk.answers[0].fail(RpcError(Code.UNAVAILABLE, "criproxy: enough"))
    desk.loop.settle()
    assert len(desk.messages()) == 1
    assert desk.status == [b"14"]


def test_what_a_slow_reader_gets_is_dropped_and_not_kept(desk: Desk) -> None:
    desk.call()
    (answer,) = desk.answers
    sent = [answer.send(LARGE) for _ in range(200)]
    desk.loop.settle()
    assert sent[0]
    assert not sent[-1]
    takes_more = answer.takes_more
    assert not takes_more
    most = MOST_UNREAD + 2 * LARGE.ByteSize()
    assert desk.server.transport.unread <= most
    for _ in range(20):
        desk.read()
    assert answer.takes_more
    assert answer.send(RESPONSE(status=1)), "what comes when it reads again reaches it"


def test_a_handler_hears_once_that_the_client_does_not_want_it_any_more(desk: Desk) -> None:
    stream_id = desk.call()
    desk.client.connection.reset(stream_id, ErrorCode.CANCEL)
    desk.client.say()
    desk.loop.settle()
    desk.client.close()
    desk.loop.settle()
    assert desk.cancelled == desk.answers
    desk.answers[0].reply(RESPONSE(status=1))  # nobody hears it


def test_a_handler_hears_that_the_client_has_gone(desk: Desk) -> None:
    desk.call()
    desk.client.close()
    desk.loop.settle()
    assert desk.cancelled == desk.answers


def test_a_handler_is_not_told_of_the_end_that_it_has_made(desk: Desk) -> None:
    desk.call()
    desk.answers[0].end()
    desk.loop.settle()
    desk.client.close()
    desk.loop.settle()
    assert desk.cancelled == []


@pytest.mark.parametrize("data", [(), (b"\0\0\0\0\0", b"\0\0\0\0\0"), (b"\0\0\0\0\x05abc",), (b"\0\0\0\0\x01\xff",)])
def test_what_is_no_request_reaches_no_handler(desk: Desk, data: Any) -> None:
    desk.open(*data)
    assert desk.asked == []
    assert desk.status == [b"3"]


def test_a_request_that_says_it_is_too_large_is_refused_before_it_is_there(desk: Desk) -> None:
    desk.open(b"\0\0\x10\0\0" + bytes(1000), end=False)
    assert desk.status == [b"8"]
    assert desk.client.heard(StreamReset), "the rest is not wanted"
    assert desk.server.calls == {}
