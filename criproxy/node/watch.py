"""Whether a unit that has been restarted lives on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Optional

from criproxy.node.manager import Manager, UnitState

USUAL = 10.0
"""For how long, seconds: a kubelet that does not like its flags ends at once, one that cannot reach a runtime in a few
seconds."""
_INTERVAL = 0.25
"""Between two looks, seconds: systemctl has nothing that waits for a unit's end, and an end that has been missed shows
in the process's id and in the count of restarts."""
_RESTLESS = 30.0
"""A unit that has been restarted by itself and runs for less time than this is in a crash loop, seconds."""
_LOGGED = 1.0
"""By then the journal has what led to a start, seconds."""


@dataclass(frozen=True)
class Clock:
    """Where time comes from."""

    now: Callable[[], float] = time.monotonic
    """Seconds, as systemd's timestamps that end in ``Monotonic``."""
    sleep: Callable[[float], None] = time.sleep


REAL = Clock()


def ends(manager: Manager, unit: str, seconds: float, clock: Clock) -> str:
    """Watches a unit that has just been restarted; says how it has ended, or nothing if it lives on."""
    first = manager.state(unit)
    end = clock.now() + seconds
    state = first
    while True:
        reason = _end(first, state)
        if reason or clock.now() >= end:
            return reason
        clock.sleep(min(_INTERVAL, max(0.0, end - clock.now())))
        state = manager.state(unit)


def _end(first: UnitState, state: UnitState) -> str:
    if state.restarting:
        return f"it has ended ({state.result or 'for a reason that systemd does not tell'})"
    if not state.runs:
        return f"it is {state.active or 'not there'} ({state.result})"
    if first.pid and state.pid and first.pid != state.pid:
        return "it has ended and been restarted"
    if (state.restarts or 0) > (first.restarts or 0):
        return "it has ended and been restarted"
    return ""


def is_restless(manager: Manager, unit: str, state: UnitState, clock: Clock) -> bool:
    """Whether a unit, of which this is the state, is in a crash loop.

    It waits for its next attempt, or has not lasted long since the last, or has ended since that was its state. What
    somebody has started by hand is in none: systemd counts on if that was between two attempts.
    """
    if state.restarting:
        return True
    if not (state.runs and state.restarts):
        return False
    age = age_of(manager, unit, clock)
    if age is None:
        return state.active != "active" or bool(state.pid)
    return age < _RESTLESS and not (age > _LOGGED and _started_by_hand(manager, unit))


def _started_by_hand(manager: Manager, unit: str) -> bool:
    """Whether systemd has not restarted the unit after its last end."""
    restarts, ends = manager.restarts(unit, 1), manager.failures(unit, 1)
    return bool(restarts and ends and ends[-1] > restarts[-1])


def age_of(manager: Manager, unit: str, clock: Clock) -> Optional[float]:
    """For how long the unit's main process has been there, seconds; None if there is none."""
    name = "ExecMainStartTimestampMonotonic"
    found = manager.show(unit, "MainPID", name)
    if not found[name].isdecimal() or found["MainPID"] in ("", "0"):
        return None
    return clock.now() - int(found[name]) / 1e6
