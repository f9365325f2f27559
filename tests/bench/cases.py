"""What is measured: a row for each case, with what it gives, and whom it suits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Callable, Iterator, Sequence, Tuple

from tests.bench import turns
from tests.bench.figures import Figure
from tests.bench.load import CONCURRENCY
from tests.bench.programs import Contestant, tool
from tests.bench.runtime import ALL, CONTAINERS, ONE, SAME
from tests.bench.turns import PODS, RUNTIMES, SIZES, Turn

CONNECTIONS = (1, 2, 8)
_NEAREST = ("direct", "haproxy")
"""What is compared with where it would take too long to compare with all."""


@dataclass(frozen=True)
class Case:
    """One row: what is measured in a turn gives the figures' numbers, in their units."""

    title: str
    """Rows of one title stand side by side in one table."""
    figures: Tuple[Figure, ...]
    measure: Callable[[Turn], Sequence[float]]
    suits: Callable[[Contestant], bool]
    few: bool = False
    """Whether it takes so long that not every round has it."""


def _calls(contestant: Contestant) -> bool:
    return contestant.name != "other"


def _two_cores(contestant: Contestant) -> bool:
    return _calls(contestant) and len(os.sched_getaffinity(0)) > 1


def _h2load(contestant: Contestant) -> bool:
    return _calls(contestant) and tool("h2load") is not None


def _near(contestant: Contestant) -> bool:
    return contestant.whole and (contestant.merges or contestant.name in _NEAREST)


def _near_h2load(contestant: Contestant) -> bool:
    return _near(contestant) and _h2load(contestant)


def _whole(contestant: Contestant) -> bool:
    return contestant.whole


def _runtime_or_merges(contestant: Contestant) -> bool:
    return contestant.whole and (contestant.merges or contestant.program is None)


def _started(contestant: Contestant) -> bool:
    return contestant.whole and contestant.program is not None


def _near_started(contestant: Contestant) -> bool:
    return _near(contestant) and _started(contestant)


def _merges(contestant: Contestant) -> bool:
    return contestant.whole and contestant.merges


_ALONE = "a call of ContainerStatus alone"
_LARGE = "16 MiB from ExecSync, 1 MiB to CreateContainer"
_CHANGES = {SAME: "nothing changed", ONE: "one changed in each runtime", ALL: "all changed"}


def _list_cases() -> Iterator[Case]:
    for change, title in _CHANGES.items():
        for size in SIZES if change != ONE else (CONTAINERS,):
            figure = Figure(list_figure(change, size), f"{size:,}", "ms")
            suits = _whole if size == CONTAINERS else _runtime_or_merges
            yield Case(
                f"ListContainers of so many in each runtime, {title}", (figure,), turns.listed(size, change), suits
            )


def list_figure(change: str, size: int) -> str:
    """The name of the figure."""
    return f"list_{change}_{size}"


def _loads() -> Iterator[Case]:
    for count in CONNECTIONS:
        figures = (
            Figure(f"rate_{count}", "rate", "calls/s", more_is_better=True),
            Figure(f"cpu_rate_{count}", "CPU", "us"),
        )
        title = f"{CONCURRENCY} calls at once, connections: {count}"
        yield Case(title, figures, turns.loaded(count), _h2load if count == 1 else _near_h2load)


CASES: Tuple[Case, ...] = (
    Case(
        _ALONE,
        (Figure("p50", "p50", "us", added=True), Figure("p99", "p99", "us", added=True), Figure("cpu", "CPU", "us")),
        turns.alone,
        _calls,
    ),
    Case(
        f"{_ALONE}, apart",
        (Figure("p50_apart", "p50", "us", added=True), Figure("p99_apart", "p99", "us", added=True)),
        turns.apart,
        _two_cores,
    ),
    *_loads(),
    Case(_LARGE, (Figure("exec", "ExecSync", "ms"), Figure("cpu_exec", "CPU", "ms")), turns.exec_sync, _calls),
    Case(_LARGE, (Figure("create", "Create", "ms"), Figure("cpu_create", "CPU", "ms")), turns.create, _calls),
    Case(
        f"{turns.EVENTS:,} events a second",
        (Figure("event", "p50", "us"), Figure("event_p99", "p99", "us"), Figure("cpu_event", "CPU", "us")),
        turns.events,
        _calls,
    ),
    *_list_cases(),
    Case(
        "a process from its start",
        (Figure("accepts", "accepts", "ms"), Figure("answers", "answers", "ms"), Figure("idle", "idle", "MB")),
        turns.start,
        _started,
    ),
    Case(
        f"memory after lists of 2 x {SIZES[-1]:,}",
        (Figure("grown", "more", "MB"),),
        turns.memory,
        _near_started,
        few=True,
    ),
    Case(
        f"1, 2 and 4 runtimes: a call to the first, and a list of {CONTAINERS:,} in each",
        (
            *(Figure(f"call_of_{count}", f"p50 of {count}", "us") for count in RUNTIMES),
            *(Figure(f"list_of_{count}", f"list of {count}", "ms") for count in RUNTIMES),
        ),
        turns.of_runtimes,
        _merges,
        few=True,
    ),
    Case(
        "while the alternative runtime hangs, a call to the primary",
        (Figure("well", "p99, well", "us"), Figure("hung", "p99, hung", "us")),
        turns.with_hung,
        _merges,
        few=True,
    ),
    Case(
        "while metrics are scraped each second, a call to the primary",
        (
            Figure("p50_unscraped", "p50, not", "us"),
            Figure("p99_unscraped", "p99, not", "us"),
            Figure("p50_scraped", "p50, scraped", "us"),
            Figure("p99_scraped", "p99, scraped", "us"),
        ),
        turns.with_scraper,
        _merges,
        few=True,
    ),
    Case(
        "a kubelet of so many pods",
        tuple(Figure(f"kubelet_{pods}", f"{pods}", "% of a core") for pods in PODS),
        turns.of_kubelet,
        _near_started,
        few=True,
    ),
)
"""In this order in each round."""
