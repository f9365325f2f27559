"""The threat model of the README: an alternative runtime has its own pods, and nobody else's."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from peers import Client, Proxy, Runtime, message_class, v1
from wire import WireClient

from criproxy.cri.schema import load

ROOT = Path(__file__).parents[2]
HOSTILE = "http://192.0.2.66/"


@pytest.mark.parametrize("method", ["Exec", "Attach", "PortForward"])
def test_a_stream_into_a_pod_of_the_primarys_goes_where_the_primary_says(
    method: str, client: Client, primary: Runtime, other: Runtime
) -> None:
    answer = message_class("runtime.v1", load().methods[method].response)
    primary.answers[method], other.answers[method] = answer(url="http://127.0.0.1:1/own"), answer(url=HOSTILE)
    field = "pod_sandbox_id" if method == "PortForward" else "container_id"
    assert client.call(method, **{field: "x"}).url == "http://127.0.0.1:1/own"


def test_an_alternative_runtime_cannot_list_pods_by_the_names_of_anothers(
    client: Client, primary: Runtime, other: Runtime
) -> None:
    primary.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[v1.PodSandbox(id="p1")])
    ids = ("p1", "other.test__p2", "alt.test__p3", "__")
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[v1.PodSandbox(id=id) for id in ids])
    listed = [pod.id for pod in client.call("ListPodSandbox").items]
    assert listed[0] == "p1"
    assert all(id.startswith("alt.test__") for id in listed[1:])


def test_a_client_that_is_cut_off_is_named_with_its_process_and_what_it_did(proxy: Proxy, client: Client) -> None:
    hostile = WireClient(proxy.path)
    hostile.raw(b"\0\0\0\x06\0\0\0\0\0")  # a PING of no bytes
    said = proxy.wait_for_log("is cut off")
    assert re.search(rf"a client \(pid {os.getpid()} \(.+\), uid {os.getuid()}.*\) is cut off: PING", said)
    assert client.call("ListContainers") is not None
    hostile.close()


def test_every_test_that_the_readme_names_is_there() -> None:
    table = (ROOT / "README.md").read_text().partition("## Security")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", table))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) >= 10
    assert named <= set(re.findall(r"^ *def (test_\w+)\(", tests, flags=re.M))
