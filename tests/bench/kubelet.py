"""What a real kubelet calls, made again at its pace for a node with more pods: what that costs the proxy.

kubelet.json is what `python -m tests.kubelet.record` has seen of kubelet 1.20. Lists come as often for many pods as for
few, and are longer; what is asked of one pod comes as often as there are pods. The runtimes are demo runtimes, whose
own time does not count.

Most of what such a call costs is that it finds nothing in the processor's caches, which is the machine's. What another
proxy takes for the same calls says how much of it that is.
"""

from __future__ import annotations

import heapq
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Callable, Dict, List, Mapping, Sequence

from criproxy.client import Client, ClientError
from criproxy.cri.identity import TARGET_RUNTIME
from tests.bench.figures import BenchError
from tests.bench.lab import Lab
from tests.bench.processes import used
from tests.bench.programs import RUNTIME_IDS, Program

PODS = 110
"""As many as a kubelet takes unless it is told otherwise."""
RECORD = Path(__file__).with_name("kubelet.json")
_IMAGE = "docker.io/library/busybox:1"


@dataclass(frozen=True)
class Pod:
    """What kubelet knows of a pod."""

    id: str
    container: str
    image: str


Request = Callable[[Pod], Mapping[str, Any]]

OF_ALL: Dict[str, Mapping[str, Any]] = {
    "ImageFsInfo": {},
    "ListContainerStats": {},
    "ListContainers": {},
    "ListImages": {},
    "ListPodSandbox": {},
    "Status": {},
    "Version": {},
}
"""The requests that are about the node."""
OF_ONE: Dict[str, Request] = {
    "ContainerStatus": lambda pod: {"container_id": pod.container},
    "ExecSync": lambda pod: {"container_id": pod.container, "cmd": ["true"], "timeout": 1},
    "ImageStatus": lambda pod: {"image": {"image": pod.image}},
    "PodSandboxStatus": lambda pod: {"pod_sandbox_id": pod.id},
}
"""Those that are about a pod."""


def shares(lab: Lab, program: Program, counts: Sequence[int], seconds: float, seed: int) -> List[float]:
    """Which part of one core's time a proxy takes for so many pods, and then more, each in so many seconds.

    Of one that merges half of the pods are on each of two runtimes. Raises BenchError.
    """
    pods: List[Pod] = []
    ids = RUNTIME_IDS[: 2 if program.merges else 1]
    path, runtimes = lab.new("kubelet"), [_demo(lab) for _ in ids]
    with lab.fresh(program, path, runtimes) as process, Client(path) as client:
        found = []
        try:
            for count in counts:
                pods += [_run(client, number, ids[number % len(ids)]) for number in range(len(pods), count)]
                began, before = time.monotonic(), used(process.pid)
                _replay(client, pods, began + seconds, Random(seed))
                found.append((used(process.pid) - before) / (time.monotonic() - began))
        except ClientError as error:
            raise BenchError(f"kubelet: {error}") from error
    return found


def _demo(lab: Lab) -> str:
    path = lab.new("demo")
    lab.start(path, sys.executable, "-m", "criproxy", "demo-runtime", "--listen", path, "--name", "demo")
    return path


def _run(client: Client, number: int, runtime: str) -> Pod:
    """Makes a pod of a runtime as kubelet does, with as much about it as there is on a real node."""
    image = f"{runtime}/{_IMAGE}" if runtime else _IMAGE
    name, uid = f"pod-{number}-5d78c9869d-x2lq7", f"0f7c4e1a-6a0d-4bd5-9a6e-{number:012d}"
    labels = {
        f"io.kubernetes.pod.{key}": value for key, value in (("name", name), ("namespace", "bench"), ("uid", uid))
    }
    seen = {"kubernetes.io/config.seen": "2021-01-13T13:20:00.000000000Z", "kubernetes.io/config.source": "api"}
    sandbox = {
        "metadata": {"name": name, "namespace": "bench", "uid": uid},
        "labels": {"app": "bench", "pod-template-hash": "5d78c9869d", **labels},
        "annotations": {**seen, **({TARGET_RUNTIME.decode(): runtime} if runtime else {})},
    }
    pod_id = client.call("RunPodSandbox", config=sandbox).pod_sandbox_id
    client.call("PullImage", image={"image": image}, sandbox_config=sandbox)
    config = {
        "metadata": {"name": "main"},
        "image": {"image": image},
        "labels": {"io.kubernetes.container.name": "main", **labels},
        "annotations": {
            "io.kubernetes.container.hash": "d73c3f4a",
            "io.kubernetes.container.restartCount": "0",
            "io.kubernetes.container.terminationMessagePath": "/dev/termination-log",
            "io.kubernetes.container.terminationMessagePolicy": "File",
            "io.kubernetes.pod.terminationGracePeriod": "30",
        },
    }
    created = client.call("CreateContainer", pod_sandbox_id=pod_id, config=config, sandbox_config=sandbox)
    client.call("StartContainer", container_id=created.container_id)
    return Pod(pod_id, created.container_id, image)


def intervals(pods: int = PODS) -> Dict[str, float]:
    """How often each method is called for so many pods: the time from call to call, seconds."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    more = pods / record["pods"]
    return {
        method: record["seconds"] / (count * (more if method in OF_ONE else 1))
        for method, count in record["calls"].items()
    }


def _replay(client: Client, pods: List[Pod], until: float, phase: Random) -> None:
    every, now = intervals(len(pods)), time.monotonic()
    # Each begins anywhere in its interval: in some rounds what comes seldom comes, too, as often as it should.
    due = [(now + phase.uniform(0, interval), method, 0) for method, interval in every.items()]
    heapq.heapify(due)
    while due[0][0] < until:
        at, method, number = heapq.heappop(due)
        time.sleep(max(0.0, at - time.monotonic()))
        request = OF_ALL[method] if method in OF_ALL else OF_ONE[method](pods[number % len(pods)])
        client.call(method, **request)
        heapq.heappush(due, (at + every[method], method, number + 1))
