"""A fixture for each real thing: the proxy, runtimes, clients."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest
from peers import Client, Connect, Proxy, Runtime, StartProxy


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a path short enough for sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="criproxy-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def runtime(folder: Path) -> Iterator[Callable[..., Runtime]]:
    """Makes runtimes, not yet started."""
    made: List[Runtime] = []

    def make(name: str, **options: Any) -> Runtime:
        made.append(Runtime(str(folder / f"{name}.sock"), name, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def primary(runtime: Callable[..., Runtime]) -> Runtime:
    """The primary runtime, started."""
    return runtime("primary").start()


@pytest.fixture
def other(runtime: Callable[..., Runtime]) -> Runtime:
    """The alternative runtime ``alt.test``, started."""
    return runtime("other").start()


@pytest.fixture
def start_proxy(folder: Path) -> Iterator[StartProxy]:
    """Starts proxies before runtimes (``primary``, ``{id: runtime}``); by default waits until all are connected."""
    started: List[Proxy] = []

    def start(
        first: Runtime, others: Dict[str, Runtime], *options: str, connected: Optional[int] = None, name: str = "proxy"
    ) -> Proxy:
        connect = ",".join([first.path, *(f"{key}:{each.path}" for key, each in others.items())])
        started.append(Proxy(connect, str(folder / f"{name}.sock"), *options))
        started[-1].wait_for_log("serves ")
        count = 1 + len(others) if connected is None else connected
        if count:
            started[-1].wait_for_log("connected to ", count)
        return started[-1]

    yield start
    for each in started:
        each.stop()
        assert not each.logged("internal error"), "\n".join(each.lines)


@pytest.fixture
def proxy(start_proxy: StartProxy, primary: Runtime, other: Runtime) -> Proxy:
    """The proxy before ``primary`` and ``other``, both connected."""
    return start_proxy(primary, {"alt.test": other}, "-v", "5")


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients of a proxy."""
    made: List[Client] = []

    def make(to: Proxy, package: str = "runtime.v1", **options: Any) -> Client:
        made.append(Client(to.path, package, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def client(connect: Connect, proxy: Proxy) -> Client:
    """A client of ``proxy`` that speaks v1."""
    return connect(proxy)
