"""What calls have come to: how many there were, how they have ended, and how long they took.

No call is stored. A time falls into one of fixed classes, so that to note one costs a fraction of a microsecond. What
is counted since the start is for whoever takes the differences himself (Prometheus); the last minutes are in a ring.

There are two views. `CallStatistics` has the calls as kubelet sees them, `RuntimeStatistics` those that one runtime has
been asked: a list that all runtimes answer is one of the first, and one of each runtime's. The proxy's own questions
are calls of the runtimes, too, but not among those of the last minutes: to look must not change what is seen.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Callable, Dict, Final, List, Optional, Sequence

from criproxy.cri.methods import Method, To
from criproxy.http2.compiled import COMPILED

BOUNDS: Final[List[float]] = [*(float(f"{step}e{power}") for power in range(-5, 2) for step in (1, 2, 5)), 100.0]
"""The upper bounds of the classes of times, each included, seconds. Behind them is a class for what takes longer."""
CODES: Final = 17
"""gRPC's status codes are 0 to 16."""
MINUTES: Final = 5
"""How many minutes are remembered: the one that is passing, and those before it."""
OTHER: Final = ""
"""Stands for each method that is not the CRI's, so that nobody can make up more names to remember."""
_UNKNOWN: Final = 2
_MINUTE: Final = 60.0
_CLASSES: Final = len(BOUNDS) + 1
_EVENTS: Final = To.EVENTS
"""Such a call lasts as long as somebody listens: that is not how long anything takes."""


class Histogram:
    """How many times have fallen into each class (`BOUNDS`), and their sum, seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * _CLASSES
        self.sum = 0.0

    def add(self, seconds: float) -> int:
        """One more; gives its class."""
        place = _class_of(seconds) if COMPILED else bisect_left(BOUNDS, seconds)
        self.counts[place] += 1
        self.sum += seconds
        return place


def _class_of(seconds: float) -> int:
    """Most times are short, and the first bounds soon looked at: compiled, that is quicker than a call of Python's."""
    place = 0
    for bound in BOUNDS:
        if seconds <= bound:
            break
        place += 1
    return place


class Minute:
    """The calls that have ended in one minute, by their classes and by their codes. ``number`` says which it is."""

    __slots__ = ("codes", "counts", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.counts = [0] * _CLASSES
        self.codes = [0] * CODES


class Recent:
    """The calls of the last `MINUTES`."""

    __slots__ = ("_current", "_minutes", "_until")

    def __init__(self) -> None:
        self._minutes: List[Minute] = []
        self._current = Minute(-1)
        self._until = 0.0

    def at(self, now: float) -> Minute:
        """The minute that is passing (seconds of the clock, which does not go back)."""
        if now >= self._until:
            number = int(now // _MINUTE)
            self._current = Minute(number)
            self._minutes = [each for each in self._minutes if each.number > number - MINUTES]
            self._minutes.append(self._current)
            self._until = (number + 1) * _MINUTE
        return self._current

    def look(self, now: float) -> Minute:
        """All that has ended in the last minutes, as if in one."""
        self.at(now)
        whole = Minute(-1)
        for minute in self._minutes:
            whole.counts = [had + more for had, more in zip(whole.counts, minute.counts)]
            whole.codes = [had + more for had, more in zip(whole.codes, minute.codes)]
        return whole


class MethodStatistics:
    """The calls of one method since the start, by their codes; the times of those that have one.

    ``own``: of kubelet's calls, the proxy's part of the time; all but what the runtimes took, or were waited for.
    """

    __slots__ = ("codes", "own", "times")

    def __init__(self) -> None:
        self.codes = [0] * CODES
        self.times = Histogram()
        self.own = Histogram()


class Traffic:
    """What has been read from sockets, and written to them, bytes."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


class CallStatistics:
    """The calls of kubelet's, and of all other clients."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        """On their connections."""
        self.methods: Dict[str, MethodStatistics] = {}
        """By the methods' names, `OTHER` among them."""

    def end(self, row: Optional[Method], code: int, total: float, own: float) -> None:
        """A call has ended, after ``total`` seconds, ``own`` of which were the proxy's."""
        name = OTHER if row is None else row.name
        method = self.methods.get(name) or _new(self.methods, name)
        method.codes[code if 0 <= code < CODES else _UNKNOWN] += 1
        if row is None or row.to is not _EVENTS:
            method.times.add(total)
            method.own.add(own)


class RuntimeStatistics:
    """The calls of one runtime. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.methods: Dict[str, MethodStatistics] = {}
        """By the methods' names, `OTHER` among them. Of ``own`` there is nothing."""
        self.traffic = Traffic()
        """On its connections."""
        self.found = 0
        """How often it has been found there."""
        self.late = 0
        """How often a call to all runtimes has not waited for it any longer (the fan-out timeout)."""
        self.missing = 0
        """How many answers of all runtimes have been without its part, and without what it had before."""
        self.cut = 0
        """How many answers of its own something has been left out of: what is invalid, or does not fit."""
        self.lists: Dict[str, int] = {}
        """The size of its last part of each list of all runtimes that has no filter, bytes."""
        self._recent = Recent()
        self._clock = clock

    def end(self, row: Optional[Method], code: int, asked_at: float, opened: bool, own: bool = False) -> float:
        """A call has ended that the runtime was to get at ``asked_at``. Gives the time.

        ``opened``: the runtime has got it; if not, it says nothing of how long that takes. ``own``: it is the proxy's.
        """
        now = self._clock()
        name = OTHER if row is None else row.name
        method = self.methods.get(name) or _new(self.methods, name)
        known = code if 0 <= code < CODES else _UNKNOWN
        method.codes[known] += 1
        timed = opened and (row is None or row.to is not _EVENTS)
        place = method.times.add(now - asked_at) if timed else -1
        if not own:
            minute = self._recent.at(now)
            minute.codes[known] += 1
            if timed:
                minute.counts[place] += 1
        return now

    def recent(self) -> Minute:
        """What has ended in the last minutes."""
        return self._recent.look(self._clock())


def _new(methods: Dict[str, MethodStatistics], name: str) -> MethodStatistics:
    method = methods[name] = MethodStatistics()
    return method


def quantile(counts: Sequence[int], share: float) -> float:
    """The time below which this share of the calls is, seconds; 0 if there are none.

    Within a class they count as spread evenly. Of those that are longer than the last bound it is known that they are.
    """
    rank = share * sum(counts)
    below, lower = 0, 0.0
    for count, upper in zip(counts, BOUNDS):
        if count and below + count >= rank:
            return lower + (upper - lower) * max(0.0, rank - below) / count
        below += count
        lower = upper
    return BOUNDS[-1] if sum(counts) else 0.0
