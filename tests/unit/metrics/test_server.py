"""The server of the metrics, against clients that are slow, wrong or many."""

from __future__ import annotations

import io
from typing import Any, Dict, Generator, List, Tuple

import pytest
from playbook import ClockLoop, FakeSocket, socketpair

from criproxy.metrics.http import LARGEST_HEAD, Answer, Request
from criproxy.metrics.server import MOST_CONNECTIONS, PATIENCE, MetricsServer
from criproxy.relay.loop import READ
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput

GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"


class ListeningSocket(FakeSocket):
    """A socket whose queue the test fills."""

    def __init__(self, loop: ClockLoop) -> None:
        super().__init__(loop)
        self.queue: List[FakeSocket] = []

    @property
    def ready(self) -> int:
        return READ if self.queue else 0

    def accept(self) -> Tuple[FakeSocket, str]:
        if not self.queue:
            raise BlockingIOError
        return self.queue.pop(0), ""


class Lab:
    """A server of one page, which takes ``steps`` before it is whole."""

    def __init__(self, body: bytes = b"the page", steps: int = 0) -> None:
        self.loop = ClockLoop()
        self.body = body
        self.steps = steps
        self.made: List[Request] = []
        self.taken = 0
        self.listening = ListeningSocket(self.loop)
        pages: Dict[str, Any] = {"/page": self._page, "/broken": self._broken}
        self.server = MetricsServer(self.loop.real, Log(0, StreamOutput(io.StringIO())), self.sock, pages)

    @property
    def sock(self) -> Any:
        return self.listening

    def _page(self, request: Request) -> Generator[None, None, Answer]:
        self.made.append(request)
        for _ in range(self.steps):
            self.taken += 1
            yield
        return Answer(200, self.body)

    def _broken(self, request: Request) -> Generator[None, None, Answer]:
        yield from ()
        raise ZeroDivisionError

    def connect(self) -> FakeSocket:
        """Somebody connects, and what comes of that happens."""
        ours, theirs = socketpair(self.loop)
        self.listening.queue.append(ours)
        self.loop.settle()
        client: FakeSocket = theirs
        return client

    def say(self, client: FakeSocket, data: bytes) -> bytes:
        """A client sends something; gives what it has then got."""
        client.send(data)
        self.loop.settle()
        return self.heard(client)

    def heard(self, client: FakeSocket) -> bytes:
        self.loop.settle()
        try:
            return client.recv(1 << 20)
        except BlockingIOError:
            return b""


