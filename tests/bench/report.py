"""What is printed: a table of the contestants, and the project's own aims with what was reached."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass
from importlib import metadata
from os import cpu_count, getloadavg
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence

from tests.bench.lab import Contestant
from tests.bench.measure import Memory, Samples, Start, difference, quotient, spread

_COLUMNS = (
    f"{'in the middle':23}{'p50, us':>8}{'quartiles':>13}{'added, us':>11}{'calls/s at 32':>15}{'of direct':>11}"
    f"{'list, ms':>10}{'changed, ms':>13}"
)


@dataclass(frozen=True)
class Aim:
    """A figure that the project has a limit for. ``reached`` is None where it could not be measured."""

    name: str
    reached: Optional[float]
    limit: float
    unit: str
    at_least: bool = False


def machine() -> str:
    """Where this was measured."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("grpcio", "protobuf", "hpack"))
    return (
        f"{cpu_count()} cores ({model}), load {getloadavg()[0]:.2f}, Linux {platform.release()}\n"
        f"Python {platform.python_version()}, {libraries}"
    )


def table(contestants: Sequence[Contestant], samples: Mapping[str, Samples]) -> List[str]:
    """One line a contestant: medians over the rounds."""
    direct = samples["direct"]
    return [_COLUMNS, *(_row(contestant, samples[contestant.name], direct) for contestant in contestants)]


def _row(contestant: Contestant, found: Samples, direct: Samples) -> str:
    if not contestant.path:
        return f"{contestant.name:23}not installed"
    low, high = spread(found.p50)
    p50 = f"{statistics.median(found.p50) * 1e6:8.0f}{f'{low * 1e6:.0f}-{high * 1e6:.0f}':>13}"
    added = f"{difference(found.p50, direct.p50) * 1e6:11.0f}"
    rate = f"{'-':>15}{'-':>11}"
    if found.rate:
        rate = f"{statistics.median(found.rate):15.0f}{quotient(found.rate, direct.rate):11.2f}"
    lists = f"{'':23}"
    if found.same:
        lists = f"{statistics.median(found.same) * 1e3:10.2f}{statistics.median(found.changed) * 1e3:13.2f}"
    return f"{contestant.name:23}{p50}{added}{rate}{lists}"


def aims(samples: Mapping[str, Samples], starts: Sequence[Start], memory: Memory) -> List[Aim]:
    """Each figure of the project's, beside its limit."""
    found = [
        *_added("primary", samples),
        *_added("alternative", samples),
        *_rates("primary", samples),
        *_rates("alternative", samples),
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
    return found


def _added(runtime: str, samples: Mapping[str, Samples]) -> List[Aim]:
    direct, socat, ours = samples["direct"], samples["socat"], samples[f"criproxy, {runtime}"]
    reached = None
    if socat.p50:
        reached = difference(ours.p50, direct.p50) / difference(socat.p50, direct.p50)
    return [Aim(f"p50 added, {runtime}", reached, 2, "x socat's")]


def _rates(runtime: str, samples: Mapping[str, Samples]) -> List[Aim]:
    ours, grpcio = samples[f"criproxy, {runtime}"], samples["grpcio"]
    reached = quotient(ours.rate, grpcio.rate) if ours.rate and grpcio.rate else None
    return [Aim(f"calls/s at 32, {runtime}", reached, 8, "x grpcio's", at_least=True)]


def _listed(what: str, samples: Mapping[str, Samples], figure: str) -> Aim:
    ours, one, other = (getattr(samples[name], figure) for name in ("criproxy, primary", "direct", "other"))
    both = [a + b for a, b in zip(one, other)]
    return Aim(f"list of both runtimes, {what}", quotient(ours, both), 3, "x the direct calls")


def line(aim: Aim) -> str:
    """An aim as it is printed."""
    reached = "not measured" if aim.reached is None else f"{aim.reached:.2f}"
    bound = "at least" if aim.at_least else "at most"
    return f"{aim.name:43}{reached:>12} {aim.unit:19}({bound} {aim.limit:g})"


def as_data(
    aims_: Sequence[Aim], samples: Mapping[str, Samples], memory: Memory, starts: Sequence[Start]
) -> Dict[str, object]:
    """All figures for a program to read; times in seconds, memory in MB."""
    return {
        "machine": machine().splitlines(),
        "aims": [vars(aim) for aim in aims_],
        "samples": {name: vars(found) for name, found in samples.items()},
        "memory": vars(memory),
        "starts": [vars(start) for start in starts],
    }
