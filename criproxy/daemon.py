"""One process from its start to its end: the socket, signals, systemd, and the relay between."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Mapping, Optional

from criproxy import __version__
from criproxy.config import Config, ConfigError, gid_of, refuse_a_loop
from criproxy.config.reload import changes, runtimes
from criproxy.control.call import Method
from criproxy.control.server import ControlServer
from criproxy.control.subject import DaemonState, Refusal
from criproxy.control.verbosity import Verbosity
from criproxy.listening import Listening, SocketError, inherited, listen, listen_for_control
from criproxy.memory_limit import default_limit
from criproxy.metrics.endpoint import Endpoint
from criproxy.relay.loop import Loop
from criproxy.relay.proxy import Proxy
from criproxy.report import internal, journal
from criproxy.report.log import Log
from criproxy.report.record import Output
from criproxy.report.stream import StreamOutput
from criproxy.service import SystemdService
from criproxy.streaming import stream_url
from criproxy.traces.endpoint import Traces

if TYPE_CHECKING:
    from criproxy.control.services import Services

DRAIN_TIME = 10.0
"""How long calls under way may take to end after SIGTERM, seconds."""


def run(config: Config, read: Callable[[], Config]) -> int:
    """Serves until SIGTERM or SIGINT; gives the process's exit status.

    ``read`` reads the configuration anew, for SIGHUP. It may raise ConfigError.
    """
    _name_process()
    if sys.stderr is not None:
        # A process that the watchdog ends (SIGABRT) shows where it was stuck.
        faulthandler.enable()
    log = Log(config.verbosity, _output(config))
    for warning in config.warnings:
        log.warning(warning)
    service = SystemdService(os.environ, log)
    try:
        listening = _listening(config, service, log)
    except (SocketError, ConfigError) as error:
        log.error(str(error))
        return 1
    controlling = _controlling(config, log)
    try:
        _Daemon(config, read, log, service, listening, controlling).run()
    finally:
        listening.release()
        if controlling is not None:
            controlling.release()
    return 0


def _name_process() -> None:
    """Sets our name for ps and pgrep, however the interpreter was started."""
    with suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write("criproxy")


def _output(config: Config) -> Output:
    to_journal = not config.log_to_stderr and journal.is_stderr(os.environ)
    return journal.Journal(journal.SOCKET) if to_journal else StreamOutput()


def _listening(config: Config, service: SystemdService, log: Log) -> Listening:
    """The socket that systemd has passed, or one of our own. Raises SocketError and ConfigError."""
    fds = service.listening_fds()
    if not fds:
        return listen(config.listen, gid_of(config.socket_group))
    listening = inherited(fds)
    if os.path.realpath(listening.path) != os.path.realpath(config.listen):
        log.warning(f"listen: {config.listen} is ignored: systemd passed {listening.path}")
        refuse_a_loop(listening.path, config.runtimes, config.image_service, config.retiring)
    _warn_of_group(config, log, listening)
    return listening


def _controlling(config: Config, log: Log) -> Optional[Listening]:
    """The control socket. To serve kubelet it is not needed: that there is none is no more than a warning."""
    if not config.control:
        return None
    try:
        return listen_for_control(config.control)
    except SocketError as error:
        log.warning(f"control: {error}: criproxy status and other commands cannot ask this process")
        return None


def _warn_of_group(config: Config, log: Log, listening: Listening) -> None:
    """A socket that is there belongs to whom it belongs: systemd's file is beyond our reach."""
    name = config.socket_group
    if name and listening.gid != gid_of(name):
        log.warning(
            f"socket-group: {name} has no effect: {listening.path} belongs to the group {listening.gid}; restart"
            " criproxy, or, if systemd has made the socket, put CRIPROXY_SOCKET_GROUP into /etc/default/criproxy and"
            " run: criproxy node apply"
        )


