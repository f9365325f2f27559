"""Long work that is done in steps of a millisecond or less, so that others have their turns between two of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Callable, ClassVar, Generator, TypeVar

Transform = Callable[[bytes], bytes]
"""Makes one message of another, both serialized. Raises `criproxy.cri.wire.DecodeError` for what is no message."""
Made = TypeVar("Made")
Work = Generator[None, None, Made]
"""Pauses are the places where somebody else may be let in; what it returns is the result."""
Steps = Work[bytes]
"""Does in steps what a `Transform` does in one go."""


class InSteps(ABC):
    """A `Transform` that can be done in steps."""

    __slots__ = ()
    long: ClassVar[int]
    """A message of so many bytes takes less than one: the entries of a list may have two bytes each."""

    @abstractmethod
    def __call__(self, body: bytes) -> bytes:
        """All at once."""

    @abstractmethod
    def steps(self, body: bytes) -> Steps:
        """The same in steps."""


def finish(work: Work[Made]) -> Made:
    """Does all of a work at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            made: Made = end.value
            return made


def then(work: Work[Made], use: Callable[[Made], None]) -> Work[None]:
    """The work, and behind it what is done with its result."""
    use((yield from work))
