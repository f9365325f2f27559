"""How much is logged: what has been asked for, for how long, and what a reload does to it."""

from __future__ import annotations

import io
from typing import Any, List

import pytest
from playbook import ClockLoop

from criproxy.control.api import control
from criproxy.control.verbosity import LONGEST, Verbosity
from criproxy.http2.grpc import RpcError
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput


class Answers:
    """Keeps the answer that a method gives."""

    def __init__(self) -> None:
        self.given: List[Any] = []

    def reply(self, message: Any) -> None:
        self.given.append(message)


class Desk:
    """A log that is at 2 by its configuration."""

    def __init__(self) -> None:
        self.loop = ClockLoop()
        self.stream = io.StringIO()
        self.log = Log(2, StreamOutput(self.stream))
        self.verbosity = Verbosity(self.loop.real, self.log, 2)

    def ask(self, level: int, period: float = 0.0) -> Any:
        answers: Any = Answers()
        self.verbosity.set(control().messages["SetVerbosityRequest"](level=level, period=period), answers)
        (told,) = answers.given
        return told


def test_it_is_in_force_at_once_and_stays() -> None:
    desk = Desk()
    told = desk.ask(5)
    assert (told.level, told.configured, told.remaining) == (5, 2, 0)
    desk.loop.advance(LONGEST * 2)
    assert desk.log.verbosity == 5


def test_it_falls_back_by_itself() -> None:
    desk = Desk()
    assert desk.ask(5, 600).remaining == pytest.approx(600)
    desk.loop.advance(599)
    assert desk.log.verbosity == 5
    desk.loop.advance(2)
    assert desk.log.verbosity == 2
    assert "verbosity 2, as configured: the time is over" in desk.stream.getvalue()


def test_the_last_word_counts() -> None:
    desk = Desk()
    desk.ask(5, 10)
    desk.ask(6, 600)
    desk.loop.advance(11)
    assert desk.log.verbosity == 6
    told = desk.ask(2, 600)
    assert (told.level, told.remaining) == (2, 0), "it is the configured one"


def test_a_reload_that_changes_the_configured_one_ends_it() -> None:
    desk = Desk()
    desk.ask(5, 600)
    desk.verbosity.follow(2)
    assert desk.log.verbosity == 5
    desk.verbosity.follow(3)
    assert desk.log.verbosity == 3
    desk.loop.advance(601)
    told = desk.verbosity.told()
    assert (told.level, told.configured, told.remaining) == (3, 3, 0)


@pytest.mark.parametrize("period", [-1.0, LONGEST + 1, float("nan"), float("inf")])
def test_a_period_that_is_none_is_refused_and_changes_nothing(period: float) -> None:
    desk = Desk()
    desk.ask(4, 600)
    with pytest.raises(RpcError):
        desk.ask(5, period)
    assert desk.log.verbosity == 4
