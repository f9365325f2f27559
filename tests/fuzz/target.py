"""What a fuzz target is made of."""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Tuple


class Target(NamedTuple):
    """One target. The first byte of an input has its options, the rest is what the code under test gets."""

    one: Callable[[bytes], None]
    """Raises AssertionError, or whatever is not to be raised, for an input that shows a fault."""
    work: Callable[[bytes], None]
    """Does to the input what criproxy would, once, and checks nothing: for `growth`."""


def options_of(data: bytes) -> Tuple[int, bytes]:
    """The options in an input, and the rest."""
    return (data[0] if data else 0), data[1:]


def cut(data: bytes, size: int) -> List[bytes]:
    """The data in pieces of so many bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]
