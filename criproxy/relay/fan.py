"""Calls that go to several runtimes at once, and how their answers become one.

Each runtime has a `Branch`; what becomes of the branches is up to the call:

- `Broadcast`: only whether it worked counts;
- `Find` and `Remove` (images.py): an image by its digest, wherever it is;
- `Gather` and `Chain` (lists.py): a list, in one message or as a stream;
- `Blend` (events.py): the messages of all as they come, without end;
- `Survey` (status.py): what each says of itself, and what is said of it where it says nothing.

The primary runtime is treated as in a call for it alone: it is waited for, its failure is the call's, its headers
and trailers are the answer's. An alternative runtime that is not there, fails, or takes longer than the fan-out
timeout is left out with a warning, unless what it had before stands in for it (absence.py). A runtime that has a list
only as a stream, or only in one message, is asked for it in that way.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.filter import sort_of
from criproxy.cri.identity import Names
from criproxy.http2.errors import ErrorCode
from criproxy.http2.headers import Block
from criproxy.relay.backend import STREAM_WINDOW, Backend, Link
from criproxy.relay.call import Call, Origin
from criproxy.relay.grpc import (
    RESPONSE_HEADERS,
    Code,
    Reader,
    RpcError,
    check_head,
    cut_off,
    error_of,
    prefix,
    trailers_of,
    unreadable,
)
from criproxy.relay.loop import Timer
from criproxy.relay.plan import Plan, Transform


class Branch:
    """One runtime's part in a call: the leg that is its stream there."""

    def __init__(self, call: FanOut, backend: Backend, done: bool = False) -> None:
        self.call = call
        self.backend = backend
        self.primary = backend.primary
        self.decides = backend.primary
        """Whether its failure is the call's, and its trailers are: the primary runtime's, or those of the only one."""
        self.link: Optional[Link] = None
        self.stream_id = 0
        self.headers: Optional[Block] = None
        self.plan = call.plan
        """What the runtime is asked by: the call's plan, or its twin."""
        self.done = done
        self.heard = False
        """Whether it has said anything since this was last looked at."""
        self.bodies: List[bytes] = []
        self.size = 0
        """Of the bodies, bytes."""
        self.held: List[Tuple[bytes, int]] = []
        """Data that may not be looked at yet."""
        self.owed = 0
        self.begun = False
        """Whether any data of an answer has come."""
        self.spoilt = False
        """Its data has been found to be no answer: what follows means nothing."""
        self.error: Optional[RpcError] = None
        """Why its part is not whole, which may turn out when it is done: held data is looked at late."""
        self._retried = False
        self._waited = False
        self._refusals: Dict[Plan, Tuple[RpcError, Block]] = {}
        """What the runtime has said to the plans of which it does not have the method."""
        self._reader = Reader(call.proxy.config.max_message_size)
        self._change: Optional[Transform] = None

    def start(self) -> None:
        """Asks the runtime, or waits for it if it is the primary."""
        link = self.backend.available
        if link is not None:
            self.on_available(link)
        elif self.primary:
            self._waited = True
            self.backend.wait(self, self.call.patience())
        else:
            self._end(self.backend.error())

    def on_available(self, link: Link) -> None:
        """The runtime is there: asks it."""
        call = self.call
        self.plan = link.plan_for(call.plan)
        way = link.way(self.plan, call.proxy.router)
        self._change = way.answer
        self.link = link
        link.open(self, way.wire + call.tail(self._waited or self.plan is not call.plan), call.request)

    def on_unavailable(self, error: RpcError) -> None:
        """The runtime has not come in time."""
        self._end(error)

    def cancel(self) -> None:
        """Its answer is not wanted any more."""
        self.done = True
        self.backend.leave(self)
        if self.link is not None:
            self.link.cancel(self)

    def on_opened(self) -> None:
        """The request is on its way."""

    def on_sent(self, size: int) -> None:
        """Data of the request that had waited has left."""

    def on_headers(self, block: Block, end: bool) -> None:
        """Headers are kept; trailers end the branch."""
        self.heard = True
        if end:
            self._on_trailers(block)
            return
        try:
            check_head(block.head)
        except RpcError as error:
            self._give_up(error)
            return
        self.headers = block
        self._reader.encoding = block.get(b"grpc-encoding") or b"identity"

    def _on_trailers(self, block: Block) -> None:
        error = error_of(block)
        if error is not None:
            self._on_failure(error, block)
        elif self._reader.idle:
            self._end(None, block)
        else:
            self._end(cut_off())

    def _on_failure(self, error: RpcError, trailers: Block) -> None:
        """The runtime has failed the call. A list that it does not have it may have in the other way."""
        plan, link = self.plan, self.link
        if error.code is not Code.UNIMPLEMENTED or plan.twin is None or link is None or self.begun:
            self._end(error, trailers)
            return
        link.lacks(plan)
        self._refusals[plan] = error, trailers
        if plan.twin in self._refusals:
            self._end(*self._refusals[self.call.plan])
            return
        self.headers = self.link = None
        self._waited = True
        self.start()

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        """Data is looked at when it is the branch's turn."""
        self.heard = True
        self.begun = self.begun or bool(data)
        if self.call.holds(self):
            self.held.append((data, size))
        else:
            self.take(data, size)
        if end and not self.done:
            self._end(RpcError(Code.INTERNAL, "criproxy: an answer without trailers"))

    def take(self, data: bytes, size: int) -> None:
        """Looks at data: hands on the messages that are complete with it."""
        if self.spoilt:
            return
        try:
            for body in self._reader.feed(data):
                self.call.on_message(self, body if self._change is None else self._change(body))
        except (RpcError, DecodeError) as error:
            self.spoilt = True
            self._give_up(unreadable(self.backend, error))
            return
        self.owed += size
        self.call.return_owed()

    def _give_up(self, error: RpcError) -> None:
        """Ends the branch before its answer does."""
        if self.link is not None:
            self.link.cancel(self)
        self._end(error)

    def on_reset(self, code: int) -> None:
        """The runtime has reset the stream; what it has not looked at may be sent again."""
        refused = code == ErrorCode.REFUSED_STREAM
        if refused and not self._retried and self.headers is None:
            self._retried = True
            self.link = None
            self.start()
            return
        self._end(RpcError(Code.UNAVAILABLE if refused else Code.INTERNAL, f"the runtime reset the stream ({code})"))

    def on_lost(self, reason: str) -> None:
        """The runtime has gone."""
        self.link = None
        self._end(RpcError(Code.UNAVAILABLE, f"criproxy: {self.backend} has gone during the call: {reason}"))

    def _end(self, error: Optional[RpcError], trailers: Optional[Block] = None) -> None:
        self.error = error or self.error
        if not self.done:
            self.done = True
            self.call.on_end(self, error, trailers)


