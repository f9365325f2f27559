"""A node with Kubernetes' API server, which kubelet has its pods from."""

from __future__ import annotations

import json
import subprocess
import uuid
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Dict, Iterator, Mapping

from tests.containerd.service import eventually
from tests.node import debs

from .node import ADDRESS, ALTERNATIVE, ENVIRONMENT, LAYOUT, PATIENCE, KubeletNode
from .programs import API_SERVER, KUBECTL, program

HANDLER = "another"
"""The RuntimeClass, and the runtime handler, that ask for the alternative runtime."""
_KUBECONFIG = "/etc/kubernetes/admin.conf"
_FLAGS = (*LAYOUT.flags, f"--kubeconfig={_KUBECONFIG}", f"--node-ip={ADDRESS}")
LAYOUT_WITH_API = replace(
    LAYOUT,
    name="kubelet-with-an-api-server",
    files={
        **LAYOUT.files,
        ENVIRONMENT: f'KUBELET_KUBEADM_ARGS="{" ".join(_FLAGS[1:])}"\n',
        "/etc/kubernetes/tokens.csv": "token,admin,admin,system:masters\n",
        _KUBECONFIG: json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "here",
                        "cluster": {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True},
                    }
                ],
                "users": [{"name": "admin", "user": {"token": "token"}}],
                "contexts": [{"name": "it", "context": {"cluster": "here", "user": "admin"}}],
                "current-context": "it",
            }
        ),
    },
    flags=_FLAGS,
    more=(*LAYOUT.more, "etcd-server", "openssl"),
)
_KEY = "/etc/kubernetes/accounts.key"
_ETCD = (
    "etcd",
    "--data-dir=/run/etcd",
    "--unsafe-no-fsync",
    "--listen-client-urls=http://127.0.0.1:2379",
    "--advertise-client-urls=http://127.0.0.1:2379",
    "--listen-peer-urls=http://127.0.0.1:2380",
)
_API_SERVER = (
    "/usr/bin/kube-apiserver",
    "--etcd-servers=http://127.0.0.1:2379",
    "--cert-dir=/run/kube-apiserver",
    "--bind-address=127.0.0.1",
    f"--advertise-address={ADDRESS}",
    "--endpoint-reconciler-type=none",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--kubelet-preferred-address-types=InternalIP",
    "--authorization-mode=AlwaysAllow",
    "--token-auth-file=/etc/kubernetes/tokens.csv",
    "--disable-admission-plugins=ServiceAccount",
    "--service-account-issuer=https://node",
    f"--service-account-signing-key-file={_KEY}",
    f"--service-account-key-file={_KEY}",
)


class Cluster(KubeletNode):
    """Such a node, and what an operator does with kubectl. There is no scheduler: pods name their node."""

    def programs(self) -> Dict[str, debs.File]:
        """kubelet, and all else."""
        files = {f"/usr/bin/{name}": (program(name), 0o755) for name in (API_SERVER, KUBECTL)}
        return {**super().programs(), **files}

    def add_kubelet(self) -> None:
        """Brings all of Kubernetes, and starts kubelet when the API server is there."""
        super().add_kubelet()
        self.run("openssl", "genrsa", "-out", _KEY, "2048")
        for unit, command in (("etcd-of-node", _ETCD), ("kube-apiserver", _API_SERVER)):
            self.run("systemd-run", f"--unit={unit}", "--property=Type=notify", *command)
        self.run("systemctl", "restart", "kubelet")

    def install(self) -> str:
        """Installs criproxy, with a runtime handler for the alternative runtime; the node is ready then."""
        said = super().install()
        defaults = self.path("/etc/default/criproxy")
        defaults.write_text(f"{defaults.read_text()}CRIPROXY_HANDLER={HANDLER}={ALTERNATIVE.id}\n")
        self.run("systemctl", "reload", "criproxy")
        eventually(lambda: self.try_kubectl("get", "node", "node"), lambda done: done.returncode == 0, PATIENCE)
        self.kubectl("wait", "--for=condition=Ready", "node/node", f"--timeout={PATIENCE:.0f}s")
        runtime_class = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": HANDLER}
        self.apply({**runtime_class, "metadata": {"name": HANDLER}})
        return said

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Runs kubectl, which must succeed; gives its output."""
        return self.run("kubectl", "--kubeconfig", _KUBECONFIG, *words, stdin=stdin)

    def try_kubectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs kubectl and gives what came of it."""
        return self.attempt("kubectl", "--kubeconfig", _KUBECONFIG, *words, stdin=stdin)

    @contextmanager
    def beside(self, *words: str) -> Iterator[str]:
        """Has kubectl run meanwhile; gives the unit that it is."""
        unit = f"kubectl-{uuid.uuid4()}"
        self.run("systemd-run", f"--unit={unit}", "kubectl", "--kubeconfig", _KUBECONFIG, *words)
        yield unit
        self.run("systemctl", "stop", unit)

    def apply(self, resource: Mapping[str, Any]) -> None:
        """Makes a resource."""
        self.kubectl("apply", "--filename=-", stdin=json.dumps(resource))

    def add(
        self, name: str, annotations: Mapping[str, str], spec: Mapping[str, Any], namespace: str = "default"
    ) -> None:
        """Makes a pod."""
        own = {"nodeName": "node", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1}
        metadata = {"name": name, "namespace": namespace, "annotations": dict(annotations)}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**own, **spec}})

    def await_ready(self, *names: str) -> None:
        """Comes back when these pods are ready."""
        pods = [f"pod/{name}" for name in names]
        self.kubectl("wait", "--for=condition=Ready", f"--timeout={PATIENCE:.0f}s", *pods)

    def status(self, name: str) -> Any:
        """A pod's PodStatus."""
        return json.loads(self.kubectl("get", "pod", name, "--output=json"))["status"]
