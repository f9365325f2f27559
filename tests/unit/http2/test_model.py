"""Two of our connections joined, driven at random and checked against the plain model in http2_reference.

Bytes arrive in pieces of any size and late, windows are small and change, sockets stall, streams of both ends are
reset. In the end everything that was sent on a stream that lived has arrived, in order and once, no window was ever
overdrawn, and nothing is left.
"""

from __future__ import annotations

import random
from typing import Callable, Dict, List, Set, Tuple

import pytest
from http2_reference import (
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    REQUEST,
    RESPONSE,
    TRAILERS,
    WINDOW_UPDATE,
    Fields,
    Ledger,
    Told,
    frame,
    number,
    settings,
    told_by_events,
    told_by_wire,
)
from hypothesis import given
from hypothesis import strategies as st

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import DataReceived, HeadersReceived, Sent, StreamReset
from criproxy.http2.headers import encode


class End:
    """One end of the wire, and what it knows of each of its streams."""

    def __init__(self, connection: Connection, rng: random.Random) -> None:
        self.connection = connection
        self.ledger = Ledger()
        self.wire = b""
        """All it has sent."""
        self.arriving = b""
        """What has been sent to it and has not arrived."""
        self.told: List[Told] = []
        self.got: Dict[int, bytes] = {}
        self.ended: Set[int] = set()
        """Streams of which the other end has sent the end."""
        self.reset: Set[int] = set()
        self.put: Dict[int, bytes] = {}
        """What was given to send_data."""
        self.waiting: Dict[int, int] = {}
        """How much of that the connection has queued, bytes."""
        self.closed: Set[int] = set()
        """Streams of which this end has sent the end."""
        self.owed: Dict[int, int] = {}
        self._rng = rng

    def take(self, size: int) -> None:
        """So many bytes arrive."""
        piece, self.arriving = self.arriving[:size], self.arriving[size:]
        events = self.connection.receive(piece)
        self.ledger.received(piece)
        self.told += told_by_events(events)
        for event in events:
            if isinstance(event, DataReceived):
                self.got[event.stream_id] += event.data
                self.owed[event.stream_id] = self.owed.get(event.stream_id, 0) + event.size
            elif isinstance(event, HeadersReceived) and event.stream_id not in self.got:
                self.got[event.stream_id] = b""
            elif isinstance(event, Sent):
                self.count_sent(event)
            elif isinstance(event, StreamReset):
                self.reset.add(event.stream_id)
            if isinstance(event, (DataReceived, HeadersReceived)) and event.end_stream:
                assert event.stream_id not in self.ended
                self.ended.add(event.stream_id)

    def count_sent(self, event: Sent) -> None:
        """Queued data has left: never more than was queued."""
        assert 0 < event.size <= self.waiting[event.stream_id]
        self.waiting[event.stream_id] -= event.size

    def give(self, other: End) -> None:
        """What is ready to be sent is on its way."""
        data = self.connection.data_to_send()
        self.ledger.sent(data)
        self.wire += data
        other.arriving += data

    def send(self, stream_id: int, size: int, end: bool) -> None:
        """Sends so many bytes that are nowhere the same."""
        data = self._rng.randbytes(size)
        sent = self.connection.sender.data(stream_id, data, end)
        assert 0 <= sent <= size
        assert self.connection.queued >= size - sent
        self.put[stream_id] = self.put.get(stream_id, b"") + data
        self.waiting[stream_id] = self.waiting.get(stream_id, 0) + size - sent
        if end:
            self.closed.add(stream_id)

    def consume(self, stream_id: int, size: int) -> None:
        """The stream's data has gone its way."""
        self.owed[stream_id] -= size
        self.connection.consumed(stream_id, size)

    def live(self) -> List[int]:
        """Streams that this end may send on."""
        known = self.got if not self.connection.client else self.put
        return [stream_id for stream_id in known if stream_id not in self.closed | self.reset]


