"""What every call may use: the configuration, the clock, the log, the router, the names, the statistics, who watches.

All outlive it. Nothing is found through it but these: whoever needs more is handed that when it is made.
"""

from __future__ import annotations

from typing import Protocol

from criproxy.relay.known import Known
from criproxy.relay.loop import Clock
from criproxy.relay.routing import Router
from criproxy.relay.statistics import CallStatistics
from criproxy.relay.tracing import Tracing
from criproxy.report.log import Log
from criproxy.report.problems import Problems


class Settings(Protocol):
    """The part of the configuration (criproxy.config.Config) that calls depend on."""

    @property
    def connection_timeout(self) -> float:
        """How long a call waits for the primary runtime, seconds."""

    @property
    def fan_out_timeout(self) -> float:
        """How long a call to all runtimes waits for the slowest, seconds."""

    @property
    def absence_grace(self) -> float:
        """How long lists have what an absent runtime had, seconds."""

    @property
    def max_message_size(self) -> int:
        """The largest message that is passed on, bytes."""


class Context:
    """What every call may use. A reload of the configuration replaces ``config`` and ``router``."""

    __slots__ = ("clock", "config", "faults", "known", "log", "refusals", "router", "statistics", "tracing")

    def __init__(self, config: Settings, clock: Clock, log: Log, router: Router) -> None:
        self.config = config
        self.clock = clock
        self.faults = Problems(clock)
        """What is logged at any verbosity of calls that fail."""
        self.refusals = Problems(clock)
        """What is logged only where it is asked for: kubelet gets such answers all day long."""
        self.known = Known()
        self.log = log
        self.router = router
        self.statistics = CallStatistics()
        self.tracing = Tracing()
