"""What alternative runtimes, and the retiring one, have listed last, which stands in for them while they are away.

To kubelet a pod that is not in a list is gone, and it makes another one. So the last lists of all pods and of all
containers are kept as they were given to it, and stand in for a runtime that restarts, is lost, hangs or fails. An
absence begins when the runtime is lost, falls silent, or fails one of these lists; it is over when each list that has
been missed has come again, and not when there is only a connection: a runtime that comes and fails is still away. If
it lasts longer than the grace, what has been missed is forgotten.

Whatever kubelet lists keeps the memory fresh, if it has been asked for after the last change: what was asked for before
may or may not have that, however late it comes. What kubelet has not listed since a runtime was found, or soon after
something has changed there (a kubelet that reads events lists every few minutes), the proxy asks for by itself.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, Final, List, NamedTuple, Optional, Set, Union

from criproxy.cri.filter import LIST_KINDS, PODS, UNFILTERED, ListKind, count, ready_pods, sandbox_of
from criproxy.cri.wire import DecodeError
from criproxy.http2.grpc import Code
from criproxy.relay.context import Context
from criproxy.relay.loop import Timer
from criproxy.relay.outcome import Outcome
from criproxy.relay.question import Question
from criproxy.relay.runtime import Runtime

ASK_INTERVAL: Final = 1.0
"""Between two attempts to get a list that a runtime does not give, seconds: kubelet's own interval between lists."""
REFRESH_DELAY: Final = 2.0
"""How long kubelet is given to list by itself after a change, seconds: twice what it takes where it reads no events."""


class Absence(NamedTuple):
    """A runtime of which lists have what it had."""

    since: float
    """When it was first missed, seconds of the clock."""
    until: float
    """When what it had will be forgotten."""
    pods: int
    """How many pods are remembered that were ready."""


class Changes:
    """Counts the changes in all runtimes: a list that is asked for at the count of a change, or later, has it."""

    def __init__(self) -> None:
        self.now = 1

    def next(self) -> int:
        """Another change; gives the count from which on it is told."""
        self.now += 1
        return self.now


