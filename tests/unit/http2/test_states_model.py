"""Every state of a connection with one stream, and every frame and every use in each: what comes of it is what RFC 9113
lets come of it, and nothing is without an answer."""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, Hashable, List, Optional

import pytest
from explore import Graph, explore
from http2_reference import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    REQUEST,
    RESPONSE,
    RST_STREAM,
    SETTINGS,
    TRAILERS,
    WINDOW_UPDATE,
    data,
    frame,
    frames,
    headers,
    number,
    plain_block,
    settings,
)

from criproxy.http2.connection import Connection
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.headers import encode

MOST = 1_000
CANCEL = int(ErrorCode.CANCEL)
TOLD, IGNORED = "told", "ignored"
"""What comes of a frame, beside the name of an error that ends the stream, or, with a `!`, the connection."""
GONE = frozenset((IGNORED, "STREAM_CLOSED"))
"""Of a frame for a stream that is over. Whether it may have crossed a reset is not always known (section 5.1)."""


class Life:
    """One end of a connection, and a peer that sends frames on stream 1 whatever is right."""

    def __init__(self, client: bool) -> None:
        self.connection = Connection(client, clock=lambda: 0.0)
        self.fault: Optional[ErrorCode] = None
        self.came = ""
        """What has come of the last frame."""
        self.opened = False
        if not client:
            self.connection.receive(PREFACE)
        self.connection.data_to_send()
        self.head = RESPONSE if client else REQUEST

    # What may happen.

    def frames(self) -> Dict[str, bytes]:
        """All frames that the peer may send."""
        return {
            "SETTINGS": settings((INITIAL_WINDOW_SIZE, 10)),
            "SETTINGS ACK": frame(SETTINGS, ACK, 0),
            "HEADERS": headers(1, self.head),
            "HEADERS, the end": headers(1, self.head, True),
            "trailers": headers(1, TRAILERS, True),
            "HEADERS without END_HEADERS": frame(HEADERS, 0, 1, plain_block(self.head)),
            "CONTINUATION": frame(CONTINUATION, END_HEADERS, 1),
            "DATA": data(1, b"abc"),
            "DATA, the end": data(1, b"abc", True),
            "RST_STREAM": frame(RST_STREAM, 0, 1, number(CANCEL)),
            "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 1, number(20)),
            "WINDOW_UPDATE of the connection": frame(WINDOW_UPDATE, 0, 0, number(20)),
            "PRIORITY": frame(PRIORITY, 0, 1, bytes(5)),
            "PING": frame(PING, 0, 0, bytes(8)),
            "GOAWAY": frame(GOAWAY, 0, 0, bytes(8)),
            "PUSH_PROMISE": frame(PUSH_PROMISE, END_HEADERS, 1, number(2)),
            "of an unknown type": frame(0x42, 0xFF, 1, b"abc"),
        }

    def events(self) -> Dict[str, Callable[[], None]]:
        if self.fault is not None:
            return {}
        connection = self.connection
        found: Dict[str, Callable[[], None]] = {
            name: lambda wire=wire: self._receive(wire)  # type: ignore[misc]
            for name, wire in self.frames().items()
        }
        if connection.client and not self.opened and connection.can_open:
            found["it opens a stream"] = self._open
        if connection.knows(1):
            # Data more than the peer's window of SETTINGS allows.
            found["it sends data"] = lambda: self._use(lambda: connection.sender.data(1, bytes(20)))
            found["it ends the stream"] = lambda: self._use(
                lambda: connection.sender.headers(1, encode(TRAILERS), True)
            )
            found["it resets the stream"] = lambda: self._use(lambda: connection.reset(1, ErrorCode.CANCEL))
        if not connection.going_away:
            found["it goes away"] = lambda: self._use(connection.go_away)
        return found

    def _use(self, use: Callable[[], object]) -> None:
        use()
        self.came = ""
        self.connection.data_to_send()

    def _open(self) -> None:
        self.opened = True
        self._use(lambda: self.connection.sender.headers(self.connection.open_stream(), encode(REQUEST)))

    def _receive(self, wire: bytes) -> None:
        self.connection.data_to_send()
        try:
            events: List[object] = list(self.connection.receive(wire))
        except ConnectionFault as fault:
            self.fault = fault.code
            self.came = f"{fault.code.name}!"
            last = frames(self.connection.data_to_send())[0][-1]
            assert last.kind == GOAWAY, "a connection that ends without a word"
            return
        said = frames(self.connection.data_to_send())[0]
        resets = [ErrorCode(int.from_bytes(each.payload, "big")).name for each in said if each.kind == RST_STREAM]
        assert len(resets) <= 1
        self.came = resets[0] if resets else TOLD if events else IGNORED

    # What there is.

    def stream(self) -> str:
        """The state of the stream (section 5.1)."""
        connection = self.connection
        stream = connection._streams.get(1)
        if stream is None:
            if connection._table.is_idle(1):
                return "idle"
            return "reset" if connection._table.was_reset(1) else "closed"
        return f"{stream.receiving.name} {stream.sending.name}{' queued' if stream.queue else ''}"

    def state(self) -> Hashable:
        connection = self.connection
        if self.fault is not None:
            return ("over", self.fault)
        return (
            connection._phase,
            self.stream(),
            connection._table.shutdown,
            connection._decoder.settled,
            connection.sender.initial_window,
            self.opened,
        )

    def check(self) -> None:
        stream = self.connection._streams.get(1)
        assert stream is None or not (stream.receiving.name == stream.sending.name == "OVER" and not stream.queue)
        assert stream is None or stream.queue is None or stream.queue or 1 not in self.connection.sender._waiting


