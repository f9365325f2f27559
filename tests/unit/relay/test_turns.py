"""A peer has one turn at a time: who sends without end keeps nobody else waiting, and at last is cut off."""

from __future__ import annotations

from typing import List, Tuple

from playbook import ClockLoop, Peer, socketpair

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import Event, GoAwayReceived, PingAcknowledged
from criproxy.http2.frames import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame
from criproxy.http2.grpc import request_head
from criproxy.relay import transport as transports
from criproxy.relay.transport import Transport

TURN = transports._TURN
LONG_TURN = transports._LONG_TURN
WASTED = 0.3
"""Seconds that a turn takes where time is wasted."""


class Server:
    """Serves several clients, and remembers whose events have come in their order."""

    def __init__(self, clients: int = 1) -> None:
        self.loop = ClockLoop()
        self.turns: List[Tuple[int, int]] = []
        """Whose it was, and how many events it had."""
        self.takes = 0.0
        """How long the events of a turn take, seconds."""
        self.closed: List[str] = []
        self.clients: List[Peer] = []
        for number in range(clients):
            ours, theirs = socketpair(self.loop)
            Transport(self.loop.real, ours, Connection(False), self._counts(number), self.closed.append)
            self.clients.append(Peer(self.loop, theirs, client=True))
        self.loop.settle()
        self.turns.clear()

    def _counts(self, number: int):  # type: ignore[no-untyped-def]
        def count(events: List[Event]) -> None:
            self.turns.append((number, len(events)))
            self.loop.now += self.takes

        return count

    def bring(self, client: int, frames: bytes) -> None:
        """Puts frames into a client's socket, which nobody has looked at yet."""
        self.clients[client].sock.send(frames)


def acks(count: int) -> bytes:
    """So many frames with an event each."""
    peer = Connection(True)
    peer.data_to_send()
    for _ in range(count):
        peer.ping(b"01234567")
    pings = bytearray(peer.data_to_send())
    pings[4 :: 9 + 8] = b"\1" * count
    return bytes(pings)


def test_the_frames_of_one_peer_come_in_turns_and_all_of_them_come() -> None:
    server = Server()
    server.bring(0, acks(3 * TURN + 5))
    server.loop.settle()
    assert server.turns == [(0, TURN), (0, TURN), (0, TURN), (0, 5)]


def test_others_have_theirs_between_two_turns_of_a_flood() -> None:
    server = Server(2)
    server.bring(0, acks(2 * TURN))
    server.bring(1, acks(1))
    server.loop.settle()
    assert server.turns == [(0, TURN), (1, 1), (0, TURN)]


def test_what_comes_during_a_turn_is_read_after_it() -> None:
    server = Server()
    server.loop.crowded = True
    server.bring(0, acks(TURN + 1))
    server.loop.settle()
    server.bring(0, acks(2))
    server.loop.settle()
    assert server.turns == [(0, TURN)]
    server.loop.crowded = False
    server.loop.settle()
    assert server.turns == [(0, TURN), (0, 1), (0, 2)]


def test_who_hangs_up_in_the_middle_of_it_is_heard_to_the_end() -> None:
    server = Server()
    server.bring(0, acks(2 * TURN + 7))
    server.clients[0].close()
    server.loop.settle()
    assert sum(count for _, count in server.turns) == 2 * TURN + 7
    assert server.closed == [""]


def test_a_turn_that_took_long_is_followed_by_everybody_elses() -> None:
    server = Server(2)
    server.takes = 1.1 * LONG_TURN
    server.loop.crowded = True
    for client in (0, 1):
        server.bring(client, acks(1))
    server.loop.settle()
    for client in (0, 1):
        server.bring(client, acks(1))
    server.loop.settle()
    assert server.turns == [(0, 1), (1, 1)], "neither is read again before the other"
    server.loop.crowded = False
    server.loop.settle()
    assert server.turns == [(0, 1), (1, 1), (0, 1), (1, 1)]


def test_a_connection_that_is_closed_while_it_gives_way_has_no_more_turns() -> None:
    server = Server()
    ours, theirs = socketpair(server.loop)
    got: List[Event] = []
    transport = Transport(server.loop.real, ours, Connection(False), got.extend, server.closed.append)
    client = Peer(server.loop, theirs, client=True)
    server.loop.settle()
    server.loop.crowded = True
    got.clear()
    client.sock.send(acks(TURN + 1))
    server.loop.settle()
    transport.close("for the test")
    server.loop.crowded = False
    server.loop.settle()
    assert len(got) == TURN
    assert all(isinstance(event, PingAcknowledged) for event in got)


def test_who_has_us_work_for_frames_that_move_no_call_is_cut_off() -> None:
    server = Server(2)
    server.loop.pace = WASTED
    client, other = server.clients
    for _ in range(3):
        client.connection.ping(b"01234567")
        client.say()
        assert not server.closed
    client.connection.ping(b"01234567")
    client.say()
    (goaway,) = client.heard(GoAwayReceived)
    assert goaway.code == ErrorCode.ENHANCE_YOUR_CALM
    assert server.closed == ["more than 1 s of work in 10 s for frames that move no call"]
    assert other.closed is None


def test_a_large_field_block_is_no_waste_though_it_takes_turns() -> None:
    """A runtime puts the output of a failed program into the text of an error: 16 MiB of it take 3 s."""
    server = Server(2)
    server.loop.pace = WASTED
    code = b"\x18\xc61\x8cc" * 6_000  # "aaaaaaaa"
    wire = request_head("/a").wire + b"\0\x01x\xff\xb1\xe9\1" + code
    server.bring(0, frame(HEADERS, END_STREAM, 1, wire[:16_384]) + frame(CONTINUATION, END_HEADERS, 1, wire[16_384:]))
    server.bring(1, acks(1))
    server.loop.settle()
    assert server.turns == [(1, 1), (0, 1)]
    assert not server.closed


def test_what_moves_no_call_now_and_then_is_forgiven() -> None:
    server = Server()
    server.loop.pace = WASTED
    for _ in range(20):
        server.loop.now += transports._WASTE_PERIOD / 2
        server.clients[0].connection.ping(b"01234567")
        server.clients[0].say()
    assert not server.closed