class Memory:
    """What an alternative runtime listed last, as kubelet sees it.

    A list is kept by reference and parsed only when it has to stand in. None is larger than the largest message.
    """

    def __init__(self, context: Context, runtime: Runtime, changes: Changes) -> None:
        self._context = context
        self._runtime = runtime
        self._changes = changes
        self._changed = 0
        """When something has last changed in the runtime (`Changes`)."""
        self._bodies: Dict[ListKind, bytes] = {}
        self._asked_at: Dict[ListKind, int] = {}
        """When the lists that are known were asked for (`Changes`)."""
        self._missed: Set[ListKind] = set()
        """Of the lists that are known those that are the last and not the present ones: there is an absence."""
        self._since = 0.0
        self._grace = 0.0
        """How long this absence may last, seconds."""
        self._end: Optional[Timer] = None
        self._told = False
        """Whether it has been said that lists have what the runtime had before."""
        self._asked: Dict[ListKind, Union[Question, Timer]] = {}
        self._refresh: Optional[Timer] = None

    def has_pod(self, uid: bytes, attempt: int) -> bool:
        """Whether the runtime had this sandbox of a pod when its pods were last listed."""
        try:
            return sandbox_of(self._bodies.get(PODS, b""), uid, attempt) is not None
        except DecodeError:
            return False

    @property
    def pods(self) -> List[str]:
        """NAMESPACE/NAME of the pods that were ready on the runtime when its pods were last listed."""
        try:
            return ready_pods(self._bodies.get(PODS, b""))
        except DecodeError:
            return []

    @property
    def absence(self) -> Optional[Absence]:
        """The absence that there is, if any."""
        if not self._missed:
            return None
        return Absence(self._since, self._since + self._grace, len(self.pods) if PODS in self._missed else 0)

    def follow(self) -> None:
        """The runtime is there, or is not there any more; or the configuration is another one."""
        if not self._context.config.absence_grace:
            self.forget()
        elif not self._runtime.there:
            self._stop_asking()
            self._miss(*LIST_KINDS)
        else:
            for kind in LIST_KINDS:
                self._ask(kind)

    def touch(self) -> None:
        """Something has changed there: lists will tell, kubelet's or else our own."""
        self._changed = self._changes.next()
        if self._context.config.absence_grace and self._refresh is None:
            self._refresh = self._context.clock.call_later(REFRESH_DELAY, self._on_refresh)

    def is_fresh(self, kind: ListKind) -> bool:
        """Whether the list that is known was asked for after the last change."""
        return kind in self._bodies and self._asked_at[kind] >= self._changed

    def _on_refresh(self) -> None:
        self._refresh = None
        for kind in LIST_KINDS:
            self._ask(kind)

    @property
    def held(self) -> int:
        """The memory that is taken by what is remembered, and by what has come of a list since, bytes."""
        coming = sum(asked.taken for asked in self._asked.values() if isinstance(asked, Question))
        return sum(map(len, self._bodies.values())) + coming

    def forget(self) -> None:
        """Nothing of the runtime is known any more, nor asked."""
        self._stop_asking()
        self._bodies.clear()
        self._missed.clear()
        self._over()

    # Lists of kubelet's.

    def came(self, kind: ListKind, request: bytes, body: Optional[bytes], asked_at: int) -> None:
        """The runtime has answered a list's request; ``body`` is None for what is too large to be kept.

        ``asked_at``: the stamp of when it was asked (`Memories.stamp`).
        """
        if request in UNFILTERED:
            self._keep(kind, body, asked_at)

    def instead(self, kind: ListKind, request: bytes, outcome: Outcome, sent: Optional[bytes] = b"") -> Optional[bytes]:
        """The remembered list that replaces the response of a runtime that has failed; None if there is none.

        ``sent``: the entries that kubelet has got nevertheless; None if they were too large to be kept.
        """
        # It is there, and has no such method.
        if outcome.code == Code.UNIMPLEMENTED:
            return None
        self._miss(kind)
        self._ask(kind)
        body = self._bodies.get(kind)
        if body is None or sent is None:
            return None
        try:
            rest = kind.narrowed(body, request, sent)
        except DecodeError:
            return None
        self._tell(outcome)
        return rest

    # The absence.

    def _miss(self, *kinds: ListKind) -> None:
        missed = [kind for kind in kinds if kind in self._bodies]
        if missed and not self._missed:
            self._since = self._context.clock.time()
            self._grace = self._context.config.absence_grace
            self._end = self._context.clock.call_later(self._grace, self._give_up)
        self._missed.update(missed)

    def _keep(self, kind: ListKind, body: Optional[bytes], asked_at: int) -> None:
        if asked_at < self._asked_at.get(kind, 0):
            return  # A younger list has overtaken it.
        self._asked_at[kind] = asked_at
        if body is None:
            self._bodies.pop(kind, None)
        elif self._context.config.absence_grace:
            self._bodies[kind] = body
        if kind in self._missed:
            self._missed.discard(kind)
            if not self._missed:
                self._come_back()

    def _come_back(self) -> None:
        if self._told:
            self._runtime.tell(f"{self._named} is back after {self._lasted}: lists have what it lists now")
        self._over()

    def _give_up(self) -> None:
        now = "lists fail without it" if self._runtime.needed else "lists no longer have what it had"
        self._runtime.warn(f"{self._named} has been away for {self._lasted}: {now} ({self._had()})")
        for kind in self._missed:
            del self._bodies[kind]
        self._missed.clear()
        self._over()

    def _over(self) -> None:
        self._told = False
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _tell(self, outcome: Outcome) -> None:
        if self._told:
            return
        self._told = True
        left = self._since + self._grace - self._context.clock.time()
        self._runtime.warn(
            f"{self._named} is away: lists keep what it had ({self._had()}) for another {left:.1f} seconds: {outcome}"
        )

    def _had(self) -> str:
        return ", ".join(f"{kind.name}: {count(self._bodies[kind])}" for kind in LIST_KINDS if kind in self._missed)

    @property
    def _named(self) -> str:
        return f"{self._runtime} ({self._runtime.path})"

    @property
    def _lasted(self) -> str:
        return f"{self._context.clock.time() - self._since:.1f} seconds"

    # Lists of the proxy's own.

    def _ask(self, kind: ListKind) -> None:
        """Asks for all of a kind, if that is not known or has been missed; again and again, until it is given."""
        upstream = self._runtime.available
        present = self.is_fresh(kind) and kind not in self._missed
        if upstream is None or present or kind in self._asked or not self._context.config.absence_grace:
            return
        question = Question(
            self._context, self._runtime, kind.method, b"", partial(self._on_answer, kind, self._changes.now)
        )
        self._asked[kind] = question
        question.ask()

    def _on_answer(self, kind: ListKind, asked_at: int, body: bytes, outcome: Outcome) -> None:
        del self._asked[kind]
        if outcome.ok:
            self._keep(kind, body, asked_at)
            if self._refresh is None and not self.is_fresh(kind):
                # What has changed meanwhile has found this question under way.
                self._ask(kind)
        elif outcome.code != Code.UNIMPLEMENTED and self._runtime.there:
            self._asked[kind] = self._context.clock.call_later(ASK_INTERVAL, lambda: self._ask_again(kind))

    def _ask_again(self, kind: ListKind) -> None:
        del self._asked[kind]
        self._ask(kind)

    def _stop_asking(self) -> None:
        for asked in self._asked.values():
            asked.cancel()
        self._asked.clear()
        if self._refresh is not None:
            self._refresh.cancel()
            self._refresh = None


