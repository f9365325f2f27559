"""The form of a row that says what a peer may do to us and what comes of it, and how it is tried.

A row names the states of our end that it holds in (`STATES`), the bytes that come, and the reaction, in words:

- ``connection CODE``: a connection error (RFC 9113, section 5.4.1): GOAWAY, and nothing more is read;
- ``stream CODE``: a stream error (5.4.2): RST_STREAM on stream 1, and the connection goes on;
- ``ignored``: nothing is told and nothing is sent;
- otherwise what is told (``headers``, ``data``, ``reset`` …, with ``END_STREAM`` where it has that flag) and, behind an
  arrow, what is sent.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterable, List, NamedTuple, Tuple

import pytest
from http2_reference import (
    ACK,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    REQUEST,
    RESPONSE,
    RST_STREAM,
    SETTINGS,
    TRAILERS,
    WINDOW_UPDATE,
    client,
    frame,
    headers,
    number,
    sent,
    server,
    settings,
)

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcknowledged,
    Sent,
    SettingsReceived,
    StreamReset,
)
from criproxy.http2.headers import Spelling, encode

STREAM_WINDOW = 20_000
"""What a peer may send on a stream here, bytes."""


def _serving(wire: bytes = b"") -> Connection:
    connection = server(stream_window=STREAM_WINDOW)
    connection.receive(wire)
    return connection


def _asking(wire: bytes = b"", ended: bool = False) -> Connection:
    connection = client(stream_window=STREAM_WINDOW)
    connection.sender.headers(connection.open_stream(), encode(REQUEST), ended)
    connection.receive(wire)
    return connection


def _served() -> Connection:
    connection = _serving(headers(1, REQUEST, True))
    connection.sender.headers(1, encode(RESPONSE + TRAILERS), True)
    return connection


def _reset(connection: Connection) -> Connection:
    connection.reset(1, ErrorCode.CANCEL)
    return connection


def _gone(connection: Connection) -> Connection:
    connection.go_away()
    return connection


_PEER_RESETS = frame(RST_STREAM, 0, 1, number(8))
_ANSWER = headers(1, RESPONSE)

STATES: Dict[str, Callable[[], Connection]] = {
    "a server before the preface": lambda: Connection(False),
    "a server after the preface": lambda: _begun(False, PREFACE),
    "a client before SETTINGS": lambda: Connection(True),
    "a server that has a table yet": lambda: _begun(False, PREFACE + settings()),
    "a server": _serving,
    "a server that cuts heads": lambda: server(volatile=Spelling(b"grpc-timeout")),
    "a server, stream 1 open": lambda: _serving(headers(1, REQUEST)),
    "a server, stream 1 half-closed (remote)": lambda: _serving(headers(1, REQUEST, True)),
    "a server, stream 1 closed": _served,
    "a server, stream 1 reset by us": lambda: _reset(_serving(headers(1, REQUEST))),
    "a server, stream 1 reset by the peer": lambda: _serving(headers(1, REQUEST) + _PEER_RESETS),
    "a server, stream 5 open, 1 and 3 never used": lambda: _serving(headers(5, REQUEST)),
    "a server, going away": lambda: _gone(_serving(headers(1, REQUEST))),
    "a client": client,
    "a client, request 1 sent": lambda: _asking(ended=True),
    "a client, answer 1 begun": lambda: _asking(_ANSWER, True),
    "a client, answer 1 over before its request": lambda: _asking(_ANSWER + headers(1, TRAILERS, True)),
    "a client, stream 1 closed": lambda: _asking(_ANSWER + headers(1, TRAILERS, True), True),
    "a client, stream 1 reset by us": lambda: _reset(_asking(ended=True)),
    "a client, going away": lambda: _gone(_asking(ended=True)),
}


def _begun(is_client: bool, wire: bytes) -> Connection:
    connection = Connection(is_client)
    connection.receive(wire)
    return connection


SERVER, CLIENT = ("a server, stream 1 open",), ("a client, answer 1 begun",)
BOTH = (*SERVER, *CLIENT)
ASKED = ("a client, request 1 sent",)
BEFORE = ("a server after the preface", "a client before SETTINGS")
CLOSED = ("a server, stream 1 closed", "a client, stream 1 closed")
RESET = ("a server, stream 1 reset by us", "a client, stream 1 reset by us")
HALF_CLOSED = ("a server, stream 1 half-closed (remote)", "a client, answer 1 over before its request")
IDLE = ("a server", "a client")
CUTTING = ("a server that cuts heads",)
TABLE, NO_TABLE = ("a server that has a table yet",), ("a server",)


class Row(NamedTuple):
    """What a peer does. ``section``: of RFC 9113 unless it names another; where we differ from it, it says so."""

    section: str
    what: str
    states: Tuple[str, ...]
    wire: bytes
    reaction: str


_WORDS: Dict[type, str] = {
    HeadersReceived: "headers",
    DataReceived: "data",
    StreamReset: "reset",
    Sent: "sent",
    SettingsReceived: "settings",
    PingAcknowledged: "ping acknowledged",
    GoAwayReceived: "goaway",
}
_FRAMES = {SETTINGS: "SETTINGS", PING: "PING", WINDOW_UPDATE: "WINDOW_UPDATE", HEADERS: "HEADERS", DATA: "DATA"}


def _told(event: Event) -> str:
    return _WORDS[type(event)] + (" END_STREAM" if getattr(event, "end_stream", False) else "")


def _check_goaway(connection: Connection, fault: ConnectionFault) -> None:
    last = sent(connection)[-1]
    assert (last.kind, last.payload[4:8]) == (GOAWAY, number(fault.code))
    assert last.payload[8:] == str(fault).encode()[:256]
    assert connection.going_away


def reaction_of(connection: Connection, wire: bytes) -> str:
    """What our end makes of these bytes, in the words of a row."""
    connection.data_to_send()
    known = connection.knows(1)
    try:
        events = connection.receive(wire)
    except ConnectionFault as fault:
        _check_goaway(connection, fault)
        return f"connection {fault.code.name}"
    found = sent(connection)
    errors = [each for each in found if each.kind == RST_STREAM]
    told = [_told(event) for event in events]
    if errors:
        (error,) = errors
        assert error.stream_id == 1
        assert not connection.knows(1)
        code = int.from_bytes(error.payload, "big")
        if events and events[-1] == StreamReset(1, code):
            told.pop()
        else:
            assert not known, "the end of a stream that is known is told"
        told.append(f"stream {ErrorCode(code).name}")
    answers = [_FRAMES[each.kind] + (" ACK" if each.flags & ACK else "") for each in found if each.kind != RST_STREAM]
    assert connection.greeted or not told, "nothing is told before the handshake is over"
    return ", ".join(told + [f"-> {answer}" for answer in answers]) or "ignored"


def goes_on(connection: Connection) -> bool:
    """Whether the connection still answers."""
    connection.receive((b"" if connection.greeted else settings()) + frame(PING, 0, 0, bytes(8)))
    return (PING, ACK, 0, bytes(8)) in sent(connection)


def cases(rows: Iterable[Row]) -> pytest.MarkDecorator:
    """Each row in each of its states, as parameters ``row`` and ``state``."""
    found: List[Tuple[Row, str]] = [(row, state) for row in rows for state in row.states]
    ids = [f"{row.section.partition(':')[0]} {row.what} ({state})" for row, state in found]
    assert len(set(ids)) == len(ids)
    return pytest.mark.parametrize(("row", "state"), found, ids=ids)


def check(row: Row, state: str) -> None:
    """Tries a row in a state."""
    connection = STATES[state]()
    assert reaction_of(connection, row.wire) == row.reaction
    if not row.reaction.startswith("connection"):
        assert goes_on(connection)
