"""What a peer that misbehaves says: frames by hand, on a blocking socket."""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import Callable, DefaultDict, Iterable, Iterator, NamedTuple, Tuple

from criproxy.http2 import frames
from criproxy.http2.fields import encode
from criproxy.http2.grpc import CONTENT_TYPE, OK_TRAILERS, RESPONSE_HEADERS, prefix

Fields = Iterable[Tuple[bytes, bytes]]

SERVICE = b"/runtime.v1.RuntimeService/"
TIMEOUT = 30.0
"""How long a peer that takes nothing is waited for, seconds."""
_SIZE = frames.DEFAULT_FRAME_SIZE
_WINDOW = 2**30
_AT_ONCE = 2**20
"""What is sent of a window before others have their turn, bytes."""
_ACK = frames.frame(frames.SETTINGS, frames.ACK, 0)


class Frame(NamedTuple):
    """A frame that has arrived."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Line:
    """One connection. All its methods raise OSError once it is over."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._opened = threading.Condition()
        self._initial = frames.DEFAULT_WINDOW
        self._windows: DefaultDict[int, int] = defaultdict(int)
        """What the peer lets us send, less what a stream begins with (section 6.9.2), by stream; 0: the connection."""

    def send(self, data: bytes) -> None:
        """Sends bytes; waits while the peer takes none."""
        with self._lock:
            self._sock.sendall(data)

    def flow(self, stream: int, body: bytes, end: bool = False) -> None:
        """Sends DATA as the peer's windows let it; another thread must read `frames`. Raises TimeoutError, too."""
        at = 0
        while at < len(body):
            room = min(self._room(stream), len(body) - at)
            self.send(data(stream, body[at : at + room], end and at + room == len(body)))
            at += room

    def _room(self, stream: int) -> int:
        """Waits for a window, and uses it up; at most a megabyte of it."""
        with self._opened:

            def room() -> int:
                of_connection = frames.DEFAULT_WINDOW + self._windows[0]
                return max(0, min(of_connection, self._initial + self._windows[stream], _AT_ONCE))

            size = self._opened.wait_for(room, TIMEOUT)
            if not size:
                raise socket.timeout(f"no window on stream {stream}")
            self._windows[0] -= size
            self._windows[stream] -= size
            return size

    def close(self) -> None:
        """Hangs up."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def frames(self, skip: int = 0, polite: bool = True) -> Iterator[Frame]:
        """The frames that come, after so many bytes of a preface; ``polite``: SETTINGS and PING are acknowledged."""
        rest = b""
        while True:
            data = self._sock.recv(1 << 18)
            if not data:
                raise ConnectionError("it has hung up")
            rest += data
            at, skip = min(skip, len(rest)), skip - min(skip, len(rest))
            while len(rest) - at >= frames.HEADER_SIZE:
                size, kind, flags, stream = frames.header_at(rest, at)
                stop = at + frames.HEADER_SIZE + size
                if stop > len(rest):
                    break
                frame = Frame(kind, flags, stream, rest[at + frames.HEADER_SIZE : stop])
                at = stop
                if kind == frames.WINDOW_UPDATE or kind == frames.SETTINGS:
                    self._open(frame)
                if polite and not flags & frames.ACK:
                    self._acknowledge(frame)
                yield frame
            rest = rest[at:]

    def _acknowledge(self, frame: Frame) -> None:
        if frame.kind == frames.SETTINGS:
            self.send(_ACK)
        elif frame.kind == frames.PING:
            self.send(frames.frame(frames.PING, frames.ACK, 0, frame.payload))

    def _open(self, frame: Frame) -> None:
        with self._opened:
            if frame.kind == frames.WINDOW_UPDATE:
                self._windows[frame.stream] += frames.WORD.unpack(frame.payload)[0]
            else:
                settings = dict(frames.SETTING.iter_unpack(frame.payload))
                self._initial = settings.get(frames.SETTINGS_INITIAL_WINDOW_SIZE, self._initial)
            self._opened.notify_all()

    def drain(self) -> None:
        """From now on whatever comes is read, by another thread, and dropped."""

        def read() -> None:
            for _ in self.frames():
                pass

        beside(read)


def beside(work: Callable[[], None]) -> None:
    """Does something in a thread of its own, until it is done or the connection is over."""

    def go() -> None:
        with suppress(OSError):
            work()

    threading.Thread(target=go, daemon=True).start()


def connect(path: str) -> socket.socket:
    """A connection to a unix socket. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(TIMEOUT)
    sock.connect(path)
    return sock


