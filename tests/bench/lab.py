"""The processes of one run: two runtimes, and what stands between them and a client."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

import grpc

from criproxy.cri.messages import api
from criproxy.http2.grpc import PREFIX_SIZE
from tests.bench.runtime import CHANGING, CONTAINERS, ID

ROOT = Path(__file__).parents[2]
_UNIT = ROOT / "lib/systemd/system/criproxy.service"
RUNTIME = "bench.test"
"""The alternative runtime's id."""
METHOD = "/runtime.v1.RuntimeService/"
_SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""haproxy and nghttpx stand where only root's PATH leads."""
_PATIENCE = 20.0
"""How long a process may take to serve or to stop, seconds."""
_HAPROXY = """\
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


class BenchError(Exception):
    """There is nothing to measure: something does not start, or answers wrongly. The text says what."""


def tool(name: str) -> Optional[str]:
    """Where a program is installed; None if it is not."""
    return shutil.which(name, path=_SEARCHED)


@dataclass(frozen=True)
class Contestant:
    """Something to call. Without a ``path`` it is not installed."""

    name: str
    path: str = ""
    runtime: str = ""
    """The id under which it knows the container that is asked for."""
    merges: bool = False
    """Whether its lists are those of both runtimes."""

    @property
    def request(self) -> bytes:
        """ContainerStatusRequest."""
        message: Any = api()["ContainerStatusRequest"](container_id=_outer_id(self.runtime, ID))
        body: bytes = message.SerializeToString()
        return body


@dataclass(frozen=True)
class Rival:
    """A command that is measured, too.

    In it ``{listen}`` is the socket that it is to serve, ``{connect}`` both runtimes as criproxy's option has them, and
    ``{primary}`` the socket of the first alone, for one that knows no other.
    """

    name: str
    command: str

    @classmethod
    def of(cls, text: str) -> Rival:
        """NAME=COMMAND. Raises ValueError."""
        name, _, command = text.partition("=")
        if not name or "{listen}" not in command or ("{connect}" in command) == ("{primary}" in command):
            raise ValueError(f"{text!r} is not NAME=COMMAND with {{listen}} and either {{connect}} or {{primary}}")
        return cls(name, command)

    @property
    def merges(self) -> bool:
        """Whether it serves both runtimes."""
        return "{connect}" in self.command


def _outer_id(runtime: str, name: str) -> str:
    return f"{runtime}__{name}" if runtime else name


def _outer_image(runtime: str, image: str) -> str:
    return f"{runtime}/{image}" if runtime and not image.startswith("sha256:") else image


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
        self._ends: List[subprocess.Popen[bytes]] = []
        self._middles: List[subprocess.Popen[bytes]] = []
        self._environment = dict(os.environ)
        # As an installed package has it: compiled. The tree stays as it was.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._environment["PYTHONPYCACHEPREFIX"] = str(compiled)
        self._environment.update(_units_environment())
        self.direct, self.other = (
            Contestant(name, self._python(name, "tests.bench.runtime", self.path(name))) for name in ("direct", "other")
        )

    def path(self, name: str) -> str:
        """A file's path."""
        return str(self.folder / name)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Starts a process and waits until the socket of this name accepts. Raises BenchError."""
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        self._stack.callback(stop, process)
        self._wait_for(self.path(name), process)
        (self._ends if "tests.bench.runtime" in command else self._middles).append(process)
        return process

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
        for processes, cores in ((self._ends, ends), (self._middles, middles)):
            for process in processes:
                if process.poll() is not None:
                    continue
                for thread in _threads(process.pid):
                    with suppress(ProcessLookupError):
                        os.sched_setaffinity(thread, cores)

    def criproxy(self, name: str) -> subprocess.Popen[bytes]:
        """Starts a proxy of both runtimes."""
        command = (sys.executable, "-m", "criproxy", "-connect", self._connect, "-listen", self.path(name))
        return self.start(name, *command)

    @property
    def _connect(self) -> str:
        return f"{self.direct.path},{RUNTIME}:{self.other.path}"

    def contestants(self, rivals: Sequence[Rival] = ()) -> List[Contestant]:
        """Starts them all; those that are not installed are without a path."""
        proxy, haproxy = self.path("criproxy"), self.path("haproxy.cfg")
        Path(haproxy).write_text(_HAPROXY.format(listen=self.path("haproxy"), connect=self.direct.path))
        found = [
            self.direct,
            self._rival("socat", f"UNIX-LISTEN:{self.path('socat')},fork", f"UNIX-CONNECT:{self.direct.path}"),
            self._rival("haproxy", "-q", "-f", haproxy),
            self._rival(
                "nghttpx",
                *("--conf=/dev/null", "--single-thread", "--accesslog-file=/dev/null"),
                f"--frontend=unix:{self.path('nghttpx')};no-tls",
                f"--backend=unix:{self.direct.path};;proto=h2",
            ),
            Contestant(
                "grpcio", self._python("grpcio", "tests.bench.grpcio_relay", self.path("grpcio"), self.direct.path)
            ),
        ]
        self.criproxy("criproxy")
        wait_for_both(proxy)
        primary = Contestant("criproxy, primary", proxy, merges=True)
        alternative = Contestant("criproxy, alternative", proxy, RUNTIME, merges=True)
        return [*found, *(each for rival in rivals for each in self._against(rival)), primary, alternative]

    def _against(self, rival: Rival) -> List[Contestant]:
        path = self.path(rival.name)
        places = {"listen": path, "primary": self.direct.path, "connect": self._connect}
        self.start(rival.name, *(word.format(**places) for word in shlex.split(rival.command)))
        if not rival.merges:
            return [Contestant(rival.name, path)]
        wait_for_both(path)
        alternative = Contestant(f"{rival.name}, alternative", path, RUNTIME, merges=True)
        return [Contestant(f"{rival.name}, primary", path, merges=True), alternative]

    def _python(self, name: str, module: str, *arguments: str) -> str:
        self.start(name, sys.executable, "-m", module, *arguments)
        return self.path(name)

    def _rival(self, name: str, *arguments: str) -> Contestant:
        program = tool(name)
        if program is None:
            return Contestant(name)
        self.start(name, program, *arguments)
        return Contestant(name, self.path(name))

    def _wait_for(self, path: str, process: subprocess.Popen[bytes]) -> None:
        """Without a pause, since how fast a proxy is there is one of the figures."""
        deadline = time.monotonic() + _PATIENCE
        with socket.socket(socket.AF_UNIX) as sock:
            while sock.connect_ex(path):
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / "log").read_text(errors="replace")
                    raise BenchError(f"{process.args!r} does not serve {path}:\n{log}")


def _threads(pid: int) -> Iterator[int]:
    """All threads of a process and of its children."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        yield int(task.name)
        with suppress(FileNotFoundError):
            for child in (task / "children").read_text().split():
                yield from _threads(int(child))


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Sizes:
    """How long a contestant's right answers are as data on the wire, bytes."""

    status: int
    containers: int


