"""How kubelet is laid out on the nodes of the last ten years."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Mapping, Sequence, Tuple

from .roots import BARE, PYTHON

FULL = "criproxy"
NODEPS = "criproxy-nodeps"
DEFAULTS = "/etc/default/kubelet"
VIRTLET = "virtlet.cloud"
CONTAINERD = "/run/containerd/containerd.sock"
DOCKERSHIM = "/var/run/dockershim.sock"
CRIO = "/run/crio/crio.sock"
IMAGES = "/run/images/images.sock"
"""An image service that is no runtime's."""
_SOCKET = "unix:///run/criproxy.sock"

_UNIT = """\
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
{unit}
[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10
{service}
[Install]
WantedBy=multi-user.target
"""
_NETWORK = "Wants=network-online.target\nAfter=network-online.target\n"

_KUBEADM = """\
# Note: This dropin only works with kubeadm and kubelet v1.11+
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
# This is a file that "kubeadm init" and "kubeadm join" generate at runtime
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS {last}
"""
_KUBEADM_FLAGS = (
    "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
    "--kubeconfig=/etc/kubernetes/kubelet.conf",
    "--config=/var/lib/kubelet/config.yaml",
)

_KUBEADM_1_10 = """\
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_SYSTEM_PODS_ARGS=--pod-manifest-path=/etc/kubernetes/manifests --allow-privileged=true"
Environment="KUBELET_NETWORK_ARGS=--network-plugin=cni --cni-conf-dir=/etc/cni/net.d --cni-bin-dir=/opt/cni/bin"
Environment="KUBELET_DNS_ARGS=--cluster-dns=10.96.0.10 --cluster-domain=cluster.local"
Environment="KUBELET_AUTHZ_ARGS=--authorization-mode=Webhook --client-ca-file=/etc/kubernetes/pki/ca.crt"
Environment="KUBELET_CADVISOR_ARGS=--cadvisor-port=0"
# Value should match Docker daemon settings.
Environment="KUBELET_CGROUP_ARGS=--cgroup-driver=cgroupfs"
Environment="KUBELET_CERTIFICATE_ARGS=--rotate-certificates=true --cert-dir=/var/lib/kubelet/pki"
Environment="KUBELET_EXTRA_ARGS=--node-ip=192.0.2.10"
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_SYSTEM_PODS_ARGS $KUBELET_NETWORK_ARGS $KUBELET_DNS_ARGS \
$KUBELET_AUTHZ_ARGS $KUBELET_CADVISOR_ARGS $KUBELET_CGROUP_ARGS $KUBELET_CERTIFICATE_ARGS $KUBELET_EXTRA_ARGS
"""

# Of Kubernetes 1.11 and later; what `wrapkubeadm` puts there when a node starts is in it.
_DIND = """\
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=http://kubernetes.io/docs/

[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
Environment="KUBELET_SYSTEM_PODS_ARGS=--pod-manifest-path=/etc/kubernetes/manifests --allow-privileged=true"
Environment="KUBELET_NETWORK_ARGS=--network-plugin=cni --cni-conf-dir=/etc/cni/net.d --cni-bin-dir=/opt/cni/bin"
Environment="KUBELET_DNS_ARGS=--cluster-dns=10.96.0.10 --cluster-domain=cluster.local"
Environment="KUBELET_EVICTION_ARGS=--eviction-hard='memory.available<100Mi,nodefs.available<100Mi,\
nodefs.inodesFree<1000'"
Environment="KUBELET_DIND_ARGS=--fail-swap-on=false --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--feature-gates=DynamicKubeletConfig=true"
Environment="KUBELET_LOG_ARGS=--v=4"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/k8s/hyperkube kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS \
$KUBELET_SYSTEM_PODS_ARGS $KUBELET_NETWORK_ARGS $KUBELET_DNS_ARGS $KUBELET_EVICTION_ARGS $KUBELET_DIND_ARGS \
$KUBELET_LOG_ARGS
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"""

_KIND = """\
[Service]
ExecStartPre=/bin/sh -euc "if [ ! -d /run/kind ]; then mkdir -p /run/kind; fi"
"""

