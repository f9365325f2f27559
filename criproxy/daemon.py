"""One process from its start to its end: the socket, signals, systemd, and the relay between."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import socket
import sys
import traceback
from contextlib import closing, suppress
from dataclasses import fields, replace
from typing import Callable, Sequence

from criproxy import __version__
from criproxy.config import Config, ConfigError, Runtime, refuse_a_loop
from criproxy.listening import Listening, SocketError, inherited, listen
from criproxy.relay.loop import BUSY, Loop
from criproxy.relay.proxy import Proxy
from criproxy.report import journal
from criproxy.report.log import Log
from criproxy.report.record import Output
from criproxy.report.stream import Stream
from criproxy.service import Service

DRAIN_TIME = 10.0
"""How long calls under way may take to end when the process is to stop, seconds."""
# Addresses of documentation (RFC 5737, RFC 3849): nothing is sent to them.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1", "{}"), (socket.AF_INET6, "2001:db8::1", "[{}]"))


def run(config: Config, read: Callable[[], Config]) -> int:
    """Serves until SIGTERM or SIGINT; gives the process's exit status.

    ``read`` reads the configuration anew, for SIGHUP. It may raise ConfigError.
    """
    _name_process()
    if sys.stderr is not None:
        # What the watchdog ends (SIGABRT) shows where it has been stuck.
        faulthandler.enable()
    log = Log(config.verbosity, _output(config))
    for warning in config.warnings:
        log.warning(warning)
    service = Service(os.environ, log)
    try:
        listening = _listening(config, service, log)
    except (SocketError, ConfigError) as error:
        log.error(str(error))
        return 1
    try:
        _Daemon(config, read, log, service, listening).run()
    finally:
        listening.release()
    return 0


def _name_process() -> None:
    """Our name for ps and pgrep, however the interpreter has been started; it matters to nothing else."""
    with suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write("criproxy")


def _output(config: Config) -> Output:
    to_journal = not config.log_to_stderr and journal.is_stderr(os.environ)
    return journal.Journal(journal.SOCKET) if to_journal else Stream()


def _listening(config: Config, service: Service, log: Log) -> Listening:
    """The socket that systemd has handed over, or else one of our own. Raises SocketError and ConfigError."""
    fds = service.listening_fds()
    if not fds:
        return listen(config.listen)
    listening = inherited(fds)
    if os.path.realpath(listening.path) != os.path.realpath(config.listen):
        log.warning(f"listen: {config.listen} is not looked at: systemd has handed over {listening.path}")
        refuse_a_loop(listening.path, config.runtimes)
    return listening


class _Daemon:
    """What serves, and what signals do to it."""

    def __init__(
        self, config: Config, read: Callable[[], Config], log: Log, service: Service, listening: Listening
    ) -> None:
        self._config = config
        self._read = read
        self._log = log
        self._service = service
        self._listening = listening
        self._loop = Loop(self._on_error, BUSY)
        self._proxy = Proxy(config, self._loop, log, stream_url, self._on_change)
        self._ready = False
        self._stopping = False

    def run(self) -> None:
        """Serves until it is told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._stop)
        self._loop.on_signal(signal.SIGHUP, self._reload)
        self._feed_watchdog()
        self._proxy.start(self._listening.sock)
        self._log.info(f"criproxy {__version__} serves {self._listening.path} for {_connect(self._config.runtimes)}")
        # What is there now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        self._loop.run()
        self._loop.close()
        self._log.info("stopped")

    def _on_error(self, error: BaseException) -> None:
        for line in traceback.format_exception(type(error), error, error.__traceback__):
            for part in line.rstrip().split("\n"):
                self._log.error(f"internal error: {part}")

    def _on_change(self) -> None:
        if self._stopping:
            return
        self._service.status(self._proxy.state)
        if self._proxy.ready and not self._ready:
            self._ready = True
            self._service.ready()

    def _feed_watchdog(self) -> None:
        interval = self._service.watchdog_interval
        if interval is not None:
            self._loop.call_later(interval, self._feed_watchdog)
            self._service.feed_watchdog()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._service.stopping()
        self._proxy.drain(DRAIN_TIME, self._loop.stop)
        self._log.info(f"stopping: no new calls, {self._proxy.under_way} under way")

    def _reload(self) -> None:
        if self._stopping:
            return
        self._service.reloading()
        try:
            self._take(self._read())
        except ConfigError as error:
            self._log.error(f"the configuration is refused, the one before stays: {error}")
        finally:
            self._ready = False
            self._on_change()

    def _take(self, config: Config) -> None:
        """Makes a configuration that has been read the one in force."""
        before = self._config
        refuse_a_loop(self._listening.path, config.runtimes)
        for warning in config.warnings:
            if warning not in before.warnings:
                self._log.warning(warning)
        if config.listen != before.listen:
            self._log.warning(f"listen: {config.listen} takes a restart; until then it is {self._listening.path}")
            config = replace(config, listen=before.listen)
        self._config = config
        self._log.verbosity = config.verbosity
        if config.log_to_stderr != before.log_to_stderr:
            self._log.output = _output(config)
        self._log.info(f"reloaded: {_changes(before, config) or 'nothing is new'}")
        self._proxy.reload(config)


def _changes(before: Config, now: Config) -> str:
    names = [field.name for field in fields(Config) if field.name not in ("runtimes", "warnings")]
    changed = [f"connect {_connect(now.runtimes)}"] if now.runtimes != before.runtimes else []
    for name in names:
        if getattr(before, name) != getattr(now, name):
            changed.append(f"{name.replace('_', '-')} {getattr(now, name)}")
    return "; ".join(changed)


def _connect(runtimes: Sequence[Runtime]) -> str:
    return ", ".join(f"{runtime.id}:{runtime.path}" if runtime.id else runtime.path for runtime in runtimes)


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
