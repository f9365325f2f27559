"""Whether a unit lives on after its restart, and whether it is in a crash loop."""

from __future__ import annotations

from typing import List

import pytest
from node_lab import FakeManager

from criproxy.node import watch
from criproxy.node.manager import UnitState
from criproxy.node.watch import Clock

UNIT = "kubelet.service"


def running(pid: int = 7, restarts: int = 0) -> UnitState:
    return UnitState("loaded", "active", "running", pid, restarts, "success")


class Sequence(FakeManager):
    """Says one state after the other, and the last one for ever."""

    def __init__(self, *states: UnitState) -> None:
        super().__init__(UNIT)
        self.sequence: List[UnitState] = list(states)

    def state(self, unit: str) -> UnitState:
        return self.sequence.pop(0) if len(self.sequence) > 1 else self.sequence[0]


def ends(*states: UnitState, seconds: float = 10.0) -> str:
    manager = Sequence(*states)
    return watch.ends(manager, UNIT, seconds, Clock(manager.clock.now, manager.clock.sleep))


def test_one_that_runs_all_the_time_lives() -> None:
    manager = Sequence(running())
    assert watch.ends(manager, UNIT, 10.0, Clock(manager.clock.now, manager.clock.sleep)) == ""
    assert manager.clock.now() == pytest.approx(1010.0)


def test_one_that_is_still_starting_lives() -> None:
    assert ends(UnitState("loaded", "activating", "start", 7), running()) == ""


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (UnitState("loaded", "activating", "auto-restart", 0, 1, "exit-code"), "it has ended (exit-code)"),
        (UnitState("loaded", "activating", "auto-restart-queued", 0, 1, "signal"), "it has ended (signal)"),
        (UnitState("loaded", "failed", "failed", 0, 1, "exit-code"), "it is failed (exit-code)"),
        (UnitState("loaded", "inactive", "dead", 0, 0, "success"), "it is inactive (success)"),
        (running(pid=8), "it has ended and been restarted"),
        (UnitState("loaded", "active", "running", 7, 1, "success"), "it has ended and been restarted"),
        (UnitState("loaded", "active", "running", 8, None, "success"), "it has ended and been restarted"),
    ],
)
@pytest.mark.parametrize("looks", [1, 5])
def test_an_end_shows_whenever_it_comes(state: UnitState, reason: str, looks: int) -> None:
    assert ends(*[running()] * looks, state) == reason


def test_an_end_after_the_time_is_not_waited_for() -> None:
    assert ends(*[running()] * 50, UnitState("loaded", "failed", "failed"), seconds=1.0) == ""


def test_no_time_is_one_look() -> None:
    assert ends(running(), UnitState("loaded", "failed", "failed"), seconds=0.0) == ""
    assert ends(UnitState("loaded", "failed", "failed", result="exit-code"), seconds=0.0) != ""


@pytest.mark.parametrize(
    ("state", "age", "loop"),
    [
        (running(restarts=3), 1.0, True),
        (running(restarts=3), 100.0, False),
        (running(restarts=0), 1.0, False),
        (UnitState("loaded", "activating", "auto-restart", 0, 3, "exit-code"), 100.0, True),
        (UnitState("loaded", "failed", "failed", 0, 3, "exit-code"), 1.0, False),
    ],
)
def test_a_crash_loop_is_what_has_been_restarted_and_does_not_last(state: UnitState, age: float, loop: bool) -> None:
    manager = Sequence(state)
    manager.clock.sleep(age)
    assert watch.is_restless(manager, UNIT, state, Clock(manager.clock.now, manager.clock.sleep)) is loop


@pytest.mark.parametrize(
    ("state", "loop"),
    [
        (running(restarts=3), True),
        (UnitState("loaded", "activating", "start", 0, 3, "exit-code"), True),
        (UnitState("loaded", "deactivating", "stop-sigterm", 0, 3, "exit-code"), True),
        (UnitState("loaded", "active", "running", 0, 3, "success"), False),
        (running(restarts=0), False),
    ],
)
def test_one_of_a_crash_loop_that_has_ended_between_two_looks_is_in_it_still(state: UnitState, loop: bool) -> None:
    manager = Sequence(state)
    manager.do("stop", UNIT)
    assert watch.is_restless(manager, UNIT, state, Clock(manager.clock.now, manager.clock.sleep)) is loop


@pytest.mark.parametrize(
    ("restarted", "failed", "age", "loop"),
    [
        ([10.0, 20.0], [9.0, 19.0, 21.0], 5.0, False),
        ([10.0, 20.0], [9.0, 19.0, 21.0], 0.5, True),
        ([10.0, 20.0], [9.0, 19.0], 5.0, True),
        ([10.0, 20.0], [], 5.0, True),
        ([], [9.0], 5.0, True),
    ],
)
def test_what_is_started_by_hand_between_two_attempts_has_left_its_crash_loop_as_soon_as_the_log_can_tell(
    restarted: List[float], failed: List[float], age: float, loop: bool
) -> None:
    manager = Sequence(running(restarts=2))
    manager.restarted[UNIT], manager.failed[UNIT] = restarted, failed
    manager.clock.sleep(age)
    clock = Clock(manager.clock.now, manager.clock.sleep)
    assert watch.is_restless(manager, UNIT, running(restarts=2), clock) is loop
