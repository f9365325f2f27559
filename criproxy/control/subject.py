"""What the control socket tells of: the daemon, and the relay in it."""

from __future__ import annotations

from typing import Callable, Collection, Mapping, NamedTuple, Optional, Protocol, Sequence

from criproxy.config import Config
from criproxy.cri.identity import RuntimeHandler
from criproxy.cri.selector import RouteRule
from criproxy.relay.downstream import DownstreamConnection
from criproxy.relay.inventory import Counts
from criproxy.relay.known import Known
from criproxy.relay.memory import Absence
from criproxy.relay.runtime import Runtime
from criproxy.relay.statistics import CallStatistics
from criproxy.relay.tracing import Tracing


class Refusal(NamedTuple):
    """A reload that was refused: when, seconds since 1970, and why."""

    at: float
    reason: str


class DaemonState:
    """What the daemon remembers of itself. Moments are seconds since 1970.

    ``listen``: the path of the socket for kubelet.
    """

    def __init__(self, listen: str, started_at: float) -> None:
        self.listen = listen
        self.started_at = started_at
        self.loaded_at = started_at
        """When the configuration in force was read."""
        self.environment_file = ""
        """The file of variables that it was read from, too; empty if there is none."""
        self.fixed: Mapping[str, str] = {}
        """Of the variables that commands set there, those that would change nothing: why that is."""
        self.handlers: Sequence[RuntimeHandler] = ()
        """By which pods ask for an alternative runtime."""
        self.refusal: Optional[Refusal] = None
        """Of the last reload, if that was refused."""
        self.reloads = 0
        """How many have been taken."""
        self.refusals = 0
        """How many have been refused."""
        self.spans_without_room = 0
        """How many spans have been lost because too many waited for the collector."""
        self.spans_not_taken = 0
        """How many it has not taken."""
        self.stopping = False

    def follow(self, config: Config) -> None:
        """Remembers what is told of a configuration that is in force from now on."""
        self.environment_file, self.fixed, self.handlers = config.environment_file, config.fixed, config.handlers


class Inventory(Protocol):
    """What the runtimes have."""

    def take(self, runtimes: Sequence[Runtime], done: Callable[[], None]) -> None:
        """Counts what these have, and calls back when that is known, or has taken too long."""

    def of(self, runtime: Runtime) -> Optional[Counts]:
        """What a runtime had when it was last asked; None if it has told nothing."""


class Relay(Protocol):
    """The relay (criproxy.relay.proxy), as far as somebody may look into it."""

    @property
    def inventory(self) -> Inventory:
        """What the runtimes have."""

    @property
    def ready(self) -> bool:
        """Whether connections are taken, and it is known whether the primary runtime is there."""

    @property
    def runtimes(self) -> Sequence[Runtime]:
        """All runtimes, the primary first; its image service, if that is elsewhere, is one, too."""

    @property
    def clients(self) -> Collection[DownstreamConnection]:
        """All connections of clients."""

    @property
    def calls(self) -> CallStatistics:
        """What kubelet's calls, and those of others, have come to."""

    @property
    def tracing(self) -> Tracing:
        """Those who watch calls as they end."""

    @property
    def known(self) -> Known:
        """What people call the pods and containers of calls."""

    @property
    def drained_runtimes(self) -> Collection[str]:
        """The ids of the runtimes that get no new pods."""

    @property
    def routes(self) -> Sequence[RouteRule]:
        """The rules by which new pods go to alternative runtimes."""

    def absence(self, runtime: Runtime) -> Optional[Absence]:
        """What is remembered for a runtime that is away; None if nothing is, or it is there."""
