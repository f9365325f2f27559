"""A runtime that hangs: what that does to the calls of another."""

from __future__ import annotations

import os
import signal
from typing import List, Tuple

from tests.bench.check import wait_for
from tests.bench.client import LatencyClient
from tests.bench.lab import Lab
from tests.bench.programs import RUNTIME_IDS, Contestant, Program

_ASKED = 32
"""Calls that wait for the hung runtime."""


def times(lab: Lab, program: Program, size: int, seconds: float) -> Tuple[List[float], List[float]]:
    """The times of the primary runtime's calls while the alternative is well, and while it hangs; seconds.

    It is well before and after, half of the time each, so that what drifts does not count.
    """
    path, runtime = lab.new("proxy"), lab.runtime("hung")
    primary, alternative = (Contestant("", path, runtime=name) for name in RUNTIME_IDS[:2])
    with lab.fresh(program, path, [lab.direct.path, runtime.path]):
        wait_for(path, RUNTIME_IDS[:2])
        with LatencyClient(path, "ContainerStatus", primary.request, size) as client:
            client.measure(seconds / 10)
            well = client.measure(seconds / 2)
            os.kill(runtime.pid, signal.SIGSTOP)
            try:
                with LatencyClient(path, "ContainerStatus", alternative.request) as waiting:
                    waiting.ask(_ASKED)
                    hung = client.measure(seconds)
            finally:
                os.kill(runtime.pid, signal.SIGCONT)
            return well + client.measure(seconds / 2), hung
