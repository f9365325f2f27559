"""The tables of RFC 7541 and its Huffman code, against hpack's."""

from __future__ import annotations

from typing import List, Optional, Tuple, Union

import pytest
from hpack.exceptions import HPACKError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable
from hypothesis import example, given
from hypothesis import strategies as st

from criproxy.http2 import huffman
from criproxy.http2.tables import STATIC, TABLE_SIZE, DynamicTable

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
NAME = st.sampled_from((b"a", b"b" * 40, b"c" * 1000, b"d" * (TABLE_SIZE - 32), b"e" * (TABLE_SIZE - 31)))
CHANGE = st.one_of(NAME, st.integers(0, TABLE_SIZE), st.sampled_from((0, 33, TABLE_SIZE)))


def test_the_static_table_is_hpacks() -> None:
    assert tuple(HeaderTable.STATIC_TABLE) == STATIC


def test_each_byte_has_hpacks_code() -> None:
    for byte in range(256):
        assert huffman.encode(bytes((byte,))) == ENCODER.encode(bytes((byte,)))


@given(st.binary())
@example(b"")
@example(bytes(range(256)))
def test_a_text_is_written_as_hpack_writes_it_and_read_again(text: bytes) -> None:
    code = huffman.encode(text)
    assert code == ENCODER.encode(text)
    assert huffman.decode(code) == text


@given(st.one_of(st.binary(max_size=12), st.lists(st.sampled_from((0, 0x1F, 0x7F, 0xFE, 0xFF))).map(bytes)))
@example(b"\xff\xff\xff\xfc")  # the end
@example(b"\xff")  # padding alone, and longer than it may be
@example(b"\x1f\xff")
def test_any_bytes_are_read_or_refused_as_by_hpack(code: bytes) -> None:
    assert by_us(code) == by_hpack(code)


def by_us(code: bytes) -> Optional[bytes]:
    try:
        return huffman.decode(code)
    except ValueError:
        return None


def by_hpack(code: bytes) -> Optional[bytes]:
    try:
        return decode_huffman(code)
    except HPACKError:
        return None


@given(st.lists(CHANGE, max_size=30))
def test_the_dynamic_table_has_what_hpacks_has(changes: List[Union[bytes, int]]) -> None:
    """Fields are added, and its size is changed."""
    ours, theirs = DynamicTable(), HeaderTable()
    for number, change in enumerate(changes):
        if isinstance(change, int):
            ours.resize(change)
            theirs.maxsize = change
        else:
            ours.add(change, b"%d" % number)
            theirs.add(change, b"%d" % number)
        found: List[Tuple[bytes, bytes]] = []
        while len(found) < len(theirs.dynamic_entries):
            found.append(ours.field(len(STATIC) + 1 + len(found)))
        assert found == list(theirs.dynamic_entries)
        for index in (len(STATIC) + 1 + len(found), len(STATIC)):
            with pytest.raises(IndexError):
                ours.field(index)
