"""An error that nobody has expected, for the log."""

from __future__ import annotations

from typing import Iterator


def lines(error: BaseException) -> Iterator[str]:
    """Where it has come from and what it is; that alone if the module for the rest cannot be loaded now."""
    try:
        import traceback  # there may never be such an error
    except (ImportError, OSError) as reason:  # no descriptors are left, say
        yield f"{error!r} (where it has come from cannot be told: {reason})"
        return
    for part in traceback.format_exception(type(error), error, error.__traceback__):
        yield from part.rstrip().split("\n")
