"""What a check has found, as it is shown."""

from __future__ import annotations

import io
import threading
from typing import List

import pytest

from criproxy.inspection.findings import (
    STATUS,
    Finding,
    State,
    can_show_marks,
    lines,
    plain,
    right,
    skipped,
    verdict,
    wrong,
)
from criproxy.inspection.together import together

WELL = right("alt.test", "answer", "x 1.0")
NOTHING = skipped("node", "kubelet", "there is none")
POOR = wrong("alt.test", "id", "it has a '-'", "choose another")
BAD = wrong("(primary)", "answer", "no answer", "start it", broken=True)


@pytest.mark.parametrize(
    ("found", "state", "status"),
    [
        ([], State.RIGHT, 0),
        ([WELL, NOTHING], State.RIGHT, 0),
        ([NOTHING], State.RIGHT, 0),
        ([WELL, POOR, NOTHING], State.DEGRADED, 1),
        ([BAD, POOR, WELL], State.BROKEN, 2),
    ],
)
def test_the_worst_finding_is_the_verdict(found: List[Finding], state: State, status: int) -> None:
    assert (verdict(found), STATUS[verdict(found)]) == (state, status)


def test_each_has_a_line_and_what_is_wrong_one_more() -> None:
    assert list(lines([WELL, NOTHING, POOR, BAD], marks=True, colors=False)) == [
        "✓  alt.test   answer   x 1.0",
        "\u2013  node       kubelet  there is none",
        "✗  alt.test   id       it has a '-'",
        "                       next: choose another",
        "✗  (primary)  answer   no answer",
        "                       next: start it",
        "broken: 1, should be better: 1",
    ]


def test_a_line_that_is_too_long_goes_on_below_its_text() -> None:
    found = wrong("alt.test", "id", "it has " + "x " * 20, "choose another " * 3)
    shown = list(lines([found], marks=True, colors=False, width=48))
    assert max(map(len, shown)) <= 48
    assert [line[:15].rstrip() for line in shown[:-1]] == ["✗  alt.test  id", "", "", ""]
    assert " ".join(" ".join(shown[:-1]).split()) == (
        "✗ alt.test id it has " + "x " * 20 + "next: " + ("choose another " * 3).strip()
    )


def test_a_terminal_that_is_too_narrow_breaks_lines_itself() -> None:
    assert len(list(lines([wrong("alt.test", "id", "x " * 40, "y")], marks=True, colors=False, width=20))) == 3


def test_all_that_is_right_is_said_to_be_so() -> None:
    assert list(lines([WELL], marks=True, colors=False))[-1] == "all is right"


def test_where_there_are_no_such_characters_words_stand_for_the_marks() -> None:
    shown = list(lines([WELL, NOTHING, POOR], marks=False, colors=False))
    assert [line[:4] for line in shown[:4]] == ["ok  ", "--  ", "no  ", "    "]
    assert all(line.isascii() for line in shown)


@pytest.mark.parametrize(("encoding", "can"), [("utf-8", True), ("ascii", False), ("latin-1", False)])
def test_the_marks_are_shown_where_the_stream_has_them(encoding: str, can: bool) -> None:
    assert can_show_marks(io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")) is can


def test_only_the_mark_has_a_color() -> None:
    assert [line for line in lines([BAD], marks=True, colors=True) if "\x1b" in line] == [
        "\x1b[31m✗\x1b[0m  (primary)  answer  no answer"
    ]


def test_what_a_runtime_says_cannot_steer_the_terminal() -> None:
    found = wrong("alt.test", "answer", "a\x1b[2Jb\nc", "x\x1b[2Jy")
    assert "\x1b" not in "".join(lines([found], marks=True, colors=False))
    assert len(list(lines([found], marks=True, colors=False))) == 3


def test_programs_get_the_same() -> None:
    assert plain([POOR]) == {
        "verdict": "degraded",
        "findings": [
            {
                "subject": "alt.test",
                "what": "id",
                "state": "degraded",
                "text": "it has a '-'",
                "next": "choose another",
            }
        ],
    }


# Several questions at once.


def test_all_are_asked_at_once_and_answer_in_their_order() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def meet(name: str) -> str:
        meeting.wait()
        return name

    assert together([lambda: meet("a"), lambda: meet("b")], 60) == ["a", "b"]


def test_what_does_not_come_in_time_is_none() -> None:
    never = threading.Event()
    assert together([never.wait], 0.1) == [None]
    never.set()


def test_an_error_is_that_of_whoever_has_asked() -> None:
    def fail() -> None:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        together([fail], 60)
