"""The alternative runtime, made of frames by hand; with an attack's name it is the one that misbehaves.

    python -m tests.torture.runtime SOCKET NAME [ATTACK]

It writes `ready` when it serves, and then how often it has attacked. What an attack does not touch is answered rightly.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import threading
import zlib
from contextlib import suppress
from itertools import count
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from hpack import Decoder

from criproxy.cri.messages import api
from criproxy.cri.wire import length_field
from criproxy.http2 import frames
from criproxy.http2.fields import encode
from criproxy.http2.grpc import RESPONSE_HEADERS
from tests.torture import wire
from tests.torture.answers import LISTINGS, made
from tests.torture.huffman import huffman
from tests.torture.tally import Tally
from tests.torture.wire import Line, pace

_VERSION = "Version"


class Asked(NamedTuple):
    """A call that has arrived."""

    line: Line
    stream: int
    method: str
    body: bytes
    right: bytes
    """The message that would be the right answer."""


Answer = Callable[[Asked, int], Optional[bytes]]
"""Frames for an answer, given also how many there have been; None: the right one."""
Flood = Callable[[int], bytes]
"""The frames of which one after the other goes out beside the answers, by their number."""


class Attack(NamedTuple):
    """How a runtime misbehaves."""

    what: str
    answer: Optional[Answer] = None
    flood: Optional[Flood] = None
    settings: Tuple[Tuple[int, int], ...] = ()
    window: int = 2**30
    """What it lets criproxy send on the connection, bytes."""
    polite: bool = True
    """Whether it acknowledges SETTINGS and PING."""
    probed: bool = False
    """Whether calls of Version are attacked, too: criproxy's first on each connection."""
    serve: Optional[Callable[[Line], None]] = None
    """What it does with a connection instead of speaking HTTP/2."""
    beside: str = ""
    """An attack of a client's (client.py) that goes on meanwhile."""
    deaf: bool = False
    """Whether it reads nothing after criproxy's first questions."""
    every: float = 0.0
    """At least so long between two attacks, seconds; calls meanwhile are answered rightly."""


# Answers to lists.


_BAD_ENTRIES = (
    b"\x0a\x07\x0a\x01r\x1a\x02\xff\xff",  # metadata that is no message
    b"\x0a\x04\x0a\x02\xff\xfe",  # an id that is not UTF-8
    b"\x0a\x0b\x0a\x01r\x42\x06\x0a\x01\xff\x12\x01k",  # a label that is not UTF-8
    b"\x0a\x05\x0a\x7fr",  # an id longer than its entry
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of more than 64 bits
    b"\x0b",  # a group that does not end
)


def _flowing(asked: Asked, body: bytes) -> bytes:
    """Answers with a large message beside everything else, as the windows let it."""
    said = wire.message(body)

    def go() -> None:
        asked.line.send(wire.begun(asked.stream))
        asked.line.flow(asked.stream, said)
        asked.line.send(wire.ended(asked.stream))

    wire.beside(go)
    return b""


def _in_lists(body: Callable[[Asked, int], bytes], filtered: bool = True) -> Answer:
    """Lists are what ``body`` makes of the call, ``filtered`` ones or those of all alone; all else is right."""

    def answer(asked: Asked, number: int) -> Optional[bytes]:
        if asked.method not in LISTINGS or (asked.body and not filtered):
            return None
        return _flowing(asked, body(asked, number))

    return answer


def _bad_entry(asked: Asked, number: int) -> bytes:
    return asked.right + _BAD_ENTRIES[number % len(_BAD_ENTRIES)]


_UNKNOWN = length_field(99, b"x" * 1_040_000)
"""A field that no version of the CRI has (99)."""


def _large_list(asked: Asked, number: int) -> bytes:
    message: Any = api()[f"{asked.method}Response"].FromString(asked.right)
    first: bytes = getattr(message, LISTINGS[asked.method].field)[0].SerializeToString()
    return asked.right + length_field(1, first + _UNKNOWN) * 63


def _large_id(asked: Asked, number: int) -> bytes:
    return asked.right + length_field(1, length_field(1, b"i" * (1 << 20)))


