"""What is read of a frame's header, against the struct module."""

from __future__ import annotations

from struct import unpack

from hypothesis import given
from hypothesis import strategies as st

from criproxy.http2 import frames


@given(st.binary(max_size=4), st.binary(min_size=9, max_size=20))
def test_a_header_is_three_bytes_two_single_ones_and_31_bits(before: bytes, data: bytes) -> None:
    high, low, kind, flags, stream_id = unpack(">HBBBL", data[:9])
    read = frames.header_at(before + data, len(before))
    assert read == (high << 8 | low, kind, flags, stream_id & frames.MAX_STREAM_ID)
