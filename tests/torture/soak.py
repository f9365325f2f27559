"""Soak: a kubelet's calls by the million while a runtime restarts again and again; what criproxy holds at the end.

    python -m tests.torture.soak [CALLS]

Memory, descriptors and calls under way are read after the first calls, when all clients have hung up, and likewise
after the last. It ends with status 1 if there is more of them at the end than `BARS` allow, if a call has failed that
no restart explains, or if an answer is not as it must be.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any, Dict, List, NamedTuple

from criproxy.client import Client, ClientError
from criproxy.cri.status import OWN_INFO
from criproxy.cri.versions import ApiVersion
from tests.torture.answers import ALTERNATIVE
from tests.torture.load import KUBELET, LOST, OK, Record
from tests.torture.scene import Load, Scene, TortureError, wait_until

CALLS = 1_000_000
FIRST = 10_000
"""Calls before the first look."""
RESTARTED = 5.0
"""How often the alternative runtime restarts, seconds."""


class Held(NamedTuple):
    """What criproxy holds while nobody calls it."""

    memory: int
    """resident, KiB"""
    descriptors: int
    streams: int
    """Calls under way, at all runtimes."""


BARS = Held(memory=8 << 10, descriptors=0, streams=0)
"""How much more there may be at the end: memory has the noise of its allocator, the others have none."""


class Soak:
    """Calls in rounds, and the restarts meanwhile."""

    def __init__(self, stack: ExitStack) -> None:
        self._scene = Scene(stack)
        self._wait_for_runtimes()
        self._idle = self._scene.descriptors()
        self.restarts = 0
        self.calls = 0
        self.unexplained: List[Record] = []

    def run(self, calls: int) -> None:
        """Makes so many calls."""
        over = threading.Event()
        restarting = threading.Thread(target=self._restart_until, args=(over,))
        restarting.start()
        load = Load(self._scene.path, KUBELET, 0, calls, self._note)
        try:
            load.wait()
        finally:
            load.kill()
            over.set()
            restarting.join()
        self.unexplained += load.records

    def _restart_until(self, over: threading.Event) -> None:
        while not over.wait(RESTARTED):
            self._scene.start_runtime(ALTERNATIVE)
            self.restarts += 1

    def _note(self, record: Record) -> bool:
        self.calls += 1
        if self.calls % 100_000 == 0:
            print(f"{self.calls} calls, {self._scene.memory('VmRSS') >> 20} MiB", file=sys.stderr)
        return record.outcome != OK and not (record.outcome == LOST and record.blame == ALTERNATIVE)

    def held(self) -> Held:
        """What there is once all runtimes are connected and all clients are gone. Raises TortureError."""
        self._wait_for_runtimes()
        streams = sum(one["callsInFlight"] for one in self._told()["runtimes"])
        # What a client had is given back a moment after it has gone; what is not, is told.
        wait_until(lambda: self._scene.descriptors() <= self._idle)
        return Held(self._scene.memory("VmRSS") >> 10, self._scene.descriptors(), streams)

    def _wait_for_runtimes(self) -> None:
        if not wait_until(lambda: all(one["available"] for one in self._told()["runtimes"])):
            raise TortureError(f"a runtime is not found: {self._told()}")

    def _told(self) -> Any:
        with Client(self._scene.path) as client:
            try:
                return json.loads(client.call_in(ApiVersion.V1, "Status", verbose=True).info[OWN_INFO])
            except ClientError as error:
                raise TortureError(f"no status: {error}") from error


def soak(calls: int) -> int:
    """Runs so many calls, prints what is held after the first and after the last, and gives the exit status."""
    began = time.monotonic()
    with ExitStack() as stack:
        run = Soak(stack)
        run.run(min(FIRST, calls))
        first = run.held()
        run.run(max(0, calls - FIRST))
        last = run.held()
    print(f"{'':14}{f'after {FIRST:,} calls':>22}{f'after {run.calls:,} calls':>24}{'may be more by':>18}")
    more: Dict[str, bool] = {}
    for name, at_first, at_last, bar in zip(Held._fields, first, last, BARS):
        more[name] = at_last - at_first > bar
        unit = " KiB" if name == "memory" else ""
        print(f"{name:14}{f'{at_first:,}{unit}':>22}{f'{at_last:,}{unit}':>24}{f'{bar:,}{unit}':>18}")
    rate = run.calls / (time.monotonic() - began)
    print(f"{run.restarts} restarts, {rate:,.0f} calls a second, {len(run.unexplained)} wrong")
    for record in run.unexplained[:10]:
        print(record.line())
    return 1 if any(more.values()) or run.unexplained else 0


def main() -> int:
    """Runs as many calls as are asked for."""
    try:
        return soak(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS)
    except TortureError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
