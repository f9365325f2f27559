"""Events of containers, which kubelet reads from one stream, if the runtimes have such a stream."""

from __future__ import annotations

import re
from typing import Any, List, Tuple

import grpc
import pytest

from .client import Client
from .kubelet import Pod, Runtime, remove_pod, run_pod
from .node import Node

FIRST_WITH_EVENTS = (1, 7)
"""The version of containerd."""


def version_of(runtime: Runtime) -> Tuple[int, int]:
    """The first two numbers of a runtime's version."""
    numbers = re.match(r"v?(\d+)\.(\d+)", runtime.direct.Version().runtime_version)
    assert numbers
    return int(numbers[1]), int(numbers[2])


def until_removed(cri: Client, events: Any, pods: List[Pod]) -> List[Any]:
    """The events up to the removal of the last of these pods."""
    seen: List[Any] = []
    remaining = {pod.id for pod in pods}
    while remaining:
        seen.append(next(events))
        if seen[-1].container_event_type == cri.api.CONTAINER_DELETED_EVENT:
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
    seen = until_removed(cri, events, pods)
    events.cancel()
    created, started, stopped, deleted = range(4)
    for pod in pods:
        own = [event for event in seen if event.container_id == pod.container]
        assert [event.container_event_type for event in own] == [created, started, stopped, deleted]
        assert own[started].pod_sandbox_status.id == pod.id
        assert [status.id for status in own[started].containers_statuses] == [pod.container]
