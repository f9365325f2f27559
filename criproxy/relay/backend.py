"""A runtime: connected to in the background, asked which versions of the CRI it speaks, lost and found again."""

from __future__ import annotations

import errno
import math
import os
import socket
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, FrozenSet, List, NamedTuple, Optional, Protocol, Set, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.identity import Names
from criproxy.cri.messages import cut
from criproxy.cri.versions import Version, path_of
from criproxy.http2.connection import (
    Connection,
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcknowledged,
    Sent,
    SettingsReceived,
    StreamReset,
)
from criproxy.http2.errors import ErrorCode
from criproxy.http2.headers import Block
from criproxy.relay import facts
from criproxy.relay.grpc import Code, Reader, RpcError, prefix, request_head, status_of
from criproxy.relay.loop import Loop, Timer
from criproxy.relay.plan import Plan, Router, Transform
from criproxy.relay.transport import Transport
from criproxy.report.log import Log
from criproxy.report.record import Fields

RETRY_INTERVAL = 0.25
"""Between two attempts to find a runtime that is not there, seconds."""
HANDSHAKE_TIMEOUT = 5.0
"""How long a runtime may take for its SETTINGS and its Version before the connection is tried anew, seconds."""
STREAM_WINDOW = 1024 * 1024
"""What a runtime may send of one answer before kubelet has taken it, bytes."""
_SILENCE = 1.0
"""How long a PING may remain unanswered before the runtime counts as not there, seconds."""
_SILENT = "it does not answer"
_REMEMBERED_WAYS = 1024
_PROBE_LIMIT = 64 * 1024
_PING = b"criproxy"
_SUPPORTED: Dict[int, bool] = {Code.OK: True, Code.UNIMPLEMENTED: False}
_VERSION_RESPONSE = cut("criproxy.probe", {"VersionResponse": ("runtime_name", "runtime_version")})["VersionResponse"]


class Leg(Protocol):
    """One stream to a runtime, as the call that it belongs to sees it. `link` and `stream_id` are set when it opens."""

    link: Optional[Link]
    stream_id: int

    def on_opened(self) -> None:
        """The stream is open: the request is on its way."""

    def on_headers(self, block: Block, end: bool) -> None:
        """The answer's headers, or its trailers."""

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        """Data of the answer; ``size`` is owed to Connection.consumed."""

    def on_sent(self, size: int) -> None:
        """So much of the request's data that had to wait has left, bytes."""

    def on_reset(self, code: int) -> None:
        """The runtime has reset the stream (an HTTP/2 error code)."""

    def on_lost(self, reason: str) -> None:
        """The connection is gone."""


class Way(NamedTuple):
    """How calls of one plan are called over one link."""

    wire: bytes
    """The request's head, in a version that the runtime speaks."""
    request: Optional[Transform]
    """What makes the request's message one of that version; None if nothing has to."""
    answer: Optional[Transform]
    """What makes the runtime's answer kubelet's; None if nothing has to."""


