"""What a runtime has itself: its pods with their containers, whether they run or have ended."""

from __future__ import annotations

from enum import Enum
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from criproxy.client import Client, ClientError
from criproxy.cri.schema import load
from criproxy.node.kubelet import NodeError

_READY = load().enums["PodSandboxState"]["SANDBOX_READY"]
_EXITED = load().enums["ContainerState"]["CONTAINER_EXITED"]
_GRACE = "io.kubernetes.pod.terminationGracePeriod"
"""kubelet's annotation of a container, in every release that knows the CRI; dockershim keeps it as a label of
Docker's, and lists it as an annotation, too."""
_PRE_STOP = "io.kubernetes.container.preStopHandler"
"""Another: the hook that kubelet itself would run before it stops the container."""
_SOURCE = "kubernetes.io/config.source"
"""kubelet's annotation of a pod: ``api``, or else a file or an address that it has static pods from."""
_JOBS = ("batch.kubernetes.io/job-name", "job-name")
"""Labels of a pod that a Job has made; the second is that of before 1.27."""
USUAL_GRACE = 30
"""Kubernetes' own default, seconds."""
_LONGEST_GRACE = 86400
"""Nobody waits longer for a container, seconds."""


class LeftContainer(NamedTuple):
    """A container in the runtime's own list."""

    id: str
    name: str
    ended: bool
    has_hook: bool
    """Whether kubelet would run something in it before it stops it."""


class LeftPod(NamedTuple):
    """A pod in the runtime's own list. As a text: its name."""

    namespace: str
    name: str
    uid: str
    sandbox: str
    """The id of its sandbox, the runtime's own."""
    ready: bool
    grace: int
    """How long its containers may take to end when they are told to, seconds."""
    containers: Tuple[LeftContainer, ...] = ()
    static: bool = False
    """Whether kubelet has it from a file."""
    job: str = ""
    """The name of the Job that has made it; empty for none."""

    @property
    def runs(self) -> bool:
        """Whether anything of it does."""
        return self.ready or any(not container.ended for container in self.containers)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Rest(Enum):
    """What a pod on the retiring runtime is."""

    RUNS = "it runs there"
    MOVED = "it runs on the new runtime, and has left behind what has ended"
    """kubelet keeps a pod's last ended container of each name, and the sandbox with it, for as long as the pod lives;
    the new runtime has a container of each of these names."""
    ENDED = "it has ended, and its status and logs are there"
    """kubelet keeps it until the pod is deleted."""


def pods_on(path: str) -> Sequence[LeftPod]:
    """All pods of the runtime that serves this socket, in the order of their names. Raises NodeError."""
    try:
        with Client(path) as client:
            sandboxes = client.call("ListPodSandbox").items
            containers = client.call("ListContainers").containers
    except ClientError as error:
        raise NodeError(f"what is left on {path} is not known: {error}") from error
    of: Dict[str, List[Any]] = {}
    for container in containers:
        of.setdefault(container.pod_sandbox_id, []).append(container)
    return sorted(_pod(sandbox, of.get(sandbox.id, [])) for sandbox in sandboxes)


def _pod(sandbox: Any, containers: Sequence[Any]) -> LeftPod:
    meta, labels, annotations = sandbox.metadata, sandbox.labels, sandbox.annotations
    return LeftPod(
        meta.namespace,
        meta.name,
        meta.uid,
        sandbox.id,
        sandbox.state == _READY,
        max((_grace(container.annotations) for container in containers), default=USUAL_GRACE),
        tuple(sorted(map(_container, containers), key=lambda container: container.name)),
        annotations.get(_SOURCE, "api") != "api",
        next((labels[name] for name in _JOBS if name in labels), ""),
    )


def _container(container: Any) -> LeftContainer:
    ended, has_hook = container.state == _EXITED, _PRE_STOP in container.annotations
    return LeftContainer(container.id, container.metadata.name, ended, has_hook)


def _grace(annotations: Mapping[str, str]) -> int:
    try:
        return max(0, min(int(annotations[_GRACE]), _LONGEST_GRACE))
    except (KeyError, ValueError):
        return USUAL_GRACE


def rests(pods: Sequence[LeftPod], there: Sequence[LeftPod]) -> Dict[LeftPod, Rest]:
    """What each of these pods is, by those that the new runtime has."""
    ready = {pod.uid for pod in there if pod.ready}
    names: Dict[str, Set[str]] = {}
    for pod in there:
        names.setdefault(pod.uid, set()).update(container.name for container in pod.containers)

    def rest(pod: LeftPod) -> Rest:
        if pod.runs:
            return Rest.RUNS
        behind = {container.name for container in pod.containers}
        return Rest.MOVED if pod.uid in ready and behind <= names[pod.uid] else Rest.ENDED

    return {pod: rest(pod) for pod in pods}
