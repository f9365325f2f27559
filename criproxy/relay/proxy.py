"""What belongs together: kubelet's connections, the runtimes, and what their calls share."""

from __future__ import annotations

import os
import socket
from typing import Callable, Collection, Dict, Final, List, Mapping, Optional, Sequence, Tuple

from criproxy import __version__
from criproxy.config import Config
from criproxy.cri.identity import Names
from criproxy.cri.selector import RouteRule
from criproxy.http2.grpc import Code, RpcError
from criproxy.memory_limit import LARGEST_DEFAULT
from criproxy.relay import facts
from criproxy.relay.account import Account
from criproxy.relay.clients import Clients, most_clients
from criproxy.relay.configured import router_of, settle
from criproxy.relay.context import Context
from criproxy.relay.dispatch import Dispatcher
from criproxy.relay.downstream import DownstreamConnection
from criproxy.relay.failures import absence_of
from criproxy.relay.inventory import Inventory
from criproxy.relay.known import Known
from criproxy.relay.listener import Listener
from criproxy.relay.loop import Loop
from criproxy.relay.memory import Absence, Memories
from criproxy.relay.peer import peer_of
from criproxy.relay.pods import Pods
from criproxy.relay.probe import IMAGE_SERVICE, RUNTIME_SERVICE, Service
from criproxy.relay.routing import Router
from criproxy.relay.runtime import Runtime
from criproxy.relay.statistics import CallStatistics
from criproxy.relay.status import about
from criproxy.relay.tracing import Tracing
from criproxy.report.log import STATES, Log
from criproxy.report.ratelimit import RateLimit

_SHOWN_PODS: Final = 10
"""Pods that a record names; the others are counted, so that the record stays readable."""
SETTLING_TIME: Final = 1.0
"""How long connections wait for it to be known of each runtime whether it is there, seconds."""


