"""Two containerds in a node of the tests' own, the proxy before them, and kubelet's client of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Generator, Iterator

import pytest

from .client import Client
from .images import Image, Registry
from .kubelet import IMAGE, Proxy, Runtime
from .node import Node
from .runtime import PAUSE, Containerd
from .service import Service

ALTERNATIVE = "alt.test"
_APPLETS = ("cat", "echo", "hostname", "sh", "sleep")


def pytest_runtest_setup() -> None:
    """Lets the services' logs begin with the test."""
    for service in Service.all:
        service.begin_log()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """Shows with a failure what the services have logged since the test's beginning."""
    report = (yield).get_result()
    if report.failed:
        report.sections.extend((f"log of {service.name}", service.log()) for service in Service.all)


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """The node that most tests share."""
    if os.geteuid():
        pytest.exit("tests/containerd needs root: it makes namespaces, mounts and containers", returncode=1)
    node = Node()
    yield node
    node.stop()


def _image(*command: str) -> Image:
    busybox = shutil.which("busybox")
    assert busybox, "there is no busybox"
    return Image(Path(busybox), _APPLETS, command)


@pytest.fixture(scope="session")
def image() -> Image:
    """A busybox, known to both runtimes as `IMAGE`."""
    return _image("sh")


@pytest.fixture(scope="session")
def pause() -> Image:
    """What keeps a pod's namespaces, known to both runtimes as `PAUSE`."""
    return _image("sh", "-c", "trap exit TERM; sleep 86400 & wait")


def _runtime(node: Node, image: Image, pause: Image, name: str, network: str) -> Iterator[Runtime]:
    containerd = Containerd(node, name or "primary", network)
    containerd.start()
    containerd.load(pause, [PAUSE])
    containerd.load(image, [IMAGE])
    with Client(containerd.socket) as direct:
        yield Runtime(name, containerd, direct)
    containerd.stop()


@pytest.fixture(scope="session")
def primary(node: Node, image: Image, pause: Image) -> Iterator[Runtime]:
    """The runtime without an id."""
    yield from _runtime(node, image, pause, "", "192.0.2.0/24")


@pytest.fixture(scope="session")
def alternative(node: Node, image: Image, pause: Image) -> Iterator[Runtime]:
    """The runtime with an id."""
    yield from _runtime(node, image, pause, ALTERNATIVE, "198.51.100.0/24")


@pytest.fixture(scope="session")
def proxy(node: Node, primary: Runtime, alternative: Runtime) -> Iterator[Proxy]:
    """The proxy before both of them."""
    proxy = Proxy(node.folder, primary, alternative)
    proxy.start()
    yield proxy
    assert proxy.stop() == 0


@pytest.fixture(scope="session")
def cri(proxy: Proxy) -> Iterator[Client]:
    """Kubelet's side: the CRI's version of today, through the proxy."""
    with Client(proxy.socket) as client:
        yield client


@pytest.fixture(scope="session")
def registry(node: Node) -> Iterator[Registry]:
    """A registry on the node's loopback that has an image of its own, `busybox:test`."""
    images = {"busybox:test": _image("sleep", "86400")}
    with node.in_network(lambda: Registry(images)).serving() as registry:
        yield registry
