"""What is left out of a runtime's answers, in the log."""

from __future__ import annotations

from typing import Final

from criproxy.relay.runtime import Runtime

QUIET: Final = 60.0
"""A runtime of whose answers nothing has been left out for so long is well again, seconds.

Not every list has all that a runtime has, so that one list of which nothing is left out says nothing.
"""


class Complaint:
    """Warns that something is left out of what a runtime answers to a method; once until it is well again."""

    __slots__ = ("_method", "_runtime", "_told_at")

    def __init__(self, runtime: Runtime, method: str) -> None:
        self._runtime = runtime
        self._method = method
        self._told_at = runtime.loop.time()

    def __call__(self, text: str) -> None:
        """Something is left out of another answer."""
        self._runtime.statistics.cut += 1
        now, about = self._runtime.loop.time(), f"left out: {self._method}"
        if now - self._told_at > QUIET:
            self._runtime.clear_warning(about)
        self._told_at = now
        self._runtime.warn_once(about, f"{self._method}: of {self._runtime}: {text}")
