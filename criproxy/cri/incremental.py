"""Changes a list that is nearly the one before: only the entries that are new to it.

Kubelet asks for the same lists every second, and hardly ever is much new in them. To parse a thousand containers and
write them again costs fifty times what it costs to see that their bytes are those of the last time. So the last list
is kept with the places where its entries end, and with its changed form and the same places in that. Of the next list
the entries that begin it alike and end it alike are taken from there; what is between is changed anew.

Why that is right: an entry is a field of the message, and to concatenate messages is to merge them, so the parts of a
list can be changed apart. The beginning that two lists share is divided into fields alike, up to the last whole one.
What is between is taken only if it is a row of whole fields itself; then the shared end begins where a field does.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Callable, List, Optional

Change = Callable[[bytes], bytes]
_ENTRY = 0x0A
"""The tag of an entry: field 1, with a length. Every list of the CRI has its entries there, and nothing else."""
_CHUNK = 32 * 1024
"""How much is compared at once, bytes."""
_LARGEST = 4 * 2**20
"""Of a list that is kept, bytes."""


class Incremental:
    """``change`` for one list after the other; gives the same message as ``change`` itself."""

    __slots__ = ("_after", "_after_ends", "_before", "_before_ends", "_change")

    def __init__(self, change: Change) -> None:
        self._change = change
        self._before = self._after = b""
        self._before_ends: Optional[List[int]] = []
        self._after_ends: Optional[List[int]] = []

    def __call__(self, body: bytes) -> bytes:
        """The changed list. Raises what ``change`` raises."""
        if body == self._before:
            return self._after
        if len(body) > _LARGEST:
            return self._change(body)
        if not self._patch(body):
            self._after = self._change(body)
            self._before = body
            self._before_ends, self._after_ends = ends(body), ends(self._after)
        return self._after

    def _patch(self, body: bytes) -> bool:
        """Makes the changed list of the last one; says whether that could be done."""
        old, old_ends, made, made_ends = self._before, self._before_ends, self._after, self._after_ends
        # Fields that are no entries come out in another order: there is no telling which is which then.
        if not old_ends or not made_ends or len(old_ends) != len(made_ends):
            return False
        first = bisect_right(old_ends, common_start(old, body))
        begin, made_begin = (old_ends[first - 1], made_ends[first - 1]) if first else (0, 0)
        alike = len(old) - common_end(old, body, min(len(old), len(body)) - begin)
        rest = first if alike == begin else bisect_left(old_ends, alike) + 1
        stop, made_stop = (old_ends[rest - 1], made_ends[rest - 1]) if rest > first else (begin, made_begin)
        new_stop = len(body) - (len(old) - stop)
        between = body[begin:new_stop]
        between_ends = ends(between)
        if between_ends is None:
            return False
        fresh = self._change(between) if between else b""
        fresh_ends = ends(fresh)
        if fresh_ends is None or len(fresh_ends) != len(between_ends):
            return False
        self._before_ends = _spliced(old_ends, first, rest, between_ends, begin, new_stop - stop)
        self._after = b"".join((made[:made_begin], fresh, made[made_stop:]))
        made_shift = len(fresh) - (made_stop - made_begin)
        self._after_ends = _spliced(made_ends, first, rest, fresh_ends, made_begin, made_shift)
        self._before = body
        return True


def ends(body: bytes) -> Optional[List[int]]:
    """Where each entry of a list ends; None if it has anything but whole entries."""
    found: List[int] = []
    at, end = 0, len(body)
    try:
        while at < end:
            if body[at] != _ENTRY:
                return None
            size = body[at + 1]
            at += 2
            if size > 0x7F:
                size &= 0x7F
                shift = 7
                while True:
                    byte = body[at]
                    at += 1
                    size |= (byte & 0x7F) << shift
                    if byte < 0x80:
                        break
                    shift += 7
            at += size
            found.append(at)
    except IndexError:
        return None
    return found if at == end else None


def _spliced(known: List[int], first: int, rest: int, between: List[int], begin: int, shift: int) -> List[int]:
    """The ends of a list of which those from ``first`` to ``rest`` are replaced, and those behind moved."""
    behind = known[rest:]
    return [*known[:first], *(begin + end for end in between), *([end + shift for end in behind] if shift else behind)]


def common_start(one: bytes, other: bytes) -> int:
    """How many bytes two texts begin with alike."""
    size = min(len(one), len(other))
    at = 0
    while at < size and one[at : at + _CHUNK] == other[at : at + _CHUNK]:
        at += _CHUNK
    step = _CHUNK // 2
    while step and at < size:
        if one[at : at + step] == other[at : at + step]:
            at += step
        step //= 2
    return min(at, size)


def common_end(one: bytes, other: bytes, most: int) -> int:
    """How many bytes two texts end with alike, at most ``most``."""
    at, step = 0, _CHUNK
    size, other_size = len(one), len(other)
    while step and at < most:
        if step > most - at:
            step //= 2
        elif one[size - at - step : size - at] == other[other_size - at - step : other_size - at]:
            at += step
        else:
            step //= 2
    return at
