"""What is printed: a table of the contestants, and the project's own aims with what was reached."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass
from importlib import metadata
from os import cpu_count
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence

from tests.bench.kubelet import PODS
from tests.bench.lab import Contestant
from tests.bench.measure import Memory, Samples, Start, difference, quotient, spread

_COLUMNS = (
    f"{'':21}{'p50 of a call, us':^26}{'the same, apart, us':^26}{'at concurrency 32':^22}{'list, ms':^18}\n"
    f"{'in the middle':21}{'p50':>6}{'quartiles':>12}{'added':>8}{'p50':>6}{'quartiles':>12}{'added':>8}"
    f"{'calls/s':>12}{'of direct':>10}{'same':>9}{'changed':>9}"
)
_BUSY = 0.1
"""Above this part of the machine's time, what others do decides over figures at concurrency 1."""


@dataclass(frozen=True)
class Aim:
    """A figure that the project has a limit for. ``reached`` is None where it could not be measured."""

    name: str
    reached: Optional[float]
    limit: Optional[float]
    """None for a figure that is there to be known."""
    unit: str
    at_least: bool = False


def machine(others: float) -> List[str]:
    """Where this was measured; ``others`` is `measure.busy` before it began."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("grpcio", "protobuf", "hpack"))
    facts = [
        f"{cpu_count()} cores ({model}), Linux {platform.release()}",
        f"Python {platform.python_version()}, {libraries}",
        f"Others use {others:.0%} of the machine.",
    ]
    if others > _BUSY:
        facts[-1] += " That is too much: expect latencies and lists to come out worse, and not to repeat."
    return facts


def table(contestants: Sequence[Contestant], samples: Mapping[str, Samples]) -> List[str]:
    """One line a contestant: medians over the rounds."""
    direct = samples["direct"]
    return [_COLUMNS, *(_row(contestant, samples[contestant.name], direct) for contestant in contestants)]


def _row(contestant: Contestant, found: Samples, direct: Samples) -> str:
    if not contestant.path:
        return f"{contestant.name:21}not installed"
    rate = f"{'-':>12}{'-':>10}"
    if found.rate:
        rate = f"{statistics.median(found.rate):12.0f}{quotient(found.rate, direct.rate):10.2f}"
    lists = f"{'':18}"
    if found.same:
        lists = f"{statistics.median(found.same) * 1e3:9.2f}{statistics.median(found.changed) * 1e3:9.2f}"
    latencies = _latency(found.p50, direct.p50) + _latency(found.p50_apart, direct.p50_apart)
    return f"{contestant.name:21}{latencies}{rate}{lists}"


def _latency(found: Sequence[float], direct: Sequence[float]) -> str:
    if not found:
        return f"{'-':>6}{'-':>12}{'-':>8}"
    low, high = spread(found)
    quartiles = f"{low * 1e6:.0f}-{high * 1e6:.0f}"
    return f"{statistics.median(found) * 1e6:6.0f}{quartiles:>12}{difference(found, direct) * 1e6:8.0f}"


def aims(samples: Mapping[str, Samples], starts: Sequence[Start], memory: Memory, busy: float) -> List[Aim]:
    """Each figure of the project's, beside its limit. ``busy``: which part of a core a kubelet takes."""
    found = [
        *_added("primary", samples),
        *_added("alternative", samples),
        _rated("primary", samples),
        _rated("alternative", samples),
        _listed("nothing new in it", samples, "same"),
        _listed("changed each time", samples, "changed"),
        Aim("first connection accepted after", statistics.median(start.accepts for start in starts), 0.3, "s"),
        Aim("first call answered after", statistics.median(start.answers for start in starts), 0.3, "s"),
        Aim("resident memory, idle", memory.idle, 30, "MB"),
    ]
    for name, before, after in (
        ("memory grown by the first calls", memory.idle, memory.once),
        ("memory grown by as many again", memory.once, memory.twice),
    ):
        grown = None if before is None or after is None else after - before
        found.append(Aim(name, grown, 0, "MB"))
    return [
        *found,
        Aim("resident memory after lists of 2 MB", memory.lists, None, "MB"),
        Aim(f"kubelet with {PODS} pods", busy * 100, None, "% of a core"),
    ]


def _added(runtime: str, samples: Mapping[str, Samples]) -> List[Aim]:
    return [
        Aim(f"p50 added, {runtime}{where}", _of_socats(runtime, samples, figure), 2, "x socat's")
        for where, figure in (("", "p50"), (", apart", "p50_apart"))
    ]


def _of_socats(runtime: str, samples: Mapping[str, Samples], figure: str) -> Optional[float]:
    direct, socat, ours = (getattr(samples[name], figure) for name in ("direct", "socat", f"criproxy, {runtime}"))
    least = difference(socat, direct) if socat else 0.0
    # In a short run socat may come out faster than nothing; then there is nothing to compare with.
    return difference(ours, direct) / least if least > 0 else None


def _rated(runtime: str, samples: Mapping[str, Samples]) -> Aim:
    ours, grpcio = samples[f"criproxy, {runtime}"], samples["grpcio"]
    reached = quotient(ours.rate, grpcio.rate) if ours.rate and grpcio.rate else None
    return Aim(f"calls/s at 32, {runtime}", reached, 8, "x grpcio's", at_least=True)


def _listed(what: str, samples: Mapping[str, Samples], figure: str) -> Aim:
    ours, one, other = (getattr(samples[name], figure) for name in ("criproxy, primary", "direct", "other"))
    both = [a + b for a, b in zip(one, other)]
    return Aim(f"list of both runtimes, {what}", quotient(ours, both), 3, "x the direct calls")


def line(aim: Aim) -> str:
    """An aim as it is printed."""
    reached = "not measured" if aim.reached is None else f"{aim.reached:.2f}"
    bound = "at least" if aim.at_least else "at most"
    limit = "" if aim.limit is None else f"({bound} {aim.limit:g})"
    return f"{aim.name:43}{reached:>12} {aim.unit:19}{limit}".rstrip()


def as_data(
    facts: Sequence[str],
    reached: Sequence[Aim],
    samples: Mapping[str, Samples],
    memory: Memory,
    starts: Sequence[Start],
) -> Dict[str, object]:
    """All figures for a program to read; times in seconds, memory in MB."""
    return {
        "machine": facts,
        "aims": [vars(aim) for aim in reached],
        "samples": {name: vars(found) for name, found in samples.items()},
        "memory": vars(memory),
        "starts": [vars(start) for start in starts],
    }
