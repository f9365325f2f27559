"""A runtime: connected to in the background, asked which versions of the CRI it speaks, lost and found again."""

from __future__ import annotations

import errno
import math
import os
import socket
from enum import Enum
from typing import Callable, Dict, Final, FrozenSet, List, Optional, Protocol, Set

from criproxy.cri.identity import Names
from criproxy.cri.versions import ApiVersion
from criproxy.http2.grpc import Code, RpcError
from criproxy.relay import facts
from criproxy.relay.loop import Loop, Timer
from criproxy.relay.probe import RUNTIME_SERVICE, Found, Probe, Service
from criproxy.relay.statistics import RuntimeStatistics
from criproxy.relay.upstream import Owner, Parting, Upstream
from criproxy.report.log import STATES, Log
from criproxy.report.ratelimit import RateLimit
from criproxy.report.record import JournalFields

RETRY_INTERVAL: Final = 0.25
"""Between two attempts to find a runtime that is not there, seconds: soon enough for a pod that waits for it, and no
load, since an attempt at a socket that nobody serves takes some ten microseconds."""
MOVE_INTERVAL: Final = 0.01
"""Between two moves of a runtime to another connection, seconds: one that goes away at each call must not keep us busy
with looking for it, and its calls hardly notice."""
HANDSHAKE_TIMEOUT: Final = 5.0
"""How long a runtime may take for its SETTINGS and its first answers before the connection is tried anew, seconds. A
socket of systemd's accepts before its runtime runs; one that is not up after this long is told of in the log."""
_REMEMBERED_WARNINGS: Final = 64
"""What a runtime is warned of once is mostly the same few things; a peer that says something else each time must not
fill the memory. What is not remembered is told again, as far as the limit on records lets it."""
_SILENT: Final = "it does not answer"
_NO_SOCKET: Final = "there is no such socket"
_OF_THE_GONE: Final = (_NO_SOCKET, os.strerror(errno.ECONNREFUSED).lower())
"""Why nobody can connect to a runtime that has gone, which is no news then."""


class State(Enum):
    """What a runtime is to calls."""

    LOOKING = "looking"
    """Nobody serves its socket, as far as is known: it is tried again and again."""
    PROBING = "probing"
    """There is a connection, and it is being asked which versions of the CRI it speaks."""
    UP = "up"
    """Calls go to it."""
    MOVING = "moving"
    """It has ended its connection, not itself (GOAWAY; RFC 9113, section 6.8): the next one is being made. It counts as
    there, and calls wait for a moment."""
    SILENT = "silent"
    """It is connected and has not answered a PING: it counts as not there."""
    DRAINING = "draining"
    """It is not configured any more. What it has been asked it may answer."""
    RETIRED = "retired"
    """Nothing is left of it."""


TRANSITIONS: Final[Dict[State, FrozenSet[State]]] = {
    State.LOOKING: frozenset((State.PROBING, State.DRAINING, State.RETIRED)),
    State.PROBING: frozenset((State.UP, State.LOOKING, State.DRAINING, State.RETIRED)),
    State.UP: frozenset((State.MOVING, State.SILENT, State.LOOKING, State.DRAINING, State.RETIRED)),
    State.MOVING: frozenset((State.UP, State.PROBING, State.LOOKING, State.DRAINING, State.RETIRED)),
    State.SILENT: frozenset((State.UP, State.LOOKING, State.DRAINING, State.RETIRED)),
    State.DRAINING: frozenset((State.RETIRED,)),
    State.RETIRED: frozenset(),
}
"""Which states may follow which."""
_WANTED: Final = frozenset(State) - {State.DRAINING, State.RETIRED}


class Waiter(Protocol):
    """A call that waits for a runtime."""

    def on_available(self, upstream: Upstream) -> None:
        """It is there."""

    def on_unavailable(self, error: RpcError) -> None:
        """It has not come in time."""


