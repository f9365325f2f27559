"""What the words of several commands have in common."""

from __future__ import annotations

import argparse
import os

from criproxy.address import path_of
from criproxy.config import duration
from criproxy.control.api import SOCKET

_VARIABLE = "CRIPROXY_CONTROL"


def add_socket(parser: argparse.ArgumentParser) -> None:
    """Adds ``--socket``: the daemon to ask."""
    parser.add_argument(
        "--socket",
        default=os.environ.get(_VARIABLE) or SOCKET,
        type=path_of,
        metavar="PATH",
        help=f"the daemon's control socket (default: {SOCKET}, or what the environment's {_VARIABLE} says)",
    )


def time_of(text: str) -> float:
    """A TIME in seconds. Raises ArgumentTypeError."""
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
