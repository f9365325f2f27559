"""How much of a list of all each runtime may have."""

from __future__ import annotations

from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri.shares import Allowance, fitting, shares
from criproxy.cri.wire import DecodeError

ENTRY = b"\x0a\x01a"


@given(st.integers(-10, 100), st.lists(st.integers(0, 60)))
def test_whoever_has_too_much_has_as_much_as_every_other_such(room: int, sizes: List[int]) -> None:
    found = shares(room, sizes)
    assert sum(found) <= max(0, room)
    cut = [share for share, size in zip(found, sizes) if share < size]
    assert all(share <= size for share, size in zip(found, sizes))
    if cut:
        assert sum(found) > room - len(sizes)
        assert max(cut) - min(cut) <= 1
        assert max(found) <= max(cut) + 1


@pytest.mark.parametrize(("size", "count"), [(0, 0), (2, 0), (3, 1), (5, 1), (6, 2), (100, 3)])
def test_a_list_fits_by_whole_entries(size: int, count: int) -> None:
    assert fitting(ENTRY * 3, size) == ENTRY * count


def test_a_stream_has_so_many_bytes() -> None:
    allowance = Allowance(100, 6)
    for body in (ENTRY, b"", ENTRY):
        allowance.take(body)
    with pytest.raises(DecodeError, match="a runtime may list 100 entries and 6 bytes"):
        allowance.take(ENTRY)


def test_a_stream_has_so_many_entries_and_messages() -> None:
    allowance = Allowance(4)
    for body in (ENTRY * 3, b""):
        allowance.take(body)
    with pytest.raises(DecodeError, match="a runtime may list 4 entries"):
        allowance.take(b"")
