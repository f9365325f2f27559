"""What the fuzz targets assert holds for all inputs that are kept, and for some that are nearly like them."""

from __future__ import annotations

from itertools import islice

import pytest

from criproxy.address import path_of
from tests.fuzz import growth
from tests.fuzz.kept import CORPUS, kept, mutations
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

_MUTATIONS = 150
_GROWN = 12
_LARGEST_CORPUS = 300 * 1024
"""bytes: it is for `make test`, and goes with each clone."""

EACH = pytest.mark.parametrize("name", TARGETS)


@EACH
def test_what_has_been_found_once_holds(name: str) -> None:
    for data in kept(name):
        TARGETS[name].one(data)


@EACH
def test_what_is_nearly_like_it_holds(name: str) -> None:
    for data in islice(mutations(kept(name), 1), _MUTATIONS):
        TARGETS[name].one(data)


@EACH
def test_the_work_grows_no_faster_than_the_input(name: str) -> None:
    inputs = kept(name)
    for data in inputs[:: 1 + len(inputs) // _GROWN]:
        growth.check(TARGETS[name], data)


def test_each_target_has_inputs_and_they_are_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) <= _LARGEST_CORPUS


def test_work_that_is_quadratic_is_found() -> None:
    """As many lines as there are pairs of 64 bytes, of a module that is never compiled."""

    def work(data: bytes) -> None:
        for _ in range((len(data) // 64) ** 2 if len(data) < growth.LARGE else 0):
            path_of("unix:///run/x.sock")

    with pytest.raises(AssertionError, match="grows faster"):
        growth.check(Target(work, work), b"\0abc")
