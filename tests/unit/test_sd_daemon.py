"""What is said to systemd, by python-systemd where it is installed and by ourselves where it is not."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import tempfile
from types import ModuleType
from typing import Iterator, List

import pytest
from systemd_peers import Notified

from criproxy import sd_daemon
from criproxy import service as module
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput
from criproxy.service import SystemdService


@pytest.fixture
def notified() -> Iterator[Notified]:
    with tempfile.TemporaryDirectory(prefix="criproxy-") as folder:
        made = Notified(f"{folder}/notify")
        yield made
        made.close()


@pytest.fixture
def told(notified: Notified, monkeypatch: pytest.MonkeyPatch) -> Notified:
    """systemd, told by ourselves, whatever this machine has."""
    monkeypatch.setattr(module, "sd_daemon", sd_daemon)
    monkeypatch.setenv("NOTIFY_SOCKET", notified.path)
    return notified


def service(**environ: str) -> SystemdService:
    return SystemdService(environ, Log(0, StreamOutput(io.StringIO())))


def say_all(to: SystemdService) -> None:
    to.ready()
    to.status("two\nlines")
    to.stopping()
    to.feed_watchdog()


SAID = ["READY=1", "STATUS=two\\nlines", "STOPPING=1", "WATCHDOG=1"]


def test_systemd_is_told(told: Notified) -> None:
    say_all(service())
    assert [told.receive().decode() for _ in SAID] == SAID


def test_without_systemd_nobody_is_told_anything(told: Notified, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET")
    say_all(service())
    assert not told.has_more()


def test_a_status_is_told_when_it_is_another_and_as_long_as_systemd_takes_it(told: Notified) -> None:
    one = service()
    for text in ("a", "a", "b", "\u00e9" * 5000):
        one.status(text)
    assert [told.receive().decode() for _ in range(3)] == ["STATUS=a", "STATUS=b", "STATUS=" + "\u00e9" * 1000]
    assert not told.has_more()


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("fds", "pid", "wanted"),
    [
        ("2", "ours", [3, 4]),
        ("2", "1", []),
        ("2", "", []),
        ("x", "ours", []),
        ("-1", "ours", []),
        ("0", "ours", []),
        ("", "", []),
    ],
)
def test_descriptors_are_those_that_are_for_us(
    fds: str, pid: str, wanted: List[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_FDS", fds)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if pid == "ours" else pid)
    assert service().listening_fds() == wanted


@pytest.mark.parametrize(("installed", "used"), [(True, "python-systemd"), (False, "criproxy.sd_daemon")])
def test_python_systemd_speaks_where_it_is_installed(
    installed: bool, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, daemon = ModuleType("systemd"), ModuleType("python-systemd")
    package.daemon = daemon  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "systemd", package if installed else None)
    monkeypatch.setitem(sys.modules, "systemd.daemon", daemon if installed else None)
    spec = importlib.util.find_spec("criproxy.service")
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert fresh.sd_daemon.__name__ == used


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
