"""How each case is measured: functions of a contestant's turn that give its figures' numbers.

What is added to a direct call depends on where the processes run. On one core a hop costs what it computes, and
`socat` computes nothing; across two cores it costs two awakenings of a core besides, which are the same for all and
far more than that. The scheduler chooses between the two by what else is going on. So latency is measured as the
scheduler will have it, which is the figure that a user gets, and apart, which comes out alike each time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Callable, List, Sequence, Tuple

from criproxy.cri.messages import api
from criproxy.http2.grpc import PREFIX_SIZE
from tests.bench import hung, kubelet, scraped
from tests.bench.check import list_size, wait_for
from tests.bench.client import LatencyClient
from tests.bench.figures import percentile
from tests.bench.lab import Lab
from tests.bench.load import load
from tests.bench.processes import resident, used
from tests.bench.programs import RUNTIME_IDS, Contestant, Program, outer_id, outer_image
from tests.bench.runtime import ALL, CONTAINERS, ID, IMAGE, OUTPUT, POD, SAME

PODS = (kubelet.PODS, 500)
RUNTIMES = (1, 2, 4)
SIZES = (100, 500, CONTAINERS, 2_000, 5_000)
"""Containers of each runtime."""
EVENTS = 1_000
"""A second."""
_REQUEST = 1 << 20
"""What is sent with CreateContainer, bytes."""
_FIRST_LOAD = 200
"""Calls by which the rate is found that says how many fill a batch."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    few: int
    """Rounds of the cases that take long."""
    batch: float
    """How long a contestant is called without a pause, seconds: many ticks of the clock, by which some time is told."""
    lists: float
    """The same for each kind of list."""
    replay: float
    """For how long a kubelet's calls are made, seconds."""
    pods_less: int
    """By what its pods are divided."""
    rest: float
    """How long after lists memory is looked at, seconds."""


@dataclass(frozen=True)
class Turn:
    """One contestant's turn at a case."""

    lab: Lab
    contestant: Contestant
    effort: Effort
    number: int
    """Of the round."""

    @property
    def program(self) -> Program:
        """What is started anew; only for those who suit `_started`."""
        assert self.contestant.program is not None
        return self.contestant.program

    def client(self, method: str, body: bytes, size: int) -> LatencyClient:
        """To the contestant."""
        return LatencyClient(self.contestant.path, method, body, size)

    def times(self, method: str, body: bytes, size: int, seconds: float) -> Tuple[List[float], float]:
        """Each call's time at concurrency 1, and the time of a processor that a call takes; seconds."""
        with self.client(method, body, size) as client:
            client.measure(seconds / 10, fewest=1)
            before = used(self.contestant.pid)
            times = client.measure(seconds)
            return times, (used(self.contestant.pid) - before) / len(times)


def alone(turn: Turn) -> Sequence[float]:
    """The median and the 99th percentile of a call at concurrency 1, us, and its time of a processor, us."""
    size = turn.lab.sizes[turn.contestant.name].status
    times, cost = turn.times("ContainerStatus", turn.contestant.request, size, turn.effort.batch)
    return median(times) * 1e6, percentile(times, 0.99) * 1e6, cost * 1e6


def apart(turn: Turn) -> Sequence[float]:
    """Both again, with a core for what stands in the middle and another for the rest."""
    size = turn.lab.sizes[turn.contestant.name].status
    with turn.lab.apart():
        times, _ = turn.times("ContainerStatus", turn.contestant.request, size, turn.effort.batch / 2)
    return median(times) * 1e6, percentile(times, 0.99) * 1e6


def loaded(connections: int) -> Callable[[Turn], Sequence[float]]:
    """Calls a second on so many connections, and the time of a processor that a call takes, us."""

    def measure(turn: Turn) -> Sequence[float]:
        lab, contestant = turn.lab, turn.contestant
        rate = load(lab, contestant, "ContainerStatus", _FIRST_LOAD, connections)
        calls = max(_FIRST_LOAD, int(rate * turn.effort.batch))
        before = used(contestant.pid)
        rate = load(lab, contestant, "ContainerStatus", calls, connections)
        return rate, (used(contestant.pid) - before) / calls * 1e6

    return measure


def exec_sync(turn: Turn) -> Sequence[float]:
    """A large answer: its time and its time of a processor, ms."""
    size = PREFIX_SIZE + api()["ExecSyncResponse"](stdout=bytes(OUTPUT)).ByteSize()
    times, cost = turn.times("ExecSync", turn.contestant.named("ExecSync", cmd=["true"]), size, turn.effort.lists)
    return median(times) * 1e3, cost * 1e3


def create(turn: Turn) -> Sequence[float]:
    """A large request: its time and its time of a processor, ms."""
    runtime = turn.contestant.runtime
    request: Any = api()["CreateContainerRequest"](pod_sandbox_id=outer_id(runtime, POD))
    request.config.metadata.name = "bench"
    request.config.image.image = outer_image(runtime, IMAGE)
    request.config.annotations["filler"] = "x" * _REQUEST
    size = PREFIX_SIZE + api()["CreateContainerResponse"](container_id=outer_id(runtime, ID)).ByteSize()
    times, cost = turn.times("CreateContainer", request.SerializeToString(), size, turn.effort.lists)
    return median(times) * 1e3, cost * 1e3


