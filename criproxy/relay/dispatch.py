"""What a request becomes: its method's row says which strategy takes it. Nobody else knows them all."""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Final, Iterator, List, Mapping, Optional, Sequence, Set, Union

from criproxy.cri.identity import Names
from criproxy.cri.methods import METHODS, Method, To
from criproxy.cri.verify import AT_ONCE
from criproxy.http2.grpc import PREFIX_SIZE, Code, Compressed, Message, Reader, RpcError, held_by, is_one_message
from criproxy.http2.headers import Block
from criproxy.relay import facts
from criproxy.relay.context import Context
from criproxy.relay.events import Events
from criproxy.relay.images import (
    Broadcast,
    FirstHolder,
    InCommon,
    MergedStream,
    PulledOrThere,
    any_failure,
    failed_removal,
)
from criproxy.relay.inquiry import Inquiry
from criproxy.relay.lists import StreamedList, UnaryList
from criproxy.relay.loop import Timer
from criproxy.relay.memory import Memories
from criproxy.relay.owners import UnknownOwner
from criproxy.relay.presence import Presence
from criproxy.relay.request import Request
from criproxy.relay.response import Call, Downstream, Held, Response
from criproxy.relay.routing import Route, plan_of
from criproxy.relay.runtime import Runtime
from criproxy.relay.single import Single
from criproxy.relay.status import Status

Strategy = Union[UnaryList, StreamedList, MergedStream, FirstHolder, InCommon, PulledOrThere, Broadcast, Events, Status]
_SCATTERED: Final = {row.name for row in METHODS.values() if row.to in (To.EVENTS, To.CONNECTED, To.STATUS)}
"""The methods of which even a call for one runtime is no `Single`."""
_UNTIMED: Final = (To.EVENTS, To.PULLED_OR_THERE)
"""What takes as long as it takes."""
Make = Callable[[Response, Method, List[Runtime], Downstream], Strategy]


