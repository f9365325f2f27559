"""A client that misbehaves.

    python -m tests.torture.client SOCKET ATTACK

It writes how often it has attacked. What criproxy ends is begun anew.
"""

from __future__ import annotations

import os
import sys
import zlib
from contextlib import suppress
from functools import partial
from itertools import count, islice
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

from criproxy.cri.messages import api
from criproxy.cri.wire import length_field
from criproxy.http2 import frames
from criproxy.http2.fields import encode
from tests.torture import wire
from tests.torture.answers import ID, PRIMARY
from tests.torture.huffman import huffman
from tests.torture.tally import Tally
from tests.torture.wire import dial, head, pace, streams

Work = Callable[[str], Iterator[None]]
"""Attacks who serves a socket; each item is an attack more. Raises OSError when it is cut off."""


class Attack(NamedTuple):
    """How a client misbehaves."""

    what: str
    work: Work
    busy: Tuple[str, ...] = ()
    """The runtimes for which it is that many calls to answer; how long others' calls to these take tells nothing."""


def _message(name: str, **fields: Any) -> bytes:
    body: bytes = api()[name](**fields).SerializeToString()
    return body


_STATUS = _message("ContainerStatusRequest", container_id="c")
_WRITES = _message("ExecSyncRequest", container_id="c", cmd=["writes"])
_WRITES_MUCH = _message("ExecSyncRequest", container_id="c", cmd=["writes", str(15 << 20)])
_LISTED = _message("ListContainersRequest", filter={"id": "c"})


def _flood(make: Callable[[int], bytes], begin: bytes = b"") -> Work:
    """Frames without end on a connection whose answers are read."""

    def work(path: str) -> Iterator[None]:
        line = dial(path)
        line.drain()
        line.send(begin)
        for number in count():
            line.send(make(number))
            yield

    return work


def _calls(make: Callable[[int, int], bytes], every: float = 0.0, window: int = 2**30) -> Work:
    """One call after the other, made of a stream's id and a number; answers are read."""

    def work(path: str) -> Iterator[None]:
        line = dial(path, window)
        line.drain()
        for number, stream in enumerate(streams()):
            line.send(make(stream, number))
            yield
            if every:
                pace(every)

    return work


def _unread(method: bytes, body: bytes, window: int, calls: int = 900) -> Work:
    """Calls of which no answer is read; with a window, criproxy can send until the socket is full."""

    def work(path: str) -> Iterator[None]:
        line = dial(path, window)
        for stream in islice(streams(), calls):
            line.send(wire.request(stream, method, body))
            yield
        while True:
            pace(0.5)
            yield

    return work


def _large(method: bytes, make: Callable[[int], bytes], every: float, *more: Any) -> Work:
    """Large requests, as the windows let them."""

    def work(path: str) -> Iterator[None]:
        line = dial(path)
        line.drain()
        for number, stream in enumerate(streams()):
            body = make(number)
            line.send(wire.headers(stream, head(method, *more)))
            line.flow(stream, body, True)
            yield
            pace(every)

    return work


def _uid(number: int) -> bytes:
    uid = f"{number:08d}" + "u" * (20 << 20)
    return wire.message(_message("RunPodSandboxRequest", config={"metadata": {"uid": uid}}))


_ENTRIES = tuple(tag + b"\x00" for tag in (b"\x32", b"\x3a"))
"""Of a container's configuration, without anything in it: an environment variable, a mount."""
_CREATE = _message("CreateContainerRequest", pod_sandbox_id=f"{ID}__p")
_EMPTY_ENTRIES = tuple(wire.message(_CREATE + length_field(2, entry * 4_000_000)) for entry in _ENTRIES)


def _gzip(body: bytes) -> bytes:
    make = zlib.compressobj(9, zlib.DEFLATED, 31)
    return make.compress(body) + make.flush()


_LARGE = wire.message(_message("ExecSyncRequest", container_id=f"{ID}__c", cmd=["c", "1", "x" * (4 << 20)]))
_BOMB = wire.message(_gzip(b"\0" * (63 << 20)), True)
_GZIP = (b"grpc-encoding", b"gzip")


def _held(path: str) -> Iterator[None]:
    """Requests of which half is there: as much as criproxy takes."""
    line = dial(path)
    line.drain()
    for stream in islice(streams(), 900):
        line.send(wire.headers(stream, head(b"ContainerStatus")))
        wire.beside(partial(line.flow, stream, wire.message(b"\0" * (1 << 20))[:-1]))
        yield
    while True:
        pace(0.5)
        yield


