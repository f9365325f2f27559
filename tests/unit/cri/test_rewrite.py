"""What stands around the fields that change, and what cannot be changed."""

from __future__ import annotations

from typing import Any

import pytest
from cri_reference import BYTES, VARINT, wire_of

from criproxy.cri.messages import api
from criproxy.cri.rewrite import Drop, Number, Rewriter, Text
from criproxy.cri.wire import DecodeError

UPPER = Text(bytes.upper)


def test_a_message_of_which_nothing_changes_is_the_same_object() -> None:
    body = bytes(api()["StopContainerRequest"](container_id="a", timeout=7).SerializeToString())
    assert Rewriter("StopContainerRequest", {"container_id": Text(lambda value: value)})(body) is body
    assert Rewriter("StopContainerRequest", {})(body) is body


def test_what_does_not_change_keeps_its_bytes_and_its_order() -> None:
    long = b"\x92\x03\x83\x00abc"  # field 50, whose length has a byte too many
    body = long + wire_of([(2, VARINT, 7), (1, BYTES, b"a"), (60, BYTES, b"b")])
    changed = long + wire_of([(2, VARINT, 7), (1, BYTES, b"A"), (60, BYTES, b"b")])
    assert Rewriter("StopContainerRequest", {"container_id": UPPER})(body) == changed


@pytest.mark.parametrize("size", [127, 128, 16_383, 16_384])
def test_a_message_that_grows_has_the_length_that_it_then_has(size: int) -> None:
    longer = Text(lambda value: value + b"x")
    path = {"linux": {"security_context": {"namespace_options": {"target_id": longer}}}}
    kind: Any = api()["PodSandboxConfig"]

    def config(length: int) -> Any:
        options = {"target_id": "x" * length}
        return kind(hostname="h", linux={"security_context": {"namespace_options": options}})

    changed = Rewriter("PodSandboxConfig", path)(config(size - 1).SerializeToString())
    assert kind.FromString(changed) == config(size)


def test_a_field_that_goes_leaves_nothing_and_a_number_is_another() -> None:
    body = wire_of([(1, BYTES, b"a"), (2, VARINT, 7), (1, BYTES, b"b")])
    rewriter = Rewriter(
        "StopContainerRequest", {"container_id": Drop(), "timeout": Number(lambda number: number * 100)}
    )
    assert rewriter(body) == wire_of([(2, VARINT, 700)])


def test_a_field_that_is_not_set_is_set_once_though_its_message_is_in_pieces() -> None:
    named = Text(lambda value: value or b"default", even_unset=True)
    rewriter = Rewriter("PodSandboxStatusResponse", {"status": {"runtime_handler": named}})
    kind: Any = api()["PodSandboxStatusResponse"]
    for pieces, wanted in (
        ([{"id": "a"}, {"id": "b"}], "default"),
        ([{"runtime_handler": "vm"}, {"id": "b"}], "vm"),
        ([{"id": "a"}, {"runtime_handler": "vm"}], "vm"),
    ):
        body = b"".join(kind(status=piece).SerializeToString() for piece in pieces)
        assert kind.FromString(rewriter(body)).status.runtime_handler == wanted


@pytest.mark.parametrize(
    "body",
    [b"\x0a", b"\x0a\x05a", b"\x02\x00", b"\x0b\x0c", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", b"\x10\xff"],
    ids=["no length", "cut off", "field 0", "a group", "a length of 65 bits", "a number without an end"],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        Rewriter("StopContainerRequest", {"container_id": UPPER})(body)


def test_more_elements_than_are_allowed_are_refused_by_name() -> None:
    rewriter = Rewriter("Image", {"repo_tags": UPPER}, 2)
    image: Any = api()["Image"]
    assert rewriter(image(repo_tags=["a", "b"]).SerializeToString()) == image(repo_tags=["A", "B"]).SerializeToString()
    with pytest.raises(DecodeError, match="repo_tags has more than 2 elements"):
        rewriter(image(repo_tags=["a", "b", "c"]).SerializeToString())
