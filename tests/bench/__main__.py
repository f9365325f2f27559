"""Benchmarks: criproxy beside what else could stand in its place. Nothing here passes or fails by a time.

    python -m tests.bench [--quick] [--json FILE] [--against NAME=COMMAND]...

All contestants are measured against the same two runtimes (runtime.py), in turns. A figure is the median over the
rounds, each of which has processes of its own; what is compared (added to, of, times) is compared within each round
first. Every contestant's answers are checked by grpcio before anything is measured, and by their sizes while it is: a
wrong one ends the run with status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Sequence

from tests.bench import measure, report
from tests.bench.lab import BenchError, Rival, tool


def _run(effort: measure.Effort, output: str, rivals: Sequence[Rival]) -> None:
    facts = report.machine(measure.busy())
    print("\n".join(facts))
    with TemporaryDirectory(prefix="bench-") as compiled:
        contestants, samples = measure.rounds(Path(compiled), effort, rivals)
        starts, memory, busy = measure.alone(Path(compiled), effort)
    print(f"Medians of {effort.rounds} rounds; memory after {effort.grown} calls and as many again.\n")
    for row in report.table(contestants, samples):
        print(row.rstrip())
    if not tool("h2load"):
        print("h2load is not installed: no calls a second, no memory under load")
    print()
    aims = report.aims(samples, starts, memory, busy)
    for aim in aims:
        print(report.line(aim))
    if output:
        data = report.as_data(facts, aims, samples, memory, starts)
        Path(output).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _rival(text: str) -> Rival:
    try:
        return Rival.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="compare criproxy with what else there is"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: few calls, figures without meaning")
    parser.add_argument("--json", metavar="FILE", default="", help="write all figures to a file, too")
    parser.add_argument(
        "--against",
        metavar="NAME=COMMAND",
        type=_rival,
        action="append",
        default=[],
        help="measure this, too: {listen} is the socket to serve, {connect} what criproxy connects to, or {primary} the"
        " first runtime's socket alone",
    )
    options = parser.parse_args()
    try:
        _run(measure.QUICK if options.quick else measure.FULL, options.json, options.against)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
