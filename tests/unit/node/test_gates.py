"""Kubelet's feature gates, from its flag and its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from node_lab import Lab

from criproxy.node.gates import is_on
from criproxy.node.kubelet import NodeError, find

KIND = "kind: KubeletConfiguration\n"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, "kubeadm", "1.33.1")


def on(lab: Lab, default: bool = False) -> bool:
    kubelet = find(lab.tree, lab.ask)
    assert kubelet is not None
    return is_on(lab.tree, kubelet, "EventedPLEG", default)


@pytest.mark.parametrize(
    ("flag", "text", "wanted"),
    [
        ("", KIND, False),
        ("", "", False),
        ("", f"{KIND}featureGates:\n", False),
        ("", f"{KIND}featureGates: {{EventedPLEG: true, Other: false}}\n", True),
        ("", f"{KIND}featureGates:\n  EventedPLEG: false\n  AllAlpha: true\n", False),
        ("", f"{KIND}featureGates:\n  AllAlpha: true\n", True),
        ("", '{"kind": "KubeletConfiguration",\n\t"featureGates": {"EventedPLEG": true}}', True),
        ("", f"{KIND}featureGates: {{EventedPLEG: true}}\n---\nfeatureGates: {{EventedPLEG: false}}\n", True),
        ("--feature-gates=Other=true,EventedPLEG=T", KIND, True),
        ("--feature-gates=EventedPLEG=0", f"{KIND}featureGates: {{EventedPLEG: true}}\n", False),
        ("--feature-gates Other=true", f"{KIND}featureGates: {{EventedPLEG: true}}\n", True),
    ],
)
def test_a_gate_is_on_if_the_flag_says_so_or_else_the_configuration(
    flag: str, text: str, wanted: bool, lab: Lab
) -> None:
    lab.put("/etc/default/kubelet", f"KUBELET_EXTRA_ARGS={flag}\n")
    lab.put("/var/lib/kubelet/config.yaml", text)
    assert on(lab) is wanted


def test_one_that_is_on_by_itself_is_off_if_somebody_says_so(lab: Lab) -> None:
    assert on(lab, default=True)
    lab.put("/var/lib/kubelet/config.yaml", f"{KIND}featureGates: {{EventedPLEG: false}}\n")
    assert not on(lab, default=True)


def test_an_old_kubelet_has_no_gates_in_its_configuration(lab: Lab) -> None:
    lab.version = "1.9.0"
    lab.put("/var/lib/kubelet/config.yaml", f"{KIND}featureGates: {{EventedPLEG: true}}\n")
    assert not on(lab)


@pytest.mark.parametrize("text", ["featureGates: [EventedPLEG]\n", "featureGates: {EventedPLEG: 7}\n", "a: [\n", "{a"])
def test_a_configuration_with_which_kubelet_would_not_start_is_told(text: str, lab: Lab) -> None:
    lab.put("/var/lib/kubelet/config.yaml", text)
    with pytest.raises(NodeError, match=r"^/var/lib/kubelet/config\.yaml.*mend it$"):
        on(lab)


def test_a_later_file_adds_to_those_before(lab: Lab) -> None:
    lab.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--config-dir=/etc/kubelet.d\n")
    lab.put("/var/lib/kubelet/config.yaml", f"{KIND}featureGates: {{EventedPLEG: true}}\n")
    lab.put("/etc/kubelet.d/10.conf", f"{KIND}featureGates: {{Other: true}}\n")
    assert on(lab)
    lab.put("/etc/kubelet.d/20.conf", f"{KIND}featureGates: {{EventedPLEG: false}}\n")
    assert not on(lab)
