"""A pod leaves the retiring runtime: it is stopped there, and kubelet makes it anew on the new one.

kubelet is not asked for it: to it, the pod's sandbox has ended. So the pod keeps its uid, and no API server is needed;
but what kubelet does before it stops a container by itself (the ``preStop`` hook) is left out.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Callable, List, TypeVar

from criproxy.client import Client, ClientError
from criproxy.inspection.together import together
from criproxy.migrate.left import LeftPod, Rest, pods_on, rests
from criproxy.node.kubelet import NodeError
from criproxy.node.watch import REAL, Clock

COMES_BACK = 120.0
"""How long kubelet may take to have a new sandbox of a pod, seconds."""
JOB_COMES_BACK = 30.0
"""The same of a pod of a Job, whose pods mostly do not come back, seconds."""
STARTS = 300.0
"""How long it may take after that until the pod's containers are there: images are pulled before, seconds."""
_INTERVAL = 0.5
"""Between two lists, seconds."""
_MARGIN = 120.0
"""How long a runtime may take to stop something beyond the time that a container is given, as for kubelet, seconds."""

Say = Callable[[str], None]
_Seen = TypeVar("_Seen")


class _Became(Enum):
    ANEW = auto()
    """The new runtime has a ready sandbox of the pod."""
    GONE = auto()
    """The old runtime has none any more: kubelet has removed it with its pod."""
    NOTHING = auto()
    """Neither, in the time that is given."""


def evict(pod: LeftPod, old: str, new: str, say: Say, clock: Clock = REAL) -> None:
    """Stops a pod on the runtime at ``old``, awaits it at ``new``, and removes what is left of it at ``old``.

    What has ended is removed at once; `prospects` is to be told before. Raises NodeError if the pod cannot be stopped,
    and if it does not come back although it should: others had better stay where they are then.
    """
    if pod.runs:
        _stop(pod, old, say)
        became = _await_sandbox(pod, old, new, clock)
        if became is _Became.GONE:
            say(f"{pod} is gone")
            return
        if became is _Became.ANEW:
            say(f"{pod} is on {new}")
            _await_containers(pod, new, clock)
        elif not pod.job:
            raise NodeError(
                f"{pod} has not come back on {new} within {COMES_BACK:g} s: kubectl describe pod --namespace"
                f" {pod.namespace} {pod.name} says why, or its restartPolicy does not want it; try again then, and what"
                f" has ended on {old} is removed"
            )
        else:
            say(f"{pod} has not come back, and has ended")
    clear(pod, old, say)


def clear(pod: LeftPod, old: str, say: Say) -> None:
    """Removes a pod that has ended, its containers with it, from the runtime at ``old``. Raises NodeError."""
    # As kubelet does it: where the sandbox was not stopped, its network is given back so.
    _call(pod, old, _MARGIN, "StopPodSandbox", pod_sandbox_id=pod.sandbox)
    _call(pod, old, _MARGIN, "RemovePodSandbox", pod_sandbox_id=pod.sandbox)
    say(f"{pod} has nothing on {old} any more")


def prospects(pod: LeftPod) -> List[str]:
    """What whoever evicts a pod that runs should know before."""
    told = [
        f'{pod}: the preStop hook of "{container.name}" is not run (kubectl delete pod runs it)'
        for container in pod.containers
        if container.has_hook and not container.ended
    ]
    if pod.job:
        told.append(f'{pod} may not come back: it is of the Job "{pod.job}", which makes another then')
    elif not pod.static:
        told.append(f"{pod} does not come back if its restartPolicy is Never, which no runtime knows")
    return told


def _stop(pod: LeftPod, old: str, say: Say) -> None:
    running = [container for container in pod.containers if not container.ended]
    if running:
        names = ", ".join(container.name for container in running)
        say(f"{pod}: stopping {names} (at most {pod.grace} s)")
    patience = pod.grace + _MARGIN

    def stopping(id: str) -> Callable[[], None]:
        return lambda: _call(pod, old, patience, "StopContainer", container_id=id, timeout=pod.grace)

    # All at once, as kubelet does it: kubelet starts one again that has ended while the sandbox is there.
    together([stopping(container.id) for container in running], 2 * patience)
    _call(pod, old, _MARGIN, "StopPodSandbox", pod_sandbox_id=pod.sandbox)


def _call(pod: LeftPod, old: str, patience: float, method: str, **fields: Any) -> None:
    try:
        with Client(old, patience) as client:
            client.call(method, **fields)
    except ClientError as error:
        if _is_there(pod, old, fields.get("container_id", pod.sandbox)):
            raise NodeError(f"{pod}: {error}") from error


def _is_there(pod: LeftPod, old: str, id: str) -> bool:
    """Whether the runtime still has it: of what is gone some say that there is no such thing."""
    found = [other for other in pods_on(old) if other.sandbox == pod.sandbox]
    return any(id in (other.sandbox, *(container.id for container in other.containers)) for other in found)


def _await_sandbox(pod: LeftPod, old: str, new: str, clock: Clock) -> _Became:
    def became() -> _Became:
        if any(other.uid == pod.uid and other.ready for other in pods_on(new)):
            return _Became.ANEW
        if not any(other.uid == pod.uid for other in pods_on(old)):
            return _Became.GONE
        return _Became.NOTHING

    return _await(became, _Became.NOTHING, JOB_COMES_BACK if pod.job else COMES_BACK, clock)


def _await_containers(pod: LeftPod, new: str, clock: Clock) -> None:
    def rest() -> Rest:
        there = pods_on(new)
        return next(iter(rests([_ended(pod)], there).values()))

    if _await(rest, Rest.ENDED, STARTS, clock) is Rest.ENDED:
        raise NodeError(
            f"{pod} is on {new}, but not all of its containers are after {STARTS:g} s: kubectl describe pod"
            f" --namespace {pod.namespace} {pod.name} says why; then try again"
        )


def _ended(pod: LeftPod) -> LeftPod:
    return pod._replace(ready=False, containers=tuple(each._replace(ended=True) for each in pod.containers))


def _await(look: Callable[[], _Seen], vain: _Seen, seconds: float, clock: Clock) -> _Seen:
    """What is seen at last: something else than ``vain``, or that when the time is over."""
    end = clock.now() + seconds
    seen = look()
    while seen is vain and clock.now() < end:
        clock.sleep(_INTERVAL)
        seen = look()
    return seen
