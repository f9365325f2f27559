"""What kubelet looks at beside the CRI, and what a move is to that."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import pytest
from moving import containerd, move
from node_lab import Lab

from criproxy.inspection.findings import Finding, State
from criproxy.inspection.interview import Told
from criproxy.migrate import kubelets
from criproxy.migrate.move import Move
from criproxy.migrate.side import Kind, Running, Side

RIGHT, SAID = State.RIGHT, State.NOT_APPLICABLE
OLD = containerd()
KIND = "kind: KubeletConfiguration\n"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, "kubeadm", "1.33.1")


def found(
    look: Callable[[Move], Iterator[Finding]], lab: Lab, new: Side, old: Side = OLD, kubelet: bool = True
) -> Finding:
    (finding,) = look(move(lab, old, new, kubelet))
    return finding


class TestStatistics:
    @pytest.mark.parametrize(
        ("kind", "path", "version", "state", "text"),
        [
            (Kind.CONTAINERD, "/var/run/containerd/containerd.sock", "1.33.1", RIGHT, "asks /run/containerd/"),
            (Kind.CONTAINERD, "/run/b.sock", "1.33.1", SAID, "--containerd=/run/b.sock among kubelet's flags, or the"),
            (Kind.CONTAINERD, "/run/b.sock", "1.37.0", SAID, "it takes feature gate PodAndContainerStatsFromCRI"),
            (Kind.CRIO, "/var/run/crio/crio.sock", "1.33.1", RIGHT, "asks /run/crio/crio.sock"),
            (Kind.CRIO, "/run/b.sock", "1.33.1", SAID, "it takes feature gate"),
            (Kind.DOCKER, "/run/cri-dockerd.sock", "1.33.1", SAID, "does not know the new runtime"),
            (Kind.DOCKER, "/run/dockershim.sock", "1.23.0", RIGHT, "asks /run/docker.sock"),
            (Kind.OTHER, "/run/x.sock", "1.33.1", SAID, "does not know the new runtime"),
        ],
    )
    def test_are_those_of_the_runtime_that_cadvisor_asks(
        self, kind: Kind, path: str, version: str, state: State, text: str, lab: Lab
    ) -> None:
        lab.version = version
        finding = found(kubelets.statistics, lab, Side(path, Told(), kind))
        assert (finding.state, text in finding.text) == (state, True)

    def test_are_those_of_the_containerd_that_kubelet_is_told(self, lab: Lab) -> None:
        lab.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--containerd=/run/b.sock\n")
        assert found(kubelets.statistics, lab, containerd(path="/run/b.sock")).state is RIGHT
        assert found(kubelets.statistics, lab, containerd()).state is SAID

    def test_of_a_socket_that_is_a_link_are_those_of_what_it_leads_to(self, lab: Lab) -> None:
        lab.put("/run/b.sock", "")
        (lab.root / "run/containerd").mkdir()
        (lab.root / "run/containerd/containerd.sock").symlink_to("/run/b.sock")
        assert found(kubelets.statistics, lab, containerd(path="/run/b.sock")).state is RIGHT

    def test_by_the_cri_are_those_of_both(self, lab: Lab) -> None:
        lab.put("/var/lib/kubelet/config.yaml", f"{KIND}featureGates: {{PodAndContainerStatsFromCRI: true}}\n")
        assert found(kubelets.statistics, lab, Side("/run/x.sock", Told())).state is RIGHT


@pytest.mark.parametrize(("gate", "state"), [("true", SAID), ("false", RIGHT)])
def test_a_kubelet_that_depends_on_events_is_told_what_happens(gate: str, state: State, lab: Lab) -> None:
    lab.put("/var/lib/kubelet/config.yaml", f"{KIND}featureGates: {{EventedPLEG: {gate}}}\n")
    assert found(kubelets.events, lab, containerd()).state is state


@pytest.mark.parametrize("look", [kubelets.statistics, kubelets.events])
def test_without_a_kubelet_there_is_nothing_to_look_at(look: Callable[[Move], Iterator[Finding]], lab: Lab) -> None:
    finding = found(look, lab, containerd(), kubelet=False)
    assert (finding.state, finding.text) == (SAID, "there is no kubelet to ask")


class TestLogs:
    @staticmethod
    def look(lab: Lab, *paths: str, kubelet: bool = True) -> Finding:
        old = containerd(running=[Running("ab" * 32, path, 0) for path in paths])
        return found(kubelets.logs, lab, containerd(), old, kubelet)

    @pytest.mark.parametrize("kubelet", [True, False])
    def test_below_kubelet_s_folder_stay_there(self, kubelet: bool, lab: Lab) -> None:
        lab.put("/var/log/pods/a_b_c/main/0.log", "")
        finding = self.look(lab, "/var/log/pods/a_b_c/main/0.log", kubelet=kubelet)
        assert (finding.state, finding.text) == (RIGHT, "those of 1 running containers are below /var/log/pods")

    def test_may_be_elsewhere_if_kubelet_is_told_so(self, lab: Lab) -> None:
        lab.put("/var/lib/kubelet/config.yaml", f"{KIND}podLogsDir: /srv/pods/\n")
        assert self.look(lab, "/srv/pods/a/0.log").state is RIGHT
        assert self.look(lab, "/var/log/pods/a/0.log").state is SAID

    def test_that_are_docker_s_stay_for_as_long_as_docker_s_folder_does(self, lab: Lab) -> None:
        for name in ("0", "1"):
            link = lab.root / f"var/log/pods/a/main/{name}.log"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"/var/lib/docker/containers/{name}/{name}-json.log")
        finding = self.look(lab, "/var/log/pods/a/main/0.log", "/var/log/pods/a/main/1.log")
        assert (finding.subject, finding.state) == ("old runtime", SAID)
        assert "links into /var/lib/docker/containers (2): keep that" in finding.text

    def test_below_a_folder_that_is_a_link_are_there(self, lab: Lab) -> None:
        lab.put("/srv/log/pods/a/0.log", "")
        (lab.root / "var/log").symlink_to("/srv/log")
        assert self.look(lab, "/var/log/pods/a/0.log").state is RIGHT

    def test_of_a_container_without_any_are_told(self, lab: Lab) -> None:
        finding = self.look(lab, "")
        assert (finding.state, "none of ababababababa" in finding.text) == (SAID, True)