class Memories:
    """The memories of all alternative runtimes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._changes = Changes()
        self._of: Dict[Runtime, Memory] = {}

    def stamp(self) -> int:
        """When a list is asked for, as `Memory.came` wants it."""
        return self._changes.now

    def of(self, runtime: Runtime) -> Optional[Memory]:
        """A runtime's memory; None for the primary one, whose absence is an answer."""
        return self._of.get(runtime)

    def keep(self, runtime: Runtime, wanted: bool) -> None:
        """A runtime that is to be remembered, or is not."""
        if not wanted:
            self.remove(runtime)
        elif runtime not in self._of:
            memory = self._of[runtime] = Memory(self._context, runtime, self._changes)
            if runtime.there:
                memory.follow()

    def remove(self, runtime: Runtime) -> None:
        """A runtime that is not wanted any more."""
        memory = self._of.pop(runtime, None)
        if memory is not None:
            memory.forget()

    def held(self, runtime: Runtime) -> int:
        """The memory that is taken by what is remembered of a runtime, bytes."""
        memory = self._of.get(runtime)
        return 0 if memory is None else memory.held

    def forget(self, runtime: Runtime) -> None:
        """Nothing of a runtime is to be remembered that it has listed so far."""
        memory = self._of.get(runtime)
        if memory is not None:
            memory.forget()

    def follow(self, runtime: Runtime) -> None:
        """A runtime is there, or is not there any more."""
        memory = self._of.get(runtime)
        if memory is not None:
            memory.follow()

    def follow_all(self) -> None:
        """The configuration is another one."""
        for memory in self._of.values():
            memory.follow()

    def note_change(self, runtime: Runtime) -> None:
        """Something has changed in a runtime that lists will have."""
        memory = self._of.get(runtime)
        if memory is not None:
            memory.touch()

    def runtime_of_pod(self, uid: bytes, attempt: int) -> str:
        """The id of the runtime that has listed this sandbox of a pod last; nothing if none has."""
        having = (runtime.names.runtime for runtime, memory in self._of.items() if memory.has_pod(uid, attempt))
        return next(having, "")

    def absence(self, runtime: Runtime) -> Optional[Absence]:
        """What is remembered for a runtime that is away; None if nothing is, or it is there."""
        memory = self._of.get(runtime)
        return None if memory is None else memory.absence

    def pods(self, runtime: Runtime) -> List[str]:
        """NAMESPACE/NAME of the pods that were ready on a runtime when its pods were last listed."""
        memory = self._of.get(runtime)
        return [] if memory is None else memory.pods
