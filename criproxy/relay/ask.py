"""Calls of the proxy's own: what it has to know of a runtime and kubelet has not asked for."""

from __future__ import annotations

from functools import cache
from typing import Callable, Optional, Union

from google.protobuf.message import DecodeError

from criproxy.cri.methods import METHODS
from criproxy.cri.versions import Version, path_of
from criproxy.http2.headers import Block
from criproxy.relay.backend import Link
from criproxy.relay.grpc import Code, Reader, RpcError, check_head, error_of, prefix, request_head, unreadable
from criproxy.relay.plan import Plan, Router, Transform, plan_of

Answer = Union[bytes, RpcError]
"""A message as kubelet would see it, or why there is none."""


@cache
def own_plan(method: str) -> Plan:
    """The plan of our own calls of a method: in the CRI's newest version, whatever the runtime speaks."""
    path = path_of(Version.V1, METHODS[method].rpc.service, method)
    return plan_of(request_head(path).head)


class Ask:
    """One unary call: the leg that is its stream at the runtime. ``done`` is told the answer, once.

    ``request`` is a serialized message in v1 that names things as the runtime does; the answer names them as kubelet
    does. ``seconds``: how long the runtime may take; ``limit``: the largest answer, bytes.
    """

    def __init__(
        self,
        link: Link,
        router: Router,
        method: str,
        request: bytes,
        seconds: float,
        limit: int,
        done: Callable[[Answer], None],
    ) -> None:
        self.link: Optional[Link] = None
        self.stream_id = 0
        self._done: Optional[Callable[[Answer], None]] = done
        self._reader = Reader(limit)
        self._body: Optional[bytes] = None
        self._asked = link
        self._backend = link.backend
        plan = own_plan(method)
        way = link.way(plan, router)
        self._change: Optional[Transform] = way.answer
        self._timer = link.backend.loop.call_later(seconds, self._on_timeout)
        body = request if way.request is None else way.request(request)
        link.open(self, way.wire, prefix(len(body)) + body)

    def cancel(self) -> None:
        """The answer is not wanted any more: ``done`` is not called."""
        if self._done is not None:
            self._done = None
            self._timer.cancel()
            self._asked.cancel(self)

    def _on_timeout(self) -> None:
        self._asked.cancel(self)
        self._end(RpcError(Code.DEADLINE_EXCEEDED, f"criproxy: {self._backend} has not answered in time"))

    def _end(self, answer: Answer) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._timer.cancel()
            done(answer)

    # From the runtime.

    def on_opened(self) -> None:
        """The request is on its way."""

    def on_sent(self, size: int) -> None:
        """Data of the request that had waited has left."""

    def on_headers(self, block: Block, end: bool) -> None:
        """The trailers say whether what has come is the answer."""
        if end:
            self._on_trailers(block)
            return
        try:
            check_head(block.head)
        except RpcError as error:
            self._give_up(error)
            return
        self._reader.encoding = block.get(b"grpc-encoding") or b"identity"

    def _on_trailers(self, block: Block) -> None:
        error = error_of(block)
        if error is not None:
            self._end(error)
        elif self._body is None or not self._reader.idle:
            self._end(RpcError(Code.INTERNAL, f"criproxy: {self._backend} has ended an answer before its end"))
        else:
            self._end(self._body)

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        """The message, or a part of it."""
        try:
            for body in self._reader.feed(data):
                self._body = body if self._change is None else self._change(body)
        except (RpcError, DecodeError) as error:
            self._give_up(unreadable(self._backend, error))
            return
        if end:
            self._end(RpcError(Code.INTERNAL, "criproxy: an answer without trailers"))
        elif self.link is not None:
            self.link.consumed(self.stream_id, size)

    def _give_up(self, error: RpcError) -> None:
        self._asked.cancel(self)
        self._end(error)

    def on_reset(self, code: int) -> None:
        """The runtime has reset the stream."""
        self._end(RpcError(Code.UNAVAILABLE, f"the runtime reset the stream ({code})"))

    def on_lost(self, reason: str) -> None:
        """The runtime has gone."""
        self._end(RpcError(Code.UNAVAILABLE, f"criproxy: {self._backend} has gone during the call: {reason}"))