class World:
    """Both ends, and everything that may happen next."""

    def __init__(self, seed: int, resets: bool) -> None:
        self.rng = rng = random.Random(seed)
        self.resets = resets
        window = rng.choice((16, 500, 65_535))
        self.sizes = (0, 1, 7, 400, min(30 * window, 40_000))
        # Below the default, a window counts for a peer only once it has heard of it: hence the handshake first.
        self.client = End(Connection(True, stream_window=window), rng)
        self.server = End(Connection(False, stream_window=rng.choice((window, 1_000)), max_streams=8), rng)
        self.ends = (self.client, self.server)
        self.deliver_all()
        self.calls = 0

    def other(self, end: End) -> End:
        return self.server if end is self.client else self.client

    def deliver_all(self) -> None:
        """Carries bytes until nothing moves."""
        while True:
            for end in self.ends:
                end.give(self.other(end))
            if not any(end.arriving for end in self.ends):
                return
            for end in self.ends:
                end.take(len(end.arriving))

    # What may happen.

    def open(self) -> None:
        client = self.client
        if client.connection.can_open and self.calls < 25:
            self.calls += 1
            stream_id = client.connection.open_stream()
            client.connection.sender.headers(stream_id, encode(REQUEST))
            client.put[stream_id] = b""

    def answer(self) -> None:
        server = self.server
        fresh = [stream_id for stream_id in server.live() if stream_id not in server.put]
        if fresh:
            stream_id = self.rng.choice(fresh)
            server.connection.sender.headers(stream_id, encode(RESPONSE))
            server.put[stream_id] = b""

    def send(self) -> None:
        end = self.rng.choice(self.ends)
        live = [stream_id for stream_id in end.live() if stream_id in end.put]
        if live:
            end.send(self.rng.choice(live), self.rng.choice(self.sizes), self.rng.random() < 0.3)

    def end_with_trailers(self) -> None:
        end = self.rng.choice(self.ends)
        live = [stream_id for stream_id in end.live() if stream_id in end.put]
        if live:
            stream_id = self.rng.choice(live)
            end.connection.sender.headers(stream_id, encode(TRAILERS), True)
            end.closed.add(stream_id)

    def reset(self) -> None:
        end = self.rng.choice(self.ends)
        known = [stream_id for stream_id in end.put if end.connection.knows(stream_id)]
        if self.resets and known and self.rng.random() < 0.3:
            stream_id = self.rng.choice(known)
            end.connection.reset(stream_id, ErrorCode.CANCEL)
            end.reset.add(stream_id)

    def deliver(self) -> None:
        end = self.rng.choice(self.ends)
        self.other(end).give(end)
        end.take(min(len(end.arriving), self.rng.choice((1, 8, 9, 10, 100, 5_000, 1_000_000))))

    def consume(self) -> None:
        end = self.rng.choice(self.ends)
        owing = [stream_id for stream_id, size in end.owed.items() if size]
        if owing:
            stream_id = self.rng.choice(owing)
            end.consume(stream_id, self.rng.randint(1, end.owed[stream_id]))

    def hold(self) -> None:
        end = self.rng.choice(self.ends)
        for event in end.connection.sender.hold(self.rng.random() < 0.5):
            assert isinstance(event, Sent)
            end.count_sent(event)

    def run(self, steps: int) -> None:
        happenings: List[Callable[[], None]] = [
            self.open,
            self.answer,
            self.send,
            self.send,
            self.end_with_trailers,
            self.reset,
            self.deliver,
            self.deliver,
            self.deliver,
            self.consume,
            self.consume,
            self.hold,
        ]
        for _ in range(steps):
            self.rng.choice(happenings)()

    def finish(self) -> None:
        """Everybody ends what is open, and takes all that comes."""
        for end in self.ends:
            for event in end.connection.sender.hold(False):
                assert isinstance(event, Sent)
                end.count_sent(event)
        self.deliver_all()
        while any(stream_id not in self.server.put for stream_id in self.server.live()):
            self.answer()
        for end in self.ends:
            for stream_id in end.live():
                end.send(stream_id, self.sizes[-1], True)
        moving = True
        while moving:
            self.deliver_all()
            moving = False
            for end in self.ends:
                for stream_id, size in list(end.owed.items()):
                    if size:
                        moving = True
                        end.consume(stream_id, size)


@pytest.mark.parametrize("seed", range(40))
def test_everything_arrives_in_order_and_nothing_is_left(seed: int) -> None:
    world = World(seed, resets=True)
    world.run(600)
    world.finish()
    for end in world.ends:
        other = world.other(end)
        gone = end.reset | other.reset
        for stream_id, put in end.put.items():
            got = other.got.get(stream_id, b"")
            if stream_id in gone:
                assert put.startswith(got)
            else:
                assert got == put
                assert stream_id in other.ended
                assert not end.waiting.get(stream_id, 0)
        assert end.connection.open_streams == 0
        assert end.connection.queued == 0
        assert end.connection.sender.hold(False) == []
        assert end.connection.data_to_send() == b""
    assert world.calls > 5


