"""A move that is planned: what its checks look at."""

from __future__ import annotations

from typing import NamedTuple, Optional

from criproxy.migrate.side import Side
from criproxy.node.kubelet import Kubelet
from criproxy.node.tree import Tree

OLD = "old runtime"
NEW = "new runtime"
KUBELET = "kubelet"
"""Whose a finding is."""


class Move(NamedTuple):
    """Two runtimes that answer, and the node that they are on."""

    tree: Tree
    kubelet: Optional[Kubelet]
    """None if there is none to ask."""
    old: Side
    new: Side
