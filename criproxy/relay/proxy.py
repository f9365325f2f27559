"""What belongs together: kubelet's connections, the runtimes, and what their calls share."""

from __future__ import annotations

import socket
from typing import Callable, Dict, Optional, Set, Tuple

from criproxy.config import ALL, REQUIRED, Config
from criproxy.cri.identity import Names, Runtimes
from criproxy.relay.absence import LastKnown
from criproxy.relay.backend import Backend
from criproxy.relay.events import Blend
from criproxy.relay.frontend import FrontConnection, Listener
from criproxy.relay.grpc import Code, RpcError
from criproxy.relay.loop import Loop
from criproxy.relay.plan import Router, Rules
from criproxy.relay.pods import Pods
from criproxy.report.log import Log

SETTLING_TIME = 1.0
"""How long connections wait for it to be known of each runtime whether it is there, seconds."""


class Proxy:
    """The relay between one listening socket and the runtimes of a configuration.

    ``stream_url`` gives what is put before a streaming URL that is a path alone; ``on_change`` is called whenever what
    `state` and `ready` say may be something else.
    """

    def __init__(
        self,
        config: Config,
        loop: Loop,
        log: Log,
        stream_url: Callable[[Config], str],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.loop = loop
        self.log = log
        self.fronts: Set[FrontConnection] = set()
        self.lasting: Set[Blend] = set()
        """Calls that do not end by themselves."""
        self._stream_url = stream_url
        self._tell_change = on_change
        self._listener: Optional[Listener] = None
        self._drained: Optional[Callable[[], None]] = None
        self._backends: Dict[Names, Backend] = {}
        self.last_known: Dict[Backend, LastKnown] = {}
        """What each alternative runtime has listed last."""
        self._pods = Pods(self._listed_on)
        self._arrange()

    def _arrange(self) -> None:
        """Makes a router for the configuration's runtimes, and a backend of each that has none yet."""
        there = {(backend.names.runtime, backend.path): backend for backend in self._backends.values()}
        primary, *alternatives = self.config.runtimes
        runtimes = Runtimes((runtime.id for runtime in alternatives), self.config.handlers)
        config = self.config
        rules = Rules(config.image_prefix != REQUIRED, config.digests == ALL, config.status == ALL)
        self.router = Router(runtimes, lambda: self._stream_url(self.config), self._pods, rules)
        self._backends = {}
        for names, runtime in zip((runtimes.primary, *runtimes.alternatives), (primary, *alternatives)):
            backend = there.get((runtime.id, runtime.path))
            if backend is None:
                backend = Backend(self.loop, self.log, names, runtime.path, self._on_change)
                if not backend.primary:
                    self.last_known[backend] = LastKnown(self, backend)
            else:
                backend.rename(names)
            self._backends[names] = backend
        self.primary = self._backends[runtimes.primary]

    def backend_of(self, names: Names) -> Backend:
        """The runtime that has these names."""
        return self._backends[names]

    def _listed_on(self, uid: bytes) -> str:
        """The id of the alternative runtime that has listed a pod of this UID last; nothing if none has."""
        known = (backend.names.runtime for backend, known in self.last_known.items() if known.has_pod(uid))
        return next(known, "")

    def note_change(self, backend: Backend) -> None:
        """Something has changed in a runtime that lists will have."""
        known = self.last_known.get(backend)
        if known is not None:
            known.touch()

    @property
    def ready(self) -> bool:
        """Whether connections are taken, and it is known whether the primary runtime is there."""
        return self._listener is not None and self._listener.is_open and self.primary.known

    @property
    def state(self) -> str:
        """Each runtime's state, in one line."""
        return "; ".join(
            f"{backend.names.runtime or 'primary'} {backend.path}: {backend.state}"
            for backend in self._backends.values()
        )

    def start(self, sock: socket.socket) -> None:
        """Looks for the runtimes, and takes connections on a listening socket.

        Whoever connects before each runtime is found, or found not to be there, waits in the socket's queue for a
        while: a list without the pods of a runtime that we have only not asked yet would make kubelet think that they
        are gone.
        """
        self._listener = Listener(self, sock)
        self.loop.call_later(SETTLING_TIME, self._open)
        for backend in self._backends.values():
            backend.connect()

    def _open(self) -> None:
        if self._listener is not None and not self._listener.is_open:
            self._listener.open()
            self._tell_change()

    def reload(self, config: Config) -> None:
        """Takes another configuration. Runtimes that are in both are not touched, nor are their calls.

        A runtime that is not in it any more may answer what it has been asked. Endless streams go on without it; if
        it was the primary one they end, since all that kubelet gets there follows from what that has said.
        """
        before, self.config = self.config, config
        for known in self.last_known.values():
            known.follow()
        if _naming(config) == _naming(before):
            return
        old = list(self._backends.values())
        self._arrange()
        backends = list(self._backends.values())
        for call in list(self.lasting):
            call.follow(backends)
        for backend in old:
            if backend not in backends:
                self._forget(backend)
                backend.retire()
        for backend in backends:
            if backend not in old:
                backend.connect()
        self._tell_change()

    def drain(self, seconds: float, done: Callable[[], None]) -> None:
        """Takes no more connections and calls; ``done`` is called when those under way are over, or after a time."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        self._drained = done
        self.loop.call_later(seconds, self._give_up)
        for front in list(self.fronts):
            front.drain()
        self._finish_if_drained()

    def end_lasting(self, front: FrontConnection) -> None:
        """Ends the calls of a connection that would not end by themselves."""
        for call in list(self.lasting):
            if call.front is front:
                call.fail(RpcError(Code.UNAVAILABLE, "criproxy: criproxy is being stopped"))

    def forget(self, front: FrontConnection) -> None:
        """A connection of kubelet's is gone."""
        self.fronts.discard(front)
        self._finish_if_drained()

    def _finish_if_drained(self) -> None:
        if self._drained is not None and not self.fronts:
            done, self._drained = self._drained, None
            for backend in self._backends.values():
                self._forget(backend)
                backend.stop()
            done()

    def _forget(self, backend: Backend) -> None:
        known = self.last_known.pop(backend, None)
        if known is not None:
            known.forget()

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
        known = self.last_known.get(backend)
        if known is not None:
            known.follow()
        if all(each.known for each in self._backends.values()):
            self._open()
        self._tell_change()


def _naming(config: Config) -> Tuple[object, ...]:
    """What decides how things are called and whose they are."""
    return config.runtimes, config.handlers, config.image_prefix, config.digests, config.status
