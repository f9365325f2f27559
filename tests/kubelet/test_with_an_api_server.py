"""What an operator does with kubectl to pods on both runtimes, and pods that a RuntimeClass sends to one of them."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.containerd.images import Image, Registry
from tests.containerd.service import eventually

from .cluster import HANDLER, LAYOUT_WITH_API, Cluster
from .conftest import Boot
from .kubelet import Kubelet, Pod
from .node import ALTERNATIVE, PATIENCE, PRIMARY, Runtime
from .pods import NAMES, PORT, listening, sleeping, web


@pytest.fixture(scope="module")
def cluster(boot: Boot) -> Cluster:
    """A node with a pod on each runtime."""
    cluster: Cluster = boot(Cluster, LAYOUT_WITH_API)
    cluster.install()
    for runtime, name in NAMES.items():
        cluster.add(name, runtime.annotations, web(runtime))
    cluster.await_ready(*NAMES.values())
    return cluster


@pytest.fixture(scope="module")
def registry(cluster: Cluster) -> Iterator[Registry]:
    """A registry on the node that has an image which no runtime has."""
    image = Image(cluster.busybox, ["sh", "sleep"], ["sh", "-c", "exec sleep 86400"])
    with cluster.in_network(lambda: Registry({"pulled:test": image})).serving() as registry:
        yield registry


def test_logs(cluster: Cluster, runtime: Runtime, pod: str) -> None:
    assert cluster.kubectl("logs", pod, "main") == f"main on {runtime} has started\n"


def test_exec_has_input_output_and_exit_status(cluster: Cluster, runtime: Runtime, pod: str) -> None:
    script = "read -r line; echo $NAME: $line; exit 3"
    done = cluster.try_kubectl("exec", "-i", pod, "-c", "main", "--", "sh", "-c", script, stdin="good\n")
    assert done.stdout.splitlines()[0] == f"main on {runtime}: good"
    assert done.returncode == 3


def test_attach(cluster: Cluster, runtime: Runtime) -> None:
    name = f"listening-{NAMES[runtime]}"
    cluster.add(name, runtime.annotations, listening(runtime))
    cluster.await_ready(name)
    assert f"main on {runtime} has heard a word\n" in cluster.kubectl("attach", "-i", name, stdin="a word\n")
    cluster.kubectl("delete", "pod", name)


def test_port_forward(cluster: Cluster, runtime: Runtime, pod: str) -> None:
    with cluster.beside("port-forward", f"pod/{pod}", f"18080:{PORT}") as unit:
        assert "Forwarding" in eventually(lambda: cluster.journal(unit), lambda said: "Forwarding" in said)
        with cluster.dial("127.0.0.1", 18080) as sock:
            sock.sendall(b"GET /page HTTP/1.0\r\n\r\n")
            with sock.makefile("rb") as answer:
                assert answer.read().endswith(f"\r\n\r\nthis is init on {runtime}\n".encode())


def test_events_tell_the_life_of_each_pod(cluster: Cluster, pod: str) -> None:
    chosen = f"--field-selector=involvedObject.name={pod}"
    reasons = cluster.kubectl("get", "events", chosen, "--output=jsonpath={.items[*].reason}")
    assert {"Pulled", "Created", "Started"} <= set(reasons.split())
    assert not {"Failed", "BackOff", "Killing", "SandboxChanged"} & set(reasons.split())


def test_delete(cluster: Cluster, runtime: Runtime) -> None:
    name = f"short-lived-{NAMES[runtime]}"
    cluster.add(name, runtime.annotations, sleeping(runtime))
    cluster.await_ready(name)
    assert name in cluster.pods_of(runtime)
    cluster.kubectl("delete", "pod", name)
    assert eventually(lambda: cluster.pods_of(runtime), lambda names: name not in names, PATIENCE)
    assert name not in cluster.pods_of(runtime)


def test_a_runtime_class_chooses_the_runtime_of_a_pod_whose_images_have_its_prefix(cluster: Cluster) -> None:
    name = "of-a-class"
    cluster.add(name, {}, {**sleeping(ALTERNATIVE), "runtimeClassName": HANDLER})
    cluster.await_ready(name)
    assert name in cluster.pods_of(ALTERNATIVE)
    assert name not in cluster.pods_of(PRIMARY)


def test_a_runtime_class_is_enough_for_an_image_that_the_primary_does_not_have(
    cluster: Cluster, registry: Registry
) -> None:
    name, image = "of-a-class-alone", f"{registry.host}/pulled:test"
    spec = {"containers": [{"name": "main", "image": image}], "runtimeClassName": HANDLER}
    cluster.add(name, {}, spec)
    cluster.await_ready(name)
    assert name in cluster.pods_of(ALTERNATIVE)
    assert image in cluster.images_of(ALTERNATIVE)
    assert name not in cluster.pods_of(PRIMARY)
    assert image not in cluster.images_of(PRIMARY)


def test_a_rule_sends_the_pods_of_a_namespace_to_the_other_runtime_though_nothing_in_them_says_so(
    cluster: Cluster,
) -> None:
    """A canary of the other runtime."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "canary"}})
    rule = f"namespace in (canary, next)={ALTERNATIVE.id}"
    cluster.run("criproxy", "route", "add", rule)
    try:
        cluster.add("sent-by-a-rule", {}, sleeping(PRIMARY), "canary")
        cluster.add("of-another-namespace", {}, sleeping(PRIMARY))
        cluster.await_ready("of-another-namespace")
        cluster.kubectl(
            "wait", "--namespace=canary", "--for=condition=Ready", f"--timeout={PATIENCE:.0f}s", "pod", "--all"
        )
    finally:
        cluster.run("criproxy", "route", "remove", rule)
    assert "sent-by-a-rule" in cluster.pods_of(ALTERNATIVE)
    assert "sent-by-a-rule" not in cluster.pods_of(PRIMARY)
    assert "of-another-namespace" in cluster.pods_of(PRIMARY)
    Kubelet(cluster).await_looks(3)
    assert cluster.pods_of(ALTERNATIVE).count("sent-by-a-rule") == 1


