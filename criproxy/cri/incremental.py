"""An alternative runtime's lists, as kubelet may see them: verified, renamed, and only what is new in them.

What holds (verify.py) is renamed, entry by entry where it has to be; what does not hold, and what is more than a list
may be, is left out and said.

Kubelet asks for the same lists every second, and they seldom change much. To look at a thousand containers costs
seventy times as much as to compare their bytes with those of the last list. So the last list is kept, with the offsets
at which its entries end, and so is its changed form. The next list may begin and end with the same entries: their
changed form is reused, and only what is between them is looked at. (Not so containerd's: Go gives the entries of its
maps, of containers as of labels, in another order each time, and seven of eight are other bytes than before. Lists of
images, and of runtimes that write theirs alike, recur.)

This is correct because an entry is a field of the message, and concatenated messages are their merge (protobuf's
encoding guide, "Last One Wins"): parts of a list can be changed one by one. The common beginning of two lists has the
same fields up to the last whole one. What is between is used only if it consists of whole fields; so the common end
begins at a field, too.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import ClassVar, Final, List, NamedTuple, Optional, Sequence, Tuple

from criproxy.cri.steps import InSteps, Steps, Transform, Work, finish
from criproxy.cri.verify import (
    LARGEST_MESSAGE,
    Complain,
    entries_of,
    fault_of,
    is_plain,
    name_of,
)
from criproxy.cri.wire import ENTRY, LENGTH, DecodeError, end_of_entry, field_at

MOST_ENTRIES: Final = 16_384
"""The most entries of an alternative runtime's list. A node with a thousand pods has some thousand containers."""
_CHUNK: Final = 32 * 1024
"""The bytes that are compared at once."""
LARGEST_KEPT: Final = 8 * 2**20
"""The largest list that is kept, bytes: some 9,000 containers. It is kept twice, for each method and each runtime, as
long as there is memory for it (relay/account.py)."""
_OFFSET: Final = 4
"""What an offset takes, bytes. (In a list it would be 40.)"""
_FIELDS_AT_ONCE: Final = 2048
"""So many fields are looked for between two steps: half a millisecond."""
_PIECE: Final = 16 * 1024
"""What is read at once, bytes: of two-byte fields that takes a few milliseconds."""
ENTRIES_AT_ONCE: Final = 96
_BYTES_AT_ONCE: Final = 2 * _PIECE
"""So much is verified and renamed, in about half a millisecond, between two steps."""


class _Made(NamedTuple):
    """A list, and what has been made of it."""

    body: bytes = b""
    ends: Sequence[int] = ()
    """The offsets at which its fields end."""
    made: bytes = b""
    made_ends: Sequence[int] = ()
    """The offsets at which what was made of each field ends: the one before if it is left out."""
    left_out: int = 0
    """How many entries are left out."""
    fault: str = ""
    """Why one of them is."""

    @property
    def is_whole(self) -> bool:
        """Whether all of the list has been looked at."""
        return (self.ends[-1] if self.ends else 0) == len(self.body)


_NOTHING: Final = _Made()


