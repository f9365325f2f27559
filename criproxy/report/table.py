"""Tables on a terminal, and the options that all commands have for what they print."""

from __future__ import annotations

import argparse
import sys
from typing import Iterator, Sequence, Tuple

WIDEST = 48
"""What a cell of a list may have before it is cut, characters."""
TABLE, WIDE, JSON = "table", "wide", "json"
OUTPUT_WORDS = {"-o": True, "--output": True}
"""How the option of `add_output` is written; it takes a value."""
PRIMARY = "(primary)"
"""The primary runtime, which has no id, in a column of ids."""

Row = Tuple[str, ...]


def add_output(parser: argparse._ActionsContainer, wide: str = "") -> None:
    """Adds ``-o``. ``wide``: what a command has in its format of that name; nothing if it has no such format."""
    formats = (TABLE, WIDE, JSON) if wide else (TABLE, JSON)
    told = f"table: for a screen; wide: {wide}; json: for programs" if wide else "how it is printed"
    parser.add_argument("-o", "--output", choices=formats, default=TABLE, help=f"{told} (default: %(default)s)")


def table(title: str, columns: Row, rows: Sequence[Row], widest: int = WIDEST) -> str:
    """A title with the number of rows, the columns' names, and the rows in columns as wide as they need to be.

    ``widest``: what a cell may have before it is cut, characters.
    """
    return "\n".join((f"{title} ({len(rows)})", *aligned((columns, *rows), widest)))


def aligned(rows: Sequence[Row], widest: int = sys.maxsize) -> Iterator[str]:
    """A line a row, in columns as wide as they need to be."""
    cells = [tuple(cell(text, widest) for text in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in cells)


def cell(text: str, widest: int = sys.maxsize) -> str:
    """Names come from elsewhere: nothing in them may steer the terminal or break the line."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= widest else f"{text[: widest - 3]}..."
