"""What belongs together: kubelet's connections, the runtimes, and what their calls share."""

from __future__ import annotations

import socket
from typing import Callable, Dict, Optional, Set

from criproxy.config import Config
from criproxy.cri.identity import Names, Runtimes
from criproxy.relay.backend import Backend
from criproxy.relay.fan import Blend
from criproxy.relay.frontend import FrontConnection, Listener
from criproxy.relay.grpc import Code, RpcError
from criproxy.relay.loop import Loop
from criproxy.relay.plan import Router
from criproxy.report.log import Log


class Proxy:
    """The relay between one listening socket and the runtimes of a configuration.

    ``stream_url`` gives what is put before a streaming URL that is a path alone.
    """

    def __init__(self, config: Config, loop: Loop, log: Log, stream_url: Callable[[], str]) -> None:
        self.config = config
        self.loop = loop
        self.log = log
        self.fronts: Set[FrontConnection] = set()
        self.lasting: Set[Blend] = set()
        """Calls that do not end by themselves."""
        self._listener: Optional[Listener] = None
        self._drained: Optional[Callable[[], None]] = None
        primary, *alternatives = config.runtimes
        runtimes = Runtimes(runtime.id for runtime in alternatives)
        self.router = Router(runtimes, stream_url)
        self._backends: Dict[Names, Backend] = {
            names: Backend(loop, log, names, runtime.path, self._on_change)
            for names, runtime in zip((runtimes.primary, *runtimes.alternatives), (primary, *alternatives))
        }
        self.primary = self._backends[runtimes.primary]

    def backend_of(self, names: Names) -> Backend:
        """The runtime that has these names."""
        return self._backends[names]

    def start(self, sock: socket.socket) -> None:
        """Looks for the runtimes, and takes connections on a listening socket."""
        for backend in self._backends.values():
            backend.connect()
        self._listener = Listener(self, sock)

    def drain(self, seconds: float, done: Callable[[], None]) -> None:
        """Takes no more connections and calls; ``done`` is called when those under way are over, or after a time."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        for call in list(self.lasting):
            call.fail(RpcError(Code.UNAVAILABLE, "criproxy: criproxy is being stopped"))
        self._drained = done
        self.loop.call_later(seconds, self._give_up)
        for front in list(self.fronts):
            front.drain()
        self._finish_if_drained()

    def forget(self, front: FrontConnection) -> None:
        """A connection of kubelet's is gone."""
        self.fronts.discard(front)
        self._finish_if_drained()

    def _finish_if_drained(self) -> None:
        if self._drained is not None and not self.fronts:
            done, self._drained = self._drained, None
            for backend in self._backends.values():
                backend.stop()
            done()

    @property
    def under_way(self) -> int:
        """How many calls have not ended yet."""
        return sum(len(front.calls) for front in self.fronts)

    def _give_up(self) -> None:
        if self._drained is not None and self.under_way:
            self.log.warning(f"calls that have not ended in time and are cut off: {self.under_way}")
        for front in list(self.fronts):
            front.transport.close("criproxy stops")

    def _on_change(self, backend: Backend) -> None:
        """A runtime is there, or is not there any more."""
        for call in list(self.lasting):
            call.join(backend)
