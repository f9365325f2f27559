"""A node that moves from containerd, or from Docker, to another containerd, and what must not change of its pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Set

from tests.containerd.service import eventually

from .cluster import LAYOUT_WITH_API, Cluster
from .docker import DOCKER, LAYOUT_OF_DOCKER, DockerNode
from .kubelet import Kubelet
from .node import ALTERNATIVE, ENVIRONMENT, LAYOUT, PATIENCE, PRIMARY, Runtime

OLD = PRIMARY
NEW = replace(ALTERNATIVE, id="")
LAYOUT_OF_A_MOVE = replace(LAYOUT_WITH_API, answers={"criproxy/other_cri": ""})
_FLAGS = (*LAYOUT_OF_DOCKER.flags, *(flag for flag in LAYOUT_WITH_API.flags if flag not in LAYOUT.flags))
LAYOUT_OF_A_MOVE_FROM_DOCKER = replace(
    LAYOUT_OF_DOCKER,
    name="docker-with-an-api-server",
    files={**LAYOUT_WITH_API.files, ENVIRONMENT: f'KUBELET_KUBEADM_ARGS="{" ".join(_FLAGS[1:])}"\n'},
    flags=_FLAGS,
    answers={"criproxy/primary_cri": "dockershim", "criproxy/other_cri": ""},
    more=tuple(dict.fromkeys((*LAYOUT_OF_DOCKER.more, *LAYOUT_WITH_API.more))),
)
_AWAY = "/run/systemd/system/{}.service.d/away.conf"
_BACK = "/run/it-is-back"
# What a machine that is switched off leaves of its runtimes: what is on the disk.
_SWITCH_OFF = """
systemctl stop kubelet criproxy.socket criproxy
folders=$1
shift
for socket; do
  for task in $(ctr --address $socket --namespace k8s.io tasks list --quiet); do
    ctr --address $socket --namespace k8s.io tasks kill --signal KILL $task
  done
done
systemctl stop containerd containerd-b
for folder in $folders; do
  awk -v begins="$folder/" 'index($2, begins) == 1 { print $2 }' /proc/mounts | xargs --no-run-if-empty umount --lazy
  rm -rf $folder
done
systemctl start containerd containerd-b criproxy.socket criproxy kubelet
"""


class Seen(NamedTuple):
    """What must not change of a pod: kubelet's own uid of it, its address, and its containers."""

    uid: str
    address: str
    containers: Mapping[str, Any]
    """The id, the number of restarts and the state, with its time, of each container by its name."""


class MovingCluster(Cluster):
    """Such a node, on which criproxy has one runtime."""

    old = OLD
    service = "containerd"
    """The unit that serves the old runtime's socket."""
    runtime_units: Sequence[str] = ("containerd",)
    """What the old runtime consists of."""

    @property
    def units(self) -> Sequence[str]:
        """All that may be restarted in the middle of a move."""
        return ("kubelet", "criproxy", "containerd-b", *dict.fromkeys((self.service, *self.runtime_units)))

    def take_away(self) -> None:
        """The old runtime is not there, and is not started with criproxy, which may want it."""
        self.write(_AWAY.format(self.service), f"[Unit]\nConditionPathExists={_BACK}\n")
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "stop", self.service)

    def bring_back(self) -> None:
        """It is there again."""
        self.write(_BACK, "")
        self.run("systemctl", "start", self.service)

    def install(self) -> str:
        """Installs criproxy; the node is ready then."""
        said = super(Cluster, self).install()
        eventually(lambda: self.try_kubectl("get", "node", "node"), lambda done: done.returncode == 0, PATIENCE)
        self.kubectl("wait", "--for=condition=Ready", "node/node", f"--timeout={PATIENCE:.0f}s")
        return said

    def seen(self, *names: str) -> Dict[str, Seen]:
        """What kubelet tells of these pods."""
        return {name: self._seen(json.loads(self.kubectl("get", "pod", name, "--output=json"))) for name in names}

    @staticmethod
    def _seen(pod: Any) -> Seen:
        status = pod["status"]
        containers = {
            each["name"]: (each["containerID"].partition("://")[2], each["restartCount"], each["state"])
            for each in status.get("containerStatuses", [])
        }
        return Seen(pod["metadata"]["uid"], status.get("podIP", ""), containers)

    def sandboxes(self, runtime: Runtime) -> Dict[str, List[str]]:
        """The ids of a runtime's sandboxes by the names of their pods, those that have ended included."""
        found: Dict[str, List[str]] = {}
        with self.client(runtime.socket, "v1alpha2") as client:  # which a dockershim has alone
            for item in client.ListPodSandbox().items:
                found.setdefault(item.metadata.name, []).append(item.id)
        return found

    def left(self) -> Set[str]:
        """The names of the pods that the old runtime has something of."""
        return set(self.sandboxes(self.old))

    def leases(self, runtime: Runtime) -> Set[str]:
        """The addresses that a runtime's pods have."""
        folder = self.path(f"{runtime.folder}/leases/net")
        return {each.name for each in folder.iterdir() if each.name[0].isdigit()} if folder.is_dir() else set()

    def migrate(self, *words: str) -> str:
        """Runs ``criproxy node migrate``, which must succeed."""
        return self.run("criproxy", "node", "migrate", *words)

    def start_times(self) -> Dict[str, str]:
        """When each unit has been started."""
        return {unit: self.show(f"{unit}.service", "ExecMainStartTimestampMonotonic") for unit in self.units}

    def switch_off_and_on(self) -> None:
        """All that runs ends at once, and the units start again."""
        folders = " ".join(f"{runtime.folder}/state" for runtime in (OLD, NEW))
        self.run("sh", "-ec", _SWITCH_OFF, "sh", folders, OLD.socket, NEW.socket)


class MovingFromDocker(MovingCluster, DockerNode):
    """The same, whose runtime is Docker by a dockershim."""

    old = DOCKER
    service = "dockershim"
    runtime_units = ("docker",)

    def left(self) -> Set[str]:
        """The same past the dockershim, which ends with the move."""
        return set(self.run("docker", "ps", "--all", '--format={{.Label "io.kubernetes.pod.name"}}').split())


def unchanged(cluster: MovingCluster, before: Mapping[str, Seen]) -> None:
    """Kubelet has looked several times, and all is as it was: on the runtimes, too, each pod is there once."""
    Kubelet(cluster).await_looks(3)
    assert cluster.seen(*before) == before
    for name in before:
        assert [len(cluster.sandboxes(runtime).get(name, [])) for runtime in (cluster.old, NEW)] == [1, 0], name
