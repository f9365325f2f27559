"""What is said of the node around criproxy."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Dict, Iterator, List

import pytest
from node_lab import VERSIONS, FakeRuntimes, Lab

from criproxy.config import parse
from criproxy.inspection.findings import Finding, State
from criproxy.inspection.node import NodeLook, Seen, listening
from criproxy.node.manager import UnitState
from criproxy.node.plan import Wishes

IN_FORCE = "{ path=/usr/bin/kubelet ; argv[]=/usr/bin/kubelet --container-runtime-endpoint=unix:///run/criproxy.sock }"
UNITS = ("criproxy.socket", "criproxy.service", "kubelet.service")
RIGHT, DEGRADED, BROKEN, SKIPPED = State.RIGHT, State.DEGRADED, State.BROKEN, State.NOT_APPLICABLE


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A node as kubeadm makes it, not turned over."""
    return Lab(tmp_path, "kubeadm", VERSIONS["kubeadm"])


@pytest.fixture
def turned(lab: Lab) -> Lab:
    """One that is turned over, and with which all is well."""
    lab.node.apply(Wishes())
    lab.manager.properties["kubelet.service", "ExecStart"] = IN_FORCE
    lab.manager.properties["kubelet.service", "After"] = "basic.target criproxy.service"
    for unit in UNITS:
        lab.manager.properties[unit, "UnitFileState"] = "enabled"
    return lab


def seen(lab: Lab) -> Seen:
    return NodeLook(lab.tree, lab.manager, lab.ask, lab.runtimes).seen()


def found(lab: Lab, subject: str, what: str) -> Finding:
    (finding,) = (each for each in seen(lab).findings if (each.subject, each.what) == (subject, what))
    return finding


def test_all_is_right_on_a_node_that_is_turned_over_and_well(turned: Lab) -> None:
    assert [(each.subject, each.what, each.state) for each in seen(turned).findings] == [
        ("kubelet", "node", RIGHT),
        ("kubelet", "volumes", RIGHT),
        ("units", "enabled", RIGHT),
        ("units", "order", RIGHT),
    ]


def test_what_is_not_well_is_told_with_what_to_do(turned: Lab) -> None:
    turned.manager.states["kubelet.service"] = UnitState("loaded", "failed", "failed", 0, 0, "exit-code")
    finding = found(turned, "kubelet", "node")
    assert finding.state is BROKEN
    assert finding.text.startswith("kubelet.service is failed")
    assert "systemctl start kubelet.service" in finding.remedy


def test_what_has_drifted_should_be_better_and_kubelet_works(turned: Lab) -> None:
    turned.put(
        "/var/lib/kubelet/kubeadm-flags.env", "KUBELET_KUBEADM_ARGS=--container-runtime-endpoint=unix:///x.sock\n"
    )
    finding = found(turned, "kubelet", "node")
    assert finding.state is DEGRADED
    assert "criproxy node apply" in finding.remedy


def test_a_move_is_said_to_be_under_way(turned: Lab) -> None:
    turned.node.apply(Wishes(primary="crio", retiring="/run/containerd/containerd.sock"))
    finding = found(turned, "kubelet", "move")
    assert finding.state is RIGHT
    assert finding.text.startswith("this node moves to /run/crio/crio.sock")


def test_a_node_that_is_not_turned_over_is_not_right(lab: Lab) -> None:
    finding = found(lab, "kubelet", "node")
    assert (finding.state, finding.text) == (DEGRADED, "kubelet is not on criproxy (1.33.1)")
    assert found(lab, "units", "enabled, order").state is SKIPPED


def test_a_kubelet_may_be_on_criproxy_by_a_setting_of_its_own(lab: Lab) -> None:
    flags = "--container-runtime-endpoint=unix:///var/run/criproxy.sock"
    lab.put("/var/lib/kubelet/kubeadm-flags.env", f"KUBELET_KUBEADM_ARGS={flags}\n")
    assert found(lab, "kubelet", "node").state is RIGHT


def test_a_node_without_kubelet_has_nothing_to_look_at(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "", "1.33.1")
    lab.manager.states["kubelet.service"] = UnitState("not-found", "inactive")
    finding = found(lab, "kubelet", "node")
    assert (finding.state, finding.text) == (SKIPPED, "kubelet is not on criproxy: kubelet is not installed")
    assert found(lab, "units", "order").state is SKIPPED
    assert seen(lab).driver.name == ""


def test_a_kubelet_that_cannot_be_understood_is_told(turned: Lab) -> None:
    turned.put("/usr/lib/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/wrapper kubelet\n")
    turned.put("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "")
    finding = found(turned, "kubelet", "node")
    assert (finding.state, "is not kubelet itself" in finding.text) == (DEGRADED, True)
    assert found(turned, "units", "order").state is RIGHT


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("state", "first"), [("disabled", ""), ("masked", "systemctl unmask {}, then ")])
def test_a_unit_that_does_not_start_with_the_node_is_told(unit: str, state: str, first: str, turned: Lab) -> None:
    turned.manager.properties[unit, "UnitFileState"] = state
    finding = found(turned, unit, "enabled")
    assert (finding.state, finding.remedy) == (DEGRADED, f"{first.format(unit)}systemctl enable {unit}")


def test_a_kubelet_that_may_start_first_is_told(turned: Lab) -> None:
    turned.manager.properties["kubelet.service", "After"] = "basic.target"
    assert found(turned, "units", "order").state is DEGRADED


def test_without_a_systemd_that_runs_there_are_no_units_to_look_at(turned: Lab) -> None:
    turned.manager.running = False
    assert found(turned, "units", "enabled").state is SKIPPED


OFF = "--enable-controller-attach-detach=false"


