"""A node moves from containerd, or from Docker, to another containerd while its pods run: no container notices.

The tests are the moments of one node's life, in their order.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Dict

import grpc
import pytest

from tests.containerd.service import eventually
from tests.node.layouts import FULL

from .conftest import Boot
from .kubelet import Kubelet
from .moving import (
    LAYOUT_OF_A_MOVE,
    LAYOUT_OF_A_MOVE_FROM_DOCKER,
    NEW,
    OLD,
    MovingCluster,
    MovingFromDocker,
    Seen,
    unchanged,
)
from .node import IMAGE, PATIENCE
from .pods import PORT, crashing, listening, sleeping, web

WEB, STATEFUL, CRASHING, LISTENING = "web", "db-0", "crashing", "listening"
STAYING = (WEB, STATEFUL)
_ENDS = (
    ("StopContainer", "container_id"),
    ("RemoveContainer", "container_id"),
    ("StopPodSandbox", "pod_sandbox_id"),
    ("RemovePodSandbox", "pod_sandbox_id"),
)


@pytest.fixture(
    scope="module",
    params=[(MovingCluster, LAYOUT_OF_A_MOVE), (MovingFromDocker, LAYOUT_OF_A_MOVE_FROM_DOCKER)],
    ids=["containerd", "docker"],
)
def cluster(boot: Boot, request: pytest.FixtureRequest) -> MovingCluster:
    """A node on the old runtime, with a pod that has all that pods have, one of a StatefulSet, and one that crashes."""
    cluster: MovingCluster = boot(*request.param)
    cluster.install()
    cluster.add(WEB, {}, web(OLD))
    cluster.add(STATEFUL, {}, sleeping(OLD))
    cluster.add(CRASHING, {}, crashing(OLD))
    cluster.add(LISTENING, {}, listening(OLD))
    cluster.await_ready(*STAYING, LISTENING)
    crashes(cluster, 1)
    return cluster


@pytest.fixture(scope="module")
def before(cluster: MovingCluster) -> Dict[str, Seen]:
    """The pods as they were before all this."""
    return cluster.seen(*STAYING)


def crashes(cluster: MovingCluster, more: int) -> None:
    """Comes back when the container that crashes has been started so many times more."""

    def count() -> int:
        (container,) = cluster.seen(CRASHING)[CRASHING].containers.values() or [("", 0, {})]
        return int(container[1])

    first = count() if cluster.seen(CRASHING)[CRASHING].containers else 0
    assert eventually(count, lambda now: now >= first + more, 2 * PATIENCE) >= first + more


def test_the_move_restarts_no_container_and_no_unit(cluster: MovingCluster, before: Dict[str, Seen]) -> None:
    units = cluster.start_times()
    said = cluster.migrate("--to", NEW.socket, "--yes")
    unchanged(cluster, before)
    assert cluster.start_times() == units, said


def test_new_pods_start_on_the_new_runtime(cluster: MovingCluster) -> None:
    cluster.add("new-web", {}, web(NEW))
    cluster.await_ready("new-web")
    assert cluster.sandboxes(NEW).keys() == {"new-web"}
    assert "new-web" not in cluster.sandboxes(cluster.old)


def test_status_says_what_is_left(cluster: MovingCluster) -> None:
    left = json.loads(cluster.run("criproxy", "status", "-o", "json"))["left"]
    assert {pod["name"] for pod in left} == {f"default/{name}" for name in (*STAYING, CRASHING, LISTENING)}


@pytest.mark.parametrize(("pod", "where"), [(WEB, "old"), ("new-web", "new")])
class TestOnBothSides:
    def test_logs(self, cluster: MovingCluster, pod: str, where: str) -> None:
        assert cluster.kubectl("logs", pod, "main") == "main on primary has started\n"

    def test_exec(self, cluster: MovingCluster, pod: str, where: str) -> None:
        script = "read -r line; echo $line; exit 3"
        done = cluster.try_kubectl("exec", "-i", pod, "-c", "main", "--", "sh", "-c", script, stdin="good\n")
        assert (done.stdout.splitlines()[0], done.returncode) == ("good", 3)

    def test_port_forward(self, cluster: MovingCluster, pod: str, where: str) -> None:
        with cluster.beside("port-forward", f"pod/{pod}", f"18081:{PORT}") as unit:
            assert "Forwarding" in eventually(lambda: cluster.journal(unit), lambda said: "Forwarding" in said)
            with cluster.dial("127.0.0.1", 18081) as sock:
                sock.sendall(b"GET /page HTTP/1.0\r\n\r\n")
                with sock.makefile("rb") as answer:
                    assert answer.read().endswith(b"\r\n\r\nthis is init on primary\n")


@pytest.mark.parametrize("pod", [LISTENING, "listening-on-new"])
def test_attach_and_the_end_of_a_pod_on_both_sides(cluster: MovingCluster, pod: str) -> None:
    runtime = cluster.old if pod == LISTENING else NEW
    if runtime is NEW:
        cluster.add(pod, {}, listening(NEW))
        cluster.await_ready(pod)
    assert pod in cluster.sandboxes(runtime)
    assert "has heard a word\n" in cluster.kubectl("attach", "-i", pod, stdin="a word\n")
    cluster.kubectl("delete", "pod", pod)
    assert pod not in eventually(lambda: cluster.sandboxes(runtime), lambda found: pod not in found, PATIENCE)


def test_a_container_that_crashes_goes_on_in_its_old_sandbox(cluster: MovingCluster) -> None:
    (sandbox,) = cluster.sandboxes(cluster.old)[CRASHING]
    crashes(cluster, 1)
    assert cluster.sandboxes(cluster.old)[CRASHING] == [sandbox]
    assert CRASHING not in cluster.sandboxes(NEW)


def test_ids_of_which_a_new_criproxy_knows_nothing(cluster: MovingCluster, before: Dict[str, Seen]) -> None:
    """A pod's own are found where it is; to stop and to remove what nobody has touches nothing."""
    cluster.run("systemctl", "restart", "criproxy")
    with cluster.client() as client:
        for method, field in _ENDS:
            with suppress(grpc.RpcError):
                getattr(client, method)(**{field: "0" * 64})
        (id, _, _) = before[WEB].containers["main"]
        assert client.ExecSync(container_id=id, cmd=["echo", "there"], timeout=10).stdout == b"there\n"
    unchanged(cluster, before)


