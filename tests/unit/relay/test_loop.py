"""How the loop waits: it looks again for a moment after it had something to do, then it sleeps."""

from __future__ import annotations

import os
from typing import Callable, Iterator, List, Tuple

import pytest

from criproxy.relay.loop import BUSY, Loop

Events = List[Tuple[int, int]]


class Epoll:
    """Gives what it is told to, one round after the other, and remembers for how long it was asked to wait."""

    def __init__(self, *rounds: Events) -> None:
        self.waits: List[float] = []
        self._rounds = iter(rounds)
        self.at_end: Callable[[], None] = lambda: None

    def poll(self, timeout: float, most: int) -> Events:
        self.waits.append(timeout)
        if not timeout:
            return []
        try:
            return next(self._rounds)
        except StopIteration:
            self.at_end()
            return []


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Gives the process so many cores."""

    def set_cores(count: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)))

    return set_cores


def ran(busy: float, epoll: Epoll) -> Iterator[str]:
    """Runs a loop over those rounds; says for each wait whether it slept or looked."""
    loop = Loop(_fail, busy)
    real, loop._epoll = loop._epoll, epoll  # type: ignore[assignment]
    epoll.at_end = loop.stop
    loop._watched[7] = lambda events: None
    loop.run()
    loop._epoll = real
    loop.close()
    return iter("slept" if wait else "looked" for wait in epoll.waits)


def _fail(error: BaseException) -> None:
    raise error


def test_it_looks_again_after_something_happened_and_then_sleeps(cores: Callable[[int], None]) -> None:
    cores(2)
    waits = list(ran(BUSY, Epoll([(7, 1)])))
    assert waits[0] == waits[-1] == "slept"
    assert set(waits[1:-1]) == {"looked"}


def test_it_sleeps_where_nothing_happened(cores: Callable[[int], None]) -> None:
    cores(2)
    assert list(ran(BUSY, Epoll([]))) == ["slept", "slept"]


@pytest.mark.parametrize(("count", "busy"), [(1, BUSY), (2, 0.0)])
def test_it_never_looks_on_one_core_or_when_it_is_not_to(cores: Callable[[int], None], count: int, busy: float) -> None:
    cores(count)
    assert list(ran(busy, Epoll([(7, 1)], [(7, 1)]))) == ["slept", "slept", "slept"]
