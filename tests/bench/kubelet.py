"""What a real kubelet calls, made again at its pace for a node with more pods: what that costs the proxy.

kubelet.json is what `python -m tests.kubelet.record` has seen of kubelet 1.20. Lists come as often for many pods as for
few, and are longer; what is asked of one pod comes as often as there are pods. The runtimes are demo runtimes, whose
own time does not count.
"""

from __future__ import annotations

import heapq
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping

from criproxy.client import Client, ClientError
from criproxy.cri.identity import TARGET_RUNTIME
from tests.bench.lab import RUNTIME, BenchError, Lab

PODS = 110
"""As many as a kubelet takes unless it is told otherwise."""
RECORD = Path(__file__).with_name("kubelet.json")
_NAME = "kubelet"
_RUNTIMES = ("", RUNTIME)
"""Half of the pods are on each."""
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


def share(lab: Lab, seconds: float) -> float:
    """Which part of one core's time the proxy takes in so many seconds. Raises BenchError."""
    process = _started(lab)
    with Client(lab.path(_NAME)) as client:
        try:
            pods = [_run(client, number) for number in range(PODS)]
            began, used = time.monotonic(), _used(process)
            _replay(client, pods, began + seconds)
            return (_used(process) - used) / (time.monotonic() - began)
        except ClientError as error:
            raise BenchError(f"{_NAME}: {error}") from error


def _started(lab: Lab) -> subprocess.Popen[bytes]:
    """The proxy, before runtimes of its own."""
    connect = []
    for number, runtime in enumerate(_RUNTIMES):
        name = f"demo{number}"
        lab.start(name, sys.executable, "-m", "criproxy", "demo-runtime", "--listen", lab.path(name), "--name", name)
        connect.append(f"{runtime}:{lab.path(name)}" if runtime else lab.path(name))
    command = (sys.executable, "-m", "criproxy", "--connect", ",".join(connect), "--listen", lab.path(_NAME))
    return lab.start(_NAME, *command)


def _run(client: Client, number: int) -> Pod:
    """Makes a pod as kubelet does, with as much about it as there is on a real node."""
    runtime = _RUNTIMES[number % len(_RUNTIMES)]
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


def intervals() -> Dict[str, float]:
    """How often each method is called for that many pods: the time from call to call, seconds."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    more = PODS / record["pods"]
    return {
        method: record["seconds"] / (count * (more if method in OF_ONE else 1))
        for method, count in record["calls"].items()
    }


def _replay(client: Client, pods: List[Pod], until: float) -> None:
    every = intervals()
    due = [(time.monotonic() + interval, method, 0) for method, interval in every.items()]
    heapq.heapify(due)
    while due[0][0] < until:
        at, method, number = heapq.heappop(due)
        time.sleep(max(0.0, at - time.monotonic()))
        request = OF_ALL[method] if method in OF_ALL else OF_ONE[method](pods[number % len(pods)])
        client.call(method, **request)
        heapq.heappush(due, (at + every[method], method, number + 1))


def _used(process: subprocess.Popen[bytes]) -> float:
    """The time of a processor that it has taken, seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
