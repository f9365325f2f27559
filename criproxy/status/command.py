"""The command line of ``criproxy status``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import lru_cache
from typing import Callable, Sequence, Tuple

from criproxy.arguments import add_socket, time_of
from criproxy.node import kubelet
from criproxy.node.runtimes import Sockets
from criproxy.node.status import Look, Report
from criproxy.node.systemd import Systemd
from criproxy.node.tree import Tree
from criproxy.output import JSON, WIDE, add_output
from criproxy.status import view
from criproxy.status.judgement import Level, judge, level_of
from criproxy.status.look import Seen, look
from criproxy.terminal import Terminal, terminal_of, watch

_INTERVAL = "2s"


def main(argv: Sequence[str]) -> int:
    """``criproxy status``; gives the exit status."""
    options = _parser().parse_args(argv)
    report = reporter(Tree("/"))
    if options.watch is not None:
        return watch(lambda terminal: _look(options, report, terminal)[0], options.watch)
    shown, level = _look(options, report, terminal_of(sys.stdout, os.environ))
    print(shown)
    return level


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
