"""What the words of several commands have in common."""

from __future__ import annotations

import argparse
import os

from criproxy.address import path_of
from criproxy.config import duration
from criproxy.config.options import CONTROL
from criproxy.node.plan import DEFAULTS

_VARIABLE = "CRIPROXY_CONTROL"


def add_socket(parser: argparse.ArgumentParser) -> None:
    """Adds ``--socket``: the daemon to ask."""
    parser.add_argument(
        "--socket",
        default=os.environ.get(_VARIABLE) or CONTROL,
        type=path_of,
        metavar="PATH",
        help=f"the daemon's control socket (default: {CONTROL}, or what the environment's {_VARIABLE} says)",
    )


def add_environment_file(parser: argparse.ArgumentParser) -> None:
    """Adds ``--environment-file``: what to change where no daemon says which file it reads."""
    parser.add_argument(
        "--environment-file",
        default=DEFAULTS,
        metavar="FILE",
        help="the file to change if no daemon answers; one that does says itself which it reads (default: %(default)s)",
    )


def time_of(text: str) -> float:
    """A TIME in seconds. Raises ArgumentTypeError."""
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
