"""Field blocks: ours and hpack's mean the same, and what is cut or remembered means what the whole meant."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import List, Optional, Tuple

import pytest
from constants import set_constant
from hpack import Decoder, Encoder
from http2_reference import REQUEST, RESPONSE, TRAILERS, huffman_string, plain_block, plain_string
from hypothesis import given
from hypothesis import strategies as st

from criproxy.http2 import headers
from criproxy.http2.cache import Cache
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.fields import MAX_FIELDS, MAX_LIST_SIZE, NO_TABLE, Spelling, decode, encode, with_value
from criproxy.http2.headers import Block, BlockDecoder, block_of

TIMEOUT = b"grpc-timeout"
Fields = List[Tuple[bytes, bytes]]

_KNOWN_NAMES = (b":path", b":method", b"content-type", b"te", b"grpc-status", TIMEOUT, b"user-agent", b"accept")
# A content-length is left out of what is read (test_conformance_messages.py).
_NAMES = st.one_of(
    st.sampled_from(_KNOWN_NAMES), st.binary(max_size=140).filter(lambda name: name != b"content-length")
)
_VALUES = st.one_of(
    st.sampled_from((b"POST", b"200", b"", b"/", b"5S", TIMEOUT, b"\x00\x0cgrpc-timeout")), st.binary(max_size=300)
)
_FIELDS = st.lists(st.tuples(_NAMES, _VALUES), max_size=12)


def settled(volatile: bool = True) -> BlockDecoder:
    """A decoder whose peer has acknowledged that there is no dynamic table."""
    decoder = BlockDecoder(Spelling(TIMEOUT) if volatile else None)
    decoder.settle()
    return decoder


def read(wire: bytes, decoder: Optional[BlockDecoder] = None) -> Block:
    """A block that is not too large, read by a settled decoder unless told otherwise."""
    block = (decoder or settled()).decode(wire)
    assert block is not None
    return block


def stateless(fields: Fields, huffman: bool) -> bytes:
    """hpack's block for these, without a dynamic table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return bytes(encoder.encode(fields, huffman=huffman))


def read_by_hpack(wire: bytes) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in Decoder().decode(wire, raw=True)]


# Our reading and writing against hpack's.


@given(_FIELDS)
def test_hpack_reads_what_we_write(fields: Fields) -> None:
    assert read_by_hpack(encode(fields)) == fields


@given(_FIELDS, st.booleans())
def test_we_read_what_hpack_writes_without_a_table(fields: Fields, huffman: bool) -> None:
    for volatile in (False, True):
        assert list(read(stateless(fields, huffman), settled(volatile)).fields) == fields


@given(st.lists(_FIELDS, max_size=5), st.booleans())
def test_we_read_what_hpack_writes_with_its_table_before_it_knows_better(blocks: List[Fields], huffman: bool) -> None:
    encoder = Encoder()
    decoder = BlockDecoder(Spelling(TIMEOUT))
    for fields in blocks:
        block = read(bytes(encoder.encode(fields, huffman=huffman)), decoder)
        assert list(block.fields) == fields
        # What is passed on needs no table.
        assert read_by_hpack(block.wire) == fields


@given(_FIELDS, st.booleans())
def test_a_block_passed_on_means_the_same(fields: Fields, huffman: bool) -> None:
    block = read(stateless(fields, huffman))
    assert read_by_hpack(block.wire) == fields
    assert list(decode(block.wire)) == fields


@given(_FIELDS, st.booleans(), st.integers(0, 200), st.binary(max_size=4))
def test_damaged_bytes_are_read_as_hpack_reads_them_or_refused(
    fields: Fields, huffman: bool, at: int, damage: bytes
) -> None:
    wire = stateless(fields, huffman)
    wire = wire[:at] + damage + wire[at + len(damage) :]
    ours = None
    with suppress(ConnectionFault):
        ours = list(read(wire).fields)
    if ours is not None:
        assert ours == read_by_hpack(wire)


