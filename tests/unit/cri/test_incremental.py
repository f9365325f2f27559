"""Lists that are changed by what is new in them come out as if they were changed whole, but for what does not hold."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import pytest
from constants import set_constant
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri import incremental, rewrite
from criproxy.cri.identity import Names
from criproxy.cri.incremental import Incremental
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, FieldKind, To
from criproxy.cri.rewrite import renaming
from criproxy.cri.schema import load
from criproxy.cri.verify import entries_of
from criproxy.cri.wire import DecodeError

ANSWER = "ListContainersResponse"
CHANGE = renaming(ANSWER, METHODS["ListContainers"].response_fields, {FieldKind.ID: Names("alt.test").outer_id})


class Whole:
    """The plain way; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: List[bytes] = []

    def __call__(self, body: bytes) -> bytes:
        self.asked.append(body)
        return CHANGE(body)


def listed(*names: str, size: int = 0) -> bytes:
    answer: Any = api()[ANSWER]()
    for name in names:
        answer.containers.add(id=name, pod_sandbox_id="pod", image_ref="x" * size, created_at=7)
    serialized: bytes = answer.SerializeToString()
    return serialized


def made_by(change: Optional[Whole] = None) -> Incremental:
    return Incremental(ANSWER, change or Whole(), lambda text: None)


def told(said: List[str], message: str = ANSWER) -> Incremental:
    """One that changes nothing and says what it leaves out."""
    return Incremental(message, None, said.append)


def outcome(quick: Incremental, body: bytes) -> Optional[bytes]:
    try:
        return quick(body)
    except DecodeError:
        return None


NAMES = st.lists(st.text("ab", min_size=1, max_size=3), max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=6), st.sampled_from([0, 1, 200, 20_000]))
def test_any_row_of_lists(lists: List[List[str]], size: int) -> None:
    quick = made_by()
    for names in lists:
        body = listed(*names, size=size)
        assert quick(body) == Whole()(body)


@given(st.lists(NAMES, min_size=2, max_size=4), st.binary(max_size=12), st.integers(0, 40))
def test_bytes_that_are_no_list_are_the_same_after_a_list_as_at_first(
    lists: List[List[str]], garbage: bytes, at: int
) -> None:
    quick = made_by()
    for names in lists:
        body = listed(*names)
        for text in (body, body[:at] + garbage + body[at:]):
            assert outcome(quick, text) == outcome(made_by(), text)


BAD = listed("b").replace(b"b", b"\xff")
ROWS = st.lists(st.sampled_from((listed("a"), listed("b"), listed("c" * 200), BAD, b"\x7a\x01x")), max_size=8)


@given(st.lists(ROWS, max_size=5))
def test_entries_that_do_not_hold_are_left_out_of_any_row_of_lists(lists: List[List[bytes]]) -> None:
    said: List[str] = []
    quick = Incremental(ANSWER, Whole(), said.append)
    for entries in lists:
        del said[:]
        good = [entry if entry[:1] == b"\x7a" else Whole()(entry) for entry in entries if entry != BAD]
        for _ in range(2):
            assert quick(b"".join(entries)) == b"".join(good)
        count = len(entries) - len(good)
        assert len(said) == 2 * bool(count)
        assert all(text.endswith(f", and {count - 1} more") == (count > 1) for text in said)


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
    quick = made_by(change)
    quick(listed("a", "b", "c", "d"))
    del change.asked[:]
    assert quick(listed(*after.split())) == Whole()(listed(*after.split()))
    assert b"".join(change.asked) == listed(*new.split())


def test_a_field_that_nobody_knows_is_kept() -> None:
    unknown = b"\x7a\x03abc"  # field 15
    quick = made_by()
    for start, names, end in ((b"", "ab", unknown), (unknown, "a", b""), (b"", "ac", unknown), (b"", "c", b"")):
        assert quick(start + listed(*names) + end) == start + Whole()(listed(*names)) + end


def test_a_list_that_is_too_large_to_be_kept_is_changed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    set_constant(monkeypatch, incremental, "LARGEST_KEPT", 50)
    quick = made_by()
    for body in (listed("a"), listed("a", size=100), listed("b")):
        assert quick(body) == Whole()(body)


