"""How the loop waits, and in which order it does what has come together."""

from __future__ import annotations

import weakref
from typing import Callable, Iterator, List, Tuple

from criproxy.relay.loop import PATIENCE, Loop

Events = List[Tuple[int, int]]


class FakeEpoll:
    """Whatever is watched, ``give`` says what is ready; it is told for how long may be waited."""

    def __init__(self, give: Callable[[float], Events]) -> None:
        self._give = give

    def register(self, fd: int, eventmask: int) -> None:
        """Always possible."""

    def modify(self, fd: int, eventmask: int) -> None:
        """Always possible."""

    def unregister(self, fd: int) -> None:
        """Always possible."""

    def poll(self, timeout: float, maxevents: int) -> Events:
        return self._give(timeout)

    def close(self) -> None:
        """Has nothing to give back."""


class Rounds:
    """Gives what it is told to, one round after the other, and remembers for how long it was asked to wait."""

    def __init__(self, *rounds: Events) -> None:
        self.waits: List[float] = []
        self._rounds = iter(rounds)
        self.at_end: Callable[[], None] = lambda: None

    def give(self, timeout: float) -> Events:
        """One round."""
        self.waits.append(timeout)
        try:
            return next(self._rounds)
        except StopIteration:
            self.at_end()
            return []


def _fail(error: BaseException) -> None:
    raise error


def test_it_sleeps_until_something_happens_whatever_has_happened_before() -> None:
    rounds = Rounds([(7, 1)], [(7, 1)])
    loop = Loop(_fail, epoll=FakeEpoll(rounds.give))
    rounds.at_end = loop.stop
    loop.watch(7, lambda events: None)
    loop.run()
    assert rounds.waits == [-1, -1, -1]


def test_who_has_heard_an_event_is_not_kept_while_the_loop_waits_for_the_next() -> None:
    class Listener:
        def on_ready(self, events: int) -> None:
            """Is the only one who knows this object, and hears nothing more."""
            loop.unwatch(7)

    rounds = Rounds([(7, 1)])
    loop = Loop(_fail, epoll=FakeEpoll(rounds.give))
    listener = Listener()
    loop.watch(7, listener.on_ready)
    known = weakref.ref(listener)
    del listener
    kept: List[bool] = []

    def end() -> None:
        kept.append(known() is not None)
        loop.stop()

    rounds.at_end = end
    loop.run()
    assert kept == [False]


# What takes long.


class Order:
    """A loop, one descriptor of which is always ready for so many rounds, and what happens in it in its order."""

    def __init__(self, rounds: int, on_error: Callable[[BaseException], None] = _fail) -> None:
        self.happened: List[str] = []
        self.now = 100.0
        self.loop = Loop(on_error, epoll=FakeEpoll(self._give), clock=lambda: self.now)
        self._left = rounds
        self.loop.watch(7, lambda events: self._serve())

    def _give(self, timeout: float) -> Events:
        """One round."""
        if self._left:
            self._left -= 1
            return [(7, 1)]
        if not self.loop._deferred:
            self.loop.stop()
        return []

    def _serve(self) -> None:
        self.happened.append("other")
        self.now += PATIENCE / 4

    def steps(self, name: str, count: int) -> Iterator[None]:
        """Work in so many steps."""
        for step in range(count):
            self.happened.append(f"{name}{step}")
            yield

    def run(self) -> List[str]:
        """Runs to the end."""
        self.loop.run()
        return self.happened


def test_work_goes_on_where_nothing_else_is_ready() -> None:
    order = Order(0)
    order.loop.work(order.steps("a", 3))
    assert order.run() == ["a0", "a1", "a2"]


def test_several_works_take_their_steps_in_turn() -> None:
    order = Order(0)
    order.loop.work(order.steps("a", 2))
    order.loop.work(order.steps("b", 2))
    assert order.run() == ["a0", "b0", "a1", "b1"]


def test_others_go_first_and_yet_work_gets_on() -> None:
    order = Order(10)
    order.loop.work(order.steps("a", 3))
    happened = order.run()
    assert happened[:4] == ["other"] * 4
    assert "a0" in happened[4:6]
    assert happened.index("a1") < len(happened) - 1, "work waits no longer than its patience, though others never end"
    assert happened.count("other") == 10


def test_work_that_is_cancelled_takes_no_more_steps() -> None:
    order = Order(0)
    work = order.loop.work(order.steps("a", 3))
    order.loop.defer(work.cancel)
    assert order.run() == ["a0"]


def test_work_that_cancels_itself_has_had_its_last_step() -> None:
    order = Order(0)

    def steps() -> Iterator[None]:
        work.cancel()
        yield
        raise AssertionError("a step more")

    work = order.loop.work(steps())
    order.run()


def test_what_a_step_raises_ends_the_work_alone() -> None:
    told: List[BaseException] = []
    order = Order(0, told.append)

    def steps() -> Iterator[None]:
        yield
        raise ValueError("a defect")

    order.loop.work(steps())
    order.loop.work(order.steps("b", 3))
    assert order.run() == ["b0", "b1", "b2"]
    assert [str(error) for error in told] == ["a defect"]
