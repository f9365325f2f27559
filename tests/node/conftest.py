"""Nodes of each layout, from which nothing remains."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Generator, Iterator

import pytest

from . import debs
from .layouts import KUBEADM
from .node import Node
from .workers import BySharedNodes, Room

Boot = Callable[..., Node]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Sees in the first process, before the workers are there, that the packages under test have been built."""
    if hasattr(session.config, "workerinput"):
        return
    debs.require("tests/node")
    session.config.pluginmanager.register(Room())


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedNodes:
    """Tests that share a node run on one worker."""
    return BySharedNodes(config, log)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Shows with a failure what the node has logged, and lets the rest of that node's life be skipped."""
    report = (yield).get_result()
    for node in getattr(item, "funcargs", {}).values():
        if report.failed and isinstance(node, Node):
            node.broken = node.broken or item.name
            report.sections.extend(
                (f"journal of {unit}", node.journal(unit))
                for unit in ("criproxy.service", "dockershim.service", "kubelet.service", "containerd.service")
            )


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    """Boots nodes that stop with the test."""
    with ExitStack() as nodes:
        yield lambda layout, **options: nodes.enter_context(Node(layout, tmp_path, **options))


@pytest.fixture
def node(boot: Boot) -> Node:
    """A kubeadm node of today."""
    return boot(KUBEADM)