_KUBESPRAY = """\
[Unit]
Description=Kubernetes Kubelet Server
Documentation=https://kubernetes.io/docs/
After=containerd.service
Wants=containerd.service

[Service]
EnvironmentFile=-/etc/kubernetes/kubelet.env
ExecStart=/usr/local/bin/kubelet \\
\t\t$KUBE_LOGTOSTDERR \\
\t\t$KUBE_LOG_LEVEL \\
\t\t$KUBELET_ADDRESS \\
\t\t$KUBELET_HOSTNAME \\
\t\t$KUBELET_ARGS \\
\t\t$KUBELET_CLOUDPROVIDER
Restart=always
RestartSec=10s

[Install]
WantedBy=multi-user.target
"""
_KUBESPRAY_ENV = f"""\
KUBE_LOG_LEVEL="--v=2"
KUBELET_ADDRESS="--node-ip=192.0.2.10"
KUBELET_HOSTNAME="--hostname-override=node"

KUBELET_ARGS="--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\
--config=/etc/kubernetes/kubelet-config.yaml \\
--kubeconfig=/etc/kubernetes/kubelet.conf \\
--container-runtime-endpoint=unix:///var{CONTAINERD} \\
--runtime-cgroups=/system.slice/containerd.service \\
 "
KUBELET_CLOUDPROVIDER=""

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""

# What a systemd-system-generator(7) makes of a file of its own at each daemon-reload.
_GENERATOR = """\
#!/bin/sh
set -e
. /etc/kubernetes/generate
mkdir -p "$1/multi-user.target.wants"
printf '[Service]\\nExecStart=/usr/bin/kubelet %s\\nRestart=always\\nRestartSec=10\\n' "$FLAGS" > "$1/kubelet.service"
ln -sf ../kubelet.service "$1/multi-user.target.wants/kubelet.service"
"""

# Plays CRI-O: what counts is where it is.
CRIO_UNIT = """\
[Service]
Type=notify
ExecStart=/usr/bin/containerd --config /etc/crio/crio.conf
Delegate=yes
KillMode=process
Restart=always

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Layout:
    """A kind of node, before criproxy has come to it and with it."""

    name: str
    suite: str
    package: str
    """Which of the two packages such a node gets."""
    version: str
    """kubelet's."""
    flags: Tuple[str, ...]
    """What kubelet is started with after its program's name."""
    added: Tuple[str, ...]
    """What criproxy is to add to that."""
    primary: str
    """The socket of the runtime that is to be the primary one."""
    packaged: Mapping[str, str] = field(default_factory=dict)
    """The files of kubelet's package; empty if kubelet is no package here."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Those that kubeadm, the operator or whoever made the node's image has put there."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    """The same of files that can be run."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Symbolic links, and what each leads to."""
    program: Tuple[str, ...] = ("/usr/bin/kubelet",)
    enabled: str = "kubelet.service"
    """The unit by the name under which it is enabled; empty if it cannot be."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """What debconf is told before the installation."""
    containerd: str = ""
    """The id of containerd among the runtimes; empty if it, or what is one by another name, is the primary one."""
    images: str = ""
    """The socket of an image service of kubelet's own."""
    more: Tuple[str, ...] = ()
    """Packages of the node's Debian beside those that all such nodes have."""

    def __str__(self) -> str:
        return self.name

    @property
    def packages(self) -> Sequence[str]:
        """What the node's Debian has beside systemd and containerd."""
        return (*(PYTHON if self.package == FULL else BARE), *self.more)

    @property
    def runtime(self) -> str:
        """The socket of the containerd that pods are made on through criproxy."""
        return CONTAINERD if self.containerd else self.primary


def _added(*flags: str) -> Tuple[str, ...]:
    endpoints = (f"--container-runtime-endpoint={_SOCKET}", f"--image-service-endpoint={_SOCKET}")
    return (*flags, *endpoints, "--enable-controller-attach-detach=false")


_LAST = "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"

