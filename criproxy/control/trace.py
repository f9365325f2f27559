"""Answers Trace: calls as they end, to who watches them.

A call is judged at once by what costs nothing to know, and is then kept for a moment: its names are found, and its
messages written as text, when nothing else is to be done. Of what cannot be kept, or is not read, there is a count.
"""

from __future__ import annotations

import re
import time
from collections import deque
from fnmatch import translate
from typing import Any, Deque, List, Optional, Tuple

from criproxy.control.api import control, utf8
from criproxy.control.call import Answer
from criproxy.control.subject import Relay
from criproxy.cri.steps import Work
from criproxy.cri.verify import whole_fields
from criproxy.http2.grpc import Code, RpcError
from criproxy.relay.known import Subject
from criproxy.relay.loop import Clock, Timer
from criproxy.relay.tracing import SHOWN, EndedCall
from criproxy.report.log import Log, code_name
from criproxy.report.yaml import dump_in_steps

MOST_TRACERS = 4
"""So many may watch at once."""
MOST_WAITING = 1024
"""So many calls may wait to be told to one of them."""
MOST_HELD = 4 << 20
"""What these may hold, bytes."""
_LONGEST_GLOB = 256
_LONGEST_TEXT = 4096
"""characters of an error's text"""


class TraceService:
    """Tells who asks of the calls of a relay."""

    def __init__(self, relay: Relay, clock: Clock, log: Log) -> None:
        self._relay = relay
        self._clock = clock
        self._log = log
        self._tracers: List[_Tracer] = []

    def trace(self, request: Any, answer: Answer) -> None:
        """The method."""
        tracing = self._relay.tracing
        if len(self._tracers) >= MOST_TRACERS:
            raise RpcError(Code.RESOURCE_EXHAUSTED, f"criproxy: {MOST_TRACERS} others are tracing already")
        ids = [runtime.names.title for runtime in self._relay.runtimes]
        if request.runtime and request.runtime not in ids:
            raise RpcError(
                Code.INVALID_ARGUMENT,
                f"criproxy: unknown runtime: {request.runtime!r} (there are: {', '.join(dict.fromkeys(ids))})",
            )
        tracer = _Tracer(self._relay, self._clock, Filters(request), bool(request.bodies), answer)

        what = "calls with their messages" if request.bodies else "calls"

        def stop() -> None:
            tracing.remove(tracer)
            self._tracers.remove(tracer)
            tracer.stop()
            self._log.info(f"trace: somebody has watched {what}")

        answer.on_cancel = stop
        answer.begin()
        tracing.add(tracer, request.bodies)
        self._tracers.append(tracer)
        self._log.info(f"trace: somebody watches {what}")


class Filters:
    """Which calls are told. Raises RpcError for a request that makes no sense."""

    def __init__(self, request: Any) -> None:
        self._runtime: str = request.runtime
        self._method = _pattern(request.method)
        self._pod = _pattern(request.pod)
        self._of_all_namespaces = "/" not in request.pod
        self._slow: float = request.slow
        self._errors: bool = request.errors

    def take(self, call: EndedCall) -> bool:
        """Whether a call is to be told, by what is known of it without a look at its messages."""
        return (
            call.total >= self._slow
            and (call.code != Code.OK or not self._errors)
            and (not self._runtime or any(names.title == self._runtime for names in call.targets))
            and (self._method is None or self._method.match(call.plan.name) is not None)
        )

    def take_subject(self, about: Subject) -> bool:
        """Whether it is, by its pod."""
        if self._pod is None:
            return True
        pod = about.pod
        return pod is not None and self._pod.match(pod.name if self._of_all_namespaces else str(pod)) is not None


class _Tracer:
    """One who watches."""

    def __init__(self, relay: Relay, clock: Clock, filters: Filters, bodies: bool, answer: Answer) -> None:
        self._relay = relay
        self._clock = clock
        self._filters = filters
        self._bodies = bodies
        self._answer = answer
        self._waiting: Deque[Tuple[float, EndedCall]] = deque()
        self._held = 0
        """What these hold, bytes."""
        self._lost = 0
        self._work: Optional[Timer] = None
        self._message = control().messages["TracedCall"]

    def ended(self, call: EndedCall) -> None:
        """A call has ended."""
        if not self._filters.take(call):
            return
        size = _size(call)
        if len(self._waiting) >= MOST_WAITING or self._held + size > MOST_HELD or not self._answer.takes_more:
            self._lost += 1
            return
        self._held += size
        self._waiting.append((time.time(), call))
        if self._work is None:
            self._work = self._clock.work(self._tell_all())

    def stop(self) -> None:
        """Nobody reads it any more."""
        self._waiting.clear()
        if self._work is not None:
            self._work.cancel()

    def _tell_all(self) -> Work[None]:
        while self._waiting:
            at, call = self._waiting.popleft()
            self._held -= _size(call)
            about = self._relay.known.subject(call.plan.method, call.body)
            if self._filters.take_subject(about):
                yield from self._tell(at, call, about)
            yield
        self._work = None

    def _tell(self, at: float, call: EndedCall, about: Subject) -> Work[None]:
        if not self._answer.takes_more:
            self._lost += 1
            return
        told = self._message(
            at=at,
            number=call.number,
            method=utf8(call.plan.name),
            id=utf8(about.ids[0][1]) if about.ids else "",
            runtimes=[names.title for names in call.targets],
            duration=call.total,
            own_time=call.own,
            code=code_name(call.code),
            text=utf8(call.text[:_LONGEST_TEXT]),
            lost=self._lost,
        )
        if about.pod is not None:
            told.pod_namespace, told.pod_name = utf8(about.pod.namespace), utf8(about.pod.name)
        if about.container is not None:
            told.container_name = utf8(about.container.name)
        if self._bodies and call.answer is not None and call.plan.method is not None:
            rpc = call.plan.method.rpc
            told.request = yield from _text(rpc.request, call.body[:SHOWN], len(call.body))
            for body, size in zip(call.answer.kept, call.answer.sizes):
                told.answers.append((yield from _text(rpc.response, body, size)))
            told.answers_left = call.answer.left
        if self._answer.send(told):
            self._lost = 0
        else:
            self._lost += 1


def _size(call: EndedCall) -> int:
    return len(call.body) + len(call.text) + (0 if call.answer is None else sum(map(len, call.answer.kept)))


def _text(message: str, body: bytes, size: int) -> Work[str]:
    """The beginning of a message that has ``size`` bytes, as YAML."""
    if len(body) == size:
        return (yield from dump_in_steps(message, body))
    whole = yield from whole_fields(body)
    shown: List[str] = [(yield from dump_in_steps(message, whole))] if whole else []
    return "".join([*shown, f"# of {size} bytes only the first {len(whole)} are shown\n"])


def _pattern(glob: str) -> Optional[re.Pattern[str]]:
    if len(glob) > _LONGEST_GLOB:
        raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: a pattern has at most {_LONGEST_GLOB} characters")
    return re.compile(translate(glob)) if glob else None