@pytest.mark.parametrize(
    ("flag", "driver", "state", "text"),
    [
        ("", False, RIGHT, "volumes of any CSI driver can be attached"),
        ("", True, RIGHT, "can be attached"),
        (OFF, False, RIGHT, f"{OFF}, and no CSI driver is on this node"),
        (OFF, True, DEGRADED, "none of its volumes can be attached"),
    ],
)
def test_a_csi_driver_needs_the_controller_that_attaches_volumes(
    flag: str, driver: bool, state: State, text: str, lab: Lab
) -> None:
    lab.put("/etc/default/kubelet", f"KUBELET_EXTRA_ARGS={flag}\n")
    if driver:
        lab.put("/var/lib/kubelet/plugins_registry/csi.test-reg.sock", "")
    finding = found(lab, "kubelet", "volumes")
    assert (finding.state, text in finding.text) == (state, True)


@pytest.mark.parametrize(
    ("version", "flags", "text", "name", "from_primary"),
    [
        ("1.30.0", "", "kind: KubeletConfiguration\ncgroupDriver: systemd\n", "systemd", False),
        (
            "1.30.0",
            "--cgroup-driver=cgroupfs",
            "kind: KubeletConfiguration\ncgroupDriver: systemd\n",
            "cgroupfs",
            False,
        ),
        ("1.30.0", "", "kind: KubeletConfiguration\n", "cgroupfs", False),
        ("1.31.0", "", "kind: KubeletConfiguration\n", "cgroupfs", True),
        ("1.20.0", "", "kind: KubeletConfiguration\ncgroupDriver: systemd\n", "systemd", False),
        ("1.30.0", "", "kind: KubeletConfiguration\ncgroupDriver: 7\n", "", False),
    ],
)
def test_kubelet_s_cgroup_driver_is_that_of_its_flag_or_of_its_configuration(
    version: str, flags: str, text: str, name: str, from_primary: bool, lab: Lab
) -> None:
    lab.version = version
    lab.put("/etc/default/kubelet", f"KUBELET_EXTRA_ARGS={flags}\n")
    lab.put("/var/lib/kubelet/config.yaml", text)
    driver = seen(lab).driver
    assert (driver.name, driver.from_primary) == (name, from_primary)


# What criproxy listens on.


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A socket with the right mode."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "c"))
        os.chmod(tmp_path / "c", 0o660)
        yield tmp_path / "c"


def heard(path: Path, runtimes: FakeRuntimes, *words: str) -> Dict[str, Finding]:
    """What is said of it, by what has been looked at."""
    config = parse(["--listen", str(path), "--connect", "/p.sock,alt.test:/a.sock", *words], {})
    all_of_it: List[Finding] = list(listening(config, runtimes))
    return {finding.what: finding for finding in all_of_it}


@pytest.fixture
def runtimes() -> FakeRuntimes:
    served = FakeRuntimes()
    served.served = {"": "/p.sock", "alt.test": "/a.sock"}
    return served


def test_all_is_right_with_a_criproxy_that_serves_what_it_is_told_to(path: Path, runtimes: FakeRuntimes) -> None:
    if os.getuid():
        pytest.skip("the socket is to be root's")
    assert {what: finding.state for what, finding in heard(path, runtimes).items()} == {
        "socket": RIGHT,
        "answer": RIGHT,
        "in force": RIGHT,
    }


def test_a_socket_that_is_not_there_is_told(tmp_path: Path, runtimes: FakeRuntimes) -> None:
    assert heard(tmp_path / "x", runtimes)["socket"].state is BROKEN


def test_a_file_in_the_socket_s_place_is_told(tmp_path: Path, runtimes: FakeRuntimes) -> None:
    (tmp_path / "x").touch()
    assert heard(tmp_path / "x", runtimes)["socket"].state is BROKEN


def test_a_socket_that_others_may_use_is_told(path: Path, runtimes: FakeRuntimes) -> None:
    os.chmod(path, 0o666)
    finding = heard(path, runtimes)["socket"]
    assert (finding.state, "(mode 0666)" in finding.text) == (DEGRADED, True)


def test_a_socket_of_another_group_than_the_configuration_s_is_told(path: Path, runtimes: FakeRuntimes) -> None:
    if os.getuid():
        pytest.skip("the socket is to be root's")
    assert heard(path, runtimes, "--socket-group", "7")["socket"].state is DEGRADED
    os.chown(path, 0, 7)
    assert heard(path, runtimes, "--socket-group", "7")["socket"].state is RIGHT


def test_a_criproxy_that_does_not_answer_is_told(path: Path, runtimes: FakeRuntimes) -> None:
    runtimes.unreachable[str(path)] = "no answer within 10 s"
    finding = heard(path, runtimes)["answer"]
    assert (finding.state, "no answer within 10 s" in finding.text) == (BROKEN, True)


def test_a_configuration_that_is_not_in_force_yet_is_told(path: Path, runtimes: FakeRuntimes) -> None:
    runtimes.served = {"": "/p.sock"}
    finding = heard(path, runtimes)["in force"]
    assert (finding.state, finding.remedy) == (DEGRADED, "systemctl reload criproxy")


def test_a_retiring_runtime_belongs_to_the_configuration(path: Path, runtimes: FakeRuntimes) -> None:
    assert heard(path, runtimes, "--retiring", "/r.sock")["in force"].state is DEGRADED
    runtimes.served["retiring"] = "/r.sock"
    assert heard(path, runtimes, "--retiring", "/r.sock")["in force"].state is RIGHT
    assert heard(path, runtimes)["in force"].state is DEGRADED


def test_somebody_else_on_the_socket_says_nothing_of_runtimes(path: Path, runtimes: FakeRuntimes) -> None:
    runtimes.served = {}
    assert heard(path, runtimes)["in force"].state is SKIPPED
