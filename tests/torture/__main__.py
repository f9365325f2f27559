"""Torture of criproxy: each attack and fault in turn, under load, and a table of what it has done to others.

    python -m tests.torture [--for SECONDS] [--strict] [--list] [ROW...]

It ends with status 1 if an answer was lost or mixed, criproxy has ended by itself, has kept memory or descriptors, or
has taken more memory than it may. Times are shown, and count with --strict only: they are the machine's, too.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from contextlib import ExitStack
from typing import List, Sequence

from tests.torture.answers import ALTERNATIVE, PRIMARY
from tests.torture.load import BOTH, Record
from tests.torture.rows import ROWS, Row
from tests.torture.scene import Load, Scene, TortureError, wait_until
from tests.torture.verdict import Period, judge, table

LONG = 900.0
"""How long all rows may take, seconds, unless something else is said."""
_OWNERS = (PRIMARY, ALTERNATIVE, BOTH)
_CALM, _DISTURBED = 0.25, 0.5
"""Which part of a row's time is undisturbed, and which is not; the rest is for processes to start and to recover."""
_LEAST = 1.0
"""How long a row goes on at least, seconds."""
_FRAME = re.compile(r'^  File ".*?([^/"]+)", line (\d+) in (\w+)')
"""A line of what faulthandler writes."""
_SHORT, _FRAMES = r"\3 (\1:\2)", 3
"""How a frame is shown, and how many are."""
_DESCRIPTORS = 8
"""How many more may be open at the end than at the beginning: those of connections that are being given back."""


class Torture:
    """One run. ``lie``: how the primary runtime misbehaves, for tests of this."""

    def __init__(self, stack: ExitStack, lie: str = "") -> None:
        self._scene = Scene(stack, lie)
        self._descriptors = self._scene.descriptors()
        self._load = Load(self._scene.path)
        stack.callback(self._load.kill)
        self._seen = 0
        self.began = 0.0
        """When all runtimes have answered; the calls before that had to wait for processes to start."""

    def run(self, rows: Sequence[Row], seconds: float) -> List[Period]:
        """Each row's period. Raises TortureError if there is no call that succeeds to begin with."""
        deadline = time.monotonic() + seconds
        self.began = self._load.wait_for(_OWNERS, 0.0) or 0.0
        if not self.began:
            raise TortureError(f"no answers: {[one.line() for one in self._load.records[-5:]]}")
        periods = []
        for at, row in enumerate(rows):
            each = max(0.0, deadline - time.monotonic()) / (len(rows) - at)
            periods.append(self._one(row, each))
            print(f"{at + 1} of {len(rows)}: {row.title}: {periods[-1].times} times", file=sys.stderr)
        return periods

    def _one(self, row: Row, seconds: float) -> Period:
        scene = self._scene
        time.sleep(max(_LEAST / 2, seconds * _CALM))  # the calls meanwhile are the undisturbed ones
        scene.reset_peak()
        begin = time.monotonic()
        times = row.disturb(scene, max(_LEAST, seconds * _DISTURBED))
        end = time.monotonic()
        scene.check()
        well = self._load.wait_for(_OWNERS, end)
        peak = scene.memory()
        if well is None:
            # As the watchdog does, at which criproxy shows where it is. The next row is to begin with one that is well.
            scene.restart_proxy(signal.SIGABRT)
            self._load.wait_for(_OWNERS, time.monotonic())
        return Period(row, begin, end, well, times, peak, tuple(self._problems()))

    def _problems(self) -> List[str]:
        found, self._scene.crashes = self._scene.crashes, []
        new, self._seen = self._scene.logged()[self._seen :], self._seen
        self._seen += len(new)
        found += [line for line in new if "internal error" in line][:1]
        frames = list(filter(None, map(_FRAME.search, new)))[:_FRAMES]
        return found + ([f"stuck in {' < '.join(frame.expand(_SHORT) for frame in frames)}"] if frames else [])

    def finish(self) -> List[str]:
        """Ends the load; gives what criproxy has kept of it."""
        self._load.finish()
        most = self._descriptors + _DESCRIPTORS
        if wait_until(lambda: self._scene.descriptors() <= most):
            return []
        return [f"{self._scene.descriptors()} descriptors are open, at first {self._descriptors}"]

    @property
    def records(self) -> List[Record]:
        """All calls that are over."""
        return self._load.records


def torture(rows: Sequence[Row], seconds: float, strict: bool = False, lie: str = "") -> int:
    """Runs these rows, prints what they have come to, and gives the exit status. Raises TortureError."""
    with ExitStack() as stack:
        run = Torture(stack, lie)
        periods = run.run(rows, seconds)
        kept = run.finish()
    results, bad = judge(run.records, periods, run.began)
    print("\n".join(table(results)))
    for result in results:
        for example in result.examples:
            print(f"{result.period.row.title}: {example}")
    for record in bad[:10]:
        print(f"undisturbed: {record.line()}")
    for each in kept:
        print(each)
    broken = [one for one in results if one.failures or (strict and one.slow)]
    print(f"{len(run.records)} calls, {len(results)} rows, {len(broken)} not well, {len(bad)} failures undisturbed")
    return 1 if broken or bad or kept else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="attack criproxy under load")
    parser.add_argument("--for", dest="seconds", type=float, default=LONG, help="how long all rows take, seconds")
    parser.add_argument("--strict", action="store_true", help="bars of time count, too")
    parser.add_argument("--list", action="store_true", help="show the rows")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows whose title has this in it; all, if none is given")
    return parser


def main() -> int:
    """Runs what is asked for."""
    options = _parser().parse_args()
    rows = [row for row in ROWS if not options.rows or any(word in row.title for word in options.rows)]
    if not rows:
        print(f"torture: no row has {options.rows} in its title; see --list", file=sys.stderr)
        return 2
    if options.list:
        for row in rows:
            print(f"{row.title:40}{row.what}")
        return 0
    try:
        return torture(rows, options.seconds, options.strict)
    except TortureError as error:
        print(f"torture: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
