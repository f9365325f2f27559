"""How often an attack has taken place, on standard output."""

from __future__ import annotations

import threading
import time

_INTERVAL = 0.1
"""Between two lines, seconds."""


class Tally:
    """Counts attacks, and says how many there are."""

    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0
        self._said = 0.0
        self._lock = threading.Lock()

    def due(self, every: float) -> bool:
        """Whether there may be another one: so many seconds after the last at the earliest."""
        return time.monotonic() - self._last >= every

    def add(self) -> None:
        """One more."""
        with self._lock:
            self._count += 1
            self._last = time.monotonic()
            if self._last - self._said > _INTERVAL:
                self._said = self._last
                print(self._count, flush=True)
