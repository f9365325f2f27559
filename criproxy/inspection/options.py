"""Whether the daemon would take its options: what a reload asks first, and nothing beyond that."""

from __future__ import annotations

from typing import Mapping, Sequence

from criproxy import config
from criproxy.report.early import say
from criproxy.report.record import ERROR, WARNING


def check(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Reads the options as the daemon does; gives the exit status: 0, or 2 if they are refused, as the daemon does.

    Warnings are left to the daemon where systemd is about to signal it: $MAINPID is set for such commands alone
    (systemd.exec(5)).
    """
    try:
        configured = config.parse(words, environ)
    except config.ConfigError as error:
        say(ERROR, str(error))
        return 2
    for warning in () if "MAINPID" in environ else configured.warnings:
        say(WARNING, f"warning: {warning}")
    return 0
