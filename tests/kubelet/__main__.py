"""``python -m tests.kubelet`` makes what the tests take long to make, where it is missing."""

from __future__ import annotations

from tests.node.roots import root

from . import programs
from .cluster import LAYOUT_WITH_API
from .docker import LAYOUT_OF_DOCKER
from .node import LAYOUT

if __name__ == "__main__":
    programs.build(programs.ALL)
    for layout in (LAYOUT, LAYOUT_OF_DOCKER, LAYOUT_WITH_API):
        root(layout.suite, layout.packages)