def is_open(client: FakeSocket) -> bool:
    return client.peer is not None and not client.peer.closed


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_a_page_is_served_once_and_that_is_all(lab: Lab) -> None:
    client = lab.connect()
    answer = lab.say(client, GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nthe page")
    assert not is_open(client)
    assert client.recv(1) == b""
    client.close()
    lab.loop.settle()
    assert lab.loop.watched == {lab.listening.fileno()}
    assert lab.loop.timers == 0


def test_a_request_may_come_byte_by_byte(lab: Lab) -> None:
    client = lab.connect()
    answers = [lab.say(client, bytes([byte])) for byte in GET]
    assert not any(answers[:-1])
    assert answers[-1].endswith(b"the page")


def test_what_follows_a_request_is_no_other_request_and_loses_nobody_the_answer(lab: Lab) -> None:
    client = lab.connect()
    assert lab.say(client, GET + GET).count(b"HTTP/1.1") == 1
    assert len(lab.made) == 1
    ours = client.peer
    assert ours is not None
    assert ours.fileno() in lab.loop.watched, "it is not closed before the client has all of it"


def test_who_goes_on_to_send_is_hung_up_on(lab: Lab) -> None:
    client = lab.connect()
    lab.say(client, GET)
    ours = client.peer
    assert ours is not None
    ours._in += bytes(1 << 20)
    lab.loop.settle()
    assert lab.loop.watched == {lab.listening.fileno()}


def test_a_page_that_is_not_there_names_those_that_are(lab: Lab) -> None:
    answer = lab.say(lab.connect(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert answer.endswith(b"there is /page, /broken\n")


def test_binary_data_is_answered_and_hung_up_on(lab: Lab) -> None:
    client = lab.connect()
    assert lab.say(client, b"\0\xff" * 20 + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert not is_open(client)


@pytest.mark.parametrize("data", [b"x" * (LARGEST_HEAD + 4), b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * LARGEST_HEAD])
def test_a_head_has_a_bound(lab: Lab, data: bytes) -> None:
    client = lab.connect()
    assert lab.say(client, data).startswith(b"HTTP/1.1 431 ")
    assert not is_open(client)


def test_a_head_may_be_as_large_as_the_bound(lab: Lab) -> None:
    filler = LARGEST_HEAD - len(GET) + len(b"\r\n\r\n") - len(b"\r\nA: ")
    head = GET[:-4] + b"\r\nA: " + b"a" * filler + b"\r\n\r\n"
    assert lab.say(lab.connect(), head).startswith(b"HTTP/1.1 200 ")
    assert lab.say(lab.connect(), head.replace(b"A: ", b"A: a")).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("sent", [b"", GET[:-1]])
def test_who_sends_slowly_has_a_time_for_all_of_it(lab: Lab, sent: bytes) -> None:
    client = lab.connect()
    lab.say(client, sent) if sent else None
    lab.loop.advance(PATIENCE - 0.1)
    assert is_open(client)
    lab.loop.advance(0.2)
    assert not is_open(client)
    assert lab.loop.watched == {lab.listening.fileno()}


def test_who_reads_slowly_has_a_time_for_all_of_it_and_holds_up_nobody() -> None:
    lab = Lab(b"a" * 300_000)
    slow, other = lab.connect(), lab.connect()
    slow.room = 1000
    slow.send(GET)
    assert lab.say(other, GET).endswith(b"a" * 1000)
    lab.loop.advance(PATIENCE)
    assert not is_open(slow)


def test_a_large_page_reaches_a_client_that_reads_in_pieces() -> None:
    lab = Lab(b"a" * 300_000)
    client = lab.connect()
    client.room = 10_000
    got = lab.say(client, GET)
    while not got.endswith(b"a" * 300_000):
        more = lab.heard(client)
        assert more
        got += more


def test_who_goes_before_the_page_is_whole_has_no_more_of_it_made() -> None:
    lab = Lab(steps=10)
    lab.loop.crowded = True
    client = lab.connect()
    client.send(GET)
    lab.loop.settle()
    taken = lab.taken
    ours = client.peer
    assert ours is not None
    client.close()
    lab.server.close()
    lab.loop.crowded = False
    lab.loop.settle()
    assert lab.taken == taken < 10


def test_one_that_is_still_silent_makes_room_for_another(lab: Lab) -> None:
    first, *others = [lab.connect() for _ in range(MOST_CONNECTIONS)]
    last = lab.connect()
    assert not is_open(first)
    assert all(map(is_open, others))
    assert lab.say(last, GET).endswith(b"the page")


def test_who_is_being_answered_is_not_hung_up_on_for_others() -> None:
    lab = Lab(b"a" * 10_000)
    clients = [lab.connect() for _ in range(MOST_CONNECTIONS)]
    for client in clients:
        client.room = 10
        client.send(GET)
    lab.loop.settle()
    late = lab.connect()
    assert lab.say(late, GET) == b"", "it waits in the socket's queue"
    assert all(map(is_open, clients))
    clients[0].close()
    lab.loop.advance(PATIENCE)
    assert lab.heard(late).endswith(b"a" * 1000)


def test_one_that_has_its_answer_and_does_not_hang_up_makes_room_for_another(lab: Lab) -> None:
    clients = [lab.connect() for _ in range(MOST_CONNECTIONS)]
    for client in clients:
        assert lab.say(client, GET).endswith(b"the page")
    assert lab.say(lab.connect(), GET).endswith(b"the page")


def test_a_page_that_cannot_be_made_ends_its_connection_alone(lab: Lab) -> None:
    client = lab.connect()
    with pytest.raises(ZeroDivisionError):
        lab.say(client, b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
    lab.loop.settle()
    assert not is_open(client)
    assert lab.say(lab.connect(), GET).endswith(b"the page")


def test_when_it_stops_it_hangs_up_on_everybody(lab: Lab) -> None:
    clients = [lab.connect() for _ in range(3)]
    lab.server.close()
    assert not any(map(is_open, clients))
    assert lab.loop.watched == set()
    assert lab.loop.timers == 0
