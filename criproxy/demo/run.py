"""``criproxy demo``: the proxy before two demo runtimes, or before real ones, for people to try.

All of them run in processes of their own, as on a node. What they say goes to files beside the sockets.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any, List, Optional, Sequence, Tuple

import grpc

from criproxy.client import Client, ClientError, channel
from criproxy.config import Config, ConfigError, RuntimeAddress, parse
from criproxy.demo.pods import run_pod
from criproxy.demo.server import is_served
from criproxy.show import tables
from criproxy.show.look import ALL, look

ALTERNATIVE = "alt.demo"
"""The id of the embedded alternative runtime."""

_SEEDS = {
    "": (
        "kube-system/kube-proxy=registry.k8s.io/kube-proxy:v1.31.0",
        "default/web=docker.io/library/nginx:1.27,docker.io/library/redis:7.4",
    ),
    ALTERNATIVE: ("default/vm=docker.io/library/fedora:41",),
}
"""What each embedded runtime begins with."""
_START_TIME = 120.0
"""How long a process that we have started may take until it answers, seconds."""
_ARRIVAL_TIME = 3.0
"""How long a real runtime is waited for, seconds; the proxy looks for it several times a second."""
_STOP_TIME = 15.0
"""How long a process may take to end, seconds."""
_LAST_WORDS = 20
"""How many lines of a process's log are shown if it ends by itself."""


class DemoError(Exception):
    """The demo cannot go on. The text says why, with the last words of the process that is to blame."""


class _Stopped(Exception):
    """By Ctrl-C or SIGTERM."""


class _Processes:
    """The processes of the demo, and a place to wait for what happens to them and to us."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._watched: List[Tuple[subprocess.Popen[bytes], threading.Thread]] = []
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ended: List[str] = []
        self._stopped = False

    def start(self, name: str, *arguments: str) -> None:
        """Starts criproxy with these arguments. What it says goes to ``NAME.log``."""
        log = os.path.join(self._directory, f"{name}.log")
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "criproxy", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us alone: we end them in their order.
            )

        def watch() -> None:
            status = process.wait()
            self._ended.append(f"{name} ended with status {status}:\n{_last_words(log)}")
            self.wake()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        self._watched.append((process, watcher))

    def wake(self, *_: Any) -> None:
        """Ends `wait`."""
        self._wakes.put(None)

    def stop(self, *_: Any) -> None:
        """Ends `wait` with _Stopped. May be called by a signal."""
        self._stopped = True
        self.wake()

    def wait(self, seconds: Optional[float] = None) -> bool:
        """Whether `wake` was called within this time. Raises DemoError if a process has ended, and _Stopped."""
        try:
            self._wakes.get(timeout=seconds)
        except queue.Empty:
            return False
        if self._stopped:
            raise _Stopped
        if self._ended:
            raise DemoError(self._ended[0])
        return True

    def end(self) -> None:
        """Ends them, the last one first."""
        for process, watcher in reversed(self._watched):
            process.terminate()
            watcher.join(_STOP_TIME)
            if watcher.is_alive():
                process.kill()


def _last_words(log: str) -> str:
    with open(log, encoding="utf-8", errors="replace") as lines:
        return "".join(deque(lines, _LAST_WORDS)).rstrip() or "(no output)"


def main(argv: Sequence[str]) -> int:
    """``criproxy demo``; gives the exit status: 1 if something does not start, or ends by itself."""
    parser = _parser()
    options = parser.parse_args(argv)
    arguments = ["-connect", options.connect or _embedded(options.dir), "-listen", f"{options.dir}/criproxy.sock"]
    arguments += ["-control", f"{options.dir}/control.sock"]
    try:
        config = parse(arguments, {})
        os.makedirs(options.dir, exist_ok=True)
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    processes = _Processes(options.dir)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last is a configuration to read for criproxy
        signal.signal(number, processes.stop)
    try:
        _require_free(config.listen)
        if not options.connect:
            _start_runtimes(processes, config)
        processes.start("criproxy", "-v", "2", *arguments)
        _show(processes, config, embedded=not options.connect)
        if not options.once:
            print(_hint(config.listen, config.control), flush=True)
            while True:
                processes.wait()
    except _Stopped:
        return 0
    except (DemoError, ClientError) as error:
        print(f"criproxy demo: {error}", file=sys.stderr)
        return 1
    finally:
        processes.end()
    return 0


def _embedded(directory: str) -> str:
    """The embedded runtimes as an argument of the proxy."""
    return f"{directory}/primary.sock,{ALTERNATIVE}:{directory}/{ALTERNATIVE}.sock"


def _require_free(path: str) -> None:
    """Raises DemoError if a socket is somebody else's, whom we would take for our own process."""
    if is_served(path):
        raise DemoError(f"{path}: another process serves it; choose another directory with --dir")


