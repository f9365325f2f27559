"""A node that moves from one containerd to the other, and what must not change of its pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Dict, List, Mapping, NamedTuple, Set

from tests.containerd.service import eventually

from .cluster import LAYOUT_WITH_API, Cluster
from .kubelet import Kubelet
from .node import ALTERNATIVE, PATIENCE, PRIMARY, Runtime

OLD = PRIMARY
NEW = replace(ALTERNATIVE, id="")
BOTH = (OLD, NEW)
UNITS = ("kubelet", "criproxy", "containerd", "containerd-b")
LAYOUT_OF_A_MOVE = replace(LAYOUT_WITH_API, answers={"criproxy/other_cri": ""})
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
        with self.client(runtime.socket) as client:
            for item in client.ListPodSandbox().items:
                found.setdefault(item.metadata.name, []).append(item.id)
        return found

    def leases(self, runtime: Runtime) -> Set[str]:
        """The addresses that a runtime's pods have."""
        folder = self.path(f"{runtime.folder}/leases/net")
        return {each.name for each in folder.iterdir() if each.name[0].isdigit()} if folder.is_dir() else set()

    def migrate(self, *words: str) -> str:
        """Runs ``criproxy node migrate``, which must succeed."""
        return self.run("criproxy", "node", "migrate", *words)

    def start_times(self) -> Dict[str, str]:
        """When each unit has been started."""
        return {unit: self.show(f"{unit}.service", "ExecMainStartTimestampMonotonic") for unit in UNITS}

    def switch_off_and_on(self) -> None:
        """All that runs ends at once, and the units start again."""
        folders = " ".join(f"{runtime.folder}/state" for runtime in BOTH)
        self.run("sh", "-ec", _SWITCH_OFF, "sh", folders, OLD.socket, NEW.socket)


def unchanged(cluster: MovingCluster, before: Mapping[str, Seen]) -> None:
    """Kubelet has looked several times, and all is as it was: on the runtimes, too, each pod is there once."""
    Kubelet(cluster).await_looks(3)
    assert cluster.seen(*before) == before
    for name in before:
        assert [len(cluster.sandboxes(runtime).get(name, [])) for runtime in BOTH] == [1, 0], name
