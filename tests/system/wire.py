"""Peers that say on the wire what a test wants said: a runtime and a client made of PyPI's h2 on plain sockets."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import h2.config
import h2.connection
import h2.errors
import h2.events
from h2.exceptions import ProtocolError, StreamClosedError
from peers import PATIENCE, message_class

Fields = Sequence[Tuple[str, str]]

HEAD: Fields = ((":status", "200"), ("content-type", "application/grpc"))
OK: Fields = (("grpc-status", "0"),)
VERSION = "/runtime.v1.RuntimeService/Version"


def message(body: bytes) -> bytes:
    """A message as it stands in data."""
    return b"\0" + len(body).to_bytes(4, "big") + body


class Peer:
    """One connection. What has arrived is in ``events``; what is to be said is said by the methods."""

    def __init__(self, sock: socket.socket, client: bool, settings: Optional[Dict[int, int]] = None) -> None:
        # What h2 would set right or refuse is what a test may want to say.
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.events: List[Any] = []
        self.closed = False
        self._sock = sock
        self._h2 = h2.connection.H2Connection(config)
        self._changed = threading.Condition(threading.RLock())
        self._h2.initiate_connection()
        if settings:
            self._h2.update_settings(settings)
        self._h2.increment_flow_control_window(2**24)
        self._flush()

    def run(self, on_event: Callable[[Any], None] = lambda event: None) -> None:
        """Reads until the connection is over."""
        with suppress(OSError):
            while True:
                data = self._sock.recv(65536)
                if not data:
                    break
                with self._changed:
                    try:
                        events = self._h2.receive_data(data)
                    except ProtocolError:
                        break
                    self._flush()
                    self.events.extend(events)
                    self._changed.notify_all()
                for event in events:
                    on_event(event)
        with self._changed:
            self.closed = True
            self._changed.notify_all()
        self._sock.close()

    def head(self, stream: int, fields: Fields = HEAD, end: bool = False) -> None:
        """Sends a field block."""
        with self._changed:
            self._h2.send_headers(stream, list(fields), end)
            self._flush()

    def data(self, stream: int, data: bytes, end: bool = False) -> None:
        """Sends data, in frames as large as may be; the windows must have room for it."""
        with self._changed:
            for at in range(0, max(1, len(data)), 16384):
                self._h2.send_data(stream, data[at : at + 16384], end and at + 16384 >= len(data))
            self._flush()
            # Somebody may wait for there to be no room.
            self._changed.notify_all()

    def answer(self, stream: int, *bodies: bytes, trailers: Fields = OK) -> None:
        """Sends a whole answer."""
        self.head(stream)
        for body in bodies:
            self.data(stream, message(body))
        self.head(stream, trailers, True)

    def send(self, stream: int, data: bytes, end: bool = False) -> None:
        """Sends data as the windows let it; not for the thread that reads."""
        at = 0
        while at < len(data):
            room = self.wait_until(lambda: self.room(stream))
            self.data(stream, data[at : at + room], end and at + room >= len(data))
            at += room

    def reset(self, stream: int, code: int) -> None:
        """Sends RST_STREAM."""
        with self._changed, suppress(StreamClosedError):  # the peer may have been first
            self._h2.reset_stream(stream, code)
            self._flush()

    def grant(self, stream: int, size: int) -> None:
        """Sends WINDOW_UPDATE."""
        with self._changed:
            self._h2.increment_flow_control_window(size, stream or None)
            self._flush()

    def set(self, settings: Dict[int, int]) -> None:
        """Sends SETTINGS."""
        with self._changed:
            self._h2.update_settings(settings)
            self._flush()

    def raw(self, data: bytes) -> None:
        """Sends bytes that h2 does not know of."""
        with self._changed:
            self._sock.sendall(data)

    def room(self, stream: int) -> int:
        """How much data the peer takes now."""
        with self._changed:
            return max(0, self._h2.local_flow_control_window(stream))

    def hang_up(self) -> None:
        """Closes the connection."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _flush(self) -> None:
        self._sock.sendall(self._h2.data_to_send())

    def wait_until(self, what: Callable[[], Any]) -> Any:
        """Waits until something is so, and gives it."""
        with self._changed:
            found = self._changed.wait_for(what, PATIENCE)
        assert found, f"has not happened; what has: {self.events}"
        return found

    def of(self, stream: int, *kinds: Any) -> List[Any]:
        """The events of a stream that are of these kinds."""
        return [e for e in self.events if isinstance(e, kinds) and e.stream_id == stream]

    def wait_for_reset(self, stream: int) -> int:
        """Waits for a stream to be reset; gives the error code."""
        return int(self.wait_until(lambda: self.of(stream, h2.events.StreamReset))[0].error_code)


