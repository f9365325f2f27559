"""The account of memory: who holds too much is slowed, then cut off, and nobody else notices."""

from __future__ import annotations

from typing import Any, Dict

from scene import ALT, PRIMARY, Node, message

from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import GoAwayReceived
from criproxy.http2.frames import DEFAULT_WINDOW
from criproxy.http2.grpc import prefix
from criproxy.relay.account import PATIENCE, REMEMBERED, UNREAD, Account

MIB = 2**20
LIMIT = 16 * MIB


class Accounted(Node):
    """A node with an account."""

    def __init__(self, limit: int = LIMIT, **settings: Any) -> None:
        super().__init__(**{"max_message_size": 64 * MIB, **settings})
        self.account = Account(
            self.loop.real,
            self.context.log,
            lambda: limit,
            lambda: self.clients,
            self.runtimes.values,
            self.memories,
            lambda: (self.context.known, *self.context.router.answers.kept),
        )

    @property
    def held(self) -> Dict[str, int]:
        """What is held by all, and what for."""
        held: Dict[str, int] = {}
        for uses in self.account.held().values():
            for use, size in uses.items():
                held[use] = held.get(use, 0) + size
        return {use: size for use, size in held.items() if size}

    def get_status(self, size: int) -> int:
        """Kubelet gets a status of so many bytes; gives the stream."""
        stream = self.call("ContainerStatus", container_id="c")
        self.give(PRIMARY, "ContainerStatus", bytes(size))
        return stream

    def begin(self, size: int) -> int:
        """Kubelet sends so many bytes of a message that is longer; gives the stream."""
        stream = self.open("CreateContainer")
        self.kubelet.connection.sender.data(stream, prefix(64 * MIB) + bytes(size))
        self.kubelet.say()
        return stream

    def list_from(self, id: str, size: int) -> int:
        """Kubelet lists, and a runtime sends so many bytes of a list that is longer; gives the stream."""
        stream = self.call("ListContainers")
        asked, served = self.asked(id, "ListContainers")[-1], self.served[id]
        self.send(id, "ListContainers")
        served.connection.sender.data(asked, prefix(64 * MIB) + bytes(size))
        served.say()
        return stream


def is_served(node: Node) -> bool:
    """Whether a call of kubelet's, on the connection that it has now, is answered."""
    stream = node.call("ContainerStatus", container_id="mine")
    node.give(PRIMARY, "ContainerStatus", b"")
    return node.answer(stream).code == 0


def test_what_comes_and_goes_is_not_held() -> None:
    node = Accounted()
    assert is_served(node)
    assert node.held == {}


def test_a_client_that_does_not_read_its_answers_is_cut_off_and_told_why() -> None:
    node = Accounted()
    reader = node.kubelet
    node.connect()
    greedy = node.kubelet
    while greedy.closed is None:
        node.get_status(MIB)
    assert [event.code for event in greedy.heard(GoAwayReceived)] == [ErrorCode.ENHANCE_YOUR_CALM]
    text = node.text.getvalue()
    assert "a client (connection " in text
    assert "MiB of answers that it has not read" in text
    assert "more than --memory-limit (16 MiB)" in text
    assert node.held == {}
    node.kubelet = reader
    assert is_served(node)


def test_a_client_that_reads_in_time_is_not_cut_off() -> None:
    node = Accounted()
    streams = [node.get_status(MIB - 5) for _ in range(18)]
    node.loop.advance(PATIENCE / 2)
    assert node.held[UNREAD] > LIMIT
    assert not node.downstream.transport.paused
    while node.held:
        for stream in streams:
            node.answer(stream)
        node.kubelet.say()
    node.loop.advance(2 * PATIENCE)
    assert [node.answer(stream).code for stream in streams] == [0] * 18
    assert "cut off" not in node.text.getvalue()


def test_a_client_that_sends_more_than_is_taken_is_not_read_from_and_then_cut_off() -> None:
    node = Accounted()
    reader = node.kubelet
    node.connect()
    greedy, connection = node.kubelet, node.downstream
    for _ in range(9):
        node.begin(2 * MIB)
    assert connection.transport.paused
    node.kubelet = reader
    assert is_served(node)
    assert not connection.transport.closed
    node.loop.advance(2 * PATIENCE)
    assert greedy.closed is not None
    assert "MiB of its calls and their requests" in node.text.getvalue()
    assert node.held == {}


