"""What is logged of calls that fail: whose they are, at which verbosity, and how often."""

from __future__ import annotations

import re
from typing import Any, List
from urllib.parse import quote

import pytest
from scene import ALT, INTERNAL, PRIMARY, UNAVAILABLE, Node, message

from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import Code
from criproxy.report.problems import INTERVAL, MOST

NOT_FOUND, INVALID = int(Code.NOT_FOUND), int(Code.INVALID_ARGUMENT)
CONFIG = {"metadata": {"namespace": "default", "name": "web"}}
UNKNOWN_RUNTIME = {**CONFIG, "annotations": {"kubernetes.io/target-runtime": "x.test"}}
REFUSED = 'criproxy: unknown runtime: "x.test" (configured: alt.test)'


def logged(node: Node, text: str = "") -> List[str]:
    """The records with this text, each with its letter."""
    records = re.findall(r"^([IWE])\d{4} [^]]*criproxy\] (.*)$", node.text.getvalue(), re.MULTILINE)
    return [f"{letter} {line}" for letter, line in records if text in line]


def failed(node: Node, method: str, code: int, text: str = "why", **fields: Any) -> None:
    """A call that the primary runtime fails."""
    stream = node.call(method, **fields)
    node.refuse(PRIMARY, method, code, text)
    assert node.answer(stream).code == code


def run_web(node: Node) -> None:
    """The pod default/web (p) is started on the primary runtime, with the container nginx (c)."""
    node.call("RunPodSandbox", config=CONFIG)
    node.give(PRIMARY, "RunPodSandbox", message("RunPodSandboxResponse", pod_sandbox_id="p"))
    config = {"metadata": {"name": "nginx"}, "image": {"image": "i"}}
    node.call("CreateContainer", pod_sandbox_id="p", config=config)
    node.give(PRIMARY, "CreateContainer", message("CreateContainerResponse", container_id="c"))


@pytest.mark.parametrize(
    ("verbosity", "wanted"),
    [
        (0, f"E RunPodSandbox default/web: {REFUSED}"),
        (1, f"E RunPodSandbox default/web: {REFUSED}"),
        (2, f"E FAIL: /runtime.v1.RuntimeService/RunPodSandbox(): default/web: INVALID_ARGUMENT: {REFUSED}"),
        (3, f"E FAIL: /runtime.v1.RuntimeService/RunPodSandbox(): default/web: INVALID_ARGUMENT: {REFUSED}"),
    ],
)
def test_a_pod_that_is_refused_is_told_by_name_at_any_verbosity(verbosity: int, wanted: str) -> None:
    node = Node(verbosity=verbosity)
    assert node.answer(node.call("RunPodSandbox", config=UNKNOWN_RUNTIME)).code == INVALID
    assert logged(node, "unknown runtime: ") == [wanted]


@pytest.mark.parametrize(("code", "told"), [(INTERNAL, True), (NOT_FOUND, False), (INVALID, False)])
def test_of_what_a_runtime_says_only_what_does_not_work_is_told_at_verbosity_0(code: int, told: bool) -> None:
    node = Node()
    run_web(node)
    failed(node, "StopContainer", code, container_id="c")
    wanted = ["E StopContainer default/web/nginx: INTERNAL: why"] if told else []
    assert logged(node, "StopContainer") == wanted


def test_a_call_is_told_by_the_id_if_nobody_knows_the_name() -> None:
    node = Node()
    failed(node, "StopContainer", INTERNAL, container_id="0123")
    assert logged(node, "StopContainer") == ["E StopContainer 0123: INTERNAL: why"]


def test_a_call_that_is_about_nothing_is_told_by_its_method() -> None:
    node = Node()
    failed(node, "RuntimeConfig", INTERNAL)
    assert logged(node, "why") == ["E RuntimeConfig: INTERNAL: why"]


def test_a_stream_that_a_runtime_resets_is_told() -> None:
    node = Node()
    stream = node.call("StopContainer", container_id="c")
    node.served[PRIMARY].connection.reset(node.asked(PRIMARY, "StopContainer")[-1], ErrorCode.INTERNAL_ERROR)
    node.served[PRIMARY].say()
    assert node.answer(stream).reset == ErrorCode.INTERNAL_ERROR
    assert logged(node, "StopContainer") == ["E StopContainer c: UNKNOWN: the runtime reset the stream: INTERNAL_ERROR"]


