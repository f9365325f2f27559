"""The command line: the daemon, and the commands around it."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from importlib import import_module
from typing import Any, Optional, Sequence

_DAEMON = "criproxy.start:main"
_PIPE_CLOSED = 128 + signal.SIGPIPE
"""The exit status that a shell gives to whoever is ended by that."""
_COMMANDS = {
    "check": "criproxy.cli:check",
    "status": "criproxy.status.command:main",
    "config": "criproxy.inspection.settings:main",
    "route": "criproxy.cli:route",
    "show": "criproxy.show.command:main",
    "trace": "criproxy.operate.trace:main",
    "runtime": "criproxy.operate.runtimes:main",
    "drain": "criproxy.operate.drain:drain",
    "undrain": "criproxy.operate.drain:undrain",
    "log-level": "criproxy.operate.log_level:main",
    "node": "criproxy.migrate.command:main",
    "demo": "criproxy.demo.run:main",
    "demo-runtime": "criproxy.demo.server:main",
}
"""Each is imported only when it is asked for, so the daemon does not pay for what the commands need."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the daemon, or the command that the first word names. Returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in _COMMANDS:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A name or a path need not be in the locale's characters, nor in any.
            sys.stdout.reconfigure(errors="backslashreplace")
        return _command(words[0], words[1:])

    # Of all that is made until the daemon serves next to nothing is garbage, and to look for that takes a tenth of the
    # start. It is looked for again from there on.
    gc.disable()
    try:
        return _run(_DAEMON, words)
    finally:
        gc.enable()


def _command(name: str, words: Sequence[str]) -> int:
    try:
        status = _run(_COMMANDS[name], words)
        print(end="", flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough, as head(1): that is no fault, and nothing more is to be written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    return status


def check(words: Sequence[str]) -> int:
    """``criproxy check``: whether this node is right; gives the exit status.

    For systemd's ``ExecReload=`` only whether the daemon takes these options: that has to be fast and to depend on
    nothing else. $MAINPID is set for such commands alone (systemd.exec(5)).
    """
    if "MAINPID" in os.environ:
        return _run("criproxy.inspection.options:check", words, os.environ)
    return _run("criproxy.inspection.check:main", words)


def route(words: Sequence[str]) -> int:
    """``criproxy route``: where something would go, or the rules by which it does; gives the exit status."""
    about_rules = words and words[0] in ("add", "remove", "list")
    return _run("criproxy.operate.routes:main" if about_rules else "criproxy.inspection.route:main", words)


def _run(where: str, *arguments: Any) -> int:
    module, _, function = where.partition(":")
    status: int = getattr(import_module(module), function)(*arguments)
    return status
