"""Events of containers, and streamed lists: kubelet has them of runtimes that do not have them, too."""

from __future__ import annotations

import re
import sys
from signal import SIGTERM
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import grpc
import pytest

from criproxy.cri.methods import METHODS

from .client import Client
from .kubelet import STOPPED as EXIT_CODE
from .kubelet import Pod, Runtime, remove_pod, run_pod
from .node import Node
from .service import Service

FIRST_WITH_EVENTS = (1, 7)
"""The version of containerd."""
CREATED, STARTED, STOPPED, DELETED = range(4)


def version_of(runtime: Runtime) -> Tuple[int, int]:
    """The first two numbers of a runtime's version."""
    numbers = re.match(r"v?(\d+)\.(\d+)", runtime.direct.Version().runtime_version)
    assert numbers
    return int(numbers[1]), int(numbers[2])


def until(events: Any, name: str, what: int) -> List[Any]:
    """The events up to one."""
    seen: List[Any] = []
    while not seen or (seen[-1].container_id, seen[-1].container_event_type) != (name, what):
        seen.append(next(events))
    return seen


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


@pytest.fixture
def evented(node: Node, alternative: Runtime) -> Iterator[Client]:
    """Kubelet's side of a proxy whose primary runtime has events: a demo runtime."""
    sockets = [node.folder / f"{name}.sock" for name in ("demo", "evented")]
    connect = f"{sockets[0]},{alternative.id}:{alternative.containerd.socket}"
    criproxy = [sys.executable, "-m", "criproxy"]
    services = [
        Service("demo runtime", [*criproxy, "demo-runtime", "--listen", str(sockets[0])]),
        Service("criproxy with events", [*criproxy, "-v", "2", "-connect", connect, "-listen", str(sockets[1])]),
    ]
    for service, socket in zip(services, sockets):
        with Client(socket) as client:
            service.launch(client.serves)
    with Client(sockets[1]) as client:
        yield client
    for service in reversed(services):
        assert service.end(SIGTERM) == 0


def test_what_happens_on_an_alternative_runtime_is_heard_of_whether_it_has_events_or_not(
    evented: Client, node: Node, alternative: Runtime
) -> None:
    events = evented.GetContainerEvents()
    pod = run_pod(evented, node, alternative)
    seen = until(events, pod.container, STARTED)
    own = [(event.container_id, event.container_event_type) for event in seen]
    own = [each for each in own if each[0] in (pod.id, pod.container)]
    assert own == [(name, what) for name in (pod.id, pod.container) for what in (CREATED, STARTED)]
    started = seen[-1]
    assert started.pod_sandbox_status.id == pod.id
    assert started.pod_sandbox_status.metadata.name == "pod"
    assert started.pod_sandbox_status.network.ip
    (status,) = started.containers_statuses
    assert (status.id, status.state) == (pod.container, evented.api.CONTAINER_RUNNING)
    assert status.image.image.startswith(("alt.test/", "sha256:"))

    evented.StopContainer(container_id=pod.container, timeout=10)
    (status,) = until(events, pod.container, STOPPED)[-1].containers_statuses
    assert (status.state, status.exit_code) == (evented.api.CONTAINER_EXITED, EXIT_CODE)

    evented.RemoveContainer(container_id=pod.container)
    assert not until(events, pod.container, DELETED)[-1].containers_statuses

    evented.StopPodSandbox(pod_sandbox_id=pod.id)
    until(events, pod.id, STOPPED)
    evented.RemovePodSandbox(pod_sandbox_id=pod.id)
    last = until(events, pod.id, DELETED)[-1]
    assert last.pod_sandbox_status.metadata.name == "pod"
    assert last.pod_sandbox_status.state == evented.api.SANDBOX_NOTREADY
    events.cancel()


# Streamed lists.

STREAMS = [(row.name, row.twin) for row in METHODS.values() if row.twin and row.rpc.server_streaming]


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


@pytest.mark.parametrize(("stream", "unary"), STREAMS)
def test_a_streamed_list_has_what_the_list_in_one_message_has(
    stream: str, unary: str, cri: Client, node: Node, primary: Runtime, alternative: Runtime
) -> None:
    pods = [run_pod(cri, node, runtime) for runtime in (primary, alternative)]
    streamed, failed = outcome(lambda: cri.streamed(stream))
    listed, wanted = outcome(getattr(cri, unary))
    assert failed is wanted
    if failed is None:
        assert entries(*streamed) == entries(listed)
        assert stream == "StreamImages" or any(name.startswith("alt.test") for name in entries(*streamed))
    else:
        assert version_of(primary) < (2, 0)
        assert failed is grpc.StatusCode.UNIMPLEMENTED
    for pod in pods:
        remove_pod(cri, pod)
