"""Who watches calls as they end: nobody, as a rule, and that costs a look at an empty list."""

from __future__ import annotations

from typing import Final, List, Optional, Protocol, Sequence

from criproxy.cri.identity import Names
from criproxy.http2.headers import Block
from criproxy.relay.routing import Plan

SHOWN: Final = 64 * 1024
"""What is kept of a request, and of all messages of an answer, bytes."""
_MOST_MESSAGES: Final = 64
"""So many messages of an answer are kept at most."""
MOST_QUESTIONS: Final = 64
"""So many of a call's questions to runtimes are kept at most: a stream of events asks anew each time one comes back."""


class Messages:
    """The beginning of what a call was answered with, as kubelet has got it."""

    __slots__ = ("_room", "kept", "left", "sizes")

    def __init__(self) -> None:
        self.kept: List[bytes] = []
        """The messages; the last of them may be cut off."""
        self.sizes: List[int] = []
        """How large each of them is as a whole, bytes."""
        self.left = 0
        """How many messages came after those that are kept."""
        self._room: int = SHOWN

    def add(self, parts: Sequence[bytes]) -> None:
        """A message: the concatenation of ``parts``."""
        if self._room <= 0 or len(self.kept) >= _MOST_MESSAGES:
            self.left += 1
            return
        kept: List[bytes] = []
        size = 0
        for part in parts:
            if size < self._room:
                kept.append(part[: self._room - size])
            size += len(part)
        self.kept.append(b"".join(kept))
        self.sizes.append(size)
        self._room -= size


class Asked:
    """What a call has asked one runtime: from when to when (seconds after the call came), and what came of it."""

    __slots__ = ("begun", "code", "ended", "names", "reached")

    def __init__(self, names: Names, code: int, begun: float, ended: float, reached: bool) -> None:
        self.names = names
        self.code = code
        self.begun = begun
        self.ended = ended
        self.reached = reached
        """Whether the runtime has got it."""


class EndedCall:
    """A call that has ended. ``total``: what it has taken; ``own``: and of this the proxy itself, seconds."""

    __slots__ = ("answer", "asked", "block", "body", "code", "number", "own", "plan", "targets", "text", "total")

    def __init__(
        self,
        number: int,
        plan: Plan,
        body: bytes,
        targets: Sequence[Names],
        code: int,
        text: str,
        total: float,
        own: float,
        answer: Optional[Messages],
        block: Block,
        asked: Sequence[Asked],
    ) -> None:
        self.number = number
        self.plan = plan
        self.body = body
        """The request's message; empty if it has not come, or nobody has looked at it."""
        self.targets = targets
        """The runtimes that were asked."""
        self.code = code
        self.text = text
        """Of the error."""
        self.total = total
        self.own = own
        self.answer = answer
        """None if nobody has asked for it."""
        self.block = block
        """The request's head, with its metadata."""
        self.asked = asked
        """The runtimes' parts in it that have ended, in the order of their ends, as far as somebody has watched."""


class Watcher(Protocol):
    """Somebody who watches."""

    def ended(self, call: EndedCall) -> None:
        """A call has ended. It takes no time worth mentioning, and keeps nothing without bounds."""


class Tracing:
    """Those who watch."""

    def __init__(self) -> None:
        self.watchers: List[Watcher] = []
        self.bodies = False
        """Whether somebody wants to see the messages of calls that begin now."""
        self._readers: List[Watcher] = []

    def add(self, watcher: Watcher, bodies: bool) -> None:
        """Has calls told to somebody; with ``bodies``, with the messages of those that begin from now on."""
        self.watchers.append(watcher)
        if bodies:
            self._readers.append(watcher)
            self.bodies = True

    def remove(self, watcher: Watcher) -> None:
        """Somebody watches no more."""
        self.watchers = [each for each in self.watchers if each is not watcher]
        self._readers = [each for each in self._readers if each is not watcher]
        self.bodies = bool(self._readers)

    def tell(self, call: EndedCall) -> None:
        """Tells all of them."""
        for watcher in self.watchers:
            watcher.ended(call)
