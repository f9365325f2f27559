"""The pages: the metrics, whether the daemon lives, and whether it is ready."""

from __future__ import annotations

from typing import Callable, Dict, Generator

from prometheus_client.process_collector import ProcessCollector

from criproxy.control.subject import DaemonState
from criproxy.metrics.families import families
from criproxy.metrics.http import Answer, Request
from criproxy.metrics.server import Page
from criproxy.metrics.subject import Measured
from criproxy.metrics.text import OPENMETRICS, TEXT, Texts
from criproxy.text import escape


def pages(clock: Callable[[], float], daemon: DaemonState, relay: Measured) -> Dict[str, Page]:
    """The pages by their paths. ``clock`` gives seconds."""
    texts, process = Texts(clock), ProcessCollector(registry=None)

    def metrics(request: Request) -> Generator[None, None, Answer]:
        form = OPENMETRICS if OPENMETRICS.is_wanted(request.accept) else TEXT
        body = yield from texts.of(families(daemon, relay), process.collect(), form)
        return Answer(200, body, form.content_type)

    def ready(request: Request) -> Generator[None, None, Answer]:
        yield from ()
        reason = problem(daemon, relay)
        return _told(503, escape(reason)) if reason else _told(200, "ready")

    return {"/metrics": metrics, "/healthz": _lives, "/readyz": ready}


def problem(daemon: DaemonState, relay: Measured) -> str:
    """Why kubelet is not served by the primary runtime; empty if it is."""
    if daemon.stopping:
        return "criproxy stops"
    for runtime in relay.runtimes:
        # The image service of the primary is a part of it.
        if runtime.primary and not runtime.there:
            return f"{runtime} ({runtime.path}) is not there: {runtime.problem}"
    return "" if relay.ready else "criproxy takes no connections yet: it looks for its runtimes"


def _lives(request: Request) -> Generator[None, None, Answer]:
    """Whoever answers lives."""
    yield from ()
    return _told(200, "well")


def _told(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode())
