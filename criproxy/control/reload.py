"""Answers Reload: whoever has changed the configuration hears whether it is taken, and when it is."""

from __future__ import annotations

from typing import Any, Callable, List

from criproxy.control.api import control
from criproxy.control.call import Answer
from criproxy.control.subject import Relay
from criproxy.http2.grpc import Code, RpcError
from criproxy.relay.loop import Clock

PATIENCE = 5.0
"""How long somebody waits for what the new runtimes say, seconds."""


class ReloadService:
    """Has the configuration read again. ``reload`` does it, and gives the reason if it is refused, or nothing."""

    def __init__(self, reload: Callable[[], str], relay: Relay, clock: Clock) -> None:
        self._reload = reload
        self._relay = relay
        self._clock = clock
        self._waiting: List[Answer] = []
        self._response = control().messages["ReloadResponse"]

    def reload(self, request: Any, answer: Answer) -> None:
        """The method."""
        reason = self._reload()
        if reason:
            raise RpcError(Code.FAILED_PRECONDITION, f"criproxy: {reason}")
        self._waiting.append(answer)
        answer.on_cancel = lambda: self._forget(answer)
        self._clock.call_later(PATIENCE, lambda: self._reply(answer))
        self.tell()

    def tell(self) -> None:
        """To be called when it may be known of another runtime whether it is there."""
        if self._waiting and all(runtime.known for runtime in self._relay.runtimes):
            for answer in list(self._waiting):
                self._reply(answer)

    def _reply(self, answer: Answer) -> None:
        if answer in self._waiting:
            self._forget(answer)
            answer.reply(self._response())

    def _forget(self, answer: Answer) -> None:
        self._waiting = [each for each in self._waiting if each is not answer]
