"""A CRI runtime that costs as little as it can: every answer is made before the first call.

python -m tests.bench.backend PATH
"""

from __future__ import annotations

import socket
import sys
import traceback
from typing import Dict, List

from criproxy.cri.messages import api
from criproxy.http2.connection import Connection, DataReceived, Event, HeadersReceived
from criproxy.http2.headers import encode
from criproxy.relay.loop import Loop
from criproxy.relay.transport import Transport

CONTAINERS = 1_000
ID = "c" * 64
_HEADERS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
HEADERS = encode(_HEADERS)
OK = encode(((b"grpc-status", b"0"),))
UNIMPLEMENTED = encode((*_HEADERS, (b"grpc-status", b"12")))


def answers() -> Dict[bytes, bytes]:
    """Each path's answer: a gRPC message with its prefix. A container is about 1 kB, its status 1.7 kB."""
    messages = api("runtime.v1")
    version = messages["VersionResponse"](
        version="0.1.0", runtime_name="bench", runtime_version="1", runtime_api_version="v1"
    )
    status = messages["ContainerStatusResponse"]()
    status.status.id = ID
    status.status.image.image = "docker.io/library/busybox:1"
    status.status.labels["filler"] = "x" * 1550
    containers = messages["ListContainersResponse"]()
    for number in range(CONTAINERS):
        container = containers.containers.add(id=f"{number:064}", pod_sandbox_id=f"{number:064}")
        container.metadata.name = "bench"
        container.image.image = "docker.io/library/busybox:1"
        container.image_ref = "sha256:" + "0" * 64
        container.labels["filler"] = "x" * 700
    made = {"Version": version, "ContainerStatus": status, "ListContainers": containers}
    return {f"/runtime.v1.RuntimeService/{name}".encode(): _framed(message) for name, message in made.items()}


def _framed(message: object) -> bytes:
    body: bytes = message.SerializeToString()  # type: ignore[attr-defined]
    return b"\0" + len(body).to_bytes(4, "big") + body


class _Peer:
    def __init__(self, loop: Loop, sock: socket.socket, made: Dict[bytes, bytes]) -> None:
        self._made = made
        self._paths: Dict[int, bytes] = {}
        self._connection = Connection(client=False)
        self._transport = Transport(loop, sock, self._connection, self._on_events, lambda reason: None)

    def _on_events(self, events: List[Event]) -> None:
        for event in events:
            if isinstance(event, HeadersReceived):
                self._paths[event.stream_id] = event.block.get(b":path") or b""
            if isinstance(event, (HeadersReceived, DataReceived)) and event.end_stream:
                self._answer(event.stream_id, self._made.get(self._paths.pop(event.stream_id)))
        self._transport.flush_soon()

    def _answer(self, stream_id: int, answer: object) -> None:
        if not isinstance(answer, bytes):
            self._connection.send_headers(stream_id, UNIMPLEMENTED, True)
            return
        self._connection.send_headers(stream_id, HEADERS)
        self._connection.send_data(stream_id, answer)
        self._connection.send_headers(stream_id, OK, True)


def main() -> None:
    """Serves until it is killed."""
    made = answers()
    loop = Loop(lambda error: traceback.print_exception(type(error), error, error.__traceback__))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(100)

    def accept(events: int) -> None:
        sock, _ = listener.accept()
        sock.setblocking(False)
        _Peer(loop, sock, made)

    loop.watch(listener.fileno(), accept)
    loop.run()


if __name__ == "__main__":
    main()