class Proxy:
    """The relay between one listening socket and the runtimes of a configuration.

    ``stream_url`` gives the address for a streaming URL that is only a path; ``on_change`` is called whenever `state`
    or `ready` may have changed. ``memory_limit``: the limit where the configuration has none, bytes.
    """

    def __init__(
        self,
        config: Config,
        loop: Loop,
        log: Log,
        stream_url: Callable[[Config], str],
        on_change: Callable[[], None] = lambda: None,
        memory_limit: int = LARGEST_DEFAULT,
    ) -> None:
        self._config = config
        self._loop = loop
        self._log = log
        self._stream_url = stream_url
        self._tell_change = on_change
        self._listener: Optional[Listener] = None
        self._faults = RateLimit(loop)
        self._drained: Optional[Callable[[], None]] = None
        self._clients = Clients(loop, log, lambda: most_clients(len(self._everyone)), self._let_in)
        self._runtimes: Dict[Names, Runtime] = {}
        self._of_images: Mapping[Names, Runtime] = {}
        """The runtimes for calls of the ImageService: the primary's may be at another socket."""
        self._everyone: List[Runtime] = []
        self._pods = Pods(self._runtime_of_pod)
        self._context = Context(config, loop, log, self._router())
        self._memories = Memories(self._context)
        self.inventory = Inventory(self._context)
        self._dispatcher = Dispatcher(self._context, self._memories, self._serving, self._info)
        self._account = Account(
            loop,
            log,
            lambda: self._config.memory_limit or memory_limit,
            lambda: self._clients.connected,
            lambda: self._everyone,
            self._memories,
            lambda: (self._context.known, *self._context.router.answers.kept),
        )
        self._arrange()

    def _router(self) -> Router:
        return router_of(self._config, lambda: self._stream_url(self._config), self._pods)

    def _runtime_of_pod(self, uid: bytes, attempt: int) -> str:
        """The id of the runtime that this sandbox of a pod is on by the lists that there are; nothing if by none."""
        remembered = self._memories.runtime_of_pod(uid, attempt)
        id = None if remembered else self._context.known.sandbox(uid, attempt)
        return remembered if id is None else self._context.router.runtime_of(id)

    def _arrange(self) -> None:
        """Makes a runtime of each of the configuration's that there is none of yet."""
        # One that retires, or is taken back, keeps its connection: neither the primary's names nor its have a prefix.
        there = {(each.service, _prefix(each.names), each.path): each for each in self._everyone}
        config, names = self._config, self._context.router.runtimes

        def runtime_at(path: str, names: Names, service: Service = RUNTIME_SERVICE) -> Runtime:
            runtime = there.get((service, _prefix(names), path))
            if runtime is not None:
                runtime.rename(names)
            else:
                runtime = Runtime(self._loop, self._log, names, path, self._on_change, service)
            self._memories.keep(runtime, not runtime.primary)
            return runtime

        paths = [*(runtime.path for runtime in config.runtimes), config.retiring]
        everyone = (names.primary, *names.others)
        self._runtimes = {each: runtime_at(path, each) for each, path in zip(everyone, paths)}
        self._of_images = self._runtimes
        if config.image_service:
            image_service = runtime_at(config.image_service, names.primary, IMAGE_SERVICE)
            self._of_images = {**self._runtimes, names.primary: image_service}
        self._everyone = list(dict.fromkeys((self._primary, self._image_service, *self._runtimes.values())))

    @property
    def _primary(self) -> Runtime:
        return self._runtimes[self._context.router.runtimes.primary]

    @property
    def _image_service(self) -> Runtime:
        """Who has the primary runtime's images: itself, or another socket."""
        return self._of_images[self._context.router.runtimes.primary]

    def _serving(self, service: str) -> Mapping[Names, Runtime]:
        """The runtimes by their names, for calls of this service; of an ImageService the primary's may be elsewhere."""
        return self._of_images if service == IMAGE_SERVICE.name else self._runtimes

    def _info(self) -> str:
        """What the proxy says of itself, without the call that asks, as JSON."""
        import json  # nobody but a person asks for it

        runtimes = [{"id": each.names.runtime, **about(each)} for each in self._runtimes.values()]
        info = {"version": __version__, "callsInFlight": self.under_way - 1, "runtimes": runtimes}
        if self._image_service is not self._primary:
            info["imageService"] = about(self._image_service)
        return json.dumps(info)

    @property
    def runtimes(self) -> Sequence[Runtime]:
        """All runtimes, the primary first; its image service, if that is elsewhere, is one, too."""
        return self._everyone

    @property
    def clients(self) -> Collection[DownstreamConnection]:
        """All connections of clients."""
        return self._clients.connected

    @property
    def calls(self) -> CallStatistics:
        """What kubelet's calls, and those of others, have come to."""
        return self._context.statistics

    @property
    def tracing(self) -> Tracing:
        """Those who watch calls as they end."""
        return self._context.tracing

    @property
    def known(self) -> Known:
        """What people call the pods and containers of calls."""
        return self._context.known

    @property
    def drained_runtimes(self) -> Collection[str]:
        """The ids of the runtimes that get no new pods."""
        return self._context.router.drained

    @property
    def routes(self) -> Sequence[RouteRule]:
        """The rules by which new pods go to alternative runtimes."""
        return self._context.router.placement.rules

    def absence(self, runtime: Runtime) -> Optional[Absence]:
        """What is remembered for a runtime that is away; None if nothing is, or it is there."""
        return self._memories.absence(runtime)

    def remembered(self, runtime: Runtime) -> int:
        """The memory that is taken by what a runtime has listed last, and by what comes of a list now, bytes."""
        return self._memories.held(runtime)

    @property
    def account(self) -> Account:
        """The memory that is held."""
        return self._account

    @property
    def ready(self) -> bool:
        """Whether connections are taken, and it is known whether the primary runtime is there."""
        return self._listener is not None and self._listener.is_open and self._primary.known

    @property
    def state(self) -> str:
        """Each runtime's state, in one line."""
        return "; ".join(map(self._state_of, self._everyone))

    def _state_of(self, runtime: Runtime) -> str:
        drained = " (drained)" if runtime.names.runtime in self.drained_runtimes else ""
        return f"{runtime.title}{drained} {runtime.path}: {runtime.summary}"

    def start(self, sock: socket.socket) -> None:
        """Looks for the runtimes, and takes connections on a listening socket.

        Whoever connects before each runtime is found, or found not to be there, waits in the socket's queue for a
        while: a list without the pods of a runtime that we have only not asked yet would make kubelet think that they
        are gone.
        """
        self._listener = Listener(self._loop, self._log, sock, self._on_connection)
        self._loop.call_later(SETTLING_TIME, self._open)
        for runtime in self._everyone:
            runtime.connect()

    def _on_connection(self, sock: socket.socket) -> None:
        dispatch, peer = self._dispatcher.dispatch, peer_of(sock)
        if self._log.enabled(STATES):
            self._log.info(f"connection of a client ({sock.fileno()}): made by {peer}")
        downstream = DownstreamConnection(
            self._loop, self._log, sock, dispatch, self._end_lasting, self._forget, peer, self.calls.traffic
        )
        self._clients.come(downstream)

    def _let_in(self, more: bool) -> None:
        """Whether more clients are to be accepted."""
        if self._listener is not None:
            self._listener.pause(not more)

    def _open(self) -> None:
        if self._listener is not None and not self._listener.is_open:
            self._listener.open()
            self._tell_change()

    def reload(self, config: Config) -> None:
        """Takes another configuration. Runtimes that are in both are not touched, nor are their calls.

        A runtime that is removed may end the calls that it has. Endless streams end where the runtimes or their
        handlers are others now: those that are begun anew have them.
        """
        before, self._config = self._config, config
        self._context.config = config
        settle(self._context.router, config)
        self._memories.follow_all()
        old = self._everyone
        renamed = _naming(config) != _naming(before)
        if not renamed:
            return
        if _pods_of(config) != _pods_of(before):
            for call in list(self._dispatcher.lasting):
                call.fail(RpcError(Code.UNAVAILABLE, "criproxy: the runtimes or their handlers are others now"))
        self._context.router = self._router()
        known = {runtime: runtime.names.runtime for runtime in old}
        self._arrange()
        still = [runtime for runtime in old if runtime in self._everyone and runtime.names.runtime != known[runtime]]
        self._pods.rename({known[runtime]: runtime.names.runtime for runtime in still})
        for runtime in old:
            if runtime not in self._everyone:
                self._warn_of_pods(runtime, self._everyone)
                self._memories.remove(runtime)
                runtime.retire()
        for runtime in self._everyone:
            if runtime in old:
                # What it has listed may have other names now.
                self._memories.note_change(runtime)
            else:
                runtime.connect()
        self._tell_change()

    def _warn_of_pods(self, runtime: Runtime, runtimes: Sequence[Runtime]) -> None:
        """Says which pods a runtime has that is not in the configuration any more, or now at another socket."""
        pods = self._memories.pods(runtime)
        if not pods:
            return
        now = next((other.path for other in runtimes if other.names.runtime == runtime.names.runtime), None)
        if now is not None and os.path.realpath(now) == os.path.realpath(runtime.path):
            return
        shown = ", ".join(pods[:_SHOWN_PODS])
        more = f" and {len(pods) - _SHOWN_PODS} more" if len(pods) > _SHOWN_PODS else ""
        what, unless = ("is removed", "") if now is None else (f"moves to {now}", "unless they are found there, ")
        self._log.warning(
            f"{runtime} ({runtime.path}) {what} and still has {len(pods)} {'pod' if len(pods) == 1 else 'pods'}:"
            f" {shown}{more}; {unless}they run on unseen by kubelet: to delete them configure the runtime as before",
            lambda: (facts.of_runtime(runtime.names),),
        )

    def drain(self, seconds: float, done: Callable[[], None]) -> None:
        """Takes no more connections and calls; ``done`` is called when those under way are over, or after a time."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        self._drained = done
        self._loop.call_later(seconds, self._give_up)
        for downstream in list(self._clients.connected):
            downstream.drain()
        self._finish_if_drained()

    def _end_lasting(self, downstream: DownstreamConnection) -> None:
        """Ends the calls of a connection that would not end by themselves."""
        for call in list(self._dispatcher.lasting):
            if call.downstream is downstream:
                call.fail(RpcError(Code.UNAVAILABLE, "criproxy: it is being stopped"))

    def _forget(self, downstream: DownstreamConnection) -> None:
        """A connection of kubelet's is gone."""
        if downstream.fault:
            self._faults.say(self._log.warning, f"{downstream} is cut off: {downstream.fault}")
        self._clients.go(downstream)
        self._finish_if_drained()

    def _finish_if_drained(self) -> None:
        if self._drained is not None and not self._clients.connected:
            done, self._drained = self._drained, None
            for records in (self._faults, self._context.faults, self._context.refusals):
                records.finish()
            for runtime in self._everyone:
                self._memories.remove(runtime)
                runtime.stop()
            done()

    @property
    def under_way(self) -> int:
        """How many calls have not ended yet."""
        return sum(len(downstream.calls) for downstream in self._clients.connected)

    def _give_up(self) -> None:
        if self._drained is not None and self.under_way:
            self._log.warning(f"calls cut off because they did not end in time: {self.under_way}")
        for downstream in list(self._clients.connected):
            downstream.transport.close("criproxy stops")

    def _on_change(self, runtime: Runtime) -> None:
        """A runtime is there, or is not there any more."""
        for call in list(self._dispatcher.lasting):
            call.follow(runtime)
        self._memories.follow(runtime)
        if runtime.there:
            self._tell_of_failed(runtime)
        if all(each.known for each in self._everyone):
            self._open()
        self._tell_change()

    def _tell_of_failed(self, runtime: Runtime) -> None:
        """Says how many more calls have failed than are in the log, since a runtime has not been there.

        The primary's calls are counted together, though some are for another socket.
        """
        if not all(each.there for each in self._everyone if each.names is runtime.names):
            return
        count = self._context.faults.settle(absence_of(runtime.names))
        if count:
            runtime.tell(
                f"{runtime} ({runtime.path}): {count} more {'call' if count == 1 else 'calls'} failed without it"
            )


def _prefix(names: Names) -> str:
    """What the names of a runtime's ids begin with, for kubelet."""
    return names.runtime if names.prefixed else ""


def _pods_of(config: Config) -> Tuple[object, ...]:
    """The part of the configuration that says which pods there are, and how kubelet asks for more."""
    return (config.runtimes, config.retiring, config.handlers)


def _naming(config: Config) -> Tuple[object, ...]:
    """The part of the configuration that sets the names of ids and images, and which runtime they belong to."""
    return (
        config.runtimes,
        config.image_service,
        config.retiring,
        config.handlers,
        config.image_prefix,
        config.digests,
        config.status,
    )
