"""The event loop: readiness of descriptors, timers, signals.

The proxy only ever waits for unix sockets, timers and signals, so the loop is epoll and a heap and little else. The
same relay of bytes costs as much on it as on uvloop and half of what it costs on asyncio, in half the memory of
either, and it needs no package that Debian's older releases lack.

What came in during one round of the loop is worked off before anything is written (`flush_soon`), so that the
frames of a round leave in one write for each connection.

What takes long is done in pieces of a millisecond or so, and between two of them everybody else has a turn (`defer`,
`work`): a list of a million entries, or a peer that sends frames without end, costs a call of kubelet's one piece.
"""

from __future__ import annotations

import heapq
import math
import os
import select
import signal
import socket
import time
from collections import deque
from typing import Callable, Deque, Dict, Final, Iterator, List, Optional, Protocol, Tuple

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
_MAX_EVENTS: Final = 256
"""Descriptors in one round of epoll_wait(2); what is left over is ready in the next round."""
PATIENCE: Final = 5e-3
"""How long what has been deferred gives way to others, seconds: as it takes a few times as long to have its own turn,
nobody else waits for it much, and it gets on even while others never stop."""


class Flushable(Protocol):
    """Something that has bytes to write at the end of a round."""

    __slots__ = ()

    def flush(self) -> None:
        """Writes them."""


def _heard(number: int, frame: object) -> None:
    """The wake-up descriptor tells the loop."""


class Epoll(Protocol):
    """What tells which descriptors are ready: select.epoll, or a test's."""

    def register(self, fd: int, eventmask: int) -> None:
        """Watches a descriptor."""

    def modify(self, fd: int, eventmask: int) -> None:
        """Watches it for other events."""

    def unregister(self, fd: int) -> None:
        """Watches it no longer."""

    def poll(self, timeout: float, maxevents: int) -> List[Tuple[int, int]]:
        """Waits until a descriptor is ready, or for so many seconds (without end if they are negative)."""

    def close(self) -> None:
        """Gives its own descriptor back."""


class Timer:
    """A call that is due at a time; it may be cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Optional[Callable[[], None]] = callback

    def cancel(self) -> None:
        """The callback will not be called."""
        self.callback = None


class Clock(Protocol):
    """What time it is, timers, and what takes long."""

    def time(self) -> float:
        """Seconds since some fixed moment."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Calls back after ``delay`` seconds."""

    def work(self, steps: Iterator[None]) -> Timer:
        """Takes steps, each of a millisecond at most, until there are no more; others go first between two of them."""

    def begin(self, steps: Iterator[None]) -> Optional[Timer]:
        """Takes the first step at once, and gives the work that is left; None if that step was all."""


