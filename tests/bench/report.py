"""What is printed of a run: where it was, and tables of the contestants."""

from __future__ import annotations

import math
import platform
from importlib import metadata
from os import cpu_count
from pathlib import Path
from statistics import median
from typing import Dict, Iterator, List, Sequence

from tests.bench.cases import CASES
from tests.bench.figures import Figure, Run, differences, number, spread

_BUSY = 0.1
"""Above this part of the machine's time, what others do decides over figures at concurrency 1."""
_NAME, _CELL, _ADDED = 22, 21, 8
"""Widths of columns."""
_COLUMNS = 5
"""Figures side by side, at most."""


def machine(others: float) -> List[str]:
    """Where this is measured; ``others`` is `measure.busy` before it begins."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("grpcio", "protobuf"))
    facts = [
        f"{cpu_count()} cores ({model}), Linux {platform.release()}",
        f"Python {platform.python_version()}, {libraries}",
        f"Others use {others:.0%} of the machine.",
    ]
    if others > _BUSY:
        facts[-1] += " That is too much: expect latencies and lists to come out worse, and not to repeat."
    return facts


def tables(run: Run) -> Iterator[str]:
    """All figures: medians over the rounds, their quartiles, and what is added to a direct call."""
    sections: Dict[str, List[Figure]] = {}
    for case in CASES:
        sections.setdefault(case.title, []).extend(case.figures)
    for title, figures in sections.items():
        width = math.ceil(len(figures) / math.ceil(len(figures) / _COLUMNS))
        for at in range(0, len(figures), width):
            yield from _table(title, figures[at : at + width], run)
    yield "The CPU time of direct calls is the runtime's."
    yield from (f"{name:{_NAME}}not installed" for name in run.absent)


def _table(title: str, figures: Sequence[Figure], run: Run) -> Iterator[str]:
    rows = [name for name in run.samples if any(run.of(name, figure.name) for figure in figures)]
    if not rows:
        return
    yield title
    yield f"{'':{_NAME}}{''.join(map(_head, figures))}".rstrip()
    for name in rows:
        yield f"{name:{_NAME}}{''.join(_cell(name, figure, run) for figure in figures)}".rstrip()
    yield ""


def _head(figure: Figure) -> str:
    head = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
    return f"{head:>{_CELL}}{'added' if figure.added else '':>{_ADDED if figure.added else 0}}"


def _cell(name: str, figure: Figure, run: Run) -> str:
    found = run.of(name, figure.name)
    if not found:
        return " " * (_CELL + (_ADDED if figure.added else 0))
    quartiles = "-".join(map(number, spread(found)))
    cell = f"{number(median(found)):>7}{quartiles:>{_CELL - 7}}"
    if not figure.added:
        return cell
    return f"{cell}{number(median(differences(found, run.of('direct', figure.name)))):>{_ADDED}}"
