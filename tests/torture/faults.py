"""What goes wrong on a node: each fault as what happens again and again, and what is put right afterwards."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from itertools import count
from typing import Callable, Dict, Generator, List, NamedTuple, Tuple

from tests.torture import wire
from tests.torture.answers import ALTERNATIVE, PRIMARY
from tests.torture.scene import Scene, Service

PROXY = "proxy"
"""Who is disturbed where all calls may fail."""

Happen = Callable[[Scene], Generator[None, None, None]]
"""Lets a fault happen; each item is once more. What it has to put right it does when it is closed."""


class Fault(NamedTuple):
    """A fault: whose calls may fail of it, and how often it happens."""

    what: str
    suffers: Tuple[str, ...]
    happen: Happen
    every: float
    """seconds"""
    timed: bool = True
    """Whether calls to others must be as quick as ever."""


def _killed(owner: str) -> Happen:
    def happen(scene: Scene) -> Generator[None, None, None]:
        while True:
            scene.start_runtime(owner)
            yield

    return happen


def _stopped(owner: str) -> Happen:
    def happen(scene: Scene) -> Generator[None, None, None]:
        process = scene.peers[owner].process
        try:
            while True:
                process.send_signal(signal.SIGSTOP)
                yield
                process.send_signal(signal.SIGCONT)
                yield
        finally:
            process.send_signal(signal.SIGCONT)

    return happen


def _socket_deleted(owner: str) -> Happen:
    def happen(scene: Scene) -> Generator[None, None, None]:
        scene.hide_socket(owner)
        try:
            while True:
                yield
        finally:
            scene.show_socket(owner)

    return happen


def _restarted(how: int) -> Happen:
    def happen(scene: Scene) -> Generator[None, None, None]:
        while True:
            scene.restart_proxy(how)
            yield

    return happen


def _proxy_stopped(scene: Scene) -> Generator[None, None, None]:
    try:
        while True:
            scene.process.send_signal(signal.SIGSTOP)
            yield
            scene.process.send_signal(signal.SIGCONT)
            yield
    finally:
        scene.process.send_signal(signal.SIGCONT)


def _reloaded(scene: Scene) -> Generator[None, None, None]:
    try:
        for number in count():
            scene.configure(verbosity=number % 2)
            scene.process.send_signal(signal.SIGHUP)
            yield
    finally:
        scene.configure()
        scene.process.send_signal(signal.SIGHUP)


def _taken_out(scene: Scene) -> Generator[None, None, None]:
    try:
        for number in count(1):
            scene.configure(alternative=number % 2 == 0)
            scene.process.send_signal(signal.SIGHUP)
            yield
    finally:
        scene.configure()
        scene.process.send_signal(signal.SIGHUP)


def _aged(scene: Scene) -> Generator[None, None, None]:
    """As a runtime does whose connections may have an age (grpc.max_connection_age_ms): no call may feel it."""
    while True:
        scene.peers[ALTERNATIVE].process.send_signal(signal.SIGUSR1)
        yield


_VERBOSE = 6
"""The verbosity at which each call is several records."""


def _log(opened: Callable[[], Tuple[int, List[int]]]) -> Happen:
    """Criproxy with a log that is not written.

    ``opened`` gives the descriptor to log to, and those to close afterwards.
    """

    def happen(scene: Scene) -> Generator[None, None, None]:
        log, others = opened()
        try:
            scene.configure(verbosity=_VERBOSE)
            scene.restart_proxy(signal.SIGTERM, Service(log))
            while True:
                yield
        finally:
            for fd in (log, *others):
                os.close(fd)
            scene.configure()
            scene.restart_proxy(signal.SIGTERM)

    return happen


def _full() -> Tuple[int, List[int]]:
    return os.open("/dev/full", os.O_WRONLY), []


def _closed() -> Tuple[int, List[int]]:
    read, write = os.pipe()
    os.close(read)
    return write, []


def _unread() -> Tuple[int, List[int]]:
    read, write = os.pipe()
    return write, [read]


def _journald(listens: bool) -> Happen:
    """Criproxy with a journald that is gone, or that reads nothing."""

    def happen(scene: Scene) -> Generator[None, None, None]:
        path = str(scene.folder / "journal")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            if listens:
                sock.bind(path)
            try:
                scene.configure(verbosity=_VERBOSE)
                scene.restart_proxy(signal.SIGTERM, Service(journal=path))
                while True:
                    yield
            finally:
                scene.configure()
                scene.restart_proxy(signal.SIGTERM)
                with suppress(FileNotFoundError):
                    os.unlink(path)

    return happen


_DESCRIPTORS = 64


def _descriptors(scene: Scene) -> Generator[None, None, None]:
    """Idle clients hold all of few descriptors, and a runtime restarts meanwhile."""
    idle: List[wire.Line] = []
    scene.restart_proxy(signal.SIGTERM, Service(descriptors=_DESCRIPTORS))
    try:
        while True:
            with suppress(OSError):
                for _ in range(_DESCRIPTORS):
                    idle.append(wire.dial(scene.path))
            scene.start_runtime(ALTERNATIVE)
            yield
            while idle:
                idle.pop().close()
    finally:
        while idle:
            idle.pop().close()
        scene.restart_proxy(signal.SIGTERM)


_ALT = (ALTERNATIVE,)
_PRIMARY = (PRIMARY,)
_ALL = (PROXY,)

FAULTS: Dict[str, Fault] = {
    "alternative killed": Fault("SIGKILL, and started again", _ALT, _killed(ALTERNATIVE), 1.0),
    "alternative stopped": Fault("SIGSTOP, SIGCONT", _ALT, _stopped(ALTERNATIVE), 1.0),
    "alternative's socket deleted": Fault("the connection is there yet", (), _socket_deleted(ALTERNATIVE), 1.0),
    "alternative's connections aged": Fault("graceful GOAWAY", (), _aged, 0.25),
    "alternative taken out": Fault("by SIGHUP, and put in again", _ALT, _taken_out, 0.5),
    "primary killed": Fault("SIGKILL, and started again", _PRIMARY, _killed(PRIMARY), 1.0),
    "primary stopped": Fault("SIGSTOP, SIGCONT", _PRIMARY, _stopped(PRIMARY), 1.0),
    "primary's socket deleted": Fault("the connection is there yet", (), _socket_deleted(PRIMARY), 1.0),
    "killed": Fault("criproxy: SIGKILL, and started again", _ALL, _restarted(signal.SIGKILL), 1.0, False),
    "upgraded": Fault("criproxy: SIGTERM, and started again", (), _restarted(signal.SIGTERM), 1.0, False),
    "stopped": Fault("criproxy: SIGSTOP, SIGCONT", (), _proxy_stopped, 0.5, False),
    "reloaded": Fault("criproxy: SIGHUP 30 times a second", (), _reloaded, 1 / 30),
    "disk full": Fault("criproxy's log takes nothing", (), _log(_full), 1.0, False),
    "log closed": Fault("nobody has the log's other end", (), _log(_closed), 1.0, False),
    "log unread": Fault("nobody reads the log", (), _log(_unread), 1.0, False),
    "journald gone": Fault("nobody listens at its socket", (), _journald(False), 1.0, False),
    "journald stuck": Fault("it reads nothing", (), _journald(True), 1.0, False),
    "descriptors": Fault("idle clients hold all of 64", _ALT, _descriptors, 1.0, False),
}
