"""``criproxy demo`` as its users run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from typing import Iterator, List

import pytest

from criproxy.demo.messages import MESSAGES
from criproxy.demo.pods import run_pod
from criproxy.demo.runtime import DemoRuntime
from criproxy.demo.server import serve

WAIT = 60.0
CRIPROXY = [sys.executable, "-m", "criproxy"]


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="cri") as path:
        yield path


@contextmanager
def served(path: str, name: str) -> Iterator[DemoRuntime]:
    """A runtime as somebody has it, with one pod."""
    runtime = DemoRuntime(name)
    run_pod(
        lambda method, **fields: getattr(runtime, method)(MESSAGES[f"{method}Request"](**fields)),
        "default",
        f"pod-of-{name}",
        ["nginx"],
    )
    server = serve(runtime, path, ["v1"])
    try:
        yield runtime
    finally:
        server.stop(0).wait(WAIT)


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CRIPROXY, "demo", "--once", *options], capture_output=True, text=True, timeout=WAIT)


def pods(text: str) -> List[List[str]]:
    """Runtime and name of each pod that is shown."""
    table = text[text.index("PODS (") :].split("\n\n")[0]
    return sorted([row.split()[0], row.split()[3]] for row in table.split("\n")[2:])


def sockets(directory: str) -> List[str]:
    return [name for name in os.listdir(directory) if name.endswith(".sock")]


OF_BOTH = [
    ["(primary)", "hello"],
    ["(primary)", "kube-proxy"],
    ["(primary)", "web"],
    ["alt.demo", "hello"],
    ["alt.demo", "vm"],
]


def test_once_shows_the_pods_of_two_runtimes_and_ends(directory: str) -> None:
    shown = demo("--dir", directory)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert pods(shown.stdout) == OF_BOTH
    assert not sockets(directory)


def test_it_serves_until_ctrl_c_and_leaves_no_sockets(directory: str) -> None:
    with subprocess.Popen([*CRIPROXY, "demo", "--dir", directory], stdout=subprocess.PIPE, text=True) as running:
        timer = threading.Timer(WAIT, running.kill)
        timer.start()
        try:
            assert running.stdout is not None
            assert any("Ctrl-C" in line for line in iter(running.stdout.readline, ""))
            show = [*CRIPROXY, "show", "--socket", f"{directory}/criproxy.sock"]
            shown = subprocess.run(show, capture_output=True, text=True, timeout=WAIT)
            assert pods(shown.stdout) == OF_BOTH
            running.send_signal(signal.SIGINT)
            assert running.wait(WAIT) == 0
        finally:
            timer.cancel()
            running.kill()
    assert not sockets(directory)


def test_real_runtimes_are_shown_and_nothing_is_run_on_them(directory: str) -> None:
    first, second = (os.path.join(directory, name) for name in ("1.sock", "2.sock"))
    with served(first, "one"), served(second, "two"):
        shown = demo("--dir", directory, "--connect", f"{first},alt.test:{second}")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert pods(shown.stdout) == [["(primary)", "pod-of-one"], ["alt.test", "pod-of-two"]]


def test_a_real_alternative_runtime_that_is_not_there_is_told_and_left_out(directory: str) -> None:
    path = os.path.join(directory, "1.sock")
    with served(path, "one"):
        shown = demo("--dir", directory, "--connect", f"{path},alt.test:{directory}/absent.sock")
    assert shown.returncode == 0
    assert "absent.sock" in shown.stdout
    assert pods(shown.stdout) == [["(primary)", "pod-of-one"]]


def test_without_its_primary_runtime_it_ends_with_1_and_says_why(directory: str) -> None:
    shown = demo("--dir", directory, "--connect", f"{directory}/absent.sock")
    assert (shown.returncode, shown.stdout) == (1, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("criproxy demo: ")
    assert "absent.sock" in line


def test_a_process_that_ends_by_itself_is_told_with_its_last_words(directory: str) -> None:
    path = os.path.join(directory, "primary.sock")
    with open(path, "w", encoding="utf-8"):
        shown = demo("--dir", directory)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("criproxy demo: primary ended with status 1:\n")
    assert f"criproxy demo-runtime: cannot listen on {path}: " in shown.stderr
    assert not os.path.exists(os.path.join(directory, "criproxy.sock"))


@pytest.mark.parametrize("name", ["criproxy.sock", "primary.sock", "alt.demo.sock"])
def test_sockets_that_somebody_else_serves_are_left_alone(directory: str, name: str) -> None:
    path = os.path.join(directory, name)
    with served(path, "one") as runtime:
        shown = demo("--dir", directory)
        assert len(runtime.ListPodSandbox(MESSAGES["ListPodSandboxRequest"]()).items) == 1
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == f"criproxy demo: {path}: another process serves it; choose another directory with --dir\n"


@pytest.mark.parametrize(
    "options", [["--dir", "x" * 108], ["--connect", "a:x,b:y"], ["--connect", "a:b:"], ["--port", "1"]]
)
def test_bad_usage_ends_with_2(options: List[str]) -> None:
    shown = demo(*options)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "usage: criproxy demo" in shown.stderr
