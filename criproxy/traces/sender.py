"""Spans of calls that have ended, on their way to a collector.

The library's thread sends the spans. What it has come to is looked at as calls end, in the loop: the log is not for two
threads.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Deque, Final, Optional, Tuple

from criproxy.control.subject import DaemonState, Relay
from criproxy.cri.steps import Work
from criproxy.relay.loop import Clock, Timer
from criproxy.relay.tracing import EndedCall
from criproxy.report.log import Log
from criproxy.text import escape

if TYPE_CHECKING:
    from criproxy.traces.spans import Delivery, Spans

MOST_WAITING = 1024
"""So many calls may wait to become spans."""
MOST_HELD = 4 << 20
"""What these may hold, bytes."""
LAST_WORDS = 1.0
"""How long the end of the process waits for the last spans to be sent, seconds."""
TURN: Final = 1e-3
"""How long the library's thread may keep the interpreter to itself while the loop waits for it, seconds."""
_SAMPLED: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf](?:-.*)?")
"""A ``traceparent`` (W3C Trace Context, section 3.2) that asks for the trace to be recorded."""
_LOADING = 0.1
"""How often it is looked whether the library is there, as long as calls wait for that, seconds."""
INTERVAL = 60.0
"""How often the log says at most how many spans have found no room, seconds."""
_LONGEST_REASON = 300
"""characters"""


class Sender:
    """Makes spans of calls that have ended, for one collector."""

    def __init__(self, daemon: DaemonState, relay: Relay, clock: Clock, log: Log, url: str) -> None:
        self._daemon = daemon
        self._relay = relay
        self._clock = clock
        self._log = log
        self._url = url
        self._waiting: Deque[Tuple[int, EndedCall]] = deque()
        """With the time of their ends, nanoseconds since 1970."""
        self._held = 0
        """What these hold, bytes."""
        self._work: Optional[Timer] = None
        self._failing = False
        """Whether the log says that it takes none."""
        self._not_taken = 0
        """How many the daemon knows that it has not taken."""
        self._without_room = 0
        """How many have found no room since the log has said so."""
        self._telling: Optional[Timer] = None
        self._lock = threading.Lock()
        """Of what both the loop and the thread that loads the library change: these three."""
        self._spans: Optional[Spans] = None
        self._stopped = False
        self._unusable = ""
        """Why the library cannot be used."""
        self.loading = threading.Thread(target=self._load, name="traces", daemon=True)
        relay.tracing.add(self, False)
        self.loading.start()

    def _load(self) -> None:
        """To load it takes a tenth of a second and more, in which the loop goes on."""
        sys.setswitchinterval(TURN)
        try:
            from criproxy.traces.spans import Spans

            spans = Spans(self._url)
        except Exception as error:  # Of the library, or of what it reads of the environment: the log tells it.
            self._unusable = f"{type(error).__name__}: {error}"
            return
        with self._lock:
            self._spans = spans
            stopped = self._stopped
        if stopped:
            spans.end()

    def ended(self, call: EndedCall) -> None:
        """A call has ended."""
        self._look()
        parent = call.block.get(b"traceparent")
        if parent is None or not _SAMPLED.fullmatch(parent) or self._stopped:
            return
        if len(self._waiting) >= MOST_WAITING or self._held + len(call.body) > MOST_HELD:
            self._lose(call)
            return
        self._held += len(call.body)
        self._waiting.append((time.time_ns(), call))
        if self._work is None:
            self._begin()

    def _lose(self, call: EndedCall) -> None:
        """There is no room for the spans of a call."""
        count = 1 + len(call.asked)
        self._daemon.spans_without_room += count
        self._without_room += count
        if self._telling is None:
            self._telling = self._clock.call_later(INTERVAL, self._tell_of_lost)

    def _tell_of_lost(self) -> None:
        count, self._without_room, self._telling = self._without_room, 0, None
        what = "1 span is" if count == 1 else f"{count} spans are"
        self._log.warning(f"otlp-endpoint: {what} lost: more come than {self._url} takes in the same time")

    def _begin(self) -> None:
        """Makes spans of what waits, as soon as the library is there."""
        self._look()
        if self._spans is not None:
            self._work = self._clock.work(self._make_all(self._spans))
        elif not self._stopped:
            self._work = self._clock.call_later(_LOADING, self._begin)

    def _look(self) -> None:
        """Tells the log what has changed with the collector."""
        if self._unusable:
            self._log.warning(f"otlp-endpoint: there are no traces: {_shown(self._unusable)}")
            self.stop()
        elif self._spans is not None:
            self._look_at(self._spans.delivery)

    def _look_at(self, delivery: Delivery) -> None:
        lost = delivery.lost
        self._daemon.spans_not_taken += lost - self._not_taken
        self._not_taken = lost
        if delivery.failing is self._failing:
            return
        self._failing = delivery.failing
        if self._failing:
            self._log.warning(f"otlp-endpoint: {self._url} takes no spans, they are lost: {_shown(delivery.reason)}")
        else:
            self._log.info(f"otlp-endpoint: {self._url} takes spans again")

    def _make_all(self, spans: Spans) -> Work[None]:
        try:
            while self._waiting:
                at, call = self._waiting.popleft()
                self._held -= len(call.body)
                if not spans.make(at, call, self._relay.known.subject(call.plan.method, call.body)):
                    self._lose(call)
                yield
        finally:
            self._work = None

    def stop(self) -> None:
        """Makes no more spans. Those that are made are still sent, by a thread that nobody waits for."""
        self._end()

    def finish(self) -> None:
        """Makes the last spans, and waits for a moment for them to be sent."""
        if self._spans is not None:
            for _ in self._make_all(self._spans):
                pass
        self._end().join(LAST_WORDS)

    def _end(self) -> threading.Thread:
        self._relay.tracing.remove(self)
        if self._work is not None:
            self._work.cancel()
        self._waiting.clear()
        if self._telling is not None:
            self._telling.cancel()
            self._tell_of_lost()
        with self._lock:
            self._stopped = True
            spans = self._spans
        ending = threading.Thread(target=_nothing if spans is None else spans.end, name="traces", daemon=True)
        ending.start()
        return ending


def _shown(reason: str) -> str:
    return escape(reason[:_LONGEST_REASON])


def _nothing() -> None:
    """There is nothing to end."""
