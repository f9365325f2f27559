"""Tables on a terminal, and the options that all commands have for what they print."""

from __future__ import annotations

import argparse
import sys
from typing import Iterator, Sequence, Tuple

_WIDEST = 48
"""What a cell of a list may have before it is cut, characters."""
TABLE, JSON = "table", "json"
OUTPUT_WORDS = {"-o": True, "--output": True}
"""How the option of `add_output` is written; it takes a value."""
PRIMARY = "(primary)"
"""The primary runtime, which has no id, in a column of ids."""

Row = Tuple[str, ...]


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds ``-o``."""
    parser.add_argument(
        "-o", "--output", choices=(TABLE, JSON), default=TABLE, help="how it is printed (default: %(default)s)"
    )


def table(title: str, columns: Row, rows: Sequence[Row]) -> str:
    """A title with the number of rows, the columns' names, and the rows in columns as wide as they need to be."""
    return "\n".join((f"{title} ({len(rows)})", *aligned((columns, *rows), _WIDEST)))


def aligned(rows: Sequence[Row], widest: int = sys.maxsize) -> Iterator[str]:
    """A line a row, in columns as wide as they need to be."""
    cells = [tuple(cell(text, widest) for text in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return ("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in cells)


def cell(text: str, widest: int = sys.maxsize) -> str:
    """Names come from elsewhere: nothing in them may steer the terminal or break the line."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= widest else f"{text[: widest - 3]}..."
