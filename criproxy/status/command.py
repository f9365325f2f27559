"""The command line of ``criproxy status``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import lru_cache
from typing import Callable, Sequence, Tuple

from criproxy.arguments import add_socket, time_of
from criproxy.node import kubelet
from criproxy.node.runtimes import Sockets
from criproxy.node.status import Look, Report
from criproxy.node.systemd import Systemd
from criproxy.node.tree import Tree
from criproxy.report.table import JSON, WIDE, add_output
from criproxy.status import view
from criproxy.status.judgement import Level, judge, level_of
from criproxy.status.look import Seen, look
from criproxy.terminal import Terminal, terminal_of

_INTERVAL = "2s"
_HOME, _LINE_END, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
"""To the top of the screen; clears the rest of a line; clears the rest of the screen (ECMA-48: CUP, EL, ED)."""


def main(argv: Sequence[str]) -> int:
    """``criproxy status``; gives the exit status."""
    options = _parser().parse_args(argv)
    report = reporter(Tree("/"))
    if options.watch is None:
        shown, level = _look(options, report, terminal_of(sys.stdout, os.environ))
        print(shown)
        return level
    try:
        while True:
            # The terminal may have another size by now.
            terminal = terminal_of(sys.stdout, os.environ)
            shown, _ = _look(options, report, terminal)
            _draw(shown, sys.stdout.isatty())
            time.sleep(options.watch)
    except KeyboardInterrupt:
        return 0


def reporter(tree: Tree) -> Callable[[], Report]:
    """Tells of a node, again and again. What a program says of its version is asked once."""
    ask = lru_cache(maxsize=None)(kubelet.asker(tree))
    manager = Systemd(tree)

    def report() -> Report:
        # The primary runtime is not asked by way of kubelet's socket: the daemon says how that is.
        return Look(tree, manager, lambda command: ask(tuple(command)), Sockets()).report(asks=False)

    return report


def _look(options: argparse.Namespace, report: Callable[[], Report], terminal: Terminal) -> Tuple[str, Level]:
    seen = look(options.socket, report)
    findings = judge(seen)
    return shown(seen, options.output, terminal), level_of(findings)


def shown(seen: Seen, output: str, terminal: Terminal) -> str:
    """What has been seen, in one of the formats."""
    findings = judge(seen)
    if output == JSON:
        return json.dumps(view.as_json(seen, findings), indent=2)
    return view.text(seen, findings, terminal, output == WIDE)


def _draw(text: str, over: bool) -> None:
    """Shows a text, in place of the last one if that is on a terminal."""
    if over:
        lines = "".join(f"{line}{_LINE_END}\n" for line in (time.strftime("%H:%M:%S"), "", *text.split("\n")))
        print(f"{_HOME}{lines}{_REST}", end="", flush=True)
    else:
        print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="criproxy status",
        description="Show how kubelet, criproxy and each runtime are, and what to do about what is not well.",
        epilog="Exit status: 0, all is well; 1, degraded: an alternative runtime is away, a reload was refused, kubelet"
        " is restarting or its flags lead elsewhere; 2, down: criproxy does not answer, the primary runtime is away, or"
        " kubelet does not run or is in a crash loop.",
    )
    add_output(parser, wide="a line for each runtime")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=time_of,
        const=_INTERVAL,
        metavar="TIME",
        help=f"show it again and again, every {_INTERVAL} if no TIME is given, until Ctrl-C",
    )
    add_socket(parser)
    return parser
