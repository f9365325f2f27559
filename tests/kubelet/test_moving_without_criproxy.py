"""A node that is not on criproxy is put on it for the time of a move: kubelet's restarts are the only pauses.

The tests are the moments of one node's life, in their order.
"""

from __future__ import annotations

from typing import Dict

import pytest

from tests.containerd.service import eventually

from .conftest import Boot
from .kubelet import Kubelet
from .moving import LAYOUT_OF_A_MOVE, NEW, OLD, MovingCluster, Seen, unchanged
from .node import ENVIRONMENT, PATIENCE
from .pods import sleeping, web

STAYING = ("web", "sleeping")


@pytest.fixture(scope="module")
def cluster(boot: Boot) -> MovingCluster:
    """A node with the package, whose kubelet is on its own runtime again, with pods."""
    cluster: MovingCluster = boot(MovingCluster, LAYOUT_OF_A_MOVE)
    cluster.install()
    cluster.run("criproxy", "node", "revert")
    cluster.add("web", {}, web(OLD))
    cluster.add("sleeping", {}, sleeping(OLD))
    cluster.await_ready(*STAYING)
    return cluster


@pytest.fixture(scope="module")
def before(cluster: MovingCluster) -> Dict[str, Seen]:
    """The pods as they were before all this."""
    return cluster.seen(*STAYING)


def test_the_move_restarts_kubelet_and_no_container(cluster: MovingCluster, before: Dict[str, Seen]) -> None:
    assert cluster.state("criproxy.service") == "inactive"
    kubelet = cluster.kubelet
    cluster.migrate("--to", NEW.socket, "--yes")
    unchanged(cluster, before)
    assert cluster.kubelet != kubelet
    assert cluster.state("criproxy.service") == "active"


def test_pods_move_by_themselves_when_the_machine_is_switched_off_and_on(cluster: MovingCluster) -> None:
    """Their sandboxes have ended, so that kubelet makes new ones."""
    uids = {name: seen.uid for name, seen in cluster.seen(*STAYING).items()}
    cluster.switch_off_and_on()
    made = eventually(lambda: cluster.sandboxes(NEW).keys(), lambda names: names >= set(STAYING), PATIENCE)
    assert made == set(STAYING)
    cluster.await_ready(*STAYING)
    assert {name: seen.uid for name, seen in cluster.seen(*STAYING).items()} == uids


def test_the_end_takes_criproxy_away_and_leaves_kubelet_on_the_new_runtime(cluster: MovingCluster) -> None:
    seen = cluster.seen(*STAYING)
    cluster.migrate("--finish", "--evict", "--yes")
    assert cluster.state("criproxy.service") == "inactive"
    assert f"--container-runtime-endpoint=unix://{NEW.socket}" in cluster.path(ENVIRONMENT).read_text()
    Kubelet(cluster).await_looks(3)
    assert cluster.seen(*STAYING) == seen
    assert cluster.sandboxes(OLD) == {}
    cluster.add("after", {}, sleeping(NEW))
    cluster.await_ready("after")
    assert "after" in cluster.sandboxes(NEW)
