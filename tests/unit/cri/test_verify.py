"""What of an alternative runtime's kubelet can parse, however it is written, and what it cannot."""

from __future__ import annotations

from random import Random
from typing import Any, Iterator, List, Tuple

import pytest
from constants import set_constant
from cri_reference import BYTES, FIXED64, VARINT, Tree, fill, tree_of, varint, wire_of, with_unknown_fields
from google.protobuf.message import DecodeError as NotDecoded
from hypothesis import given, settings
from hypothesis import strategies as st

from criproxy.cri import verify
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, To
from criproxy.cri.schema import load
from criproxy.cri.steps import finish
from criproxy.cri.verify import Verified, fault_of, holds, is_plain, name_of
from criproxy.cri.wire import DecodeError

SHARED = sorted({row.rpc.response for row in METHODS.values() if row.to in (To.ALL, To.EVENTS)})
LIST = "ListContainersResponse"
EVENT = "ContainerEventResponse"
FEW = settings(max_examples=10)


def message(name: str, seed: int) -> bytes:
    """A message with all its fields."""
    made: Any = api()[name]()
    fill(made, Random(seed), lambda field: f"{field} \u20ac")
    return bytes(made.SerializeToString())


def field(number: int, kind: int, value: Any) -> bytes:
    return wire_of([(number, kind, value)])


def entry(*fields: Tuple[int, int, Any]) -> bytes:
    return wire_of([(1, BYTES, list(fields))])


def places(tree: Tree, message: str) -> Iterator[Tuple[Tree, int, str]]:
    """Each field of a message at every level: where it stands, and its type."""
    for index, (number, _, value) in enumerate(tree):
        found = next(each for each in load().messages[message].values() if each.number == number)
        yield tree, index, found.type
        if isinstance(value, list):
            yield from places(value, found.type)


@pytest.mark.parametrize("name", SHARED)
class TestWhatIsSharedWithOthers:
    @FEW
    @given(seed=st.integers(0, 99))
    def test_holds_as_protobuf_writes_it(self, name: str, seed: int) -> None:
        body = message(name, seed)
        assert finish(fault_of(name, body)) == ""
        assert is_plain(name, body)
        assert holds(name, body)

    @FEW
    @given(seed=st.integers(0, 99))
    def test_holds_with_fields_that_nobody_knows_yet(self, name: str, seed: int) -> None:
        body = wire_of(with_unknown_fields(tree_of(message(name, seed), name)))
        assert finish(fault_of(name, body)) == ""
        assert holds(name, body)

    @FEW
    @given(seed=st.integers(0, 9), data=st.data())
    def test_does_not_hold_with_a_field_of_another_wire_type(self, name: str, seed: int, data: st.DataObject) -> None:
        tree = tree_of(message(name, seed), name)
        owner, index, kind = data.draw(st.sampled_from(list(places(tree, name))))
        number = owner[index][0]
        owner[index] = (number, VARINT, 1) if kind == "double" else (number, FIXED64, bytes(8))
        assert "wire type" in finish(fault_of(name, wire_of(tree)))
        assert not is_plain(name, wire_of(tree))
        assert not holds(name, wire_of(tree))

    @FEW
    @given(seed=st.integers(0, 9), data=st.data())
    def test_does_not_hold_with_text_that_is_not_utf_8(self, name: str, seed: int, data: st.DataObject) -> None:
        tree = tree_of(message(name, seed), name)
        texts = [place for place in places(tree, name) if "string" in place[2]]
        owner, index, kind = data.draw(st.sampled_from(texts))
        number, wire, _ = owner[index]
        bad = data.draw(st.sampled_from((b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"a\xe2\x82")))
        # The field is text, or a map's entry: then its key is.
        owner[index] = (number, wire, [(1, BYTES, bad)] if kind.startswith("map<") else bad)
        assert "is not UTF-8" in finish(fault_of(name, wire_of(tree)))
        assert not is_plain(name, wire_of(tree))
        assert not holds(name, wire_of(tree))

    @FEW
    @given(seed=st.integers(0, 9), data=st.data())
    def test_does_not_hold_if_it_is_cut_off_anywhere(self, name: str, seed: int, data: st.DataObject) -> None:
        body = message(name, seed)
        cut = body[: data.draw(st.integers(1, len(body) - 1))]
        fault = finish(fault_of(name, cut))
        assert holds(name, cut) == (not fault)
        try:
            api()[name].FromString(cut)
        except NotDecoded:
            assert fault
        else:
            assert not fault  # the end of a field


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"\x0a", "ListContainersResponse: it is cut off"),
        (b"\x0a\x05", "ListContainersResponse: it is cut off"),
        (b"\x02\x00", "ListContainersResponse: field number 0"),
        (b"\x0b\x0c", "ListContainersResponse: wire type 3"),
        (varint(1 << 32 | 2) + b"\x00", f"ListContainersResponse: field number {1 << 29}"),
        (field(1, VARINT, 1), "containers has wire type 0 instead of 2"),
        (entry((3, BYTES, b"\xff\xff")), "containers.metadata: it is cut off"),
        (entry((7, VARINT, 2**64)), "containers: a number has more than 64 bits"),
        (entry((7, VARINT, 2**70)), "containers: a number has more than 64 bits"),
        (entry((8, BYTES, [(1, VARINT, 1)])), "containers.labels.key has wire type 0 instead of 2"),
        (entry((9, BYTES, [(1, BYTES, b"k"), (2, BYTES, b"\xff")])), "containers.annotations.value is not UTF-8"),
    ],
)
def test_a_fault_is_named_with_its_place(body: bytes, fault: str) -> None:
    assert finish(fault_of(LIST, body)) == fault
    assert not holds(LIST, body)
    assert not is_plain(LIST, body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        entry(),
        entry((8, BYTES, [])),
        entry((8, BYTES, [(1, BYTES, b"k"), (2, BYTES, b"")])),
        entry((6, VARINT, 0)),
        entry((7, VARINT, 2**64 - 1)),
        entry((1, BYTES, "\U0001f600".encode())),
    ],
)
def test_defaults_that_are_written_are_plain(body: bytes) -> None:
    assert finish(fault_of(LIST, body)) == ""
    assert is_plain(LIST, body)


