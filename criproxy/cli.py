"""The command line: the daemon, and the commands around it."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Dict, Optional, Sequence

COMMANDS: Dict[str, str] = {
    "show": "criproxy.show",
    "demo": "criproxy.demo.run",
    "demo-runtime": "criproxy.demo.server",
}
"""The module of each command; its ``main`` takes the arguments and gives the exit status. They are imported when they
are used: what they need (grpcio) would cost the daemon more memory than all it is made of."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs what the arguments ask for and gives the process's exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in COMMANDS:
        status: int = import_module(COMMANDS[arguments[0]]).main(arguments[1:])
        return status
    return _serve(arguments)


def _serve(arguments: Sequence[str]) -> int:
    # Here for the commands' sake: they need nothing of it.
    from criproxy.config import ConfigError, parse
    from criproxy.daemon import run

    try:
        config = parse(arguments, os.environ)
    except ConfigError as error:
        print(f"criproxy: {error}", file=sys.stderr)
        return 2
    return run(config)
