"""What is shown on a terminal: lines and tables that fit, in colour. Elsewhere it is the same text without colour."""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import dataclass
from enum import Enum
from typing import List, Mapping, Optional, Sequence, TextIO

from criproxy.text import escape

WIDTH = 80
"""Characters of a line where there is no terminal to ask."""
_NARROWEST = 40
_GAP = "  "
_ENOUGH = 8
"""Characters that a column keeps when it is cut."""


class Mark(Enum):
    """What a text says by its colour (ECMA-48, SGR); it says so in words, too."""

    PLAIN = ""
    GOOD = "32"
    DOUBTFUL = "33"
    BAD = "31"
    FAINT = "2"


@dataclass(frozen=True)
class Cell:
    """A text from anywhere, in a table."""

    text: str
    mark: Mark = Mark.PLAIN


@dataclass(frozen=True)
class Column:
    """A column of a table; ``right``: it has numbers."""

    title: str
    right: bool = False


@dataclass(frozen=True)
class Terminal:
    """How text is to be shown. ``width``: characters of a line; None: as long as it is."""

    width: Optional[int] = WIDTH
    colour: bool = False

    def paint(self, text: str, mark: Mark) -> str:
        """The text in the colour of the mark."""
        return f"\x1b[{mark.value}m{text}\x1b[0m" if self.colour and mark.value and text else text

    def wrap(self, text: str, first: str = "", then: str = "") -> List[str]:
        """Lines of a text, the first and all others with these before them. What has no blank to break at is broken."""
        text = escape(text)
        if self.width is None:
            return [first + text]
        return textwrap.wrap(
            text, self.width, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
        ) or [first.rstrip()]

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> List[List[str]]:
        """A line for the titles and one for each row, each as a list, to which others may be added.

        If all of it is wider than the terminal, the first column is cut.
        """
        texts = [[escape(cell.text) for cell in row] for row in rows]
        widths = [max([len(column.title), *(len(row[at]) for row in texts)]) for at, column in enumerate(columns)]
        if self.width is not None:
            over = sum(widths) + len(_GAP) * (len(widths) - 1) - self.width
            widths[0] = max(min(widths[0], _ENOUGH), widths[0] - max(0, over))
        titles = [Cell(column.title, Mark.FAINT) for column in columns]
        return [[self._row(columns, widths, row)] for row in (titles, *rows)]

    def _row(self, columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell]) -> str:
        parts = []
        for column, width, cell in zip(columns, widths, row):
            text = _cut(escape(cell.text), width)
            space = " " * (width - len(text))
            painted = self.paint(text, cell.mark)
            parts.append(space + painted if column.right else painted + space)
        return _GAP.join(parts).rstrip()


def terminal_of(stream: TextIO, environ: Mapping[str, str]) -> Terminal:
    """How text is shown on a stream: in colour on a terminal, unless NO_COLOR is set (no-color.org)."""
    if not stream.isatty():
        return Terminal()
    return Terminal(max(_NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns), shows_colour(stream, environ))


def shows_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal that shows colours, and nobody wants none (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
