"""One account of the memory that is held: for whom, for what, and what happens when it is too much.

Nothing is counted as it moves. Who holds bytes (a queue, a reader, a list that waits for another) knows how many, and
they are added up when so much has been read from all sockets since the last time that the sum may have become another.
So the sum is exact, and a call that comes and goes at once costs nothing.

Whose they are: a client's are its calls, their requests, what it has not read of the answers, and of what has come of
each answer so far up to `_SHARE`: many lists at once are the fault of who asks for them. What is more of one answer is
the runtime's, and so are its remembered lists and the requests that it has not read.

Over the limit, what is kept only to show names, or to be faster, is dropped first. Then the largest user among the
clients and the alternative runtimes is slowed: nothing more is read from it, unless it is by reading itself that it
makes room. If that does not help in time, or the sum goes on growing, its connection is cut off. The primary runtime's
never is.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, Final, Iterable, List, Optional, Protocol, Set, Tuple, Union

from criproxy.relay import facts
from criproxy.relay.downstream import DownstreamConnection
from criproxy.relay.loop import Loop, Timer
from criproxy.relay.memory import Memories
from criproxy.relay.runtime import Runtime
from criproxy.relay.transport import Transport
from criproxy.report.log import Log

PATIENCE: Final = 1.0
"""How long the largest user is slowed before it is cut off, seconds."""
_LOOK: Final = 0.1
"""Between two looks meanwhile, seconds."""
_GROWTH: Final = 1.5
"""At so many times the limit the largest user is cut off at once."""
_LEAST_READ: Final = 2**20
"""Less than this is not worth a look, bytes that are read."""
_SHARE: Final = 4 * 2**20
"""What of one answer is on the account of who asked for it, bytes: a list of some thousand containers."""
_CALL: Final = 4096
"""What a call takes beside its messages, bytes."""
_MUCH: Final = 4
"""Who holds less than this part of the limit is cut off only if the primary runtime's part is not what is too much."""
_SILENCE: Final = 60.0
"""Between two warnings that nobody can be cut off, seconds."""
_MIB: Final = 2**20

UNREAD: Final = "answers that it has not read"
CALLS: Final = "its calls and their requests"
ANSWERS: Final = "answers that are not whole yet"
UNREAD_REQUESTS: Final = "requests that it has not read"
LARGE_ANSWERS: Final = "large answers"
REMEMBERED: Final = "its remembered lists"

User = Union[DownstreamConnection, Runtime]
Uses = Dict[str, int]
"""What for, and how many bytes."""


class Kept(Protocol):
    """What is kept though it may be dropped."""

    @property
    def held(self) -> int:
        """The memory that it takes, bytes."""

    def forget(self) -> None:
        """Drops it."""


