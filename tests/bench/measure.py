"""What is measured, in turns: the noise of a machine changes by the second, and so hits all contestants alike.

What is added to a direct call depends on where the processes run. On one core a hop costs what it computes, and
`socat` computes nothing; across two cores it costs two awakenings of a core besides, which are the same for all and
far more than that. The scheduler chooses between the two by what else is going on. So latency is measured as the
scheduler will have it, which is the figure that a user gets, and apart, which comes out alike each time.

Each round has processes of its own. Two of the same program may differ by a sixth for as long as they live, by where
in memory their parts have come to lie; the quartiles of one process's figures say nothing of that.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import DefaultDict, Dict, List, Mapping, Optional, Sequence, Tuple

from criproxy.http2.grpc import prefix
from tests.bench import kubelet
from tests.bench.client import LatencyClient
from tests.bench.lab import METHOD, RUNTIME, BenchError, Contestant, Lab, Rival, Sizes, check, stop, tool, wait_for_both
from tests.bench.runtime import CHANGING, answers

CONCURRENCY = 32
_LOAD_TIMEOUT = 300.0
"""How long one run of h2load may take, seconds."""
_RATE = re.compile(r"finished in [^,]+, ([0-9.]+) req/s")
_DATA = re.compile(r"\((\d+)\) data$", re.M)


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, and calls in each."""

    rounds: int
    latencies: int
    lists: int
    rated: int
    rated_slow: int
    """The same for the relay of grpcio, which is slower by an order of magnitude."""
    starts: int
    grown: int
    """Calls between two looks at the memory."""
    replayed: float
    """For how long a kubelet's calls are made, seconds."""


FULL = Effort(
    rounds=13, latencies=400, lists=25, rated=15_000, rated_slow=1_500, starts=7, grown=200_000, replayed=60.0
)
QUICK = Effort(rounds=1, latencies=50, lists=3, rated=500, rated_slow=100, starts=1, grown=2_000, replayed=2.0)


@dataclass
class Samples:
    """One contestant's figures, each a median or a rate of one round."""

    p50: List[float] = field(default_factory=list)
    """ContainerStatus at concurrency 1, seconds; each process where the scheduler has put it."""
    p50_apart: List[float] = field(default_factory=list)
    """The same with a core for what stands in the middle and another for the rest; none where there is one core."""
    rate: List[float] = field(default_factory=list)
    """ContainerStatus at concurrency 32, calls a second."""
    same: List[float] = field(default_factory=list)
    """ListContainers of which nothing has changed since the call before, seconds."""
    changed: List[float] = field(default_factory=list)
    """ListContainers of which a container of each runtime has, seconds."""


@dataclass(frozen=True)
class Memory:
    """A proxy's resident memory, MB: before any call, after so many, after as many again, and after long lists."""

    idle: float
    once: Optional[float] = None
    twice: Optional[float] = None
    lists: Optional[float] = None


@dataclass(frozen=True)
class Start:
    """From the start of a proxy's process, seconds."""

    accepts: float
    answers: float
    """Until the first call has been answered, by which time it has found the primary runtime."""


def rounds(compiled: Path, effort: Effort, rivals: Sequence[Rival] = ()) -> Tuple[List[Contestant], Dict[str, Samples]]:
    """The contestants, and their samples by name, those of the second runtime among them."""
    made = answers()
    samples: DefaultDict[str, Samples] = defaultdict(Samples)
    for number in range(effort.rounds):
        with ExitStack() as stack:
            lab = Lab(stack, compiled)
            contestants = lab.contestants(rivals)
            everyone = [*contestants, lab.other]
            sizes = {found.name: check(found, made) for found in everyone if found.path}
            # To and fro, so that nobody is always the one that follows the hardest work.
            for contestant in everyone if number % 2 else reversed(everyone):
                into = samples[contestant.name]
                if contestant.path:
                    _one_turn(lab, contestant, sizes[contestant.name], effort, into)
        print(f"round {number + 1} of {effort.rounds}", file=sys.stderr)
    return contestants, samples


def _one_turn(lab: Lab, contestant: Contestant, sizes: Sizes, effort: Effort, into: Samples) -> None:
    if contestant is not lab.other:
        status = ("ContainerStatus", contestant.request, sizes.status)
        into.p50.append(latency(contestant, *status, effort.latencies))
        if len(os.sched_getaffinity(0)) > 1:
            with lab.apart():
                into.p50_apart.append(latency(contestant, *status, effort.latencies))
        calls = effort.rated_slow if contestant.name == "grpcio" else effort.rated
        if tool("h2load"):
            into.rate.append(load(lab, contestant, *status, calls))
    if not contestant.runtime:
        into.same.append(latency(contestant, "ListContainers", b"", sizes.containers, effort.lists))
        into.changed.append(latency(contestant, "ListContainers", CHANGING, sizes.containers, effort.lists))