KUBEADM = Layout(
    name="kubeadm",
    suite="bookworm",
    package=FULL,
    version="1.33.1",
    packaged={
        "/usr/lib/systemd/system/kubelet.service": _UNIT.format(unit=_NETWORK, service=""),
        "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": _KUBEADM.format(last=_LAST),
        DEFAULTS: "KUBELET_EXTRA_ARGS=\n",
    },
    files={
        "/var/lib/kubelet/kubeadm-flags.env": 'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint='
        f'unix://{CONTAINERD} --pod-infra-container-image=registry.k8s.io/pause:3.10"\n',
        "/var/lib/kubelet/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
        DEFAULTS: 'KUBELET_EXTRA_ARGS="--node-ip=192.0.2.10 --max-pods=50"\n',
    },
    flags=(
        *_KUBEADM_FLAGS,
        f"--container-runtime-endpoint=unix://{CONTAINERD}",
        "--pod-infra-container-image=registry.k8s.io/pause:3.10",
        "--node-ip=192.0.2.10",
        "--max-pods=50",
    ),
    added=_added(),
    primary=CONTAINERD,
)

KUBEADM_NEWEST = Layout(
    name="kubeadm-newest",
    suite="trixie",
    package=FULL,
    version="1.37.0",
    packaged=KUBEADM.packaged,
    files={
        "/var/lib/kubelet/kubeadm-flags.env": 'KUBELET_KUBEADM_ARGS="--hostname-override=node"\n',
        "/var/lib/kubelet/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\n"
        f"containerRuntimeEndpoint: unix:///var{CONTAINERD}\nkind: KubeletConfiguration\n",
        "/var/lib/kubelet/instance-config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\n"
        f"containerRuntimeEndpoint: unix:///var{CONTAINERD}\nkind: KubeletConfiguration\n",
    },
    flags=(*_KUBEADM_FLAGS, "--hostname-override=node"),
    added=_added(),
    primary=f"/var{CONTAINERD}",
)

KUBEADM_1_11 = Layout(
    name="kubeadm-1.11",
    suite="bullseye",
    package=FULL,
    version="1.13.12",
    packaged={
        "/lib/systemd/system/kubelet.service": _UNIT.format(unit="", service=""),
        "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": _KUBEADM.format(last=_LAST),
        DEFAULTS: "KUBELET_EXTRA_ARGS=\n",
    },
    files={
        "/var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=--cgroup-driver=cgroupfs"
        f" --container-runtime=remote --container-runtime-endpoint={CONTAINERD}\n",
        "/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n",
    },
    flags=(
        *_KUBEADM_FLAGS,
        "--cgroup-driver=cgroupfs",
        "--container-runtime=remote",
        f"--container-runtime-endpoint={CONTAINERD}",
    ),
    added=_added("--container-runtime=remote"),
    primary=CONTAINERD,
)

KUBEADM_1_10 = Layout(
    name="kubeadm-1.10",
    suite="bullseye",
    package=FULL,
    version="1.10.13",
    packaged={"/lib/systemd/system/kubelet.service": _UNIT.format(unit="", service="")},
    files={"/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": _KUBEADM_1_10},
    flags=(
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--pod-manifest-path=/etc/kubernetes/manifests",
        "--allow-privileged=true",
        "--network-plugin=cni",
        "--cni-conf-dir=/etc/cni/net.d",
        "--cni-bin-dir=/opt/cni/bin",
        "--cluster-dns=10.96.0.10",
        "--cluster-domain=cluster.local",
        "--authorization-mode=Webhook",
        "--client-ca-file=/etc/kubernetes/pki/ca.crt",
        "--cadvisor-port=0",
        "--cgroup-driver=cgroupfs",
        "--rotate-certificates=true",
        "--cert-dir=/var/lib/kubelet/pki",
        "--node-ip=192.0.2.10",
    ),
    added=_added("--container-runtime=remote"),
    primary=DOCKERSHIM,
    answers={"criproxy/other_cri": f"{VIRTLET}:{CONTAINERD}"},
    containerd=VIRTLET,
)