def dial(path: str, window: int = _WINDOW, ack: bytes = _ACK) -> Line:
    """A client's connection; ``window``: how much each answer may be at first (SETTINGS_INITIAL_WINDOW_SIZE), bytes."""
    line = Line(connect(path))
    line.send(frames.PREFACE + frames.settings(((frames.SETTINGS_INITIAL_WINDOW_SIZE, window),)) + ack)
    if window:
        line.send(frames.window_update(0, _WINDOW))
    return line


def head(method: bytes, *more: Tuple[bytes, bytes]) -> bytes:
    """The block of a request to RuntimeService."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", SERVICE + method),
        (b":authority", b"localhost"),
        (b"content-type", CONTENT_TYPE),
        (b"te", b"trailers"),
    )
    return encode((*fields, *more))


def headers(stream: int, block: bytes, end: bool = False) -> bytes:
    """A block as HEADERS and as many CONTINUATION as it takes."""
    pieces = [block[at : at + _SIZE] for at in range(0, len(block), _SIZE)] or [b""]
    end_stream = frames.END_STREAM if end else 0
    out = [frames.frame(frames.HEADERS, end_stream, stream, pieces[0])]
    out += [frames.frame(frames.CONTINUATION, 0, stream, piece) for piece in pieces[1:]]
    last = bytearray(out[-1])
    last[4] |= frames.END_HEADERS
    return b"".join((*out[:-1], bytes(last)))


def data(stream: int, body: bytes, end: bool = False, size: int = _SIZE) -> bytes:
    """Bytes as DATA frames of at most ``size``."""
    starts = range(0, max(1, len(body)), size)
    return b"".join(
        frames.frame(
            frames.DATA, frames.END_STREAM if end and at + size >= len(body) else 0, stream, body[at : at + size]
        )
        for at in starts
    )


def message(body: bytes, compressed: bool = False) -> bytes:
    """A message as it stands in DATA."""
    framed = prefix(len(body)) + body
    return b"\1" + framed[1:] if compressed else framed


def request(stream: int, method: bytes, body: bytes = b"", *more: Tuple[bytes, bytes]) -> bytes:
    """A whole request."""
    return headers(stream, head(method, *more)) + data(stream, message(body), True)


def answer(stream: int, body: bytes) -> bytes:
    """A whole answer."""
    return begun(stream) + data(stream, message(body)) + ended(stream)


def begun(stream: int, *more: Tuple[bytes, bytes]) -> bytes:
    """An answer's head."""
    return headers(stream, RESPONSE_HEADERS + encode(more))


def ended(stream: int, trailers: bytes = OK_TRAILERS) -> bytes:
    """An answer's trailers."""
    return headers(stream, trailers, True)


def status(stream: int, code: bytes, text: bytes = b"as the row has it") -> bytes:
    """An error for an answer."""
    return headers(stream, RESPONSE_HEADERS + encode(((b"grpc-status", code), (b"grpc-message", text))), True)


def streams() -> Iterator[int]:
    """The ids of a client's streams."""
    return iter(range(1, frames.MAX_STREAM_ID, 2))


def pace(seconds: float) -> None:
    """Lets time pass between two attacks of which more would say nothing more."""
    time.sleep(seconds)
