"""Lists: `Gather` makes one message of the runtimes' answers, `Chain` one stream, and `Lone` is a list of one runtime.

To concatenate serialized protobuf messages is to merge them, so that as a rule nothing is parsed for it; where what
several runtimes list is one thing (the row's `Merge`), the answers are looked into.

A runtime that has a list only in the other way than kubelet wants it is asked in that way (`Method.twin`): the messages
of a stream are put together for one message, and one message is cut for a stream.
"""

from __future__ import annotations

from typing import Dict, List, Optional

from google.protobuf.message import DecodeError

from criproxy.cri.filter import sort_of
from criproxy.cri.merge import Listed, in_messages
from criproxy.http2.headers import Block
from criproxy.relay.absence import Sent
from criproxy.relay.backend import Backend, Link
from criproxy.relay.call import Origin, SingleCall
from criproxy.relay.fan import Branch, FanOut, Streaming
from criproxy.relay.grpc import (
    OK_TRAILERS,
    RESPONSE_HEADERS,
    Code,
    RpcError,
    no_message,
    prefix,
    several_messages,
    status_of,
    too_large,
    trailers_of,
    unreadable,
)

PAGE = 16 * 1024 * 1024
"""The largest message of a stream that kubelet takes, bytes."""


class Gather(FanOut):
    """A list of all runtimes in one message."""

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin, backends)
        self._merge = None if self.plan.method is None else self.proxy.router.merge(self.plan.method)
        self._listed: Dict[Branch, Listed] = {}

    def on_message(self, branch: Branch, body: bytes) -> None:
        """Kept until all are there."""
        if branch.bodies and not branch.plan.streams:
            raise several_messages()
        branch.size += len(body)
        if branch.size > self.proxy.config.max_message_size:
            raise too_large(branch.size, self.proxy.config.max_message_size)
        branch.bodies.append(body)

    def on_end(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> None:
        """Answers when the last one is there."""
        if error is None:
            try:
                self._take(branch)
            except RpcError as unusable:
                error, trailers = unusable, None
        if not self.counts(branch, error, trailers):
            return
        if not branch.decides:
            self._settle(branch, error)
        if all(other.done for other in self.branches):
            self._answer()

    def _take(self, branch: Branch) -> None:
        if branch.plan.streams:
            branch.bodies = [b"".join(branch.bodies)]
        elif not branch.bodies:
            # To take it for an empty list would mean to kubelet that all is gone.
            raise no_message()
        if self._merge is None:
            return
        try:
            self._listed[branch] = self._merge.read(branch.bodies[0])
        except DecodeError as error:
            raise unreadable(branch.backend, error) from error

    def _settle(self, branch: Branch, error: Optional[RpcError]) -> None:
        if error is not None:
            branch.bodies.clear()
        rest = self.settle(branch, error, b"".join(branch.bodies))
        if rest:
            branch.bodies.append(rest)

    def merged(self) -> List[bytes]:
        """What all list: messages of which the concatenation is the answer."""
        if self._merge is None:
            return [body for branch in self.branches for body in branch.bodies]
        return self._merge.merge([self._listed[branch] for branch in self.branches if branch in self._listed])

    def _answer(self) -> None:
        bodies = self.merged()
        row = self.plan.method
        size = sum(map(len, bodies))
        limit = self.proxy.config.max_message_size
        if size > limit:
            self.fail(too_large(size, limit))
            return
        headers = self.branches[0].headers
        self.send_headers(RESPONSE_HEADERS if headers is None else headers.wire)
        for data in (prefix(size), *bodies):
            self.send_data(data)
        if row is not None and self.proxy.log.enabled(row.loud):
            self.log_answer(b"".join(bodies))
        self.finish(OK_TRAILERS if self.trailers is None else trailers_of(self.trailers))


class Chain(Streaming):
    """The Stream… lists: the answers of the runtimes one after the other, in their order."""

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin, backends)
        self._turn = 0
        self._sent = Sent(0)
        """What has gone to kubelet of the part of the runtime whose turn it is; of the primary's nothing is kept."""

    def holds(self, branch: Branch) -> bool:
        """Until all before it are done. Its window bounds what it can send meanwhile."""
        return self.branches[self._turn] is not branch

    def _on_timeout(self) -> None:
        """A runtime that has said nothing for so long is left out; one whose turn has not come is given time."""
        for branch in self.branches:
            # While we owe it some of its window it is kubelet that is waited for.
            if not (branch.done or branch.primary or branch.heard or branch.owed or self._over):
                self._time_out(branch)
            branch.heard = bool(branch.held)
        if not self._over:
            self._timer = self.proxy.loop.call_later(self.proxy.config.fan_out_timeout, self._on_timeout)

    def on_message(self, branch: Branch, body: bytes) -> None:
        """Goes to kubelet, in messages that it takes."""
        for part in in_messages(body, PAGE):
            super().on_message(branch, part)
        self._sent.add(body)

    def on_end(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> None:
        """The turn is the next one's."""
        if error is None and not (branch.plan.streams or branch.begun):
            branch.error = error = no_message()
            trailers = None
        if self.counts(branch, error, trailers):
            self._go_on()

    def _go_on(self) -> None:
        """Gives the turn to the first that is not done, with what it has sent meanwhile."""
        while not self._over:
            branch = self.branches[self._turn]
            held, branch.held = branch.held, []
            for data, size in held:
                branch.take(data, size)
            # What was held may have ended the branch, and with it its turn.
            if self._over or self.holds(branch) or not branch.done or branch.held:
                return
            self._end_turn(branch)
            if self._turn == len(self.branches) - 1:
                break
            self._turn += 1
            self._sent = Sent(self._kept)
        if self._over:
            return
        if self.trailers is not None:
            self.finish_as(self.branches[0], self.trailers)

    def _end_turn(self, branch: Branch) -> None:
        if not branch.decides:
            rest = self.settle(branch, branch.error, self._sent.body)
            if rest:
                self.on_message(branch, rest)

    @property
    def _kept(self) -> int:
        """How much is kept of what goes to kubelet, bytes."""
        config, row = self.proxy.config, self.plan.method
        remembered = config.absence_grace and row is not None and sort_of(row) is not None
        return config.max_message_size if remembered else 0


class Lone(SingleCall):
    """A list of one runtime: it flows through as other answers do, unless the runtime has it only in the other way."""

    def __init__(self, origin: Origin, backend: Backend) -> None:
        super().__init__(origin, backend)
        self._origin = origin

    def _send(self, link: Link) -> None:
        if link.plan_for(self.plan) is self.plan:
            super()._send(link)
        else:
            self._hand_over()

    def on_headers(self, block: Block, end: bool) -> None:
        """What the runtime does not have is asked for in the other way."""
        refused = end and not self.headers_sent and status_of(block.head) == Code.UNIMPLEMENTED
        if refused and self.link is not None and self.plan.twin is not None:
            self.link.lacks(self.plan)
            self._hand_over()
            return
        super().on_headers(block, end)

    def _hand_over(self) -> None:
        """Lets a call take over that can do that: it asks the one runtime as if there were more."""
        call = (Chain if self.plan.streams else Gather)(self._origin, [self.backend])
        self.front.calls[self.front_stream] = call
        call.start(self._body)

    def _pass_on(self, body: bytes) -> None:
        for part in in_messages(body, PAGE) if self.plan.streams else [body]:
            super()._pass_on(part)
