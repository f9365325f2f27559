"""The endpoint of the metrics, as the configuration has it: opened, moved, closed."""

from __future__ import annotations

from typing import Callable

from criproxy.control.subject import DaemonState
from criproxy.listening import Listening, SocketError, listen_for_metrics
from criproxy.metrics.subject import Measured
from criproxy.relay.loop import Loop
from criproxy.report.log import Log


class Endpoint:
    """Where metrics are served, if anywhere. To serve kubelet it is not needed."""

    def __init__(self, loop: Loop, log: Log, daemon: DaemonState, relay: Measured) -> None:
        self._loop = loop
        self._log = log
        self._daemon = daemon
        self._relay = relay
        self._address = ""
        self._end: Callable[[], None] = _nothing

    def open(self, address: str) -> None:
        """Serves at an address, if it is not empty. That this cannot be is no more than a warning."""
        try:
            self.move(address)
        except SocketError as error:
            self._log.warning(f"metrics-listen: {error}: there are no metrics")

    def move(self, address: str) -> None:
        """Serves at this address and no other; empty: nowhere. Raises SocketError, and all is as it was."""
        if address == self._address:
            return
        end = self._serve(listen_for_metrics(address)) if address else _nothing
        self.close()
        self._address, self._end = address, end

    def _serve(self, listening: Listening) -> Callable[[], None]:
        """Serves on a socket; gives what ends that. Raises SocketError."""
        try:
            # The library takes as much memory as a quarter of the daemon: who has no metrics does without.
            from criproxy.metrics.pages import pages
            from criproxy.metrics.server import MetricsServer
        except ImportError as error:
            listening.sock.close()
            listening.release()
            raise SocketError(f"cannot load prometheus_client: {error}") from error
        served = pages(self._loop.time, self._daemon, self._relay)
        server = MetricsServer(self._loop, self._log, listening.sock, served)

        def end() -> None:
            server.close()
            listening.release()

        return end

    def close(self) -> None:
        """Serves nowhere."""
        self._end()
        self._address, self._end = "", _nothing


def _nothing() -> None:
    """There is nothing to end."""
