"""Lists that are changed by what is new in them come out as if they were changed whole."""

from __future__ import annotations

from typing import List, Optional

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri import incremental
from criproxy.cri.identity import Names
from criproxy.cri.incremental import Incremental
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, Kind, To
from criproxy.cri.rewrite import VIEWS, walk
from criproxy.cri.schema import load

ANSWER = "ListContainersResponse"
WALK = walk(ANSWER, METHODS["ListContainers"].gives, {Kind.ID: Names("alt.test").outer_id})


class Whole:
    """The plain way; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: List[bytes] = []

    def __call__(self, body: bytes) -> bytes:
        self.asked.append(body)
        parsed = VIEWS[ANSWER].FromString(body)
        WALK(parsed)
        return parsed.SerializeToString()


def listed(*names: str, size: int = 0) -> bytes:
    answer = api()[ANSWER]()
    for name in names:
        answer.containers.add(id=name, pod_sandbox_id="pod", image_ref="x" * size, created_at=7)
    return answer.SerializeToString()


def parsed(body: bytes) -> object:
    return api()[ANSWER].FromString(body)


NAMES = st.lists(st.text("ab", min_size=1, max_size=3), max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=6), st.sampled_from([0, 1, 200, 20_000]))
def test_any_row_of_lists(lists: List[List[str]], size: int) -> None:
    quick = Incremental(Whole())
    for names in lists:
        body = listed(*names, size=size)
        assert quick(body) == Whole()(body)


@given(st.lists(NAMES, min_size=2, max_size=4), st.binary(max_size=12), st.integers(0, 40))
def test_bytes_that_are_no_list_are_what_they_are_whole(lists: List[List[str]], garbage: bytes, at: int) -> None:
    quick = Incremental(Whole())
    for names in lists:
        body = listed(*names)
        for text in (body, body[:at] + garbage + body[at:]):
            expected: Optional[object]
            try:
                expected = parsed(Whole()(text))
            except DecodeError:
                with pytest.raises(DecodeError):
                    quick(text)
            else:
                assert parsed(quick(text)) == expected


@pytest.mark.parametrize(
    ("after", "new"),
    [
        ("a b c d", ""),
        ("a X c d", "X"),
        ("a b c d X", "X"),
        ("X a b c d", "X"),
        ("a b X Y c d", "X Y"),
        ("a d", ""),
        ("b c d", ""),
        ("a b c", ""),
        ("X Y", "X Y"),
        ("a a b c d", "a"),
    ],
)
def test_only_what_is_new_is_changed(after: str, new: str) -> None:
    change = Whole()
    quick = Incremental(change)
    quick(listed("a", "b", "c", "d"))
    del change.asked[:]
    assert quick(listed(*after.split())) == Whole()(listed(*after.split()))
    assert b"".join(change.asked) == listed(*new.split())


def test_a_field_that_nobody_knows_is_kept() -> None:
    unknown = b"\x7a\x03abc"  # field 15
    quick = Incremental(Whole())
    for body in (listed("a", "b") + unknown, unknown + listed("a"), listed("a", "c") + unknown, listed("c")):
        assert quick(body) == Whole()(body)


def test_a_list_that_is_too_large_to_be_kept_is_changed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "_LARGEST", 50)
    quick = Incremental(Whole())
    for body in (listed("a"), listed("a", size=100), listed("b")):
        assert quick(body) == Whole()(body)


def test_the_entries_of_every_list_are_its_field_1() -> None:
    for row in METHODS.values():
        if row.to is To.EVERYONE and row.gives:
            fields = load().messages[row.rpc.response]
            (name,) = {field.path.split(".")[0] for field in row.gives}
            assert fields[name].number == 1
            assert fields[name].repeated


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200), st.integers(1, 8))
def test_what_two_texts_share(start: bytes, one: bytes, other: bytes, size: int) -> None:
    whole = (start + one, start + other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(incremental, "_CHUNK", 2**size)
        count = incremental.common_start(*whole)
        assert whole[0][:count] == whole[1][:count]
        assert whole[0][count : count + 1] != whole[1][count : count + 1] or count == min(map(len, whole))
        backwards = (whole[0][::-1], whole[1][::-1])
        assert incremental.common_end(*backwards, min(map(len, whole))) == count
