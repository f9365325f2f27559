"""``criproxy log-level`` as its users run it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from peers import PATIENCE, Client, Connect, Proxy, Runtime, StartProxy

DONE, NO_DAEMON = 0, 2


def run(proxy: Proxy, command: str, *words: str) -> Any:
    line = [sys.executable, "-m", "criproxy", command, "--socket", proxy.control, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)


def level(proxy: Proxy, *words: str) -> str:
    done = run(proxy, "log-level", *words)
    assert (done.returncode, done.stderr) == (DONE, "")
    said: str = done.stdout
    return said


def test_calls_are_logged_from_then_on(start_proxy: StartProxy, primary: Runtime, connect: Connect) -> None:
    proxy = start_proxy(primary, {}, "-v", "2")
    client: Client = connect(proxy)
    client.call("ListContainers")
    for words in ((), ("-o", "wide")):
        assert level(proxy, *words) == "verbosity 2, as configured\n"
    assert level(proxy, "5", "--for", "10m") == "verbosity 5 for another 10 min, then 2, as configured\n"
    client.call("ListPodSandbox")
    proxy.wait_for_log("LEAVE: /runtime.v1.RuntimeService/ListPodSandbox()")
    assert not proxy.logged("ListContainers")
    assert json.loads(level(proxy, "2", "-o", "json")) == {"level": 2, "configured": 2, "remaining": 0}


def test_it_falls_back_by_itself(proxy: Proxy) -> None:
    level(proxy, "6", "--for", "10ms")
    proxy.wait_for_log("verbosity 5, as configured: the time is over")
    assert level(proxy) == "verbosity 5, as configured\n"


def test_status_tells_of_it_and_a_reload_of_another_one_ends_it(
    start_proxy: StartProxy, primary: Runtime, folder: Path
) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text("verbosity = 1\n")
    proxy = start_proxy(primary, {}, f"--config={conf}")
    assert "verbosity" not in run(proxy, "status").stdout
    level(proxy, "4")
    assert "verbosity 4; configured: 1 (criproxy log-level)" in run(proxy, "status").stdout
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reloaded: nothing has changed")
    assert level(proxy).startswith("verbosity 4 until a restart")
    conf.write_text("verbosity = 3\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reloaded: verbosity 3")
    assert level(proxy) == "verbosity 3, as configured\n"


def test_without_a_daemon_it_says_so(proxy: Proxy) -> None:
    proxy.stop()
    done = run(proxy, "log-level", "5")
    assert done.returncode == NO_DAEMON
    said = f"{proxy.control}: No such file or directory (criproxy status tells why)"
    assert done.stderr == f"criproxy log-level: {said}\n"


@pytest.mark.parametrize(
    "words", [["high"], ["-1"], ["--for", "10m"], ["5", "--for", "long"], ["5", "--for", "0"], ["5", "6"]]
)
def test_what_is_not_understood_is_refused(proxy: Proxy, words: List[str]) -> None:
    done = run(proxy, "log-level", *words)
    assert done.returncode == NO_DAEMON
    assert done.stderr.startswith("usage: criproxy log-level")
    assert level(proxy) == "verbosity 5, as configured\n"
