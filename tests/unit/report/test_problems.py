"""What is logged of what fails again and again: the first case of each problem, then counts."""

from __future__ import annotations

import re
from typing import List, Tuple

from hypothesis import given
from hypothesis import strategies as st
from playbook import ClockLoop

from criproxy.report.problems import INTERVAL, LONGEST_PAUSE, MOST, Problems


class Scene:
    """Problems with a clock, and what has been written, each with its time."""

    def __init__(self) -> None:
        self.clock = ClockLoop()
        self.begun = self.clock.now
        self.records: List[Tuple[float, str]] = []
        self.problems = Problems(self.clock.real)

    def fail(self, problem: str, text: str = "x") -> None:
        """A case of a problem."""
        self.problems.say(
            (problem,), lambda note: self.records.append((self.clock.now - self.begun, f"{problem}: {text}{note}"))
        )

    @property
    def lines(self) -> List[str]:
        return [line for _, line in self.records]


def test_the_first_case_is_told_at_once_and_the_others_are_counted() -> None:
    scene = Scene()
    for number in range(1000):
        scene.fail("pull", f"{number}")
    assert scene.records == [(0.0, "pull: 0")]
    scene.clock.advance(INTERVAL)
    assert scene.records[1:] == [(INTERVAL, "pull: 999 (the last of 999 such calls in the last minute)")]


def test_a_problem_of_which_nothing_is_heard_for_a_minute_is_over() -> None:
    scene = Scene()
    scene.fail("pull")
    scene.clock.advance(INTERVAL)
    assert scene.clock.timers == 0
    scene.fail("pull")
    assert scene.records == [(0.0, "pull: x"), (INTERVAL, "pull: x")]


def test_a_single_further_case_is_told_as_it_is() -> None:
    scene = Scene()
    scene.fail("pull", "1")
    scene.fail("pull", "2")
    scene.clock.advance(10 * INTERVAL)
    assert scene.lines == ["pull: 1", "pull: 2"]


def test_the_counts_of_what_goes_on_come_in_longer_and_longer_pauses() -> None:
    scene = Scene()
    minutes = 3 * LONGEST_PAUSE
    for _ in range(2 * minutes):
        scene.fail("probe")
        scene.clock.advance(INTERVAL / 2)
    told = [at / INTERVAL for at, _ in scene.records]
    assert told == [0, 1, 3, 7, 15, 31, 63, 123]
    assert scene.lines[2] == "probe: x (the last of 4 such calls in the last 2 minutes)"


def test_what_has_not_been_counted_when_it_ends_is_counted_then() -> None:
    scene = Scene()
    for _ in range(4):
        scene.fail("probe")
        scene.clock.advance(INTERVAL / 2)
    scene.clock.advance(10 * INTERVAL)
    assert scene.records == [
        (0.0, "probe: x"),
        (INTERVAL, "probe: x"),
        (3 * INTERVAL, "probe: x (the last of 2 such calls in the last 2 minutes)"),
    ]
    assert scene.clock.timers == 0


def test_problems_are_told_apart() -> None:
    scene = Scene()
    for problem in ("pull", "probe", "pull"):
        scene.fail(problem)
    assert scene.lines == ["pull: x", "probe: x"]


def test_more_problems_than_can_be_read_are_one_more() -> None:
    scene = Scene()
    for number in range(MOST + 100):
        scene.fail(f"{number}")
    assert scene.lines == [f"{number}: x" for number in range(MOST + 1)]
    scene.clock.advance(INTERVAL)
    last = MOST + 99
    assert scene.lines[MOST + 1 :] == [f"{last}: x (the last of 99 calls that failed otherwise in the last minute)"]


def test_whoever_knows_that_the_cause_has_gone_tells_the_count() -> None:
    scene = Scene()
    for _ in range(10):
        scene.fail("away")
    assert scene.problems.settle(("away",)) == 9
    assert scene.problems.settle(("away",)) == scene.problems.settle(("other",)) == 0
    scene.clock.advance(10 * INTERVAL)
    assert scene.lines == ["away: x"]


def test_at_the_end_what_has_been_counted_is_told() -> None:
    scene = Scene()
    for _ in range(4):
        scene.fail("away")
    scene.fail("pull")
    scene.problems.finish()
    assert scene.lines == ["away: x", "pull: x", "away: x (the last of 3 such calls in the last minute)"]
    assert scene.clock.timers == 0


@given(cases=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.3, 7.0, 59.9, 60.0, 600.0])), max_size=60))
def test_every_case_is_told_or_counted_once(cases: List[Tuple[int, float]]) -> None:
    scene = Scene()
    for problem, pause in cases:
        scene.fail(f"{problem}")
        scene.clock.advance(pause)
    scene.problems.finish()
    for problem in range(4):
        lines = [line for line in scene.lines if line.startswith(f"{problem}: ")]
        counts = [re.search(r"the last of (\d+)", line) for line in lines]
        told = sum(int(count[1]) if count else 1 for count in counts)
        assert told == sum(each == problem for each, _ in cases)