def _slow_heads(path: str) -> Iterator[None]:
    lines = [dial(path) for _ in range(50)]
    for line in lines:
        line.send(frames.frame(frames.HEADERS, 0, 1, head(b"Version")))
    for number in count():
        for line in lines:
            line.send(frames.frame(frames.CONTINUATION, 0, 1, encode(((b"x-%d" % number, b""),))))
            yield
        pace(0.2)


def _slow_prefaces(path: str) -> Iterator[None]:
    socks = [wire.connect(path) for _ in range(50)]
    for at in range(len(frames.PREFACE)):
        for sock in socks:
            sock.sendall(frames.PREFACE[at : at + 1])
            yield
        pace(0.1)


def _idle(path: str) -> Iterator[None]:
    held: List[object] = []
    for _ in range(400):
        held.append(dial(path))
        yield
    while True:
        pace(0.5)
        yield


def _connections(path: str) -> Iterator[None]:
    while True:
        dial(path).close()
        yield


_STRANGERS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    frames.PREFACE + b"\xff" * 64,
    frames.PREFACE[:-1],
    b"",
)


def _strangers(path: str) -> Iterator[None]:
    for number in count():
        sock = wire.connect(path)
        with suppress(OSError):
            sock.sendall(_STRANGERS[number % len(_STRANGERS)] + os.urandom(256))
        sock.close()
        yield
        pace(0.002)


_TEXTS = (
    (b"grpc-encoding", b"\xff"),
    (b"grpc-timeout", b"\xffS"),
    (b"grpc-timeout", b"99999999999H"),
    (b"user-agent", b"\xff\xfe"),
    (b"x-bin", b"%%%"),
    (b"content-length", b"\xff"),
)
_PATHS = (b"\xff/\xff", b"", b"Version/", b"x" * 8_000)