def test_a_client_is_read_from_again_when_there_is_room() -> None:
    node = Accounted()
    streams = [node.begin(2 * MIB) for _ in range(9)]
    transport = node.downstream.transport
    before = transport.paused
    for stream in streams[:4]:
        node.downstream.calls.pop(stream)
    node.loop.advance(PATIENCE / 2)
    assert (before, transport.paused) == (True, False)
    assert is_served(node)
    assert "cut off" not in node.text.getvalue()


def test_pieces_of_one_byte_count_for_what_they_take() -> None:
    node = Accounted()
    node.call("ContainerStatus", container_id="c")
    node.send(PRIMARY, "ContainerStatus")
    (stream,), served = node.asked(PRIMARY, "ContainerStatus"), node.served[PRIMARY]
    served.connection.sender.data(stream, prefix(2 * DEFAULT_WINDOW) + bytes(DEFAULT_WINDOW))
    for _ in range(1000):
        served.connection.sender.data(stream, b"x")
    served.say()
    assert node.held[UNREAD] > 250 * 1000


def test_an_alternative_runtime_with_too_large_answers_is_cut_off_and_kubelet_is_not() -> None:
    node = Accounted()
    streams = [node.list_from(ALT, 12 * MIB) for _ in range(2)]
    greedy = node.served[ALT]
    node.loop.advance(2 * PATIENCE)
    assert [event.code for event in greedy.heard(GoAwayReceived)] == [ErrorCode.ENHANCE_YOUR_CALM]
    assert 'runtime "alt.test" is cut off: it holds too much memory: ' in node.text.getvalue()
    assert "MiB of large answers" in node.text.getvalue()
    for stream in node.asked(PRIMARY, "ListContainers"):
        node.served[PRIMARY].answer(stream)
    assert [node.answer(stream).code for stream in streams] == [0, 0]
    assert node.kubelet.closed is None


def test_the_primary_runtime_is_never_cut_off_and_that_is_said_once() -> None:
    node = Accounted(2 * LIMIT)
    node.list_from(PRIMARY, 3 * LIMIT)
    for _ in range(3):
        node.get_status(MIB)
        node.loop.advance(PATIENCE)
    assert node.kubelet.closed is None
    assert node.served[PRIMARY].closed is None
    assert node.text.getvalue().count("nobody but the primary runtime holds much") == 1


def test_many_lists_at_once_are_the_fault_of_who_asks_for_them() -> None:
    node = Accounted()
    for _ in range(6):
        node.list_from(ALT, 3 * MIB)
    node.loop.advance(2 * PATIENCE)
    assert node.kubelet.closed is not None
    assert node.served[ALT].closed is None


def test_lists_that_are_kept_to_be_faster_or_for_names_go_first() -> None:
    node = Accounted()
    big = message("ListContainersResponse", containers=[{"id": "c", "labels": {"l": "v" * MIB}}])
    node.call("ListContainers")
    for id in (PRIMARY, ALT):
        node.give(id, "ListContainers", big)
    assert sum(each.held for each in node.context.router.answers.kept) > 2 * MIB
    assert node.context.known.held > 2 * MIB
    for _ in range(17):
        node.get_status(MIB - 5)
    assert sum(each.held for each in node.context.router.answers.kept) == node.context.known.held == 0
    assert node.kubelet.closed is None


def test_remembered_lists_are_on_their_runtime_s_account_and_go_with_it() -> None:
    node = Accounted(limit=8 * MIB, absence_grace=60.0)
    big = {"id": "x", "labels": {"l": "v" * 6 * MIB}}
    node.give(ALT, "ListPodSandbox", message("ListPodSandboxResponse", items=[big]))
    assert node.held[REMEMBERED] > 6 * MIB
    node.give(ALT, "ListContainers", message("ListContainersResponse", containers=[big]))
    assert node.held[REMEMBERED] > 8 * MIB
    node.loop.advance(2 * PATIENCE)
    assert "MiB of its remembered lists" in node.text.getvalue()
    assert REMEMBERED not in node.held
    assert node.kubelet.closed is None
