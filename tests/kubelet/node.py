"""A node with a real kubelet, and a second containerd beside the one that kubelet uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Set

from tests.containerd.images import Image
from tests.containerd.runtime import PAUSE, cni, config
from tests.node import debs
from tests.node.layouts import CONTAINERD, DEFAULTS, FULL, Layout
from tests.node.node import Node

from .programs import KUBELET, program

PATIENCE = 120.0
"""How long kubelet may take for what it does by and by, seconds: it tidies up once a minute."""
ADDRESS = "203.0.113.1"
"""The node's own."""
MANIFESTS = "/etc/kubernetes/manifests"
IMAGE = "docker.io/library/busybox:test"
"""An image that both runtimes have."""
_APPLETS = ("cat", "echo", "hostname", "httpd", "rm", "sh", "sleep", "touch", "true")
_CONFIG = "/var/lib/kubelet/config.yaml"
ENVIRONMENT = "/var/lib/kubelet/kubeadm-flags.env"
"""Where kubeadm keeps flags of kubelet."""
_FLAGS = (
    "--container-runtime=remote",
    f"--container-runtime-endpoint=unix://{CONTAINERD}",
    f"--pod-infra-container-image={PAUSE}",
    "--hostname-override=node",
    "--v=2",
)


@dataclass(frozen=True)
class Runtime:
    """A containerd. ``id``: criproxy's for it, empty for the primary one."""

    id: str
    socket: str
    folder: str
    """Where all is kept that is its."""
    network: str
    """What its pods' addresses are of."""

    def __str__(self) -> str:
        return self.id or "primary"

    @property
    def annotations(self) -> Dict[str, str]:
        """The annotations of a pod that is for it."""
        return {"kubernetes.io/target-runtime": self.id} if self.id else {}

    def image(self, name: str) -> str:
        """What a pod calls an image of its."""
        return f"{self.id}/{name}" if self.id else name

    def outer_id(self, id: str) -> str:
        """What kubelet calls the pod or container that it calls ``id``."""
        return f"{self.id}__{id}" if self.id else id


PRIMARY = Runtime("", CONTAINERD, "/var/lib/containerd", "192.0.2.0/24")
ALTERNATIVE = Runtime("containerd.io", "/run/containerd-b/containerd.sock", "/var/lib/containerd-b", "198.51.100.0/24")
BOTH = (PRIMARY, ALTERNATIVE)

_UNIT = f"""\
[Unit]
Description=kubelet: The Kubernetes Node Agent

[Service]
Environment=AWS_EC2_METADATA_DISABLED=true
EnvironmentFile=-{ENVIRONMENT}
EnvironmentFile=-{DEFAULTS}
ExecStart=/usr/bin/kubelet --config={_CONFIG} $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"""
# oomScoreAdj: some machines withhold the right to lower it. The memory is the whole machine's.
CONFIG = f"""\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: {MANIFESTS}
fileCheckFrequency: 1s
syncFrequency: 5s
nodeStatusUpdateFrequency: 1s
cgroupDriver: cgroupfs
failSwapOn: false
oomScoreAdj: 0
address: 0.0.0.0
port: 10250
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
resolvConf: ""
makeIPTablesUtilChains: false
enableControllerAttachDetach: false
evictionHard: {{memory.available: 1Mi, imagefs.available: 64Mi}}
evictionPressureTransitionPeriod: 1s
imageMinimumGCAge: 1s
maxOpenFiles: 20000
"""
LAYOUT = Layout(
    name="kubelet-1.20",
    suite="bookworm",
    package=FULL,
    version="1.20.2",
    packaged={"/usr/lib/systemd/system/kubelet.service": _UNIT, DEFAULTS: "KUBELET_EXTRA_ARGS=\n"},
    files={ENVIRONMENT: f'KUBELET_KUBEADM_ARGS="{" ".join(_FLAGS)}"\n', _CONFIG: CONFIG, f"{MANIFESTS}/.keep": ""},
    flags=(f"--config={_CONFIG}", *_FLAGS),
    added=(),
    primary=CONTAINERD,
    answers={"criproxy/other_cri": f"{ALTERNATIVE.id}:{ALTERNATIVE.socket}"},
    more=("containernetworking-plugins",),
)

_CONTAINERD_B = """\
[Unit]
Description=another containerd

[Service]
Type=notify
ExecStart=/usr/bin/containerd --config /etc/containerd-b/config.toml
Delegate=yes
KillMode=process
Restart=always

[Install]
WantedBy=multi-user.target
"""
# kubelet insists on these values, which are the whole machine's: the node sees them as they should be.
_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
# An address and a way out, for kubelet to take for the node's own; it leads nowhere. And a kernel log that stays empty.
_PREPARATION = f"""
busybox ip link add node0 type bridge
busybox ip address add {ADDRESS}/24 dev node0
busybox ip link set node0 up
busybox ip route add default via 203.0.113.254
ln -s null /dev/kmsg
"""


class KubeletNode(Node):
    """A node on which a real kubelet runs."""

    def __init__(self, folder: Path, layout: Layout = LAYOUT) -> None:
        super().__init__(layout, folder)

    def programs(self) -> Dict[str, debs.File]:
        """Kubernetes' own kubelet."""
        return {self.layout.program[0]: (program(KUBELET), 0o755)}

    def start_runtimes(self) -> None:
        """Starts both containerds, with the images that the tests need."""
        self._prepare()
        # The primary's images are on a filesystem of their own, small enough to be filled.
        self.path(PRIMARY.folder).mkdir(exist_ok=True)
        self.run("mount", "-t", "tmpfs", "-o", "mode=711,size=512m", "containerd", PRIMARY.folder)
        super().start_runtimes()
        self.write("/etc/containerd-b/config.toml", config(Path(ALTERNATIVE.folder), Path(ALTERNATIVE.socket)))
        self.write("/etc/systemd/system/containerd-b.service", _CONTAINERD_B)
        self.run("systemctl", "--quiet", "enable", "--now", "containerd-b")
        for runtime in BOTH:
            self.write(f"{runtime.folder}/cni/net.conflist", cni(Path(runtime.folder), runtime.network))
            self.load(self.image, IMAGE, runtime.socket)
        self.load(self.pause, PAUSE, ALTERNATIVE.socket)

    @property
    def image(self) -> Image:
        """What the tests' containers are made of."""
        return Image(self.busybox, _APPLETS, ["sh"])

    def _prepare(self) -> None:
        for name, value in _SYSCTLS.items():
            shown = f"/run/sysctl/{name}"
            self.write(shown, f"{value}\n")
            self.run("mount", "--bind", shown, f"/proc/sys/{name}")
        self.run("sh", "-ec", _PREPARATION)

    # What is on the runtimes, past criproxy.

    def pods_of(self, runtime: Runtime) -> List[str]:
        """The names of a runtime's pods."""
        with self.client(runtime.socket) as client:
            return [item.metadata.name for item in client.ListPodSandbox().items]

    def containers_of(self, runtime: Runtime) -> Set[str]:
        """The containers that a runtime has running, as kubelet calls them."""
        with self.client(runtime.socket) as client:
            running = {"state": {"state": client.api.CONTAINER_RUNNING}}
            return {runtime.outer_id(each.id) for each in client.ListContainers(filter=running).containers}

    def images_of(self, runtime: Runtime) -> Set[str]:
        """The names of a runtime's images."""
        with self.client(runtime.socket) as client:
            return {name for image in client.ListImages().images for name in image.repo_tags}
