"""A fixture for each real thing: the proxy, runtimes, clients."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest
from foreign_servers import ForeignServer, Serve
from peers import Client, Connect, Proxy, Runtime, StartProxy, StartService


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


@dataclass
class Shared:
    """Two runtimes with a proxy before them, which the ``stateless`` tests of a module use one after the other."""

    folder: Path
    primary: Runtime
    other: Runtime
    proxy: Proxy

    @classmethod
    def start(cls) -> Shared:
        """All three, connected."""
        folder = Path(tempfile.mkdtemp(prefix="criproxy-"))
        primary = Runtime(str(folder / "primary.sock"), "primary").start()
        other = Runtime(str(folder / "other.sock"), "other").start()
        proxy = Proxy(f"{primary.path},alt.test:{other.path}", str(folder / "proxy.sock"), "-v", "5")
        proxy.wait_for_log("connected to ", 2)
        return cls(folder, primary, other, proxy)

    def stop(self) -> None:
        """Ends all three."""
        self.proxy.stop()
        self.primary.stop()
        self.other.stop()
        shutil.rmtree(self.folder)

    def forget(self) -> None:
        """Lets the runtimes answer as at first, with no calls so far. Raises AssertionError if the proxy has failed."""
        lines, failed = list(self.proxy.lines), self.proxy.logged("internal error")
        self.primary.forget()
        self.other.forget()
        self.proxy.forget()
        assert not failed, "\n".join(lines)


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    """What the module's ``stateless`` tests share."""
    started = Shared.start()
    yield started
    started.stop()


@pytest.fixture
def of_the_module(request: pytest.FixtureRequest) -> Iterator[Optional[Shared]]:
    """The module's runtimes and proxy, if the test is ``stateless``."""
    if request.node.get_closest_marker("stateless") is None:
        yield None
        return
    found: Shared = request.getfixturevalue("shared")
    yield found
    found.forget()


@pytest.fixture
def primary(of_the_module: Optional[Shared], runtime: Callable[..., Runtime]) -> Runtime:
    """The primary runtime, started."""
    return of_the_module.primary if of_the_module else runtime("primary").start()


@pytest.fixture
def other(of_the_module: Optional[Shared], runtime: Callable[..., Runtime]) -> Runtime:
    """The alternative runtime ``alt.test``, started."""
    return of_the_module.other if of_the_module else runtime("other").start()


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
def foreign_server(folder: Path) -> Iterator[Callable[[Serve], ForeignServer]]:
    """Makes foreign servers, which serve at once."""
    made: List[ForeignServer] = []

    def make(serve: Serve) -> ForeignServer:
        made.append(ForeignServer(str(folder / f"foreign{len(made)}.sock"), serve))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def proxy(of_the_module: Optional[Shared], start_proxy: StartProxy, primary: Runtime, other: Runtime) -> Proxy:
    """The proxy before ``primary`` and ``other``, both connected."""
    return of_the_module.proxy if of_the_module else start_proxy(primary, {"alt.test": other}, "-v", "5")


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


@pytest.fixture
def file(folder: Path, primary: Runtime, other: Runtime) -> Path:
    """The environment file of the service."""
    path = folder / "default"
    path.write_text(f"# Mine.\nCRI_PRIMARY={primary.path}\n\nCRI_OTHER=alt.test:{other.path}  \nCRIPROXY_OPTS='-v 2'\n")
    path.chmod(0o640)
    return path


@pytest.fixture
def start_service(folder: Path, file: Path) -> Iterator[StartService]:
    """Starts the daemon as its unit does, and waits until it serves."""
    started: List[Proxy] = []

    def start(*words: str, connected: int = 2, **environ: str) -> Proxy:
        listen = str(folder / "proxy.sock")
        words = (f"--listen={listen}", f"--environment-file={file}", *words)
        started.append(
            Proxy("", listen, *words, env={**os.environ, "CRIPROXY_CONTROL": f"{listen}.control", **environ})
        )
        started[-1].wait_for_log("connected to ", connected)
        return started[-1]

    yield start
    for each in started:
        each.stop()
        assert not each.logged("internal error")


@pytest.fixture
def service(start_service: StartService) -> Proxy:
    return start_service()
