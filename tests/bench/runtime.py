"""A CRI runtime that costs as little as it can: every answer is made before the first call.

    python -m tests.bench.runtime SOCKET

It stands on criproxy's own ``http2`` and ``transport``: what makes these faster makes direct calls faster, too.

A list that never changes is the best case for whoever remembers the one before, so a request for containers with a
filter in it (any, such as `CHANGING`) is answered by a list of which one container is another each time.
"""

from __future__ import annotations

import gc
import socket
import sys
import traceback
from typing import Any, Dict, List, Tuple

from criproxy.cri.messages import api
from criproxy.http2.connection import Connection
from criproxy.http2.events import DataReceived, Event, HeadersReceived
from criproxy.http2.grpc import OK_TRAILERS, PREFIX_SIZE, RESPONSE_HEADERS, prefix
from criproxy.http2.headers import encode
from criproxy.relay.loop import Loop
from criproxy.relay.transport import Transport

CONTAINERS = 1_000
ID = "c" * 64
CHANGING: bytes = api()["ListContainersRequest"](filter={"label_selector": {"bench": "changing"}}).SerializeToString()
"""The request that gets a list which is another each time."""
_IMAGE = "docker.io/library/busybox:1"
_IMAGE_ID = "sha256:" + "0" * 64
_POD = "d" * 64
_REVISION = b"revision-00000000"
"""Stands in the first container's annotations once, and is counted up in lists that change."""
_HEAD = 4096
"""So many bytes of a list are made anew when it changes; the revision is among them."""
_PACKAGES = ("runtime.v1", "runtime.v1alpha2")
_UNIMPLEMENTED = RESPONSE_HEADERS + encode(((b"grpc-status", b"12"),))


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
    found.image.image = _IMAGE
    found.image_ref = found.image_id = _IMAGE_ID
    found.log_path = "/var/log/pods/kube-system_bench/bench/0.log"
    found.labels.update(_labels("bench"))
    found.annotations["filler"] = "x" * (1_700 - answer.ByteSize() - 18)
    return answer


def containers() -> Any:
    """The answer to ListContainers, with what containerd says of each: 1 kB."""
    answer: Any = api()["ListContainersResponse"]()
    for number in range(CONTAINERS):
        found = answer.containers.add(id=f"{number:064x}", pod_sandbox_id=_POD)
        found.metadata.name = "bench"
        found.image.image = _IMAGE
        found.image_ref = found.image_id = _IMAGE_ID
        found.state = 1
        found.created_at = 1_700_000_000_000_000_000
        found.labels.update(_labels("bench"))
        if not number:
            found.annotations["revision"] = _REVISION.decode()
        found.annotations["filler"] = "x" * (1_000 - found.ByteSize() - 18)
    return answer


def answers() -> Dict[bytes, bytes]:
    """Each path's answer: a gRPC message with its prefix."""
    messages = api()
    version: Any = messages["VersionResponse"]
    made = {
        "Version": version(version="0.1.0", runtime_name="bench", runtime_version="1", runtime_api_version="v1"),
        "Status": messages["StatusResponse"](),
        "ContainerStatus": status(),
        "ListContainers": containers(),
        "ListPodSandbox": messages["ListPodSandboxResponse"](),
    }
    bodies = {name: message.SerializeToString() for name, message in made.items()}
    return {
        f"/{package}.RuntimeService/{name}".encode(): prefix(len(body)) + body
        for package in _PACKAGES
        for name, body in bodies.items()
    }


class _Changing:
    """A list as its pieces: a small one that is made anew each time, and the rest, which is never copied."""

    def __init__(self, whole: bytes) -> None:
        self._head, self._rest = whole[:_HEAD], whole[_HEAD:]
        assert self._head.count(_REVISION) == 1
        self._number = 0

    def pieces(self) -> Tuple[bytes, bytes]:
        """The next list."""
        self._number += 1
        return self._head.replace(_REVISION, b"revision-%08d" % (self._number % 100_000_000)), self._rest


class _Peer:
    """One connection."""

    def __init__(self, loop: Loop, sock: socket.socket, made: Dict[bytes, bytes], changing: _Changing) -> None:
        self._made = made
        self._changing = changing
        self._paths: Dict[int, bytes] = {}
        self._connection = Connection(client=False)
        self._transport = Transport(loop, sock, self._connection, self._on_events, lambda reason: None)

    def _on_events(self, events: List[Event]) -> None:
        for event in events:
            if isinstance(event, HeadersReceived):
                self._paths[event.stream_id] = event.block.get(b":path") or b""
                if event.end_stream:
                    self._answer(event.stream_id, b"")
            elif isinstance(event, DataReceived) and event.end_stream:
                self._answer(event.stream_id, event.data)
        self._transport.flush_soon()

    def _answer(self, stream_id: int, request: bytes) -> None:
        path = self._paths.pop(stream_id)
        answer = self._made.get(path)
        if answer is None:
            self._connection.send_headers(stream_id, _UNIMPLEMENTED, True)
            return
        self._connection.send_headers(stream_id, RESPONSE_HEADERS)
        if len(request) > PREFIX_SIZE and path.endswith(b"/ListContainers"):
            for piece in self._changing.pieces():
                self._connection.send_data(stream_id, piece)
        else:
            self._connection.send_data(stream_id, answer)
        self._connection.send_headers(stream_id, OK_TRAILERS, True)


def main() -> None:
    """Serves until it is killed."""
    made = answers()
    changing = _Changing(made[b"/runtime.v1.RuntimeService/ListContainers"])
    loop = Loop(lambda error: traceback.print_exception(type(error), error, error.__traceback__))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(100)

    def accept(events: int) -> None:
        sock, _ = listener.accept()
        sock.setblocking(False)
        _Peer(loop, sock, made, changing)

    loop.watch(listener.fileno(), accept)
    gc.collect()
    gc.freeze()
    loop.run()


if __name__ == "__main__":
    main()