class Dispatcher:
    """Makes calls of requests.

    ``serving`` gives the runtimes by their names, for calls of a service; ``info`` what the proxy says of itself, JSON.
    """

    def __init__(
        self,
        context: Context,
        memories: Memories,
        serving: Callable[[str], Mapping[Names, Runtime]],
        info: Callable[[], str],
    ) -> None:
        self.lasting: Set[Events] = set()
        """Calls that do not end by themselves."""
        self._calls = 0
        """How many there have been."""
        self._context = context
        self._memories = memories
        self._serving = serving
        self._info = info
        self._strategies: Dict[To, Make] = {
            To.EVENTS: self._events,
            To.CONNECTED: self._broadcast,
            To.STATUS: self._status,
            To.ALL: self._list,
            To.FIRST_HOLDER: self._first_holder,
            To.ALL_HOLDERS: self._removal,
            To.IN_COMMON: self._in_common,
            To.PULLED_OR_THERE: self._pulled_or_there,
        }
        """For several runtimes; a call for one of them is a `Single`."""
        self._presence = Presence(context.clock)

    def dispatch(self, downstream: Downstream, stream_id: int, block: Block, end: bool) -> None:
        """Makes a call of a request's head; ``end``: nothing else comes of the request."""
        plan = plan_of(block.head)
        self._calls += 1
        request = Request(self._context.clock, block, plan, self._calls)
        if plan.refusal is not None:
            Response(self._context, downstream, stream_id, request, end).fail(plan.refusal)
        elif plan.method is None:
            self._pass_through(downstream, stream_id, request, end)
        else:
            incoming = _Incoming(self, downstream, stream_id, request)
            downstream.calls[stream_id] = incoming
            if end:
                incoming.on_request(b"", 0, True)

    def _pass_through(self, downstream: Downstream, stream_id: int, request: Request, end: bool) -> None:
        primary = self._context.router.runtimes.primary
        response = Response(self._context, downstream, stream_id, request, False)
        response.targets = (primary,)
        call = Single(self._context, response, self._serving(request.plan.service)[primary], self._memories.note_change)
        downstream.calls[stream_id] = call
        call.start(None)
        if end:
            call.on_request(b"", 0, True)

    def begin(self, downstream: Downstream, stream_id: int, request: Request, owner: Optional[Names] = None) -> None:
        """Starts the call of a request that is whole. Raises RpcError if it cannot go anywhere.

        ``owner``: whose its id is, if that had to be asked.
        """
        row = request.plan.method
        assert row is not None  # a call of a method without a row is passed through
        response = Response(self._context, downstream, stream_id, request)
        router = self._context.router
        try:
            route = (
                self._logged_route(row, request, owner) if response.logged else router.route(row, request.body, owner)
            )
        except UnknownOwner as unknown:
            self._inquire(downstream, stream_id, request, unknown)
            return
        response.targets = route.targets
        serving = self._serving(request.plan.service)
        if not route.targets:
            response.answer_empty()
        elif route.to is None and len(route.targets) == 1 and not (row.name in _SCATTERED and self._is_scattered(row)):
            single = Single(self._context, response, serving[route.targets[0]], self._memories.note_change)
            downstream.calls[stream_id] = single
            single.start(route.body)
        else:
            runtimes = [serving[names] for names in route.targets]
            to = route.to or row.to
            strategy = self._strategies[to](response, row, runtimes, downstream)
            downstream.calls[stream_id] = strategy.scatter
            strategy.scatter.start(route.body, to not in _UNTIMED)

    def _is_scattered(self, row: Method) -> bool:
        return row.to is not To.STATUS or self._context.router.rules.status

    def _inquire(self, downstream: Downstream, stream_id: int, request: Request, unknown: UnknownOwner) -> None:
        """Begins the call as soon as it is known whose its id is."""
        serving = self._serving(request.plan.service)

        def found(runtime: Runtime, has_it: bool) -> None:
            names = runtime.names
            if has_it:
                self._context.router.owners.note(names, unknown.id)
            try:
                self.begin(downstream, stream_id, request, names)
            except RpcError as error:
                failed(error)

        def failed(error: RpcError) -> None:
            Response(self._context, downstream, stream_id, request).fail(error)

        asked = [serving[names] for names in self._context.router.runtimes.unprefixed]
        inquiry = Inquiry(self._context, request, unknown, asked, found, failed)
        downstream.calls[stream_id] = inquiry
        inquiry.start()

    def _logged_route(self, row: Method, request: Request, owner: Optional[Names]) -> Route:
        """Logs the request, which may turn out to be for nobody. One that waits until it is known whose its id is, is
        logged then."""
        targets: Sequence[Names] = ()
        try:
            route = self._context.router.route(row, request.body, owner)
            targets = route.targets
        except RpcError:
            self._log_request(row, request, targets)
            raise
        self._log_request(row, request, targets)
        return route

    def _log_request(self, row: Method, request: Request, targets: Sequence[Names]) -> None:
        about = partial(facts.of_call, self._context.known, request.number, request.plan, targets, request.body)
        self._context.log.enter(request.plan.path, row.rpc.request, request.body, about)

    def _events(self, response: Response, row: Method, runtimes: List[Runtime], downstream: Downstream) -> Strategy:
        return Events(self._context, response, runtimes, downstream, self.lasting, self._memories.note_change)

    def _broadcast(self, response: Response, row: Method, runtimes: List[Runtime], downstream: Downstream) -> Strategy:
        return Broadcast(self._context, response, runtimes, any_failure, False)

    def _status(self, response: Response, row: Method, runtimes: List[Runtime], downstream: Downstream) -> Strategy:
        return Status(self._context, response, runtimes, self._info)

    def _first_holder(
        self, response: Response, row: Method, runtimes: List[Runtime], downstream: Downstream
    ) -> Strategy:
        return FirstHolder(self._context, response, runtimes)

    def _in_common(self, response: Response, row: Method, runtimes: List[Runtime], downstream: Downstream) -> Strategy:
        return InCommon(self._context, response, runtimes, self._presence)

    def _pulled_or_there(
        self, response: Response, row: Method, runtimes: List[Runtime], downstream: Downstream
    ) -> Strategy:
        return PulledOrThere(self._context, response, runtimes[0], self._presence)

    def _removal(self, response: Response, row: Method, runtimes: List[Runtime], downstream: Downstream) -> Strategy:
        return Broadcast(self._context, response, runtimes, failed_removal, True)

    def _list(self, response: Response, row: Method, runtimes: List[Runtime], downstream: Downstream) -> Strategy:
        merge = self._context.router.merge(row)
        if not row.rpc.server_streaming:
            return UnaryList(self._context, response, runtimes, merge, self._memories)
        if merge is not None:
            return MergedStream(self._context, response, runtimes, merge)
        return StreamedList(self._context, response, runtimes, self._memories)