class Loop(Clock):
    """Runs callbacks as descriptors become ready, timers due and signals arrive.

    ``on_error`` is told of an exception that a callback let through; the loop goes on. ``epoll`` and ``clock`` are the
    kernel's, but for tests.
    """

    def __init__(
        self,
        on_error: Callable[[BaseException], None],
        epoll: Optional[Epoll] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._epoll: Epoll = select.epoll() if epoll is None else epoll
        self._watched: Dict[int, Callable[[int], None]] = {}
        self._timers: List[Tuple[float, int, Timer]] = []
        self._timer_count = 0
        self._deferred: Deque[Tuple[float, Timer]] = deque()
        self._to_flush: List[Flushable] = []
        self._signals: Dict[int, Callable[[], None]] = {}
        self._on_error = on_error
        self._running = False
        self._clock = clock
        self.received = 0
        """What all transports have read, bytes."""
        self.alarm = math.inf
        """When they have read so much, ``on_alarm`` is called, bytes."""
        self.on_alarm: Callable[[], None] = lambda: None
        self._wake: Tuple[socket.socket, ...] = ()
        """Both ends of what a signal writes to, if any is waited for."""

    def watch(self, fd: int, callback: Callable[[int], None], events: int = READ) -> None:
        """Calls back with the epoll events of a descriptor as long as there are any."""
        self._watched[fd] = callback
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Other events of a descriptor that is being watched; errors and hang-ups are always told."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Watches a descriptor no longer; to be called before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def time(self) -> float:
        """The loop's clock, seconds."""
        return self._clock()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Calls back after ``delay`` seconds."""
        timer = Timer(callback)
        self._timer_count += 1
        heapq.heappush(self._timers, (self.time() + delay, self._timer_count, timer))
        return timer

    def defer(self, callback: Callable[[], None]) -> Timer:
        """Calls back as soon as nothing else is ready, or has been for `PATIENCE`."""
        timer = Timer(callback)
        self._deferred.append((self.time(), timer))
        return timer

    def work(self, steps: Iterator[None]) -> Timer:
        """Takes steps until there are no more, each as soon as nothing else is ready; what is cancelled takes none.

        A step should take no more than a millisecond. What it raises ends the work, and goes to ``on_error``.
        """

        def go_on() -> None:
            goes_on = False
            try:
                for _ in steps:
                    goes_on = timer.callback is not None
                    break
            finally:
                if goes_on:
                    self._deferred.append((self.time(), timer))
                else:
                    timer.cancel()

        timer = self.defer(go_on)
        return timer

    def begin(self, steps: Iterator[None]) -> Optional[Timer]:
        """Takes the first step at once, and gives the `work` that is left; None if that step was all."""
        for _ in steps:
            return self.work(steps)
        return None

    def flush_soon(self, what: Flushable) -> None:
        """Calls ``what.flush()`` at the end of the round."""
        self._to_flush.append(what)

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Calls back in the loop when the signal has arrived. Main thread only."""
        if not self._wake:
            self._wake = socket.socketpair()
            for end in self._wake:
                end.setblocking(False)
            self.watch(self._wake[0].fileno(), self._on_wake)
        self._signals[number] = callback
        signal.signal(number, _heard)
        signal.set_wakeup_fd(self._wake[1].fileno(), warn_on_full_buffer=False)

    def stop(self) -> None:
        """Ends `run` after this round."""
        self._running = False

    def run(self) -> None:
        """Runs until `stop`."""
        self._running = True
        watched = self._watched
        while self._running:
            ready = self._epoll.poll(0 if self._deferred else self._time_to_timer(), _MAX_EVENTS)
            for fd, events in ready:
                callback = watched.get(fd)
                if callback is not None:
                    try:
                        callback(events)
                    except Exception as error:
                        self._on_error(error)
            # It may be the last that knows a connection and all that waits on it, and the next event may be far away.
            callback = None
            if self._deferred:
                self._run_deferred(not ready)
            if self._timers:
                self._run_timers()
            if self._to_flush:
                self._flush()

    def close(self) -> None:
        """Gives the loop's own descriptors back, and the signals their default actions."""
        if self._signals:
            signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)
        for end in self._wake:
            self.unwatch(end.fileno())
            end.close()
        self._epoll.close()

    def _time_to_timer(self) -> float:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.time()) if self._timers else -1

    def _run_deferred(self, idle: bool) -> None:
        since, timer = self._deferred[0]
        if not idle and self.time() - since < PATIENCE:
            return
        self._deferred.popleft()
        self._fire(timer)

    def _run_timers(self) -> None:
        now = self.time()
        while self._timers and self._timers[0][0] <= now:
            self._fire(heapq.heappop(self._timers)[2])

    def _fire(self, timer: Timer) -> None:
        if timer.callback is not None:
            try:
                timer.callback()
            except Exception as error:
                self._on_error(error)

    def _flush(self) -> None:
        # A flush may be the cause of more to flush: data that had waited lets its sender go on.
        while self._to_flush:
            batch, self._to_flush = self._to_flush, []
            for what in batch:
                try:
                    what.flush()
                except Exception as error:
                    self._on_error(error)

    def _on_wake(self, events: int) -> None:
        for number in os.read(self._wake[0].fileno(), 4096):
            callback = self._signals.get(number)
            if callback is not None:
                callback()
