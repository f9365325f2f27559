"""What has changed between two looks at a runtime's lists, as the events that it would have sent.

Kubelet takes the statuses in an event for all there is of its pod. So every event of a look has the pod as it is found
then; which events there are, and in which order, says what must have happened meanwhile.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from criproxy.cri.messages import cut
from criproxy.cri.schema import load

_OF_POD = ("id", "metadata", "state", "created_at", "labels", "annotations", "runtime_handler")
"""The fields that a pod's entry in a list and its status have both."""
_VIEWS = cut(
    "criproxy.changes",
    {
        "ListPodSandboxResponse": [f"items.{name}" for name in _OF_POD],
        "ListContainersResponse": [f"containers.{name}" for name in ("id", "pod_sandbox_id", "state", "created_at")],
        "PodSandboxStatusResponse": [f"status.{name}" for name in _OF_POD],
        "ContainerStatusResponse": ["status"],
        "ContainerEventResponse": [
            "container_id",
            "container_event_type",
            "created_at",
            "pod_sandbox_status",
            "containers_statuses",
        ],
    },
)
_ENUMS = load().enums
_TYPES = _ENUMS["ContainerEventType"]
CREATED, STARTED, STOPPED, DELETED = (
    _TYPES[f"CONTAINER_{what}_EVENT"] for what in ("CREATED", "STARTED", "STOPPED", "DELETED")
)
_STEPS = (CREATED, STARTED, STOPPED)
"""What leads to each stage of a life."""
_RUNS, _OVER = 1, 2
_READY, _NOT_READY = (_ENUMS["PodSandboxState"][f"SANDBOX_{state}"] for state in ("READY", "NOTREADY"))
_POD_STAGES = {_READY: _RUNS}
_CONTAINER_STAGES = {
    _ENUMS["ContainerState"]["CONTAINER_CREATED"]: 0,
    _ENUMS["ContainerState"]["CONTAINER_RUNNING"]: _RUNS,
}

Status = Any
"""A PodSandboxStatus or a ContainerStatus."""


class Container(NamedTuple):
    """A container as a list has it."""

    state: int
    created_at: int
    """Nanoseconds since 1970."""


class Pod(NamedTuple):
    """A pod sandbox as a list has it, and the containers that another list has of it, by their ids."""

    entry: Any
    containers: Dict[bytes, Container]


class Change(NamedTuple):
    """What has happened to a pod sandbox and to its containers."""

    pod: bytes
    events: Sequence[Tuple[bytes, int]]
    """The id of whatever something has happened to, and the event's type."""


def snapshot(pods: bytes, containers: bytes) -> Dict[bytes, Pod]:
    """The pod sandboxes of two answers, to ListPodSandbox and to ListContainers, by their ids.

    Containers of other pods are left out. Raises DecodeError.
    """
    listed: Any = _VIEWS["ListPodSandboxResponse"].FromString(pods)
    found = {entry.id: Pod(entry, {}) for entry in listed.items}
    listed = _VIEWS["ListContainersResponse"].FromString(containers)
    for entry in listed.containers:
        pod = found.get(entry.pod_sandbox_id)
        if pod is not None:
            pod.containers[entry.id] = Container(entry.state, entry.created_at)
    return found


def compare(before: Mapping[bytes, Pod], after: Mapping[bytes, Pod]) -> List[Change]:
    """The pod sandboxes to which something has happened: those that are gone, then the others, the oldest first.

    So the last that is heard of a pod is about its youngest sandbox.
    """
    gone = sorted((name for name in before if name not in after), key=lambda name: _age(before[name]))
    there = sorted(after, key=lambda name: _age(after[name]))
    changes = (Change(name, list(_events(name, before.get(name), after.get(name)))) for name in (*gone, *there))
    return [change for change in changes if change.events]


def _age(pod: Pod) -> int:
    created_at: int = pod.entry.created_at
    return created_at


def _events(name: bytes, before: Optional[Pod], after: Optional[Pod]) -> Iterator[Tuple[bytes, int]]:
    """In the order in which they must have happened: a sandbox is made before its containers and outlives them; what a
    new container was made for, a restart perhaps, has happened to the old ones first."""
    own = _steps(before and before.entry.state, after and after.entry.state, _POD_STAGES)
    yield from ((name, step) for step in own if step in (CREATED, STARTED))
    old = {} if before is None else before.containers
    new = {} if after is None else after.containers
    for container in sorted(old, key=lambda each: old[each].created_at):
        now = new.get(container)
        for step in _steps(old[container].state, now and now.state, _CONTAINER_STAGES):
            yield container, step
    for container in sorted((each for each in new if each not in old), key=lambda each: new[each].created_at):
        for step in _steps(None, new[container].state, _CONTAINER_STAGES):
            yield container, step
    yield from ((name, step) for step in own if step in (STOPPED, DELETED))


def _steps(before: Optional[int], after: Optional[int], stages: Mapping[int, int]) -> Sequence[int]:
    """What leads from one state to another; None is the state of what is not there."""
    if before == after:
        return ()
    was = -1 if before is None else stages.get(before, _OVER)
    if after is None:
        return (STOPPED, DELETED) if was == _RUNS else (DELETED,)
    stage = stages.get(after, _OVER)
    # Another state is news even if it is no later stage.
    return _STEPS[min(was + 1, stage) : stage + 1]


def pod_status(answer: bytes) -> Optional[Status]:
    """The status in an answer to PodSandboxStatus; None if there is none. Raises DecodeError."""
    return _status(_VIEWS["PodSandboxStatusResponse"].FromString(answer))


def container_status(answer: bytes) -> Optional[Status]:
    """The status in an answer to ContainerStatus; None if there is none. Raises DecodeError."""
    return _status(_VIEWS["ContainerStatusResponse"].FromString(answer))


def _status(answer: Any) -> Optional[Status]:
    return answer.status if answer.HasField("status") else None


def listed_status(pod: Pod) -> Status:
    """As much of a pod sandbox's status as a list tells."""
    entry = pod.entry
    status: Any = _VIEWS["PodSandboxStatus"](
        id=entry.id,
        state=entry.state,
        created_at=entry.created_at,
        labels=entry.labels,
        annotations=entry.annotations,
        runtime_handler=entry.runtime_handler,
    )
    if entry.HasField("metadata"):
        status.metadata.CopyFrom(entry.metadata)
    return status


def last_status(status: Status) -> Status:
    """The status of a pod sandbox that is gone, of the last one that was known."""
    last = type(status)()
    last.CopyFrom(status)
    last.state = _NOT_READY
    return last


def events(change: Change, created_at: int, status: Status, containers: Iterable[Status]) -> Iterator[bytes]:
    """The events of a change (ContainerEventResponse, serialized), with these statuses.

    ``created_at``: nanoseconds since 1970.
    """
    event = _VIEWS["ContainerEventResponse"]
    found = event(pod_sandbox_status=status, containers_statuses=containers).SerializeToString()
    for name, what in change.events:
        yield event(container_id=name, container_event_type=what, created_at=created_at).SerializeToString() + found
