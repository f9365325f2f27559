"""Events of a runtime that has none: what has changed in it, found by listing it again and again."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Iterable, List, Optional, Set, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.changes import (
    Change,
    Pod,
    Status,
    compare,
    container_status,
    events,
    last_status,
    listed_status,
    pod_status,
    snapshot,
)
from criproxy.cri.filter import CONTAINERS, PODS
from criproxy.cri.identity import Names
from criproxy.cri.methods import METHODS
from criproxy.cri.rewrite import VIEWS
from criproxy.relay.ask import Answer, Ask
from criproxy.relay.backend import Backend, Link
from criproxy.relay.grpc import Code, RpcError
from criproxy.relay.loop import Timer

if TYPE_CHECKING:
    from criproxy.relay.proxy import Proxy

_ABOUT = "GetContainerEvents"
_AT_ONCE = 16
"""Statuses that are asked for at once."""

_Ask = Callable[[str, bytes, Callable[[Answer], None]], None]
"""Calls a method with a serialized request; the last is told the answer."""


class Poll:
    """Looks at one runtime again and again, and tells what has changed.

    ``tell`` gets each event (ContainerEventResponse, serialized) with the names that kubelet knows; ``may_tell`` says
    whether kubelet takes more.

    It begins with nothing known, so that all there is becomes events: kubelet may have made something before our first
    look, and to hear of it twice does no harm. What it knows it keeps while it rests: a runtime that is not there has
    not lost its pods.
    """

    def __init__(
        self, proxy: Proxy, backend: Backend, tell: Callable[[bytes], None], may_tell: Callable[[], bool]
    ) -> None:
        self._proxy = proxy
        self._backend = backend
        self._tell = tell
        self._may_tell = may_tell
        self._link: Optional[Link] = None
        self._timer: Optional[Timer] = None
        self._asks: Set[Ask] = set()
        self._known: Dict[bytes, Pod] = {}
        """What has been told of, as it was then."""
        self._statuses: Dict[bytes, Status] = {}
        """The last status of each pod sandbox that is known."""
        self._seen: Optional[Tuple[bytes, bytes]] = None
        """The last lists of which all has been told."""
        self._found: Dict[bytes, Pod] = {}
        self._left: Deque[Change] = deque()
        """What this look has found and not told yet."""
        self._whole = True
        """Whether this look has told all that it has found."""

    def go_on(self) -> None:
        """Looks at the runtime from now on, as long as it is there."""
        if self._timer is None and not self._asks:
            self._look()

    def rest(self) -> None:
        """Does nothing more until `go_on`; what is under way is given up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asks, self._asks = self._asks, set()
        for ask in asks:
            ask.cancel()

    def _look(self) -> None:
        self._timer = None
        self._link = self._backend.available
        if self._link is None:
            return  # When it is found again it is asked first whether it has events by now.
        if self._may_tell():
            self._ask("ListPodSandbox", b"", self._on_pods)
        else:
            self._look_later()

    def _look_later(self) -> None:
        seconds = self._proxy.config.event_poll
        # A reload may have ended the looking.
        if seconds:
            self._timer = self._proxy.loop.call_later(seconds, self._look)

    @property
    def _may_go_on(self) -> bool:
        """Whether this look can still find and tell something."""
        return self._link is self._backend.available and self._may_tell()

    def _ask(self, method: str, request: bytes, done: Callable[[Answer], None]) -> None:
        link, config = self._link, self._proxy.config
        assert link is not None  # a look has one

        def on_answer(answer: Answer) -> None:
            self._asks.discard(ask)
            if isinstance(answer, RpcError) and answer.code is Code.DEADLINE_EXCEEDED:
                link.ask_for_life()
            done(answer)

        ask = Ask(link, self._proxy.router, method, request, config.fan_out_timeout, config.max_message_size, on_answer)
        self._asks.add(ask)

    def _on_pods(self, pods: Answer) -> None:
        if isinstance(pods, RpcError):
            self._fail(pods)
        elif self._may_go_on:
            # The containers after the pods: what is in a pod that has not been listed is new, and is for the next look.
            self._ask("ListContainers", b"", partial(self._on_lists, pods))
        else:
            self._look_later()

    def _on_lists(self, pods: bytes, containers: Answer) -> None:
        if isinstance(containers, RpcError):
            self._fail(containers)
            return
        if self._seen == (pods, containers):
            self._look_later()
            return
        self._remember(pods, containers)
        try:
            self._found = snapshot(pods, containers)
        except DecodeError as error:
            self._fail(RpcError(Code.INTERNAL, f"criproxy: a list does not parse: {error}"))
            return
        self._left = deque(compare(self._known, self._found))
        self._whole = True
        self._seen = None
        self._tell_next((pods, containers))

    def _remember(self, pods: bytes, containers: bytes) -> None:
        """Kubelet, which reads events, lists rarely: what we have listed can stand in for a runtime that is away."""
        known = self._proxy.last_known.get(self._backend)
        if known is not None:
            known.came(PODS, b"", pods)
            known.came(CONTAINERS, b"", containers)

    def _tell_next(self, lists: Tuple[bytes, bytes]) -> None:
        """Goes on to the next pod of which there is something to tell."""
        while self._left and self._may_go_on:
            change = self._left.popleft()
            pod = self._found.get(change.pod)
            if pod is not None:
                # Kubelet takes the younger of two statuses: ours is at least as young as this.
                done = partial(self._on_statuses, lists, change, pod, time.time_ns())
                _Statuses(self._ask, self._backend.names, change.pod, pod.containers, done)
                return
            del self._known[change.pod]
            self._tell_all(change, time.time_ns(), last_status(self._statuses.pop(change.pod)), ())
        if self._whole and not self._left:
            self._seen = lists
            self._backend.well(_ABOUT)
        self._look_later()

    def _on_statuses(
        self, lists: Tuple[bytes, bytes], change: Change, pod: Pod, created_at: int, statuses: _Statuses
    ) -> None:
        if statuses.error is not None:
            # What has not been told now is a change for the next look, too.
            self._whole = False
            self._complain(statuses.error)
        else:
            status = self._statuses.get(change.pod) if statuses.of_pod is None else statuses.of_pod
            self._statuses[change.pod] = listed_status(pod) if status is None else status
            self._known[change.pod] = pod
            self._tell_all(change, created_at, self._statuses[change.pod], statuses.of_containers)
        self._tell_next(lists)

    def _tell_all(self, change: Change, created_at: int, status: Status, containers: Iterable[Status]) -> None:
        for event in events(change, created_at, status, containers):
            self._tell(event)

    def _fail(self, error: RpcError) -> None:
        self._complain(error)
        self._look_later()

    def _complain(self, error: RpcError) -> None:
        if self._link is self._backend.available:
            text = f"changes of {self._backend} cannot be told as events: {error.code.name}: {error}"
            self._backend.complain(_ABOUT, text)