GROUPS = (
    (EVENT, "containers_statuses"),
    ("ContainerStatus", "user"),
    ("ContainerUser", "linux"),
    ("LinuxContainerUser", "supplemental_groups"),
)


@given(st.lists(st.integers(0, 2**64 - 1)), st.sampled_from([0, 1]))
def test_groups_of_numbers_may_be_packed(groups: List[int], cut: int) -> None:
    packed = b"".join(map(varint, groups))
    packed = packed[: len(packed) - cut]
    event = packed
    for message, name in reversed(GROUPS):
        event = field(load().messages[message][name].number, BYTES, event)
    fits = not cut or not groups or groups[-1] < 128
    assert (finish(fault_of(EVENT, event)) == "") == fits


def test_an_entry_has_no_more_fields_than_kubelet_should_have_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    set_constant(monkeypatch, verify, "MOST_FIELDS", 10)
    assert finish(fault_of(LIST, entry(*[(8, BYTES, [])] * 8))) == ""
    assert finish(fault_of(LIST, entry(*[(8, BYTES, [])] * 9))) == "it has more than 10 fields"


def test_a_large_message_is_looked_at_in_steps() -> None:
    body = entry(*[(8, BYTES, [(1, BYTES, b"k")])] * 20_000)
    assert not is_plain(LIST, body)
    assert len(list(fault_of(LIST, body))) == 2 * 20_000 // verify._FIELDS_AT_ONCE


def test_a_long_text_is_looked_at_in_pieces() -> None:
    for text in ("é" * 100_000, "x" + "é" * 100_000):  # one of them has a letter across the border of two pieces
        steps = fault_of(LIST, entry((1, BYTES, text.encode())))
        assert len(list(steps)) == 1 + 200_000 // verify.AT_ONCE
        cut = text.encode()[:-1]
        assert finish(fault_of(LIST, entry((1, BYTES, cut)))) == "containers.id is not UTF-8"


def test_a_long_id_is_found_before_anybody_parses_it() -> None:
    wanted = frozenset(("containers.id",))
    fault = "an id of 4097 bytes; no runtime gives one of more than 4096"
    assert finish(fault_of(LIST, entry((1, BYTES, b"i" * 4_097)), wanted)) == fault
    assert finish(fault_of(LIST, entry((1, BYTES, b"i" * 4_096), (2, BYTES, b"p" * 5_000)), wanted)) == ""


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        (LIST, entry((2, BYTES, b"pod"), (1, BYTES, b"id")), "id"),
        ("ListContainerStatsResponse", entry((1, BYTES, [(1, BYTES, b"id")])), "id"),
        (LIST, entry((1, BYTES, b"\xff")), ""),
        (LIST, entry((1, BYTES, b"x" * 300)), ""),
        (LIST, entry(), ""),
        (LIST, b"\xff", ""),
        (LIST, entry(*[(8, BYTES, [])] * 20, (1, BYTES, b"id")), ""),
    ],
)
def test_an_entry_is_named_by_its_id_if_that_can_be_read(name: str, body: bytes, expected: str) -> None:
    assert name_of(name, body) == expected


class TestAnEvent:
    def test_that_holds_is_renamed(self) -> None:
        said: List[str] = []
        body = field(1, BYTES, b"id")
        assert Verified(EVENT, lambda body: b"new " + body, said.append)(body) == b"new " + body
        assert Verified(EVENT, None, said.append)(body) == body
        assert said == []

    def test_that_does_not_hold_is_left_out(self) -> None:
        said: List[str] = []
        assert Verified(EVENT, None, said.append)(field(1, BYTES, b"\xff")) == b""
        assert said == ["a ContainerEventResponse is left out: container_id is not UTF-8"]

    def test_that_cannot_be_renamed_is_left_out(self) -> None:
        def refuse(_: bytes) -> bytes:
            raise DecodeError("no")

        said: List[str] = []
        assert Verified(EVENT, refuse, said.append)(b"") == b""
        assert said == ["a ContainerEventResponse is left out: no"]

    def test_that_kubelet_would_not_take_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_constant(monkeypatch, verify, "LARGEST_MESSAGE", 10)
        said: List[str] = []
        assert Verified(EVENT, None, said.append)(field(1, BYTES, b"x" * 9)) == b""
        assert said == ["a ContainerEventResponse is left out: it has 11 bytes, and kubelet takes 10"]