def events(turn: Turn) -> Sequence[float]:
    """The median and the 99th percentile of how long an event takes, us, and its time of a processor, us."""
    lab, contestant = turn.lab, turn.contestant
    sender = lab.other if contestant.runtime else lab.direct
    lab.tell_one(sender, events=EVENTS)
    try:
        before = used(contestant.pid)
        with turn.client("GetContainerEvents", b"", 0) as client:
            ages = client.events(turn.effort.batch)
        cost = used(contestant.pid) - before
    finally:
        lab.tell_one(sender, events=0)
    return median(ages) * 1e6, percentile(ages, 0.99) * 1e6, cost / len(ages) * 1e6


def listed(containers: int, change: str) -> Callable[[Turn], Sequence[float]]:
    """A list of so many containers in each runtime, ms."""

    def measure(turn: Turn) -> Sequence[float]:
        contestant = turn.contestant
        with turn.lab.listing(containers, change):
            size = list_size(contestant, containers * len(contestant.merged), change != SAME)
            return (median(turn.times("ListContainers", b"", size, turn.effort.lists)[0]) * 1e3,)

    return measure


def start(turn: Turn) -> Sequence[float]:
    """Until a fresh process accepts, and until it has answered, ms; then its resident memory, MB.

    The runtimes have nothing: what criproxy remembers of one that has is not idle memory.
    """
    path = turn.lab.new("start")
    with turn.lab.listing(0, SAME):
        began = time.monotonic()
        with turn.lab.fresh(turn.program, path, _two(turn.lab)) as process:
            accepts = time.monotonic() - began
            size = turn.lab.sizes[turn.contestant.name].status
            with LatencyClient(path, "ContainerStatus", turn.contestant.request, size) as client:
                client.call()
            answers = time.monotonic() - began
            wait_for(path, turn.contestant.merged)
            return accepts * 1e3, answers * 1e3, resident(process.pid)


def memory(turn: Turn) -> Sequence[float]:
    """How much larger a fresh process is a while after the longest lists than before any, MB."""
    path, containers = turn.lab.new("memory"), SIZES[-1]
    with turn.lab.listing(0, SAME), turn.lab.fresh(turn.program, path, _two(turn.lab)) as process:
        wait_for(path, turn.contestant.merged)
        idle = resident(process.pid)
        for change in (SAME, ALL):
            with turn.lab.listing(containers, change), LatencyClient(path, "ListContainers", b"") as client:
                client.measure(turn.effort.lists)
        time.sleep(turn.effort.rest)
        return (resident(process.pid) - idle,)


def _two(lab: Lab) -> List[str]:
    return [runtime.path for runtime in lab.runtimes(2)]


def of_runtimes(turn: Turn) -> Sequence[float]:
    """A call for each number of runtimes, us, and then a list for each, ms."""
    calls, lists = zip(*(_of_runtimes(turn, count) for count in RUNTIMES))
    return [*calls, *lists]


def _of_runtimes(turn: Turn, count: int) -> Tuple[float, float]:
    """A call, us, and a list, ms, with so many runtimes."""
    path, ids = turn.lab.new("runtimes"), RUNTIME_IDS[:count]
    with turn.lab.fresh(turn.program, path, [runtime.path for runtime in turn.lab.runtimes(count)]) as process:
        wait_for(path, ids)
        found = Contestant(turn.contestant.name, path, process.pid, turn.program, ids)
        here = Turn(turn.lab, found, turn.effort, turn.number)
        status = turn.lab.sizes[found.name].status
        calls, _ = here.times("ContainerStatus", found.request, status, turn.effort.lists)
        lists, _ = here.times("ListContainers", b"", list_size(found, CONTAINERS * count, False), turn.effort.lists)
        return median(calls) * 1e6, median(lists) * 1e3


def of_kubelet(turn: Turn) -> Sequence[float]:
    """What a kubelet takes of a core for each number of pods, %."""
    counts = [pods // turn.effort.pods_less for pods in PODS]
    return [share * 100 for share in kubelet.shares(turn.lab, turn.program, counts, turn.effort.replay, turn.number)]


def with_hung(turn: Turn) -> Sequence[float]:
    """The 99th percentile of a call while the other runtime is well, and while it hangs, us."""
    size = turn.lab.sizes[turn.contestant.name].status
    well, with_one = hung.times(turn.lab, turn.program, size, turn.effort.batch)
    return percentile(well, 0.99) * 1e6, percentile(with_one, 0.99) * 1e6


def with_scraper(turn: Turn) -> Sequence[float]:
    """The median and the 99th percentile of a call while nobody scrapes, then while somebody does each second, us."""
    size = turn.lab.sizes[turn.contestant.name].status
    both = scraped.times(turn.lab, turn.program, size, turn.effort.replay)
    return [figure * 1e6 for times in both for figure in (median(times), percentile(times, 0.99))]
