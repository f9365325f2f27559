"""The collector that traces go to, as the configuration has it: found, changed, left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from criproxy.control.subject import DaemonState, Relay
from criproxy.relay.loop import Clock
from criproxy.report.log import Log

if TYPE_CHECKING:
    from criproxy.traces.sender import Sender


class Traces:
    """Where traces go, if anywhere. To serve kubelet it is not needed."""

    def __init__(self, daemon: DaemonState, relay: Relay, clock: Clock, log: Log) -> None:
        self._daemon = daemon
        self._relay = relay
        self._clock = clock
        self._log = log
        self._url = ""
        self._sender: Optional[Sender] = None

    def move(self, url: str) -> None:
        """Sends them to this collector (http://HOST:PORT) and no other; empty: nowhere."""
        if url == self._url:
            return
        if self._sender is not None:
            self._sender.stop()
        self._url, self._sender = url, None
        if url:
            from criproxy.traces.sender import Sender  # it has threads, and few nodes have traces

            self._sender = Sender(self._daemon, self._relay, self._clock, self._log, url)

    def close(self) -> None:
        """Sends what is left, if that does not take long: the loop has ended."""
        if self._sender is not None:
            self._sender.finish()
        self._url, self._sender = "", None
