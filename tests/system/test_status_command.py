"""``criproxy status`` as its users run it, before a daemon that runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, List, Tuple

import pytest
from peers import PATIENCE, Client, Proxy, Runtime, StartProxy, v1

COMMAND = [sys.executable, "-m", "criproxy", "status"]
WELL, DEGRADED, DOWN = 0, 1, 2


def status(proxy: Proxy, *options: str) -> Tuple[int, str]:
    """The exit status, and what it says."""
    done = subprocess.run(
        [*COMMAND, "--socket", proxy.control, *options], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def as_json(proxy: Proxy) -> Tuple[int, Any]:
    code, text = status(proxy, "-o", "json")
    return code, json.loads(text)


def test_all_is_well(proxy: Proxy) -> None:
    code, text = status(proxy)
    assert code == WELL
    assert f"pid {proxy.process.pid}," in text
    assert "\x1b" not in text
    assert text.endswith("\nall is well\n")


def test_exit_statuses_follow_the_runtimes_and_the_daemon(proxy: Proxy, primary: Runtime, other: Runtime) -> None:
    assert as_json(proxy)[0] == WELL
    other.stop()
    proxy.wait_for_log(f'runtime "alt.test" ({other.path}) has gone')
    code, told = as_json(proxy)
    assert (code, told["level"]) == (DEGRADED, "degraded")
    primary.stop()
    proxy.wait_for_log(f"the primary runtime ({primary.path}) has gone")
    code, told = as_json(proxy)
    assert (code, [finding["level"] for finding in told["findings"]]) == (DOWN, ["down", "degraded"])
    proxy.stop()
    code, text = status(proxy)
    assert code == DOWN
    assert f"no answer on {proxy.control}: No such file or directory" in " ".join(text.split())


def test_a_refused_reload_is_degraded_and_says_why(start_proxy: StartProxy, primary: Runtime, folder: Path) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text("")
    proxy = start_proxy(primary, {}, f"--config={conf}")
    conf.write_text("verbosity = high\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reload refused")
    code, text = status(proxy, "-o", "wide")
    assert code == DEGRADED
    assert f"ago: {conf}, line 1: verbosity: " in text


def test_what_is_remembered_of_a_runtime_that_is_away(proxy: Proxy, client: Client, other: Runtime) -> None:
    pod = {"id": "p", "metadata": {"name": "web", "namespace": "default", "uid": "1"}}
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[pod])
    client.call("ListPodSandbox")
    other.stop()
    proxy.wait_for_log(f'runtime "alt.test" ({other.path}) has gone')
    text = " ".join(status(proxy)[1].split())
    assert re.search(f"{re.escape(other.path)}: [^;]+; 1 pod remembered for another", text)


def test_somebody_else_on_the_socket_is_told_of(proxy: Proxy) -> None:
    """An older criproxy, say, whose socket for kubelet was named."""
    done = subprocess.run([*COMMAND, "--socket", proxy.path], capture_output=True, text=True, check=False)
    assert done.returncode == DOWN
    assert "Status: UNIMPLEMENTED" in " ".join(done.stdout.split())


def test_the_environment_can_name_the_socket(proxy: Proxy) -> None:
    environ = {**os.environ, "CRIPROXY_CONTROL": proxy.control}
    assert subprocess.run(COMMAND, env=environ, capture_output=True, check=False).returncode == WELL


@pytest.mark.parametrize("words", [("-o", "yaml"), ("--watch=never",), ("more",)])
def test_what_is_not_understood_is_refused(words: List[str]) -> None:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: criproxy status")


def test_watch_shows_it_again_until_it_is_interrupted(proxy: Proxy, other: Runtime) -> None:
    command = [*COMMAND, "--socket", proxy.control, "--watch=0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert "all is well\n" in lines
        assert "all is well\n" in lines
        other.stop()
        assert any(line.startswith("degraded: runtime") for line in lines)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(PATIENCE) == 0
