"""Events of containers, and streamed lists: kubelet has them where all runtimes have them."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Optional, Tuple

import grpc
import pytest

from .client import Client
from .kubelet import Pod, Runtime, remove_pod, run_pod
from .node import Node

FIRST_WITH_EVENTS = (1, 7)
"""The version of containerd."""
CREATED, STARTED, STOPPED, DELETED = range(4)


def version_of(runtime: Runtime) -> Tuple[int, int]:
    """The first two numbers of a runtime's version."""
    numbers = re.match(r"v?(\d+)\.(\d+)", runtime.direct.Version().runtime_version)
    assert numbers
    return int(numbers[1]), int(numbers[2])


def until_removed(events: Any, pods: List[Pod]) -> List[Any]:
    """The events up to the removal of the last of these pods."""
    seen: List[Any] = []
    remaining = {pod.id for pod in pods}
    while remaining:
        seen.append(next(events))
        if seen[-1].container_event_type == DELETED:
            remaining.discard(seen[-1].container_id)
    return seen


def test_events_are_those_of_all_runtimes_or_unimplemented(
    cri: Client, node: Node, primary: Runtime, alternative: Runtime
) -> None:
    events = cri.GetContainerEvents()
    if version_of(primary) < FIRST_WITH_EVENTS:
        with pytest.raises(grpc.RpcError) as caught:
            next(events)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        return
    pods = [run_pod(cri, node, runtime) for runtime in (primary, alternative)]
    for pod in pods:
        remove_pod(cri, pod)
    seen = until_removed(events, pods)
    events.cancel()
    for pod in pods:
        own = [event for event in seen if event.container_id == pod.container]
        assert [event.container_event_type for event in own] == [CREATED, STARTED, STOPPED, DELETED]
        assert own[STARTED].pod_sandbox_status.id == pod.id
        assert [status.id for status in own[STARTED].containers_statuses] == [pod.container]


# Streamed lists.

STREAMS = {
    "StreamPodSandboxes": "ListPodSandbox",
    "StreamContainers": "ListContainers",
    "StreamContainerStats": "ListContainerStats",
    "StreamPodSandboxStats": "ListPodSandboxStats",
    "StreamPodSandboxMetrics": "ListPodSandboxMetrics",
    "StreamImages": "ListImages",
}
"""Each streamed list with the one that is one message."""


def outcome(call: Callable[[], Any]) -> Tuple[Any, Optional[grpc.StatusCode]]:
    """A call's answer, or the status that it fails with."""
    try:
        return call(), None
    except grpc.RpcError as error:
        return None, error.code()


def entries(*answers: Any) -> Dict[str, int]:
    """What is listed by its name, and how often."""
    found: Dict[str, int] = {}
    for answer in answers:
        for _, values in answer.ListFields():
            for entry in values:
                name = getattr(entry, "id", "") or getattr(entry, "pod_sandbox_id", "") or entry.attributes.id
                found[name] = found.get(name, 0) + 1
    return found


@pytest.mark.parametrize(("stream", "unary"), STREAMS.items())
def test_a_streamed_list_has_what_the_list_in_one_message_has(
    stream: str, unary: str, cri: Client, node: Node, primary: Runtime, alternative: Runtime
) -> None:
    pods = [run_pod(cri, node, runtime) for runtime in (primary, alternative)]
    streamed, failed = outcome(lambda: cri.streamed(stream))
    listed, wanted = outcome(getattr(cri, unary))
    if failed is None:
        assert wanted is None
        assert entries(*streamed) == entries(listed)
        assert stream == "StreamImages" or any(name.startswith("alt.test") for name in entries(*streamed))
    else:
        assert failed is grpc.StatusCode.UNIMPLEMENTED
    for pod in pods:
        remove_pod(cri, pod)