class Incremental(InSteps):
    """Makes one list after another what kubelet may see of them.

    ``message`` is the response's; ``change`` renames what holds, one part of a list at a time (None: nothing has to be
    renamed); ``complain`` is told of each list of which something is left out.
    """

    __slots__ = ("_change", "_complain", "_last", "_lists", "_message", "_tags")
    long: ClassVar[int] = 1024

    def __init__(self, message: str, change: Optional[Transform], complain: Complain) -> None:
        self._message = message
        self._change = change
        self._complain = complain
        self._last = _NOTHING
        self._lists = entries_of(message)
        self._tags = {number << 3 | LENGTH for number in self._lists}

    def __call__(self, body: bytes) -> bytes:
        """The changed list, at once. Raises DecodeError if it does not consist of whole fields."""
        last = self._last
        if body == last.body and not last.fault:
            return last.made
        return finish(self.steps(body))

    @property
    def held(self) -> int:
        """The memory that the last list takes, bytes: its own, what was made of it, and the offsets of the entries."""
        last = self._last
        return len(last.body) + len(last.made) + (len(last.ends) + len(last.made_ends)) * _OFFSET

    def forget(self) -> None:
        """Keeps no list: the next one is changed as a whole."""
        self._last = _NOTHING

    def steps(self, body: bytes) -> Steps:
        """The changed list, in steps. Several lists may be under way."""
        last = self._last
        if body != last.body:
            made = yield from self._renew(last, body)
            if made is None:
                made = yield from self._renew(_NOTHING, body)
            if made is None:
                raise DecodeError(f"the answer is no {self._message}: it does not consist of whole entries")
            last = made
            if max(len(body), len(made.made)) <= LARGEST_KEPT and made.is_whole:
                self._last = made
        if last.fault:
            more = f", and {last.left_out - 1} more" if last.left_out > 1 else ""
            self._complain(f"{last.fault}{more}")
        return last.made

    def _renew(self, old: _Made, body: bytes) -> Work[Optional[_Made]]:
        """Makes the changed list by reusing what was made of an old one; None if that is not possible."""
        first = bisect_right(old.ends, common_start(old.body, body))
        begin, made_begin = (old.ends[first - 1], old.made_ends[first - 1]) if first else (0, 0)
        alike = len(old.body) - common_end(old.body, body, min(len(old.body), len(body)) - begin)
        rest = first if alike == begin else bisect_left(old.ends, alike) + 1
        stop, made_stop = (old.ends[rest - 1], old.made_ends[rest - 1]) if rest > first else (begin, made_begin)
        new_stop = len(body) - (len(old.body) - stop)
        # Compiled, a slice of all is a copy, too.
        between = body[begin:new_stop] if begin or new_stop < len(body) else body
        ends = yield from self._ends(between)
        if ends is None:
            return None
        if old.ends and len(old.ends) - (rest - first) + len(ends) > MOST_ENTRIES:
            return None
        behind = old.made[made_stop:]
        fresh = _Fresh(first, LARGEST_MESSAGE - made_begin - len(behind))
        yield from self._make(between, ends, fresh)
        if old.ends and fresh.is_cut:
            return None
        left_out = old.left_out and old.left_out - _empty(old.made_ends, first, rest)
        made = b"".join((old.made[:made_begin], *fresh.parts, behind))
        shift, made_shift = new_stop - stop, fresh.size - (made_stop - made_begin)
        return _Made(
            body,
            array("I", _spliced(old.ends, first, rest, ends[: len(fresh.ends)], begin, shift)),
            made,
            array("I", _spliced(old.made_ends, first, rest, fresh.ends, made_begin, made_shift)),
            left_out + fresh.left_out,
            fresh.fault or (old.fault if left_out else ""),
        )

    def _ends(self, body: bytes) -> Work[Optional[List[int]]]:
        """The offset at which each field of a list ends; None if it has anything but whole fields.

        What is more than a list may be is not looked at.
        """
        found: List[int] = []
        at, end = 0, len(body)
        try:
            while at < end and len(found) <= MOST_ENTRIES:
                if found:
                    yield
                for _ in range(_FIELDS_AT_ONCE):
                    if at >= end:
                        break
                    at = self._end_of_field(body, at, end) if body[at] != ENTRY else end_of_entry(body, at, end)
                    found.append(at)
        except (IndexError, DecodeError):
            return None
        return found if at == end or len(found) > MOST_ENTRIES else None

    def _end_of_field(self, body: bytes, at: int, end: int) -> int:
        """Where a field ends that is no entry of the first list. Raises DecodeError for another wire type."""
        number, wire, _, stop = field_at(body, at, end)
        if number in self._lists and body[at] not in self._tags:
            raise DecodeError(f"wire type {wire}")
        return stop

    def _make(self, body: bytes, ends: List[int], fresh: _Fresh) -> Work[None]:
        """Makes of a list's new fields what kubelet may see."""
        index = begin = 0
        paused = paused_at = 0
        most = min(len(ends), MOST_ENTRIES)
        while index < most and not fresh.is_cut:
            stop = self._end_of_piece(body, ends, index, begin, most)
            end = ends[stop - 1]
            if end - begin > max(fresh.room, _PIECE):
                fresh.cut()
            elif body[begin] in self._tags:
                yield from self._make_piece(body[begin:end], [each - begin for each in ends[index:stop]], fresh)
            else:
                fresh.add(body[begin:end], (end - begin,))
            index, begin = stop, end
            if index - paused >= ENTRIES_AT_ONCE or begin - paused_at >= _BYTES_AT_ONCE:
                paused, paused_at = index, begin
                yield
        if len(ends) > most:
            fresh.cut()

    def _end_of_piece(self, body: bytes, ends: List[int], index: int, begin: int, most: int) -> int:
        """The index of the field behind the next piece: some entries of one list, or a field that nobody knows."""
        tag = body[begin]
        if tag not in self._tags:
            return index + 1
        stop = bisect_right(ends, begin + _PIECE, index + 1, min(most, index + ENTRIES_AT_ONCE))
        return next((at + 1 for at in range(index, stop - 1) if body[ends[at]] != tag), stop)

    def _make_piece(self, piece: bytes, ends: List[int], fresh: _Fresh) -> Work[None]:
        """All at once if all of it certainly holds, and else one by one."""
        if is_plain(self._message, piece):
            try:
                made, made_ends = self._changed(piece)
            except DecodeError:
                made_ends = []
            if len(made_ends) == len(ends):
                fresh.add(made, made_ends)
                return
        begin = 0
        for end in ends:
            entry, begin = piece[begin:end], end
            fault = yield from fault_of(self._message, entry)
            try:
                made = b"" if fault else self._changed(entry)[0]
            except DecodeError as error:
                fault = str(error)
            if fault:
                fresh.leave_out(name_of(self._message, entry), fault)
            else:
                fresh.add(made, (len(made),))
            if fresh.is_cut:
                return
            yield

    def _changed(self, piece: bytes) -> Tuple[bytes, List[int]]:
        """Entries of one list, renamed, and where each ends."""
        made = piece if self._change is None else self._change(piece)
        return made, entry_ends(made, piece[0])


