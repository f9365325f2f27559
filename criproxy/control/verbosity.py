"""How much is logged: what the configuration says, or for a while what somebody has asked for."""

from __future__ import annotations

from typing import Any, Optional

from criproxy.control.api import control
from criproxy.control.call import Answer
from criproxy.http2.grpc import Code, RpcError
from criproxy.relay.loop import Clock, Timer
from criproxy.report.log import Log
from criproxy.text import period

LONGEST = 24 * 3600.0
"""For so long a level may be asked for, seconds."""


class Verbosity:
    """The log's verbosity, and the methods that tell and change it. ``configured``: the configuration's.

    What has been asked for stays over a reload, unless that changes the configured one: the later word counts.
    """

    def __init__(self, clock: Clock, log: Log, configured: int) -> None:
        self._clock = clock
        self._log = log
        self._configured = configured
        self._timer: Optional[Timer] = None
        self._until = 0.0
        """When it is the configured one again, seconds of the clock; 0: it is, or stays another one."""

    def follow(self, configured: int) -> None:
        """The configuration has been read again."""
        if configured != self._configured:
            self._configured = configured
            self._fall_back()

    def get(self, request: Any, answer: Answer) -> None:
        """The method GetVerbosity."""
        answer.reply(self.told())

    def set(self, request: Any, answer: Answer) -> None:
        """The method SetVerbosity."""
        if not 0 <= request.period <= LONGEST:  # nor is NaN
            raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: a period has at most {LONGEST:.0f} s")
        self._fall_back()
        if request.level != self._configured:
            self._log.verbosity = request.level
            if request.period:
                self._until = self._clock.time() + request.period
                self._timer = self._clock.call_later(request.period, self._end)
        for_how_long = f" for {period(request.period)}" if self._until else ""
        self._log.info(
            f"verbosity {request.level}{for_how_long}: somebody has asked for it (configured: {self._configured})"
        )
        answer.reply(self.told())

    def told(self) -> Any:
        """The message."""
        remaining = max(0.001, self._until - self._clock.time()) if self._until else 0.0
        return control().messages["Verbosity"](
            level=self._log.verbosity, configured=self._configured, remaining=remaining
        )

    def _end(self) -> None:
        self._fall_back()
        self._log.info(f"verbosity {self._configured}, as configured: the time is over")

    def _fall_back(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._until = 0.0
        self._log.verbosity = self._configured
