"""The processes of a run: criproxy as its unit has it, two runtimes, four clients."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Callable, Dict, List, NamedTuple, Optional, Sequence

from tests.torture.answers import ALTERNATIVE, ID, PRIMARY
from tests.torture.load import OK, TORTURE, Record

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""How long a process may take to serve, to recover or to stop, seconds."""
CLIENTS = 4
RATE = 200.0
"""Calls a second of all clients."""
_UNIT = ROOT / "lib/systemd/system/criproxy.service"
_STOP = 20.0
"""The unit's TimeoutStopSec."""
_STARTED_BY_SYSTEMD = """
import os, resource, sys
listening, descriptors = int(sys.argv[1]), int(sys.argv[2])
os.dup2(listening, 3)
if descriptors:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""
"""What systemd does for a service whose socket it holds (sd_listen_fds(3)), and for LimitNOFILE=."""
_IN_THE_JOURNAL = """
import os, sys
from criproxy import cli
from criproxy.report import journal
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
journal.SOCKET = sys.argv.pop(1)
sys.exit(cli.main())
"""
"""What systemd does for a service that logs to the journal, with another socket than journald's."""


class Service(NamedTuple):
    """How criproxy is started; as a rule with its log in a file."""

    log: Optional[int] = None
    """A descriptor for standard error."""
    journal: str = ""
    """The socket of a journald that the log goes to."""
    descriptors: int = 0
    """RLIMIT_NOFILE, if it is not to be ours."""


AS_EVER = Service()


class TortureError(Exception):
    """There is nothing to torture: something does not start. The text says what."""


def unit_variables() -> Dict[str, str]:
    """What the unit sets in criproxy's environment."""
    lines = _UNIT.read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if line.startswith("Environment=") for word in line.partition("=")[2].split()]
    return dict(word.split("=", 1) for word in words)


class Lines:
    """What a process writes, line by line, read by a thread."""

    def __init__(self, stream: IO[str], on_line: Callable[[str], None]) -> None:
        self._stream = stream
        self._on_line = on_line
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self._on_line(line)

    def wait(self) -> None:
        """Waits until the process has written its last."""
        self._thread.join(PATIENCE)


