"""A kubelet that never stops calling, to see whether a call is ever refused.

It speaks HTTP/2 by itself. gRPC's own client, when GOAWAY and the end of a connection come together, tries again on the
connection that is gone until the call's deadline; h2 does not read on after GOAWAY.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import h2.config
import h2.connection
import hpack

from tests.containerd.service import PATIENCE, eventually

_REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/runtime.v1.RuntimeService/Version"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
_EMPTY = bytes(5)
"""A message without fields."""
_FRAME_HEAD = 9
_HEADERS, _GOAWAY = 1, 7


class Refused(Exception):
    """A call has not been answered, and whoever made it could not know whether to make it again."""


class Caller:
    """Calls as long as the ``with`` lasts, one call after the other, each over a connection of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call_on)
        self.answered = 0
        self.refused: List[str] = []

    def __enter__(self) -> Caller:
        self._thread.start()
        self.await_more()
        return self

    def __exit__(self, *_: object) -> None:
        self.await_more()
        self._ended.set()
        self._thread.join()

    def await_more(self) -> None:
        """Comes back when another call that begins now has been answered, or any has been refused."""
        goal = self.answered + 2
        assert eventually(lambda: self.answered >= goal or self.refused, bool), "no call is answered"

    def _call_on(self) -> None:
        while not self._ended.is_set():
            try:
                while not _call(self._socket):
                    continue
                self.answered += 1
            except (OSError, Refused) as error:
                self.refused.append(repr(error))


def _call(path: str) -> bool:
    """Makes a call. False: it has to be made again, as HTTP/2 lets a server that goes away say (RFC 9113, 6.8)."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    connection.send_headers(1, _REQUEST)
    connection.send_data(1, _EMPTY, end_stream=True)
    fields: Dict[str, str] = {}
    decoder, goes_away = hpack.Decoder(), False
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        with suppress(BrokenPipeError):  # what the server has said before it closed can still be read
            sock.sendall(connection.data_to_send())
        for kind, payload in _frames(sock):
            if kind == _HEADERS:
                fields.update({str(name): str(value) for name, value in decoder.decode(payload)})
            if kind == _GOAWAY:
                goes_away = not int.from_bytes(payload[:4], "big")
            if "grpc-status" in fields:
                break
    if goes_away and not fields:
        return False
    if fields.get("grpc-status") != "0":
        raise Refused(f"the answer is {fields}")
    return True


def _frames(sock: socket.socket) -> Iterator[Tuple[int, bytes]]:
    """The types and payloads of the frames that come until the connection ends."""
    data = b""
    while True:
        while len(data) >= _FRAME_HEAD and len(data) >= (end := _FRAME_HEAD + int.from_bytes(data[:3], "big")):
            yield data[3], data[_FRAME_HEAD:end]
            data = data[end:]
        received = b""
        with suppress(ConnectionResetError):  # it has been closed before all that we sent was read
            received = sock.recv(65536)
        if not received:
            return
        data += received