class WireRuntime:
    """A runtime of which ``behave`` decides what it says: called with each request that is whole, `Version` of v1
    excepted, unless ``probed`` decides on that, too (and on other versions'; they are unimplemented otherwise)."""

    name = "wire"

    def __init__(
        self,
        path: str,
        behave: Callable[[Peer, int, str], None],
        probed: Optional[Callable[[Peer, int, str], None]] = None,
        settings: Optional[Dict[int, int]] = None,
        on_head: Callable[[Peer, Any], None] = lambda peer, event: None,
    ) -> None:
        self.path = path
        self.peers: List[Peer] = []
        self.requests: List[str] = []
        self._behave = behave
        self._probed = probed
        self._settings = settings
        self._on_head = on_head
        self._changed = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        paths: Dict[int, str] = {}
        with suppress(OSError):
            peer = Peer(sock, False, self._settings)
            self.peers.append(peer)

            def on_event(event: Any) -> None:
                if isinstance(event, h2.events.RequestReceived):
                    headers: Any = dict(event.headers)
                    paths[event.stream_id] = headers[":path"]
                    self._on_head(peer, event)
                elif isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    peer.grant(0, event.flow_controlled_length)
                elif isinstance(event, h2.events.StreamEnded):
                    with suppress(ProtocolError):  # the stream may be over by now
                        self._on_request(peer, event.stream_id, paths.pop(event.stream_id))

            peer.run(on_event)

    def _on_request(self, peer: Peer, stream: int, path: str) -> None:
        if path.endswith("/Version"):
            (self._probed or answer_version)(peer, stream, path)
            return
        self._behave(peer, stream, path)
        with self._changed:
            self.requests.append(path.rpartition("/")[2])
            self._changed.notify_all()

    def wait_for(self, method: str, count: int = 1) -> None:
        """Waits until so many requests of a method have been dealt with."""
        with self._changed:
            there = self._changed.wait_for(lambda: self.requests.count(method) >= count, PATIENCE)
        assert there, f"{method} has not come: {self.requests}"

    def stop(self) -> None:
        """Goes away."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            peer.hang_up()
        if os.path.exists(self.path):
            os.unlink(self.path)


def answer_version(peer: Peer, stream: int, path: str) -> None:
    """Speaks v1 alone."""
    if path == VERSION:
        fields = {"version": "0.1.0", "runtime_name": "wire", "runtime_version": "1", "runtime_api_version": "v1"}
        peer.answer(stream, message_class("runtime.v1", "VersionResponse")(**fields).SerializeToString())
    else:
        peer.head(stream, (*HEAD, ("grpc-status", "12")), True)


class WireClient(Peer):
    """A client of the proxy."""

    def __init__(self, path: str, settings: Optional[Dict[int, int]] = None) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        super().__init__(sock, True, settings)
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()

    def open(self, name: str, *fields: Tuple[str, str], end: bool = False, **replaced: str) -> int:
        """Sends the head of a request; ``replaced`` are pseudo-headers without their colon, or the content type."""
        with self._changed:
            stream = self._h2.get_next_available_stream_id()
            head = {
                ":method": replaced.get("method", "POST"),
                ":scheme": "http",
                ":path": replaced.get("path", f"/runtime.v1.RuntimeService/{name}"),
                ":authority": "localhost",
                "content-type": replaced.get("content_type", "application/grpc"),
                "te": "trailers",
            }
            self.head(stream, [*head.items(), *fields], end)
        return stream

    def ask(self, method: str, body: bytes = b"", *fields: Tuple[str, str]) -> int:
        """Sends a whole request."""
        with self._changed:
            stream = self.open(method, *fields)
            self.data(stream, message(body), True)
        return stream

    def end_of(self, stream: int) -> Dict[str, str]:
        """Waits for the end of an answer; gives its trailers, or the only block it has."""
        ends = (h2.events.StreamEnded, h2.events.StreamReset)
        self.wait_until(lambda: self.closed or self.of(stream, *ends))
        assert self.of(stream, h2.events.StreamEnded), self.of(stream, h2.events.StreamReset) or "it is closed"
        blocks = self.of(stream, h2.events.ResponseReceived, h2.events.TrailersReceived)
        return dict(blocks[-1].headers)

    def status_of(self, stream: int) -> int:
        """Waits for the end of an answer; gives its ``grpc-status``."""
        return int(self.end_of(stream)["grpc-status"])

    def body_of(self, stream: int) -> bytes:
        """The data of an answer, as far as it is there."""
        return b"".join(event.data for event in self.of(stream, h2.events.DataReceived))

    def close(self) -> None:
        """Hangs up, and waits for the connection to be over."""
        self.hang_up()
        self._thread.join(PATIENCE)