class Peer:
    """A process of this package's: a runtime, or whoever attacks. ``count``: how often it says that it has."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = (sys.executable, "-m", f"tests.torture.{module}", *arguments)
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.count = 0
        self._ready = threading.Event()
        assert self.process.stdout is not None
        self._lines = Lines(self.process.stdout, self._on_line)

    def _on_line(self, line: str) -> None:
        self._ready.set()
        if line.strip().isdigit():
            self.count = int(line)

    def wait_until_ready(self) -> None:
        """Waits for its first line. Raises TortureError."""
        if not self._ready.wait(PATIENCE):
            raise TortureError(f"{self.process.args!r} does not start")

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()
        self._lines.wait()


class Load:
    """The clients, and the records of their calls that ``keep`` says are to be kept.

    ``rate``: calls a second of all; 0: as many as are answered. ``calls``: after so many they end by themselves.
    """

    def __init__(
        self,
        path: str,
        mix: str = TORTURE,
        rate: float = RATE,
        calls: int = 0,
        keep: Callable[[Record], bool] = lambda record: True,
    ) -> None:
        self.records: List[Record] = []
        self._keep = keep
        self._changed = threading.Condition()
        self._processes: List[subprocess.Popen[str]] = []
        self._lines: List[Lines] = []
        for number in range(CLIENTS):
            arguments = (path, f"c{number}-{calls}", mix, str(rate / CLIENTS), str(calls // CLIENTS))
            command = (sys.executable, "-m", "tests.torture.load", *arguments)
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            self._processes.append(process)
            self._lines.append(Lines(process.stdout, self._on_line))

    def _on_line(self, line: str) -> None:
        record = Record.read(line)
        with self._changed:
            if self._keep(record):
                self.records.append(record)
                self._changed.notify_all()

    def wait_for(self, owners: Sequence[str], since: float, patience: float = PATIENCE) -> Optional[float]:
        """Waits until each owner has answered a call that began after ``since``; gives when, or None."""
        seen = 0
        missing = set(owners)

        def all_well() -> bool:
            nonlocal seen
            new, seen = self.records[seen:], len(self.records)
            missing.difference_update(one.owner for one in new if one.outcome == OK and one.begin > since)
            return not missing

        with self._changed:
            seen = max(0, len(self.records) - 1)
            return time.monotonic() if self._changed.wait_for(all_well, patience) else None

    def finish(self) -> None:
        """Ends the clients once all their calls are over: one that is never answered is, too, at its deadline."""
        for process in self._processes:
            process.terminate()
        self.wait()

    def kill(self) -> None:
        """Ends the clients at once."""
        for process in self._processes:
            process.kill()
        self.wait()

    def wait(self) -> None:
        """Waits until the clients have ended by themselves."""
        for process, lines in zip(self._processes, self._lines):
            process.wait()
            lines.wait()


class Scene:
    """Criproxy between two runtimes, all in a directory of their own; ``stack`` stops them.

    The listening socket is ours, as it is systemd's on a node: it outlives criproxy's process. ``lie``: how the primary
    runtime misbehaves, for tests of the torture itself.
    """

    def __init__(self, stack: ExitStack, lie: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="torture-"))
        stack.callback(shutil.rmtree, self.folder)
        self.path = str(self.folder / "criproxy.sock")
        self._held = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._held.bind(self.path)
        self._held.listen(1024)
        self._notified = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._notified.bind(str(self.folder / "notify"))
        self.settings = self.folder / "settings"
        self.configure()
        self.log = self.folder / "log"
        self.log.touch()
        self._lie = lie
        self.reloads = 0
        self.crashes: List[str] = []
        self._ready = threading.Event()
        self._stopped = False
        stack.callback(self._stop)
        self.peers: Dict[str, Peer] = {}
        for owner in (PRIMARY, ALTERNATIVE):
            self.start_runtime(owner)
        threading.Thread(target=self._hear, daemon=True).start()
        self.process = self.start_proxy()

    def _stop(self) -> None:
        self._stopped = True
        self.process.kill()
        self.process.wait()
        for peer in self.peers.values():
            peer.kill()

    def _hear(self) -> None:
        """What criproxy tells systemd."""
        with suppress(OSError):
            while True:
                words = self._notified.recv(4096).decode().splitlines()
                self.reloads += "RELOADING=1" in words
                if "READY=1" in words:
                    self._ready.set()

    # Runtimes.

    def start_runtime(self, owner: str, attack: str = "") -> Peer:
        """Starts a runtime in the place of the one that is there."""
        if owner in self.peers:
            self.peers[owner].kill()
        path = str(self.folder / owner)
        with suppress(FileNotFoundError):
            os.unlink(path)
        attack = attack or (self._lie if owner == PRIMARY else "")
        module = "honest" if owner == PRIMARY and not attack else "runtime"
        self.peers[owner] = peer = Peer(module, path, owner, *((attack,) if attack else ()))
        peer.wait_until_ready()
        return peer

    def hide_socket(self, owner: str) -> None:
        """A runtime's socket is no longer at its path; its connections stay."""
        (self.folder / owner).rename(self.folder / f"{owner}.hidden")

    def show_socket(self, owner: str) -> None:
        """It is there again."""
        (self.folder / f"{owner}.hidden").rename(self.folder / owner)

    # Criproxy.

    def configure(self, verbosity: int = 0, alternative: bool = True) -> None:
        """Writes criproxy's environment file; it is read at a start and at SIGHUP."""
        connect = str(self.folder / PRIMARY) + (f",{ID}:{self.folder / ALTERNATIVE}" if alternative else "")
        new = self.settings.with_suffix(".new")
        new.write_text(f"CRIPROXY_CONNECT={connect}\nCRIPROXY_VERBOSITY={verbosity}\n", encoding="utf-8")
        new.replace(self.settings)

    def start_proxy(self, how: Service = AS_EVER) -> subprocess.Popen[bytes]:
        """Starts criproxy, and waits until it is ready. Raises TortureError."""
        self._ready.clear()
        module = ("-c", _IN_THE_JOURNAL, how.journal) if how.journal else ("-m", "criproxy")
        control = f"--control={self.path}.control"
        words = ("--listen", self.path, control, "--environment-file", str(self.settings))
        held = self._held.fileno()
        environment = {**os.environ, **unit_variables(), "NOTIFY_SOCKET": str(self.folder / "notify")}
        with open(self.log, "ab") as own:
            self.process = subprocess.Popen(
                (sys.executable, "-c", _STARTED_BY_SYSTEMD, str(held), str(how.descriptors), *module, *words),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=own if how.log is None else how.log,
                pass_fds=(held,),
            )
        if not self._ready.wait(PATIENCE):
            raise TortureError("criproxy does not start:\n" + "\n".join(self.logged()))
        return self.process

    def restart_proxy(self, by: int, how: Service = AS_EVER) -> None:
        """Ends criproxy by a signal and starts it again, as systemd does."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        try:
            code = self.process.wait(_STOP)
            if by == signal.SIGTERM and code:
                self.crashes.append(f"criproxy has ended with {code} at SIGTERM")
        except subprocess.TimeoutExpired:
            self.crashes.append(f"criproxy has not ended {_STOP:g} s after SIGTERM")
            self.process.kill()
            self.process.wait()
        self.start_proxy(how)

    def check(self) -> None:
        """Notes if criproxy has ended by itself, and starts it again."""
        if self.process.poll() is not None:
            self.crashes.append(f"criproxy has ended with {self.process.returncode}")
            self.start_proxy()

    def logged(self) -> List[str]:
        """The lines of criproxy's log."""
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()

    def reset_peak(self) -> None:
        """From now on `peak` is counted anew."""
        with suppress(OSError):
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def memory(self, which: str = "VmHWM") -> int:
        """Criproxy's resident memory, bytes: its peak, or (VmRSS) at present; 0 if it has ended."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith(which):
                    return int(line.split()[1]) * 1024
        return 0

    def descriptors(self) -> int:
        """How many criproxy has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def wait_until(what: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Waits for what nobody tells of; says whether it has come true."""
    deadline = time.monotonic() + patience
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
