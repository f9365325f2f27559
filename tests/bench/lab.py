"""The processes of one round: runtimes, and what stands between them and a client."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Set

from tests.bench.check import Sizes, check, wait_for
from tests.bench.client import LatencyClient
from tests.bench.figures import BenchError
from tests.bench.processes import PATIENCE, stop, threads
from tests.bench.programs import RUNTIME_IDS, SEARCHED, Contestant, Program
from tests.bench.runtime import CONTAINERS, SAME, TELL

ROOT = Path(__file__).parents[2]
_UNIT = ROOT / "lib/systemd/system/criproxy.service"
_RUNTIMES = ("direct", "other", "third", "fourth")


def environment(compiled: Path) -> Dict[str, str]:
    """What all processes get: an installed package's is compiled byte code, which is kept in this directory."""
    found = dict(os.environ, PATH=SEARCHED, PYTHONPYCACHEPREFIX=str(compiled), **_units_environment())
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


def _units_environment() -> Dict[str, str]:
    """What the unit sets: how malloc(3) gives memory back makes the difference with large lists."""
    lines = _UNIT.read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if line.startswith("Environment=") for word in line.partition("=")[2].split()]
    return dict(word.split("=", 1) for word in words)


class Lab:
    """Starts processes, in a directory of their own for the sockets, and stops them with ``stack``.

    ``compiled``: a directory that labs share, so that only the first one's processes compile what they import.
    """

    def __init__(self, stack: ExitStack, compiled: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        stack.callback(shutil.rmtree, self.folder)
        self._stack = stack
        self._environment = environment(compiled)
        self._runtimes: List[Contestant] = []
        self._middles: List[int] = []
        self._names = 0
        self.direct, self.other = self.runtimes(2)
        self.contestants: List[Contestant] = []
        self.sizes: Dict[str, Sizes] = {}

    def path(self, name: str) -> str:
        """A file's path."""
        return str(self.folder / name)

    def new(self, name: str) -> str:
        """The path of a file that is not there yet."""
        self._names += 1
        return self.path(f"{name}{self._names}")

    def runtimes(self, count: int) -> List[Contestant]:
        """So many runtimes, of which those that are new are started."""
        for name in _RUNTIMES[len(self._runtimes) : count]:
            self._runtimes.append(self.runtime(name))
        return self._runtimes[:count]

    def runtime(self, name: str) -> Contestant:
        """Starts one more."""
        path = self.new(name)
        return Contestant(name, path, self.start(path, sys.executable, "-m", "tests.bench.runtime", path).pid)

    def start(self, path: str, *command: str) -> subprocess.Popen[bytes]:
        """Starts a process and waits until the socket accepts. Raises BenchError."""
        with open(self.folder / "log", "ab") as log:
            try:
                process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
            except OSError as error:
                raise BenchError(f"{command[0]}: {error.strerror}") from error
        self._stack.callback(stop, process)
        self._wait_for(path, process)
        return process

    @contextmanager
    def fresh(self, program: Program, path: str, runtimes: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Meanwhile the program serves a socket before those of these runtimes."""
        process = self.start(path, *program.words(path, runtimes))
        try:
            yield process
        finally:
            stop(process)

    def enter(self, programs: Sequence[Program]) -> None:
        """Starts all that take part, as far as they are installed, and checks what they answer."""
        self.contestants = [self.direct, self.other]
        for program in programs:
            if program.installed:
                self.contestants += self._entered(program)
        self.sizes = {found.name: check(found) for found in self.contestants}

    def _entered(self, program: Program) -> List[Contestant]:
        path = self.path(program.name)
        pid = self.start(path, *program.words(path, [self.direct.path, self.other.path])).pid
        self._middles.append(pid)
        if not program.merges:
            return [Contestant(program.name, path, pid, program)]
        ids = RUNTIME_IDS[:2]
        wait_for(path, ids)
        return [
            Contestant(program.name, path, pid, program, ids),
            Contestant(f"{program.name}, alternative", path, pid, program, ids, ids[1]),
        ]

    def tell(self, **what: object) -> None:
        """Tells all runtimes what they are to answer (runtime.py)."""
        for runtime in self._runtimes:
            self.tell_one(runtime, **what)

    def tell_one(self, runtime: Contestant, **what: object) -> None:
        """Tells one."""
        with LatencyClient(runtime.path, TELL, json.dumps(what).encode()) as client:
            client.call()

    @contextmanager
    def listing(self, containers: int, change: str) -> Iterator[None]:
        """Meanwhile all runtimes have so many containers."""
        self.tell(containers=containers, change=change)
        try:
            yield
        finally:
            self.tell(containers=CONTAINERS, change=SAME)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Meanwhile what stands in the middle has a core of its own, client and runtimes another. Needs two cores."""
        cores = os.sched_getaffinity(0)
        first, second, *_ = sorted(cores)
        try:
            self._place({first}, {second})
            yield
        finally:
            self._place(cores, cores)

    def _place(self, ends: Set[int], middles: Set[int]) -> None:
        os.sched_setaffinity(0, ends)
        for pids, cores in (([runtime.pid for runtime in self._runtimes], ends), (self._middles, middles)):
            for thread in (thread for pid in pids for thread in threads(pid)):
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, cores)

    def _wait_for(self, path: str, process: subprocess.Popen[bytes]) -> None:
        """Without a pause, since how fast a proxy is there is one of the figures."""
        deadline = time.monotonic() + PATIENCE
        with socket.socket(socket.AF_UNIX) as sock:
            while sock.connect_ex(path):
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / "log").read_text(errors="replace")
                    raise BenchError(f"{process.args!r} does not serve {path}:\n{log}")