def in_one(told: List[Told]) -> List[Told]:
    """With data of a stream that comes in a row as one piece: how it is cut is the connection's business."""
    out: List[Told] = []
    for each in told:
        if out and each[0] == out[-1][0] == "data" and each[1] == out[-1][1] and not out[-1][3]:
            each = ("data", each[1], out.pop()[2] + each[2], each[3])
        out.append(each)
    return out


@pytest.mark.parametrize("seed", range(40, 50))
def test_the_events_are_what_a_plain_reader_takes_from_the_same_wire(seed: int) -> None:
    """Without resets, since what crosses a reset is on the wire and not among the events."""
    world = World(seed, resets=False)
    world.run(400)
    world.finish()
    for end in world.ends:
        assert in_one(end.told) == in_one(told_by_wire(world.other(end).wire))
        assert len(end.told) > 10


@pytest.mark.parametrize("seed", range(50, 70))
def test_windows_that_shrink_and_grow_are_kept_to(seed: int) -> None:
    """A server that changes its mind all the time never gets more than it allows, and all as soon as it does."""
    rng = random.Random(seed)
    connection, ledger = Connection(True), Ledger()
    given: Dict[int, bytes] = {}
    wire = b""
    told = 0

    def write() -> None:
        nonlocal wire
        data = connection.data_to_send()
        ledger.sent(data)
        wire += data

    def hear(received: bytes) -> int:
        write()
        ledger.received(received)
        events = connection.receive(received)
        write()
        return sum(event.size for event in events if isinstance(event, Sent))

    hear(settings((INITIAL_WINDOW_SIZE, 3)))
    for _ in range(300):
        action = rng.randrange(5)
        if action == 0:
            told += hear(settings((INITIAL_WINDOW_SIZE, rng.choice((0, 1, 10, 5_000, 65_535)))))
        elif action == 1:
            told += hear(settings((MAX_FRAME_SIZE, rng.choice((16_384, 30_000)))))
        elif action == 2:
            stream_id = rng.choice([0, *given])
            told += hear(frame(WINDOW_UPDATE, 0, stream_id, number(rng.choice((1, 100, 9_000)))))
        elif action == 3 and given:
            stream_id = rng.choice(list(given))
            data = rng.randbytes(rng.choice((0, 1, 50, 20_000)))
            given[stream_id] += data
            told += connection.sender.data(stream_id, data)
        elif len(given) < 10:
            stream_id = connection.open_stream()
            connection.sender.headers(stream_id, encode(REQUEST))
            given[stream_id] = b""
    told += hear(settings((INITIAL_WINDOW_SIZE, 2**30)))
    told += hear(frame(WINDOW_UPDATE, 0, 0, number(2**30)))
    assert told == sum(map(len, given.values())) > 0
    for stream_id, data in given.items():
        assert b"".join(each[2] for each in told_by_wire(wire) if each[:2] == ("data", stream_id)) == data


_METADATA = st.lists(
    st.tuples(st.from_regex(r"[a-z][a-z0-9-]{0,20}-bin", fullmatch=True).map(str.encode), st.binary(max_size=60)),
    max_size=4,
).map(lambda fields: [(name, value.hex().encode()) for name, value in fields])
_LONG = [(b"x-long", b"v" * 40_000)]


@given(
    st.lists(st.tuples(_METADATA, st.lists(st.binary(max_size=30), max_size=3), st.booleans()), max_size=4), st.data()
)
def test_what_one_end_sends_the_other_receives_however_it_is_cut(
    calls: List[Tuple[Fields, List[bytes], bool]], choice: st.DataObject
) -> None:
    sending, receiving = Connection(True), Connection(False)
    receiving.receive(sending.data_to_send())
    sending.receive(receiving.data_to_send())
    receiving.receive(sending.data_to_send())
    told: List[Told] = []
    for metadata, pieces, long in calls:
        stream_id = sending.open_stream()
        fields = REQUEST + metadata + (_LONG if long else [])
        sending.sender.headers(stream_id, encode(fields))
        told.append(("fields", stream_id, fields, False))
        for piece in pieces:
            assert sending.sender.data(stream_id, piece) == len(piece)
            told.append(("data", stream_id, piece, False))
        sending.sender.headers(stream_id, encode(TRAILERS), True)
        told.append(("fields", stream_id, TRAILERS, True))
    wire = sending.data_to_send()
    cuts = sorted(choice.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    events = [
        event for begin, end in zip([0, *cuts], [*cuts, len(wire)]) for event in receiving.receive(wire[begin:end])
    ]
    assert told_by_events(events) == told
    assert told_by_wire(wire) == told