class Link:
    """One connection to a runtime, and the legs that are on it."""

    def __init__(self, backend: Backend, sock: socket.socket) -> None:
        self.backend = backend
        self.versions: FrozenSet[Version] = frozenset()
        self.since = 0.0
        """When the runtime was found on it, seconds since 1970."""
        self.silent = False
        """It has been asked for a sign of life and has not given one yet."""
        self.legs: Dict[int, Leg] = {}
        self.ways: Dict[Plan, Way] = {}
        self._lacking: Set[str] = set()
        """Paths of methods that the runtime does not have, while it has their twins."""
        self._asked: Optional[Timer] = None
        self._worried: Set[Callable[[], None]] = set()
        self._waiting: Deque[Tuple[Leg, bytes, Optional[bytes]]] = deque()
        self.connection = Connection(client=True, stream_window=STREAM_WINDOW)
        self.transport = Transport(backend.loop, sock, self.connection, self._on_events, self._on_closed)

    def open(self, leg: Leg, wire: bytes, data: Optional[bytes]) -> None:
        """Sends a request: its field block and, if ``data`` is not None, all its data.

        Where the runtime takes no more streams at once, the request waits for one to end.
        """
        if not self.connection.can_open:
            self._waiting.append((leg, wire, data))
            return
        connection = self.connection
        leg.link = self
        leg.stream_id = stream_id = connection.open_stream()
        if connection.used_up:
            connection.go_away()
            self.backend.on_going_away(self)
        self.legs[stream_id] = leg
        connection.send_headers(stream_id, wire)
        if data is not None:
            connection.send_data(stream_id, data, True)
        self.transport.flush_soon()
        leg.on_opened()

    def way(self, plan: Plan, router: Router) -> Way:
        """The way of a plan's calls; found out once."""
        way = self.ways.get(plan)
        if way is None:
            if len(self.ways) >= _REMEMBERED_WAYS:
                self.ways.clear()
            asked, row = plan.version, plan.method
            spoken = self._version_for(asked)
            request = answer = None
            if asked is not None and spoken is not None and row is not None:
                request = router.request_conversion(row, asked, spoken)
                answer = router.answer(row, self.backend.names, asked, spoken)
            way = self.ways[plan] = Way(plan.wire(spoken), request, answer)
        return way

    def plan_for(self, plan: Plan) -> Plan:
        """The plan to ask by: the twin's if the runtime is known to lack the method."""
        twin = plan.twin if plan.path in self._lacking else None
        return plan if twin is None else twin

    def lacks(self, plan: Plan) -> None:
        """The runtime has said that it does not have this plan's method; if it lacks the twin, too, both count as new.

        So one that has lacked everything, a proxy perhaps before its runtime was there, is asked again.
        """
        self._lacking.add(plan.path)
        if plan.twin is not None and plan.twin.path in self._lacking:
            self._lacking -= {plan.path, plan.twin.path}

    def _version_for(self, asked: Optional[Version]) -> Optional[Version]:
        """The version to call the runtime in: the caller's if it speaks that, else the newest that it does."""
        if asked is None or asked in self.versions:
            return asked
        return next(version for version in Version if version in self.versions)

    def cancel(self, leg: Leg, code: int = ErrorCode.CANCEL) -> None:
        """Ends a leg before its end; it hears nothing more."""
        if self.legs.get(leg.stream_id) is leg:
            del self.legs[leg.stream_id]
            self.connection.reset(leg.stream_id, ErrorCode(code))
            self.transport.flush_soon()
            self._open_waiting()
            if self.connection.going_away:
                self.drain()
        else:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not leg)

    def consumed(self, stream_id: int, size: int) -> None:
        """So much of an answer's data has gone its way, bytes."""
        self.connection.consumed(stream_id, size)
        self.transport.flush_soon()

    @property
    def under_way(self) -> int:
        """How many legs have not ended yet."""
        return len(self.legs) + len(self._waiting)

    def ask_for_life(self, on_silence: Optional[Callable[[], None]] = None) -> None:
        """Sends a PING. If it is not answered soon the runtime counts as silent until it is: slow is not hung.

        ``on_silence`` is called then; at once if the runtime is silent already.
        """
        if on_silence is not None and self.silent:
            on_silence()
        elif on_silence is not None:
            self._worried.add(on_silence)
        if self._asked is None:
            self._asked = self.backend.loop.call_later(_SILENCE, self._on_silence)
            self.connection.ping(_PING)
            self.transport.flush_soon()

    def _on_silence(self) -> None:
        self.silent = True
        self.backend.on_silence(self)
        worried, self._worried = self._worried, set()
        for tell in worried:
            tell()

    def go_away(self) -> None:
        """Takes no more calls, and closes the connection as soon as no call is on it."""
        self.connection.go_away()
        self.transport.flush_soon()
        self._open_waiting()
        self.drain()

    def drain(self) -> None:
        """Closes the connection as soon as no call is on it."""
        if not self.legs and not self._waiting:
            self.transport.close_when_flushed()

    def _on_events(self, events: List[Event]) -> None:
        legs = self.legs
        for event in events:
            if isinstance(event, HeadersReceived):
                stream_id, block, end = event
                leg = self._pop(stream_id) if end else legs.get(stream_id)
                if leg is not None:
                    leg.on_headers(block, end)
            elif isinstance(event, DataReceived):
                stream_id, data, size, end = event
                leg = self._pop(stream_id) if end else legs.get(stream_id)
                if leg is not None:
                    leg.on_data(data, size, end)
            elif isinstance(event, Sent):
                stream_id, size = event
                leg = legs.get(stream_id)
                if leg is not None:
                    leg.on_sent(size)
            elif isinstance(event, StreamReset):
                stream_id, code = event
                leg = legs.pop(stream_id, None)
                if leg is not None:
                    leg.on_reset(code)
            elif isinstance(event, PingAcknowledged):
                self._on_life()
            elif isinstance(event, GoAwayReceived):
                self.backend.on_going_away(self)
            elif isinstance(event, SettingsReceived):
                self._open_waiting()
        if self._waiting:
            self._open_waiting()
        if self.connection.going_away:
            self.drain()

    def _on_life(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            self._asked = None
        self._worried.clear()
        if self.silent:
            self.silent = False
            self.backend.on_heard()

    def _pop(self, stream_id: int) -> Optional[Leg]:
        """The leg whose answer ends. What the runtime has not taken of its request it will not take any more."""
        if self.connection.knows(stream_id):
            self.connection.reset(stream_id, ErrorCode.NO_ERROR)
        return self.legs.pop(stream_id, None)

    def _open_waiting(self) -> None:
        while self._waiting and self.connection.can_open:
            self.open(*self._waiting.popleft())
        if self._waiting and self.connection.going_away:
            waiting, self._waiting = self._waiting, deque()
            for leg, _, _ in waiting:
                leg.on_reset(ErrorCode.REFUSED_STREAM)

    def _on_closed(self, reason: str) -> None:
        if self._asked is not None:
            self._asked.cancel()
        # The backend first: a leg that tries again must not find this link.
        self.backend.on_closed(self, reason)
        legs = list(self.legs.values()) + [leg for leg, _, _ in self._waiting]
        self.legs.clear()
        self._waiting.clear()
        for leg in legs:
            leg.on_lost(reason or "it closed the connection")


class _Probe:
    """The leg that asks a runtime whether it speaks one version: ``supported`` is None until it has said so."""

    def __init__(self, version: Version, done: Callable[[], None]) -> None:
        self.link: Optional[Link] = None
        self.stream_id = 0
        self.version = version
        self.name = ""
        self.supported: Optional[bool] = None
        self.finished = False
        self._done = done
        self._reader = Reader(_PROBE_LIMIT)

    def on_opened(self) -> None:
        """Nothing more to send."""

    def on_headers(self, block: Block, end: bool) -> None:
        """The trailers say whether this version is known."""
        if end:
            self.supported = _SUPPORTED.get(status_of(block.head))
            self._finish()

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        """The answer tells the runtime's name."""
        try:
            for body in self._reader.feed(data):
                answer: Any = _VERSION_RESPONSE.FromString(body)
                self.name = b" ".join((answer.runtime_name, answer.runtime_version)).decode("utf-8", "replace")
        except (RpcError, DecodeError):
            self.name = "a runtime that does not say its name"
        if end:
            self._finish()

    def on_sent(self, size: int) -> None:
        """Nothing waits for it."""

    def on_reset(self, code: int) -> None:
        """No answer."""
        self._finish()

    def on_lost(self, reason: str) -> None:
        """No answer; the backend has heard of it."""

    def _finish(self) -> None:
        self.finished = True
        self._done()


class Waiter(Protocol):
    """A call that waits for the primary runtime."""

    def on_available(self, link: Link) -> None:
        """It is there."""

    def on_unavailable(self, error: RpcError) -> None:
        """It has not come in time."""


class Backend:
    """One runtime. ``link`` is the connection to it that calls go over, None while it is not there."""

    def __init__(self, loop: Loop, log: Log, names: Names, path: str, on_change: Callable[[Backend], None]) -> None:
        self.loop = loop
        self.names = names
        self.primary = not names.runtime
        self.path = path
        self.link: Optional[Link] = None
        self.known = False
        """Whether it has been found out if the runtime is there."""
        self.reason = "not connected yet"
        self.complaints: Set[str] = set()
        """What has been warned of since the runtime was last found, so as not to say it each second."""
        self._log = log
        self._on_change = on_change
        self._next: Optional[Link] = None
        self._found = 0.0
        self._gone = -math.inf
        self._description = ""
        self._draining: Set[Link] = set()
        self._timer: Optional[Timer] = None
        self._handshake: Optional[Timer] = None
        self._waiters: Dict[Waiter, Timer] = {}
        self._stopped = False

    def __str__(self) -> str:
        return f'runtime "{self.names.runtime}"' if self.names.runtime else "the primary runtime"

    @property
    def state(self) -> str:
        """Who is there, or why nobody is, in a few words."""
        if self.link is None:
            return f"not there: {self.reason}" if self.known else self.reason
        return f"not there: {_SILENT}" if self.link.silent else self._description

    @property
    def available(self) -> Optional[Link]:
        """The connection to the runtime if it is there and answers."""
        link = self.link
        return None if link is None or link.silent else link

    @property
    def under_way(self) -> int:
        """How many calls the runtime has, on whichever connection."""
        links = self._draining if self.link is None else {self.link, *self._draining}
        return sum(link.under_way for link in links)

    @property
    def absent_for(self) -> float:
        """How long ago the runtime was lost, seconds; infinite if it has never been there."""
        return self.loop.time() - self._gone

    def error(self) -> RpcError:
        """What a call for the runtime ends with while it is not there."""
        reason = self.reason if self.link is None else _SILENT
        return RpcError(Code.UNAVAILABLE, f"criproxy: {self} ({self.path}) is not available: {reason}")

    def wait(self, waiter: Waiter, seconds: float) -> None:
        """Tells the waiter as soon as the runtime is there, or that it has not come within so many seconds."""
        if self._stopped:
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

    def _facts(self) -> Fields:
        return (facts.of_runtime(self.names),)

    def complain(self, about: str, text: str) -> None:
        """A warning, once until the runtime is found anew or is `well` again."""
        if about not in self.complaints:
            self.complaints.add(about)
            self._log.warning(text, self._facts)

    def well(self, about: str) -> None:
        """What has been complained of works: the next time is news again."""
        self.complaints.discard(about)

    def connect(self) -> None:
        """Tries to reach the runtime, and goes on trying."""
        self._timer = None
        if self._stopped:
            return
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:  # no descriptors left; there will be some again
            self._absent(os.strerror(error.errno or 0).lower())
            return
        sock.setblocking(False)
        result = sock.connect_ex(self.path)
        if result:
            sock.close()
            reason = "there is no such socket" if result == errno.ENOENT else os.strerror(result).lower()
            self._absent(reason)
            return
        self._next = link = Link(self, sock)
        self._probe(link)

    def stop(self) -> None:
        """Closes the connections and makes no new ones."""
        self._stop_looking()
        for link in (self.link, *self._draining):
            if link is not None:
                link.transport.close("criproxy stops")

    def retire(self) -> None:
        """The runtime is not one of ours any more: what it has been asked it may answer, more it is not asked."""
        self.reason = "it is not configured any more"
        self._stop_looking()
        waiters, self._waiters = self._waiters, {}
        for waiter, timer in waiters.items():
            timer.cancel()
            waiter.on_unavailable(self.error())
        link, self.link = self.link, None
        if link is not None:
            self._draining.add(link)
            link.go_away()

    def _stop_looking(self) -> None:
        self._stopped = True
        for timer in (self._timer, self._handshake):
            if timer is not None:
                timer.cancel()
        if self._next is not None:
            self._next.transport.close("it is not looked for any more")

    def rename(self, names: Names) -> None:
        """The runtime's names in another set of runtimes, which has a router of its own."""
        self.names = names
        for link in (self.link, *self._draining):
            if link is not None:
                link.ways.clear()

    def _probe(self, link: Link) -> None:
        probes: List[_Probe] = []

        def done() -> None:
            if all(probe.finished for probe in probes):
                self._probed(link, probes)

        if self._handshake is not None:
            self._handshake.cancel()
        self._handshake = self.loop.call_later(
            HANDSHAKE_TIMEOUT, lambda: link.transport.close("it accepts connections and says nothing")
        )
        probes.extend(_Probe(version, done) for version in Version)
        for probe in probes:
            head = request_head(path_of(probe.version, "RuntimeService", "Version"))
            link.open(probe, head.wire, prefix(0))

    def _probed(self, link: Link, probes: List[_Probe]) -> None:
        if link is not self._next:
            return
        versions = frozenset(probe.version for probe in probes if probe.supported)
        if not versions:
            refused = all(probe.supported is False for probe in probes)
            self._absent(
                "it speaks no version of the CRI that is known here" if refused else "it is not ready yet", link
            )
            return
        if self._handshake is not None:
            self._handshake.cancel()
        link.versions = versions
        link.since = time.time()
        self._next = None
        self.link = link
        self.known = True
        self._found = self.loop.time()
        self.complaints.clear()
        name = next(probe.name for probe in probes if probe.supported)
        spoken = ", ".join(version.spoken for version in Version if version in versions)
        self._description = f"{name} ({spoken})"
        self._log.info(f"connected to {self} ({self.path}): {name}, CRI {spoken}", self._facts)
        self._on_change(self)
        self._tell_waiters(link)

    def _tell_waiters(self, link: Link) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter, timer in waiters.items():
            timer.cancel()
            waiter.on_available(link)

    def _absent(self, reason: str, again_on: Optional[Link] = None) -> None:
        """The runtime is not there: says so if that is news, and tries again."""
        self.known = True
        self.reason = reason
        self.complain(f"absent: {reason}", f"{self} ({self.path}) is not there: {reason}; looking for it")
        again = self.connect if again_on is None else lambda: self._probe_again(again_on)
        self._timer = self.loop.call_later(RETRY_INTERVAL, again)
        self._on_change(self)

    def _probe_again(self, link: Link) -> None:
        if link is self._next:
            self._probe(link)

    def on_silence(self, link: Link) -> None:
        """A runtime that is connected does not answer."""
        if link is self.link:
            self._log.warning(
                f"{self} ({self.path}) does not answer; it counts as not there until it does", self._facts
            )
            self._on_change(self)

    def on_heard(self) -> None:
        """A runtime that had been silent has answered: it is there again for those who did not find it."""
        self._log.info(f"{self} ({self.path}) answers again", self._facts)
        self._on_change(self)

    def on_going_away(self, link: Link) -> None:
        """No more calls can be made on this connection; those that are on it may end."""
        if link is self.link:
            self.link = None
            self._draining.add(link)
            self._lost("all its calls have been made" if link.connection.used_up else "it is going away")
        elif link is self._next:
            # A connection that takes no calls is none to find a runtime by.
            link.transport.close("it is going away")

    def on_closed(self, link: Link, reason: str) -> None:
        """A connection is gone."""
        if link is self.link:
            self.link = None
            self._lost(reason or "it closed the connection")
        elif link is self._next:
            self._next = None
            if self._handshake is not None:
                self._handshake.cancel()
            if not self._stopped:
                if self._timer is not None:
                    self._timer.cancel()
                self._absent(reason or "it closed the connection")
        else:
            self._draining.discard(link)

    def _lost(self, reason: str) -> None:
        self.reason = reason
        self._gone = self.loop.time()
        if self._stopped:
            return
        self._log.warning(f"{self} ({self.path}) has gone: {reason}", self._facts)
        self._on_change(self)
        # One that answers and hangs up each time must not keep us busy.
        pause = self._found + RETRY_INTERVAL - self.loop.time()
        if pause > 0:
            self._timer = self.loop.call_later(pause, self.connect)
        else:
            self.connect()
