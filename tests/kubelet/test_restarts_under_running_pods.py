"""kubelet, criproxy and the runtimes end and come back under running pods, and criproxy goes: no container notices."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict

import pytest

from tests.node import debs
from tests.node.layouts import FULL

from .kubelet import Kubelet
from .node import BOTH, PRIMARY, KubeletNode
from .pods import NAMES, sleeping

_RECOVERY = 30.0
"""After how long kubelet must be at work again, seconds."""

Act = Callable[[KubeletNode, Path], object]


def _upgrade(node: KubeletNode, folder: Path) -> None:
    node.dpkg("--install", debs.later(debs.built(FULL), folder))


_ACTS: Dict[str, Act] = {
    "kubelet-restarts": lambda node, _: node.run("systemctl", "restart", "kubelet"),
    "criproxy-restarts": lambda node, _: node.run("systemctl", "restart", "criproxy"),
    "criproxy-is-upgraded": _upgrade,
    "criproxy-is-killed": lambda node, _: node.run("systemctl", "kill", "--signal=KILL", "criproxy"),
    "the-primary-restarts": lambda node, _: node.run("systemctl", "restart", "containerd"),
    "the-alternative-restarts": lambda node, _: node.run("systemctl", "restart", "containerd-b"),
}


@pytest.mark.parametrize("act", _ACTS)
def test_no_container_is_started_again_and_new_pods_start(
    node: KubeletNode, kubelet: Kubelet, tmp_path: Path, act: str
) -> None:
    before = kubelet.ready(*NAMES.values())
    new = {runtime: f"new-{name}-after-{act}" for runtime, name in NAMES.items()}
    _ACTS[act](node, tmp_path)
    for runtime, name in new.items():
        kubelet.add(name, runtime.annotations, sleeping(runtime))
    added = kubelet.ready(*new.values(), within=_RECOVERY)
    assert kubelet.ready(*NAMES.values()) == before
    for runtime in BOTH:
        there = {*before[NAMES[runtime]].ids.values(), *added[new[runtime]].ids.values()}
        assert there <= node.containers_of(runtime)
    for name in new.values():
        kubelet.remove(name)


def test_the_primary_s_pods_run_on_when_criproxy_is_removed(node: KubeletNode, kubelet: Kubelet) -> None:
    """The last test of the node's life."""
    name = NAMES[PRIMARY]
    before = kubelet.ready(name)
    node.dpkg("--remove", FULL)
    new = "new-without-criproxy"
    kubelet.add(new, PRIMARY.annotations, sleeping(PRIMARY))
    kubelet.ready(new, within=_RECOVERY)
    assert kubelet.ready(name) == before
    assert set(before[name].ids.values()) <= node.containers_of(PRIMARY)
