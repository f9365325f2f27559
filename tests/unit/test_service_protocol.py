"""What is said to systemd, by python-systemd where it is installed and by ourselves where it is not."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from types import ModuleType
from typing import Iterator, List

import pytest
from systemd_peers import Notified

from criproxy import service as module
from criproxy.report.log import Log
from criproxy.report.stream import Stream
from criproxy.service import Service


@pytest.fixture
def notified() -> Iterator[Notified]:
    with tempfile.TemporaryDirectory(prefix="criproxy-") as folder:
        made = Notified(f"{folder}/notify")
        yield made
        made.close()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[List[str]]:
    """python-systemd, installed; gives what it is called with."""
    calls: List[str] = []
    package, daemon = ModuleType("systemd"), ModuleType("systemd.daemon")
    daemon.notify = calls.append  # type: ignore[attr-defined]
    daemon.listen_fds = lambda: range(3, 5)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "systemd", package)
    monkeypatch.setitem(sys.modules, "systemd.daemon", daemon)
    module._library.cache_clear()
    yield calls
    module._library.cache_clear()


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """python-systemd, not installed, whatever this machine has."""
    monkeypatch.setitem(sys.modules, "systemd.daemon", None)
    module._library.cache_clear()
    yield
    module._library.cache_clear()


def service(**environ: str) -> Service:
    return Service(environ, Log(0, Stream(io.StringIO())))


def say_all(to: Service) -> None:
    to.ready()
    to.status("two\nlines")
    to.stopping()
    to.feed_watchdog()


SAID = ["READY=1", "STATUS=two\\nlines", "STOPPING=1", "WATCHDOG=1"]


@pytest.mark.usefixtures("no_library")
def test_we_tell_systemd_ourselves_where_python_systemd_is_not_installed(notified: Notified) -> None:
    say_all(service(NOTIFY_SOCKET=notified.path))
    assert [notified.receive().decode() for _ in SAID] == SAID


def test_python_systemd_tells_it_where_it_is_installed(notified: Notified, library: List[str]) -> None:
    say_all(service(NOTIFY_SOCKET=notified.path))
    assert library == SAID
    assert not notified.has_more()


def test_without_systemd_nobody_is_told_anything(library: List[str]) -> None:
    say_all(service())
    assert library == []


@pytest.mark.usefixtures("no_library")
def test_a_status_is_told_when_it_is_another_and_as_long_as_systemd_takes_it(notified: Notified) -> None:
    told = service(NOTIFY_SOCKET=notified.path)
    for text in ("a", "a", "b", "\u00e9" * 5000):
        told.status(text)
    assert [notified.receive().decode() for _ in range(3)] == ["STATUS=a", "STATUS=b", "STATUS=" + "\u00e9" * 1000]
    assert not notified.has_more()


def test_descriptors_are_what_python_systemd_says(library: List[str]) -> None:
    assert service(LISTEN_FDS="2", LISTEN_PID="1").listening_fds() == [3, 4]
    assert service().listening_fds() == []


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize(
    ("fds", "pid", "wanted"),
    [("2", "ours", [3, 4]), ("2", "1", []), ("2", "", []), ("x", "ours", []), ("-1", "ours", []), ("0", "ours", [])],
)
def test_descriptors_are_those_that_are_for_us(fds: str, pid: str, wanted: List[int]) -> None:
    pid = str(os.getpid()) if pid == "ours" else pid
    assert service(LISTEN_FDS=fds, LISTEN_PID=pid).listening_fds() == wanted


@pytest.mark.parametrize(
    ("usec", "pid", "wanted"),
    [
        ("30000000", "", 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "1", None),
        ("0", "ours", None),
        ("x", "ours", None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_wants(usec: str, pid: str, wanted: object) -> None:
    environ = {"WATCHDOG_USEC": usec}
    if pid:
        environ["WATCHDOG_PID"] = str(os.getpid()) if pid == "ours" else pid
    assert service(**environ).watchdog_interval == wanted


def test_without_a_watchdog_there_is_none_to_feed() -> None:
    assert service().watchdog_interval is None
