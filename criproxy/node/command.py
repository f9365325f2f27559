"""``criproxy node``: turn this node over to criproxy, and back."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import Sequence

from criproxy.node import kubelet, plan
from criproxy.node.kubelet import NodeError
from criproxy.node.plan import Wishes
from criproxy.node.systemd import Systemd
from criproxy.node.tree import Tree
from criproxy.node.turn import Node

_NOT_TURNED = 3
"""The exit status of ``status`` for a node that is not turned over."""


def main(argv: Sequence[str]) -> int:
    """Runs ``criproxy node``; gives the exit status."""
    options = _parser().parse_args(argv)
    tree = Tree(os.path.abspath(options.root))
    node = Node(tree, Systemd(tree), kubelet.asker(tree), _reach, partial(print, flush=True))
    try:
        return _run(options, node)
    except NodeError as error:
        print(f"criproxy node {options.action}: {error}", file=sys.stderr)
    except PermissionError as error:
        print(f"criproxy node {options.action}: {error.filename}: {error.strerror}; it takes root", file=sys.stderr)
    return 1


def _run(options: argparse.Namespace, node: Node) -> int:
    if options.action == "revert":
        node.revert()
        return 0
    if options.action == "status":
        lines, turned = node.status()
        print("\n".join(lines))
        return 0 if turned else _NOT_TURNED
    wishes = Wishes(options.primary, options.other, options.attach_detach)
    if options.action == "plan":
        for line in node.differences(node.plan(wishes)):
            print(line)
        return 0
    node.apply(wishes, options.again)
    return 0


def _reach(socket: str) -> str:
    from criproxy.client import Client, ClientError  # gRPC's library takes its time to load, and few need it

    try:
        with Client(socket) as client:
            version = client.call("Version")
    except ClientError as error:
        raise NodeError(str(error)) from error
    return f"{version.runtime_name} {version.runtime_version}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="criproxy node",
        description="Put criproxy between this node's kubelet and its runtimes, or take it away again.",
        epilog="plan shows what apply would change, as a diff, and touches nothing. apply registers each change under"
        " /var/lib/criproxy before it makes it; revert undoes them all and leaves /etc/default/criproxy. Exit status:"
        " 0, or 1 with a line that says why (the node is then as it was); status gives 3 for a node that is not turned"
        " over.",
    )
    actions = parser.add_subparsers(dest="action", metavar="{plan,apply,revert,status}", required=True)
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument("--root", default="/", metavar="DIR", help="where the node's files are (default: %(default)s)")
    wishes = argparse.ArgumentParser(add_help=False, parents=[root])
    names = ", ".join((plan.AUTO, *plan.RUNTIMES))
    wishes.add_argument(
        "--primary",
        metavar="RUNTIME",
        help=f"the primary runtime: {names}, or a socket's path (default: what {plan.DEFAULTS} says, or else auto, the"
        " one that kubelet uses without criproxy)",
    )
    wishes.add_argument(
        "--other",
        metavar="ID:PATH,...",
        help=f"the other runtimes (default: what {plan.DEFAULTS} says, or else {plan.OTHER})",
    )
    wishes.add_argument(
        "--attach-detach",
        choices=(plan.AUTO, "keep", "off"),
        help="off: start kubelet with --enable-controller-attach-detach=false, as Virtlet's volumes need it; auto: if"
        " one of the runtimes is virtlet.cloud; keep: never (default: what was said the last time, or else auto)",
    )
    actions.add_parser("plan", parents=[wishes], help="show what would be changed")
    apply = actions.add_parser("apply", parents=[wishes], help="turn the node over")
    apply.add_argument(
        "--again",
        action="store_true",
        help="only bring up to date what has been applied, as when kubelet's package changes; a node that was given"
        " back stays so",
    )
    actions.add_parser("revert", parents=[root], help="give the node back as it was")
    actions.add_parser("status", parents=[root], help="show how things are")
    return parser
