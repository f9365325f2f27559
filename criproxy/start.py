"""The daemon's start: its configuration first, and what serves only if that is accepted."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Sequence

from criproxy import config
from criproxy.report.early import say
from criproxy.report.record import ERROR

_DAEMON = "criproxy.daemon"


def main(words: Sequence[str]) -> int:
    """Serves with these options; gives the exit status. --help and --version print and raise SystemExit."""

    def read() -> config.Config:
        return config.parse(words, os.environ)

    try:
        configured = read()
    except config.ConfigError as error:
        say(ERROR, str(error))
        return 2
    status: int = import_module(_DAEMON).run(configured, read)
    return status
