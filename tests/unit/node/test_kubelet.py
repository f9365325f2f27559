"""What is found out of a node's kubelet from its unit, drop-ins and files."""

from __future__ import annotations

from typing import List

import pytest
from node_lab import Lab

from criproxy.node import kubelet, units
from criproxy.node.kubelet import DROP_IN, Kubelet, NodeError


def found(lab: Lab) -> Kubelet:
    answer = kubelet.find(lab.tree, lab.ask)
    assert answer is not None
    return answer


def test_kubeadm_of_today(kubeadm: Lab) -> None:
    one = found(kubeadm)
    assert one.version == (1, 33, 1)
    assert one.program == ("/usr/bin/kubelet",)
    assert one.flags == (
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--config=/var/lib/kubelet/config.yaml",
        "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        "--pod-infra-container-image=registry.k8s.io/pause:3.9",
        "--node-ip=192.0.2.7",
        "--node-labels=a=b",
    )
    assert kubelet.endpoint(kubeadm.tree, one) == "unix:///run/containerd/containerd.sock"


def test_a_command_over_several_lines(old: Lab) -> None:
    one = found(old)
    assert one.values(["network-plugin", "cgroup-driver", "config"]) == {
        "network-plugin": "cni",
        "cgroup-driver": "systemd",
    }
    assert kubelet.endpoint(old.tree, one) == ""


def test_hyperkube_is_two_words(tmp_path: object) -> None:
    lab = Lab(tmp_path, "dind", "1.12.3")  # type: ignore[arg-type]
    one = found(lab)
    assert (one.program, one.flags) == (("/k8s/hyperkube", "kubelet"), ("--hairpin-mode=hairpin-veth",))


def test_a_file_of_variables_goes_before_the_unit_and_before_our_own_drop_in(kubeadm: Lab) -> None:
    kubeadm.put(DROP_IN, '[Service]\nEnvironment="KUBELET_EXTRA_ARGS=--lost"\nExecStart=\nExecStart=/bin/false\n')
    kubeadm.put("/etc/systemd/system/kubelet.service.d/20.conf", "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--also\n")
    assert found(kubeadm).flags[-2:] == ("--node-ip=192.0.2.7", "--node-labels=a=b")


def test_a_drop_in_of_the_administrators_replaces_one_of_the_same_name(kubeadm: Lab) -> None:
    kubeadm.put(
        "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", "[Service]\nExecStart=\nExecStart=/opt/kubelet --a\n"
    )
    assert (found(kubeadm).program, found(kubeadm).flags) == (("/opt/kubelet",), ("--a",))


def test_a_masked_unit_is_none(kubeadm: Lab) -> None:
    (kubeadm.root / "etc/systemd/system/kubelet.service").symlink_to("/dev/null")
    assert kubelet.find(kubeadm.tree, kubeadm.ask) is None


def test_a_masked_drop_in_does_not_count(kubeadm: Lab) -> None:
    folder = kubeadm.root / "etc/systemd/system/kubelet.service.d"
    folder.mkdir(parents=True)
    (folder / "10-kubeadm.conf").symlink_to("/dev/null")
    assert found(kubeadm).flags == ()


def test_no_unit_is_no_kubelet(tmp_path: object) -> None:
    lab = Lab(tmp_path, "", "1.30.0")  # type: ignore[arg-type]
    assert kubelet.find(lab.tree, lab.ask) is None


@pytest.mark.parametrize(
    ("flags", "files", "endpoint"),
    [
        ("--container-runtime-endpoint /a --container-runtime-endpoint=/b", {}, "/b"),
        ("--container_runtime_endpoint=/a", {}, "/a"),
        ("--config=/k.yaml", {"/k.yaml": "a: 1\ncontainerRuntimeEndpoint: unix:///c\n"}, "unix:///c"),
        ("--config /k.yaml", {"/k.yaml": "containerRuntimeEndpoint: 'unix:///c' # it\n"}, "unix:///c"),
        ("--config=/k.yaml", {"/k.yaml": 'containerRuntimeEndpoint: ""\n'}, ""),
        ("--config=/k.yaml", {"/k.yaml": "nested:\n  containerRuntimeEndpoint: no\n"}, ""),
        (
            "--config=/k.yaml --config-dir=/d",
            {
                "/k.yaml": "containerRuntimeEndpoint: /c",
                "/d/1.conf": "containerRuntimeEndpoint: /1",
                "/d/2.conf": "x: 1",
            },
            "/1",
        ),
        ("", {"/var/lib/kubelet/instance-config.yaml": "containerRuntimeEndpoint: unix:///i\n"}, "unix:///i"),
        ("--container-runtime-endpoint=/a --config=/k.yaml", {"/k.yaml": "containerRuntimeEndpoint: /c"}, "/a"),
    ],
)
def test_the_runtime_that_kubelet_is_told_of(
    tmp_path: object, flags: str, files: dict[str, str], endpoint: str
) -> None:
    lab = Lab(tmp_path, "", "1.34.0")  # type: ignore[arg-type]
    lab.put("/lib/systemd/system/kubelet.service", f"[Service]\nExecStart=/usr/bin/kubelet {flags}\n")
    for path, text in files.items():
        lab.put(path, text)
    assert kubelet.endpoint(lab.tree, found(lab)) == endpoint


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("/bin/sh -c 'exec kubelet'", "is not kubelet itself"),
        ("/k8s/hyperkube apiserver", "is not kubelet itself"),
        ("/usr/bin/kubelet 'a", "not understood"),
    ],
)
def test_what_cannot_be_worked_with(kubeadm: Lab, command: str, complaint: str) -> None:
    kubeadm.put("/etc/systemd/system/kubelet.service.d/50.conf", f"[Service]\nExecStart=\nExecStart={command}\n")
    with pytest.raises(NodeError, match=complaint):
        kubelet.find(kubeadm.tree, kubeadm.ask)


def test_a_kubelet_that_does_not_say_its_version(kubeadm: Lab) -> None:
    with pytest.raises(NodeError, match="does not say which version"):
        kubelet.find(kubeadm.tree, lambda command: "who knows")


def test_an_executable_may_have_prefixes(kubeadm: Lab) -> None:
    asked: List[str] = []

    def ask(command: object) -> str:
        asked.extend(command)  # type: ignore[call-overload]
        return "Kubernetes v1.30.0"

    kubeadm.put("/etc/systemd/system/kubelet.service.d/50.conf", "[Service]\nExecStart=\nExecStart=-/usr/bin/kubelet\n")
    kubelet.find(kubeadm.tree, ask)
    assert asked == ["/usr/bin/kubelet", "--version"]


def test_a_drop_in_for_all_services_counts(kubeadm: Lab) -> None:
    kubeadm.put("/etc/systemd/system/service.d/a.conf", "[Service]\nLimitNOFILE=1\n")
    unit = units.load(kubeadm.tree, "kubelet.service")
    assert unit is not None
    assert unit.all("Service", "LimitNOFILE") == ("1",)
    assert unit.fragment == "/usr/lib/systemd/system/kubelet.service"
