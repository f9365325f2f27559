"""Load by h2load: many calls at once."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from criproxy.http2.grpc import prefix
from tests.bench.figures import BenchError
from tests.bench.lab import Lab
from tests.bench.programs import Contestant, tool
from tests.bench.runtime import SERVICE

CONCURRENCY = 32
"""Calls at once, on all connections together."""
_TIMEOUT = 300.0
"""How long one run may take, seconds."""
_RATE = re.compile(r"finished in [^,]+, ([0-9.]+) req/s")
_DATA = re.compile(r"\((\d+)\) data$", re.M)


def load(lab: Lab, contestant: Contestant, method: str, calls: int, connections: int = 1) -> float:
    """Calls a second about the one container. Raises BenchError unless all answers are right."""
    body = contestant.request
    request = Path(lab.path("request"))
    request.write_bytes(prefix(len(body)) + body)
    command = [tool("h2load") or "h2load", "-n", str(calls), "-c", str(connections)]
    command += ["-m", str(CONCURRENCY // connections), "-d", str(request), f"--base-uri=unix:{contestant.path}"]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://localhost{SERVICE}{method}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{contestant.name}: h2load has not ended in {error.timeout} s") from error
    rate, data = _RATE.search(done.stdout), _DATA.search(done.stdout)
    if done.returncode or f" {calls} succeeded," not in done.stdout or rate is None or data is None:
        raise BenchError(f"{contestant.name}: h2load:\n{done.stdout}{done.stderr}")
    size = lab.sizes[contestant.name].status
    if int(data[1]) != calls * size:
        raise BenchError(f"{contestant.name}: {calls} answers have {data[1]} bytes instead of {calls * size}")
    return float(rate[1])
