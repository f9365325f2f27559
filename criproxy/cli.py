"""The command line: the daemon, and the commands around it."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import Any, Optional, Sequence

from criproxy import config
from criproxy.report import journal
from criproxy.report.record import ERROR, WARNING, Level
from criproxy.text import escape

_DAEMON = "criproxy.daemon:run"
_COMMANDS = {
    "check": "criproxy.cli:check",
    "status": "criproxy.status.command:main",
    "show": "criproxy.show:main",
    "trace": "criproxy.operate.trace:main",
    "runtime": "criproxy.operate.runtimes:main",
    "drain": "criproxy.operate.drain:drain",
    "undrain": "criproxy.operate.drain:undrain",
    "log-level": "criproxy.operate.log_level:main",
    "node": "criproxy.node.command:main",
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
        return _run(_COMMANDS[words[0]], words[1:])

    def read() -> config.Config:
        return config.parse(words, os.environ)

    try:
        configured = read()
    except config.ConfigError as error:
        return _refuse(error)
    return _run(_DAEMON, configured, read)


def check(words: Sequence[str]) -> int:
    """``criproxy check``: whether the daemon takes these options, for systemd's ``ExecReload=``.

    Returns the exit status: 0, or 2 if they are refused, as the daemon does. Warnings are left to the daemon where
    systemd is about to signal it: $MAINPID is set for such commands alone (systemd.exec(5)).
    """
    try:
        configured = config.parse(words, os.environ)
    except config.ConfigError as error:
        return _refuse(error)
    for warning in () if "MAINPID" in os.environ else configured.warnings:
        _say(WARNING, f"warning: {warning}")
    return 0


def _refuse(error: config.ConfigError) -> int:
    _say(ERROR, str(error))
    return 2


def _say(level: Level, text: str) -> None:
    """Writes a line to standard error: no configuration says yet where to log."""
    # The journal takes "<N>" at the beginning of a line for its priority (sd-daemon(3)).
    priority = f"<{level.priority}>" if journal.is_stderr(os.environ) else ""
    print(f"{priority}criproxy: {escape(text)}", file=sys.stderr)


def _run(where: str, *arguments: Any) -> int:
    module, _, function = where.partition(":")
    status: int = getattr(import_module(module), function)(*arguments)
    return status
