"""How much is logged about one thing: the first few records as they come, then the last of each minute."""

from __future__ import annotations

from typing import List, Tuple

from hypothesis import given
from hypothesis import strategies as st
from playbook import ClockLoop

from criproxy.report.ratelimit import BURST, INTERVAL, LONGEST, RateLimit


class Scene:
    """A limit with a clock, and what has been written, each with its time."""

    def __init__(self) -> None:
        self.clock = ClockLoop()
        self.begun = self.clock.now
        self.records: List[Tuple[float, str]] = []
        self.limit = RateLimit(self.clock.real)

    def say(self, text: str, fault: bool = True) -> None:
        self.limit.say(lambda line: self.records.append((self.clock.now - self.begun, line)), text, fault)

    @property
    def lines(self) -> List[str]:
        return [line for _, line in self.records]


def test_a_restart_or_two_are_told_as_they_come() -> None:
    scene = Scene()
    for number in range(BURST):
        scene.say(f"{number}")
    assert scene.records == [(0.0, f"{number}") for number in range(BURST)]


def test_what_goes_on_is_told_once_a_minute_with_a_count_of_what_is_left_out() -> None:
    scene = Scene()
    for _ in range(BURST):
        scene.say("at first")
    for number in range(180):
        scene.clock.advance(1)
        scene.say(f"{number}")
    # The first minute begins with the first record that has to wait, at the end of the burst.
    assert scene.records[BURST:] == [
        (60.0, "58 (58 more of its faults in the last minute)"),
        (120.0, "118 (59 more of its faults in the last minute)"),
        (180.0, "178 (59 more of its faults in the last minute)"),
    ]


def test_of_what_waits_the_last_is_told_even_if_nothing_follows() -> None:
    scene = Scene()
    for number in range(BURST + 3):
        scene.say(f"{number}")
    scene.say("it is back", fault=False)
    scene.clock.advance(INTERVAL)
    assert scene.records[BURST:] == [(INTERVAL, "it is back (3 more of its faults in the last minute)")]
    assert scene.clock.timers == 0


def test_one_that_waits_alone_has_left_out_none() -> None:
    scene = Scene()
    for number in range(BURST + 1):
        scene.say(f"{number}")
    scene.clock.advance(INTERVAL)
    assert scene.lines[-1] == f"{BURST}"


def test_after_a_quiet_time_records_come_at_once_again() -> None:
    scene = Scene()
    for _ in range(2):
        for number in range(BURST):
            scene.say(f"{number}")
        scene.clock.advance(BURST * INTERVAL)
    assert len(scene.records) == 2 * BURST


def test_at_the_end_what_waits_is_told() -> None:
    scene = Scene()
    scene.limit.finish()
    for number in range(BURST + 2):
        scene.say(f"{number}")
    scene.limit.finish()
    assert scene.lines[BURST:] == [f"{BURST + 1} (1 more of its faults in the last minute)"]
    assert scene.clock.timers == 0


def test_a_text_of_megabytes_is_cut() -> None:
    scene = Scene()
    scene.say("x" * 2_000_000)
    assert scene.lines == ["x" * LONGEST + "..."]


@given(pauses=st.lists(st.sampled_from([0.0, 0.3, 7.0, 59.9, 60.0, 600.0]), max_size=60))
def test_there_are_never_more_than_the_burst_and_one_a_minute(pauses: List[float]) -> None:
    scene = Scene()
    for number, pause in enumerate(pauses):
        scene.say(f"{number}")
        scene.clock.advance(pause)
    times = [at for at, _ in scene.records]
    for first, begin in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= BURST + (end - begin) / INTERVAL + 1
    scene.limit.finish()
    assert len(scene.records) <= len(pauses)
    assert not pauses or scene.lines[-1].split(" ")[0] == f"{len(pauses) - 1}"