class _Fresh:
    """What is made of a list's new fields. ``index`` is that of the first; ``room`` is how large it may be, bytes."""

    __slots__ = ("_index", "ends", "fault", "is_cut", "left_out", "parts", "room", "size")

    def __init__(self, index: int, room: int) -> None:
        self._index = index
        self.room = room
        self.parts: List[bytes] = []
        self.ends: List[int] = []
        self.size = 0
        self.left_out = 0
        self.fault = ""
        self.is_cut = False
        """Whether there is more than a list may be."""

    def add(self, made: bytes, ends: Sequence[int]) -> None:
        """Adds some fields, as far as there is room."""
        too_large = len(made) > self.room
        if too_large:
            fits = bisect_right(ends, self.room)
            made, ends = made[: ends[fits - 1] if fits else 0], ends[:fits]
        self.parts.append(made)
        self.ends += [self.size + end for end in ends]
        self.size += len(made)
        self.room -= len(made)
        if too_large:
            self.cut()

    def leave_out(self, name: str, fault: str) -> None:
        """Leaves out an entry that does not hold."""
        named = f' ("{name}")' if name else ""
        self.fault = self.fault or f"entry {self._index + len(self.ends)}{named} is left out: {fault}"
        self.left_out += 1
        self.ends.append(self.size)

    def cut(self) -> None:
        """Leaves out the rest."""
        self.is_cut = True
        self.left_out += 1
        count = self._index + len(self.ends)
        self.fault = (
            f"all after entry {count} is left out: a list may have {MOST_ENTRIES} entries and {LARGEST_MESSAGE} bytes"
        )


def entry_ends(body: bytes, tag: int = ENTRY) -> List[int]:
    """The offset at which each entry of a list ends. Raises DecodeError if it has anything but whole entries."""
    found: List[int] = []
    at, end = 0, len(body)
    try:
        while at < end and body[at] == tag:
            at = end_of_entry(body, at, end)
            found.append(at)
    except (IndexError, DecodeError) as error:
        raise DecodeError("a list does not consist of whole entries") from error
    if at != end:
        raise DecodeError("a list does not consist of whole entries")
    return found


def _empty(ends: Sequence[int], first: int, rest: int) -> int:
    """How many fields from ``first`` to ``rest`` are left out."""
    return sum(ends[at] == (ends[at - 1] if at else 0) for at in range(first, rest))


def _spliced(
    known: Sequence[int], first: int, rest: int, between: Sequence[int], begin: int, shift: int
) -> Sequence[int]:
    """The ends of a list after those from ``first`` to ``rest`` are replaced. Those behind move by ``shift`` bytes."""
    behind = known[rest:]
    new = [begin + end for end in between] if begin else between
    return [*known[:first], *new, *([end + shift for end in behind] if shift else behind)]


def common_start(one: bytes, other: bytes) -> int:
    """The length of the common beginning of two texts, bytes."""
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
    """The length of the common end of two texts, bytes; at most ``most``."""
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
