"""``criproxy trace`` as its users run it: which calls it shows, what of them, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from typing import Any, Callable, Iterator, List

import grpc
import pytest
from h2.events import DataReceived
from h2.settings import SettingCodes
from peers import PATIENCE, Client, Proxy, Runtime, v1
from wire import WireClient, message

from criproxy.control.api import control
from criproxy.control.trace import MOST_TRACERS
from criproxy.http2.grpc import Reader, plain

DONE, REFUSED, NO_DAEMON = 0, 1, 2
HEAD = {"metadata": {"name": "web", "namespace": "default", "uid": "1"}}
POD = {"config": {**HEAD, "annotations": {"kubernetes.io/target-runtime": "alt.test"}}}
SECRET = "hunter2"
BEGUN = "trace: somebody watches calls"


class Tracer:
    """The command, which watches from the moment on in which this is made."""

    def __init__(self, proxy: Proxy, *words: str) -> None:
        command = [sys.executable, "-m", "criproxy", "trace", "--socket", proxy.control, *words]
        begun = len(proxy.logged(BEGUN))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.lines = iter(self.process.stdout.readline, "")
        self.errors = self.process.stderr
        proxy.wait_for_log(BEGUN, begun + 1)

    def calls(self, count: int) -> List[Any]:
        """The next calls, of ``-o json``."""
        return [json.loads(next(self.lines)) for _ in range(count)]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


Trace = Callable[..., Tracer]


@pytest.fixture
def trace(proxy: Proxy) -> Iterator[Trace]:
    """Starts the command."""
    started: List[Tracer] = []

    def start(*words: str) -> Tracer:
        started.append(Tracer(proxy, *words))
        return started[-1]

    yield start
    for each in started:
        each.close()


def refuse(_: Any, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.NOT_FOUND, "no such\ncontainer")


def test_a_call_is_a_line_with_the_pod_by_its_name(client: Client, trace: Trace, other: Runtime) -> None:
    other.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    tracer = trace()
    pod = client.call("RunPodSandbox", **POD).pod_sandbox_id
    other.answers["StopPodSandbox"] = refuse
    client.fail("StopPodSandbox", pod_sandbox_id=pod)
    client.call("ListImages")
    heads, *rows = (re.split("  +", next(tracer.lines).strip()) for _ in range(4))
    assert heads == ["TIME", "CALL", "METHOD", "OF", "RUNTIME", "MS", "OWN", "STATUS"]
    number = int(rows[0][1])
    assert [row[1:5] for row in rows] == [
        [str(number), "RunPodSandbox", "default/web", "alt.test"],
        [str(number + 1), "StopPodSandbox", "default/web", "alt.test"],
        [str(number + 2), "ListImages", "-", "primary,alt.test"],
    ]
    assert [row[7] for row in rows] == ["OK", r"NOT_FOUND: no such\ncontainer", "OK"]
    for row in rows:
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", row[0])
        assert 0 <= float(row[6]) <= float(row[5])


def test_a_wide_line_has_the_whole_id(client: Client, trace: Trace) -> None:
    tracer = trace("-o", "wide", "--method", "StopContainer")
    client.call("StopContainer", container_id="c" * 64)
    heads, row = (re.split("  +", next(tracer.lines).strip()) for _ in range(2))
    assert heads[-2:] == ["ID", "STATUS"]
    assert row[-2:] == ["c" * 64, "OK"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), ["RunPodSandbox", "Version", "StopContainer", "StopPodSandbox", "ListImages"]),
        (("--runtime", "alt.test"), ["RunPodSandbox", "StopPodSandbox", "ListImages"]),
        (("--runtime", "primary", "--errors"), ["StopContainer"]),
        (("--method", "Stop*", "--slow", "0"), ["StopContainer", "StopPodSandbox"]),
        (("--pod", "default/w*"), ["RunPodSandbox", "StopPodSandbox"]),
        (("--pod", "w?b", "--method", "[!R]*"), ["StopPodSandbox"]),
        (("--errors",), ["StopContainer"]),
    ],
)
def test_it_shows_what_all_conditions_hold_for(
    client: Client, trace: Trace, primary: Runtime, other: Runtime, words: List[str], wanted: List[str]
) -> None:
    other.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    primary.answers["StopContainer"] = refuse
    tracer = trace("-o", "json", *words)
    for _ in range(2):
        client.call("RunPodSandbox", **POD)
        client.call("Version")
        client.fail("StopContainer", container_id="c")
        client.call("StopPodSandbox", pod_sandbox_id="alt.test__p")
        client.call("ListImages")
    assert [call["method"] for call in tracer.calls(2 * len(wanted))] == wanted * 2


def test_a_call_that_is_refused_and_one_that_is_cancelled_are_shown(
    client: Client, trace: Trace, primary: Runtime
) -> None:
    tracer = trace("-o", "json", "--errors")
    client.fail("RunPodSandbox", config={**HEAD, "annotations": {"kubernetes.io/target-runtime": "x.y"}})
    released = threading.Event()
    primary.answers["StopContainer"] = lambda *_: released.wait(PATIENCE) and None
    call = client.stub("StopContainer").future(client.request("StopContainer", container_id="c"))
    primary.wait_for("StopContainer")
    call.cancel()
    refused, cancelled = tracer.calls(2)
    released.set()
    assert (refused["code"], refused["podName"], refused["runtimes"]) == ("INVALID_ARGUMENT", "web", [])
    assert 'unknown runtime: "x.y"' in refused["text"]
    assert (cancelled["code"], cancelled["id"], cancelled["runtimes"]) == ("CANCELLED", "c", ["primary"])


def test_bodies_are_yaml_without_secrets(client: Client, trace: Trace, other: Runtime) -> None:
    other.answers["PullImage"] = v1.PullImageResponse(image_ref="sha256:1")
    other.answers["ListContainers"] = v1.ListContainersResponse(containers=[{"id": "c"}])
    tracer = trace("-o", "json", "--bodies")
    client.call("PullImage", image={"image": "alt.test/a"}, auth={"username": "me", "password": SECRET})
    client.call("ListContainers")
    pulled, listed = tracer.calls(2)
    assert "<redacted>" in pulled["request"]
    assert SECRET not in json.dumps(pulled)
    assert 'image: "alt.test/a"' in pulled["request"]
    assert ["sha256:1" in answer for answer in pulled["answers"]] == [True]
    assert ['id: "alt.test__c"' in answer for answer in listed["answers"]] == [True]


def test_bodies_are_for_calls_that_begin_after_it(client: Client, trace: Trace, primary: Runtime) -> None:
    released = threading.Event()
    primary.answers["StopContainer"] = lambda *_: released.wait(PATIENCE) and None
    call = client.stub("StopContainer").future(client.request("StopContainer", container_id="c"))
    primary.wait_for("StopContainer")
    tracer = trace("-o", "json", "--bodies")
    released.set()
    call.result(PATIENCE)
    client.call("ListContainers")
    before, after = tracer.calls(2)
    assert (before["id"], before["request"], before["answers"]) == ("c", "", [])
    assert after["answers"] == ["{}\n"]


def test_of_a_large_body_there_is_the_beginning(client: Client, trace: Trace, primary: Runtime) -> None:
    containers = [{"id": f"c{number:05d}", "image_ref": "x" * 100} for number in range(2000)]
    primary.answers["ListContainers"] = v1.ListContainersResponse(containers=containers)
    tracer = trace("-o", "json", "--bodies")
    assert len(client.call("ListContainers").containers) == 2000
    (call,) = tracer.calls(1)
    (answer,) = call["answers"]
    assert 'id: "c00000"' in answer
    assert "c01999" not in answer
    assert re.search(r"# of \d+ bytes only the first \d+ are shown\n$", answer)


def test_bodies_in_the_table_are_below_their_line(client: Client, trace: Trace) -> None:
    tracer = trace("--bodies", "--method", "StopContainer")
    client.call("StopContainer", container_id="c", timeout=20)
    lines = [next(tracer.lines).rstrip("\n") for _ in range(6)]
    assert lines[2:] == ["  request:", '    container_id: "c"', "  answer:", "    {}"]


def test_who_does_not_read_loses_calls_and_is_told_how_many(client: Client, proxy: Proxy) -> None:
    """And kubelet does not wait for it."""
    told = control().messages["TracedCall"]
    watcher = WireClient(proxy.control, {SettingCodes.INITIAL_WINDOW_SIZE: 0})
    stream = watcher.open("Trace", path=control().path("Trace"))
    watcher.data(stream, message(b""), True)
    proxy.wait_for_log(BEGUN)
    for _ in range(120):
        client.call("StopContainer", container_id="c" * 4000)
    watcher.set({SettingCodes.INITIAL_WINDOW_SIZE: 2**24})
    # Sooner or later it has read enough to be told of one more.
    reader = Reader(2**20)
    calls: List[Any] = []
    seen = 0
    while not any(call.lost for call in calls):
        client.call("Version")
        events = watcher.of(stream, DataReceived)
        for event in events[seen:]:
            calls += [told.FromString(plain(body)) for body in reader.feed(event.data)]
        seen = len(events)
    watcher.close()
    # One piece may have brought more calls behind that one.
    calls = calls[: next(index for index, call in enumerate(calls) if call.lost) + 1]
    numbers = [call.number for call in calls]
    assert calls[-1].lost == numbers[-1] - numbers[-2] - 1 > 0
    assert numbers[:-1] == list(range(numbers[0], numbers[0] + len(calls) - 1))


def test_only_so_many_may_watch_at_once(proxy: Proxy, trace: Trace) -> None:
    tracers = [trace() for _ in range(MOST_TRACERS)]
    done = subprocess.run(
        [sys.executable, "-m", "criproxy", "trace", "--socket", proxy.control],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == REFUSED
    assert f"{MOST_TRACERS} others are tracing already" in done.stderr
    tracers[0].close()
    proxy.wait_for_log("trace: somebody has watched calls")
    trace()


def test_a_runtime_that_is_not_there_is_refused(proxy: Proxy) -> None:
    command = [sys.executable, "-m", "criproxy", "trace", "--socket", proxy.control, "--runtime", "alt.tset"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == REFUSED
    assert "unknown runtime: 'alt.tset' (there are: primary, alt.test)" in done.stderr


def test_it_ends_with_success_when_it_is_interrupted_and_else_with_the_daemon(proxy: Proxy, trace: Trace) -> None:
    first, second = trace(), trace()
    first.process.send_signal(signal.SIGINT)
    _, errors = first.process.communicate(timeout=PATIENCE)
    assert (first.process.returncode, errors) == (DONE, "")
    proxy.stop()
    _, errors = second.process.communicate(timeout=PATIENCE)
    assert second.process.returncode == NO_DAEMON
    assert errors.startswith("criproxy trace: ")
    assert (
        subprocess.run(
            [sys.executable, "-m", "criproxy", "trace", "--socket", proxy.control], capture_output=True, check=False
        ).returncode
        == NO_DAEMON
    )


def test_that_nobody_reads_it_any_more_is_no_failure(client: Client, trace: Trace) -> None:
    tracer = trace()
    next(tracer.lines)
    assert tracer.process.stdout is not None
    tracer.process.stdout.close()
    client.call("Version")
    assert tracer.process.wait(PATIENCE) == DONE
    assert tracer.errors.read() == ""
