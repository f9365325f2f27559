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

_DIND = """\
[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=http://kubernetes.io/docs/

[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_FEATURE_ARGS= --feature-gates=DynamicKubeletConfig=true"
Environment="KUBELET_EVICTION_ARGS=--eviction-hard='memory.available<100Mi,nodefs.available<100Mi'"
Environment="KUBELET_EXTRA_ARGS=--v=4"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=
ExecStart=/k8s/hyperkube kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_FEATURE_ARGS $KUBELET_EVICTION_ARGS \
$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
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
    program: Tuple[str, ...] = ("/usr/bin/kubelet",)
    answers: Mapping[str, str] = field(default_factory=dict)
    """What debconf is told before the installation."""
    containerd: str = ""
    """The id of containerd among the runtimes; empty if it is the primary one."""
    more: Tuple[str, ...] = ()
    """Packages of the node's Debian beside those that all such nodes have."""

    def __str__(self) -> str:
        return self.name

    @property
    def packages(self) -> Sequence[str]:
        """What the node's Debian has beside systemd and containerd."""
        return (*(PYTHON if self.package == FULL else BARE), *self.more)


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
    version="1.12.3",
    files={
        "/usr/lib/systemd/system/kubelet.service": _DIND,
        "/var/lib/kubelet/kubeadm-flags.env": "KUBELET_KUBEADM_ARGS=--cgroup-driver=cgroupfs --network-plugin=cni\n",
    },
    program=("/k8s/hyperkube", "kubelet"),
    flags=(
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--feature-gates=DynamicKubeletConfig=true",
        "--eviction-hard=memory.available<100Mi,nodefs.available<100Mi",
        "--cgroup-driver=cgroupfs",
        "--network-plugin=cni",
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

ALL = (KUBEADM, KUBEADM_NEWEST, KUBEADM_1_11, KUBEADM_1_10, DIND, DIND_ON_DOCKER, KIND)
