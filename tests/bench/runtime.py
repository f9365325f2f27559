"""A CRI runtime that costs as little as it can: every answer is made before it is asked for.

    python -m tests.bench.runtime SOCKET

It stands on criproxy's own ``http2`` and ``transport``: what makes these faster makes direct calls faster, too.

What it lists, and how many events it sends, is told it beforehand at `TELL`, which is no method of the CRI: so each
list is asked for as kubelet does, without a filter, which is what a proxy may remember.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import time
import traceback
from typing import Any, Dict, List, Optional, Tuple

from criproxy.cri.messages import api
from criproxy.http2.connection import Connection
from criproxy.http2.events import DataReceived, Event, HeadersReceived, StreamReset
from criproxy.http2.grpc import OK_TRAILERS, PREFIX_SIZE, RESPONSE_HEADERS, prefix
from criproxy.http2.headers import encode
from criproxy.relay.loop import Loop
from criproxy.relay.transport import Transport

CONTAINERS = 1_000
"""In a list, unless it has been told otherwise."""
SAME, ONE, ALL = "same", "one", "all"
"""Which containers of a list are others than in the list before."""
ID = "c" * 64
REVISION = b"revision-00000000"
"""Stands in each container's annotations, and is counted up in lists that change."""
SERVICE = "/runtime.v1.RuntimeService/"
TELL = "/bench/Tell"
"""Takes JSON: ``containers`` and ``change``, or ``events`` (a second)."""
OUTPUT = 16 << 20
"""What ExecSync answers, bytes."""
IMAGE = "docker.io/library/busybox:1"
_IMAGE_ID = "sha256:" + "0" * 64
POD = "d" * 64
_PACKAGES = ("runtime.v1", "runtime.v1alpha2")
_UNIMPLEMENTED = RESPONSE_HEADERS + encode(((b"grpc-status", b"12"),))
_TELL, _LIST, _EVENTS = TELL.encode(), b"/ListContainers", b"/GetContainerEvents"
_TURN = 1e-3
"""Between two looks at which events are due, seconds."""


def _labels(name: str) -> Dict[str, str]:
    return {
        "io.kubernetes.container.name": name,
        "io.kubernetes.pod.name": f"{name}-5d78c9869d-x2lq7",
        "io.kubernetes.pod.namespace": "kube-system",
        "io.kubernetes.pod.uid": "0f7c4e1a-6a0d-4bd5-9a6e-2b1f0c3d4e5f",
    }


def status() -> Any:
    """The answer to ContainerStatus, 1.7 kB."""
    answer: Any = api()["ContainerStatusResponse"]()
    found = answer.status
    found.id = ID
    found.metadata.name = "bench"
    found.state = 1
    found.created_at = found.started_at = 1_700_000_000_000_000_000
    found.image.image = IMAGE
    found.image_ref = found.image_id = _IMAGE_ID
    found.log_path = "/var/log/pods/kube-system_bench/bench/0.log"
    found.labels.update(_labels("bench"))
    found.annotations["filler"] = "x" * (1_700 - answer.ByteSize() - 18)
    return answer


def containers(count: int) -> bytes:
    """The answer to ListContainers, with what containerd says of each: 1 kB."""
    answer: Any = api()["ListContainersResponse"]()
    found = answer.containers.add(id=ID, pod_sandbox_id=POD)
    found.metadata.name = "bench"
    found.image.image = IMAGE
    found.image_ref = found.image_id = _IMAGE_ID
    found.state = 1
    found.created_at = 1_700_000_000_000_000_000
    found.labels.update(_labels("bench"))
    found.annotations["revision"] = REVISION.decode()
    found.annotations["filler"] = "x" * (1_000 - found.ByteSize() - 18)
    # One by one by the library these would take a second.
    before, after = answer.SerializeToString().split(ID.encode())
    return b"".join(b"%b%064x%b" % (before, number, after) for number in range(count))


def answers() -> Dict[bytes, bytes]:
    """Each path's answer: a gRPC message with its prefix."""
    messages = api()
    version: Any = messages["VersionResponse"]
    made = {
        "Version": version(version="0.1.0", runtime_name="bench", runtime_version="1", runtime_api_version="v1"),
        "Status": messages["StatusResponse"](),
        "ContainerStatus": status(),
        "CreateContainer": messages["CreateContainerResponse"](container_id=ID),
        "ExecSync": messages["ExecSyncResponse"](stdout=b"x" * OUTPUT),
        "ListPodSandbox": messages["ListPodSandboxResponse"](),
    }
    bodies = {name: message.SerializeToString() for name, message in made.items()}
    return {
        f"/{package}.RuntimeService/{name}".encode(): prefix(len(body)) + body
        for package in _PACKAGES
        for name, body in bodies.items()
    }