def test_the_answer_of_every_list_has_entries_and_nothing_else() -> None:
    for row in METHODS.values():
        if row.to is To.ALL:
            fields = load().messages[row.rpc.response]
            assert set(entries_of(row.rpc.response)) == {field.number for field in fields.values()}
            assert max(entries_of(row.rpc.response)) < 16  # the tag is one byte


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\x05a",
        b"\x0a\x80",
        b"\x0a" + b"\xff" * 100_000,
        b"\x08\x01",
        b"\x8a\x00\x00",
        b"\x7b\x7c",
        b"\xff",
    ],
)
def test_an_answer_that_does_not_consist_of_entries_is_no_list(body: bytes) -> None:
    for before in (b"", listed("a"), listed("a", "b")):
        quick = told([])
        quick(before)
        with pytest.raises(DecodeError, match="the answer is no ListContainersResponse"):
            quick(before + body)


def test_what_does_not_hold_is_named() -> None:
    said: List[str] = []
    body = listed("a", "b") + listed("x").replace(b"pod", b"p\xffd")
    assert told(said)(body + listed("c")) == listed("a", "b", "c")
    assert said == ['entry 2 ("x") is left out: containers.pod_sandbox_id is not UTF-8']


def test_an_entry_that_cannot_be_changed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    set_constant(monkeypatch, rewrite, "MOST_ELEMENTS", 3)
    change = renaming("ListImagesResponse", METHODS["ListImages"].response_fields, {FieldKind.IMAGE: bytes.upper})

    def images(*names: str) -> bytes:
        entries = [{"id": name, "repo_tags": [name] * len(name)} for name in names]
        return bytes(api()["ListImagesResponse"](images=entries).SerializeToString())

    said: List[str] = []
    quick = Incremental("ListImagesResponse", change, said.append)
    assert quick(images("a", "bbbb", "ccc")) == images("A", "CCC")
    assert said == ['entry 1 ("bbbb") is left out: repo_tags has more than 3 elements']


def test_two_lists_in_one_answer_are_both_verified() -> None:
    usage = api()["ImageFsInfoResponse"](image_filesystems=[{"timestamp": 1}], container_filesystems=[{"timestamp": 2}])
    good: bytes = usage.SerializeToString()
    bad = b"\x12\x02\x0a\x00"  # the timestamp of a container file system is a message
    said: List[str] = []
    assert told(said, "ImageFsInfoResponse")(bad + good) == good
    assert said == ["entry 0 is left out: container_filesystems.timestamp has wire type 2 instead of 0"]


class TestAListThatIsTooLong:
    def test_ends_after_so_many_entries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_constant(monkeypatch, incremental, "MOST_ENTRIES", 3)
        said: List[str] = []
        quick = told(said)
        for names in ("abc", "abcd", "abcd", "xabcd", "abc"):
            assert quick(listed(*names)) == listed(*names[:3])
        assert len(said) == 3
        assert said[0].startswith("all after entry 3 is left out: a list may have 3 entries")

    def test_ends_before_what_kubelet_does_not_take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        room = len(Whole()(listed("a", "b")))
        set_constant(monkeypatch, incremental, "LARGEST_MESSAGE", room)
        said: List[str] = []
        quick = Incremental(ANSWER, Whole(), said.append)
        for names in ("ab", "abc", "aab"):
            assert quick(listed(*names)) == Whole()(listed(*names[:2]))
        assert [text.partition(":")[0] for text in said] == ["all after entry 2 is left out"] * 2

    def test_is_not_looked_at_as_far_as_it_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_constant(monkeypatch, incremental, "LARGEST_MESSAGE", 10)
        change = Whole()
        assert made_by(change)(listed("a", size=20_000)) == b""
        assert change.asked == []

    def test_takes_steps_as_long_as_it_is_and_no_more(self) -> None:
        counts = [len(list(made_by().steps(b"\x0a\x00" * count))) for count in (50, 10_000, 100_000, 1_000_000)]
        assert counts[0] == 0
        assert counts[1] > 100
        assert counts[2] == counts[3] < 200
        large = [len(list(made_by().steps(listed(*"abc" * count, size=10_000)))) for count in (1, 10, 100)]
        assert large == [0, 7, 75]

    def test_may_be_one_of_several_that_are_under_way(self) -> None:
        quick = made_by()
        bodies = [listed(*"abc"), listed(*"abd"), listed(*"xabc")]
        under_way = {body: quick.steps(body) for body in bodies}
        made: Dict[bytes, bytes] = {}
        while under_way:
            for body, steps in list(under_way.items()):
                try:
                    next(steps)
                except StopIteration as end:
                    made[body] = end.value
                    del under_way[body]
        assert made == {body: Whole()(body) for body in bodies}


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
