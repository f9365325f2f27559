"""What criproxy brings with it: its units and its environment file, from a package or an installation by hand."""

from __future__ import annotations

import os
import shutil
import sys

from criproxy.node import units
from criproxy.node.kubelet import NodeError
from criproxy.node.tree import Tree


def unit(tree: Tree, name: str) -> str:
    """The text of a unit. Raises NodeError if it is missing."""
    text = units.template(tree, name)
    if text is None:
        raise NodeError(f"{name} is missing: it is a part of criproxy's installation; install criproxy again")
    return text


def is_packaged(tree: Tree, name: str) -> bool:
    """Whether a unit is a package's."""
    return any(tree.exists(f"{folder}/{name}") for folder in units.PACKAGED)


def program() -> str:
    """What starts this program, on a node that it was not installed on by a package."""
    called = sys.argv[0] if os.path.basename(sys.argv[0]) == "criproxy" else shutil.which("criproxy")
    return os.path.abspath(called) if called else f"{sys.executable} -m criproxy"


def file(tree: Tree, name: str) -> str:
    """A text by its name below criproxy's own folder. Raises NodeError if it is missing."""
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    places = (
        (tree, f"/usr/share/criproxy/{name}"),
        (Tree(sys.prefix), f"/share/criproxy/{name}"),
        (Tree(checkout), f"/etc/{name}"),
    )
    text = next((text for text in (where.text(path) for where, path in places) if text is not None), None)
    if text is None:
        raise NodeError(f"/usr/share/criproxy/{name} is missing: install criproxy again")
    return text
