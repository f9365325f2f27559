"""A call that waits until it is known whose id it has (owners.py).

It is asked for by a question alone, ContainerStatus or PodSandboxStatus: runtimes say OK to calls that stop or remove
what they do not have.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Callable, Dict, Final, List, Sequence

from criproxy.cri.identity import LONGEST_NAME
from criproxy.cri.views import encode
from criproxy.http2.grpc import Code, RpcError
from criproxy.relay.context import Context
from criproxy.relay.outcome import RUNTIME, Outcome
from criproxy.relay.owners import UnknownOwner
from criproxy.relay.question import Question
from criproxy.relay.request import Request
from criproxy.relay.response import Call, Held
from criproxy.relay.runtime import Runtime

_QUESTIONS: Final[Dict[str, str]] = {"pod_sandbox_id": "PodSandboxStatus", "container_id": "ContainerStatus"}
"""The method that asks for a thing, by the field of a request that has its id."""
_UNKNOWN_THERE: Final = "(?i)no such|not found|does not exist|could not find"
"""What is said of an id that a runtime does not have. dockershim says "No such container" with the code UNKNOWN."""


class Inquiry(Call):
    """A call that waits until it is known whose id it has.

    The runtimes that may have it are asked at once. ``found`` gets the one that has it; if none has, the first of them:
    what the primary says of what is gone is what kubelet has always heard. ``failed`` gets the error if one that may
    have it does not tell. One of the two is called, once.
    """

    def __init__(
        self,
        context: Context,
        request: Request,
        unknown: UnknownOwner,
        runtimes: Sequence[Runtime],
        found: Callable[[Runtime, bool], None],
        failed: Callable[[RpcError], None],
    ) -> None:
        method = _QUESTIONS[unknown.field]
        body = encode(f"{method}Request", {unknown.field: unknown.id})
        self._context = context
        self._request = request
        self._id = unknown.id
        self._runtimes = runtimes
        self._found = found
        self._failed = failed
        self._outcomes: Dict[Runtime, Outcome] = {}
        self._questions: List[Question] = [
            Question(context, runtime, method, body, partial(self._on_answer, runtime)) for runtime in runtimes
        ]

    def start(self) -> None:
        """Asks, until one has it: the first may answer while the next is being asked."""
        for question in self._questions:
            if self._questions:
                question.ask()

    def _on_answer(self, runtime: Runtime, body: bytes, outcome: Outcome) -> None:
        self._outcomes[runtime] = outcome
        if outcome.ok and self._id in body:
            self._stop()
            self._found(runtime, True)
        elif len(self._outcomes) == len(self._runtimes):
            self._stop()
            self._decide()

    def _decide(self) -> None:
        """None has said that it has it."""
        for runtime, outcome in self._outcomes.items():
            if not (outcome.ok or _has_it_not(outcome)):
                self._failed(_untold(self._id, runtime, outcome))
                return
        self._found(self._runtimes[0], False)

    def _stop(self) -> None:
        questions, self._questions = self._questions, []
        for question in questions:
            question.cancel()

    # From kubelet.

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """There is no more of it."""

    def on_sent(self, size: int) -> None:
        """Nothing has been sent yet."""

    def held(self) -> Held:
        """The request."""
        return Held(len(self._request.body))

    def cancel(self) -> None:
        """Nobody wants to know any more."""
        self._stop()
        self._request.ended(self._context, Code.CANCELLED)


def _has_it_not(outcome: Outcome) -> bool:
    """Whether a runtime says that it does not have a thing."""
    if outcome.source is not RUNTIME:
        return False
    return outcome.code == Code.NOT_FOUND or re.search(_UNKNOWN_THERE, outcome.message) is not None


def _untold(id: bytes, runtime: Runtime, outcome: Outcome) -> RpcError:
    """NOT_FOUND would say that it is gone, and kubelet would forget it."""
    shown = id[:LONGEST_NAME].decode("utf-8", "replace")
    text = f'criproxy: whose "{shown}" is cannot be told: {runtime} ({runtime.path}) may have it: {outcome}'
    return RpcError(Code.UNAVAILABLE, text)
