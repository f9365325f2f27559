"""Measures case by case, everybody in turns: a machine's noise changes by the second, and so hits all alike.

Each round has processes of its own. Two of the same program may differ by a sixth for as long as they live, by where
in memory their parts have come to lie; the quartiles of one process's figures say nothing of that.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from shlex import split
from typing import Dict, List, Sequence, Tuple

from tests.bench.cases import CASES, Case
from tests.bench.figures import BenchError, UnservedError
from tests.bench.lab import ROOT, Lab, environment
from tests.bench.programs import Program
from tests.bench.turns import Effort, Turn

FULL = Effort(rounds=7, few=5, batch=0.5, lists=0.15, replay=5.0, pods_less=1, rest=1.0)
QUICK = Effort(rounds=1, few=1, batch=0.02, lists=0.02, replay=0.3, pods_less=10, rest=0.05)


def rounds(
    compiled: Path, effort: Effort, programs: Sequence[Program], cases: Sequence[Case] = CASES
) -> Dict[str, Dict[str, List[float]]]:
    """The figures of each contestant that is installed, one number a round. Raises BenchError.

    ``compiled``: a directory for byte code.
    """
    samples: Dict[str, Dict[str, List[float]]] = {}
    for number in range(effort.rounds):
        began = time.monotonic()
        with ExitStack() as stack:
            lab = Lab(stack, compiled)
            lab.enter(programs)
            for contestant in lab.contestants:
                samples.setdefault(contestant.name, {})
            for case in cases:
                if number < (effort.few if case.few else effort.rounds):
                    _one_case(lab, case, effort, number, samples)
        print(f"round {number + 1} of {effort.rounds}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return samples


def _one_case(lab: Lab, case: Case, effort: Effort, number: int, samples: Dict[str, Dict[str, List[float]]]) -> None:
    suited = [contestant for contestant in lab.contestants if case.suits(contestant)]
    # To and fro, so that nobody is always the one that follows the hardest work.
    for contestant in suited if number % 2 else reversed(suited):
        try:
            found = case.measure(Turn(lab, contestant, effort, number))
        except UnservedError:
            continue
        except OSError as error:
            raise BenchError(f"{contestant.name}: {case.title}: {error}") from error
        for figure, value in zip(case.figures, found):
            samples[contestant.name].setdefault(figure.name, []).append(value)


def version(command: str, compiled: Path) -> str:
    """What criproxy by this command says of itself. Raises BenchError."""
    try:
        done = subprocess.run(
            [*split(command), "--version"],
            cwd=ROOT,
            env=environment(compiled),
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{command}: {error}") from error
    if done.returncode:
        raise BenchError(f"{command}: {done.stderr}")
    return done.stdout.strip()


def busy(seconds: float = 0.5) -> float:
    """Which part of all cores' time others use at present."""

    def ticks() -> Tuple[int, int]:
        fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # idle and waiting for a disk

    (all_before, idle_before) = ticks()
    time.sleep(seconds)
    (all_after, idle_after) = ticks()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)
