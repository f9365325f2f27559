"""Nodes with a real kubelet, from which nothing remains."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Generator, Iterator

import pytest

from tests.node import debs
from tests.node.node import Node

from .kubelet import Kubelet
from .node import BOTH, KubeletNode, Runtime
from .pods import NAMES, web

_UNITS = ("criproxy", "kubelet", "containerd", "containerd-b", "dockershim")
_SHOWN = 60
"""How many lines of each unit's journal are shown with a failure."""

Boot = Callable[..., Any]


def pytest_collection_modifyitems(items: Any) -> None:
    """Lets each test take the time that kubelet takes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Shows with a failure what the node has logged."""
    report = (yield).get_result()
    nodes = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Node)]
    if report.failed:
        report.sections.extend(
            (f"journal of {unit}", node.journal(f"{unit}.service", _SHOWN)) for node in nodes for unit in _UNITS
        )


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    """The packages under test must have been built."""
    debs.require("tests/kubelet")


@pytest.fixture(scope="module")
def boot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boot]:
    """Boots nodes of a class that stop with the module."""
    with ExitStack() as nodes:
        folder = tmp_path_factory.mktemp("node")
        yield lambda kind, *arguments: nodes.enter_context(kind(folder, *arguments))


@pytest.fixture(scope="module")
def node(boot: Boot) -> KubeletNode:
    """A node whose kubelet runs on criproxy: the package was installed while kubelet ran on the primary runtime."""
    node: KubeletNode = boot(KubeletNode)
    node.install()
    return node


@pytest.fixture(scope="module")
def kubelet(node: KubeletNode) -> Kubelet:
    """Its kubelet, with a pod on each runtime that is ready."""
    kubelet = Kubelet(node)
    for runtime, name in NAMES.items():
        kubelet.add(name, runtime.annotations, web(runtime))
    kubelet.ready(*NAMES.values())
    return kubelet


@pytest.fixture(params=BOTH, ids=str)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """One of the two."""
    found: Runtime = request.param
    return found


@pytest.fixture
def pod(runtime: Runtime) -> str:
    """The pod on it."""
    return NAMES[runtime]
