"""Text for people. Whatever is in text from outside, it stays in its line and does nothing to a terminal."""

from __future__ import annotations

from typing import Sequence

PRIMARY, IMAGES = "(primary)", "(images)"
"""The primary runtime, and its image service, which have no id, where ids stand."""
_SCALES = ((2 * 86400.0, 86400.0, "d"), (2 * 3600.0, 3600.0, "h"), (120.0, 60.0, "min"), (0.0, 1.0, "s"))
"""From how many seconds on a time is told in which unit, and how many seconds that has."""


def escape(text: str) -> str:
    """The text with everything but printable characters as ``\\n``, ``\\x1b``, ``\\u202e``."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if character == "\n":
        return "\\n"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def decoded(said: bytes) -> str:
    """What a program or a message has as bytes, which need not be UTF-8."""
    return said.decode("utf-8", "replace")


def few(names: Sequence[str], most: int) -> str:
    """The first of them, so many at most, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def period(seconds: float) -> str:
    """A time that has passed, as ``14 s`` or ``3 d``."""
    size, unit = next((size, unit) for least, size, unit in _SCALES if max(0.0, seconds) >= least)
    return f"{max(1.0, seconds / size):.0f} {unit}"