def _start_runtimes(processes: _Processes, config: Config) -> None:
    for runtime in config.runtimes:
        _require_free(runtime.path)
        name = runtime.id or "primary"
        seeds = [argument for seed in _SEEDS[runtime.id] for argument in ("--seed", seed)]
        processes.start(name, "demo-runtime", "--listen", runtime.path, "--name", f"demo-{name}", *seeds)


def _show(processes: _Processes, config: Config, embedded: bool) -> None:
    """Waits for everybody, and shows what kubelet would see. Raises DemoError, ClientError and _Stopped."""
    _await_proxy(processes, config.listen)
    with Client(config.listen) as client:
        for runtime in config.runtimes:
            _await_runtime(processes, client, runtime, embedded)
        if embedded:
            for runtime in config.runtimes:
                run_pod(client.call, "default", "hello", ["docker.io/library/busybox:1.36"], runtime.id)
    seen = look(config.listen)
    if seen.problem:
        raise DemoError(seen.problem)
    print(tables.text(seen, ALL), flush=True)


def _hint(path: str, control: str) -> str:
    python = min(sys.executable, os.path.relpath(sys.executable), key=len)
    return f"""
It serves until Ctrl-C. To try it:
  crictl -r unix://{os.path.abspath(path)} ps
  {python} -m criproxy status --socket {control} --watch
  {python} -m criproxy show --socket {path} --watch"""


def _await_proxy(processes: _Processes, path: str) -> None:
    with contextlib.closing(channel(path)) as to:
        ready = grpc.channel_ready_future(to)
        ready.add_done_callback(processes.wake)
        try:
            if not processes.wait(_START_TIME):
                raise DemoError(f"the proxy did not answer within {_START_TIME:g} seconds")
        finally:
            ready.cancel()


def _await_runtime(processes: _Processes, client: Client, runtime: RuntimeAddress, embedded: bool) -> None:
    """Asks for a pod that is not there until the runtime says so, and not the proxy that there is no runtime.

    A real alternative runtime may be missing. Raises ClientError if another does not come, DemoError and _Stopped.
    """
    deadline = time.monotonic() + (_START_TIME if embedded else _ARRIVAL_TIME)
    pod_id = f"{runtime.id}__none" if runtime.id else "none"
    while True:
        try:
            client.call("PodSandboxStatus", pod_sandbox_id=pod_id)
        except ClientError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                return
            if time.monotonic() > deadline:
                if embedded or not runtime.id:
                    raise
                print(f"{error}\n", flush=True)
                return
        processes.wait(0.1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="criproxy demo",
        description="Run the proxy before two runtimes in memory, or before real ones, show what kubelet would see"
        " through it, and serve until Ctrl-C.",
    )
    parser.add_argument("--once", action="store_true", help="show it and end")
    parser.add_argument("--dir", default="run", help="where to put sockets and logs (default: %(default)s)")
    parser.add_argument(
        "--connect", metavar="RUNTIME,...", help="real runtimes, as criproxy --connect takes them: PATH,ID:PATH"
    )
    return parser