def _texts(stream: int, number: int) -> bytes:
    if number % 2:
        return wire.request(stream, _PATHS[number // 2 % len(_PATHS)], _STATUS)
    return wire.request(stream, b"ContainerStatus", _STATUS, _TEXTS[number // 2 % len(_TEXTS)])


def _two_messages(stream: int, number: int) -> bytes:
    both = wire.data(stream, wire.message(_STATUS) * 2, True)
    return wire.headers(stream, head(b"ContainerStatus")) + both


def _bad_message(stream: int, number: int) -> bytes:
    return wire.request(stream, b"ContainerStatus", b"\x0a\xff\xff\xff\xff\x0f" + bytes((number % 256,)))


def _half(stream: int, number: int) -> bytes:
    begun = wire.headers(stream, head(b"ListContainers")) + wire.data(stream, b"\0\0\0\1\0half")
    return begun + (frames.rst_stream(stream, 8) if number % 2 else frames.frame(frames.DATA, 1, stream))


def _rapid_reset(stream: int, number: int) -> bytes:
    return wire.request(stream, b"ListContainers") + frames.rst_stream(stream, 8)


def _heads(stream: int, number: int) -> bytes:
    block = head(b"Version") + b"\0" + huffman(b"x-%d" % number) + huffman(b"a" * 60_000)
    return wire.headers(stream, block) + wire.data(stream, wire.message(b""), True)


def _goaway(path: str) -> Iterator[None]:
    while True:
        line = dial(path)
        line.send(wire.request(1, b"ContainerStatus", _STATUS) + frames.goaway(0, 0, "after each call"))
        line.close()
        yield
        pace(0.002)


def _windows_of_1(path: str) -> Iterator[None]:
    line = dial(path, 1)
    line.drain()
    for stream in islice(streams(), 300):
        line.send(wire.request(stream, b"ExecSync", _WRITES))
    for number in count():
        line.send(frames.window_update(0, 1) + frames.window_update(1 + 2 * (number % 300), 1))
        yield


def _unacknowledged(path: str) -> Iterator[None]:
    """As long as SETTINGS are not acknowledged, criproxy has to read each block for the table's sake."""
    line = dial(path, ack=b"")
    line.send(_OVER)
    while True:
        line.send(_LATE)
        yield


_OVER = wire.request(1, b"Version")
_LATE = wire.headers(1, head(b"Version") + b"\0\x01y" + huffman(b"a" * 22_000))
_PARTS = wire.headers(1, head(b"ContainerStatus")) + wire.data(1, b"\0\0\x0f\0\0")

ATTACKS: Dict[str, Attack] = {
    "PING flood": Attack("PING without end", _flood(lambda number: frames.frame(frames.PING, 0, 0, b"p" * 8) * 50)),
    "SETTINGS flood": Attack("SETTINGS without end", _flood(lambda number: frames.settings(()) * 50)),
    "WINDOW_UPDATE flood": Attack("windows of one byte more", _flood(lambda number: frames.window_update(0, 1) * 50)),
    "empty DATA": Attack(
        "empty DATA frames without end", _flood(lambda number: frames.frame(frames.DATA, 0, 1) * 50, _PARTS)
    ),
    "byte by byte": Attack(
        "a request in DATA of one byte", _flood(lambda number: frames.frame(frames.DATA, 0, 1, b"\0") * 50, _PARTS)
    ),
    "CONTINUATION flood": Attack(
        "a head without end",
        _flood(
            lambda number: frames.frame(frames.CONTINUATION if number else frames.HEADERS, 0, 1, b"\0\x01y\0" * 4_000)
        ),
    ),
    "empty CONTINUATION": Attack(
        "empty CONTINUATION without end",
        _flood(lambda number: frames.frame(frames.CONTINUATION, 0, 1) * 50, frames.frame(frames.HEADERS, 0, 1)),
    ),
    "late Huffman": Attack("Huffman blocks on a stream that is over", _flood(lambda number: _LATE, _OVER)),
    "late Huffman, no ACK": Attack("the same, and SETTINGS are never acknowledged", _unacknowledged),
    "rapid reset": Attack("lists that are cancelled at once", _calls(_rapid_reset)),
    "heads": Attack("Huffman heads of 60 kB", _calls(_heads)),
    "texts": Attack("texts that are not UTF-8, or long", _calls(_texts, 0.002)),
    "two messages": Attack("two messages in each request", _calls(_two_messages, 0.002)),
    "bad messages": Attack("requests that nobody can parse", _calls(_bad_message, 0.002)),
    "half a message": Attack("half a request, ended or cancelled", _calls(_half, 0.002)),
    "gzip bombs": Attack("63 KiB that become 63 MiB", _large(b"ContainerStatus", lambda number: _BOMB, 0.05, _GZIP)),
    "uids": Attack("pods with uids of 20 MiB", _large(b"RunPodSandbox", _uid, 0.2)),
    "empty entries": Attack(
        "4 million entries of two bytes in a request",
        _large(b"CreateContainer", lambda number: _EMPTY_ENTRIES[number % 2], 0.5),
    ),
    "unread answers": Attack(
        "900 answers of 20 kB that nobody reads", _unread(b"ExecSync", _WRITES, 2**30), (PRIMARY,)
    ),
    "large unread answers": Attack(
        "60 answers of 15 MiB that nobody reads", _unread(b"ExecSync", _WRITES_MUCH, 0, 60), (PRIMARY,)
    ),
    "large requests": Attack(
        "requests of 4 MiB for the alternative runtime", _large(b"ExecSync", lambda number: _LARGE, 0.1)
    ),
    "no window": Attack("900 lists for which no window opens", _unread(b"ListContainers", _LISTED, 0), (PRIMARY,)),
    "windows of 1": Attack("300 answers in windows of one byte", _windows_of_1),
    "held requests": Attack("900 requests of 1 MiB that do not end", _held),
    "slow heads": Attack("50 heads that do not end, a field each 0.2 s", _slow_heads),
    "slow prefaces": Attack("50 prefaces, a byte each 0.1 s", _slow_prefaces),
    "idle": Attack("400 connections that do nothing", _idle),
    "connections": Attack("connections made and closed", _connections),
    "strangers": Attack("HTTP/1.1, TLS, noise and nothing", _strangers),
    "GOAWAY": Attack("a connection for each call, with GOAWAY", _goaway),
    "unfiltered lists": Attack(
        "lists of all, two a second", _calls(lambda s, n: wire.request(s, b"ListContainers"), 0.5)
    ),
}


def main() -> None:
    """Attacks until it is killed."""
    path, name = sys.argv[1:]
    os.nice(10)
    tally = Tally()
    while True:
        with suppress(OSError):
            for _ in ATTACKS[name].work(path):
                tally.add()
        pace(0.01)


if __name__ == "__main__":
    main()
