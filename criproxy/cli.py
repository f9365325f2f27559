"""The command line: the daemon, and the commands around it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Optional, Sequence

from criproxy import config
from criproxy.report import journal

_DAEMON = "criproxy.daemon:run"
_COMMANDS = {
    "show": "criproxy.show:main",
    "node": "criproxy.node.command:main",
    "demo": "criproxy.demo.run:main",
    "demo-runtime": "criproxy.demo.server:main",
}
"""Imported only when asked for: the daemon must not pay for what the commands need."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the daemon, or the command that the first word names. Returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in _COMMANDS:
        return _run(_COMMANDS[words[0]], words[1:])

    def read() -> config.Config:
        return config.parse(words, os.environ)

    try:
        configured = read()
    except config.ConfigError as error:
        # Nothing says yet where to log to. Of a line with a priority in front the journal knows how serious it is.
        print(f"{'<3>' if journal.is_stderr(os.environ) else ''}criproxy: {error}", file=sys.stderr)
        return 2
    return _run(_DAEMON, configured, read)


def _run(where: str, *arguments: Any) -> int:
    module, _, function = where.partition(":")
    status: int = getattr(import_module(module), function)(*arguments)
    return status
