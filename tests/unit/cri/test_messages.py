"""The classes made of api.proto: whole ones against somebody else's, and cut ones that must lose nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cri_reference import BYTES, VARINT, fill, sorted_tree, their_class, tree_of, wire_of, with_unknown_fields

from criproxy.cri.messages import api, cut, message_class
from criproxy.cri.schema import load

CONTAINER_LIST = cut("test.containers", {"ListContainersResponse": ["containers.id", "containers.image.image"]})


def filled(message: str, seed: int = 0, chance: float = 1.0) -> Any:
    """A message of theirs with everything in it."""
    rng = random.Random(seed)
    built = their_class(message)()
    fill(built, rng, lambda name: f"{name} ä {rng.randrange(100)}", chance)
    return built


@pytest.mark.parametrize("message", sorted(load().messages))
def test_a_whole_message_reads_and_writes_what_theirs_does(message: str) -> None:
    theirs = filled(message)
    ours = api()[message].FromString(theirs.SerializeToString())
    assert type(theirs).FromString(ours.SerializeToString()) == theirs
    # Nothing of it is unknown to ours.
    ours.DiscardUnknownFields()
    assert type(theirs).FromString(ours.SerializeToString()) == theirs


def test_the_versions_have_classes_of_their_own() -> None:
    for package in ("runtime.v1", "runtime.v1alpha2"):
        assert api(package)["Container"].DESCRIPTOR.full_name == f"{package}.Container"


def test_a_version_has_one_set_of_classes_however_it_is_asked_for() -> None:
    """Messages of two sets cannot be copied into each other."""
    assert api("runtime.v1") is api(package="runtime.v1") is api()


def test_a_cut_message_has_the_fields_that_were_named_and_no_others() -> None:
    container = CONTAINER_LIST["Container"].DESCRIPTOR
    assert sorted(container.fields_by_name) == ["id", "image"]
    assert sorted(CONTAINER_LIST["ImageSpec"].DESCRIPTOR.fields_by_name) == ["image"]


def test_a_path_that_is_not_in_the_schema_is_refused() -> None:
    with pytest.raises(KeyError):
        cut("test.wrong", {"Container": ["image.nonsense"]})


def test_a_cut_message_keeps_all_that_it_does_not_know() -> None:
    tree = with_unknown_fields(tree_of(filled("ListContainersResponse").SerializeToString(), "ListContainersResponse"))
    parsed = CONTAINER_LIST["ListContainersResponse"].FromString(wire_of(tree))
    written = tree_of(parsed.SerializeToString(), "ListContainersResponse")
    assert sorted_tree(written) == sorted_tree(tree)


def test_a_cut_message_gives_strings_as_they_are_on_the_wire() -> None:
    wire = wire_of([(1, BYTES, [(1, BYTES, b"no \xff UTF-8"), (4, BYTES, [(1, BYTES, b"\xc3")])])])
    parsed: Any = CONTAINER_LIST["ListContainersResponse"].FromString(wire)
    assert parsed.containers[0].id == b"no \xff UTF-8"
    assert parsed.containers[0].image.image == b"\xc3"
    assert parsed.SerializeToString() == wire


def test_a_cut_map_is_a_list_of_entries_in_their_order() -> None:
    view = cut("test.annotations", {"PodSandboxConfig": ["annotations"]})["PodSandboxConfig"]
    entries = [(b"z", b"1"), (b"a", b"2"), (b"z", b"\xff")]
    wire = wire_of([(7, BYTES, [(1, BYTES, key), (2, BYTES, value)]) for key, value in entries])
    parsed: Any = view.FromString(wire)
    assert [(entry.key, entry.value) for entry in parsed.annotations] == entries
    assert parsed.SerializeToString() == wire


def test_a_cut_enumeration_is_any_number() -> None:
    view = cut("test.mode", {"NamespaceOption": ["network"]})["NamespaceOption"]
    for number in (0x7FFFFFFF, 2**64 - 1):  # a value from the future, and -1
        parsed: Any = view.FromString(wire_of([(1, VARINT, number)]))
        assert parsed.network == number
        assert tree_of(parsed.SerializeToString(), "NamespaceOption") == [(1, VARINT, number)]


def test_a_message_that_is_there_in_pieces_is_one() -> None:
    """Serialized messages in a row are their merge, embedded ones included."""
    view = cut("test.status", {"ContainerStatusResponse": ["status.id"]})["ContainerStatusResponse"]
    wire = wire_of([(1, BYTES, [(1, BYTES, b"id"), (10, BYTES, b"why")]), (1, BYTES, [(11, BYTES, b"what")])])
    theirs = their_class("ContainerStatusResponse").FromString(view.FromString(wire).SerializeToString())
    assert (theirs.status.id, theirs.status.reason, theirs.status.message) == ("id", "why", "what")


def test_a_class_is_made_of_any_descriptor() -> None:
    descriptor = api()["VersionRequest"].DESCRIPTOR
    assert message_class(descriptor).DESCRIPTOR is descriptor