def _same_id(asked: Asked, number: int) -> bytes:
    return asked.right * 5


# Any answer.

_STATUSES = (*(str(code).encode() for code in range(17)), b"99", b"-1", b"x", b"", b"00000000000000000000000000000007")


def _statuses(asked: Asked, number: int) -> bytes:
    return wire.status(asked.stream, _STATUSES[number % len(_STATUSES)])


_TEXTS: Tuple[Callable[[Asked], bytes], ...] = (
    lambda asked: wire.status(asked.stream, b"13", b"\xff\xfe%zz%"),
    lambda asked: wire.status(asked.stream, b"13", b"long " * 12_000),
    lambda asked: wire.begun(asked.stream, (b"grpc-encoding", b"\xff")) + wire.ended(asked.stream),
    lambda asked: wire.begun(asked.stream, (b"x\xff", b"\xff")) + wire.ended(asked.stream),
    lambda asked: wire.headers(asked.stream, encode(((b":status", b"200"), (b"content-type", b"text/\xff"))), True),
    lambda asked: wire.headers(asked.stream, encode(((b":status", b"\xff"),)), True),
)


def _texts(asked: Asked, number: int) -> bytes:
    return _TEXTS[number % len(_TEXTS)](asked)


def _two_messages(asked: Asked, number: int) -> bytes:
    both = wire.data(asked.stream, wire.message(asked.right) * 2)
    return wire.begun(asked.stream) + both + wire.ended(asked.stream)


_HALVES: Tuple[Callable[[bytes, int], bytes], ...] = (
    lambda begun, stream: begun + wire.ended(stream),
    lambda begun, stream: begun + frames.rst_stream(stream, 2),
    lambda begun, stream: begun + frames.frame(frames.DATA, frames.END_STREAM, stream),
    lambda begun, stream: begun,
)


def _half_a_message(asked: Asked, number: int) -> bytes:
    half = wire.message(asked.right + b"\0" * 64)[:-32]
    return _HALVES[number % len(_HALVES)](wire.begun(asked.stream) + wire.data(asked.stream, half), asked.stream)


def _byte_by_byte(asked: Asked, number: int) -> bytes:
    body = wire.message(asked.right + length_field(99, b"\0" * (1 << 16)))
    return wire.begun(asked.stream) + wire.data(asked.stream, body, size=1) + wire.ended(asked.stream)


_EMPTY = 20_000
"""Frames."""


def _empty_data(asked: Asked, number: int) -> bytes:
    return wire.begun(asked.stream) + frames.frame(frames.DATA, 0, asked.stream) * _EMPTY


def _bomb(size: int) -> bytes:
    make = zlib.compressobj(9, zlib.DEFLATED, 31)
    return make.compress(b"\0" * size) + make.flush()


_BOMB = _bomb(63 << 20)


def _gzip_bomb(asked: Asked, number: int) -> bytes:
    begun = wire.begun(asked.stream, (b"grpc-encoding", b"gzip"))
    return begun + wire.data(asked.stream, wire.message(_BOMB, True)) + wire.ended(asked.stream)


