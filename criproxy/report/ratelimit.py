"""A bound on what is logged about one thing that others make fail, such as a runtime."""

from __future__ import annotations

from typing import Callable, Optional, Protocol, Tuple

BURST = 20
"""Records that are written as they come: a restart has about five, all of which tell something."""
INTERVAL = 60.0
"""Between two records that are written once the burst is used up, seconds; after as long there is one more again."""
LONGEST = 4096
"""characters of a record: a runtime's own text may have megabytes."""

Write = Callable[[str], None]
"""Writes a record."""


class Timer(Protocol):
    """A call that is due at a time."""

    def cancel(self) -> None:
        """It will not be made."""


class Clock(Protocol):
    """What time it is, and timers."""

    def time(self) -> float:
        """Seconds since some fixed moment."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Calls back after ``delay`` seconds."""


class RateLimit:
    """Records about one thing: the first few as they come, then one a minute.

    The one is the last of its minute, so that the log ends with what is, and says how many faults are left out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._allowed = float(BURST)
        self._counted = clock.time()
        """When ``_allowed`` was right, seconds of the clock."""
        self._waiting: Optional[Tuple[Write, str, bool]] = None
        self._left_out = 0
        """Faults that came after the last record that was written, but for the one that waits."""
        self._timer: Optional[Timer] = None

    def say(self, write: Write, text: str, fault: bool = True) -> None:
        """Writes a record, now or later; ``fault``: whether it is one, and is counted where it is left out."""
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}..."
        now = self._clock.time()
        self._allowed = min(BURST, self._allowed + (now - self._counted) / INTERVAL)
        self._counted = now
        if self._timer is None and self._allowed >= 1:
            self._allowed -= 1
            write(text)
            return
        if self._waiting is not None:
            self._left_out += self._waiting[2]
        self._waiting = (write, text, fault)
        if self._timer is None:
            self._timer = self._clock.call_later((1 - self._allowed) * INTERVAL, self._on_time)

    def finish(self) -> None:
        """Writes what waits: the end has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._on_time()

    def _on_time(self) -> None:
        self._timer = None
        # By how little the clock is early is no matter: this was the one.
        self._allowed, self._counted = 0.0, self._clock.time()
        assert self._waiting is not None  # as long as the timer runs there is one
        (write, text, _), left_out = self._waiting, self._left_out
        self._waiting, self._left_out = None, 0
        write(f"{text} ({left_out} more of its faults in the last minute)" if left_out else text)