class Account:
    """Keeps the memory that is held below ``limit()``, bytes. ``clients``, ``runtimes``: all that there are.

    ``kept`` gives what may be dropped without a loss but of time, or of names in the log; what is first goes first.
    """

    def __init__(
        self,
        loop: Loop,
        log: Log,
        limit: Callable[[], int],
        clients: Callable[[], Iterable[DownstreamConnection]],
        runtimes: Callable[[], Iterable[Runtime]],
        memories: Memories,
        kept: Callable[[], Iterable[Kept]],
    ) -> None:
        self._loop = loop
        self._log = log
        self._limit = limit
        self._clients = clients
        self._runtimes = runtimes
        self._memories = memories
        self._kept = kept
        self._slowed: Optional[User] = None
        self._since = 0.0
        """When somebody has first been slowed, as long as somebody is."""
        self._told = -_SILENCE
        self._timer: Optional[Timer] = None
        loop.on_alarm = self._on_alarm
        self._set_alarm(0)

    def held(self) -> Dict[User, Uses]:
        """What each user holds, and what for."""
        held: Dict[User, Uses] = {}
        for runtime in self._runtimes():
            unread = sum(upstream.unread for upstream in runtime.connections)
            held[runtime] = {UNREAD_REQUESTS: unread, LARGE_ANSWERS: 0, REMEMBERED: self._memories.held(runtime)}
        for client in self._clients():
            requests = answers = 0
            for call in client.calls.values():
                request, parts = call.held()
                requests += request + _CALL
                for runtime, size in parts:
                    answers += min(size, _SHARE)
                    if size > _SHARE and runtime in held:
                        held[runtime][LARGE_ANSWERS] += size - _SHARE
            held[client] = {UNREAD: client.transport.unread, CALLS: requests, ANSWERS: answers}
        return held

    @property
    def total(self) -> int:
        """What is held in all, bytes, with what may be dropped."""
        return sum(map(_sum, self.held().values())) + sum(each.held for each in self._kept())

    @property
    def limit(self) -> int:
        """Below what it is kept, bytes."""
        return self._limit()

    def _on_alarm(self) -> None:
        # Not at once: what has been read has yet to come to those who hold it.
        self._loop.alarm = math.inf
        self._look_in(0)

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _set_alarm(self, total: int) -> None:
        # What is read may be held twice: as it has come, and as it is to be sent.
        room = self._limit() * _GROWTH - total
        self._loop.alarm = self._loop.received + max(_LEAST_READ, room / 4)

    def _look(self) -> None:
        self._timer = None
        limit = self._limit()
        held, total = self._added_up()
        cut_off: Set[User] = set()
        while total > limit:
            user = self._largest(held, limit, cut_off)
            if user is None:
                self._tell_of_nobody(total, limit)
                break
            if user is not self._slowed:
                self._slow(user, held[user])
            if total <= limit * _GROWTH and self._loop.time() < self._since + PATIENCE:
                self._look_in(_LOOK)
                break
            self._cut_off(user, held[user], total, limit)
            cut_off.add(user)
            held, total = self._added_up()
        else:
            self._release()
        self._set_alarm(total)

    def _added_up(self) -> Tuple[Dict[User, Uses], int]:
        held = self.held()
        total = sum(map(_sum, held.values()))
        kept = sum(each.held for each in self._kept())
        for each in self._kept():
            if total + kept <= self._limit():
                break
            kept -= each.held
            each.forget()
        return held, total + kept

    @staticmethod
    def _largest(held: Dict[User, Uses], limit: int, cut_off: Set[User]) -> Optional[User]:
        """Whose fault it is that so much is held, of those that may be cut off and have not been."""
        sizes = {user: _sum(held[user]) for user in held if user not in cut_off and _may_be_cut_off(user)}
        largest = max(sizes, key=lambda user: sizes[user], default=None)
        if largest is None or (sizes[largest] < limit // _MUCH and sum(sizes.values()) <= limit):
            return None
        return largest

    def _slow(self, user: User, uses: Uses) -> None:
        if self._slowed is None:
            self._since = self._loop.time()
        else:
            _pause(self._slowed, False)
        self._slowed = user
        _pause(user, max(uses, key=lambda use: uses[use]) != UNREAD)

    def _release(self) -> None:
        if self._slowed is not None:
            _pause(self._slowed, False)
            self._slowed = None

    def _cut_off(self, user: User, uses: Uses, total: int, limit: int) -> None:
        what = ", ".join(f"{size / _MIB:.1f} MiB of {use}" for use, size in uses.items() if size >= _MIB // 10)
        text = f"it holds too much memory: {what}"
        self._log.warning(
            f"{user} is cut off: {text}; with {total / _MIB:.0f} MiB in all that is more than --memory-limit"
            f" ({limit / _MIB:.0f} MiB); if it has a right to that, set a higher limit",
            lambda: (facts.of_runtime(user.names),) if isinstance(user, Runtime) else (),
        )
        self._slowed = None
        for transport in _transports(user):
            transport.cut_off(text)
        if isinstance(user, Runtime):
            self._memories.forget(user)

    def _tell_of_nobody(self, total: int, limit: int) -> None:
        self._release()
        if self._loop.time() >= self._told + _SILENCE:
            self._told = self._loop.time()
            self._log.warning(
                f"{total / _MIB:.0f} MiB of messages are held, more than --memory-limit ({limit / _MIB:.0f} MiB),"
                " and nobody but the primary runtime holds much; if that goes on, set a higher limit"
            )


def _sum(uses: Uses) -> int:
    return sum(uses.values())


def _may_be_cut_off(user: User) -> bool:
    return isinstance(user, DownstreamConnection) or bool(user.connections and not user.primary)


def _transports(user: User) -> List[Transport]:
    if isinstance(user, Runtime):
        return [upstream.transport for upstream in user.connections]
    return [user.transport]


def _pause(user: User, paused: bool) -> None:
    for transport in _transports(user):
        transport.pause(paused)
