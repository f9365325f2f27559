"""How many pods, containers and images each runtime has, for whoever looks at the proxy.

Nothing is counted on the way of calls. The runtimes are asked when somebody wants to know, for what is ready or runs
alone, and not again for a while: somebody who looks each second costs them next to nothing.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial
from typing import Callable, Dict, Final, FrozenSet, List, Optional, Sequence, Tuple

from criproxy.cri.filter import count
from criproxy.cri.schema import load
from criproxy.cri.views import encode
from criproxy.cri.wire import DecodeError
from criproxy.relay.context import Context
from criproxy.relay.loop import Timer
from criproxy.relay.outcome import Outcome
from criproxy.relay.probe import IMAGE_SERVICE
from criproxy.relay.question import Question
from criproxy.relay.runtime import Runtime

FRESH: Final = 5.0
"""What was counted so long ago is told again, seconds."""
PATIENCE: Final = 1.0
"""How long the runtimes are waited for, seconds."""
UNKNOWN: Final = -1
"""Stands for a number that a runtime has not told."""
_PODS: Final = "ListPodSandbox"
_CONTAINERS: Final = "ListContainers"
_IMAGES: Final = "ListImages"


def _in_state(method: str, enum: str, state: str) -> bytes:
    """A request for all that is in a state."""
    number = load().enums[enum][state]
    return encode(f"{method}Request", {"filter": {"state": {"state": number}}})


_QUESTIONS: Final[Dict[str, bytes]] = {
    _PODS: _in_state(_PODS, "PodSandboxState", "SANDBOX_READY"),
    _CONTAINERS: _in_state(_CONTAINERS, "ContainerState", "CONTAINER_RUNNING"),
    _IMAGES: b"",
}


class Counts:
    """What one runtime has; `UNKNOWN` for what it has not told: pods that are ready, containers that run, images."""

    __slots__ = ("containers", "images", "pods")

    def __init__(self, pods: int, containers: int, images: int) -> None:
        self.pods = pods
        self.containers = containers
        self.images = images


class Inventory:
    """What runtimes have."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counted: Dict[Tuple[Runtime, str], int] = {}
        self._at = -math.inf
        self._seen: FrozenSet[Runtime] = frozenset()
        """Whom was asked the last time."""
        self._asked: List[Question] = []
        """Questions that have not been answered yet."""
        self._waiting: List[Callable[[], None]] = []
        self._timer: Optional[Timer] = None

    def take(self, runtimes: Sequence[Runtime], done: Callable[[], None]) -> None:
        """Counts what these have. ``done`` is called when that is known, or has not been told in time; once."""
        is_fresh = self._context.clock.time() < self._at + FRESH
        if self._timer is None and is_fresh and self._seen.issuperset(_there(runtimes)):
            done()
            return
        self._waiting.append(done)
        if self._timer is None:
            self._timer = self._context.clock.call_later(PATIENCE, self._finish)
            self._ask(runtimes)

    def of(self, runtime: Runtime) -> Optional[Counts]:
        """What a runtime had when it was last asked; None if it has told nothing."""
        counts = [self._counted.get((runtime, method), UNKNOWN) for method in (_PODS, _CONTAINERS, _IMAGES)]
        return None if max(counts) == UNKNOWN else Counts(*counts)

    def _ask(self, runtimes: Sequence[Runtime]) -> None:
        self._counted.clear()
        self._seen = frozenset(_there(runtimes))
        elsewhere = any(runtime.service is IMAGE_SERVICE for runtime in runtimes)
        self._asked = [
            self._question(runtime, method)
            for runtime in _there(runtimes)
            for method in _QUESTIONS
            if not runtime.primary or not elsewhere or (method == _IMAGES) is (runtime.service is IMAGE_SERVICE)
        ]
        # Each may be answered, and go from the list, while the next is asked.
        for question in list(self._asked):
            question.ask()
        self._finish_if_done()

    def _question(self, runtime: Runtime, method: str) -> Question:
        asked: List[Question] = []
        done = partial(self._on_answer, asked, runtime, method)
        asked.append(Question(self._context, runtime, method, _QUESTIONS[method], done))
        return asked[0]

    def _on_answer(self, asked: List[Question], runtime: Runtime, method: str, body: bytes, outcome: Outcome) -> None:
        if asked[0] in self._asked:
            self._asked.remove(asked[0])
        asked.clear()
        if outcome.ok:
            with suppress(DecodeError):
                self._counted[runtime, method] = count(body)
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not self._asked and self._timer is not None:
            self._finish()

    def _finish(self) -> None:
        """All is known, or the time is up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = self._context.clock.time()
        asked, self._asked = self._asked, []
        for question in asked:
            question.cancel()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done()


def _there(runtimes: Sequence[Runtime]) -> List[Runtime]:
    """Those that can be asked."""
    return [runtime for runtime in runtimes if runtime.available is not None]
