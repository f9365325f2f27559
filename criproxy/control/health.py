"""gRPC's health checks: whether the node has a runtime through this daemon."""

from __future__ import annotations

from typing import Any, Dict, Optional

from criproxy.control.api import health
from criproxy.control.call import Answer
from criproxy.control.subject import DaemonState, Relay
from criproxy.http2.grpc import Code, RpcError

SERVICES = ("", "criproxy")
"""The names of what is asked for: both are the daemon as a whole."""


class HealthService:
    """SERVING while the daemon takes calls and the primary runtime is there."""

    def __init__(self, daemon: DaemonState, relay: Relay) -> None:
        self._daemon = daemon
        self._relay = relay
        self._statuses = health().enums["ServingStatus"]
        self._response = health().messages["HealthCheckResponse"]
        self._watching: Dict[Answer, Optional[int]] = {}
        """Who watches, and the status that each was told last; None if that has not reached them."""

    def check(self, request: Any, answer: Answer) -> None:
        """The method Check."""
        if request.service not in SERVICES:
            raise RpcError(Code.NOT_FOUND, "criproxy: there is no such service")
        answer.reply(self._response(status=self._status))

    def watch(self, request: Any, answer: Answer) -> None:
        """The method Watch: the status, and each other one that follows."""
        if request.service not in SERVICES:
            answer.send(self._response(status=self._statuses["SERVICE_UNKNOWN"]))
            return
        self._watching[answer] = None
        answer.on_cancel = lambda: self._forget(answer)
        self.tell()

    def _forget(self, answer: Answer) -> None:
        self._watching.pop(answer, None)

    def tell(self) -> None:
        """To be called when the status may be another one."""
        status = self._status
        for answer, told in self._watching.items():
            if told != status:
                self._watching[answer] = status if answer.send(self._response(status=status)) else None

    @property
    def _status(self) -> int:
        # The image service of the primary is a part of it.
        whole = all(runtime.there for runtime in self._relay.runtimes if runtime.primary)
        return self._statuses["SERVING" if whole and self._relay.ready and not self._daemon.stopping else "NOT_SERVING"]
