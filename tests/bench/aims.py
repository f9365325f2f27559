"""The project's own aims, and what a run has reached of them. Nearly all are ratios: these hold on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Callable, List, Optional, Sequence

from tests.bench.cases import list_figure
from tests.bench.figures import Run, differences, number, quotients, spread
from tests.bench.load import CONCURRENCY
from tests.bench.runtime import ALL, CONTAINERS, SAME
from tests.bench.turns import PODS, SIZES

_OURS, _ALTERNATIVE = "criproxy", "criproxy, alternative"
_GO = "go"
"""The name by which the Go program takes part, if it does."""
Reached = Callable[[Run], Sequence[float]]
"""One number a round; none if it was not measured."""


@dataclass(frozen=True)
class Aim:
    """A figure that the project has a limit for."""

    name: str
    reached: Reached
    limit: float
    """For what is compiled."""
    unit: str
    plain: Optional[float] = None
    """The limit for plain Python, where it is another."""
    at_least: bool = False
    against: str = ""
    """The aim is told only if this takes part."""

    def limit_of(self, run: Run) -> float:
        """What is to be reached by the build that was measured."""
        return self.limit if run.is_compiled or self.plain is None else self.plain


def lines(run: Run) -> List[str]:
    """All aims beside what was reached."""
    build = "compiled" if run.is_compiled else "plain Python"
    told = [aim for aim in AIMS if not aim.against or aim.against in run.samples]
    return [f"Aims of {run.version}, which is {build}: medians of the rounds, their quartiles, and the limits"] + [
        line(aim, run) for aim in told
    ]


def line(aim: Aim, run: Run) -> str:
    """An aim as it is printed."""
    found = aim.reached(run)
    limit = f"{'>=' if aim.at_least else '<='} {aim.limit_of(run):g}"
    if not found:
        return f"{aim.name:45}{'not measured':>24} {aim.unit:14}{limit}"
    reached = median(found)
    well = reached >= aim.limit_of(run) if aim.at_least else reached <= aim.limit_of(run)
    quartiles = "-".join(map(number, spread(found)))
    return f"{aim.name:45}{number(reached):>9}{quartiles:>15} {aim.unit:14}{limit:9}{'' if well else 'missed'}".rstrip()


def _quotient(figure: str, to: str, of: str = _OURS) -> Reached:
    return lambda run: quotients(run.of(of, figure), run.of(to, figure))


def _added(figure: str, to: str, of: str = _OURS) -> Reached:
    """What one adds to a direct call, as a multiple of what another adds."""

    def reached(run: Run) -> Sequence[float]:
        direct = run.of("direct", figure)
        return quotients(*(differences(run.of(name, figure), direct) for name in (of, to)))

    return reached


def _own(figure: str) -> Reached:
    return lambda run: run.of(_OURS, figure)


def slower(run: Run, figure: str) -> Sequence[float]:
    """What the slower of the two runtimes takes by itself."""
    return [max(pair) for pair in zip(run.of("direct", figure), run.of("other", figure))]


def _listed(change: str) -> Reached:
    figure = list_figure(change, CONTAINERS)
    return lambda run: quotients(run.of(_OURS, figure), slower(run, figure))


def _flat(change: str) -> Reached:
    """What a container costs in the longest list, as a multiple of what it costs in the shortest."""
    least, most = SIZES[0], SIZES[-1]

    def reached(run: Run) -> Sequence[float]:
        found = quotients(run.of(_OURS, list_figure(change, most)), run.of(_OURS, list_figure(change, least)))
        return [each * least / most for each in found]

    return reached


AIMS = (
    Aim("added to the p50 of a call", _added("p50", "haproxy"), 1, "x HAProxy's", plain=1.2),
    Aim("the same, apart", _added("p50_apart", "haproxy"), 1, "x HAProxy's", plain=1.2),
    Aim("the same, alternative", _added("p50", _OURS, _ALTERNATIVE), 1.1, "x primary's"),
    Aim("the same, alternative, apart", _added("p50_apart", _OURS, _ALTERNATIVE), 1.1, "x primary's"),
    Aim("p99 of a call", _quotient("p99", "haproxy"), 1.2, "x HAProxy's"),
    Aim("the same, apart", _quotient("p99_apart", "haproxy"), 1.2, "x HAProxy's"),
    Aim(f"calls/s at {CONCURRENCY}", _quotient("rate_1", "haproxy"), 0.85, "x HAProxy's", plain=0.65, at_least=True),
    Aim("CPU of a call", _quotient("cpu", "haproxy"), 1.7, "x HAProxy's"),
    Aim(f"the same at {CONCURRENCY}", _quotient("cpu_rate_1", "haproxy"), 1.7, "x HAProxy's"),
    Aim(f"list of 2 x {CONTAINERS:,}, nothing changed", _listed(SAME), 1.3, "x the slower"),
    Aim("the same, all changed", _listed(ALL), 2, "x the slower"),
    Aim(f"a container of {SIZES[-1]:,}, nothing changed", _flat(SAME), 1.2, f"x one of {SIZES[0]}"),
    Aim("the same, all changed", _flat(ALL), 1.2, f"x one of {SIZES[0]}"),
    Aim("resident memory, idle", _own("idle"), 22, "MB"),
    Aim(f"a second after lists of 2 x {SIZES[-1]:,}, more", _own("grown"), 20, "MB"),
    Aim("first connection accepted after", _own("accepts"), 80, "ms"),
    Aim("first call answered after", _own("answers"), 80, "ms"),
    Aim(f"kubelet of {PODS[0]} pods", _own(f"kubelet_{PODS[0]}"), 0.8, "% of a core"),
    Aim(f"kubelet of {PODS[1]} pods", _own(f"kubelet_{PODS[1]}"), 4, "% of a core"),
    Aim(
        "p99 of a call while the other runtime hangs",
        lambda run: quotients(run.of(_OURS, "hung"), run.of(_OURS, "well")),
        1.1,
        "x otherwise",
    ),
    Aim(
        "p99 of a call while metrics are scraped",
        lambda run: quotients(run.of(_OURS, "p99_scraped"), run.of(_OURS, "p99_unscraped")),
        1.1,
        "x otherwise",
    ),
    Aim("added to the p50 of a call", _added("p50", _GO), 0.4, "x Go's", against=_GO),
    Aim(f"calls/s at {CONCURRENCY}", _quotient("rate_1", _GO), 1.6, "x Go's", at_least=True, against=_GO),
)