def test_a_stream_of_events_that_ends_is_nothing_urgent() -> None:
    for verbosity, count in ((0, 0), (2, 1)):
        node = Node(verbosity=verbosity)
        stream = node.call("GetContainerEvents")
        node.lose(ALT)
        assert node.answer(stream).code == UNAVAILABLE
        assert len(logged(node, "GetContainerEvents")) == count


@pytest.mark.parametrize("verbosity", [0, 2])
def test_a_thousand_failures_of_one_kind_are_a_record_and_a_count(verbosity: int) -> None:
    node = Node(verbosity=verbosity)
    for number in range(1000):
        failed(node, "StopContainer", INTERNAL, f"{number}", container_id="c")
    assert len(logged(node, "StopContainer")) == 1
    node.loop.advance(INTERVAL)
    assert len(logged(node, "StopContainer")) == 2
    assert logged(node, "StopContainer")[1].endswith("c: INTERNAL: 999 (the last of 999 such calls in the last minute)")


def test_with_their_requests_all_failures_are_told() -> None:
    node = Node(verbosity=3)
    for _ in range(2 * MOST):
        failed(node, "StopContainer", INTERNAL, container_id="c")
    assert len(logged(node, "ENTER: ")) == len(logged(node, "FAIL: ")) == 2 * MOST


def test_what_kubelet_gets_all_day_long_does_not_hide_what_is_urgent() -> None:
    node = Node(verbosity=2)
    for number in range(2 * MOST):
        failed(node, "ContainerStatus", NOT_FOUND, container_id=f"{number}")
    assert len(logged(node, "ContainerStatus")) == MOST + 1
    failed(node, "StopContainer", INTERNAL, container_id="c")
    failed(node, "StopContainer", INTERNAL, container_id="d")
    assert len(logged(node, "StopContainer")) == 2


@pytest.mark.parametrize(("id", "prefix", "letter"), [(PRIMARY, "", "E"), (ALT, "alt.test__", "W")])
def test_a_runtime_that_is_away_is_one_problem_whatever_is_asked_of_it(id: str, prefix: str, letter: str) -> None:
    node = Node(connection_timeout=0.0)
    node.lose(id)
    for number in range(100):
        node.call("StopContainer", container_id=f"{prefix}{number}")
        node.call("ContainerStatus", container_id=f"{prefix}{number}")
        node.loop.settle()
    assert len(logged(node, "is not available")) == 1
    assert logged(node, "is not available")[0].startswith(f"{letter} StopContainer {prefix}0: criproxy: ")


def test_a_list_that_fails_with_the_primary_is_the_same_problem() -> None:
    node = Node(connection_timeout=0.0)
    node.lose(PRIMARY)
    for method in ("ListPodSandbox", "Status", "ImageFsInfo", "Version"):
        assert node.answer(node.call(method)).code == UNAVAILABLE
    assert len(logged(node, "is not available")) == 1


def test_two_runtimes_that_are_away_are_two_problems() -> None:
    node = Node(connection_timeout=0.0)
    for id, container in ((PRIMARY, "c"), (ALT, "alt.test__c")):
        node.lose(id)
        node.call("StopContainer", container_id=container)
        node.loop.settle()
    assert len(logged(node, "is not available")) == 2


def test_nobody_forges_a_record_by_a_name_and_a_long_one_is_cut() -> None:
    forged = "x\nI0101 00:00:00.000000       1 criproxy] all is well"
    for verbosity in (0, 2):
        node = Node(verbosity=verbosity, max_message_size=100_000)
        for name in (forged, "\x1b[2K", "x" * 9_000):
            metadata = {"namespace": name, "name": name}
            node.call("RunPodSandbox", config={**UNKNOWN_RUNTIME, "metadata": metadata})
            failed(node, "StopContainer", INTERNAL, quote(name), container_id=name[:4000])
        assert logged(node, "all is well")
        assert not [line for line in node.text.getvalue().splitlines() if line.startswith("I0101")]
        assert "\x1b" not in node.text.getvalue()
        assert max(map(len, node.text.getvalue().splitlines())) < 5000
        assert f"{'x' * 253}/{'x' * 253}: " in node.text.getvalue()


def test_a_request_that_is_too_large_to_be_read_at_once_fails_without_a_name() -> None:
    node = Node(max_message_size=64 << 20)
    config = {**UNKNOWN_RUNTIME, "labels": {"a": "x" * (1 << 20)}}
    node.call("RunPodSandbox", config=config)
    while not logged(node, "unknown runtime"):
        node.loop.settle()
    assert logged(node)[-1] == f"E RunPodSandbox: {REFUSED}"
