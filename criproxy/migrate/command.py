"""``criproxy node migrate``: move this node to another runtime while its pods run, back, or for good."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import Any, Callable, Sequence

from criproxy.inspection import findings
from criproxy.inspection.findings import Finding
from criproxy.migrate import switch
from criproxy.migrate.scene import Scene
from criproxy.migrate.switch import Runtimes
from criproxy.node import command, kubelet
from criproxy.node.command import Action, say
from criproxy.node.kubelet import Kubelet
from criproxy.node.runtimes import Sockets
from criproxy.node.systemd import Systemd
from criproxy.node.tree import Tree
from criproxy.node.turn import Manner, Node
from criproxy.terminal import shows_colour

_NAME = "migrate"
_NOT_DONE = 1
_NOT_ASKED = 2
_MOVE = "Move this node? [y/N] "
_END = "End this move? [y/N] "


def main(argv: Sequence[str]) -> int:
    """``criproxy node``, with `migrate` among its actions; gives the exit status."""
    return command.main(argv, {_NAME: MIGRATE})


class _NobodyToAsk(Exception):
    """There is no terminal."""


def _agreed(yes: bool, question: str = _MOVE) -> Callable[[], bool]:
    """Asks on a terminal. Raises `_NobodyToAsk` where there is none."""

    def ask() -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            raise _NobodyToAsk
        try:
            return input(question).strip().lower() in ("y", "yes")
        except EOFError:
            return False

    return ask


def _scene(options: argparse.Namespace) -> Scene:
    """This node."""
    tree = Tree("/")
    manager, ask, sockets = Systemd(tree), kubelet.asker(tree), Sockets()

    def node() -> Node:
        return Node(tree, manager, ask, sockets, say, Manner(watch=options.watch))

    agreed = _agreed(options.yes, _END if options.finish else _MOVE)
    return Scene(tree, manager, ask, sockets, node, say, agreed, options.watch)


def _run(options: argparse.Namespace) -> int:
    if options.evict and not options.finish:
        options.refuse("--evict goes with --finish")
    try:
        done = _moved(_scene(options), options)
    except _NobodyToAsk:
        text = "this is no terminal, so nobody can be asked: --yes does what is shown; nothing has been changed"
        print(f"criproxy node {_NAME}: {text}", file=sys.stderr)
        return _NOT_ASKED
    if not done:
        say("nothing has been changed")
        return _NOT_DONE
    return 0


def _moved(scene: Scene, options: argparse.Namespace) -> bool:
    if options.back:
        return switch.back(scene, options.kubelet_version)
    if options.finish:
        # It brings gRPC's library, which the others do not all need.
        from criproxy.migrate import finish

        return finish.finish(scene, options.evict, options.kubelet_version)
    return switch.move(scene, _runtimes(scene), options.to, _show, options.kubelet_version)


def _runtimes(scene: Scene) -> Runtimes:
    # gRPC's library takes its time to load, and the other actions do not all need it.
    from criproxy.migrate import checks, images

    def examine(old: str, new: str, found: Kubelet) -> Sequence[Finding]:
        return checks.examine(old, new, scene.tree, found, scene.ask)

    return Runtimes(examine, images.lacking, images.copy)


def _show(found: Sequence[Finding]) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    marks, colors = findings.can_show_marks(sys.stdout), shows_colour(sys.stdout, os.environ)
    print("\n".join(findings.lines(found, marks, colors, width)), flush=True)


def _add(actions: Any) -> None:
    parser = actions.add_parser(
        _NAME,
        help="move this node to another runtime while its pods run",
        description="Move this node to another runtime while its pods run: new pods start there, and those that run"
        " stay on the old one until they end. No container is restarted, unless --evict asks for it.",
        epilog="First it is looked whether the two runtimes fit, then the plan is shown, then you are asked. A node"
        " that is not on criproxy is put on it for the time of the move. Exit status: 0, it is done; 1, it is not, and"
        " a line says why, or you said no; 2, the words are not understood, or there is nobody to ask.",
    )
    whither = parser.add_mutually_exclusive_group(required=True)
    whither.add_argument(
        "--to", metavar="RUNTIME", help="the new runtime: containerd, crio, cri-dockerd, or a socket's path"
    )
    whither.add_argument(
        "--back", action="store_true", help="the old runtime gets new pods again, and the new one is retiring"
    )
    whither.add_argument(
        "--finish",
        action="store_true",
        help="end the move when nothing is left on the old runtime: kubelet's own files name the new one, and criproxy"
        " goes if it is there only for the move",
    )
    parser.add_argument(
        "--evict",
        action="store_true",
        help="with --finish: stop the pods that are left on the old runtime, one after the other; kubelet makes them"
        " anew on the new one",
    )
    parser.add_argument("--yes", action="store_true", help="do what is shown, and do not ask")
    command.add_watch(parser)
    command.add_kubelet_version(parser)
    parser.set_defaults(refuse=parser.error)


MIGRATE = Action(_add, _run)
