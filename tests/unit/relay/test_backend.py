"""A connection to a runtime that is at its end, or silent."""

from __future__ import annotations

import io
import socket
import tempfile
from pathlib import Path
from typing import List, Optional

from criproxy.cri.identity import Runtimes
from criproxy.http2.connection import Connection, HeadersReceived
from criproxy.relay.backend import Backend, Link
from criproxy.relay.grpc import OK_TRAILERS, RESPONSE_HEADERS, prefix
from criproxy.relay.loop import Loop
from criproxy.relay.transport import Transport
from criproxy.report.log import Log
from criproxy.report.stream import Stream

LAST_STREAM = 2**31 - 1


class Leg:
    """A call that is content with anything."""

    link: Optional[Link] = None
    stream_id = 0

    def on_opened(self) -> None:
        """The request is on its way."""

    def on_reset(self, code: int) -> None:
        """It is no request, and the runtime says so."""


def serve(loop: Loop, listener: socket.socket) -> None:
    """Answers each call well, except for what a test asks for."""
    sock, _ = listener.accept()
    sock.setblocking(False)
    connection = Connection(False)

    def on_events(events: list) -> None:
        for event in events:
            if isinstance(event, HeadersReceived) and event.stream_id < LAST_STREAM:
                connection.send_headers(event.stream_id, RESPONSE_HEADERS)
                connection.send_data(event.stream_id, prefix(0))
                connection.send_headers(event.stream_id, OK_TRAILERS, True)
        transport.flush_soon()

    transport = Transport(loop, sock, connection, on_events, lambda reason: None)


def test_a_connection_that_has_had_all_its_streams_is_replaced() -> None:
    errors: List[BaseException] = []
    loop = Loop(errors.append)
    links: List[Link] = []

    def on_change(backend: Backend) -> None:
        if backend.link is not None:
            links.append(backend.link)
            loop.stop()

    with tempfile.TemporaryDirectory(prefix="criproxy-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(folder) / "runtime.sock")
        listener.bind(path)
        listener.listen()
        loop.watch(listener.fileno(), lambda events: serve(loop, listener))
        guard = loop.call_later(20, loop.stop)
        backend = Backend(loop, Log(0, Stream(io.StringIO())), Runtimes([]).primary, path, on_change)
        backend.connect()
        loop.run()
        assert links == [backend.available]
        links[0].connection._next_id = LAST_STREAM
        links[0].open(Leg(), RESPONSE_HEADERS, None)  # type: ignore[arg-type]
        assert backend.available is None
        loop.run()
        assert len(links) == 2
        assert backend.available is links[1]
        guard.cancel()
        backend.stop()
        loop.close()
    assert not errors


def test_who_asks_for_a_sign_of_life_is_told_of_silence_and_of_nothing_after_life() -> None:
    errors: List[BaseException] = []
    loop = Loop(errors.append)
    told: List[str] = []
    backend = Backend(loop, Log(0, Stream(io.StringIO())), Runtimes([]).primary, "", lambda backend: None)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        link = Link(backend, ours)

        def tell(what: str) -> None:
            told.append(what)
            loop.stop()

        guard = loop.call_later(20, loop.stop)
        link.ask_for_life(lambda: tell("answered"))
        link._on_life()
        link.ask_for_life(lambda: tell("silent"))
        loop.run()
        assert (told, link.silent) == (["silent"], True)
        link.ask_for_life(lambda: tell("silent already"))
        assert told == ["silent", "silent already"]
        guard.cancel()
        link.transport.close("")
        loop.close()
    assert not errors