DIND = Layout(
    name="kubeadm-dind-cluster",
    suite="bullseye",
    package=NODEPS,
    version="1.13.12",
    files={
        "/lib/systemd/system/kubelet.service": _DIND,
        "/var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=--cgroup-driver=cgroupfs --network-plugin=cni"
        " --pod-infra-container-image=k8s.gcr.io/pause:3.1\n",
        "/var/lib/kubelet/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
    },
    program=("/k8s/hyperkube", "kubelet"),
    flags=(
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--config=/var/lib/kubelet/config.yaml",
        "--cgroup-driver=cgroupfs",
        "--network-plugin=cni",
        "--pod-infra-container-image=k8s.gcr.io/pause:3.1",
        "--pod-manifest-path=/etc/kubernetes/manifests",
        "--allow-privileged=true",
        "--network-plugin=cni",
        "--cni-conf-dir=/etc/cni/net.d",
        "--cni-bin-dir=/opt/cni/bin",
        "--cluster-dns=10.96.0.10",
        "--cluster-domain=cluster.local",
        "--eviction-hard=memory.available<100Mi,nodefs.available<100Mi,nodefs.inodesFree<1000",
        "--fail-swap-on=false",
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
        "--feature-gates=DynamicKubeletConfig=true",
        "--v=4",
    ),
    added=_added("--container-runtime=remote"),
    primary=CONTAINERD,
    answers={"criproxy/primary_cri": "containerd"},
)

DIND_ON_DOCKER = replace(
    DIND,
    name="kubeadm-dind-cluster-on-docker",
    primary=DOCKERSHIM,
    answers={"criproxy/other_cri": f"{VIRTLET}:{CONTAINERD}"},
    containerd=VIRTLET,
)

KIND = Layout(
    name="kind",
    suite="trixie",
    package=NODEPS,
    version="1.34.0",
    files={
        "/etc/systemd/system/kubelet.service": _UNIT.format(
            unit="ConditionPathExists=/var/lib/kubelet/config.yaml\n",
            service="CPUAccounting=true\nMemoryAccounting=true\nSlice=kubelet.slice\n",
        ),
        "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": _KUBEADM.format(
            last="$KUBELET_EXTRA_ARGS $KUBELET_KUBEADM_ARGS --runtime-cgroups=/system.slice/containerd.service"
        ),
        "/etc/systemd/system/kubelet.service.d/11-kind.conf": _KIND,
        DEFAULTS: "KUBELET_EXTRA_ARGS=--fail-swap-on=false\n",
        "/var/lib/kubelet/kubeadm-flags.env": 'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint='
        f'unix://{CONTAINERD} --node-ip=172.18.0.2 --node-labels= --provider-id=kind://docker/kind/node"\n',
        "/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n",
    },
    flags=(
        *_KUBEADM_FLAGS,
        "--fail-swap-on=false",
        f"--container-runtime-endpoint=unix://{CONTAINERD}",
        "--node-ip=172.18.0.2",
        "--node-labels=",
        "--provider-id=kind://docker/kind/node",
        "--runtime-cgroups=/system.slice/containerd.service",
    ),
    added=_added(),
    primary=CONTAINERD,
)

KUBEADM_ON_FORKY = replace(KUBEADM_NEWEST, name="kubeadm-newest-on-debian-14", suite="forky")

KUBESPRAY = Layout(
    name="kubespray",
    suite="forky",
    package=FULL,
    version="1.35.2",
    files={
        "/etc/systemd/system/kubelet.service": _KUBESPRAY,
        "/etc/kubernetes/kubelet.env": _KUBESPRAY_ENV,
        "/etc/kubernetes/kubelet-config.yaml": "---\napiVersion: kubelet.config.k8s.io/v1beta1\n"
        'kind: KubeletConfiguration\nclusterDNS:\n- "10.233.0.3"\n',
    },
    program=("/usr/local/bin/kubelet",),
    flags=(
        "--v=2",
        "--node-ip=192.0.2.10",
        "--hostname-override=node",
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
        "--config=/etc/kubernetes/kubelet-config.yaml",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        f"--container-runtime-endpoint=unix:///var{CONTAINERD}",
        "--runtime-cgroups=/system.slice/containerd.service",
    ),
    added=_added(),
    primary=f"/var{CONTAINERD}",
)