def dial(path: str) -> socket.socket:
    """A non-blocking connection to a unix socket. Raises OSError; a full backlog is one (EAGAIN), too."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


class Runtime(Owner):
    """One runtime. ``upstream`` is the connection to it that calls go over, None while it is not there.

    The primary runtime may have two, of which the second is another socket, for its ImageService: ``service`` is then
    what is looked for on each. Both stand for the same runtime, and all that is said of a primary holds for both.

    ``on_change`` is called when others may find it there, or not any more, or for another reason; ``dial`` connects.
    """

    def __init__(
        self,
        loop: Loop,
        log: Log,
        names: Names,
        path: str,
        on_change: Callable[[Runtime], None],
        service: Service = RUNTIME_SERVICE,
        dial: Callable[[str], socket.socket] = dial,
    ) -> None:
        self.loop = loop
        self.names = names
        self.path = path
        self.service = service
        self.state = State.LOOKING
        self.upstream: Optional[Upstream] = None
        self.available: Optional[Upstream] = None
        """The connection to the runtime if it is there and answers."""
        self.known = False
        """Whether it has been found out if the runtime is there."""
        self.reason = "not connected yet"
        self.since = loop.time()
        """Since when it is there, or is not, seconds of the clock."""
        self.called = ""
        """What it calls itself, with its version; empty until it was found, or where it does not say."""
        self.statistics = RuntimeStatistics(loop.time)
        self._log = log
        self._records = RateLimit(loop)
        self._on_change = on_change
        self._dial = dial
        self._next: Optional[Upstream] = None
        """The connection that is being probed."""
        self._old: Set[Upstream] = set()
        """Connections that take no more calls and still have some."""
        self._warned: Set[str] = set()
        """What has been warned of since the runtime was last found, so as not to say it each second."""
        self._found = 0.0
        self._gone = -math.inf
        self._silent_since = 0.0
        self._who = ""
        self._timer: Optional[Timer] = None
        """To the next attempt, or to the end of this one: what the state waits for."""
        self._waiters: Dict[Waiter, Timer] = {}

    @property
    def primary(self) -> bool:
        """Whether it is the primary one, or that one's image service."""
        return not self.names.runtime

    @property
    def needed(self) -> bool:
        """Whether a list of pods or of containers is wrong without it: kubelet makes a pod that is not in one anew, and
        those of the primary and of the one that was the primary before are kubelet's own."""
        return self.primary or self.names.retiring

    def __str__(self) -> str:
        if self.names.retiring:
            return "the retiring runtime"
        if self.names.runtime:
            return f'runtime "{self.names.runtime}"'
        return "the primary runtime" if self.service is RUNTIME_SERVICE else f"the {self.service.title}"

    @property
    def title(self) -> str:
        """What it is called in a list of runtimes."""
        return self.names.runtime or self.service.title

    @property
    def summary(self) -> str:
        """Who is there, or why nobody is, in a few words."""
        if self.there:
            return self._who
        return f"not there: {self.problem}" if self.known else self.reason

    @property
    def problem(self) -> str:
        """Why it is not there, if it is not."""
        return _SILENT if self.state is State.SILENT else self.reason

    @property
    def there(self) -> bool:
        """Whether the runtime is there and answers, though calls may have to wait for its next connection."""
        return self.state in (State.UP, State.MOVING)

    @property
    def under_way(self) -> int:
        """How many calls the runtime has, on whichever connection."""
        current = 0 if self.upstream is None else self.upstream.under_way
        return current + sum(upstream.under_way for upstream in self._old)

    @property
    def connections(self) -> List[Upstream]:
        """All connections to the runtime, those included that calls do not go over yet, or not any more."""
        return [upstream for upstream in (self.upstream, self._next, *self._old) if upstream is not None]

    def error(self) -> RpcError:
        """What a call for the runtime ends with while it is not there."""
        reason = self.reason if self.upstream is None else _SILENT
        return RpcError(Code.UNAVAILABLE, f"criproxy: {self} ({self.path}) is not available: {reason}")

    def _change(self, state: State) -> None:
        """The only place where the state changes."""
        assert state in TRANSITIONS[self.state], f"{self}: {self.state.name} cannot become {state.name}"
        if self._log.enabled(STATES):
            self._log.info(f"{self} ({self.path}): {self.state.name} -> {state.name}", self._facts)
        was_there, self.state = self.there, state
        if self.there is not was_there:
            self.since = self.loop.time()
        self.available = self.upstream if state is State.UP else None

    # Waiting.

    def wait(self, waiter: Waiter, seconds: float) -> None:
        """Tells the waiter as soon as the runtime is there, or that it has not come within so many seconds."""
        if self.state not in _WANTED:
            waiter.on_unavailable(self.error())
            return

        def give_up() -> None:
            self._waiters.pop(waiter, None)
            waiter.on_unavailable(self.error())

        self._waiters[waiter] = self.loop.call_later(seconds, give_up)

    def leave(self, waiter: Waiter) -> None:
        """The waiter waits no longer."""
        timer = self._waiters.pop(waiter, None)
        if timer is not None:
            timer.cancel()

    def _tell_waiters(self, tell: Callable[[Waiter], None]) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter, timer in waiters.items():
            timer.cancel()
            tell(waiter)

    # The log.

    def _facts(self) -> JournalFields:
        return (facts.of_runtime(self.names),)

    def warn_once(self, about: str, text: str) -> None:
        """Warns, once until the runtime is found anew or the warning is cleared."""
        if about not in self._warned:
            if len(self._warned) < _REMEMBERED_WARNINGS:
                self._warned.add(about)
            self.warn(text)

    def clear_warning(self, about: str) -> None:
        """What has been warned of works: the next time is news again."""
        self._warned.discard(about)

    def warn(self, text: str) -> None:
        """Logs that something is wrong with the runtime. Without one that is `needed` the node does not work."""
        log = self._log.error if self.needed else self._log.warning
        self._records.say(lambda line: log(line, self._facts), text)

    def tell(self, text: str) -> None:
        """Logs something about the runtime that is no fault."""
        self._records.say(lambda line: self._log.info(line, self._facts), text, fault=False)

    # From looking for it to its end.

    def connect(self) -> None:
        """Tries to reach the runtime, and goes on trying."""
        try:
            sock = self._dial(self.path)
        except OSError as error:  # the path's, or no descriptors left: there will be some again
            known = _NO_SOCKET if error.errno == errno.ENOENT else error.strerror
            self._not_there((known or str(error)).lower(), self.connect)
            return
        if self.state is State.LOOKING:
            self._change(State.PROBING)
        self._next = Upstream(self.loop, sock, self, self.statistics.traffic)
        self._probe()

    def _probe(self) -> None:
        upstream = self._next
        assert upstream is not None  # the state is PROBING
        self._start_timer(
            HANDSHAKE_TIMEOUT, lambda: upstream.transport.give_up("it accepts connections and does not answer")
        )
        Probe(self.service, lambda found: self._on_found(upstream, found)).start(upstream)

    def _on_found(self, upstream: Upstream, found: Found) -> None:
        if upstream is not self._next:
            return
        if not found.versions:
            if found.refused:
                self._not_there(self.service.refusal, self._probe)
            else:
                self._not_there("it is not ready yet", self._probe, found.failure)
            return
        self._stop_timer()
        upstream.take_calls(found.versions)
        self._next, self.upstream = None, upstream
        self.known = True
        self.statistics.found += 1
        self._found = self.loop.time()
        self._tell_of(found)
        self._change(State.UP)
        self._on_change(self)
        self._tell_waiters(lambda waiter: waiter.on_available(upstream))

    def _tell_of(self, found: Found) -> None:
        """Logs who is there, unless they have only moved."""
        spoken = ", ".join(version.spoken for version in ApiVersion if version in found.versions)
        self.called = found.name
        before, self._who = self._who, f"{found.name or 'connected'} ({spoken})"
        if self.state is State.MOVING and self._who == before:
            return
        self._warned.clear()
        who = f"{found.name}, " if found.name else ""
        lost = self.state is not State.MOVING and not math.isinf(self._gone)
        back = f"; it is back after {_duration(self.loop.time() - self._gone)}" if lost else ""
        self.tell(f"connected to {self} ({self.path}): {who}CRI {spoken}{back}")

    def _not_there(self, reason: str, again: Callable[[], None], failure: str = "") -> None:
        """The runtime is not there: warns unless it has warned of the same reason, and tries again.

        ``failure``: the runtime's own text. It may be different each time, so a new one is no new reason.
        """
        if self.state is State.MOVING:
            self._lose(State.LOOKING if self._next is None else State.PROBING)
        self.known = True
        self.reason = f"{reason}: {failure}" if failure else reason
        if self.loop.time() - self._gone >= RETRY_INTERVAL:
            # Sooner it may be going still: what it does to a connection then is not why it stays away.
            self.warn_once(f"absent: {reason}", f"{self} ({self.path}) is not there: {self.reason}; looking for it")
        self._start_timer(RETRY_INTERVAL, again)
        self._on_change(self)
        if not self.primary:
            # They have waited for the end of a move. Only the primary runtime is waited for until it is found.
            self._tell_waiters(lambda waiter: waiter.on_unavailable(self.error()))

    def _lost(self, reason: str) -> None:
        """The connection that calls went over takes no more of them."""
        self.upstream = None
        self.reason = reason
        self._lose(State.LOOKING)
        self._on_change(self)
        # One that answers and hangs up each time must not keep us busy.
        self._connect_after(RETRY_INTERVAL)

    def _lose(self, state: State) -> None:
        self._gone = self.loop.time()
        self._change(state)
        self.warn(f"{self} ({self.path}) has gone: {self.reason}; looking for it")
        self._warned.update(f"absent: {reason}" for reason in _OF_THE_GONE)

    def _move(self, parting: Parting) -> None:
        """Makes the next connection to a runtime that takes no more calls on this one."""
        self.upstream = None
        self.reason = parting.reason
        self._change(State.MOVING)
        if not parting.graceful:
            self.warn(f"{self} ({self.path}) takes no more calls on a connection: {self.reason}")
        self._connect_after(MOVE_INTERVAL)

    def _connect_after(self, seconds: float) -> None:
        """Connects so long after the runtime was last found, or at once."""
        pause = self._found + seconds - self.loop.time()
        if pause > 0:
            self._start_timer(pause, self.connect)
        else:
            self.connect()

    def _start_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def rename(self, names: Names) -> None:
        """The runtime's names in another set of runtimes, which has a router of its own."""
        self.names = names
        for upstream in (self.upstream, *self._old):
            if upstream is not None:
                upstream.translations.clear()

    def stop(self) -> None:
        """Closes the connections and makes no new ones."""
        self._end(State.RETIRED, "criproxy stops")
        for upstream in list(self._old):
            upstream.transport.close(self.reason)

    def retire(self) -> None:
        """The runtime is not one of ours any more: what it has been asked it may answer, more it is not asked."""
        upstream = self.upstream
        self._end(State.DRAINING, "it is not configured any more")
        self._tell_waiters(lambda waiter: waiter.on_unavailable(self.error()))
        if upstream is not None:
            upstream.go_away()
        self._retire_if_drained()

    def _end(self, state: State, reason: str) -> None:
        """Stops looking for the runtime. Its connection, if there is one, takes no more calls."""
        self._stop_timer()
        self._records.finish()
        self.reason = reason
        if self.upstream is not None:
            self._old.add(self.upstream)
        probed, self._next, self.upstream = self._next, None, None
        self._change(state)
        if probed is not None:
            probed.transport.close("it is not looked for any more")

    def _retire_if_drained(self) -> None:
        if self.state is State.DRAINING and not self._old:
            self._change(State.RETIRED)

    # From its connections.

    def on_silence(self, upstream: Upstream) -> None:
        """A runtime that is connected does not answer."""
        if upstream is self.upstream:
            self._silent_since = self.loop.time()
            self._change(State.SILENT)
            self.warn(f"{self} ({self.path}) does not answer; it counts as not there until it does")
            self._on_change(self)

    def on_heard(self, upstream: Upstream) -> None:
        """A runtime that had been silent has answered: it is there again for those who did not find it."""
        if upstream is self.upstream:
            self._change(State.UP)
            lasted = _duration(self.loop.time() - self._silent_since)
            self.tell(f"{self} ({self.path}) answers again, after {lasted}")
            self._on_change(self)

    def on_going_away(self, upstream: Upstream, parting: Parting) -> None:
        """No more calls can be made on this connection; those that are on it may end."""
        if upstream is self._next:
            # A connection that takes no calls is none to find a runtime by.
            upstream.transport.close(parting.reason)
        elif upstream is self.upstream:
            self._old.add(upstream)
            lasted = self.loop.time() - self._found
            if self.state is State.UP and (parting.served or lasted >= RETRY_INTERVAL):
                self._move(parting)
            else:
                self._lost(parting.reason)

    def on_closed(self, upstream: Upstream, reason: str) -> None:
        """A connection is gone."""
        if upstream is self.upstream:
            self._lost(reason or "it closed the connection")
        elif upstream is self._next:
            self._next = None
            if self.state is State.PROBING:
                self._change(State.LOOKING)
            self._not_there(reason or "it closed the connection before it answered", self.connect)
        else:
            self._old.discard(upstream)
            self._retire_if_drained()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
