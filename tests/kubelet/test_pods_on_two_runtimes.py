"""A pod on each of two containerds, by annotation and image prefix, and all that kubelet does to pods."""

from __future__ import annotations

import json
from typing import Dict

from tests.containerd.images import Image
from tests.containerd.service import eventually
from tests.containerd.websocket import STATUS, STDERR, STDIN, STDOUT

from .kubelet import Kubelet
from .node import ALTERNATIVE, BOTH, PATIENCE, PRIMARY, KubeletNode, Runtime
from .pods import NAMES, PORT, sleeping
from .streams import all_of, until


def test_the_containers_are_in_the_runtime_that_was_asked_for_and_in_no_other(
    node: KubeletNode, kubelet: Kubelet
) -> None:
    pods = kubelet.ready(*NAMES.values())
    for runtime in BOTH:
        assert node.containers_of(runtime) == set(pods[NAMES[runtime]].ids.values())
    assert all(id.startswith("containerd.io__") for id in pods[NAMES[ALTERNATIVE]].ids.values())
    assert not any("__" in id for id in pods[NAMES[PRIMARY]].ids.values())


def test_the_log_of_each_container_is_its_own(kubelet: Kubelet, runtime: Runtime, pod: str) -> None:
    assert kubelet.logs(pod, "main") == f"main on {runtime} has started\n"


def test_a_command_is_run_in_the_right_container(kubelet: Kubelet, runtime: Runtime, pod: str) -> None:
    assert kubelet.run(pod, "main", "cat /data/page") == f"this is init on {runtime}\n"


def test_a_command_s_streams_and_exit_status_come_back(kubelet: Kubelet, runtime: Runtime, pod: str) -> None:
    script = "read -r line; echo $NAME: $line; echo not so good >&2; exit 3"
    with kubelet.exec(pod, "main", ["sh", "-c", script]) as stream:
        stream.send(STDIN, b"good\n")
        said = all_of(stream)
    assert said[STDOUT] == f"main on {runtime}: good\n".encode()
    assert said[STDERR] == b"not so good\n"
    (cause,) = json.loads(said[STATUS])["details"]["causes"]
    assert cause == {"reason": "ExitCode", "message": "3"}


def test_attached_one_talks_to_the_container_s_own_process(kubelet: Kubelet, runtime: Runtime, pod: str) -> None:
    with kubelet.attach(pod, "answering") as stream:
        stream.send(STDIN, b"a word\n")
        wanted = f"answering on {runtime} has heard a word\n".encode()
        assert wanted in until(stream, STDOUT, wanted)


def test_a_forwarded_port_is_the_pod_s(kubelet: Kubelet, runtime: Runtime, pod: str) -> None:
    with kubelet.forward(pod, PORT) as stream:
        stream.send(0, b"GET /page HTTP/1.0\r\n\r\n")
        wanted = f"\r\n\r\nthis is init on {runtime}\n".encode()
        assert wanted in until(stream, 0, wanted)


def test_a_pod_whose_probe_fails_is_not_ready_until_it_succeeds_again(kubelet: Kubelet, pod: str) -> None:
    kubelet.run(pod, "main", "rm /data/ready")
    assert not eventually(kubelet.pods, lambda pods: not pods[pod].ready, PATIENCE)[pod].ready
    kubelet.run(pod, "main", "touch /data/ready")
    assert kubelet.ready(pod)[pod].restarts == {"main": 0, "answering": 0}


def test_a_container_whose_process_is_killed_is_started_again_and_only_it(
    node: KubeletNode, kubelet: Kubelet, runtime: Runtime, pod: str
) -> None:
    before = kubelet.ready(*NAMES.values())
    inner = before[pod].ids["main"].rpartition("__")[2]
    node.run("ctr", "--address", runtime.socket, "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", inner)
    eventually(kubelet.pods, lambda pods: pods[pod].restarts["main"] > before[pod].restarts["main"], PATIENCE)
    after = kubelet.ready(*NAMES.values())
    assert after[pod].restarts == {**before[pod].restarts, "main": before[pod].restarts["main"] + 1}
    assert after[pod].ids["answering"] == before[pod].ids["answering"]
    assert after[pod].ids["main"] in node.containers_of(runtime)
    assert {name: seen for name, seen in after.items() if name != pod} == {
        name: seen for name, seen in before.items() if name != pod
    }
    # What the init container has written is still there: it did not have to run again.
    assert kubelet.run(pod, "main", "cat /data/page") == f"this is init on {runtime}\n"


def test_of_pods_that_are_deleted_nothing_remains(node: KubeletNode, kubelet: Kubelet) -> None:
    names = {runtime: f"short-lived-{NAMES[runtime]}" for runtime in BOTH}

    def left() -> Dict[Runtime, int]:
        return {runtime: sum(name.startswith("short") for name in node.pods_of(runtime)) for runtime in BOTH}

    for runtime, name in names.items():
        kubelet.add(name, runtime.annotations, sleeping(runtime))
    kubelet.ready(*names.values())
    assert left() == {PRIMARY: 1, ALTERNATIVE: 1}
    for name in names.values():
        kubelet.remove(name)
    # kubelet stops a pod at once, and removes it when it next tidies up.
    assert eventually(left, lambda counts: not any(counts.values()), PATIENCE) == {PRIMARY: 0, ALTERNATIVE: 0}
    logs = [node.path(f"/var/log/{folder}") for folder in ("pods", "containers")]
    assert (
        eventually(lambda: [path for log in logs for path in log.glob("*short*")], lambda seen: not seen, PATIENCE)
        == []
    )


def test_an_unused_image_of_the_alternative_runtime_is_collected_and_only_that(
    node: KubeletNode, kubelet: Kubelet
) -> None:
    unused = "docker.io/library/unused:test"
    node.load(Image(node.busybox, ["sh"], ["sh", "-c", "nobody runs this"]), unused, ALTERNATIVE.socket)
    before = {runtime: node.images_of(runtime) for runtime in BOTH}
    assert unused in before[ALTERNATIVE]
    # The filesystem whose room counts is the primary runtime's.
    filler = f"{PRIMARY.folder}/filler"
    node.run("fallocate", "--length", "480M", filler)
    try:
        eventually(lambda: node.images_of(ALTERNATIVE), lambda names: unused not in names, PATIENCE)
    finally:
        node.path(filler).unlink()
    after = {runtime: node.images_of(runtime) for runtime in BOTH}
    assert after == {PRIMARY: before[PRIMARY], ALTERNATIVE: before[ALTERNATIVE] - {unused}}
    kubelet.ready(*NAMES.values())
