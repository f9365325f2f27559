"""A process that serves until it is stopped, and its log."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Callable, ClassVar, List, Optional, Sequence, TypeVar

PATIENCE = 30.0
"""How long anything may take before it counts as not coming, seconds: generous, for machines that are busy."""
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""All that a service sees of our environment: no proxies, no options."""

Value = TypeVar("Value")


def eventually(look: Callable[[], Value], wanted: Callable[[Value], object], patience: float = PATIENCE) -> Value:
    """Looks until it sees what is wanted, or has no more patience (seconds), and gives what it saw last."""
    end = time.monotonic() + patience
    while True:
        seen = look()
        if wanted(seen) or time.monotonic() > end:
            return seen
        time.sleep(0.05)


class Service:
    """A process in a session of its own. Its standard output and error are its log, which outlives restarts."""

    all: ClassVar[List[Service]] = []
    """Those that there have been, for whoever wants to show their logs."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = list(command)
        self._log = os.memfd_create(name)
        self._log_begin = 0
        self._process: Optional[subprocess.Popen[bytes]] = None
        Service.all.append(self)

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def launch(self, serves: Callable[[], bool]) -> None:
        """Starts the process and comes back when it serves. Raises RuntimeError if it does not."""
        assert self._process is None or self._process.poll() is not None, f"{self.name} runs already"
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        eventually(lambda: serves() or not self.running, bool)
        if not self.running or not serves():
            raise RuntimeError(f"{self.name} does not serve; its log:\n{self.log()}")

    def end(self, signal: int) -> int:
        """Sends it a signal, waits for its end and gives its exit status."""
        assert self._process is not None, f"{self.name} has never been started"
        if self.running:
            os.kill(self.pid, signal)
        return self._process.wait(PATIENCE)

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None, f"{self.name} has never been started"
        return self._process.pid

    def begin_log(self) -> None:
        """Lets `log` begin here."""
        self._log_begin = os.fstat(self._log).st_size

    def log(self) -> str:
        """What it has logged since the last `begin_log`."""
        size = os.fstat(self._log).st_size
        return os.pread(self._log, size - self._log_begin, self._log_begin).decode("utf-8", "replace")
