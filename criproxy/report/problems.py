"""What fails again and again, in the log: of one problem one record at once, then a count."""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Tuple

from criproxy.report.ratelimit import Clock, Timer

MOST = 20
"""Problems that are told apart at one time. What fails besides is one problem more, so a minute has two records for
each of them at most, whatever fails."""
INTERVAL = 60.0
"""A problem of which nothing has been heard for so long is over, seconds."""
LONGEST_PAUSE = 60
"""Between two counts of a problem that lasts, in units of `INTERVAL`: the pauses double up to this."""

Problem = Tuple[str, ...]
"""What tells a problem from another."""
Write = Callable[[str], None]
"""Writes a record of one case of the problem, with a note at its end."""

_OTHERS: Problem = ()


class Problems:
    """Records of what fails: the first of a problem at once, then the last with a count, in longer and longer pauses.

    A problem is over when nothing has been heard of it for a minute: the next case is news again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: Dict[Problem, _Open] = {}

    def say(self, problem: Problem, write: Write) -> None:
        """Writes a record of a case of this problem, now or later."""
        if problem not in self._open and len(self._open) >= MOST:
            problem = _OTHERS
        known = self._open.get(problem)
        if known is not None:
            known.new += 1
            known.write = write
            return
        found = self._open[problem] = _Open(write)
        self._arm(problem, found)
        write("")

    def settle(self, problem: Problem) -> int:
        """How many cases have not been told; whoever asks tells it, because the cause has gone."""
        found = self._open.get(problem)
        return 0 if found is None else found.take()

    def finish(self) -> None:
        """Writes what has been counted: the end has come."""
        for problem, found in self._open.items():
            found.timer.cancel()
            _write_count(problem, found)
        self._open.clear()

    def _arm(self, problem: Problem, found: _Open) -> None:
        found.timer = self._clock.call_later(INTERVAL, partial(self._on_time, problem))

    def _on_time(self, problem: Problem) -> None:
        found = self._open[problem]
        is_over = not found.new
        found.untold += found.new
        found.new = 0
        found.waited += 1
        if is_over or found.waited >= found.pause:
            _write_count(problem, found)
            found.pause = min(2 * found.pause, LONGEST_PAUSE)
        if is_over:
            del self._open[problem]
        else:
            self._arm(problem, found)


class _Open:
    """A problem that goes on."""

    timer: Timer

    def __init__(self, write: Write) -> None:
        self.write = write
        """Of the last case."""
        self.new = 0
        """Cases since the timer began."""
        self.untold = 0
        """Those before that have not been counted in a record."""
        self.waited = 0
        """How many intervals have passed since the last record."""
        self.pause = 1
        """After how many there is another."""

    def take(self) -> int:
        """The cases that have not been told, which are told now."""
        count = self.untold + self.new
        self.untold = self.new = self.waited = 0
        return count


def _write_count(problem: Problem, found: _Open) -> None:
    minutes = max(1, found.waited)
    count = found.take()
    if count:
        what = "such calls" if problem != _OTHERS else "calls that failed otherwise"
        within = "the last minute" if minutes == 1 else f"the last {minutes} minutes"
        found.write(f" (the last of {count} {what} in {within})" if count > 1 else "")
