"""Answers Status: all of the daemon at one moment."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any, Callable

from criproxy import __version__
from criproxy.control.api import control, utf8
from criproxy.control.call import Answer
from criproxy.control.subject import DaemonState, Relay
from criproxy.control.verbosity import Verbosity
from criproxy.cri.versions import ApiVersion
from criproxy.http2.compiled import COMPILED
from criproxy.http2.grpc import Code
from criproxy.relay.downstream import DownstreamConnection
from criproxy.relay.peer import name_of
from criproxy.relay.probe import IMAGE_SERVICE
from criproxy.relay.runtime import Runtime
from criproxy.relay.statistics import MINUTES, quantile
from criproxy.report.log import code_name

_NO_ERRORS = (Code.OK, Code.CANCELLED)
"""Who has cancelled a call knows why."""


class StatusService:
    """Tells of a daemon and of its relay. ``clock`` is the relay's, seconds."""

    def __init__(self, daemon: DaemonState, relay: Relay, verbosity: Verbosity, clock: Callable[[], float]) -> None:
        self._daemon = daemon
        self._verbosity = verbosity
        self._relay = relay
        self._clock = clock
        self._messages = control().messages
        api = control().enums
        self._states = {**api["DaemonState"], **api["RuntimeState"], **api["Role"]}

    def status(self, request: Any, answer: Answer) -> None:
        """The method. It waits a moment for the runtimes to tell what they have."""
        self._relay.inventory.take(self._relay.runtimes, partial(self._reply, answer))

    def _reply(self, answer: Answer) -> None:
        answer.reply(self.look())

    def look(self) -> Any:
        """The answer, with what is known now."""
        return self._messages["StatusResponse"](
            daemon=self._of_daemon(),
            runtimes=[self._of_runtime(runtime) for runtime in self._relay.runtimes],
            clients=[self._of_client(client) for client in self._relay.clients],
        )

    def _of_daemon(self) -> Any:
        daemon = self._daemon
        serving = "DAEMON_SERVING" if self._relay.ready else "DAEMON_STARTING"
        told = self._messages["Daemon"](
            version=__version__,
            compiled=COMPILED,
            pid=os.getpid(),
            started_at=daemon.started_at,
            state=self._states["DAEMON_STOPPING" if daemon.stopping else serving],
            listen=utf8(daemon.listen),
            loaded_at=daemon.loaded_at,
            verbosity=self._verbosity.told(),
            environment_file=utf8(daemon.environment_file),
            fixed={name: utf8(reason) for name, reason in daemon.fixed.items()},
            routes=[{"rule": rule.text, "runtime": utf8(rule.runtime)} for rule in self._relay.routes],
        )
        if daemon.refusal is not None:
            told.refusal.at = daemon.refusal.at
            told.refusal.reason = utf8(daemon.refusal.reason)
        return told

    def _of_runtime(self, runtime: Runtime) -> Any:
        upstream = runtime.upstream
        versions = frozenset() if upstream is None else upstream.versions
        name, _, version = runtime.called.rpartition(" ")
        told = self._messages["Runtime"](
            id=runtime.names.runtime,
            role=self._states[_role(runtime)],
            socket=utf8(runtime.path),
            state=self._states[_state(runtime)],
            since=self._moment(runtime.since),
            reason="" if runtime.there else utf8(runtime.problem),
            name=utf8(name or version),
            version=utf8(version) if name else "",
            cri_versions=[version.spoken for version in ApiVersion if version in versions],
            calls_in_flight=runtime.under_way,
            drained=runtime.names.runtime in self._relay.drained_runtimes,
            handlers=[
                {"name": handler.name, "inner": handler.inner}
                for handler in self._daemon.handlers
                if handler.runtime == runtime.names.runtime
            ],
            recent=self._recent(runtime),
        )
        counts = self._relay.inventory.of(runtime) if runtime.there else None
        if counts is not None:
            told.inventory.pods = counts.pods
            told.inventory.containers = counts.containers
            told.inventory.images = counts.images
        absence = self._relay.absence(runtime)
        if absence is not None:
            told.absence.pods = absence.pods
            told.absence.since = self._moment(absence.since)
            told.absence.remaining = max(0.0, absence.until - self._clock())
        return told

    def _recent(self, runtime: Runtime) -> Any:
        recent = runtime.statistics.recent()
        return self._messages["RecentCalls"](
            period=MINUTES * 60.0,
            calls=sum(recent.codes),
            errors=[
                {"code": code_name(code), "calls": calls}
                for code, calls in enumerate(recent.codes)
                if calls and code not in _NO_ERRORS
            ],
            p50=quantile(recent.counts, 0.5),
            p99=quantile(recent.counts, 0.99),
        )

    def _of_client(self, client: DownstreamConnection) -> Any:
        peer = client.peer
        told = self._messages["Client"](calls_in_flight=len(client.calls), idle=self._clock() - client.last_call)
        if peer is not None:
            told.pid, told.uid, told.name = peer.pid, peer.uid, name_of(peer.pid)
        return told

    def _moment(self, at: float) -> float:
        """A time of the relay's clock in seconds since 1970."""
        return time.time() - (self._clock() - at)


def _role(runtime: Runtime) -> str:
    if runtime.names.retiring:
        return "ROLE_RETIRING"
    if not runtime.primary:
        return "ROLE_ALTERNATIVE"
    return "ROLE_IMAGE_SERVICE" if runtime.service is IMAGE_SERVICE else "ROLE_PRIMARY"


def _state(runtime: Runtime) -> str:
    if runtime.there:
        return "RUNTIME_UP"
    return "RUNTIME_AWAY" if runtime.known else "RUNTIME_STARTING"
