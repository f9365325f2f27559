"""The torture sees what it is there to see: an answer that is lost or mixed, a slow one, memory, who stays away."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, List, Sequence

import pytest

from tests.torture import __main__ as command
from tests.torture import client, runtime
from tests.torture.answers import ALTERNATIVE, PRIMARY
from tests.torture.faults import FAULTS, PROXY
from tests.torture.load import BOTH, LOST, MIXED, NOBODY, OK, Record
from tests.torture.rows import ROWS, Row
from tests.torture.scene import ROOT
from tests.torture.verdict import MEMORY_BAR, Period, Result, judge, table

SECONDS = 2.0
"""For a run: no row is shorter than it has to be."""


def row(*suffers: str, timed: bool = True) -> Row:
    return Row("test", "row", "", suffers, lambda scene, seconds: 1, timed)


def period(of: Row, **changed: Any) -> Period:
    """From the 10th to the 20th second; all are well at the 21st."""
    made = Period(of, 10.0, 20.0, 21.0, 1, 0)
    return made._replace(**changed)


def ok(begin: float, lasts: float = 0.001, owner: str = PRIMARY) -> Record:
    return Record(begin, begin + lasts, owner, OK, NOBODY)


def lost(begin: float, lasts: float = 0.001, blame: str = ALTERNATIVE) -> Record:
    return Record(begin, begin + lasts, blame, LOST, blame, "UNAVAILABLE: gone")


def result(records: Sequence[Record], of: Period) -> Result:
    (found,), undisturbed = judge(records, [of])
    assert not undisturbed
    return found


class TestAVerdict:
    def test_takes_a_failure_that_the_fault_explains(self) -> None:
        assert not result([lost(15.0)], period(row(ALTERNATIVE))).failures

    @pytest.mark.parametrize("suffers", [(), (PRIMARY,)])
    def test_finds_a_call_lost_that_no_fault_explains(self, suffers: Sequence[str]) -> None:
        assert result([lost(15.0)], period(row(*suffers))).failures == ["1 lost"]

    def test_takes_no_fault_for_an_explanation_of_an_answer_that_nobody_can_parse(self) -> None:
        assert result([lost(15.0, blame=NOBODY)], period(row(ALTERNATIVE))).failures == ["1 lost"]

    @pytest.mark.parametrize("suffers", [(), (PRIMARY,), (PROXY,)])
    def test_takes_nothing_for_an_explanation_of_a_mixed_answer(self, suffers: Sequence[str]) -> None:
        mixed = Record(15.0, 15.1, PRIMARY, MIXED, PRIMARY, "another's")
        found = result([mixed], period(row(*suffers)))
        assert found.failures == ["1 mixed"]
        assert found.examples == ["mixed: another's"]

    def test_charges_a_call_that_began_before_the_fault_and_ended_in_it(self) -> None:
        assert not result([lost(9.0, lasts=2.0)], period(row(ALTERNATIVE))).failures

    def test_charges_a_call_that_is_lost_to_the_row_in_which_it_began(self) -> None:
        first, second = period(row()), period(row(), begin=22.0, end=30.0, well=30.0)
        results, _ = judge([lost(15.0, lasts=10.0)], [first, second])
        assert [each.failures for each in results] == [["1 lost"], []]

    def test_goes_on_until_all_are_well(self) -> None:
        assert not result([lost(20.5)], period(row(ALTERNATIVE))).failures
        _, undisturbed = judge([lost(21.5)], [period(row(ALTERNATIVE))])
        assert len(undisturbed) == 1

    def test_finds_what_is_not_well_afterwards(self) -> None:
        assert result([], period(row(), well=None)).failures == ["not well afterwards"]

    def test_finds_memory_a_crash_and_an_attack_that_has_not_taken_place(self) -> None:
        assert result([], period(row(), peak=MEMORY_BAR + 1)).failures == ["memory"]
        assert result([], period(row(), problems=("criproxy has ended with -11",))).failures[0].endswith("-11")
        assert result([], period(row(), times=0)).failures == ["has not taken place"]

    def test_compares_the_others_times_with_those_of_the_same_calls_undisturbed(self) -> None:
        calm = [ok(at / 100, 0.010) for at in range(500)]
        slow = [ok(10 + at / 100, 0.036) for at in range(90)] + [ok(11 + at / 100, 0.2) for at in range(10)]
        found = result([*calm, *slow], period(row(ALTERNATIVE)))
        assert found.slow == ["p50", "p99"]
        assert not found.failures

    def test_does_not_count_the_times_of_those_who_suffer(self) -> None:
        calm = [ok(1.0, owner=owner) for owner in (PRIMARY, ALTERNATIVE, BOTH)]
        slow = [ok(15.0, 5.0, owner) for owner in (ALTERNATIVE, BOTH)]
        assert not result([*calm, *slow, ok(15.0)], period(row(ALTERNATIVE))).slow
        assert result([*calm, *slow, ok(15.0)], period(row())).slow == ["p50", "p99"]
        assert not result([*calm, *slow], period(row(timed=False))).slow

    def test_is_a_line_of_the_table(self) -> None:
        calm, there = [ok(1.0, 0.010)], [ok(15.0, 0.020), lost(15.0)]
        head, line = table([result([*calm, *there], period(row(), peak=50 << 20))])
        assert " ".join(head.split()) == "TIMES P50 ms of calm P99 ms of calm MiB LOST MIXED BACK s"
        assert " ".join(line.split()) == "test: row 1 20.0 x2.0 20.0 x2.0 50 1 0 1.0 1 lost"


class TestARun:
    @pytest.mark.parametrize("lie", sorted(runtime.LIES))
    def test_finds_a_primary_runtime_that_lies(self, lie: str, capsys: pytest.CaptureFixture[str]) -> None:
        """To a client that is what a criproxy that mixes or loses answers would be."""
        (quiet,) = rows_of("client: strangers")
        assert command.torture([quiet], SECONDS, lie=lie) == 1
        assert f"client: strangers: {lie}: " in capsys.readouterr().out

    @pytest.mark.parametrize("title", ["client: strangers", "runtime: half a message", "fault: alternative killed"])
    def test_passes_where_only_the_disturber_suffers(self, title: str, capsys: pytest.CaptureFixture[str]) -> None:
        status = command.torture(rows_of(title), SECONDS)
        assert not status, capsys.readouterr().out

    def test_of_no_such_row_says_so(self) -> None:
        done = run("no such row")
        assert (done.returncode, done.stdout) == (2, "")
        assert "no row has ['no such row'] in its title; see --list" in done.stderr


def rows_of(title: str) -> List[Row]:
    return [row for row in ROWS if row.title == title]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.torture", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_each_attack_and_fault_has_a_row_of_its_own() -> None:
    listed = run("--list").stdout.splitlines()
    assert len(listed) == len(client.ATTACKS) + len(runtime.ATTACKS) + len(FAULTS)
    assert len({row.title for row in ROWS}) == len(listed)