CONNECTION = frozenset(("PROTOCOL_ERROR!",))
ALLOWED: Dict[str, Dict[str, FrozenSet[str]]] = {
    "idle": {
        "DATA": CONNECTION,
        "RST_STREAM": CONNECTION,
        "WINDOW_UPDATE": CONNECTION,
        "trailers": frozenset(("PROTOCOL_ERROR", "PROTOCOL_ERROR!")),
    },
    "HEAD": {"DATA": frozenset(("PROTOCOL_ERROR",)), "RST_STREAM": frozenset((TOLD,)), "HEADERS": frozenset((TOLD,))},
    "BODY": {
        "DATA": frozenset((TOLD,)),
        "trailers": frozenset((TOLD,)),
        "HEADERS": frozenset(("PROTOCOL_ERROR",)),
        "RST_STREAM": frozenset((TOLD,)),
        "WINDOW_UPDATE": frozenset((IGNORED, TOLD)),
    },
    "OVER": {
        "DATA": frozenset(("STREAM_CLOSED",)),
        "HEADERS": frozenset(("STREAM_CLOSED",)),
        "RST_STREAM": frozenset((TOLD,)),
        "WINDOW_UPDATE": frozenset((IGNORED, TOLD)),
    },
    "closed": {
        "DATA": GONE,
        "HEADERS": GONE,
        "RST_STREAM": frozenset((IGNORED,)),
        "WINDOW_UPDATE": frozenset((IGNORED,)),
    },
    "reset": {"DATA": frozenset((IGNORED,)), "HEADERS": frozenset((IGNORED,)), "RST_STREAM": frozenset((IGNORED,))},
}
"""What may come of a frame, by what the peer's half of the stream has come to (sections 5.1 and 8.1)."""
ANY_STATE: Dict[str, FrozenSet[str]] = {
    "PING": frozenset((IGNORED,)),
    "PRIORITY": frozenset((IGNORED,)),
    "of an unknown type": frozenset((IGNORED,)),
    "SETTINGS": frozenset((TOLD,)),
    "CONTINUATION": CONNECTION,
    "PUSH_PROMISE": CONNECTION,
}
"""Of those for which the stream does not matter."""


class Watched(Life):
    """Checks what comes of each frame."""

    def _receive(self, wire: bytes) -> None:
        before = self.stream().partition(" ")[0]
        phase, ours = self.connection._phase.name, self.connection._table.shutdown.name == "OURS"
        super()._receive(wire)
        name = next(name for name, each in self.frames().items() if each == wire)
        if phase == "SETTINGS":
            assert self.came == (TOLD if name == "SETTINGS" else "PROTOCOL_ERROR!")
        elif phase == "BLOCK":
            assert name == "CONTINUATION" or self.came == "PROTOCOL_ERROR!"
        elif name in ANY_STATE:
            assert self.came in ANY_STATE[name]
        elif not (before == "idle" and ours):  # what is above the last stream of our GOAWAY is ignored
            assert self.came in ALLOWED[before].get(name, (self.came,)), f"{name} in {before}: {self.came}"


@pytest.fixture(scope="module", params=[False, True], ids=["server", "client"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return explore(lambda: Watched(request.param), MOST)


def test_what_comes_of_a_frame_is_what_may_come_of_it_in_every_state(graph: Graph) -> None:
    streams = {str(state[1]).partition(" ")[0] for state in graph.ways if state[0] != "over"}  # type: ignore[index]
    assert streams >= {"idle", "BODY", "OVER", "closed", "reset"}


def test_every_stream_can_end_and_so_can_every_connection(graph: Graph) -> None:
    assert graph.stuck(lambda state: state[0] == "over") == []  # type: ignore[index]
    over = ("over", "closed", "reset")
    assert graph.stuck(lambda state: state[0] == "over" or state[1] in over) == []  # type: ignore[index]
