"""The connections of clients, and how many there may be.

Each takes a descriptor, and a runtime that comes back needs one, too: there is a bound, with a reserve beyond it. For a
client that is one too many, another is hung up on: one that has never had a call, or else the one that has had none
for the longest time; it may connect again. Who has had one a moment ago is about to have another, and who has just come
is about to have the first: to hang up would lose it. Where nobody can go, nobody else is let in: who waits, waits in
the socket's queue.
"""

from __future__ import annotations

import math
import resource
from typing import Callable, Final, Optional, Set

from criproxy.relay.downstream import DownstreamConnection
from criproxy.relay.loop import Loop, Timer
from criproxy.report.log import Log

MOST: Final = 256
"""Clients at once, at most: kubelet has two connections, and each that is open takes memory."""
_OWN: Final = 48
"""Descriptors for what is no client and no runtime: the loop, the log, files that are read, and who controls us."""
_OF_RUNTIME: Final = 4
"""Descriptors for a runtime: one that is found anew may have calls on its old connections."""
IDLE: Final = 5.0
"""A client is idle that has had no call for so long, seconds: kubelet has several a second."""
ARRIVAL: Final = 1.0
"""How long one that has connected has for its first call, seconds: gRPC's libraries read our SETTINGS before."""
_SILENCE: Final = 60.0
"""Between two warnings, seconds."""


def most_clients(runtimes: int) -> int:
    """How many clients there may be beside so many runtimes: at least half of the descriptors is for them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST
    return max(1, min(MOST, soft - min(_OWN + runtimes * _OF_RUNTIME, soft // 2)))


def _is_idle(client: DownstreamConnection) -> bool:
    return client.is_idle(IDLE if client.has_called else ARRIVAL)


class Clients:
    """All connections of clients.

    ``most`` gives how many there may be; ``let_in`` is told whether more are to be accepted; ``whose`` is what the
    log calls them.
    """

    def __init__(
        self,
        loop: Loop,
        log: Log,
        most: Callable[[], int],
        let_in: Callable[[bool], None],
        whose: str = "clients",
    ) -> None:
        self.connected: Set[DownstreamConnection] = set()
        self._loop = loop
        self._log = log
        self._most = most
        self._let_in = let_in
        self._whose = whose
        self._full = False
        self._look: Optional[Timer] = None
        """To the next look whether somebody has become idle, while all are in use."""
        self._told = -math.inf

    def come(self, client: DownstreamConnection) -> None:
        """A client has connected."""
        self.connected.add(client)
        self._make_room(client)

    def _make_room(self, newcomer: Optional[DownstreamConnection] = None) -> None:
        most = self._most()
        if len(self.connected) <= most:
            self._set_full(False)
            return
        idle = [each for each in self.connected if each is not newcomer and _is_idle(each)]
        if idle:
            self._tell(most, "those that have had no call for the longest time are hung up on")
            min(idle, key=lambda each: (each.has_called, each.last_call)).part()
        else:
            self._tell(most, "none of them is idle, and others have to wait")
            self._set_full(True)
            if self._look is None:
                self._look = self._loop.call_later(ARRIVAL, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self._make_room()

    def _set_full(self, full: bool) -> None:
        if full is not self._full:
            self._full = full
            self._let_in(not full)

    def go(self, client: DownstreamConnection) -> None:
        """A client has gone."""
        self.connected.discard(client)
        if len(self.connected) <= self._most():
            self._set_full(False)

    def _tell(self, most: int, what: str) -> None:
        if self._loop.time() >= self._told + _SILENCE:
            self._told = self._loop.time()
            self._log.warning(
                f"{most} {self._whose} are connected, as many as there may be: {what}; see who connects so often, and"
                " whether the limit of open files is low (LimitNOFILE=)"
            )
