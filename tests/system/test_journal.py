"""The journal of the whole process: what can be found in it by which field."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import grpc
import pytest
from peers import Client, Proxy, Runtime, message_class, v1
from systemd_peers import Journald

IN_THE_JOURNAL = """
import os, sys
from criproxy import cli
from criproxy.report import journal
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
journal.SOCKET = sys.argv.pop(1)
sys.exit(cli.main())
"""
"""What systemd does for a service, with a journald of our own."""

StartInJournal = Callable[..., Proxy]


@pytest.fixture
def journald(folder: Path) -> Iterator[Journald]:
    made = Journald(str(folder / "journal"))
    yield made
    made.close()


@pytest.fixture
def start(folder: Path, journald: Journald, primary: Runtime, other: Runtime) -> Iterator[StartInJournal]:
    """Starts the proxy before ``primary`` and ``other``."""
    made: List[Proxy] = []

    def start_one(*options: str) -> Proxy:
        connect = f"{primary.path},alt.test:{other.path}"
        launcher = ("-c", IN_THE_JOURNAL, journald.path)
        made.append(Proxy(connect, str(folder / "proxy.sock"), *options, launcher=launcher))
        return made[-1]

    yield start_one
    for proxy in made:
        proxy.stop()


@pytest.fixture
def client(start: StartInJournal, journald: Journald) -> Iterator[Client]:
    """A client of a proxy that logs everything, whose records so far have been taken."""
    proxy = start("-v", "5")
    for _ in range(2):
        journald.wait_for_message("connected to ")
    made = Client(proxy.path)
    yield made
    made.close()


def test_says_what_runs_and_of_runtimes_which(
    start: StartInJournal, journald: Journald, primary: Runtime, other: Runtime
) -> None:
    proxy = start()
    assert journald.record()["MESSAGE"][0].startswith("criproxy ")
    found = {record["CRI_RUNTIME"][0] for record in (journald.record(), journald.record())}
    assert found == {"primary", "alt.test"}
    other.stop()
    gone = journald.record()
    assert gone["MESSAGE"][0].startswith(f'runtime "alt.test" ({other.path}) has gone')
    assert (gone["CRI_RUNTIME"], gone["PRIORITY"]) == (["alt.test"], ["4"])
    primary.stop()
    gone = journald.wait_for_message(f"the primary runtime ({primary.path}) has gone")
    assert (gone["CRI_RUNTIME"], gone["PRIORITY"]) == (["primary"], ["3"])
    assert proxy.stop() == 0
    assert journald.wait_for_message("stopped")["SYSLOG_IDENTIFIER"] == ["criproxy"]
    assert proxy.lines == []


def test_an_absence_is_found_by_its_runtime(client: Client, journald: Journald, other: Runtime) -> None:
    client.call("ListPodSandbox")
    other.stop()
    journald.wait_for_message("has gone")
    client.call("ListPodSandbox")
    away = journald.wait_for_message("is away: lists keep what it had")
    other.start()
    back = journald.wait_for_message("lists have what it lists now")
    assert (away["CRI_RUNTIME"], away["PRIORITY"]) == (["alt.test"], ["4"])
    assert (back["CRI_RUNTIME"], back["PRIORITY"]) == (["alt.test"], ["6"])


def test_a_runtime_that_is_back_is_found_by_its_runtime(
    client: Client, journald: Journald, primary: Runtime, other: Runtime
) -> None:
    for runtime, name, priority in ((primary, "primary", "3"), (other, "alt.test", "4")):
        runtime.stop()
        gone = journald.wait_for_message(f"({runtime.path}) has gone")
        assert (gone["CRI_RUNTIME"], gone["PRIORITY"]) == ([name], [priority])
        runtime.start()
        back = journald.wait_for_message("; it is back after ")
        assert (back["CRI_RUNTIME"], back["PRIORITY"]) == ([name], ["6"])


def test_the_records_of_a_call_have_its_number(client: Client, journald: Journald, other: Runtime) -> None:
    found: Dict[str, List[str]] = {}
    other.answers["StopContainer"] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "why")
    stop = client.stub("StopContainer")
    # Both are under way before either ends.
    calls = [
        stop.future(client.request("StopContainer", container_id=f"{prefix}c"), timeout=20)
        for prefix in ("", "alt.test__")
    ]
    assert [call.exception() is None for call in calls] == [True, False]
    for _ in range(4):
        record = journald.record()
        assert record["CRI_METHOD"] == ["StopContainer"]
        (number,) = record["CRI_CALL"]
        found.setdefault(number, []).append(record["MESSAGE"][0].partition(":")[0])
    assert sorted(found.values()) == [["ENTER", "FAIL"], ["ENTER", "LEAVE"]]
    assert all(int(number) > 0 for number in found)


def test_the_records_of_a_call_have_the_names_of_its_pod_and_container(
    client: Client, journald: Journald, primary: Runtime
) -> None:
    primary.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    primary.answers["CreateContainer"] = v1.CreateContainerResponse(container_id="c")
    client.call("RunPodSandbox", config={"metadata": {"namespace": "default", "name": "web"}})
    client.call("CreateContainer", pod_sandbox_id="p", config={"metadata": {"name": "nginx"}, "image": {"image": "i"}})
    client.call("StopContainer", container_id="c")
    client.call("StopPodSandbox", pod_sandbox_id="p")
    for container in ([], [], ["nginx"], ["nginx"], ["nginx"], ["nginx"], [], []):
        record = journald.record()
        assert (record["CRI_POD_NAMESPACE"], record["CRI_POD_NAME"]) == (["default"], ["web"])
        assert record["CRI_CONTAINER_NAME"] == container


def test_a_failed_call_is_found_by_its_pod_at_any_verbosity(start: StartInJournal, journald: Journald) -> None:
    proxy = start()
    for _ in range(2):
        journald.wait_for_message("connected to ")
    client = Client(proxy.path)
    forged = "web\nPRIORITY=0\n\nMESSAGE=all is well"
    metadata = {"namespace": "default", "name": forged}
    client.fail(
        "RunPodSandbox", config={"metadata": metadata, "annotations": {"kubernetes.io/target-runtime": "x.test"}}
    )
    client.close()
    record = journald.wait_for_message("unknown runtime")
    assert record["MESSAGE"][0].startswith(
        "RunPodSandbox default/web\\nPRIORITY=0\\n\\nMESSAGE=all is well: criproxy: "
    )
    assert (record["CRI_POD_NAMESPACE"], record["CRI_POD_NAME"]) == (["default"], [forged])
    assert (record["GRPC_STATUS"], record["PRIORITY"]) == (["INVALID_ARGUMENT"], ["4"])
    assert record["CRI_CALL"] == ["1"]


def test_a_call_to_one_runtime_has_its_fields_in_kubelets_names(client: Client, journald: Journald) -> None:
    client.call("StopContainer", container_id="alt.test__c")
    enter, leave = journald.record(), journald.record()
    assert enter["MESSAGE"] == ['ENTER: /runtime.v1.RuntimeService/StopContainer():\ncontainer_id: "alt.test__c"']
    assert leave["MESSAGE"] == ["LEAVE: /runtime.v1.RuntimeService/StopContainer():\n{}"]
    for record in (enter, leave):
        assert record["CRI_METHOD"] == ["StopContainer"]
        assert record["CRI_RUNTIME"] == ["alt.test"]
        assert record["CRI_CONTAINER"] == ["alt.test__c"]
        assert record["CRI_POD"] == []
        assert record["PRIORITY"] == ["6"]
    assert enter["GRPC_STATUS"] == enter["DURATION_USEC"] == []
    assert leave["GRPC_STATUS"] == ["OK"]
    assert 0 < int(leave["DURATION_USEC"][0]) < 20_000_000


def test_what_an_answer_names_is_found_too(client: Client, journald: Journald, other: Runtime) -> None:
    other.answers["CreateContainer"] = v1.CreateContainerResponse(container_id="c")
    client.call("CreateContainer", pod_sandbox_id="alt.test__p", config={"image": {"image": "alt.test/i"}})
    enter, leave = journald.record(), journald.record()
    assert (enter["CRI_POD"], enter["CRI_CONTAINER"]) == (["alt.test__p"], [])
    assert (leave["CRI_POD"], leave["CRI_CONTAINER"]) == (["alt.test__p"], ["alt.test__c"])


@pytest.mark.parametrize("method", ["ListContainers", "StreamContainers"])
def test_a_list_is_found_by_each_runtime(method: str, client: Client, journald: Journald, primary: Runtime) -> None:
    streams = method.startswith("Stream")
    answer = message_class("runtime.v1", f"{method}Response")(containers=[{"id": "c"}])
    primary.answers[method] = (lambda *_: iter([answer])) if streams else answer
    client.call(method)
    enter, leave = journald.record(), journald.record()
    assert enter["CRI_RUNTIME"] == leave["CRI_RUNTIME"] == ["primary", "alt.test"]
    assert leave["CRI_CONTAINER"] == []
    # Of a stream nobody knows yet how it will end.
    assert leave["GRPC_STATUS"] == ([] if streams else ["OK"])
    assert leave["DURATION_USEC"]


@pytest.mark.parametrize(("status", "priority"), [(grpc.StatusCode.NOT_FOUND, "4"), (grpc.StatusCode.UNAVAILABLE, "3")])
def test_a_call_that_its_runtime_fails(
    status: grpc.StatusCode, priority: str, client: Client, journald: Journald, other: Runtime
) -> None:
    other.answers["RemovePodSandbox"] = lambda _, context: context.abort(status, "why")
    client.fail("RemovePodSandbox", pod_sandbox_id="alt.test__p")
    journald.record()
    fail = journald.record()
    text = f"alt.test__p: {status.name}: why"
    assert fail["MESSAGE"] == [f"FAIL: /runtime.v1.RuntimeService/RemovePodSandbox(): {text}"]
    assert fail["GRPC_STATUS"] == [status.name]
    assert fail["PRIORITY"] == [priority]
    assert (fail["CRI_METHOD"], fail["CRI_RUNTIME"]) == (["RemovePodSandbox"], ["alt.test"])
    assert fail["CRI_POD"] == ["alt.test__p"]
    assert fail["DURATION_USEC"]


def test_a_call_that_is_for_nobody(client: Client, journald: Journald) -> None:
    client.fail("CreateContainer", pod_sandbox_id="alt.test__p", config={"image": {"image": "i"}})
    enter, fail = journald.record(), journald.record()
    assert enter["MESSAGE"][0].startswith("ENTER: ")
    assert fail["MESSAGE"][0].startswith("FAIL: ")
    assert enter["CRI_POD"] == fail["CRI_POD"] == ["alt.test__p"]
    assert enter["CRI_RUNTIME"] == fail["CRI_RUNTIME"] == []


def test_secrets_are_kept(client: Client, journald: Journald) -> None:
    client.call("PullImage", image={"image": "i"}, auth={"password": "hunter2"})
    assert "hunter2" not in str(journald.record())
    assert journald.record()["MESSAGE"][0].startswith("LEAVE: ")


def test_a_stuck_journald_makes_nobody_wait(client: Client, journald: Journald) -> None:
    for _ in range(700):
        client.call("StopContainer", container_id="c")
    while journald.has_more():
        journald.receive()
    client.call("Version")
    assert " records are lost: the journal did not take them" in journald.record()["MESSAGE"][0]


def test_logtostderr_is_glogs_lines_on_standard_error(start: StartInJournal, journald: Journald) -> None:
    proxy = start("-logtostderr")
    proxy.wait_for_log("connected to ", 2)
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    assert not journald.has_more()


def test_a_command_line_that_is_refused_is_an_error_there(start: StartInJournal) -> None:
    proxy = start("-nonsense")
    assert proxy.wait() == 2
    assert proxy.lines == ["<3>criproxy: unknown option: '-nonsense'"]
