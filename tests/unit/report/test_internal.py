"""An error that nobody has expected, told in the log."""

from __future__ import annotations

import sys
from typing import List

import pytest

from criproxy.report import internal


def told() -> List[str]:
    def fails() -> None:
        raise KeyError("some key\nof two lines")

    try:
        fails()
    except KeyError as error:
        return list(internal.lines(error))
    return []


def test_it_is_told_where_an_error_has_come_from_line_by_line() -> None:
    lines = told()
    assert lines[0].startswith("Traceback")
    assert any("in fails" in line for line in lines)
    assert lines[-1].startswith("KeyError: 'some key")
    assert not any("\n" in line for line in lines)


def test_an_error_is_told_even_if_nothing_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "traceback", None)
    (line,) = told()
    assert line.startswith("KeyError('some key\\nof two lines')")
    assert "cannot be told: import of traceback halted" in line
