"""A process that serves until it is stopped, and its log."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, TypeVar

PATIENCE = 30.0
"""How long anything may take before it counts as not coming, seconds: generous, for machines that are busy."""
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""All that a service sees of our environment: no proxies, no options."""

Value = TypeVar("Value")


def eventually(look: Callable[[], Value], wanted: Callable[[Value], object]) -> Value:
    """Looks until it sees what is wanted, or has no more patience, and gives what it saw last."""
    end = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if wanted(seen) or time.monotonic() > end:
            return seen
        time.sleep(0.05)


class Service:
    """A process in a session of its own. Its standard output and error are its log, a file that outlives restarts."""

    all: List[Service] = []
    """Those that have been started, for whoever wants to show their logs."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Optional[Dict[str, str]] = None) -> None:
        self.name = name
        self._command = list(command)
        self._log = log
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self._process: Optional[subprocess.Popen[bytes]] = None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Starts the process; whether it serves already is another question."""
        assert not self.running, f"{self.name} runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        if self not in Service.all:
            Service.all.append(self)

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

    def log(self, start: int = 0) -> str:
        """What it has logged from this byte on."""
        with self._log.open("rb") as log:
            log.seek(start)
            return log.read().decode("utf-8", "replace")

    def log_size(self) -> int:
        """The log's size so far, bytes."""
        return self._log.stat().st_size