def test_the_first_field_of_a_name_counts() -> None:
    block = block_of([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert block.get(b"a") == b"1"
    assert block.get(b"b") == b"2"
    assert block.get(b"c") is None


def test_the_first_field_counts_though_it_is_empty_and_another_stands_behind_the_cut() -> None:
    never_cut = literal(0x00, plain_string(b"x-twice"), b"")
    cut = literal(0x00, plain_string(TIMEOUT), b"5S") + literal(0x00, plain_string(b"x-twice"), b"second")
    block = read(encode(REQUEST) + never_cut + cut)
    assert block.tail == cut
    assert block.get(b"x-twice") == b""


# Numbers and strings at their limits.


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 16_383, 16_510, 16_511, 60_000])
def test_strings_of_any_size_are_read_and_written(size: int) -> None:
    fields = [(b"x", b"v" * size)]
    assert list(read(encode(fields)).fields) == fields
    assert list(read(plain_block(fields)).fields) == fields


_REFUSED = {
    "index 0": b"\x80",
    "an index beyond the static table": b"\xbe",
    "the name of an index beyond the static table": b"\x7f\x00\x01a",
    "a number without an end": b"\xff" + b"\x80" * 3,
    "a number of many bytes": b"\x00\x7f" + b"\xff" * 20 + b"\x01",
    "a number of many empty bytes": b"\x0f" + b"\x80" * 10 + b"\x00" + b"\x01a",
    "a string longer than the block": b"\x00\x05abcd",
    "a string longer than memory": b"\x00\x7f\xff\xff\xff\xff\x07a",
    "a name without a value": b"\x00\x01a",
    "nothing behind the name": b"\x04",
    "Huffman code that does not end": b"\x04\x82\xff\xff",
    "Huffman code with an end in it": b"\x04\x84\xff\xff\xff\xff",
    "Huffman padding of zeros": b"\x04\x81\x00",
    "a size update behind a field": b"\x82\x20",
    "a size update to more than 0": b"\x3f\xe1\x1f\x82",
}


