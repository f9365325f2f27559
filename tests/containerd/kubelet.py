"""What kubelet does: it makes pods, and knows each runtime's things by their names."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any, Dict

from .client import Client
from .node import Node
from .runtime import Containerd
from .service import Service, eventually

TARGET_RUNTIME = "kubernetes.io/target-runtime"
IMAGE = "docker.io/library/busybox:test"
"""An image that both runtimes have."""
GREETING = "the container has started"
STOPPED = 7
"""The exit status of a container that was asked to stop."""

_PROGRAM = f"trap 'exit {STOPPED}' TERM; echo {GREETING}; sleep 86400 & wait"


@dataclass(frozen=True)
class Runtime:
    """A runtime behind the proxy. ``id`` is empty for the primary one; ``direct``: a client past the proxy."""

    id: str
    containerd: Containerd
    direct: Client

    def outer_id(self, name: str) -> str:
        """What kubelet calls the pod or container that the runtime calls ``name``."""
        return f"{self.id}__{name}" if self.id else name

    def inner_id(self, name: str) -> str:
        """What the runtime calls the pod or container that kubelet calls ``name``."""
        prefix = self.outer_id("")
        assert name.startswith(prefix), f"{name!r} is not of {self.id!r}"
        return name[len(prefix) :]

    def outer_image(self, name: str) -> str:
        """What kubelet calls the image that the runtime calls ``name``."""
        return f"{self.id}/{name}" if self.id else name

    @property
    def annotations(self) -> Dict[str, str]:
        """The annotations of a pod that is for the runtime."""
        return {TARGET_RUNTIME: self.id} if self.id else {}


@dataclass(frozen=True)
class Pod:
    """A pod of one container, as kubelet knows it."""

    runtime: Runtime
    id: str
    container: str
    logs: Path
    """The container's log."""

    @property
    def inner(self) -> str:
        """The pod's id as the runtime knows it."""
        return self.runtime.inner_id(self.id)

    @property
    def inner_container(self) -> str:
        """The container's id as the runtime knows it."""
        return self.runtime.inner_id(self.container)


@dataclass(frozen=True)
class Sandbox:
    """A pod without a container yet, as kubelet knows it."""

    runtime: Runtime
    id: str
    config: Dict[str, Any]
    """Its PodSandboxConfig."""


def run_sandbox(client: Client, node: Node, runtime: Runtime, name: str = "pod", handler: str = "") -> Sandbox:
    """Makes a pod. It asks for its runtime by the annotation, or else by a runtime ``handler``."""
    uid = str(uuid.uuid4())
    directory = node.folder / "logs" / uid
    directory.mkdir(parents=True)
    config: Dict[str, Any] = {
        "metadata": {"name": name, "uid": uid, "namespace": "default"},
        "hostname": name,
        "log_directory": str(directory),
        "dns_config": {"servers": ["192.0.2.1"]},
        "labels": {"name": name},
        "annotations": {} if handler else runtime.annotations,
        "linux": {"cgroup_parent": node.cgroup.path, "security_context": _own_processes(client)},
    }
    return Sandbox(runtime, client.RunPodSandbox(config=config, runtime_handler=handler).pod_sandbox_id, config)


def start_container(client: Client, sandbox: Sandbox, image: str) -> Pod:
    """Starts a pod's container. ``image``: kubelet's name of it."""
    config: Dict[str, Any] = {
        "metadata": {"name": "main"},
        "image": {"image": image},
        "command": ["sh", "-c", _PROGRAM],
        "log_path": "main.log",
        "labels": sandbox.config["labels"],
        "linux": {
            "resources": {"cpu_shares": 100, "memory_limit_in_bytes": 64 * 2**20},
            "security_context": _own_processes(client),
        },
    }
    container = client.CreateContainer(
        pod_sandbox_id=sandbox.id, config=config, sandbox_config=sandbox.config
    ).container_id
    client.StartContainer(container_id=container)
    logs = Path(sandbox.config["log_directory"]) / "main.log"
    eventually(logs.read_text, lambda text: GREETING in text)
    return Pod(sandbox.runtime, sandbox.id, container, logs)


def _own_processes(client: Client) -> Dict[str, Any]:
    return {"namespace_options": {"pid": client.api.CONTAINER}}


def run_pod(client: Client, node: Node, runtime: Runtime, name: str = "pod", image: str = IMAGE) -> Pod:
    """Makes a pod and starts its container. ``image``: the runtime's name of it."""
    return start_container(client, run_sandbox(client, node, runtime, name), runtime.outer_image(image))


def remove_pod(client: Client, pod: Pod) -> None:
    """Ends a pod and all that is in it."""
    client.StopPodSandbox(pod_sandbox_id=pod.id)
    client.RemovePodSandbox(pod_sandbox_id=pod.id)


class Proxy(Service):
    """The program under test, before a primary runtime and one alternative."""

    def __init__(
        self, folder: Path, primary: Runtime, alternative: Runtime, *more: str, name: str = "criproxy"
    ) -> None:
        self.socket = folder / f"{name}.sock"
        connect = f"{primary.containerd.socket},{alternative.id}:{alternative.containerd.socket}"
        # As in a node's unit, but for the time that a primary runtime may take to come back: machines may be slow.
        options = ["-v", "3", "-connect", connect, "-listen", str(self.socket), "--connection-timeout", "30", *more]
        options += ["-control", f"{self.socket}.control"]
        super().__init__(name, [sys.executable, "-m", "criproxy", *options])

    def start(self) -> None:
        """Starts it, and comes back when it serves."""
        with Client(self.socket) as client:
            self.launch(client.serves)

    def stop(self) -> int:
        """Stops it as a service manager does and gives its exit status."""
        return self.end(SIGTERM)
