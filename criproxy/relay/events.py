"""Container events: the endless streams of several runtimes in one, with the changes of those that have no events."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

from criproxy.http2.headers import Block
from criproxy.relay import facts
from criproxy.relay.backend import Backend
from criproxy.relay.call import Origin
from criproxy.relay.fan import Branch, Streaming
from criproxy.relay.grpc import Code, RpcError
from criproxy.relay.poll import Poll

REJOIN_INTERVAL = 1.0
"""Between two attempts to get a runtime's events, seconds."""


class Blend(Streaming):
    """Events: the streams of all runtimes in one, as long as the primary's lives.

    An alternative runtime's stream that ends is asked for anew, and one that comes later joins. One that has no events
    is looked at again and again (`Poll`), until it is found anew and may have some.
    """

    lasting = True

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin, backends)
        self._polls: Dict[Backend, Poll] = {}

    def start(self, body: bytes) -> None:
        """Asks all runtimes; there is no timeout, since nothing may happen for long."""
        self._body = body
        self.proxy.lasting.add(self)
        for branch in list(self.branches):
            if not self._over:
                branch.start()

    def _stop(self) -> None:
        self.proxy.lasting.discard(self)
        for poll in self._polls.values():
            poll.rest()
        super()._stop()

    def on_message(self, branch: Branch, body: bytes) -> None:
        """Goes to kubelet, and says that lists are others now."""
        self.proxy.note_change(branch.backend)
        super().on_message(branch, body)

    def on_end(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> None:
        """The primary's end is the end."""
        if self._over:
            return
        if branch.primary:
            if error is None and trailers is not None:
                self.finish_as(branch, trailers)
            else:
                self.fail_as(branch, error or RpcError(Code.INTERNAL, "criproxy: no end"), trailers)
            return
        if error is not None and error.code is Code.UNIMPLEMENTED and self.proxy.config.event_poll:
            self._poll(branch.backend)
            return
        if error is not None:
            self.leave_out(branch, error)
        if error is None or (error.code is not Code.UNIMPLEMENTED and branch.backend.available is not None):
            self.proxy.loop.call_later(REJOIN_INTERVAL, lambda: self.join(branch.backend))

    def _poll(self, backend: Backend) -> None:
        """A runtime has no events: its changes are looked for."""
        poll = self._polls.get(backend)
        if poll is None:
            poll = self._polls[backend] = Poll(self.proxy, backend, self.pass_on, self.takes_more)
            text = f"{backend} has no events: what changes there is looked for (--event-poll)"
            self.proxy.log.info(text, lambda: (facts.of_runtime(backend.names),))
        poll.go_on()

    def follow(self, backends: Sequence[Backend]) -> None:
        """The runtimes are these now. Those that are new to the stream join it when they are there."""
        if self.branches[0].backend is not backends[0]:
            self.fail(RpcError(Code.UNAVAILABLE, "criproxy: another runtime is the primary one now"))
            return
        kept = {branch.backend: branch for branch in self.branches}
        self.branches = [
            kept.pop(backend) if backend in kept else Branch(self, backend, done=True) for backend in backends
        ]
        for branch in kept.values():
            branch.cancel()
        for backend in self._polls.keys() - set(backends):
            self._polls.pop(backend).rest()

    def join(self, backend: Backend) -> None:
        """A runtime is there (again): its events belong to the stream."""
        if self._over or backend.available is None:
            return
        for index, branch in enumerate(self.branches):
            if branch.backend is backend and branch.done and not branch.primary:
                if backend in self._polls:
                    self._polls[backend].rest()
                self.branches[index] = fresh = Branch(self, backend)
                fresh.start()