def present(backends: Sequence[Backend]) -> List[Backend]:
    """The runtimes that are there, and the primary one, which is waited for."""
    return [backend for backend in backends if backend.primary or backend.available is not None]


class FanOut(Call):
    """A call to several runtimes."""

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin)
        self.branches = [Branch(self, backend) for backend in backends]
        if len(backends) == 1:
            self.branches[0].decides = True
        self.trailers: Optional[Block] = None
        """What the primary runtime has said at the end of its part."""
        self._body = b""
        self._timer: Optional[Timer] = None
        self._over = False

    def runtimes(self) -> Sequence[Names]:
        """All that have a part in it."""
        return [branch.backend.names for branch in self.branches]

    def start(self, body: bytes) -> None:
        """Asks all runtimes at once."""
        self._body = body
        if len(self.branches) > 1:
            self._timer = self.proxy.loop.call_later(self._fan_out_timeout(), self._on_timeout)
        for branch in list(self.branches):
            if not self._over:
                branch.start()

    def _fan_out_timeout(self) -> float:
        seconds = self.proxy.config.fan_out_timeout
        remaining = self.remaining()
        return seconds if remaining is None else max(0.0, min(seconds, remaining / 2))

    def _on_timeout(self) -> None:
        self._timer = None
        for branch in self.branches:
            if not (branch.done or branch.primary or self._over):
                self._time_out(branch)

    def _time_out(self, branch: Branch) -> None:
        link = branch.link
        branch.cancel()
        if link is not None:
            link.ask_for_life()
        branch.error = RpcError(Code.DEADLINE_EXCEEDED, "it has not answered within the fan-out timeout")
        self.on_end(branch, branch.error, None)

    @property
    def request(self) -> bytes:
        """The request's data, for every runtime alike: in a list's request the versions differ nowhere."""
        return prefix(len(self._body)) + self._body

    def cancel(self) -> None:
        """Kubelet does not want the answer: neither do we."""
        self._stop()

    def _stop(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        for branch in self.branches:
            if not branch.done:
                branch.cancel()

    def finish(self, trailers: bytes) -> None:
        """Ends the call; branches that are still on their way are cancelled."""
        self._stop()
        super().finish(trailers)

    @property
    def _name(self) -> str:
        return self.plan.path.rpartition("/")[2]

    def leave_out(self, branch: Branch, error: RpcError) -> None:
        """Warns that the answer is without an alternative runtime's part; once until that has been well again."""
        text = f"{self._name} is answered without {branch.backend}: {error.code.name}: {error}"
        branch.backend.complain(self._name, text)

    def counts(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> bool:
        """What a runtime's end means to a list: whether the list goes on.

        The failure of the primary, or of the only one there is, is the list's, and so are its trailers; what an
        alternative runtime's is, `settle` says.
        """
        if self._over:
            return False
        if not branch.decides:
            return True
        if error is not None:
            self.fail_as(branch, error, trailers)
            return False
        self.trailers = trailers
        return True

    def settle(self, branch: Branch, error: Optional[RpcError], sent: Optional[bytes]) -> bytes:
        """What a list has of an alternative runtime, the part of which is over, beside what it has ``sent``.

        That is what it is remembered to have had, or nothing: then the runtime is left out. ``sent`` is None where it
        was too much to be kept.
        """
        known = self.proxy.last_known.get(branch.backend)
        sort = None if known is None or self.plan.method is None else sort_of(self.plan.method)
        if error is None:
            branch.backend.well(self._name)
            if known is not None and sort is not None:
                known.came(sort, self._body, sent)
            return b""
        rest = None if known is None or sort is None else known.instead(sort, self._body, error, sent)
        if rest is None:
            self.leave_out(branch, error)
        return rest or b""

    def fail_as(self, branch: Branch, error: RpcError, trailers: Optional[Block]) -> None:
        """Ends the call as a runtime's part in it has ended."""
        if trailers is None:
            self.fail(error)
            return
        self.log_trailers(trailers)
        self.finish_as(branch, trailers)

    def finish_as(self, branch: Branch, trailers: Block) -> None:
        """Ends the call with a runtime's trailers, which may be all that it has said."""
        if not self.headers_sent:
            if branch.headers is None:
                self.finish(trailers.wire)
                return
            self.send_headers(branch.headers.wire)
        self.finish(trailers_of(trailers))

    # What becomes of the branches.

    def holds(self, branch: Branch) -> bool:
        """Whether the branch's data must wait for its turn."""
        del branch
        return False

    def return_owed(self) -> None:
        """Lets the runtimes send more, as far as what they have sent has gone its way."""
        for branch in self.branches:
            if branch.owed and branch.link is not None:
                branch.link.consumed(branch.stream_id, branch.owed)
                branch.owed = 0
                # It may have had to wait for this: its time begins anew.
                branch.heard = True

    def on_message(self, branch: Branch, body: bytes) -> None:
        """A whole message of a runtime's answer, as kubelet is to see it."""
        raise NotImplementedError

    def on_end(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> None:
        """A runtime's part is over. ``trailers`` are what it said at the end, if it got so far."""
        raise NotImplementedError


class Streaming(FanOut):
    """Passes messages on as they come; kubelet's pace is the runtimes'."""

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin, backends)
        self._unsent = 0

    def on_message(self, branch: Branch, body: bytes) -> None:
        """Goes to kubelet."""
        self.pass_on(body)

    def pass_on(self, body: bytes) -> None:
        """Sends a message to kubelet."""
        if not self.headers_sent:
            primary = self.branches[0].headers
            self.send_headers(RESPONSE_HEADERS if primary is None else primary.wire)
        self.log_answer(body)
        data = prefix(len(body)) + body
        self._unsent += len(data) - self.send_data(data)

    def on_taken(self, size: int) -> None:
        """Kubelet has taken something: the runtimes may send more."""
        self._unsent -= size
        self.return_owed()

    def takes_more(self) -> bool:
        """Whether not too much waits for kubelet."""
        return self._unsent <= STREAM_WINDOW

    def return_owed(self) -> None:
        """As long as kubelet takes more."""
        if self.takes_more():
            super().return_owed()


class Broadcast(FanOut):
    """A call for its effect on all runtimes that are there; the primary is waited for, lest nobody have heard of it."""

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin, present(backends))
        self._errors: Dict[Branch, RpcError] = {}

    def on_message(self, branch: Branch, body: bytes) -> None:
        """It says nothing."""

    def on_end(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> None:
        """Answers when the last one is done."""
        if self._over:
            return
        if error is not None:
            self._errors[branch] = error
        if all(other.done for other in self.branches):
            self._answer()

    def _answer(self) -> None:
        # In the order of the runtimes, whoever was first to answer: the code is then the primary's if it failed.
        failed = [branch for branch in self.branches if branch in self._errors]
        if failed:
            text = "\n".join(f"{branch.backend}: {self._errors[branch]}" for branch in failed)
            self.fail(RpcError(self._errors[failed[0]].code, text))
            return
        self.answer_empty()