def test_restarts_in_the_middle_change_nothing(cluster: MovingCluster, before: Dict[str, Seen]) -> None:
    new = cluster.seen("new-web")
    for unit in cluster.units:
        cluster.run("systemctl", "restart", unit)
        unchanged(cluster, before)
        assert cluster.seen("new-web") == new, unit


def test_the_old_runtime_is_away_while_criproxy_and_kubelet_start(
    cluster: MovingCluster, before: Dict[str, Seen]
) -> None:
    """Nothing is remembered then: kubelet gets no list, and does nothing."""
    new = cluster.seen("new-web")
    cluster.take_away()
    cluster.run("systemctl", "restart", "criproxy", "kubelet")
    failed = "the retiring runtime"
    assert failed in eventually(lambda: cluster.journal("criproxy.service"), lambda said: failed in said, PATIENCE)
    eventually(
        lambda: cluster.journal("kubelet.service", 400),
        lambda said: "GenericPLEG: Unable to retrieve pods" in said,
        PATIENCE,
    )
    assert cluster.sandboxes(NEW).keys() == {"new-web"}
    cluster.bring_back()
    cluster.kubectl("wait", "--for=condition=Ready", "node/node", f"--timeout={PATIENCE:.0f}s")
    unchanged(cluster, before)
    assert cluster.seen("new-web") == new


def test_back_and_there_again(cluster: MovingCluster, before: Dict[str, Seen]) -> None:
    new = cluster.seen("new-web")
    cluster.migrate("--back", "--yes")
    cluster.add("back", {}, sleeping(OLD))
    cluster.await_ready("back")
    assert "back" in cluster.sandboxes(cluster.old)
    cluster.kubectl("delete", "pod", "back")
    cluster.migrate("--back", "--yes")
    unchanged(cluster, before)
    assert cluster.seen("new-web") == new


def test_a_pod_that_is_deleted_leaves_nothing_on_the_old_runtime(cluster: MovingCluster) -> None:
    address = cluster.seen(STATEFUL)[STATEFUL].address
    assert address in cluster.leases(cluster.old)
    cluster.kubectl("delete", "pod", STATEFUL)
    assert eventually(lambda: cluster.sandboxes(cluster.old), lambda found: STATEFUL not in found, PATIENCE).keys() == {
        WEB,
        CRASHING,
    }
    assert address not in cluster.leases(cluster.old)


def test_a_pod_of_the_same_name_starts_on_the_new_runtime(cluster: MovingCluster) -> None:
    """As a StatefulSet makes it."""
    cluster.add(STATEFUL, {}, sleeping(NEW))
    cluster.await_ready(STATEFUL)
    assert STATEFUL in cluster.sandboxes(NEW)
    assert STATEFUL not in cluster.sandboxes(cluster.old)


def test_the_end_is_refused_while_pods_are_left(cluster: MovingCluster) -> None:
    done = cluster.attempt("criproxy", "node", "migrate", "--finish", "--yes")
    assert done.returncode == 1
    assert f"default/{WEB}" in done.stdout


def test_evicted_pods_come_to_the_new_runtime_one_by_one(cluster: MovingCluster, before: Dict[str, Seen]) -> None:
    cluster.migrate("--finish", "--evict", "--yes")
    assert eventually(cluster.left, lambda found: not found, PATIENCE) == set()
    cluster.await_ready(WEB)
    assert cluster.seen(WEB)[WEB].uid == before[WEB].uid
    assert {WEB, CRASHING} <= cluster.sandboxes(NEW).keys()
    assert "CRI_RETIRING=/" not in cluster.path("/etc/default/criproxy").read_text()


def test_the_old_runtime_can_go(cluster: MovingCluster) -> None:
    names = ("new-web", STATEFUL, WEB)
    seen = cluster.seen(*names)
    cluster.run("systemctl", "disable", "--now", *cluster.runtime_units)
    Kubelet(cluster).await_looks(3)
    assert cluster.seen(*names) == seen
    assert cluster.attempt("criproxy", "status").returncode == 0


def test_the_pods_run_on_on_the_new_runtime_when_criproxy_is_removed(cluster: MovingCluster) -> None:
    """The last moment of the node's life."""
    names = ("new-web", STATEFUL, WEB)
    seen = cluster.seen(*names)
    cluster.dpkg("--remove", FULL)
    cluster.kubectl("wait", "--for=condition=Ready", "node/node", f"--timeout={PATIENCE:.0f}s")
    cluster.add("after", {}, sleeping(NEW, IMAGE))
    cluster.await_ready("after")
    assert cluster.seen(*names) == seen
    assert "after" in cluster.sandboxes(NEW)