class _Incoming(Call):
    """A call whose request is still on its way in. As soon as that is whole, the call it is for takes its place."""

    __slots__ = ("_dispatcher", "_downstream", "_message", "_reader", "_request", "_stream_id", "_work")

    def __init__(self, dispatcher: Dispatcher, downstream: Downstream, stream_id: int, request: Request) -> None:
        self._dispatcher = dispatcher
        self._downstream = downstream
        self._stream_id = stream_id
        self._request = request
        self._message: Optional[Message] = None
        self._work: Optional[Timer] = None
        self._reader: Optional[Reader] = None

    def on_request(self, data: bytes, size: int, end: bool) -> None:
        """Collects the one message that a request to a known method is."""
        dispatcher = self._dispatcher
        try:
            # All of a small request is in one frame, as a rule: nothing to collect then.
            limit = dispatcher._context.config.max_message_size
            whole = end and self._reader is None and is_one_message(data)
            if whole and len(data) <= AT_ONCE and len(data) - PREFIX_SIZE <= limit:
                self._request.body = data[PREFIX_SIZE:]
            elif not self._collect(data, size, end, limit):
                return
            dispatcher.begin(self._downstream, self._stream_id, self._request)
        except RpcError as error:
            self._fail(error, end)

    def _fail(self, error: RpcError, end: bool) -> None:
        Response(self._dispatcher._context, self._downstream, self._stream_id, self._request, end).fail(error)

    def _collect(self, data: bytes, size: int, end: bool, limit: int) -> bool:
        """Takes another piece; says whether the request is there. Raises RpcError if it is none."""
        path = self._request.plan.path
        if self._reader is None:
            self._reader = Reader(limit)
            self._reader.encoding = self._request.block.get(b"grpc-encoding") or b"identity"
        for message in self._reader.feed(data):
            if self._message is not None:
                raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: {path} takes one message, not several")
            self._message = message
        if not end:
            self._downstream.consumed(self._stream_id, size)
            return False
        if self._message is None or not self._reader.idle:
            raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: {path} takes one message; the request has none")
        if isinstance(self._message, Compressed) or len(self._message) > AT_ONCE:
            self._work = self._dispatcher._context.clock.work(self._prepare(self._message))
            return False
        self._request.body = self._message
        return True

    def held(self) -> Held:
        """What has come of the request."""
        collected = 0 if self._reader is None else self._reader.held
        return Held(collected + held_by(self._message))

    def _prepare(self, message: Message) -> Iterator[None]:
        """What takes long with a large request before its call begins."""
        row = self._request.plan.method
        assert row is not None  # a call of a method without a row is passed through
        try:
            body = (yield from message.steps()) if isinstance(message, Compressed) else message
            yield from self._dispatcher._context.router.check(row, body)
            self._request.body = body
            self._dispatcher.begin(self._downstream, self._stream_id, self._request)
        except RpcError as error:
            self._fail(error, True)

    def on_sent(self, size: int) -> None:
        """Nothing has been sent yet."""

    def cancel(self) -> None:
        """No runtime has been asked yet."""
        self._request.ended(self._dispatcher._context, Code.CANCELLED)
        if self._work is not None:
            self._work.cancel()
