"""A node that is to be moved, and what it takes."""

from __future__ import annotations

from typing import Callable, NamedTuple

from criproxy.node import watch
from criproxy.node.kubelet import Ask
from criproxy.node.manager import Manager
from criproxy.node.runtimes import RuntimeClient
from criproxy.node.tree import Tree
from criproxy.node.turn import Node
from criproxy.node.watch import REAL, Clock


class Scene(NamedTuple):
    """A node, and what it takes to change it."""

    tree: Tree
    manager: Manager
    ask: Ask
    runtimes: RuntimeClient
    node: Callable[[], Node]
    """Makes what one change is done by."""
    say: Callable[[str], None]
    agreed: Callable[[], bool]
    """Asks whoever is there whether what has been shown is to be done."""
    watch: float = watch.USUAL
    """How long kubelet is watched after its restart, seconds."""
    clock: Clock = REAL