ALIAS = Layout(
    name="alias",
    suite="bullseye",
    package=NODEPS,
    version="1.30.4",
    files={
        "/usr/lib/systemd/system/node-agent.service": _UNIT.format(unit="", service=""),
        "/usr/lib/systemd/system/node-agent.service.d/10-flags.conf": "[Service]\nExecStart=\nExecStart="
        f"/usr/bin/kubelet --kubeconfig=/etc/kubernetes/kubelet.conf --container-runtime-endpoint=unix://{CRIO}\n",
    },
    links={"/etc/systemd/system/kubelet.service": "../../../usr/lib/systemd/system/node-agent.service"},
    enabled="node-agent.service",
    flags=("--kubeconfig=/etc/kubernetes/kubelet.conf", f"--container-runtime-endpoint=unix://{CRIO}"),
    added=_added(),
    primary=CRIO,
)

GENERATOR = Layout(
    name="generator",
    suite="forky",
    package=NODEPS,
    version="1.32.0",
    files={
        "/etc/kubernetes/generate": "FLAGS='--kubeconfig=/etc/kubernetes/kubelet.conf"
        f" --container-runtime-endpoint=unix://{CRIO}'\n"
    },
    scripts={"/etc/systemd/system-generators/kubelet-generator": _GENERATOR},
    enabled="",
    flags=("--kubeconfig=/etc/kubernetes/kubelet.conf", f"--container-runtime-endpoint=unix://{CRIO}"),
    added=_added(),
    primary=CRIO,
)

JSON = replace(
    KUBEADM,
    name="json",
    files={
        "/var/lib/kubelet/config.yaml": '{"apiVersion": "kubelet.config.k8s.io/v1beta1",'
        f' "kind": "KubeletConfiguration",\n  "containerRuntimeEndpoint"\n  : "unix://{CRIO}"}}\n',
    },
    flags=_KUBEADM_FLAGS,
    primary=CRIO,
)

_CONFIG_DIR = "/etc/kubernetes/kubelet.conf.d"
CONFIG_DIR = replace(
    KUBEADM_NEWEST,
    name="config-dir",
    files={
        "/var/lib/kubelet/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
        f'"containerRuntimeEndpoint": "unix://{CONTAINERD}"\n',
        f"{_CONFIG_DIR}/20-containerd.conf": "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n"
        f"containerRuntimeEndpoint: unix://{CONTAINERD}\n",
        f"{_CONFIG_DIR}/30-site/10-runtime.conf": "apiVersion: kubelet.config.k8s.io/v1beta1\n"
        f"kind: KubeletConfiguration\n'containerRuntimeEndpoint':\n  'unix://{CRIO}'\n",
        f"{_CONFIG_DIR}/40-not-read.yaml": "not: read\n",
        DEFAULTS: f"KUBELET_EXTRA_ARGS=--config-dir={_CONFIG_DIR}\n",
    },
    flags=(*_KUBEADM_FLAGS, f"--config-dir={_CONFIG_DIR}"),
    primary=CRIO,
)

IMAGE_SERVICE = replace(
    KUBESPRAY,
    name="image-service",
    suite="bookworm",
    package=NODEPS,
    version="1.31.4",
    files={
        **KUBESPRAY.files,
        "/etc/kubernetes/kubelet.env": _KUBESPRAY_ENV.replace(
            "--runtime-cgroups", f"--image-service-endpoint=unix://{IMAGES} --runtime-cgroups"
        ),
    },
    flags=(*KUBESPRAY.flags[:-1], f"--image-service-endpoint=unix://{IMAGES}", KUBESPRAY.flags[-1]),
    images=IMAGES,
)

ALL = (
    KUBEADM,
    KUBEADM_NEWEST,
    KUBEADM_ON_FORKY,
    KUBEADM_1_11,
    KUBEADM_1_10,
    DIND,
    DIND_ON_DOCKER,
    KIND,
    KUBESPRAY,
    ALIAS,
    GENERATOR,
    JSON,
    CONFIG_DIR,
    IMAGE_SERVICE,
)
