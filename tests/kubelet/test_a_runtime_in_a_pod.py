"""What criproxy is for: a pod on the primary runtime is itself a runtime, which kubelet starts pods on.

The runtime is criproxy's demo runtime, as Virtlet would be run: /run is the node's, and so is the file with its state.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.containerd.images import Image
from tests.containerd.service import eventually
from tests.node import debs
from tests.node.layouts import NODEPS, VIRTLET

from .conftest import Boot
from .kubelet import Kubelet
from .node import LAYOUT, PATIENCE, PRIMARY, KubeletNode, Runtime
from .pods import NAMES, web

IMAGE = "docker.io/library/runtime:test"
_RUNTIME = Runtime(VIRTLET, "/run/virtlet.sock", "/var/lib/virtlet", "")
_RUNTIME_POD = "runtime"
_POD = "machine"
_TROUBLE = "skipping pod synchronization"
"""What kubelet says when its node is not ready."""


def _runtime_image(node: KubeletNode, folder: Path) -> Image:
    """The package, which brings all that it needs."""
    subprocess.run(["dpkg-deb", "--extract", str(debs.built(NODEPS)), str(folder)], check=True)
    more = {place: folder / place for place in ("usr/bin/criproxy", "usr/lib/criproxy")}
    return Image(node.busybox, ["sh"], ["sh"], more)


def _runtime_pod() -> Dict[str, Any]:
    command = ["/usr/bin/criproxy", "demo-runtime", "--name", "virtlet", "--listen", _RUNTIME.socket]
    return {
        "containers": [
            {
                "name": "main",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": [*command, "--state", f"{_RUNTIME.folder}/state"],
                "volumeMounts": [
                    {"name": "run", "mountPath": "/run"},
                    {"name": "state", "mountPath": _RUNTIME.folder},
                ],
            }
        ],
        "volumes": [
            {"name": "run", "hostPath": {"path": "/run", "type": "Directory"}},
            {"name": "state", "hostPath": {"path": _RUNTIME.folder, "type": "DirectoryOrCreate"}},
        ],
    }


def _machine() -> Dict[str, Any]:
    """An image of Virtlet's is pulled by it."""
    return {"containers": [{"name": "main", "image": f"{VIRTLET}/cirros"}]}


@pytest.fixture(scope="module")
def node(boot: Boot, tmp_path_factory: pytest.TempPathFactory) -> KubeletNode:
    """A node whose operator has answered no question: the other runtime is Virtlet, which is not there yet."""
    node: KubeletNode = boot(KubeletNode, replace(LAYOUT, answers={}))
    node.load(_runtime_image(node, tmp_path_factory.mktemp("image")), IMAGE, PRIMARY.socket)
    node.install()
    return node


@pytest.fixture(scope="module")
def kubelet(node: KubeletNode) -> Kubelet:
    """Its kubelet, with a pod on the primary runtime."""
    kubelet = Kubelet(node)
    kubelet.add(NAMES[PRIMARY], PRIMARY.annotations, web(PRIMARY))
    kubelet.ready(NAMES[PRIMARY])
    return kubelet


def _sandboxes(node: KubeletNode) -> List[str]:
    """The ids of the runtime's pods, past criproxy."""
    with node.client(_RUNTIME.socket, "v1alpha2") as client:
        return [item.id for item in client.ListPodSandbox().items]


def test_a_pod_for_a_runtime_that_comes_as_a_pod_starts_when_it_has_come(node: KubeletNode, kubelet: Kubelet) -> None:
    kubelet.add(_POD, _RUNTIME.annotations, _machine())
    assert eventually(kubelet.pods, lambda pods: _POD in pods)[_POD].phase == "Pending"
    kubelet.add(_RUNTIME_POD, {}, _runtime_pod())
    kubelet.ready(_RUNTIME_POD)
    pod = kubelet.ready(_POD)[_POD]
    assert pod.ids["main"].startswith(f"{VIRTLET}__")
    assert len(_sandboxes(node)) == 1


def test_a_runtime_that_is_killed_comes_back_with_its_pods_and_nobody_else_notices(
    node: KubeletNode, kubelet: Kubelet
) -> None:
    before = kubelet.ready(NAMES[PRIMARY], _POD, _RUNTIME_POD)
    sandboxes = _sandboxes(node)
    trouble = node.journal("kubelet", 100000).count(_TROUBLE)
    node.run(
        *("ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL"), before[_RUNTIME_POD].ids["main"]
    )
    eventually(kubelet.pods, lambda pods: pods[_RUNTIME_POD].restarts["main"] == 1, PATIENCE)
    after = kubelet.ready(NAMES[PRIMARY], _POD, _RUNTIME_POD)
    assert after[_RUNTIME_POD].restarts == {"main": 1}
    assert {name: after[name] for name in (NAMES[PRIMARY], _POD)} == {
        name: before[name] for name in (NAMES[PRIMARY], _POD)
    }
    assert _sandboxes(node) == sandboxes
    assert node.journal("kubelet", 100000).count(_TROUBLE) == trouble


def test_a_runtime_that_is_away_for_a_while_finds_its_pods_and_kubelet_has_not_started_others(
    node: KubeletNode, kubelet: Kubelet
) -> None:
    before = kubelet.ready(NAMES[PRIMARY], _POD)
    sandboxes = _sandboxes(node)
    kubelet.remove(_RUNTIME_POD)
    assert not eventually(node.path(_RUNTIME.socket).exists, lambda there: not there, PATIENCE)
    kubelet.await_looks(10)
    assert kubelet.pods()[_POD] == before[_POD]
    kubelet.add(_RUNTIME_POD, {}, _runtime_pod())
    kubelet.ready(_RUNTIME_POD)
    kubelet.await_looks(2)
    assert kubelet.ready(NAMES[PRIMARY], _POD) == before
    assert _sandboxes(node) == sandboxes
