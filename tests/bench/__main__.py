"""Benchmarks: criproxy beside what else could stand in its place. Nothing here passes or fails by a time.

    python -m tests.bench [--quick] [--json FILE]

All contestants are measured against the same backend (backend.py), in turns, so that the noise of the machine hits
all alike; a figure is the median over the turns. Latency is measured by client.py, throughput by h2load. Every
contestant's answer is checked by a call of grpcio's before anything is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Sequence

import grpc

from criproxy.cri.messages import api
from tests.bench.backend import CONTAINERS, ID
from tests.bench.client import LatencyClient

ROOT = Path(__file__).parents[2]
METHOD = "/runtime.v1.RuntimeService/"
RUNTIME = "bench.test"
HAPROXY = """\
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend f
    bind unix@{listen} proto h2
    default_backend b
backend b
    server s unix@{connect} proto h2
"""


@dataclass
class Contestant:
    """Something to call. ``prefix`` stands before the ids that it knows."""

    name: str
    path: str
    prefix: str = ""
    latencies: List[float] = field(default_factory=list)
    rates: List[float] = field(default_factory=list)
    lists: List[float] = field(default_factory=list)


class Lab:
    """The processes of one run, in a directory of their own."""

    def __init__(self, stack: ExitStack) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        stack.callback(shutil.rmtree, self.folder)
        self._stack = stack

    def path(self, name: str) -> str:
        """A socket's path."""
        return str(self.folder / name)

    def start(self, listen: str, *command: str) -> subprocess.Popen[bytes]:
        """Starts a process and waits until its socket accepts."""
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self._stack.callback(_stop, process)
        _wait_for(listen, process)
        return process

    def python(self, listen: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts one of the project's modules."""
        return self.start(listen, sys.executable, "-m", module, *arguments)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(path: str, process: subprocess.Popen[bytes]) -> None:
    """Busily, since how fast a process is there is one of the figures."""
    deadline = time.monotonic() + 20
    with socket.socket(socket.AF_UNIX) as sock:
        while sock.connect_ex(path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{process.args!r} does not serve {path}")


def contestants(lab: Lab) -> List[Contestant]:
    """Starts what is installed; says what is not."""
    direct, other = lab.path("direct"), lab.path("other")
    for path in (direct, other):
        lab.python(path, "tests.bench.backend", path)
    found = [Contestant("direct", direct)]

    def add(name: str, *command: str, prefix: str = "", needs: str = "") -> None:
        if needs and not shutil.which(needs):
            print(f"{name}: not installed")
            return
        path = lab.path(name)
        lab.start(path, *command)
        found.append(Contestant(name, path, prefix))

    def haproxy() -> str:
        file = lab.folder / "haproxy.cfg"
        file.write_text(HAPROXY.format(listen=lab.path("haproxy"), connect=direct))
        return str(file)

    add("socat", "socat", f"UNIX-LISTEN:{lab.path('socat')},fork", f"UNIX-CONNECT:{direct}", needs="socat")
    add("haproxy", "haproxy", "-q", "-f", haproxy(), needs="haproxy")
    add(
        "nghttpx",
        *("nghttpx", "--conf=/dev/null", "--single-thread", "--accesslog-file=/dev/null"),
        *(f"--frontend=unix:{lab.path('nghttpx')};no-tls", f"--backend=unix:{direct};;proto=h2"),
        needs="nghttpx",
    )
    add("grpcio", sys.executable, "-m", "tests.bench.grpcio_relay", lab.path("grpcio"), direct)
    proxy = lab.path("criproxy")
    connect = ["-connect", f"{direct},{RUNTIME}:{other}", "-listen", proxy]
    lab.python(proxy, "criproxy", *connect)
    found.append(Contestant("criproxy primary", proxy))
    found.append(Contestant("criproxy other", proxy, f"{RUNTIME}__"))
    return found


def check(contestant: Contestant) -> None:
    """Its answers must be right before they can be fast."""
    messages = api("runtime.v1")
    options = (("grpc.max_receive_message_length", -1),)
    name = contestant.prefix + ID
    with grpc.insecure_channel(f"unix:{contestant.path}", options=options) as channel:
        request = messages["ContainerStatusRequest"](container_id=name).SerializeToString()
        call = channel.unary_unary(f"{METHOD}ContainerStatus")
        raw = call(request, timeout=30, wait_for_ready=True)
        status = messages["ContainerStatusResponse"].FromString(raw).status
        assert status.id == name, f"{contestant.name}: {status.id}"
        raw = channel.unary_unary(f"{METHOD}ListContainers")(b"", timeout=30)
        count = len(messages["ListContainersResponse"].FromString(raw).containers)
        wanted = 2 * CONTAINERS if contestant.name.startswith("criproxy") else CONTAINERS
        assert count == wanted, f"{contestant.name}: {count} containers"


def request(contestant: Contestant) -> bytes:
    """ContainerStatusRequest{container_id}."""
    name = (contestant.prefix + ID).encode()
    return b"\x0a" + bytes((len(name),)) + name


def latency(contestant: Contestant, method: str, body: bytes, calls: int) -> float:
    """The median time of a call at concurrency 1, seconds."""
    client = LatencyClient(contestant.path, method, body)
    client.measure(max(3, calls // 10))
    found = statistics.median(client.measure(calls))
    client.close()
    return found


def rate(lab: Lab, contestant: Contestant, calls: int, concurrency: int = 32) -> float:
    """Calls a second by h2load."""
    data = lab.folder / "request"
    body = request(contestant)
    data.write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
    command = ["h2load", "-n", str(calls), "-c", "1", "-m", str(concurrency), "-d", str(data)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"--base-uri=unix:{contestant.path}"]
    result = subprocess.run(
        [*command, f"http://localhost{METHOD}ContainerStatus"], capture_output=True, text=True, check=True
    )
    if f"{calls} succeeded" not in result.stdout:
        raise SystemExit(f"{contestant.name}: {result.stdout}")
    line = next(line for line in result.stdout.splitlines() if line.startswith("finished in"))
    return float(line.split(",")[1].split()[0])


def resident(process: subprocess.Popen[bytes]) -> float:
    """Resident memory, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1000


def memory(lab: Lab, calls: int) -> List[float]:
    """A fresh proxy's memory: idle, after so many calls, after as many again."""
    path = lab.path("fresh")
    connect = f"{lab.path('direct')},{RUNTIME}:{lab.path('other')}"
    process = lab.python(path, "criproxy", "-connect", connect, "-listen", path)
    both = [Contestant("fresh", path), Contestant("fresh", path, f"{RUNTIME}__")]
    for contestant in both:
        check_status(contestant)
    found = [resident(process)]
    for _ in range(2):
        for contestant in both:
            rate(lab, contestant, calls // 2)
        found.append(resident(process))
    _stop(process)
    return found


def check_status(contestant: Contestant) -> None:
    """One call, so that what is made at the first one is there."""
    latency(contestant, "ContainerStatus", request(contestant), 1)


def readiness(lab: Lab, times: int) -> List[float]:
    """From the start of a proxy's process until its socket accepts, seconds."""
    found = []
    for number in range(times):
        path = lab.path(f"ready{number}")
        start = time.monotonic()
        process = lab.python(path, "criproxy", "-connect", lab.path("direct"), "-listen", path)
        found.append(time.monotonic() - start)
        _stop(process)
    return found


def measure(lab: Lab, found: Sequence[Contestant], rounds: int, scale: int) -> None:
    """All contestants in turns."""
    for number in range(rounds):
        for contestant in found:
            contestant.latencies.append(latency(contestant, "ContainerStatus", request(contestant), 500 // scale))
            if shutil.which("h2load"):
                calls = (2000 if contestant.name == "grpcio" else 20_000) // scale
                contestant.rates.append(rate(lab, contestant, calls))
            if contestant.name != "criproxy other":
                contestant.lists.append(latency(contestant, "ListContainers", b"", 30 // min(scale, 10)))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)


def table(found: Sequence[Contestant]) -> None:
    """What was measured."""
    direct = found[0]
    print(
        f"\n{'in the middle':18}{'p50, µs':>9}{'added, µs':>11}{'calls/s at 32':>15}{'of direct':>11}{'list, ms':>10}"
    )
    for each in found:
        p50 = statistics.median(each.latencies)
        calls = statistics.median(each.rates) if each.rates else float("nan")
        of_direct = calls / statistics.median(direct.rates) if direct.rates else float("nan")
        added = statistics.median(a - b for a, b in zip(each.latencies, direct.latencies))
        listing = f"{statistics.median(each.lists) * 1e3:10.2f}" if each.lists else ""
        print(f"{each.name:18}{p50 * 1e6:9.0f}{added * 1e6:11.0f}{calls:15.0f}{of_direct:11.2f}{listing}")


def ratios(found: Sequence[Contestant]) -> Dict[str, List[float]]:
    """The project's own aims: what was reached, and the limit."""
    by = {each.name: each for each in found}
    direct, primary, other = by["direct"], by["criproxy primary"], by["criproxy other"]

    def added(each: Contestant) -> float:
        return statistics.median(a - b for a, b in zip(each.latencies, direct.latencies))

    out: Dict[str, List[float]] = {}
    if "socat" in by:
        out["latency added, primary, of socat's (at most)"] = [added(primary) / added(by["socat"]), 2]
        out["latency added, other, of socat's (at most)"] = [added(other) / added(by["socat"]), 2]
    if primary.rates:
        pairs = zip(primary.rates, by["grpcio"].rates)
        out["calls/s at 32, of grpcio's relay (at least)"] = [statistics.median(a / b for a, b in pairs), 8]
    pairs = zip(primary.lists, direct.lists)
    out["list of two, of the two direct calls (at most)"] = [statistics.median(a / (2 * b) for a, b in pairs), 3]
    return out


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="compare criproxy with what else there is"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: few calls, figures without meaning")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file, too")
    options = parser.parse_args()
    scale, rounds = (20, 1) if options.quick else (1, 9)
    with ExitStack() as stack:
        lab = Lab(stack)
        found = contestants(lab)
        for contestant in found:
            check(contestant)
        print(
            f"python {platform.python_version()}, {os.cpu_count()} cores; medians of {rounds} rounds", file=sys.stderr
        )
        measure(lab, found, rounds, scale)
        ready = readiness(lab, 2 if options.quick else 7)
        grown = memory(lab, 200_000 // scale) if shutil.which("h2load") else []
    table(found)
    print()
    reached = ratios(found)
    reached["ready after, s (at most)"] = [statistics.median(ready), 0.3]
    if grown:
        reached["resident memory idle, MB (at most)"] = [grown[0], 30]
        reached["  after 200,000 calls more, MB"] = [grown[1], 30]
        reached["  after 400,000 calls more, MB"] = [grown[2], 30]
    for name, (value, limit) in reached.items():
        print(f"{name:52}{value:8.2f}   limit {limit:g}")
    if options.json:
        raw = {each.name: vars(each) for each in found}
        Path(options.json).write_text(json.dumps({"reached": reached, "contestants": raw}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
