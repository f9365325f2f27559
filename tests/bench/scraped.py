"""Metrics that are scraped each second: what that does to calls."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import Iterator, List, Optional, Tuple

from tests.bench.check import wait_for
from tests.bench.client import LatencyClient
from tests.bench.figures import BenchError, UnservedError
from tests.bench.lab import Lab
from tests.bench.programs import RUNTIME_IDS, Contestant, Program

INTERVAL = 1.0
"""Between two scrapes, seconds."""
_TIMEOUT = 10.0
_TOLD = b'criproxy_calls_total{code="OK",method="ContainerStatus"}'
_METHODS = ("Version", "Status", "ListPodSandbox", "ListContainers", "ListImages", "ContainerStats", "StopContainer")
"""Called before, so that as much is told as of a node at work. Whether they succeed does not matter."""


def times(lab: Lab, program: Program, size: int, seconds: float) -> Tuple[List[float], List[float]]:
    """The times of calls while nobody scrapes, and while somebody does; seconds.

    Nobody does before and after, half of the time each, so that what drifts does not count. Raises UnservedError if
    the program serves no metrics.
    """
    path, metrics = lab.new("proxy"), lab.new("metrics")
    measured = replace(program, command=f"env CRIPROXY_METRICS_LISTEN=unix:{metrics} {program.command}")
    runtimes = lab.runtimes(2)
    with lab.fresh(measured, path, [runtime.path for runtime in runtimes]):
        wait_for(path, RUNTIME_IDS[:2])
        if not os.path.exists(metrics):
            raise UnservedError(f"{program.name} serves no metrics")
        for method in _METHODS:
            with LatencyClient(path, method, b"") as client:
                client.call()
        with LatencyClient(path, "ContainerStatus", Contestant("", path).request, size) as client:
            client.measure(seconds / 10)
            alone = client.measure(seconds / 2)
            with scraping(metrics):
                scraped = client.measure(seconds)
            return alone + client.measure(seconds / 2), scraped


@contextmanager
def scraping(path: str) -> Iterator[None]:
    """Meanwhile metrics at a path are scraped, at least once. Raises BenchError if they are not told."""
    scraper = _Scraper(path)
    scraper.start()
    try:
        yield
    finally:
        scraper.ended.set()
        scraper.join()
    if scraper.failure is not None:
        raise BenchError(f"a scrape: {scraper.failure}")


class _Scraper(threading.Thread):
    """Scrapes at once, and then each second. It takes the interpreter from who measures for a moment only."""

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.failure: Optional[str] = None
        self._path = path

    def run(self) -> None:
        """Ends after the scrape that fails."""
        while self.failure is None:
            try:
                text = self._scrape()
            except OSError as error:
                self.failure = str(error)
                return
            if not text.startswith(b"HTTP/1.1 200 ") or _TOLD not in text:
                self.failure = f"an answer without the calls: {text[:100]!r}"
            if self.ended.wait(INTERVAL):
                return

    def _scrape(self) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_TIMEOUT)
            sock.connect(self._path)
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            pieces = iter(lambda: sock.recv(1 << 16), b"")
            return b"".join(pieces)