class _Lists:
    """What ListContainers answers, as pieces, so that what is the same as before is never copied."""

    def __init__(self) -> None:
        self._number = 0
        self.tell(CONTAINERS, SAME)

    def tell(self, count: int, change: str) -> None:
        """What the next lists are to be."""
        body = containers(count)
        self._whole = prefix(len(body)) + body
        self._change = change
        self._parts = self._whole.split(REVISION)
        self._rest = REVISION.join(self._parts[1:])

    def next(self) -> Tuple[bytes, ...]:
        """The next list."""
        if self._change == SAME:
            return (self._whole,)
        self._number += 1
        revision = b"revision-%08d" % (self._number % 100_000_000)
        if self._change == ONE:
            return (self._parts[0] + revision, self._rest)
        return (revision.join(self._parts),)


class _Events:
    """So many events a second to everybody who reads them."""

    def __init__(self, loop: Loop) -> None:
        self.readers: Dict[Tuple[Connection, int], Transport] = {}
        self._loop = loop
        self._rate = 0.0
        self._began = 0.0
        self._sent = 0
        event: Any = api()["ContainerEventResponse"](container_id=ID)
        self._event = event
        pod = event.pod_sandbox_status
        pod.id = POD
        pod.metadata.name = "bench"
        pod.labels.update(_labels("bench"))

    def tell(self, rate: float) -> None:
        """How many are sent from now on; none at 0."""
        was, self._rate = self._rate, rate
        self._began, self._sent = time.monotonic(), 0
        if rate and not was:
            self._loop.call_later(_TURN, self._turn)

    def _turn(self) -> None:
        due = int((time.monotonic() - self._began) * self._rate)
        for _ in range(due - self._sent):
            self._send()
        self._sent = due
        if self._rate:
            self._loop.call_later(_TURN, self._turn)

    def _send(self) -> None:
        self._event.created_at = time.time_ns()
        body = self._event.SerializeToString()
        for (connection, stream_id), transport in self.readers.items():
            connection.sender.data(stream_id, prefix(len(body)) + body)
            transport.flush_soon()


class _Runtime:
    """What all connections share."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.lists = _Lists()
        self.events = _Events(loop)
        self.made = answers()

    def tell(self, containers: Optional[int] = None, change: str = SAME, events: Optional[float] = None) -> None:
        """What `TELL` has got."""
        if containers is not None:
            self.lists.tell(containers, change)
        if events is not None:
            self.events.tell(events)


class _Peer:
    """One connection."""

    def __init__(self, runtime: _Runtime, sock: socket.socket) -> None:
        self._runtime = runtime
        self._requests: Dict[int, Tuple[bytes, List[bytes]]] = {}
        """The path, and what has come of the message."""
        self._connection = Connection(client=False)
        self._transport = Transport(runtime.loop, sock, self._connection, self._on_events, self._on_closed)

    def _on_events(self, events: List[Event]) -> None:
        for event in events:
            if isinstance(event, HeadersReceived):
                self._requests[event.stream_id] = (event.block.get(b":path") or b"", [])
                if event.end_stream:
                    self._answer(event.stream_id)
            elif isinstance(event, DataReceived):
                self._connection.consumed(event.stream_id, event.size)
                self._requests[event.stream_id][1].append(event.data)
                if event.end_stream:
                    self._answer(event.stream_id)
            elif isinstance(event, StreamReset):
                self._requests.pop(event.stream_id, None)
                self._runtime.events.readers.pop((self._connection, event.stream_id), None)
        self._transport.flush_soon()

    def _on_closed(self, reason: str) -> None:
        readers = self._runtime.events.readers
        for key in [key for key in readers if key[0] is self._connection]:
            del readers[key]

    def _answer(self, stream_id: int) -> None:
        path, pieces = self._requests.pop(stream_id)
        parts = self._parts(path, pieces)
        if parts is None:
            self._connection.sender.headers(stream_id, _UNIMPLEMENTED, True)
            return
        self._connection.sender.headers(stream_id, RESPONSE_HEADERS)
        if path.endswith(_EVENTS):
            self._runtime.events.readers[self._connection, stream_id] = self._transport
            return
        for part in parts:
            self._connection.sender.data(stream_id, part)
        self._connection.sender.headers(stream_id, OK_TRAILERS, True)

    def _parts(self, path: bytes, pieces: List[bytes]) -> Optional[Tuple[bytes, ...]]:
        """The answer; none for a method that is not there."""
        made = self._runtime.made.get(path)
        if made is not None:
            return (made,)
        if path.endswith(_LIST):
            return self._runtime.lists.next()
        if path == _TELL:
            self._runtime.tell(**json.loads(b"".join(pieces)[PREFIX_SIZE:]))
            return (prefix(0),)
        return () if path.endswith(_EVENTS) else None


def main() -> None:
    """Serves until it is killed."""
    loop = Loop(lambda error: traceback.print_exception(type(error), error, error.__traceback__))
    runtime = _Runtime(loop)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(100)

    def accept(events: int) -> None:
        sock, _ = listener.accept()
        sock.setblocking(False)
        _Peer(runtime, sock)

    loop.watch(listener.fileno(), accept)
    gc.collect()
    gc.freeze()
    loop.run()


if __name__ == "__main__":
    main()
