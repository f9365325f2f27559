"""Benchmarks: criproxy beside what else could stand in its place. Nothing here passes or fails by a time.

    python -m tests.bench [--quick] [--only FIGURE]... [--criproxy COMMAND] [--against NAME=COMMAND]... [--json FILE]
                          [--plot DIR]
    python -m tests.bench --from FILE [--plot DIR]
    python -m tests.bench --compare BEFORE AFTER

All contestants are measured against the same runtimes (runtime.py), in turns. A figure is the median over the rounds,
each of which has processes of its own; what is compared (added to, of, times) is compared within each round first.
Every contestant's answers are checked by grpcio before anything is measured, and by their sizes while it is: a wrong
one ends the run with status 1.
"""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Optional, Sequence

from tests.bench import aims, compare, measure, plot, report
from tests.bench.cases import CASES
from tests.bench.figures import BenchError, Run
from tests.bench.programs import OTHERS, OWN, Program, criproxy, tool
from tests.bench.turns import Effort

UNITS = {figure.name: figure.unit for case in CASES for figure in case.figures}
_RUNTIMES = ["direct", "other"]


def measured(effort: Effort, command: str = OWN, rivals: Sequence[Program] = (), only: Sequence[str] = ("*",)) -> Run:
    """A run: criproxy by this command, what else there is, and rivals. Raises BenchError.

    ``only``: patterns of figures; what they are measured with is measured, too.
    """
    programs = [*OTHERS, *rivals, criproxy(command)]
    names = [*_RUNTIMES, *(program.name for program in programs)]
    if len(set(names)) < len(names):
        raise BenchError(f"two have one name: {', '.join(names)}")
    cases = [case for case in CASES if any(fnmatch(figure.name, each) for figure in case.figures for each in only)]
    if not cases:
        raise BenchError(f"no figure is called {' or '.join(only)}: there are {', '.join(UNITS)}")
    with TemporaryDirectory(prefix="bench-") as folder:
        compiled = Path(folder)
        version = measure.version(command, compiled)
        machine = report.machine(measure.busy())
        samples = measure.rounds(compiled, effort, programs, cases)
    absent = [program.name for program in programs if not program.installed]
    return Run(machine, version, absent, UNITS, samples)


def _show(run: Run) -> None:
    print("\n".join([*run.machine, run.version, ""]))
    print("\n".join(report.tables(run)))
    if not tool("h2load"):
        print("h2load is not installed: no calls a second")
    print("\n".join(aims.lines(run)))


def _program(text: str) -> Program:
    try:
        return Program.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="compare criproxy with what else there is"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: few calls, figures without meaning")
    parser.add_argument(
        "--only",
        metavar="FIGURE",
        action="append",
        help="measure this alone, and what comes with it: a name in the files of --json, or a pattern ('list_*')",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to a file, too")
    parser.add_argument("--plot", metavar="DIR", type=Path, help="draw lists-light.svg and lists-dark.svg there")
    parser.add_argument(
        "--criproxy",
        metavar="COMMAND",
        default=OWN,
        help="measure this criproxy, as it is shipped but in the unit's environment: /usr/bin/criproxy, or a compiled"
        f" tree's (env -C build/compiled {OWN}); otherwise this tree as source",
    )
    parser.add_argument(
        "--against",
        metavar="NAME=COMMAND",
        type=_program,
        action="append",
        default=[],
        help="measure this, too: {listen} is the socket to serve, {connect} what criproxy connects to, or {primary} the"
        " first runtime's socket alone; with the name 'go' it is what the aims about the Go program are for",
    )
    parser.add_argument(
        "--from", metavar="FILE", dest="source", type=Path, help="show what a run has written: measure nothing"
    )
    parser.add_argument(
        "--compare",
        metavar=("BEFORE", "AFTER"),
        nargs=2,
        type=Path,
        help="show what two runs have written, and which figures have changed by more than their rounds do",
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.compare:
        print("\n".join(compare.lines(*map(Run.load, options.compare))))
        return
    effort = measure.QUICK if options.quick else measure.FULL
    rest = (options.criproxy, options.against, options.only or ["*"])
    run = Run.load(options.source) if options.source else measured(effort, *rest)
    if options.json:
        run.save(options.json)
    _show(run)
    if options.plot:
        plot.write(run, options.plot)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Measures and prints."""
    try:
        _run(_parser().parse_args(arguments))
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
