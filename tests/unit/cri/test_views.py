"""What is read of a message, and what is written anew. That the values are protobuf's: test_agrees_with_protobuf.py."""

from __future__ import annotations

from typing import Any, List, Tuple

import pytest
from cri_reference import BYTES, FIXED32, VARINT, varint, wire_of

from criproxy.cri.messages import api
from criproxy.cri.views import Views, encode
from criproxy.cri.wire import DecodeError, elements, field_at, text_in, varint_field

LIST = Views({"ListContainersResponse": ["containers.id", "containers.image.image", "containers.labels"]})


def test_a_view_reads_the_fields_that_were_named_and_no_others() -> None:
    assert sorted(LIST["Container"].fields) == ["id", "image", "labels"]
    assert not hasattr(LIST["Container"].unset, "image_ref")


def test_a_path_that_is_not_in_the_schema_is_refused() -> None:
    with pytest.raises(KeyError):
        Views({"Container": ["image.nonsense"]})


def test_what_is_not_there_has_defaults_all_the_way() -> None:
    container: Any = LIST["Container"].read(b"")
    assert (container.id, container.image.image, container.labels) == (b"", b"", {})
    assert container.is_set
    assert not container.image.is_set
    assert list(LIST["ListContainersResponse"].unset.containers) == []


def test_what_is_read_of_one_message_is_not_in_the_next() -> None:
    first = wire_of([(1, BYTES, [(8, BYTES, [(1, BYTES, b"k"), (2, BYTES, b"v")])])])
    assert LIST["ListContainersResponse"].read(first).containers[0].labels == {b"k": b"v"}
    assert list(LIST["ListContainersResponse"].read(b"").containers) == []
    assert LIST["Container"].read(b"").labels == {}


def test_strings_are_as_they_are_on_the_wire() -> None:
    wire = wire_of([(1, BYTES, [(1, BYTES, b"no \xff UTF-8"), (4, BYTES, [(1, BYTES, b"\xc3")])])])
    (container,) = LIST["ListContainersResponse"].read(wire).containers
    assert (container.id, container.image.image) == (b"no \xff UTF-8", b"\xc3")
    assert b"\x0a" + varint(len(container.raw)) + container.raw == wire


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x02a", b"\x00", b"\x0f", b"\x0b\x0c"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        LIST["Container"].read(body)
    with pytest.raises(DecodeError):
        elements(body)
    with pytest.raises(DecodeError):
        text_in(body, 1)


@pytest.mark.parametrize("size", [1, 64, 127, 128, 300])
@pytest.mark.parametrize("more", [[], [(2, VARINT, 5)], [(2, BYTES, b"b")], [(1, VARINT, 5)]])
def test_a_text_is_found_alone_and_beside_others(size: int, more: List[Tuple[int, int, Any]]) -> None:
    text = b"a" * size
    assert text_in(wire_of([(1, BYTES, text), *more]), 1) == text
    assert text_in(wire_of([(2, BYTES, text), *more]), 1) == b""


def test_what_is_written_is_what_protobuf_reads() -> None:
    labels = [wire_of([(1, BYTES, b"k"), (2, BYTES, b"v")]), wire_of([(1, BYTES, b"l"), (2, BYTES, b"w")])]
    fields = {"id": b"a", "metadata": {"name": b"n", "attempt": 300}, "created_at": -1, "labels": labels}
    written = encode("ListContainersResponse", {"containers": [fields, {"state": 1}]})
    assert api()["ListContainersResponse"].FromString(written) == api()["ListContainersResponse"](
        containers=[
            {"id": "a", "metadata": {"name": "n", "attempt": 300}, "created_at": -1, "labels": {"k": "v", "l": "w"}},
            {"state": 1},
        ]
    )
    with pytest.raises(KeyError):
        encode("Container", {"nonsense": b""})


def test_a_number_ends_where_it_ends() -> None:
    for number in (0, 1, 127, 128, 2**63, 2**64 - 1):
        field = varint_field(3, number)
        assert field_at(field + b"\x01", 0, len(field)) == (3, 0, 1, len(field))
    assert field_at(wire_of([(9, FIXED32, b"abcd")]), 0, 5) == (9, FIXED32, 1, 5)
