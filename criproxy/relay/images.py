"""Images by their digests, which do not say whose they are: they are found, and removed, wherever they are.

`MergedStream` is the list of them as a stream, in which what several runtimes have is one entry.
"""

from __future__ import annotations

from typing import Dict, List, Optional

from criproxy.cri.merge import in_messages
from criproxy.cri.rewrite import VIEWS
from criproxy.http2.headers import Block
from criproxy.relay.backend import Backend
from criproxy.relay.call import Origin
from criproxy.relay.fan import Branch, Broadcast, FanOut, present
from criproxy.relay.grpc import RESPONSE_HEADERS, Code, RpcError, no_message, prefix, several_messages, too_large
from criproxy.relay.lists import PAGE, Gather

_STATUS = VIEWS["ImageStatusResponse"]


class Find(FanOut):
    """ImageStatus of a digest: the answer is that of the first runtime, in their order, that has the image.

    If nobody has it that is the primary's.
    """

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin, present(backends))
        self._having: Dict[Branch, bool] = {}
        self._trailers: Dict[Branch, Block] = {}

    def on_message(self, branch: Branch, body: bytes) -> None:
        """Kept until it is known whether it is the answer."""
        if branch.bodies:
            raise several_messages()
        self._having[branch] = _STATUS.FromString(body).HasField("image")
        branch.bodies.append(body)

    def on_end(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> None:
        """Answers if all before the first that has the image are done."""
        if error is None and not branch.bodies:
            error, trailers = no_message(), None
        if not self.counts(branch, error, trailers):
            return
        if not branch.decides:
            self.settle(branch, error, None)
        if error is None and trailers is not None:
            self._trailers[branch] = trailers
        for other in self.branches:
            if not other.done:
                return
            if other in self._trailers and self._having[other]:
                self._answer(other)
                return
        self._answer(self.branches[0])

    def _answer(self, branch: Branch) -> None:
        (body,) = branch.bodies
        self.send_headers(RESPONSE_HEADERS if branch.headers is None else branch.headers.wire)
        self.send_data(prefix(len(body)) + body)
        self.log_answer(body)
        self.finish_as(branch, self._trailers[branch])


class Remove(Broadcast):
    """RemoveImage of a digest: all that have the image remove it. That some do not is no failure."""

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin, backends)
        self._refusals: Dict[Branch, Block] = {}

    def _on_timeout(self) -> None:
        """To remove an image is work: it is given time as long as the runtime gives a sign of life."""
        for branch in self.branches:
            if branch.done or branch.primary or self._over:
                continue
            if branch.link is None or branch.backend.available is None:
                self._time_out(branch)
            else:
                branch.link.ask_for_life()
        if not self._over:
            self._timer = self.proxy.loop.call_later(self.proxy.config.fan_out_timeout, self._on_timeout)

    def on_end(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> None:
        """Answers when the last one is done."""
        if error is not None and trailers is not None:
            self._refusals[branch] = trailers
        super().on_end(branch, error, trailers)

    def _answer(self) -> None:
        serious = {branch: error for branch, error in self._errors.items() if error.code is not Code.NOT_FOUND}
        nobody_has_it = not serious and len(self._errors) == len(self.branches)
        first = self.branches[0]
        if nobody_has_it or list(serious) == [first]:
            self.fail_as(first, self._errors[first], self._refusals.get(first))
            return
        self._errors = serious
        super()._answer()


class MergedStream(Gather):
    """A list as a stream, in which one entry is made of what several runtimes have: begins when all have answered."""

    def _answer(self) -> None:
        limit = self.proxy.config.max_message_size
        messages = [message for body in self.merged() if body for message in in_messages(body, min(limit, PAGE))]
        largest = max(map(len, messages), default=0)
        if largest > limit:
            self.fail(too_large(largest, limit))
            return
        primary = self.branches[0]
        if messages:
            self.send_headers(RESPONSE_HEADERS if primary.headers is None else primary.headers.wire)
        for message in messages:
            self.send_data(prefix(len(message)) + message)
            self.log_answer(message)
        if self.trailers is not None:
            self.finish_as(primary, self.trailers)
