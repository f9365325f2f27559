"""A node whose kubelet runs pods on Docker, by the dockershim that it has in it and can be started as."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Dict

from tests.containerd.runtime import PAUSE, cni
from tests.node import debs
from tests.node.layouts import DOCKERSHIM as SOCKET

from .node import ENVIRONMENT, IMAGE, LAYOUT, KubeletNode, Runtime
from .programs import DOCKERSHIM, KUBELET, program

DOCKER = Runtime("", SOCKET, "/var/lib/cni-docker", "192.0.2.0/24")
_PLACE = "/usr/lib/kubernetes"
# What kubelet is told about Docker, and a dockershim of its own therefore has to be, too.
_DOCKER_FLAGS = (
    "--network-plugin=cni",
    f"--cni-conf-dir={DOCKER.folder}/cni",
    "--cni-bin-dir=/usr/lib/cni",
    f"--pod-infra-container-image={PAUSE}",
)
_FLAGS = (*_DOCKER_FLAGS, "--hostname-override=node", "--v=2")
LAYOUT_OF_DOCKER = replace(
    LAYOUT,
    name="kubelet-with-dockershim",
    version="1.18.20",
    files={**LAYOUT.files, ENVIRONMENT: f'KUBELET_KUBEADM_ARGS="{" ".join(_FLAGS)}"\n'},
    flags=(LAYOUT.flags[0], *_FLAGS),
    primary=SOCKET,
    answers={**LAYOUT.answers, "criproxy/primary_cri": "dockershim"},
    more=(*LAYOUT.more, "docker.io", "iproute2", "socat"),
)
# Kubernetes 1.20 as if it were one of those that can be started as a dockershim.
_KUBELET = f"""\
#!/bin/sh
for word; do
  case $word in
  --version) echo "Kubernetes v{LAYOUT_OF_DOCKER.version}" && exit ;;
  --experimental-dockershim) exec {_PLACE}/dockershim "$@" ;;
  esac
done
exec {_PLACE}/kubelet "$@"
"""
# For machines without CAP_SYS_RESOURCE, where nobody can be made less likely to be killed; containerd has an option.
_RUNC = """\
#!/bin/sh
previous=
for word; do
  [ "$previous" != --bundle ] || sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/' "$word/config.json"
  previous=$word
done
exec runc "$@"
"""
_DOCKERD = {
    "bridge": "none",
    "iptables": False,
    "live-restore": True,
    "storage-driver": "vfs",
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "default-runtime": "plain",
    "runtimes": {"plain": {"path": "/usr/local/sbin/runc-plain"}},
}


class DockerNode(KubeletNode):
    """A node with Docker beside both containerds, the first of which is Docker's."""

    def programs(self) -> Dict[str, debs.File]:
        """kubelet, and what it takes."""
        return {
            self.layout.program[0]: (_KUBELET, 0o755),
            f"{_PLACE}/kubelet": (program(KUBELET), 0o755),
            f"{_PLACE}/dockershim": (program(DOCKERSHIM), 0o755),
        }

    def start_runtimes(self) -> None:
        """Starts Docker, too, with the images that the tests need."""
        super().start_runtimes()
        self.write("/usr/local/sbin/runc-plain", _RUNC, 0o755)
        self.write("/etc/docker/daemon.json", json.dumps(_DOCKERD))
        self.write(f"{DOCKER.folder}/cni/net.conflist", cni(Path(DOCKER.folder), DOCKER.network))
        self.run("systemctl", "--quiet", "enable", "--now", "docker")
        for image, name in ((self.image, IMAGE), (self.pause, PAUSE)):
            self.load_with(["docker", "load", "--input"], image, name)
