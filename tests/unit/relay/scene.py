"""A node in memory: kubelet, the relay, and the runtimes, with a clock of the test's (playbook.py)."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from playbook import ClockLoop, FakeRuntime, Peer, socketpair

from criproxy.cri.identity import RETIRING, RuntimeHandler, Runtimes
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS
from criproxy.http2.events import DataReceived, HeadersReceived, StreamReset
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, Code, Reader, plain, prefix, request_head, unpercent
from criproxy.http2.headers import encode
from criproxy.relay.context import Context
from criproxy.relay.dispatch import Dispatcher
from criproxy.relay.downstream import DownstreamConnection
from criproxy.relay.memory import Memories
from criproxy.relay.pods import Pods
from criproxy.relay.routing import Router, Rules
from criproxy.relay.runtime import Runtime
from criproxy.relay.upstream import LIVENESS_TIMEOUT
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput

PRIMARY, ALT = "", "alt.test"


class _Runtime(FakeRuntime):
    """Only the question for its version is answered by itself."""

    QUESTIONS = (b"Version",)


class Answer(NamedTuple):
    """What kubelet has got on a stream so far."""

    heads: int
    bodies: List[bytes]
    code: Optional[int]
    text: str
    metadata: Dict[bytes, bytes]
    reset: Optional[int]


def wire_of(code: int, text: str = "", *fields: Tuple[bytes, bytes]) -> bytes:
    """Trailers."""
    return encode(((b"grpc-status", b"%d" % code), (b"grpc-message", text.encode()), *fields))


def message(name: str, **fields: Any) -> bytes:
    """A serialized message of the CRI."""
    serialized: bytes = api()[name](**fields).SerializeToString()
    return serialized


class Node:
    """Kubelet and the runtimes of ``ids`` (the primary's is empty), all of which are connected at first."""

    def __init__(self, ids: Sequence[str] = (PRIMARY, ALT), verbosity: int = 0, **settings: Any) -> None:
        self.loop = ClockLoop()
        self.text = io.StringIO()
        self.lost: List[str] = []
        """The ids of the runtimes whose sockets nobody serves."""
        self.deaf: List[str] = []
        """The ids of those that read nothing on a new connection."""
        self.served: Dict[str, _Runtime] = {}
        defaults = {"connection_timeout": 5.0, "fan_out_timeout": 5.0, "absence_grace": 0.0, "max_message_size": 10_000}
        self.config: Any = SimpleNamespace(**{**defaults, **settings})
        log = Log(verbosity, StreamOutput(self.text))
        self.context = Context(self.config, self.loop.real, log, self.router(ids))
        self.memories = Memories(self.context)
        names = self.context.router.runtimes
        self.runtimes = {
            each.runtime: Runtime(self.loop.real, log, each, each.runtime, self._on_change, dial=self._dial)
            for each in (names.primary, *names.others)
        }
        self.dispatcher = Dispatcher(self.context, self.memories, lambda _: self._serving(), lambda: "{}")
        for runtime in self.runtimes.values():
            if not runtime.primary:
                self.memories.keep(runtime, True)
            runtime.connect()
        self.clients: List[DownstreamConnection] = []
        self.connect()

    def connect(self) -> None:
        """Kubelet connects, anew if it has been connected."""
        ours, theirs = socketpair(self.loop)
        self.downstream = DownstreamConnection(
            self.loop.real, self.context.log, ours, self.dispatcher.dispatch, lambda _: None, self._forget
        )
        self.clients.append(self.downstream)
        self.kubelet = Peer(self.loop, theirs, client=True)
        self.loop.settle()

    def _forget(self, downstream: DownstreamConnection) -> None:
        self.clients.remove(downstream)

    def router(self, ids: Sequence[str], handlers: Sequence[RuntimeHandler] = ()) -> Router:
        """A router for runtimes of these ids, among which may be the retiring one."""
        alternatives = [id for id in ids[1:] if id != RETIRING]
        return Router(Runtimes(alternatives, handlers, RETIRING in ids), lambda: "http://node:1", Pods(), Rules())

    def forget_owners(self) -> None:
        """As after a restart."""
        self.context.router = self.router([*self.runtimes])
        names = self.context.router.runtimes
        for each in (names.primary, *names.others):
            self.runtimes[each.runtime].rename(each)

    def _serving(self) -> Any:
        names = self.context.router.runtimes
        return {each: self.runtimes[each.runtime] for each in (names.primary, *names.others)}

    def _dial(self, path: str) -> Any:
        if path in self.lost:
            raise ConnectionRefusedError(111, "connection refused")
        ours, theirs = socketpair(self.loop)
        theirs.deaf = path in self.deaf
        self.served[path] = _Runtime(self.loop, theirs)
        return ours

    def _on_change(self, runtime: Runtime) -> None:
        for call in list(self.dispatcher.lasting):
            call.follow(runtime)
        self.memories.follow(runtime)

    def lose(self, id: str) -> None:
        """A runtime ends."""
        self.lost.append(id)
        self.served[id].close()

    def find(self, id: str) -> None:
        """It is started again."""
        self.lost.remove(id)
        self.loop.advance(0.3)

    def silence(self, id: str) -> None:
        """A runtime hangs, and that is found out."""
        self.served[id].sock.deaf = True
        upstream = self.runtimes[id].available
        assert upstream is not None
        upstream.check_liveness()
        self.loop.advance(LIVENESS_TIMEOUT)

    def move(self, id: str) -> None:
        """A runtime ends its connection, and does not answer on the next one yet."""
        self.loop.advance(1)
        self.deaf.append(id)
        self.served[id].connection.go_away()
        self.served[id].say()

    def arrive(self, id: str) -> None:
        """It does."""
        self.deaf.remove(id)
        self.served[id].sock.deaf = False
        self.loop.settle()

    # Kubelet.

    def call(self, method: str, end: bool = True, **fields: Any) -> int:
        """Kubelet calls a method; gives the stream."""
        rpc = METHODS[method].rpc
        return self.call_path(f"/runtime.v1.{rpc.service}/{method}", message(rpc.request, **fields), end)

    def open(self, method: str) -> int:
        """Kubelet begins a call; gives the stream, on which data follows."""
        stream_id = self.kubelet.connection.open_stream()
        wire = request_head(f"/runtime.v1.{METHODS[method].rpc.service}/{method}").wire
        self.kubelet.connection.sender.headers(stream_id, wire)
        self.kubelet.say()
        return stream_id

    def call_path(self, path: str, body: bytes, end: bool = True) -> int:
        """Kubelet calls a path."""
        connection = self.kubelet.connection
        stream_id = connection.open_stream()
        connection.sender.headers(stream_id, request_head(path).wire)
        connection.sender.data(stream_id, prefix(len(body)) + body, end)
        self.kubelet.say()
        return stream_id

    def answer(self, stream_id: int) -> Answer:
        """What has come on a stream."""
        reader = Reader(1 << 30)
        bodies: List[bytes] = []
        heads, code, text, reset = 0, None, "", None
        metadata: Dict[bytes, bytes] = {}
        for event in self.kubelet.events:
            if getattr(event, "stream_id", None) != stream_id:
                continue
            if isinstance(event, HeadersReceived):
                heads += not event.end_stream
                metadata.update((name, value) for name, value in event.block.fields)
                if event.end_stream:
                    code = int(event.block.get(b"grpc-status") or b"-1")
                    text = unpercent(event.block.get(b"grpc-message") or b"")
            elif isinstance(event, DataReceived):
                bodies += map(plain, reader.feed(event.data))
                self.kubelet.connection.consumed(stream_id, event.size)
            elif isinstance(event, StreamReset):
                reset = event.code
        return Answer(heads, bodies, code, text, metadata, reset)

    def listed(self, stream_id: int, method: str, field: str) -> List[str]:
        """The ids in what has come on the stream of a list."""
        bodies = b"".join(self.answer(stream_id).bodies)
        answer: Any = api()[METHODS[method].rpc.response].FromString(bodies)
        return [entry.id for entry in getattr(answer, field)]

    # The runtimes.

    def asked(self, id: str, method: str) -> List[int]:
        """The streams on which a runtime has been asked."""
        return [
            event.stream_id
            for event in self.served[id].heard(HeadersReceived)
            if (event.block.get(b":path") or b"").endswith(b"/" + method.encode())
        ]

    def send(self, id: str, method: str, *bodies: bytes, head: bytes = RESPONSE_HEADERS) -> None:
        """A runtime answers the last call of a method, but for the end."""
        stream_id, connection = self.asked(id, method)[-1], self.served[id].connection
        if head:
            connection.sender.headers(stream_id, head)
        for body in bodies:
            connection.sender.data(stream_id, prefix(len(body)) + body)
        self.served[id].say()

    def end(self, id: str, method: str, trailers: bytes = OK_TRAILERS) -> None:
        """A runtime ends the last call of a method."""
        self.served[id].connection.sender.headers(self.asked(id, method)[-1], trailers, True)
        self.served[id].say()

    def give(self, id: str, method: str, *bodies: bytes) -> None:
        """A runtime answers the last call of a method with success."""
        self.send(id, method, *bodies)
        self.end(id, method)

    def refuse(self, id: str, method: str, code: int, text: str = "", *fields: Tuple[bytes, bytes]) -> None:
        """A runtime refuses the last call of a method."""
        self.end(id, method, RESPONSE_HEADERS + wire_of(code, text, *fields))

    def resets(self, id: str) -> List[int]:
        """The streams that the relay has reset at a runtime."""
        return [event.stream_id for event in self.served[id].heard(StreamReset)]


UNIMPLEMENTED, UNAVAILABLE, INTERNAL = int(Code.UNIMPLEMENTED), int(Code.UNAVAILABLE), int(Code.INTERNAL)