def latency(contestant: Contestant, method: str, body: bytes, size: int, calls: int) -> float:
    """The median time of a call at concurrency 1, seconds."""
    try:
        client = LatencyClient(contestant.path, method, body, size)
        client.measure(max(2, calls // 10))
        found = statistics.median(client.measure(calls))
        client.close()
    except OSError as error:
        raise BenchError(f"{contestant.name}: {method}: {error}") from error
    return found


def load(lab: Lab, contestant: Contestant, method: str, body: bytes, size: int, calls: int) -> float:
    """Calls a second by h2load, on one connection as kubelet has it. Raises BenchError unless all answers are right."""
    request = Path(lab.path("request"))
    request.write_bytes(prefix(len(body)) + body)
    command = [tool("h2load") or "h2load", "-n", str(calls), "-c", "1", "-m", str(CONCURRENCY), "-d", str(request)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"--base-uri=unix:{contestant.path}"]
    try:
        done = subprocess.run(
            [*command, f"http://localhost{METHOD}{method}"], capture_output=True, text=True, timeout=_LOAD_TIMEOUT
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{contestant.name}: h2load has not ended in {error.timeout} s") from error
    rate, data = _RATE.search(done.stdout), _DATA.search(done.stdout)
    if done.returncode or f" {calls} succeeded," not in done.stdout or rate is None or data is None:
        raise BenchError(f"{contestant.name}: h2load:\n{done.stdout}{done.stderr}")
    if int(data[1]) != calls * size:
        raise BenchError(f"{contestant.name}: {calls} answers have {data[1]} bytes instead of {calls * size}")
    return float(rate[1])


def alone(compiled: Path, effort: Effort) -> Tuple[List[Start], Memory, float]:
    """What a proxy takes by itself: time to start, memory, and for a kubelet's calls a part of one core."""
    made = answers()
    with ExitStack() as stack:
        lab = Lab(stack, compiled)
        lab.criproxy("criproxy")
        wait_for_both(lab.path("criproxy"))
        known = (
            Contestant("criproxy, primary", lab.path("criproxy"), merges=True),
            Contestant("criproxy, alternative", lab.path("criproxy"), RUNTIME, merges=True),
        )
        sizes = {contestant.name: check(contestant, made) for contestant in known}
        return starts(lab, sizes, effort), memory(lab, sizes, effort), kubelet.share(lab, effort.replayed)


def memory(lab: Lab, sizes: Mapping[str, Sizes], effort: Effort) -> Memory:
    """A fresh proxy's memory before, between and after calls to either runtime, and after lists of both."""
    process = lab.criproxy("fresh")
    both = [
        (Contestant("criproxy, primary", lab.path("fresh")), effort.grown // 2),
        (Contestant("criproxy, alternative", lab.path("fresh"), RUNTIME), effort.grown // 2),
    ]
    wait_for_both(lab.path("fresh"))
    seen = [_resident(process)]
    while tool("h2load") and len(seen) < 3:
        for contestant, calls in both:
            load(lab, contestant, "ContainerStatus", contestant.request, sizes[contestant.name].status, calls)
        seen.append(_resident(process))
    if len(seen) == 3:
        for body in (b"", CHANGING):
            lists = sizes["criproxy, primary"].containers
            latency(both[0][0], "ListContainers", body, lists, max(2, effort.grown // 1000))
        seen.append(_resident(process))
    stop(process)
    return Memory(*seen)


def _resident(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return int(kilobytes) * 1024 / 1e6


def starts(lab: Lab, sizes: Mapping[str, Sizes], effort: Effort) -> List[Start]:
    """Some starts of a proxy whose runtimes are there."""
    found = []
    primary = sizes["criproxy, primary"].status
    for number in range(effort.starts):
        contestant = Contestant("criproxy, primary", lab.path(f"start{number}"))
        began = time.monotonic()
        process = lab.criproxy(f"start{number}")
        accepts = time.monotonic() - began
        client = LatencyClient(contestant.path, "ContainerStatus", contestant.request, primary)
        client.measure(1)
        found.append(Start(accepts, time.monotonic() - began))
        client.close()
        stop(process)
    return found


def difference(of: Sequence[float], to: Sequence[float]) -> float:
    """The median difference of what was measured in the same round."""
    return statistics.median(a - b for a, b in zip(of, to))


def quotient(of: Sequence[float], to: Sequence[float]) -> float:
    """The median quotient of what was measured in the same round."""
    return statistics.median(a / b for a, b in zip(of, to))


def busy(seconds: float = 0.5) -> float:
    """Which part of all cores' time others use at present."""

    def ticks() -> Tuple[int, int]:
        fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # idle and waiting for a disk

    (all_before, idle_before) = ticks()
    time.sleep(seconds)
    (all_after, idle_after) = ticks()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


def spread(samples: Sequence[float]) -> Tuple[float, float]:
    """The quartiles of the rounds."""
    if len(samples) < 2:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, n=4)
    return low, high