@pytest.mark.parametrize("wire", _REFUSED.values(), ids=_REFUSED)
def test_a_settled_connection_refuses(wire: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        read(wire)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


@pytest.mark.parametrize("wire", [b"\xff\xff\xff", b"\xbe", b"\x00\x05abcd", b"\x82\x3f\xe1\x1f", b"\x3f\xe2\x1f"])
def test_a_connection_that_is_not_settled_refuses(wire: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        BlockDecoder().decode(wire)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


def test_the_list_of_fields_has_a_largest_size() -> None:
    """As SETTINGS_MAX_HEADER_LIST_SIZE counts: 32 bytes a field."""
    largest = [(b"x", b"v" * (MAX_LIST_SIZE - 33))]
    assert list(read(plain_block(largest)).fields) == largest
    assert settled().decode(plain_block([(b"x", b"v" * (MAX_LIST_SIZE - 32))])) is None


def test_the_list_of_fields_has_a_largest_number_of_them() -> None:
    """One byte may be a field."""
    assert len(read(b"\x82" * MAX_FIELDS).fields) == MAX_FIELDS
    assert settled().decode(b"\x82" * (MAX_FIELDS + 1)) is None


@pytest.mark.parametrize("too_much", [b"\x82" * MAX_FIELDS, b"\xbe" * MAX_FIELDS], ids=["static", "dynamic"])
def test_a_list_that_is_too_large_leaves_the_table_in_step(too_much: bytes) -> None:
    decoder = BlockDecoder()
    first = b"\x40" + plain_string(b"x-first") + plain_string(b"1")
    later = b"\x40" + plain_string(b"x-later") + plain_string(b"2")
    assert decoder.decode(first + too_much + later) is None
    assert list(read(b"\xbf\xbe", decoder).fields) == [(b"x-first", b"1"), (b"x-later", b"2")]


@pytest.mark.parametrize("is_settled", [True, False])
@pytest.mark.parametrize("name", [b"x-secret", b"authorization", b":path"])
def test_a_field_that_must_never_be_indexed_keeps_that_mark(name: bytes, is_settled: bool) -> None:
    """RFC 7541, section 7.1.3: whoever passes it on must use the same representation."""
    field = (name, b"/")
    decoder = settled() if is_settled else BlockDecoder()
    fields = list(read(literal(0x10, plain_string(name), b"/") + plain_block([(b"x-other", b"/")]), decoder).fields)
    assert fields == [field, (b"x-other", b"/")]
    passed_on = encode(fields)
    kept, other = Decoder().decode(passed_on, raw=True)
    assert (kept, kept.indexable) == (field, False)
    assert other.indexable
    changed = encode(with_value(fields, b"x-other", b"changed"))
    assert [each.indexable for each in Decoder().decode(changed, raw=True)] == [False, True]


def test_size_updates_to_nothing_are_left_out() -> None:
    for wire in (NO_TABLE, NO_TABLE * 2):
        block = read(wire + encode(TRAILERS))
        assert list(block.fields) == TRAILERS
        assert block.wire == encode(TRAILERS)


def test_a_name_or_value_in_the_static_table_is_written_by_its_index() -> None:
    assert encode([(b":method", b"POST"), (b":status", b"200")]) == b"\x83\x88"
    assert encode([(b":path", b"/x")]) == b"\x04\x02/x"


# The cut before the deadline.


def literal(first: int, name: bytes, value: bytes) -> bytes:
    """A literal whose name is no index; ``first``: 0x40 with, 0 without indexing, 0x10 never to be indexed."""
    return bytes((first,)) + name + plain_string(value)


_AFTER = [(b"user-agent", b"grpc-go/1.60"), (b"x-token", b"abc")]
_SPELLINGS = {"plain": plain_string(TIMEOUT), "huffman": huffman_string(TIMEOUT)}


@pytest.mark.parametrize("first", [0x00, 0x10, 0x40], ids=["without index", "never indexed", "with index"])
@pytest.mark.parametrize("after", [[], _AFTER], ids=["at the end", "in the middle"])
@pytest.mark.parametrize("name", _SPELLINGS.values(), ids=_SPELLINGS)
def test_a_block_is_cut_before_its_deadline(
    name: bytes, after: Fields, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A decoder that cuts nothing may have read the same bytes before.
    set_constant(monkeypatch, headers, "_remembered", Cache(2**20))
    decoder = settled()
    before = encode(REQUEST)
    blocks = [
        read(before + literal(first, name, value) + plain_block(after), decoder) for value in (b"5S", b"4999m", b"10H")
    ]
    assert all(block.head is blocks[0].head for block in blocks)
    assert blocks[0].head.wire == before
    assert [block.get(TIMEOUT) for block in blocks] == [b"5S", b"4999m", b"10H"]
    assert [list(block.fields) for block in blocks] == [
        [*REQUEST, (TIMEOUT, value), *after] for value in (b"5S", b"4999m", b"10H")
    ]
    assert all(read_by_hpack(block.wire) == list(block.fields) for block in blocks)
    assert blocks[1].wire == before + literal(first, name, b"4999m") + plain_block(after)


def test_a_block_that_begins_with_its_deadline_is_not_cut() -> None:
    wire = literal(0, plain_string(TIMEOUT), b"5S") + encode(RESPONSE)
    block = read(wire)
    assert list(block.fields) == [(TIMEOUT, b"5S"), *RESPONSE]
    assert block.tail == b""


@pytest.mark.parametrize("name", _SPELLINGS.values(), ids=_SPELLINGS)
@pytest.mark.parametrize("first", [0x00, 0x10, 0x40])
def test_a_value_that_looks_like_a_deadline_is_a_value(name: bytes, first: int) -> None:
    trap = bytes((first,)) + name + plain_string(b"5S")
    fields = [*REQUEST, (b"x-trap", b"value" + trap), (b"x-other", trap), (TIMEOUT, b"7S")]
    for wire in (plain_block(fields), encode(fields)):
        block = read(wire)
        assert list(block.fields) == fields
        assert block.get(TIMEOUT) == b"7S"
        assert block.wire == wire


@pytest.mark.parametrize(
    "fields",
    [
        # The value's size is 127: a number of two bytes, and the second is 0.
        plain_block([(b"x", plain_string(TIMEOUT) + bytes(114))]),
        # An empty name, and a value that is spelled as the deadline's name is.
        plain_block([(b"", TIMEOUT), (b"x", b"y")]),
        # An empty value, and a field that has its name by index 12 and a value of 103 bytes ("g").
        b"\x04\x00" + b"\x0cg" + b"rpc-timeout" + bytes(92),
    ],
    ids=["size", "name", "value"],
)
def test_other_things_that_are_spelled_like_a_deadline_are_themselves(fields: bytes) -> None:
    wire = encode(REQUEST) + fields
    assert Spelling(TIMEOUT).find(wire)[0] > 0
    block = read(wire)
    assert list(block.fields) == read_by_hpack(wire)
    assert block.get(TIMEOUT) is None


@given(_FIELDS, st.sampled_from((0x00, 0x10, 0x40)), st.sampled_from(list(_SPELLINGS.values())), _FIELDS)
def test_the_cut_changes_nothing_of_what_a_block_means(before: Fields, first: int, name: bytes, after: Fields) -> None:
    wire = plain_block(before) + literal(first, name, b"5S") + plain_block(after)
    whole = read(wire, settled(volatile=False))
    block = read(wire)
    assert block.fields == whole.fields == (*before, (TIMEOUT, b"5S"), *after)
    assert block.wire == whole.wire == wire
    assert block.get(TIMEOUT) == whole.get(TIMEOUT)


_LITERAL = re.compile(b"[\x00\x10\x40](?:" + b"|".join(map(re.escape, _SPELLINGS.values())) + b")")


@given(st.lists(st.sampled_from([b"\x00", b"\x10", b"\x20", b"\x40", b"5S", TIMEOUT[1:], *_SPELLINGS.values()])))
def test_the_cut_is_before_the_first_literal_of_the_name(pieces: List[bytes]) -> None:
    wire = b"".join(pieces)
    found = _LITERAL.search(wire)
    begin, value = Spelling(TIMEOUT).find(wire)
    assert (begin, value) == found.span() if found else begin < 0


def test_a_tail_that_is_no_sequence_of_fields_is_refused() -> None:
    wire = encode(REQUEST) + literal(0, plain_string(TIMEOUT), b"5S") + b"\x00\x05ab"
    with pytest.raises(ConnectionFault) as caught:
        read(wire)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


# What is remembered.


def test_the_same_bytes_give_the_same_head() -> None:
    wire = encode([*REQUEST, (b"x-remembered", b"yes")])
    first = read(wire)
    first.head.memo = "worked out"
    assert read(wire).head is first.head
    assert read(wire).head.memo == "worked out"


def test_a_block_with_the_same_deadline_is_read_once() -> None:
    wire = encode([*REQUEST, (b"x-once", b"yes"), (TIMEOUT, b"120000m")])
    assert read(wire) is read(wire)


def test_blocks_with_other_deadlines_are_remembered_until_they_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    recent: Cache[bytes, Block] = Cache(100_000)
    set_constant(monkeypatch, headers, "_recent", recent)
    for number in range(500):
        assert read(encode([*REQUEST, (TIMEOUT, b"%dm" % number)])).get(TIMEOUT) == b"%dm" % number
        assert recent.size <= 100_000
    assert 20 < len(recent) < 200


def test_heads_are_remembered_until_they_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: Cache[bytes, Block] = Cache(100_000)
    set_constant(monkeypatch, headers, "_remembered", remembered)
    decoder = settled()
    for number in range(500):
        block = read(encode([*REQUEST, (b"x-call", b"%d" % number)]), decoder)
        assert block.get(b"x-call") == b"%d" % number
        assert remembered.size <= 100_000
    assert 20 < len(remembered) < 100


def test_a_head_counts_for_the_fields_that_it_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: Cache[bytes, Block] = Cache(2**20)
    set_constant(monkeypatch, headers, "_remembered", remembered)
    accept_encoding = b"\x90"
    assert len(read(encode(REQUEST) + 500 * accept_encoding).fields) == len(REQUEST) + 500
    assert remembered.size > 500 * 128


def test_a_large_head_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: Cache[bytes, Block] = Cache(2**20)
    set_constant(monkeypatch, headers, "_remembered", remembered)
    fields = [*REQUEST, (b"x-large", b"v" * 5_000)]
    assert list(read(encode(fields)).fields) == fields
    assert not len(remembered)


def test_what_is_refused_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: Cache[bytes, Block] = Cache(2**20)
    set_constant(monkeypatch, headers, "_remembered", remembered)
    for _ in range(2):
        with pytest.raises(ConnectionFault):
            read(b"\x00\x05abcd")
    assert not len(remembered)


def test_a_block_of_ours_is_whole() -> None:
    block: Block = block_of(iter(TRAILERS))
    assert list(block.fields) == TRAILERS
    assert block.wire == encode(TRAILERS)
    assert (block.tail, block.tail_fields) == (b"", ())
