"""Text for terminals: it fits, it is coloured where that is wanted, and nothing in it steers anything."""

from __future__ import annotations

import io
import sys
from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.terminal import WIDTH, Cell, Column, Mark, Terminal, plain_table, terminal_of, watch
from criproxy.text import period

COLUMNS = (Column("NAME"), Column("STATE"), Column("CALLS", True))


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def table(rows: List[List[str]], width: int = WIDTH) -> List[str]:
    cells = [[Cell(text) for text in row] for row in rows]
    return Terminal(width).table(COLUMNS, cells)


def test_columns_are_as_wide_as_they_need_to_be_and_numbers_stand_below_each_other() -> None:
    assert table([["a", "up", "7"], ["longer", "away", "12345678"]]) == [
        "NAME    STATE     CALLS",
        "a       up            7",
        "longer  away   12345678",
    ]


def test_what_does_not_fit_is_cut_in_the_first_column() -> None:
    assert table([["x" * 100, "up", "7"]], 40)[1] == "x" * 23 + "...  up         7"


def test_a_cell_is_cut_where_it_is_to_have_no_more() -> None:
    assert plain_table(("A", "B"), [("x" * 10, "y" * 8), ("x", "y")], 8) == [
        "A         B",
        "xxxxx...  yyyyyyyy",
        "x         y",
    ]


@given(st.lists(st.lists(st.text(max_size=20), min_size=3, max_size=3), max_size=5))
def test_no_text_breaks_a_line_of_a_table(rows: List[List[str]]) -> None:
    lines = table(rows)
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


@given(st.text(max_size=300), st.integers(20, 120))
def test_no_text_is_wider_than_the_terminal(text: str, width: int) -> None:
    lines = Terminal(width).wrap(text, "first: ", "  ")
    assert lines[0].startswith("first:")
    assert all(len(line) <= width and line.isprintable() for line in lines)


def test_a_line_is_as_long_as_it_is_where_there_is_no_width() -> None:
    assert Terminal(None).wrap("word " * 100, "x ") == ["x " + "word " * 100]


@pytest.mark.parametrize(
    ("stream", "environ", "colour"),
    [
        (Screen(), {"TERM": "xterm"}, True),
        (Screen(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Screen(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Screen(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_alone(stream: io.StringIO, environ: Dict[str, str], colour: bool) -> None:
    assert terminal_of(stream, environ).colour is colour
    painted = terminal_of(stream, environ).paint("away", Mark.BAD)
    assert painted == ("\x1b[31maway\x1b[0m" if colour else "away")


def test_the_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "132")
    assert terminal_of(Screen(), {}).width == 132
    assert terminal_of(io.StringIO(), {}).width == WIDTH


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "1 s"), (0, "1 s"), (14.2, "14 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_a_period_is_told_in_its_unit(seconds: float, text: str) -> None:
    assert period(seconds) == text


@pytest.mark.parametrize(
    ("stream", "shown"),
    [(io.StringIO(), "1\n\n2\n3\n\n"), (Screen(), "\x1b[H{at}\x1b[K\n\x1b[K\n1\x1b[K\n\x1b[J")],
)
def test_what_is_watched_is_shown_again_until_ctrl_c(
    stream: io.StringIO, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr("time.strftime", lambda _: "{at}")
    looks = iter(("1", "2\n3", ""))

    def look(terminal: Terminal) -> str:
        assert terminal == terminal_of(stream, {})
        try:
            return next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    assert watch(look, 0) == 0
    assert stream.getvalue().startswith(shown)