class _Statuses:
    """The statuses of a pod sandbox and its containers, as far as there are any; ``done`` is told when they are there.

    A few are asked for at a time. If one cannot be had, ``error`` says why.
    """

    def __init__(
        self,
        ask: _Ask,
        names: Names,
        pod: bytes,
        containers: Iterable[bytes],
        done: Callable[[_Statuses], None],
    ) -> None:
        self.error: Optional[RpcError] = None
        self._ask = ask
        self._names = names
        self._pod = pod
        self._containers = tuple(containers)
        self._found: Dict[bytes, Status] = {}
        self._done = done
        self._wanted = deque(self._containers)
        self._under_way = 0
        self._begin("PodSandboxStatus", partial(self._on_answer, pod_status, pod), pod_sandbox_id=pod)
        self._go_on()

    @property
    def of_pod(self) -> Optional[Status]:
        """The pod sandbox's, if it has one."""
        return self._found.get(self._pod)

    @property
    def of_containers(self) -> List[Status]:
        """The containers', in their order."""
        return [self._found[container] for container in self._containers if container in self._found]

    def _go_on(self) -> None:
        while self._wanted and self._under_way < _AT_ONCE:
            container = self._wanted.popleft()
            done = partial(self._on_answer, container_status, container)
            self._begin("ContainerStatus", done, container_id=container)
        if not self._under_way:
            self._done(self)

    def _begin(self, method: str, done: Callable[[Answer], None], **fields: bytes) -> None:
        inner: Dict[str, Any] = {field: self._names.inner_id(name) for field, name in fields.items()}
        request: bytes = VIEWS[METHODS[method].rpc.request](**inner).SerializeToString()
        self._under_way += 1
        self._ask(method, request, done)

    def _on_answer(self, read: Callable[[bytes], Optional[Status]], name: bytes, answer: Answer) -> None:
        self._under_way -= 1
        if isinstance(answer, RpcError):
            self._on_error(answer)
        else:
            try:
                status = read(answer)
            except DecodeError as error:
                self._on_error(RpcError(Code.INTERNAL, f"criproxy: a status does not parse: {error}"))
            else:
                if status is not None:
                    self._found[name] = status
        self._go_on()

    def _on_error(self, error: RpcError) -> None:
        """What is not there any more has no status; anything else is a failure, and there is no more to ask for."""
        if error.code is not Code.NOT_FOUND:
            self.error = error
            self._wanted.clear()
