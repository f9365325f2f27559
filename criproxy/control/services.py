"""All that the control socket serves. It is made when the first call comes.

With it come protobuf and its messages, which take some milliseconds and megabytes: kubelet need not wait for them when
the daemon starts, and a node where nobody asks has no use for them.
"""

from __future__ import annotations

from typing import Callable, Dict

from criproxy.control.api import control, health
from criproxy.control.call import Method, methods_of
from criproxy.control.health import HealthService
from criproxy.control.reload import ReloadService
from criproxy.control.status import StatusService
from criproxy.control.subject import DaemonState, Relay
from criproxy.control.trace import TraceService
from criproxy.control.verbosity import Verbosity
from criproxy.relay.loop import Clock
from criproxy.report.log import Log


class Services:
    """The services of a daemon. ``reload`` has the configuration read again (`ReloadService`)."""

    def __init__(
        self, daemon: DaemonState, relay: Relay, clock: Clock, log: Log, verbosity: Verbosity, reload: Callable[[], str]
    ) -> None:
        self._health = HealthService(daemon, relay)
        self._reloading = ReloadService(reload, relay, clock)
        own = {
            "GetVerbosity": verbosity.get,
            "Reload": self._reloading.reload,
            "SetVerbosity": verbosity.set,
            "Status": StatusService(daemon, relay, verbosity, clock.time).status,
            "Trace": TraceService(relay, clock, log).trace,
        }
        checks = {"Check": self._health.check, "Watch": self._health.watch}
        self.methods: Dict[str, Method] = {**methods_of(control(), own), **methods_of(health(), checks)}
        """By their paths."""

    def tell(self) -> None:
        """To be called when something of the daemon or of a runtime may be otherwise."""
        self._health.tell()
        self._reloading.tell()
