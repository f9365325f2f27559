"""Container events: the endless streams of several runtimes in one."""

from __future__ import annotations

from typing import Optional, Sequence

from criproxy.http2.headers import Block
from criproxy.relay.backend import Backend
from criproxy.relay.fan import Branch, Streaming
from criproxy.relay.grpc import Code, RpcError

REJOIN_INTERVAL = 1.0
"""Between two attempts to get a runtime's events, seconds."""


class Blend(Streaming):
    """Events: the streams of all runtimes in one, as long as the primary's lives.

    An alternative runtime's stream that ends is asked for anew, and one that comes later joins.
    """

    lasting = True

    def start(self, body: bytes) -> None:
        """Asks all runtimes; there is no timeout, since nothing may happen for long."""
        self._body = body
        self.proxy.lasting.add(self)
        for branch in list(self.branches):
            if not self._over:
                branch.start()

    def _stop(self) -> None:
        self.proxy.lasting.discard(self)
        super()._stop()

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
        if error is not None:
            self.leave_out(branch, error)
        if error is None or (error.code is not Code.UNIMPLEMENTED and branch.backend.available is not None):
            self.proxy.loop.call_later(REJOIN_INTERVAL, lambda: self.join(branch.backend))

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

    def join(self, backend: Backend) -> None:
        """A runtime is there (again): its events belong to the stream."""
        if self._over or backend.available is None:
            return
        for index, branch in enumerate(self.branches):
            if branch.backend is backend and branch.done and not branch.primary:
                self.branches[index] = fresh = Branch(self, backend)
                fresh.start()