def ready(cluster: Cluster, field: str = "status") -> str:
    """A field of the node's condition Ready."""
    path = f'{{.status.conditions[?(@.type=="Ready")].{field}}}'
    return cluster.kubectl("get", "node", "node", f"--output=jsonpath={path}")


def test_the_node_stays_ready_while_the_primary_runtime_crashes_and_is_back_in_five_seconds(cluster: Cluster) -> None:
    """The time after which containerd's own unit starts it again. kubelet tells the API server each second."""
    assert cluster.run("systemctl", "show", "--property=RestartUSec", "--value", "containerd").strip() == "5s"
    since = ready(cluster, "lastTransitionTime")
    before = {name: Pod.of(cluster.status(name)) for name in NAMES.values()}

    def restarts() -> str:
        return cluster.run("systemctl", "show", "--property=NRestarts", "containerd")

    first = restarts()
    cluster.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "containerd")
    assert eventually(restarts, lambda said: said != first) != first
    Kubelet(cluster).await_looks(5)
    assert (ready(cluster), ready(cluster, "lastTransitionTime")) == ("True", since)
    assert {name: Pod.of(cluster.status(name)) for name in NAMES.values()} == before


def test_the_node_stays_ready_and_pods_stay_as_they_are_without_the_alternative_runtime(cluster: Cluster) -> None:
    before = {name: Pod.of(cluster.status(name)) for name in NAMES.values()}
    cluster.run("systemctl", "stop", "containerd-b")
    try:
        for _ in range(5):
            Kubelet(cluster).await_looks(2)
            assert ready(cluster) == "True"
        assert Pod.of(cluster.status(NAMES[PRIMARY])) == before[NAMES[PRIMARY]]
    finally:
        cluster.run("systemctl", "start", "containerd-b")
    cluster.await_ready(*NAMES.values())
    Kubelet(cluster).await_looks(3)
    assert {name: Pod.of(cluster.status(name)) for name in NAMES.values()} == before
