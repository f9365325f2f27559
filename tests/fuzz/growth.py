"""How the work for an input grows with its size: counted in lines of Python run, so that it is the same each time.

What runs in C (a regular expression, a copy, a compiled module) has no lines. So each input is grown to `LARGE` bytes,
too, and must simply come to an end there: what is quadratic takes minutes, and the caller's limit of time ends it.
"""

from __future__ import annotations

import os
import sys
from random import Random
from types import FrameType
from typing import Any, Callable, Iterator, Optional, Sequence
from zlib import crc32

import criproxy
from tests.fuzz.target import Target

SMALL = 1_024
"""The size from which growth is measured, bytes."""
LARGE = 128 * 1024
"""The size at which the work must still come to an end, bytes."""
_STEEPEST = 3.0
"""How much more the second doubling of the size may cost than the first: 2 is linear, 4 is quadratic."""
_NOISE = 1_000
"""Lines that a doubling may cost whatever the first one did: caches that are filled, and steps of a table."""
_OURS = os.path.dirname(criproxy.__file__)


def lines_of(work: Callable[[bytes], None], data: bytes) -> int:
    """How many lines of criproxy's are run for an input."""
    count = 0

    def in_ours(frame: FrameType, event: str, argument: Any) -> Optional[Callable[..., Any]]:
        nonlocal count
        count += event == "line"
        return in_ours

    def on_call(frame: FrameType, event: str, argument: Any) -> Optional[Callable[..., Any]]:
        return in_ours if frame.f_code.co_filename.startswith(_OURS) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        work(data)
    finally:
        sys.settrace(before)
    return count


def grown(data: bytes) -> Iterator[Callable[[int], bytes]]:
    """Ways in which an input grows: all of it again and again, or a part of it in its place."""
    if len(data) < 2:
        return
    rng = Random(crc32(data))
    begin = rng.randrange(1, len(data))
    end = min(len(data), begin + rng.choice((1, 1, 2, 9, 40)))
    for first, last in ((1, len(data)), (begin, end)):
        before, part, after = data[:first], data[first:last], data[last:]

        def to(size: int, before: bytes = before, part: bytes = part, after: bytes = after) -> bytes:
            return before + part * max(1, size // len(part)) + after

        yield to


def check(target: Target, data: bytes) -> None:
    """Raises AssertionError if the work for an input grows faster than its size."""
    for to in grown(data):
        lines = [lines_of(target.work, to(SMALL * factor)) for factor in (1, 2, 4)]
        if _is_steep(lines):
            # Or what has been skipped is read from some size on: that is a step, and does not go on.
            lines += [lines_of(target.work, to(SMALL * factor)) for factor in (8, 16)]
            assert not (_is_steep(lines[1:4]) and _is_steep(lines[2:])), (
                f"the work grows faster than the input: {lines} lines for {SMALL} bytes and twice, 4, 8 and 16 times as"
                f" many, such as {to(40)!r}"
            )
        target.work(to(LARGE))


def _is_steep(lines: Sequence[int]) -> bool:
    """Whether the second doubling of the size costs much more than the first."""
    once, twice, four_times = lines
    return four_times - twice > _STEEPEST * max(0, twice - once) + _NOISE
