"""Calm while an alternative runtime is away: lists have what it listed last, for a time.

To kubelet a pod that is not in a list is gone, and it makes another one. So the last lists of all pods and of all
containers are kept as they were given to it, and stand in for a runtime that restarts, is lost, hangs or fails. An
absence begins when the runtime is lost, falls silent, or fails one of these lists; it is over when each list that has
been missed has come again, and not when there is only a connection: a runtime that comes and fails is still away. If
it lasts longer than the grace, what has been missed is forgotten.

Whatever kubelet lists keeps the memory fresh. What it has not listed since a runtime was found, or soon after something
has changed there (a kubelet that reads events lists every few minutes), the proxy asks for by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Optional, Set, Union

from google.protobuf.message import DecodeError

from criproxy.cri.filter import PODS, SORTS, UNFILTERED, Sort, count, has_pod
from criproxy.relay import facts
from criproxy.relay.ask import Answer, Ask
from criproxy.relay.backend import Backend
from criproxy.relay.grpc import Code, RpcError
from criproxy.relay.loop import Timer
from criproxy.report.record import Fields

if TYPE_CHECKING:
    from criproxy.relay.proxy import Proxy

ASK_INTERVAL = 1.0
"""Between two attempts to get a list that a runtime does not give, seconds."""
REFRESH_DELAY = 2.0
"""How long kubelet is given to list by itself after a change, seconds: twice what it takes where it reads no events."""


class LastKnown:
    """What an alternative runtime listed last, as kubelet sees it.

    A list is kept by reference and parsed only when it has to stand in. None is larger than the largest message.
    """

    def __init__(self, proxy: Proxy, backend: Backend) -> None:
        self._proxy = proxy
        self._backend = backend
        self._bodies: Dict[Sort, bytes] = {}
        self._missed: Set[Sort] = set()
        """Of the lists that are known those that are the last and not the present ones: there is an absence."""
        self._since = 0.0
        self._grace = 0.0
        """How long this absence may last, seconds."""
        self._end: Optional[Timer] = None
        self._told = False
        """Whether it has been said that lists have what the runtime had before."""
        self._asked: Dict[Sort, Union[Ask, Timer]] = {}
        self._stale: Set[Sort] = set()
        """Of the lists those that have been kept before the last change."""
        self._refresh: Optional[Timer] = None

    def has_pod(self, uid: bytes) -> bool:
        """Whether the runtime had a pod of this UID when its pods were last listed."""
        try:
            return has_pod(self._bodies.get(PODS, b""), uid)
        except DecodeError:
            return False

    def follow(self) -> None:
        """The runtime is there, or is not there any more; or the configuration is another one."""
        if not self._proxy.config.absence_grace:
            self.forget()
        elif self._backend.available is None:
            self._stop_asking()
            self._miss(*SORTS)
        else:
            for sort in SORTS:
                self._ask(sort)

    def touch(self) -> None:
        """Something has changed there: lists will tell, kubelet's or else our own."""
        if self._proxy.config.absence_grace:
            self._stale.update(SORTS)
            if self._refresh is None:
                self._refresh = self._proxy.loop.call_later(REFRESH_DELAY, self._on_refresh)

    def _on_refresh(self) -> None:
        self._refresh = None
        for sort in self._stale:
            self._ask(sort)

    def forget(self) -> None:
        """Nothing of the runtime is known any more, nor asked."""
        self._stop_asking()
        self._stale.clear()
        self._bodies.clear()
        self._missed.clear()
        self._over()

    # Lists of kubelet's.

    def came(self, sort: Sort, request: bytes, body: Optional[bytes]) -> None:
        """The runtime has answered a list's request; ``body`` is None for what is too large to be kept."""
        if request in UNFILTERED:
            self._keep(sort, body)

    def instead(self, sort: Sort, request: bytes, error: RpcError, sent: Optional[bytes] = b"") -> Optional[bytes]:
        """What stands in for the runtime's answer to a list's request, which has ended in an error.

        ``sent`` is what kubelet has got of it nevertheless, None if that is too much to tell. Gives None if nothing can
        stand in.
        """
        # It is there, and has no such method.
        if error.code is Code.UNIMPLEMENTED:
            return None
        self._miss(sort)
        self._ask(sort)
        body = self._bodies.get(sort)
        if body is None or sent is None:
            return None
        try:
            rest = sort.narrowed(body, request, sent)
        except DecodeError:
            return None
        self._tell(error)
        return rest

    # The absence.

    def _miss(self, *sorts: Sort) -> None:
        missed = [sort for sort in sorts if sort in self._bodies]
        if missed and not self._missed:
            self._since = self._proxy.loop.time()
            self._grace = self._proxy.config.absence_grace
            self._end = self._proxy.loop.call_later(self._grace, self._give_up)
        self._missed.update(missed)

    def _keep(self, sort: Sort, body: Optional[bytes]) -> None:
        self._stale.discard(sort)
        if body is None:
            self._bodies.pop(sort, None)
        elif self._proxy.config.absence_grace:
            self._bodies[sort] = body
        if sort in self._missed:
            self._missed.discard(sort)
            if not self._missed:
                self._come_back()

    def _come_back(self) -> None:
        if self._told:
            self._proxy.log.info(f"lists have what {self._named} has itself again, after {self._lasted}", self._facts)
        self._over()

    def _give_up(self) -> None:
        text = f"{self._named} has been away for {self._lasted}: lists have nothing of it any more ({self._had()})"
        self._proxy.log.warning(text, self._facts)
        for sort in self._missed:
            del self._bodies[sort]
        self._missed.clear()
        self._over()

    def _over(self) -> None:
        self._told = False
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _tell(self, error: RpcError) -> None:
        if self._told:
            return
        self._told = True
        left = self._since + self._grace - self._proxy.loop.time()
        self._proxy.log.warning(
            f"{self._named} is away: lists have what it had before ({self._had()}) for another {left:.1f} seconds:"
            f" {error.code.name}: {error}",
            self._facts,
        )

    def _had(self) -> str:
        return ", ".join(f"{sort.name}: {count(self._bodies[sort])}" for sort in SORTS if sort in self._missed)

    @property
    def _named(self) -> str:
        return f"{self._backend} ({self._backend.path})"

    @property
    def _lasted(self) -> str:
        return f"{self._proxy.loop.time() - self._since:.1f} seconds"

    def _facts(self) -> Fields:
        return (facts.of_runtime(self._backend.names),)

    # Lists of the proxy's own.

    def _ask(self, sort: Sort) -> None:
        """Asks for all of a sort, if that is not known or has been missed; again and again, until it is given."""
        link = self._backend.available
        config = self._proxy.config
        present = sort in self._bodies and sort not in self._missed and sort not in self._stale
        if link is None or present or sort in self._asked or not config.absence_grace:
            return
        self._asked[sort] = Ask(
            link,
            self._proxy.router,
            sort.method,
            b"",
            config.fan_out_timeout,
            config.max_message_size,
            lambda answer: self._on_answer(sort, answer),
        )

    def _on_answer(self, sort: Sort, answer: Answer) -> None:
        del self._asked[sort]
        if isinstance(answer, bytes):
            self._keep(sort, answer)
        elif answer.code is not Code.UNIMPLEMENTED and self._backend.available is not None:
            self._asked[sort] = self._proxy.loop.call_later(ASK_INTERVAL, lambda: self._ask_again(sort))

    def _ask_again(self, sort: Sort) -> None:
        del self._asked[sort]
        self._ask(sort)

    def _stop_asking(self) -> None:
        for asked in self._asked.values():
            asked.cancel()
        self._asked.clear()
        if self._refresh is not None:
            self._refresh.cancel()
            self._refresh = None


class Sent:
    """What has gone to kubelet of a runtime's part of a streamed list; ``limit``: how much of it is kept, bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._bodies: List[bytes] = []

    def add(self, body: bytes) -> None:
        """Another message."""
        self._size += len(body)
        if self._size > self._limit:
            self._bodies.clear()
        else:
            self._bodies.append(body)

    @property
    def body(self) -> Optional[bytes]:
        """All of it in one message; None if it is more than is kept."""
        return b"".join(self._bodies) if self._size <= self._limit else None
