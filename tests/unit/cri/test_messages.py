"""The classes made of api.proto, against somebody else's."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cri_reference import fill, their_class

from criproxy.cri.messages import api, message_class
from criproxy.cri.schema import load


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


def test_a_class_is_made_of_any_descriptor() -> None:
    descriptor = api()["VersionRequest"].DESCRIPTOR
    assert message_class(descriptor).DESCRIPTOR is descriptor
