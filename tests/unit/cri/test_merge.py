"""Lists cut to messages."""

from __future__ import annotations

from typing import List

from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri.incremental import ends
from criproxy.cri.merge import in_messages
from criproxy.cri.messages import api

SIZES = st.lists(st.integers(0, 300), max_size=20)


def listed(sizes: List[int]) -> bytes:
    """A list with an entry of about each of these sizes, bytes."""
    answer = api()["ListContainersResponse"]()
    for number, size in enumerate(sizes):
        answer.containers.add(id=str(number), image_ref="x" * size)
    return answer.SerializeToString()


@given(SIZES, st.integers(1, 400))
def test_a_list_is_cut_where_entries_end_and_nowhere_sooner_than_it_must(sizes: List[int], limit: int) -> None:
    body = listed(sizes)
    messages = in_messages(body, limit)
    assert b"".join(messages) == body
    entries = [ends(message) for message in messages]
    assert None not in entries
    for message, found in zip(messages, entries):
        assert len(message) <= limit or len(found) == 1
    for message, following in zip(messages, entries[1:]):
        assert len(message) + following[0] > limit


@given(SIZES)
def test_a_list_that_is_not_too_large_is_one_message(sizes: List[int]) -> None:
    body = listed(sizes)
    assert in_messages(body, len(body)) == [body]


@given(st.binary(min_size=2).filter(lambda body: ends(body) is None))
def test_what_is_no_row_of_entries_is_one_message(body: bytes) -> None:
    assert in_messages(body, 1) == [body]