def _cut_gzip(asked: Asked, number: int) -> bytes:
    body = zlib.compressobj(9, zlib.DEFLATED, 31)
    whole = body.compress(asked.right) + body.flush()
    begun = wire.begun(asked.stream, (b"grpc-encoding", b"gzip"))
    cut = whole[: -8 if number % 2 else len(whole) // 2]
    return begun + wire.data(asked.stream, wire.message(cut, True)) + wire.ended(asked.stream)


def _interim(asked: Asked, number: int) -> bytes:
    return wire.headers(asked.stream, encode(((b":status", b"103"),))) * 100 + wire.answer(asked.stream, asked.right)


def _goaway(asked: Asked, number: int) -> bytes:
    return wire.answer(asked.stream, asked.right) + frames.goaway(asked.stream, 0, "after each call")


def _goaway_unseen(asked: Asked, number: int) -> bytes:
    return frames.goaway(max(0, asked.stream - 2), number % 14, "not looked at")


def _reset(asked: Asked, number: int) -> bytes:
    return frames.rst_stream(asked.stream, number % 16)


def _hang_up(asked: Asked, number: int) -> bytes:
    asked.line.close()
    return b""


def _nothing(asked: Asked, number: int) -> bytes:
    return b""


def _beside(work: Callable[[Asked], Iterator[bytes]]) -> Answer:
    """An answer that takes its time, while others go on: each piece goes out when it is there."""

    def answer(asked: Asked, number: int) -> bytes:
        def go() -> None:
            for piece in work(asked):
                asked.line.send(piece)

        wire.beside(go)
        return b""

    return answer


def _trickle(asked: Asked) -> Iterator[bytes]:
    yield wire.begun(asked.stream)
    body = wire.message(asked.right)
    for at in range(len(body)):
        pace(0.05)
        yield wire.data(asked.stream, body[at : at + 1])
    yield wire.ended(asked.stream)


def _slowly(asked: Asked) -> Iterator[bytes]:
    pace(0.3)
    yield wire.answer(asked.stream, asked.right)


def _slow_head(asked: Asked) -> Iterator[bytes]:
    yield frames.frame(frames.HEADERS, 0, asked.stream, RESPONSE_HEADERS)
    for number in range(100):
        pace(0.05)
        yield frames.frame(frames.CONTINUATION, 0, asked.stream, encode(((b"x-%d" % number, b""),)))


def _endless_stream(asked: Asked) -> Iterator[bytes]:
    yield wire.begun(asked.stream)
    while True:
        yield wire.data(asked.stream, wire.message(b""))


# Beside the answers.

_LATE = wire.headers(1, RESPONSE_HEADERS + b"\0\x01y" + huffman(b"a" * 22_000))
_NUMBER = struct.Struct(">Q")
_AGED = b"aged    "


def _ping(number: int) -> bytes:
    return frames.frame(frames.PING, 0, 0, _NUMBER.pack(number)) * 50


def _settings(number: int) -> bytes:
    return frames.settings(((frames.SETTINGS_INITIAL_WINDOW_SIZE, 65_535 + number % 2),)) * 50


def _huffman_on_closed(number: int) -> bytes:
    return _LATE


def _continuation(number: int) -> bytes:
    block = encode(((b"x", b"y" * 16_000),))
    return frames.frame(frames.CONTINUATION if number else frames.HEADERS, 0, 1, block)


def _unknown(number: int) -> bytes:
    return frames.frame(0x20 + number % 64, 0xFF, number % 64, b"\0" * 64) * 50


def _windows(number: int) -> bytes:
    return frames.window_update(0, 1) * 50


# Instead of HTTP/2.


def _page(line: Line) -> None:
    line.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    line.close()


def _noise(line: Line) -> None:
    line.send(os.urandom(1 << 16))
    line.close()


def _close(line: Line) -> None:
    line.close()


def _mute(line: Line) -> None:
    for _ in line.frames(len(frames.PREFACE), polite=False):
        pass


_ONE = ((frames.SETTINGS_INITIAL_WINDOW_SIZE, 1),)
_NO_WINDOW = ((frames.SETTINGS_INITIAL_WINDOW_SIZE, 0),)
_NO_STREAMS = ((frames.SETTINGS_MAX_CONCURRENT_STREAMS, 0),)

_EMPTY_ENTRIES = b"\x0a\x00" * 4_000_000
_EMPTY_MOUNTS = length_field(1, b"\x72\x00" * 4_000_000)  # of a ContainerStatus


def _empty_mounts(asked: Asked, number: int) -> Optional[bytes]:
    return _flowing(asked, _EMPTY_MOUNTS) if asked.method == "ContainerStatus" else None


ATTACKS: Dict[str, Attack] = {
    "bad entries": Attack("entries that nobody can parse in each list", _in_lists(_bad_entry)),
    "empty entries": Attack(
        "4 million entries of two bytes",
        _in_lists(lambda asked, number: _EMPTY_ENTRIES, False),
        beside="unfiltered lists",
    ),
    "empty mounts": Attack("4 million mounts of two bytes in a status", _empty_mounts, every=0.5),
    "large list": Attack("a list of 63 MiB", _in_lists(_large_list), every=1.0),
    "large id": Attack("an id of 1 MiB in a list", _in_lists(_large_id), every=0.2),
    "one id": Attack("each entry five times", _in_lists(_same_id)),
    "two messages": Attack("two messages in each answer", _two_messages),
    "half a message": Attack("half a message, ended in four ways", _half_a_message),
    "statuses": Attack("each status of gRPC's, and some that are none", _statuses),
    "texts": Attack("texts that are not UTF-8, or long", _texts),
    "byte by byte": Attack("answers of 64 KiB in DATA of one byte", _byte_by_byte, every=0.05),
    "empty DATA": Attack("20,000 empty DATA frames for an answer", _empty_data, every=0.05),
    "gzip bombs": Attack("63 KiB that become 63 MiB", _gzip_bomb, every=0.1),
    "cut gzip": Attack("compressed messages without their end", _cut_gzip),
    "interim answers": Attack("a hundred 103 before each answer", _interim),
    "GOAWAY": Attack("GOAWAY after each call", _goaway),
    "GOAWAY unseen": Attack("GOAWAY for each call, which it has not looked at", _goaway_unseen),
    "resets": Attack("RST_STREAM for each call, with each code", _reset),
    "hang-ups": Attack("a hang-up at each call", _hang_up),
    "silence": Attack("no answer, and no PING acknowledged", _nothing, polite=False),
    "PING only": Attack("no answer, but PING is acknowledged", _nothing),
    "deaf": Attack("nothing is read, and requests of 4 MiB come", beside="large requests", deaf=True),
    "slow": Attack("0.3 s for each answer", _beside(_slowly)),
    "trickle": Attack("a byte of an answer each 50 ms", _beside(_trickle)),
    "slow heads": Attack("a field of a head each 50 ms, in CONTINUATION", _beside(_slow_head)),
    "endless answers": Attack("messages without end in each answer", _beside(_endless_stream), every=1.0),
    "PING flood": Attack("PING without end", flood=_ping),
    "SETTINGS flood": Attack("SETTINGS without end", flood=_settings),
    "WINDOW_UPDATE flood": Attack("WINDOW_UPDATE of 1 without end", flood=_windows, window=1),
    "unknown frames": Attack("frames of unknown types without end", flood=_unknown),
    "late Huffman": Attack("Huffman blocks on a stream that is over", flood=_huffman_on_closed),
    "late Huffman, no ACK": Attack(
        "the same, and SETTINGS are never acknowledged", flood=_huffman_on_closed, polite=False
    ),
    "CONTINUATION flood": Attack("a head without end", flood=_continuation),
    "no window": Attack("windows that never open", settings=_NO_WINDOW, window=0),
    "windows of 1": Attack("windows of one byte", settings=_ONE, window=0, flood=lambda number: _granted(number)),
    "no streams": Attack("SETTINGS_MAX_CONCURRENT_STREAMS 0", settings=_NO_STREAMS),
    "HTTP/1.1": Attack("a page of HTTP/1.1 for each connection", serve=_page),
    "noise": Attack("64 KiB of noise for each connection", serve=_noise),
    "closed at once": Attack("each connection closed at once", serve=_close),
    "mute": Attack("connections on which nothing is ever said", serve=_mute),
    "failing Version": Attack("each status for Version, too", _statuses, probed=True),
}

LIES: Dict[str, Attack] = {
    "mixed": Attack("the answer of the call before", lambda asked, number: _of_before(asked)),
    "lost": Attack("now and then no answer", lambda asked, number: b"" if number % 10 == 9 else None),
}
"""What no table of attacks has, and the load must see: a primary runtime that does this is a proxy that does."""


def _granted(number: int) -> bytes:
    pace(0.001)
    return frames.window_update(0, 1) + frames.window_update(1 + 2 * (number % 500), 1)


_before: Dict[str, bytes] = {}


def _of_before(asked: Asked) -> bytes:
    found = _before.get(asked.method, asked.right)
    _before[asked.method] = asked.right
    return wire.answer(asked.stream, found)


class Runtime:
    """Serves one connection after the other, each in a thread of its own."""

    def __init__(self, name: str, attack: Attack, tally: Tally) -> None:
        self._name = name
        self._attack = attack
        self._tally = tally
        self._numbers = count()
        self._lines: List[Line] = []

    def age(self) -> None:
        """Ends all connections as grpc.max_connection_age_ms does: no call that has been sent is refused."""
        lines, self._lines = self._lines, []
        for line in lines:
            with suppress(OSError):
                line.send(frames.goaway(frames.MAX_STREAM_ID, 0, "max_age") + frames.frame(frames.PING, 0, 0, _AGED))

    def serve(self, line: Line) -> None:
        """One connection from its beginning to its end."""
        with suppress(OSError):
            if self._attack.serve is not None:
                self._tally.add()
                self._attack.serve(line)
                return
            line.send(frames.settings(self._attack.settings))
            if self._attack.settings:
                self._tally.add()
            if self._attack.window:
                line.send(frames.window_update(0, self._attack.window))
            self._answer_all(line)

    def _answer_all(self, line: Line) -> None:
        paths: Dict[int, str] = {}
        bodies: Dict[int, bytes] = {}
        decoder = Decoder()
        flooding = False
        aged = False
        last = 0
        self._lines.append(line)
        for frame in line.frames(len(frames.PREFACE), self._attack.polite):
            if frame.kind == frames.HEADERS:
                fields = dict(decoder.decode(frame.payload, raw=True))
                paths[frame.stream] = fields[b":path"].decode()
                last = frame.stream
                bodies[frame.stream] = b""
            elif frame.kind == frames.RST_STREAM:
                bodies.pop(frame.stream, None)
            elif frame.kind == frames.PING and frame.payload == _AGED:
                # What criproxy had sent before it knew has come by now (RFC 9113, section 6.8).
                line.send(frames.goaway(last, 0, "max_age"))
                aged = True
            elif frame.kind == frames.DATA and frame.stream in bodies:
                bodies[frame.stream] += frame.payload
                if frame.flags & frames.END_STREAM:
                    body = bodies.pop(frame.stream)
                    method = paths.pop(frame.stream)
                    if self._attack.deaf and not method.endswith(_VERSION):
                        self._tally.add()
                        threading.Event().wait()
                    self._answer(line, frame.stream, method, body[5:])
                    if not flooding and method.endswith(_VERSION):
                        flooding = True
                        self._start_flood(line)
            if aged and not bodies:
                line.close()
                return

    def _answer(self, line: Line, stream: int, path: str, body: bytes) -> None:
        method = path.rpartition("/")[2]
        if not path.startswith("/runtime.v1.") or method == "GetContainerEvents":
            line.send(wire.status(stream, b"12"))
            return
        asked = Asked(line, stream, method, body, made(self._name, method, body))
        said = None
        if self._attack.answer is not None and (method != _VERSION or self._attack.probed):
            said = self._attacked(asked, self._attack.answer)
        line.send(wire.answer(stream, asked.right) if said is None else said)

    def _attacked(self, asked: Asked, answer: Answer) -> Optional[bytes]:
        if not self._tally.due(self._attack.every):
            return None
        said = answer(asked, next(self._numbers))
        if said is not None:
            self._tally.add()
        return said

    def _start_flood(self, line: Line) -> None:
        flood = self._attack.flood
        if flood is None:
            return

        def go() -> None:
            for number in count():
                line.send(flood(number))
                self._tally.add()

        wire.beside(go)


def main() -> None:
    """Serves until it is killed."""
    path, name, *attacks = sys.argv[1:]
    attack = {**ATTACKS, **LIES}[attacks[0]] if attacks else Attack("nothing")
    if attacks:
        os.nice(10)
    made(name, "Status", b"")
    listener = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener.bind(path)
    listener.listen(128)
    tally = Tally()
    runtime = Runtime(name, attack, tally)
    signal.signal(signal.SIGUSR1, lambda number, frame: runtime.age())
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=runtime.serve, args=(Line(sock),), daemon=True).start()


if __name__ == "__main__":
    main()
