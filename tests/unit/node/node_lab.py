"""Nodes as directories, with the files that decide how kubelet is started; and a manager that only remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from criproxy.node.kubelet import NodeError
from criproxy.node.plan import SERVICE, SOCKET_UNIT
from criproxy.node.tree import Tree
from criproxy.node.turn import Node

ROOT = Path(__file__).parents[3]
KUBEADM_UNIT = """\
[Unit]
Description=kubelet: The Kubernetes Node Agent
Wants=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"""
KUBEADM_DROP_IN = """\
# Note: This dropin only works with kubeadm and kubelet v1.11+
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""
KUBEADM_110_DROP_IN = """\
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf"
Environment="KUBELET_SYSTEM_PODS_ARGS=--pod-manifest-path=/etc/kubernetes/manifests --allow-privileged=true"
Environment="KUBELET_NETWORK_ARGS=--network-plugin=cni --cni-conf-dir=/etc/cni/net.d --cni-bin-dir=/opt/cni/bin"
Environment="KUBELET_CGROUP_ARGS=--cgroup-driver=systemd"
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_SYSTEM_PODS_ARGS $KUBELET_NETWORK_ARGS \\
  $KUBELET_CGROUP_ARGS $KUBELET_EXTRA_ARGS
"""
DIND_UNIT = """\
[Service]
Environment="KUBELET_KUBEADM_ARGS=--hairpin-mode=hairpin-veth"
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/k8s/hyperkube kubelet $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
Restart=always
"""
KIND_UNIT = """\
[Service]
ExecStart=/usr/bin/kubelet
"""
KIND_DROP_IN = """\
[Service]
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS --runtime-cgroups=/system.slice/containerd.service
"""
UNITS = "/lib/systemd/system"
OWN_UNITS = {
    f"{UNITS}/{SERVICE}": "[Unit]\nDescription=criproxy\n\n[Service]\nExecStart=/usr/bin/criproxy\n",
    f"{UNITS}/{SOCKET_UNIT}": "[Socket]\nListenStream=/run/criproxy.sock\n",
}
LAYOUTS: Dict[str, Dict[str, str]] = {
    "kubeadm": {
        "/usr/lib/systemd/system/kubelet.service": KUBEADM_UNIT,
        "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": KUBEADM_DROP_IN,
        "/var/lib/kubelet/kubeadm-flags.env": (
            'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/containerd/containerd.sock '
            '--pod-infra-container-image=registry.k8s.io/pause:3.9"\n'
        ),
        "/etc/default/kubelet": "KUBELET_EXTRA_ARGS=--node-ip=192.0.2.7 --node-labels=a=b\n",
        "/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\ncgroupDriver: systemd\n",
    },
    "kubeadm <= 1.10": {
        f"{UNITS}/kubelet.service": KUBEADM_UNIT,
        "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": KUBEADM_110_DROP_IN,
    },
    "dind": {
        f"{UNITS}/kubelet.service": DIND_UNIT,
        "/etc/default/kubelet": "KUBELET_EXTRA_ARGS=\n",
    },
    "kind": {
        "/etc/systemd/system/kubelet.service": KIND_UNIT,
        "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": KUBEADM_DROP_IN,
        "/etc/systemd/system/kubelet.service.d/11-kind.conf": KIND_DROP_IN,
        "/var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=--node-ip=192.0.2.7\n",
        "/var/lib/kubelet/config.yaml": 'containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock"  # set\n',
    },
}


class FakeManager:
    """Remembers what it is told. ``running_units`` changes as systemd's would; ``refuses`` fails for these words."""

    def __init__(self, *running_units: str, running: bool = True) -> None:
        self.running = running
        self.running_units = set(running_units)
        self.done: List[Tuple[str, ...]] = []
        self.refuses: Tuple[str, ...] = ()

    def do(self, *words: str) -> None:
        self.done.append(words)
        if words == self.refuses:
            raise NodeError(f"systemctl {' '.join(words)}: refused")
        verb, *names = words
        if verb in ("start", "restart"):
            self.running_units.update(names)
        elif verb == "stop":
            self.running_units.difference_update(names)

    def is_running(self, unit: str) -> bool:
        return unit in self.running_units

    def commands(self, unit: str) -> str:
        return ""


class Lab:
    """A node of one layout in a directory."""

    def __init__(self, root: Path, layout: str, version: str) -> None:
        self.root = root
        self.tree = Tree(str(root))
        self.version = version
        self.manager = FakeManager("kubelet.service")
        self.said: List[str] = []
        self.unreachable = ""
        for folder in ("etc/default", "etc/systemd/system", "var/lib"):  # which every Debian has
            (root / folder).mkdir(parents=True)
        for path, text in {**OWN_UNITS, **LAYOUTS.get(layout, {})}.items():
            self.put(path, text)

    def put(self, path: str, text: str) -> None:
        file = self.root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def text(self, path: str) -> str:
        return (self.root / path[1:]).read_text()

    def ask(self, command: Sequence[str]) -> str:
        assert command[-1] == "--version"
        return f"Kubernetes v{self.version}\n"

    def reach(self, socket: str) -> str:
        if self.unreachable:
            raise NodeError(self.unreachable)
        return "containerd 1.7"

    @property
    def node(self) -> Node:
        return Node(self.tree, self.manager, self.ask, self.reach, self.said.append)

    def files(self) -> Dict[str, Tuple[int, object]]:
        """Everything that is there, so that two looks can be compared."""

        def seen(path: Path) -> object:
            return path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None

        return {str(path.relative_to(self.root)): (path.lstat().st_mode, seen(path)) for path in self.root.rglob("*")}


VERSIONS = {"kubeadm": "1.33.1", "kubeadm <= 1.10": "1.10.13", "dind": "1.12.3", "kind": "1.35.0"}
