"""Nodes as directories, with the files that decide how kubelet is started; and a manager that only remembers."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Set, Tuple

from criproxy.config import parse
from criproxy.cri.identity import RETIRING
from criproxy.node.kubelet import DROP_IN, UNIT, NodeError
from criproxy.node.manager import UnitState
from criproxy.node.plan import DEFAULTS, SERVICE, SOCKET_UNIT
from criproxy.node.runtimes import ReadyPod
from criproxy.node.status import Look
from criproxy.node.tree import Tree
from criproxy.node.turn import Manner, Node
from criproxy.node.watch import Clock

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


class FakeClock:
    """Time that passes while somebody sleeps, and only then."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class FakeManager:
    """Remembers what it is told. A unit that is started runs, with a process of its own; ``refuses`` fails for these
    words, and ``dies`` has a unit, once started again, end so many seconds later."""

    def __init__(self, *running_units: str, running: bool = True) -> None:
        self.running = running
        self.version = 0
        self.clock = FakeClock()
        self.done: List[Tuple[str, ...]] = []
        self.refuses: Tuple[str, ...] = ()
        self.follows: Dict[Tuple[str, ...], Callable[[], None]] = {}
        """What happens when these words have been done."""
        self.dies: Dict[str, float] = {}
        self.states: Dict[str, UnitState] = {}
        """What is said of a unit, whatever has happened to it."""
        self.words: Dict[str, str] = {}
        self.restarted: Dict[str, List[float]] = {}
        self.failed: Dict[str, List[float]] = {}
        self.properties: Dict[Tuple[str, str], str] = {}
        self._pids = itertools.count(100)
        self._started: Dict[str, Tuple[int, float]] = {}
        for unit in running_units:
            self._start(unit)

    def _start(self, unit: str) -> None:
        self._started[unit] = next(self._pids), self.clock.now()

    @property
    def running_units(self) -> Set[str]:
        return set(self._started)

    def do(self, *words: str) -> None:
        self.done.append(words)
        if words == self.refuses:
            raise NodeError(f"systemctl {' '.join(words)}: refused")
        verb, *names = words
        for unit in names:
            if verb == "restart" or (verb == "start" and unit not in self._started):
                self._start(unit)
            elif verb == "stop":
                self._started.pop(unit, None)
        self.follows.get(words, lambda: None)()

    def state(self, unit: str) -> UnitState:
        if unit in self.states:
            return self.states[unit]
        if unit not in self._started:
            return UnitState(load="loaded", active="inactive", sub="dead")
        pid, started = self._started[unit]
        if self.clock.now() - started > self.dies.get(unit, math.inf):
            return UnitState("loaded", "activating", "auto-restart", 0, 1, "exit-code")
        return UnitState("loaded", "active", "running", pid, 0, "success")

    def show(self, unit: str, *names: str) -> Dict[str, str]:
        pid, started = self._started.get(unit, (0, 0.0))
        known = {"MainPID": str(pid), "ExecMainStartTimestampMonotonic": str(int(started * 1e6))}
        return {name: self.properties.get((unit, name), known.get(name, "")) for name in names}

    def last_words(self, unit: str, lines: int = 3) -> str:
        return self.words.get(unit, "")

    def restarts(self, unit: str, most: int) -> List[float]:
        return self.restarted.get(unit, [])[-most:]

    def failures(self, unit: str, most: int) -> List[float]:
        return self.failed.get(unit, [])[-most:]

    def environment(self) -> Dict[str, str]:
        return {}


class FakeRuntimes:
    """Answers on every socket but those that are ``unreachable``, which have a reason each."""

    def __init__(self) -> None:
        self.unreachable: Dict[str, str] = {}
        self.listed: List[ReadyPod] = []
        self.listed_by: Dict[str, List[ReadyPod]] = {}
        """What other sockets than criproxy's have."""
        self.served: Dict[str, str] = {}
        """What criproxy says of the runtimes behind it."""
        self.asked_behind = 0

    def version(self, socket: str) -> str:
        self._reach(socket)
        return "containerd 1.7"

    def images(self, socket: str) -> None:
        self._reach(socket)

    def pods(self, socket: str) -> List[ReadyPod]:
        self._reach(socket)
        return self.listed_by.get(socket, self.listed)

    def behind(self, socket: str) -> Dict[str, str]:
        self.asked_behind += 1
        self._reach(socket)
        return self.served

    def _reach(self, socket: str) -> None:
        if socket in self.unreachable:
            raise NodeError(f"{socket}: {self.unreachable[socket]}")


class Lab:
    """A node of one layout in a directory."""

    def __init__(self, root: Path, layout: str, version: str) -> None:
        self.root = root
        self.tree = Tree(str(root))
        self.version = version
        self.manager = FakeManager("kubelet.service")
        self.runtimes = FakeRuntimes()
        self.said: List[str] = []
        self.kubelet_has = ""
        """The drop-in that kubelet was last started with, once criproxy is told to `serve`."""
        self.program_age = 1e6
        self.program = "one"
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

    @property
    def node(self) -> Node:
        return self.changed()

    def changed(self, **manner: Any) -> Node:
        """The node, to be changed in a manner of its own."""
        clock = Clock(self.manager.clock.now, self.manager.clock.sleep)
        return Node(
            self.tree,
            self.manager,
            self.ask,
            self.runtimes,
            self.said.append,
            Manner(**manner),
            clock,
            lambda: self.program_age,
            lambda: self.program,
        )

    def serve(self) -> None:
        """From now on criproxy says which runtimes it has behind it: those of its configuration when that was read."""
        for verb in ("reload", "restart"):
            self.manager.follows[verb, SERVICE] = self._read
        self.manager.follows["stop", SOCKET_UNIT, SERVICE] = lambda: setattr(self.runtimes, "served", {})
        self.manager.follows["restart", UNIT] = self._start_kubelet

    def _start_kubelet(self) -> None:
        self.kubelet_has = self.tree.text(DROP_IN) or ""

    def _read(self) -> None:
        read = parse([f"--environment-file={self.root}{DEFAULTS}"], {})
        self.runtimes.served = {runtime.id: runtime.path for runtime in read.runtimes}
        if read.retiring:
            self.runtimes.served[RETIRING] = read.retiring

    @property
    def look(self) -> Look:
        clock = Clock(self.manager.clock.now, self.manager.clock.sleep)
        return Look(self.tree, self.manager, self.ask, self.runtimes, clock)

    def files(self) -> Dict[str, Tuple[int, object]]:
        """Everything that is there, so that two looks can be compared."""

        def seen(path: Path) -> object:
            return path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None

        return {str(path.relative_to(self.root)): (path.lstat().st_mode, seen(path)) for path in self.root.rglob("*")}


VERSIONS = {"kubeadm": "1.33.1", "kubeadm <= 1.10": "1.10.13", "dind": "1.12.3", "kind": "1.35.0"}