class _Daemon:
    """What serves, and what signals do to it."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config],
        log: Log,
        service: SystemdService,
        listening: Listening,
        controlling: Optional[Listening],
    ) -> None:
        self._config = config
        self._read = read
        self._log = log
        self._service = service
        self._listening = listening
        self._controlling = controlling
        self._state = DaemonState(listening.path, time.time())
        self._state.follow(config)
        self._loop = Loop(self._on_error)
        self._proxy = Proxy(config, self._loop, log, stream_url, self._on_change, default_limit("/"))
        self._metrics = Endpoint(self._loop, log, self._state, self._proxy)
        self._traces = Traces(self._state, self._proxy, self._loop, log)
        self._verbosity = Verbosity(self._loop, log, config.verbosity)
        self._services: Optional[Services] = None
        """Those of the control socket, if somebody has asked for one."""
        self._ready = False

    def run(self) -> None:
        """Serves until it is told to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.on_signal(number, self._stop)
        self._loop.on_signal(signal.SIGHUP, self._on_hangup)
        self._feed_watchdog()
        self._proxy.start(self._listening.sock)
        control_server = self._serve_control()
        self._metrics.open(self._config.metrics_listen)
        self._traces.move(self._config.otlp_endpoint)
        self._log.info(f"criproxy {__version__} serves {self._listening.path} for {runtimes(self._config)}")
        # What is there now stays, two hundred objects of garbage among it: the collector, which has been off from the
        # first import on, need not look at it.
        gc.freeze()
        gc.enable()
        self._loop.run()
        if control_server is not None:
            control_server.close()
        self._metrics.close()
        self._traces.close()
        self._loop.close()
        self._log.info("stopped")

    def _serve_control(self) -> Optional[ControlServer]:
        if self._controlling is None:
            return None
        return ControlServer(self._loop, self._log, self._controlling.sock, self._control_methods)

    def _control_methods(self) -> Mapping[str, Method]:
        from criproxy.control.services import Services  # see there

        made = Services(self._state, self._proxy, self._loop, self._log, self._verbosity, self._reload)
        self._services = made
        return made.methods

    def _on_error(self, error: BaseException) -> None:
        for line in internal.lines(error):
            self._log.error(f"internal error: {line}")

    def _on_change(self) -> None:
        if self._services is not None:
            self._services.tell()
        if self._state.stopping:
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
        if self._state.stopping:
            self._log.warning(f"a second signal: stopping at once, calls cut off: {self._proxy.under_way}")
            self._loop.stop()
            return
        self._state.stopping = True
        if self._services is not None:
            self._services.tell()
        self._service.stopping()
        self._proxy.drain(DRAIN_TIME, self._loop.stop)
        self._log.info(f"stopping: no new calls, {self._proxy.under_way} under way")

    def _on_hangup(self) -> None:
        self._reload()

    def _reload(self) -> str:
        """Reads the configuration again; gives the reason if it is refused, or nothing."""
        if self._state.stopping:
            return "criproxy is being stopped"
        self._service.reloading()
        try:
            self._take(self._read())
        except ConfigError as error:
            self._state.refusals += 1
            self._state.refusal = Refusal(time.time(), str(error))
            self._log.error(f"reload refused, the configuration in force stays: {error}")
            return str(error)
        finally:
            self._ready = False
            self._on_change()
        return ""

    def _take(self, config: Config) -> None:
        """Makes a configuration that has been read the one in force."""
        before = self._config
        refuse_a_loop(self._listening.path, config.runtimes, config.image_service, config.retiring)
        try:
            self._metrics.move(config.metrics_listen)
        except SocketError as error:
            raise ConfigError(f"metrics-listen: {error}") from error
        self._traces.move(config.otlp_endpoint)
        for warning in config.warnings:
            self._log.warning(warning)
        if config.listen != before.listen:
            self._log.warning(f"listen: {config.listen} needs a restart; until then it is {self._listening.path}")
            config = config._replace(listen=before.listen)
        if config.control != before.control:
            self._log.warning(
                f"control: {config.control or 'none'} needs a restart; until then it is {before.control or 'none'}"
            )
            config = config._replace(control=before.control)
        if config.socket_group != before.socket_group:
            _warn_of_group(config, self._log, self._listening)
        self._config = config
        self._verbosity.follow(config.verbosity)
        if config.log_to_stderr != before.log_to_stderr:
            self._log.output = _output(config)
        self._log.info(f"reloaded: {changes(before, config) or 'nothing has changed'}")
        self._state.reloads += 1
        self._state.loaded_at, self._state.refusal = time.time(), None
        self._state.follow(config)
        self._proxy.reload(config)
