"""Text from outside, for people: whatever is in it, it stays in its line and does nothing to a terminal."""

from __future__ import annotations


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
