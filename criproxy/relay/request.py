"""What is asked: by kubelet, or by the proxy itself."""

from __future__ import annotations

from functools import cache
from typing import List, Optional, Sequence

from criproxy.cri.identity import Names
from criproxy.cri.methods import METHODS
from criproxy.cri.versions import ApiVersion, path_of
from criproxy.http2.grpc import request_head, timeout_of, with_timeout
from criproxy.http2.headers import Block
from criproxy.relay.context import Context
from criproxy.relay.loop import Clock
from criproxy.relay.routing import Plan, plan_of
from criproxy.relay.runtime import Runtime
from criproxy.relay.tracing import MOST_QUESTIONS, Asked, EndedCall, Messages


class Request:
    """One call's request: its head, the message (empty until it is there), and when it came (seconds of the clock).

    ``number``: counts the calls of clients, from 1 on; 0 for the proxy's own.
    """

    __slots__ = ("_answered_at", "_asked_at", "_clock", "_kept", "block", "body", "number", "plan", "started")

    def __init__(self, clock: Clock, block: Block, plan: Plan, number: int = 0) -> None:
        self.block = block
        self.number = number
        self.plan = plan
        self.body = b""
        self.started = clock.time()
        self._asked_at = 0.0
        """When the first runtime was asked, or waited for; 0 until then."""
        self._answered_at = 0.0
        """When the last of those that have been asked has answered, or was given up; 0 until one has."""
        self._kept: Optional[List[Asked]] = None
        """For those who watch; None until there is one."""
        self._clock = clock

    @property
    def age(self) -> float:
        """How long ago it has come, seconds."""
        return self._clock.time() - self.started

    def asked(self) -> float:
        """A runtime is being asked, or waited for; gives the time."""
        now = self._clock.time()
        if not self._asked_at:
            self._asked_at = now
        return now

    def answered(self, context: Context, runtime: Runtime, code: int, asked_at: float, opened: bool) -> None:
        """A runtime that was asked then has answered, or was given up: that is counted, and kept for those who watch.

        See `RuntimeStatistics.end`.
        """
        self._answered_at = runtime.statistics.end(self.plan.method, code, asked_at, opened, self.number == 0)
        if context.tracing.watchers:
            self._keep(runtime.names, code, asked_at, opened)

    def _keep(self, names: Names, code: int, asked_at: float, opened: bool) -> None:
        kept = self._kept
        if kept is None:
            self._kept = kept = []
        if len(kept) < MOST_QUESTIONS:
            started = self.started
            kept.append(Asked(names, code, asked_at - started, self._answered_at - started, opened))

    def ended(
        self,
        context: Context,
        code: int,
        text: str = "",
        targets: Sequence[Names] = (),
        answer: Optional[Messages] = None,
    ) -> None:
        """The caller has its answer, or wants none any more: that is counted, and told to those who watch.

        What the runtimes took is the time from when the first was asked to when the last had answered. ``text``: the
        error's; ``targets``: who was asked; ``answer``: what has been kept of it.
        """
        total = self._clock.time() - self.started
        theirs = self._answered_at - self._asked_at if self._answered_at else 0.0
        own = max(0.0, total - theirs)
        context.statistics.end(self.plan.method, code, total, own)
        if context.tracing.watchers:
            block, asked = self.block, self._kept or ()
            call = EndedCall(self.number, self.plan, self.body, targets, code, text, total, own, answer, block, asked)
            context.tracing.tell(call)

    def remaining(self) -> Optional[float]:
        """How long the caller will wait for the response, seconds; None if it does not say (``grpc-timeout``)."""
        timeout = timeout_of(self.block)
        return None if timeout is None else timeout - self.age

    def within(self, seconds: float) -> float:
        """So many seconds, or as many as the caller still waits."""
        remaining = self.remaining()
        return seconds if remaining is None else max(0.0, min(seconds, remaining))

    def tail(self, waited: bool) -> bytes:
        """The end of the head's bytes; of a request that has ``waited``, with what is left of its deadline."""
        tail = self.block.tail
        remaining = self.remaining() if waited and tail else None
        return tail if remaining is None else with_timeout(self.block, remaining)


@cache
def _own_block(method: str) -> Block:
    return request_head(path_of(ApiVersion.V1, METHODS[method].rpc.service, method))


def own_request(clock: Clock, method: str) -> Request:
    """A request of the proxy's own for a method of the CRI, in v1 whatever the runtime speaks, without a deadline."""
    block = _own_block(method)
    return Request(clock, block, plan_of(block.head))
