"""``criproxy node``: turn this node over to criproxy, and back."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence

from criproxy.config import duration
from criproxy.node import kubelet, plan, watch
from criproxy.node.kubelet import NodeError
from criproxy.node.plan import Wishes
from criproxy.node.runtimes import Sockets
from criproxy.node.status import Look
from criproxy.node.systemd import Systemd
from criproxy.node.tree import Tree
from criproxy.node.turn import Manner, Node
from criproxy.text import escape

_ACTIONS = ("plan", "apply", "revert", "status")
_WATCH = "CRIPROXY_NODE_WATCH"
"""The environment variable for ``--watch``: packages call this program, and pass their environment on."""


class Action(NamedTuple):
    """An action that is not written here, since it needs more than what changes a node."""

    add: Callable[[Any], None]
    """Adds its parser to those of the other actions."""
    run: Callable[[argparse.Namespace], int]
    """Gives the exit status. Raises NodeError or OSError."""


def main(argv: Sequence[str], more: Optional[Mapping[str, Action]] = None) -> int:
    """Runs ``criproxy node``, which may have more actions; gives the exit status."""
    others = more or {}
    options = parser(others).parse_args(argv)
    try:
        if options.action in others:
            return others[options.action].run(options)
        return _run(options, Tree(os.path.abspath(options.root)))
    except NodeError as error:
        why = str(error)
    except PermissionError as error:
        why = f"{error.filename}: {error.strerror}; it takes root"
    except OSError as error:
        why = f"{error.filename}: {error.strerror}"
    print(f"criproxy node {options.action}: {escape(why)}", file=sys.stderr)
    return 1


def say(line: str) -> None:
    """Says a line to standard output, in which may be what a runtime has said."""
    print(escape(line), flush=True)


def _run(options: argparse.Namespace, tree: Tree) -> int:
    manager, ask, runtimes = Systemd(tree), kubelet.asker(tree), Sockets()
    if options.action == "status":
        report = Look(tree, manager, ask, runtimes).report()
        print(report.text)
        return report.verdict
    if options.action == "revert":
        Node(tree, manager, ask, runtimes, say, Manner(options.files_only, options.force)).revert()
        return 0
    wishes = Wishes(
        options.primary, options.other, options.attach_detach, options.image_service, options.kubelet_version
    )
    if options.action == "plan":
        return _plan(Node(tree, manager, ask, runtimes, say), wishes)
    manner = Manner(options.files_only, options.force, options.watch)
    Node(tree, manager, ask, runtimes, say, manner).apply(wishes, options.again)
    return 0


def _plan(node: Node, wishes: Wishes) -> int:
    made = node.plan(wishes)
    lines = list(node.differences(made))
    for line in lines or ["nothing to change"]:
        say(line.expandtabs())
    for line in node.prospects(made):
        say(f"# {line}")
    return 0


def parser(more: Mapping[str, Action]) -> argparse.ArgumentParser:
    """What understands the words of ``criproxy node``."""
    parser = argparse.ArgumentParser(
        prog="criproxy node",
        description="Put criproxy between this node's kubelet and its runtimes, or take it away again.",
        epilog="plan shows what apply would change, as a diff, and touches nothing. apply registers each change under"
        " /var/lib/criproxy before it makes it; revert undoes them all and leaves /etc/default/criproxy. Exit status:"
        " 0, or 1 with a line that says why, and what of the node is not as it was. Of status: 0, all is well; 1, it is"
        " not, and a line for each reason says what to do next; 3, the node is not turned over.",
    )
    names = ",".join((*_ACTIONS, *more))
    actions = parser.add_subparsers(dest="action", metavar=f"{{{names}}}", required=True)
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument("--root", default="/", metavar="DIR", help="where the node's files are (default: %(default)s)")
    change = argparse.ArgumentParser(add_help=False)
    change.add_argument(
        "--files-only",
        action="store_true",
        help="write files, and start, stop or restart nothing: as policy-rc.d can ask for; another apply does the rest",
    )
    change.add_argument("--force", action="store_true", help="go on though a runtime that goes still has pods")
    wishes = _wishes(root)
    actions.add_parser("plan", parents=[wishes], help="show what would be changed")
    apply = actions.add_parser("apply", parents=[wishes, change], help="turn the node over")
    apply.add_argument(
        "--again",
        action="store_true",
        help="only bring up to date what has been applied, as when kubelet's package changes; a node that was given"
        " back stays so",
    )
    add_watch(apply)
    actions.add_parser("revert", parents=[root, change], help="give the node back as it was")
    actions.add_parser("status", parents=[root], help="show how things are, and what to do about it")
    for action in more.values():
        action.add(actions)
    return parser


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Adds ``--watch``."""
    parser.add_argument(
        "--watch",
        type=_time,
        default=os.environ.get(_WATCH) or f"{watch.USUAL:g}s",
        metavar="TIME",
        help=f"how long kubelet is watched after its restart: if it ends, all is put back (default: {watch.USUAL:g}s,"
        f" or what the environment's {_WATCH} says)",
    )


def add_kubelet_version(parser: argparse.ArgumentParser) -> None:
    """Adds ``--kubelet-version``."""
    parser.add_argument(
        "--kubelet-version",
        type=_version,
        metavar="X.Y.Z",
        help="the version of a kubelet that does not tell it, or a wrong one (default: what was said the last time, or"
        " else what kubelet --version says)",
    )


def _wishes(root: argparse.ArgumentParser) -> argparse.ArgumentParser:
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
        "--image-service",
        metavar="PATH",
        help="the socket of the primary runtime's image service, if it has one of its own: auto is kubelet's own, ''"
        f" none (default: what {plan.DEFAULTS} says, or else auto)",
    )
    wishes.add_argument(
        "--attach-detach",
        choices=(plan.AUTO, "keep", "off"),
        help="off: start kubelet with --enable-controller-attach-detach=false, as Virtlet's volumes need it, and"
        " without which no CSI volume can be attached; auto: if one of the runtimes is virtlet.cloud and the node has"
        " no CSI driver; keep: never (default: what was said the last time, or else auto)",
    )
    add_kubelet_version(wishes)
    return wishes


def _time(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _version(text: str) -> kubelet.Version:
    try:
        return kubelet.version_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
