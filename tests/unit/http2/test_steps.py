"""Large field blocks are read in steps, so that their peer's turn ends and others have theirs."""

from __future__ import annotations

from typing import List, Tuple

import pytest
from http2_reference import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PREFACE,
    REQUEST,
    data,
    frame,
    headers,
    huffman_string,
    plain_block,
    plain_string,
    sent,
    server,
    settings,
)
from hypothesis import given
from hypothesis import strategies as st

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.events import DataReceived, Event, HeadersReceived, StreamReset
from criproxy.http2.fields import STEP, decode, decode_in_steps

TURN = 64
"""Frames of a turn."""


def block(text: bytes, more: bytes = b"") -> bytes:
    """A request that has a field with this text, and more."""
    return plain_block(REQUEST) + b"\0" + huffman_string(b"x-large") + huffman_string(text) + more


def in_frames(wire: bytes, stream_id: int = 1) -> bytes:
    """A block in frames of the default size, which ends its stream."""
    pieces = [wire[at : at + 16_384] for at in range(0, len(wire), 16_384)]
    rest = b"".join(frame(CONTINUATION, 0, stream_id, piece) for piece in pieces[1:])
    return frame(HEADERS, 1, stream_id, pieces[0]) + rest + frame(CONTINUATION, END_HEADERS, stream_id)


LARGE = b"large text" * 4_000


def turns_of(connection: Connection, wire: bytes) -> List[List[Event]]:
    """What each turn gives, until there is nothing left to do."""
    turns = [connection.receive(wire, TURN)]
    while connection.has_more:
        assert len(turns) < 1_000
        turns.append(connection.receive(b"", TURN))
    return turns


def test_a_large_block_takes_many_turns_and_what_comes_behind_it_waits() -> None:
    connection = server()
    turns = turns_of(connection, in_frames(block(LARGE)) + headers(3, REQUEST) + data(3, b"x"))
    assert not any(turns[:-1])
    assert len(turns) == 2
    first, second, third = turns[-1]
    assert isinstance(first, HeadersReceived)
    assert first.block.get(b"x-large") == LARGE
    assert first.end_stream
    assert isinstance(second, HeadersReceived)
    assert third == DataReceived(3, b"x", 1, False)


def test_bytes_that_come_while_a_block_is_read_wait_behind_it() -> None:
    connection = server()
    assert connection.receive(in_frames(block(LARGE)), TURN) == []
    assert connection.is_reading
    events = [event for turn in turns_of(connection, headers(3, REQUEST) + data(3, b"x")) for event in turn]
    assert [event.stream_id for event in events] == [1, 3, 3]  # type: ignore[union-attr]
    assert not connection.is_reading


def test_a_block_of_a_stream_that_we_reset_meanwhile_is_read_no_further() -> None:
    connection = server()
    connection.receive(in_frames(block(LARGE)), TURN)
    connection.reset(1, ErrorCode.CANCEL)
    assert [type(event) for event in connection.receive(headers(3, REQUEST), TURN)] == [HeadersReceived]
    assert not connection.is_reading


_FAULTY = {
    "a field's name": block(LARGE, b"\0" + plain_string(b"Upper") + huffman_string(b"v")),
    "too many fields": block(LARGE, b"\x82" * 1_000),
}


@pytest.mark.parametrize("wire", _FAULTY.values(), ids=_FAULTY)
def test_the_fault_of_a_large_block_ends_its_stream_alone(wire: bytes) -> None:
    connection = server()
    events = [event for turn in turns_of(connection, in_frames(wire) + headers(3, REQUEST)) for event in turn]
    assert [type(event) for event in events] == [StreamReset, HeadersReceived]
    assert [found.stream_id for found in sent(connection)] == [1]


_BROKEN = {
    "code that does not end": block(LARGE, b"\0\x01y\x81\x00"),
    "code with an end in it": block(LARGE, b"\0\x01y\x84\xff\xff\xff\xff"),
    "a string that is cut off": block(LARGE)[:-1],
    "an index that there is not": block(LARGE, b"\xbe"),
}


@pytest.mark.parametrize("wire", _BROKEN.values(), ids=_BROKEN)
def test_a_large_block_that_is_none_ends_the_connection(wire: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        turns_of(server(), in_frames(wire))
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


def test_blocks_of_a_peer_that_has_a_table_are_read_in_their_order() -> None:
    """Read in one go, since the table must be in step; its time is waited for."""
    connection = Connection(False)
    connection.receive(PREFACE + settings())
    added = b"\x40" + plain_string(b"x-added") + plain_string(b"1")
    large = in_frames(block(LARGE[:40_000], added))
    turns = turns_of(connection, large + frame(HEADERS, END_HEADERS, 3, plain_block(REQUEST) + b"\xbe"))
    assert len(turns) > 1
    first, second = turns[-1]
    assert isinstance(first, HeadersReceived)
    assert isinstance(second, HeadersReceived)
    assert first.block.get(b"x-added") == second.block.get(b"x-added") == b"1"
    assert decode(first.block.wire) == first.block.fields


def stepped(wire: bytes) -> Tuple[int, object]:
    """How many steps it takes to read a block, and its fields."""
    steps, count = decode_in_steps(wire), 0
    while True:
        try:
            next(steps)
        except StopIteration as read:
            return count, read.value
        count += 1


@given(
    st.lists(
        st.tuples(st.sampled_from((0, 0x10)), st.booleans(), st.binary(max_size=20), st.integers(0, 900)), max_size=12
    )
)
def test_what_is_read_in_steps_is_what_is_read_in_one_go(fields: List[Tuple[int, bool, bytes, int]]) -> None:
    wire = b"".join(
        bytes((first,)) + (huffman_string if huffman else plain_string)(text) + huffman_string(text * times)
        for first, huffman, text, times in fields
    )
    count, read = stepped(wire)
    assert read == decode(wire)
    assert isinstance(read, tuple)
    assert [type(field) for field in read] == [type(field) for field in decode(wire)]
    assert count <= len(wire) // STEP


def test_no_step_is_long_however_the_code_is_cut_into_strings() -> None:
    wire = (b"\0" + huffman_string(b"x") + huffman_string(b"v" * 1_000)) * 100
    count, _ = stepped(wire)
    assert count >= (len(wire) - STEP) // (STEP + 1_000) - 1


def test_blocks_that_are_read_in_one_go_take_more_of_a_turn() -> None:
    """They are, as long as the peer may have a table, which every block may change."""
    connection = Connection(False)
    connection.receive(PREFACE + settings() + headers(1, REQUEST) + frame(HEADERS, 5, 1, block(b"")))
    late = frame(HEADERS, 5, 1, block(b"a" * 20_000))
    turns = turns_of(connection, late * 12)
    assert len(turns) == 6
