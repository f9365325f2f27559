"""One process from its start to its end: the socket, signals, and the relay between."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import socket
import stat
import traceback
from contextlib import closing, contextmanager
from typing import Iterator, Tuple

from criproxy import __version__
from criproxy.config import Config
from criproxy.relay.loop import Loop
from criproxy.relay.proxy import Proxy
from criproxy.report import journal
from criproxy.report.log import Log
from criproxy.report.record import Output
from criproxy.report.stream import Stream

DRAIN_TIME = 10.0
"""How long calls under way may take to end when the process is to stop, seconds."""
_BACKLOG = 512
_UMASK = 0o117
"""Leaves 0660 of a socket's mode."""
# Addresses of documentation (RFC 5737, RFC 3849): nothing is sent to them.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1", "{}"), (socket.AF_INET6, "2001:db8::1", "[{}]"))


class SocketError(Exception):
    """The socket to listen on cannot be had. The text names it and says why."""


def run(config: Config) -> int:
    """Serves until SIGTERM or SIGINT; gives the process's exit status."""
    log = Log(config.verbosity, _output(config))
    for warning in config.warnings:
        log.warning(warning)
    try:
        sock, identity = listen(config.listen)
    except SocketError as error:
        log.error(str(error))
        return 1
    try:
        _serve(config, log, sock)
    finally:
        _remove(config.listen, identity)
    return 0


def _output(config: Config) -> Output:
    to_journal = not config.log_to_stderr and journal.is_stderr(os.environ)
    return journal.Journal(journal.SOCKET) if to_journal else Stream()


def _serve(config: Config, log: Log, sock: socket.socket) -> None:
    def on_error(error: BaseException) -> None:
        for line in traceback.format_exception(type(error), error, error.__traceback__):
            for part in line.rstrip().split("\n"):
                log.error(f"internal error: {part}")

    loop = Loop(on_error)
    proxy = Proxy(config, loop, log, lambda: stream_url(config))

    def stop() -> None:
        proxy.drain(DRAIN_TIME, loop.stop)
        log.info(f"stopping: no new calls, {proxy.under_way} under way")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.on_signal(number, stop)
    proxy.start(sock)
    runtimes = ", ".join(f"{runtime.id}:{runtime.path}" if runtime.id else runtime.path for runtime in config.runtimes)
    log.info(f"criproxy {__version__} serves {config.listen} for {runtimes}")
    # What is there now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    loop.run()
    loop.close()
    log.info("stopped")


def listen(path: str) -> Tuple[socket.socket, Tuple[int, int]]:
    """A listening socket of mode 0660 at ``path``, and the file's identity (device, inode).

    A socket file that nobody serves is replaced. Raises SocketError.
    """
    try:
        with _locked(os.path.dirname(path) or "."):
            _clear(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(_UMASK)
            try:
                sock.bind(path)
            finally:
                os.umask(before)
            sock.listen(_BACKLOG)
            found = os.stat(path)
            return sock, (found.st_dev, found.st_ino)
    except OSError as error:
        raise SocketError(f"cannot listen on {path}: {error.strerror}") from error


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Holds a lock on a directory, so that of two that find a dead socket one replaces it, not both."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _clear(path: str) -> None:
    """Removes a socket file that nobody serves. Raises SocketError if there is anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketError(f"cannot listen on {path}: a file that is no socket is in the way; it is left alone")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(path)
    if result == errno.ECONNREFUSED:
        os.unlink(path)
    elif result in (0, errno.EAGAIN):
        raise SocketError(f"cannot listen on {path}: another process serves it")
    else:
        raise SocketError(f"cannot listen on {path}: {os.strerror(result)}; the file is left alone")


def _remove(path: str, identity: Tuple[int, int]) -> None:
    """Removes the socket file, unless somebody has put another in its place."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if (found.st_dev, found.st_ino) == identity:
        os.unlink(path)


def stream_url(config: Config) -> str:
    """What is put before a streaming URL that is a path alone."""
    if config.stream_url:
        return config.stream_url.rstrip("/")
    return f"http://{node_address()}:{config.stream_port}"


def node_address() -> str:
    """The address by which this node reaches the world, as a URL has it; that of the loopback if it has none."""
    for family, elsewhere, form in _ELSEWHERE:
        try:
            with closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
                sock.connect((elsewhere, 9))
                return form.format(sock.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"
