"""``criproxy log-level``: how much the daemon logs, for a while."""

from __future__ import annotations

import argparse
from typing import Any, Dict, Sequence

from criproxy.arguments import add_socket, time_of
from criproxy.client import ClientError
from criproxy.config import level
from criproxy.control.client import ControlClient
from criproxy.operate.outcome import Exit, say_refused, tell
from criproxy.output import add_output
from criproxy.text import period

_NAME = "log-level"


def main(argv: Sequence[str]) -> int:
    """``criproxy log-level``; gives the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.time is not None and (options.level is None or not options.time):
        parser.error("--for needs a level, and a time of more than 0")
    try:
        with ControlClient(options.socket) as client:
            if options.level is None:
                told = client.call("GetVerbosity")
            else:
                told = client.call("SetVerbosity", level=options.level, period=options.time or 0.0)
    except ClientError as error:
        return say_refused(_NAME, error)
    tell(options.output, _plain(told), [describe(told)])
    return Exit.DONE


def describe(told: Any) -> str:
    """A verbosity (of the control socket) in words."""
    if told.remaining:
        return f"verbosity {told.level} for another {period(told.remaining)}, then {told.configured}, as configured"
    if told.level != told.configured:
        return (
            f"verbosity {told.level} until a restart, or until the configuration has another one than {told.configured}"
        )
    return f"verbosity {told.level}, as configured"


def _plain(told: Any) -> Dict[str, Any]:
    return {"level": told.level, "configured": told.configured, "remaining": told.remaining}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"criproxy {_NAME}",
        description="Change how much the daemon logs, at once and without a change of its configuration; without a"
        " level, show it.",
        epilog="What is asked for stays over a reload, unless that changes the configured verbosity, and ends with the"
        " daemon. Exit status: 0, done; 2, the daemon does not answer.",
    )
    parser.add_argument("level", nargs="?", type=_level, metavar="N", help="what is logged: as criproxy --verbosity")
    parser.add_argument(
        "--for",
        dest="time",
        type=time_of,
        metavar="TIME",
        help="after this time the configured verbosity is in force again, as 10m",
    )
    add_output(parser)
    add_socket(parser)
    return parser


def _level(text: str) -> int:
    try:
        return level(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
