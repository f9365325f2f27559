"""What is shown on a terminal: lines and tables that fit, in colour. Elsewhere it is the same text without colour."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass
from enum import Enum
from typing import Callable, List, Mapping, Optional, Sequence, TextIO

from criproxy.text import escape

WIDTH = 80
"""Characters of a line where there is no terminal to ask."""
_NARROWEST = 40
_GAP = "  "
_ENOUGH = 8
"""Characters that a column keeps when it is cut."""
_CUT = "..."
"""At the end of what is cut; a terminal need not have other characters than ASCII's."""
_HOME, _LINE_END, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
"""To the top of the screen; clears the rest of a line; clears the rest of the screen (ECMA-48: CUP, EL, ED)."""


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

    def table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], widest: Optional[int] = None
    ) -> List[str]:
        """A line for the titles and one for each row, in columns as wide as they need to be.

        If all of it is wider than the terminal, the first column is cut. ``widest``: what any cell may have before it
        is cut, characters.
        """
        texts = [[escape(cell.text) for cell in row] for row in rows]
        widths = [max([len(column.title), *(len(row[at]) for row in texts)]) for at, column in enumerate(columns)]
        if widest is not None:
            widths = [min(width, widest) for width in widths]
        if self.width is not None:
            over = sum(widths) + len(_GAP) * (len(widths) - 1) - self.width
            widths[0] = max(min(widths[0], _ENOUGH), widths[0] - max(0, over))
        titles = [Cell(column.title, Mark.FAINT) for column in columns]
        return [self._row(columns, widths, row) for row in (titles, *rows)]

    def _row(self, columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell]) -> str:
        parts = []
        for column, width, cell in zip(columns, widths, row):
            text = _cut(escape(cell.text), width)
            space = " " * (width - len(text))
            painted = self.paint(text, cell.mark)
            parts.append(space + painted if column.right else painted + space)
        return _GAP.join(parts).rstrip()


def plain_table(titles: Sequence[str], rows: Sequence[Sequence[str]], widest: Optional[int] = None) -> List[str]:
    """The same of texts alone, however wide it is."""
    cells = [[Cell(text) for text in row] for row in rows]
    return Terminal(None).table([Column(title) for title in titles], cells, widest)


def watch(look: Callable[[Terminal], str], seconds: float) -> int:
    """Shows what there is to see every so many seconds until Ctrl-C; gives the exit status.

    On a terminal each look takes the place of the last one; elsewhere an empty line stands between them.
    """
    try:
        while True:
            # The terminal may have another size by now.
            _draw(look(terminal_of(sys.stdout, os.environ)), sys.stdout.isatty())
            time.sleep(seconds)
    except KeyboardInterrupt:
        return 0


def _draw(text: str, over: bool) -> None:
    if over:
        lines = "".join(f"{line}{_LINE_END}\n" for line in (time.strftime("%H:%M:%S"), "", *text.split("\n")))
        print(f"{_HOME}{lines}{_REST}", end="", flush=True)
    elif text:
        print(text, end="\n\n", flush=True)


def terminal_of(stream: TextIO, environ: Mapping[str, str]) -> Terminal:
    """How text is shown on a stream: in colour on a terminal, unless NO_COLOR is set (no-color.org)."""
    if not stream.isatty():
        return Terminal()
    return Terminal(max(_NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns), shows_colour(stream, environ))


def shows_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal that shows colours, and nobody wants none (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - len(_CUT)]}{_CUT}"