def check(contestant: Contestant, made: Dict[bytes, bytes]) -> Sizes:
    """Compares a contestant's answers, got by grpcio, with what the runtimes say. Raises BenchError.

    What measures afterwards looks at sizes alone, and a size tells a right answer from an error, which h2load does
    not: to HTTP/2 an error of gRPC's is a success without data. ``made`` are runtime.answers.
    """
    options = (("grpc.max_receive_message_length", -1),)
    sizes = {}
    with grpc.insecure_channel(f"unix:{contestant.path}", options=options) as channel:

        def call(method: str, request: bytes) -> Any:
            try:
                answer = _stub(channel, method)(request, timeout=_PATIENCE, wait_for_ready=True)
            except grpc.RpcError as error:
                raise BenchError(f"{contestant.name}: {method}: {error}") from error
            sizes[method] = PREFIX_SIZE + len(answer)
            return api()[f"{method}Response"].FromString(answer)

        if call("ContainerStatus", contestant.request) != _status(contestant.runtime, made):
            raise BenchError(f"{contestant.name}: ContainerStatus: not what the runtime says")
        wanted = _lists(contestant, made)
        if call("ListContainers", b"") != wanted:
            raise BenchError(f"{contestant.name}: ListContainers: not what the runtimes say")
        first, second = (call("ListContainers", CHANGING) for _ in range(2))
        if first == second or not _same_but_for_revisions(first, wanted) or not _same_but_for_revisions(second, wanted):
            raise BenchError(f"{contestant.name}: ListContainers: not the change that the runtimes make")
    return Sizes(sizes["ContainerStatus"], sizes["ListContainers"])


def _stub(channel: Any, method: str) -> Any:
    """What calls a method with bytes and gives bytes."""
    return channel.unary_unary(METHOD + method)


def wait_for_both(path: str) -> None:
    """Waits until a proxy has found the alternative runtime, too. Raises BenchError.

    It serves before that, and lists without what it has not found.
    """
    request = Contestant("criproxy", path, RUNTIME).request
    deadline = time.monotonic() + _PATIENCE
    with grpc.insecure_channel(f"unix:{path}") as channel:
        call = _stub(channel, "ContainerStatus")
        while True:
            try:
                call(request, timeout=_PATIENCE, wait_for_ready=True)
                return
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise BenchError(f"criproxy: {error}") from error


def _status(runtime: str, made: Dict[bytes, bytes]) -> Any:
    answer: Any = api()["ContainerStatusResponse"].FromString(made[f"{METHOD}ContainerStatus".encode()][PREFIX_SIZE:])
    answer.status.id = _outer_id(runtime, answer.status.id)
    for part, name in ((answer.status.image, "image"), (answer.status, "image_id")):
        setattr(part, name, _outer_image(runtime, getattr(part, name)))
    return answer


def _lists(contestant: Contestant, made: Dict[bytes, bytes]) -> Any:
    body = made[f"{METHOD}ListContainers".encode()][PREFIX_SIZE:]
    answer: Any = api()["ListContainersResponse"].FromString(body)
    if not contestant.merges:
        return answer
    theirs: Any = api()["ListContainersResponse"].FromString(body)
    for container in theirs.containers:
        container.id = _outer_id(RUNTIME, container.id)
        container.pod_sandbox_id = _outer_id(RUNTIME, container.pod_sandbox_id)
        container.image.image = _outer_image(RUNTIME, container.image.image)
    answer.MergeFrom(theirs)
    return answer


def _same_but_for_revisions(answer: Any, wanted: Any) -> bool:
    """Whether a list that changes is the one that does not, but for each runtime's revision."""
    if len(answer.containers) != len(wanted.containers):
        return False
    for number in range(0, len(wanted.containers), CONTAINERS):
        answer.containers[number].annotations["revision"] = wanted.containers[number].annotations["revision"]
    same: bool = answer == wanted
    return same
