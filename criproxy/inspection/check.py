"""``criproxy check``: whether this node is right, from the configuration to what each runtime answers."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from typing import List, Sequence

from criproxy.config.words import apart
from criproxy.inspection import findings, options, subject
from criproxy.inspection.findings import STATUS, Finding
from criproxy.inspection.subject import Subject
from criproxy.node import kubelet
from criproxy.node.kubelet import NodeError
from criproxy.node.runtimes import Sockets
from criproxy.node.systemd import Systemd
from criproxy.node.tree import Tree
from criproxy.output import JSON, OUTPUT_WORDS, TABLE, add_output
from criproxy.terminal import shows_colour

_COMMAND = "criproxy check"
_OWN_WORDS = {**OUTPUT_WORDS, "--options-only": False, "-h": False, "--help": False}


def main(argv: Sequence[str]) -> int:
    """``criproxy check``; gives the exit status."""
    own, words = apart(argv, _OWN_WORDS)
    chosen = _parser().parse_args(own)
    try:
        daemon = subject.here(words)
    except NodeError as error:
        return subject.refuse(_COMMAND, error)
    if chosen.options_only:
        return options.check(daemon.words, daemon.environ)
    found = _checked(daemon)
    if chosen.output == JSON:
        print(json.dumps(findings.plain(found), indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() and chosen.output == TABLE else 0
        colors = shows_colour(sys.stdout, os.environ)
        print("\n".join(findings.lines(found, findings.can_show_marks(sys.stdout), colors, width)))
    return STATUS[findings.verdict(found)]


def _checked(daemon: Subject) -> List[Finding]:
    # gRPC's library takes its time to load, and a reload waits for the options alone.
    from criproxy.inspection.node import NodeLook
    from criproxy.inspection.whole import checked

    tree, runtimes = Tree("/"), Sockets()
    return checked(daemon, NodeLook(tree, Systemd(tree), kubelet.asker(tree), runtimes), runtimes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_COMMAND,
        usage="%(prog)s [-o {table,wide,json}] [--options-only] [OPTION ...]",
        description="Check whether this node is right: the configuration, kubelet and its units, the socket, and what"
        " each runtime answers. Nothing is changed.",
        epilog="OPTION: the daemon's, as in criproxy --help; then these and their runtimes are checked, and not the"
        " node. Without any it is about the service that is installed here. Exit status: 0, all is right; 1, something"
        " should be better; 2, kubelet cannot work so, or the options are refused. What is wrong has a line that says"
        " what to do next.",
    )
    parser.add_argument(
        "--options-only",
        action="store_true",
        help="check only whether the daemon would take the options, as a reload does first; nobody is asked",
    )
    add_output(parser, wide="each text in one line")
    return parser
