"""Two runs compared: which figures have changed by more than the rounds' own spread explains.

The test is Mann and Whitney's: if nothing had changed, each order of both runs' rounds by their numbers would be as
likely as any other. Where an order in which the two runs are at least as much apart comes by chance less than once in a
hundred times, a figure has changed. It takes five rounds of each run to be so unlikely.
"""

from __future__ import annotations

from functools import cache
from math import comb
from statistics import median
from typing import Iterator, Sequence

from tests.bench.cases import CASES
from tests.bench.figures import Figure, Run, number

CHANCE = 0.01
_CHECKS = ("direct", "other")
"""What no change of a proxy's concerns."""
NOISE, CHANGE, TOO_FEW = "", "changed", "too few rounds to tell"


@cache
def _orders(first: int, second: int, wins: int) -> int:
    """How many orders of so many numbers of two kinds have so many pairs in which the first kind's is above."""
    if wins < 0 or wins > first * second:
        return 0
    if not first or not second:
        return 1
    return _orders(first - 1, second, wins - second) + _orders(first, second - 1, wins)


def chance(one: Sequence[float], other: Sequence[float]) -> float:
    """How likely two rows of numbers that mean the same are at least as much apart."""
    wins = sum((a > b) + (a == b) / 2 for a in one for b in other)
    fewer = int(min(wins, len(one) * len(other) - wins))
    orders = sum(_orders(len(one), len(other), count) for count in range(fewer + 1))
    return min(1.0, 2 * orders / comb(len(one) + len(other), len(one)))


def verdict(one: Sequence[float], other: Sequence[float]) -> str:
    """What is to be said of a figure."""
    if 2 / comb(len(one) + len(other), len(one)) > CHANCE:
        return TOO_FEW
    return CHANGE if chance(one, other) <= CHANCE else NOISE


def lines(before: Run, after: Run) -> Iterator[str]:
    """One for each figure that both runs have."""
    yield f"before: {before.version}; {before.machine[0]}"
    yield f"after:  {after.version}; {after.machine[0]}"
    yield ""
    yield "Direct calls, on which no proxy has an effect. Where these have changed, the machine has."
    yield from _of(_CHECKS, before, after)
    yield ""
    yield f"The rest. Of a hundred figures that are as before, {CHANCE * 100:g} is said to have changed."
    yield from _of([name for name in before.samples if name not in _CHECKS], before, after)


def _of(names: Sequence[str], before: Run, after: Run) -> Iterator[str]:
    for name in names:
        for figure in (figure for case in CASES for figure in case.figures):
            one, other = before.of(name, figure.name), after.of(name, figure.name)
            if one and other:
                yield _line(name, figure, one, other)


def _line(name: str, figure: Figure, one: Sequence[float], other: Sequence[float]) -> str:
    was, now = median(one), median(other)
    change = f"{(now - was) / abs(was):+.1%}" if was else ""
    said = verdict(one, other)
    if said == CHANGE:
        said = "better" if (now > was) is figure.more_is_better else "worse"
    return f"{name:24}{figure.name:18}{number(was):>10}{number(now):>10} {figure.unit:12}{change:>9}  {said}".rstrip()
