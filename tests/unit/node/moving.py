"""Two runtimes of a move, served by grpcio, which have the pods and images that a test gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import grpc
from node_lab import Lab
from peers import Runtime, v1

from criproxy.inspection.interview import Told
from criproxy.migrate.move import Move
from criproxy.migrate.side import Kind, Running, Side
from criproxy.node import kubelet as kubelets
from criproxy.node.kubelet import Kubelet

READY, NOT_READY, RUNNING = 0, 1, 1


def digest(text: str) -> str:
    """An image's id that ends with this."""
    return "sha256:" + text.rjust(64, "0")


class Peer:
    """A runtime with which all is well, and which has nothing."""

    def __init__(self, path: Path, name: str = "containerd", version: str = "1.7.2") -> None:
        self.path = str(path)
        self.version = version
        self.conditions = {"RuntimeReady": True, "NetworkReady": True}
        self.info: Dict[str, str] = {}
        self.pods: List[Any] = []
        self.containers: List[Any] = []
        self.logs: Dict[str, str] = {}
        self.pids: Dict[str, int] = {}
        self.images: Dict[str, Any] = {}
        """By name, and by id."""
        self.registry: Dict[str, str] = {}
        """The ids of images that can be pulled, by name."""
        self.pulled: List[str] = []
        self.image_folder = ""
        self.runtime = Runtime(self.path, name, packages=("runtime.v1",))
        self.runtime.answers = {
            "Version": lambda *_: v1.VersionResponse(
                version="0.1.0", runtime_name=name, runtime_version=self.version, runtime_api_version="v1"
            ),
            "Status": lambda *_: self._status(),
            "ListPodSandbox": lambda *_: v1.ListPodSandboxResponse(items=self.pods),
            "ListContainers": lambda *_: v1.ListContainersResponse(containers=self.containers),
            "ContainerStatus": self._container_status,
            "ImageStatus": lambda request, _: v1.ImageStatusResponse(image=self.images.get(request.image.image)),
            "ImageFsInfo": lambda *_: self._image_fs_info(),
            "PullImage": self._pull,
            "RuntimeConfig": self._unknown,
        }

    def has(self, id: str, *names: str, size: int = 1 << 20) -> Any:
        """Gives it an image."""
        image = v1.Image(
            id=id,
            size=size,
            repo_tags=[name for name in names if "@" not in name],
            repo_digests=[name for name in names if "@" in name],
        )
        self.images.update(dict.fromkeys((id, *names), image))
        return image

    def run(self, name: str, image: str, id: str = "", state: int = READY, named: str = "", log: str = "") -> str:
        """Gives it a pod with a container of an image, by the image's id; ``named``: as the pod has it."""
        metadata = v1.PodSandboxMetadata(name=name, namespace="default", uid=name)
        self.pods.append(v1.PodSandbox(id=f"pod-{name}", metadata=metadata, state=state))
        container = id or (str(len(self.containers)) * 64)[:64]
        spec = v1.ImageSpec(image=image, user_specified_image=named)
        self.containers.append(
            v1.Container(id=container, pod_sandbox_id=f"pod-{name}", image=spec, image_ref=image, state=RUNNING)
        )
        self.logs[container] = log
        return container

    def tells_driver(self, number: int) -> None:
        """By RuntimeConfig; 0 is systemd, 1 cgroupfs."""
        answer = v1.RuntimeConfigResponse()
        answer.linux.cgroup_driver = number
        self.runtime.answers["RuntimeConfig"] = answer

    def _status(self) -> Any:
        conditions = [v1.RuntimeCondition(type=type, status=status) for type, status in self.conditions.items()]
        return v1.StatusResponse(status=v1.RuntimeStatus(conditions=conditions), info=self.info)

    def _container_status(self, request: Any, context: grpc.ServicerContext) -> Any:
        id = request.container_id
        if id not in self.logs:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such container")
        pid = json.dumps({"pid": self.pids.get(id, 0)})
        return v1.ContainerStatusResponse(
            status=v1.ContainerStatus(id=id, log_path=self.logs[id]), info={"info": pid} if request.verbose else {}
        )

    def _image_fs_info(self) -> Any:
        answer = v1.ImageFsInfoResponse()
        if self.image_folder:
            answer.image_filesystems.add().fs_id.mountpoint = self.image_folder
        return answer

    def _pull(self, request: Any, context: grpc.ServicerContext) -> Any:
        name = request.image.image
        self.pulled.append(name)
        if name not in self.registry:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{name}: not found")
        self.has(self.registry[name], name)
        return v1.PullImageResponse(image_ref=self.registry[name])

    def _unknown(self, _: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method RuntimeConfig")


def kubelet_of(lab: Lab) -> Kubelet:
    """The kubelet of a node."""
    found = kubelets.find(lab.tree, lab.ask)
    assert found is not None
    return found


def containerd(driver: Optional[bool] = None, major: int = 1, **differently: Any) -> Side:
    """A containerd that says whether systemd makes its cgroups, or does not."""
    options = {"SystemdCgroup": driver}
    config = {"containerd": {"defaultRuntimeName": "runc", "runtimes": {"runc": {"options": options}}}}
    side = Side("/run/containerd/containerd.sock", Told(name="containerd 1.7"), Kind.CONTAINERD, major)
    return side._replace(**{"config": {} if driver is None else config, **differently})


def running(lab: Lab, cgroup: str, id: str = "ab" * 32, pid: int = 77, log: str = "") -> Running:
    """A container that runs on a node in this cgroup."""
    lab.put(f"/proc/{pid}/cgroup", f"12:memory:{cgroup}\n0::{cgroup}\n")
    return Running(id, log, pid)


def move(lab: Lab, old: Side, new: Side, with_kubelet: bool = True) -> Move:
    """A move on a node."""
    return Move(lab.tree, kubelet_of(lab) if with_kubelet else None, old, new)


def said(lines: Sequence[Any]) -> List[str]:
    """Whose each finding is, and how that is."""
    return [f"{each.subject}: {each.what}: {each.state.value}" for each in lines]
