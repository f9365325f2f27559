"""Whether a move leaves the cgroups of running pods where kubelet looks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest
from moving import containerd, move, running
from node_lab import Lab

from criproxy.inspection.findings import Finding, State
from criproxy.inspection.interview import Told
from criproxy.migrate import cgroups
from criproxy.migrate.side import Kind, Running, Side
from criproxy.node.kubelet import NodeError

RIGHT, BROKEN, UNKNOWN = State.RIGHT, State.BROKEN, State.NOT_APPLICABLE
ID = "ab" * 32
BY_SYSTEMD = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7.slice/cri-containerd-{ID}.scope"
BY_CGROUPFS = f"/kubepods/burstable/pod7/{ID}"
DOCKER = Side("/run/cri-dockerd.sock", Told(name="docker 20.10"), Kind.DOCKER, 20)
KIND = "kind: KubeletConfiguration\n"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A kubelet that is told systemd."""
    return Lab(tmp_path, "kubeadm", "1.30.0")


def driver(lab: Lab, old: Side, new: Side, with_kubelet: bool = True) -> Finding:
    (finding,) = cgroups.driver(move(lab, old, new, with_kubelet))
    return finding


def root(lab: Lab, old: Side, with_kubelet: bool = True) -> Finding:
    (finding,) = cgroups.root(move(lab, old, containerd(), with_kubelet))
    return finding


class TestDriver:
    def test_is_the_same_of_both_runtimes_kubelet_and_what_runs(self, lab: Lab) -> None:
        old = containerd(True, running=[running(lab, BY_SYSTEMD)])
        found = driver(lab, old, containerd(True))
        assert (found.subject, found.state) == ("new runtime", RIGHT)
        assert found.text == (
            "systemd, as that of the running container ababababababa and the old runtime's and kubelet's (cgroupDriver"
            " in /var/lib/kubelet/config.yaml, line 2)"
        )

    @pytest.mark.parametrize(
        ("major", "table"),
        [
            (1, '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]'),
            (2, "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]"),
        ],
    )
    def test_of_another_kind_refuses_the_move_with_the_line_that_makes_it_the_same(
        self, major: int, table: str, lab: Lab
    ) -> None:
        found = driver(lab, containerd(True), containerd(False, major))
        assert (found.subject, found.state) == ("new runtime", BROKEN)
        assert found.text.startswith(
            "cgroupfs, and not systemd, the old runtime's: kubelet would kill all running pods"
        )
        assert found.remedy.startswith(f"SystemdCgroup = true below {table}")

    def test_of_what_runs_counts_before_what_the_old_runtime_tells(self, lab: Lab) -> None:
        old = containerd(True, running=[running(lab, BY_CGROUPFS)])
        found = driver(lab, old, containerd(True), with_kubelet=False)
        assert found.state is BROKEN
        assert "SystemdCgroup = false" in found.remedy
        assert driver(lab, old, containerd(False), with_kubelet=False).state is RIGHT

    def test_of_kubelet_must_be_that_of_the_new_runtime(self, lab: Lab) -> None:
        found = driver(lab, containerd(False), containerd(False))
        assert (found.subject, found.state) == ("kubelet", BROKEN)
        assert found.remedy == "set cgroupDriver to cgroupfs in kubelet's configuration"

    @pytest.mark.parametrize(
        ("version", "gates", "state"),
        [
            ("1.30.0", "", BROKEN),
            ("1.30.0", "featureGates: {KubeletCgroupDriverFromCRI: true}\n", RIGHT),
            ("1.31.0", "", RIGHT),
            ("1.31.0", "featureGates: {KubeletCgroupDriverFromCRI: false}\n", BROKEN),
        ],
    )
    def test_of_a_newer_kubelet_is_what_the_new_runtime_tells_it(
        self, version: str, gates: str, state: State, lab: Lab
    ) -> None:
        lab.version = version
        lab.put("/var/lib/kubelet/config.yaml", f"{KIND}cgroupDriver: systemd\n{gates}")
        new = Side("/n", Told(cgroup_driver="cgroupfs"))
        assert driver(lab, containerd(False), new).state is state

    @pytest.mark.parametrize(("said", "state"), [("cgroupfs", BROKEN), ("systemd", RIGHT), ("none", RIGHT)])
    def test_of_docker_is_what_docker_says_of_itself(self, said: str, state: State, lab: Lab) -> None:
        docker = DOCKER._replace(docker={"CgroupDriver": said})
        assert driver(lab, docker, containerd(True)).state is state

    @pytest.mark.parametrize(
        ("kind", "how"),
        [
            (Kind.CRIO, 'cgroup_manager = "cgroupfs" and conmon_cgroup = "pod" below [crio.runtime]'),
            (Kind.DOCKER, '"exec-opts": ["native.cgroupdriver=cgroupfs"] in /etc/docker/daemon.json'),
            (Kind.OTHER, "the cgroup driver cgroupfs in its own configuration"),
        ],
    )
    def test_of_each_runtime_is_set_in_its_own_way(self, kind: Kind, how: str, lab: Lab) -> None:
        new = Side("/n", Told(cgroup_driver="systemd"), kind)
        assert driver(lab, containerd(False), new).remedy.startswith(how)
        untold = driver(lab, containerd(False), new._replace(told=Told()))
        assert untold.state is UNKNOWN
        assert how in untold.text

    def test_that_nobody_knows_is_said_with_how_to_look(self, lab: Lab) -> None:
        found = driver(lab, DOCKER, containerd(True), with_kubelet=False)
        assert (found.subject, found.state) == ("old runtime", UNKNOWN)
        assert "SystemdCgroup = true below" in found.text

    def test_by_runtimeconfig_needs_no_kubelet(self, lab: Lab) -> None:
        old, new = (Side(path, Told(cgroup_driver="systemd")) for path in ("/o", "/n"))
        assert driver(lab, old, new, with_kubelet=False).text == "systemd, as the old runtime's"

    @pytest.mark.parametrize("cgroup", [BY_CGROUPFS.replace("ab", "cd"), ""])
    def test_of_a_process_that_is_no_container_s_shows_nothing(self, cgroup: str, lab: Lab) -> None:
        found = driver(lab, DOCKER._replace(running=[running(lab, cgroup)]), containerd(True))
        assert (found.state, "running container" in found.text) == (RIGHT, False)

    def test_of_a_containerd_without_its_default_handler_is_not_known(self, lab: Lab) -> None:
        assert cgroups.driver_of(containerd(config={"containerd": {"runtimes": {"kata": {}}}})) == ""


class TestRoot:
    @pytest.mark.parametrize(
        ("told", "cgroup", "state"),
        [
            ("", BY_SYSTEMD, RIGHT),
            ("", BY_CGROUPFS, RIGHT),
            ("/", BY_CGROUPFS, RIGHT),
            ("/pods", BY_CGROUPFS, BROKEN),
            ("/pods", f"/pods{BY_CGROUPFS}", RIGHT),
            ("pods/of-mine", f"/pods/of-mine{BY_CGROUPFS}", RIGHT),
            ("", f"/pods{BY_CGROUPFS}", BROKEN),
            ("/pods", f"/pods.slice/pods-kubepods.slice/pods-kubepods-pod7.slice/cri-containerd-{ID}.scope", RIGHT),
            ("/a/b", f"/a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-pod7.slice/crio-{ID}.scope/container", RIGHT),
            ("/a-b", f"/a_b.slice/a_b-kubepods.slice/a_b-kubepods-pod7.slice/crio-{ID}.scope", RIGHT),
            ("", f"/../kubepods/pod7/{ID}", UNKNOWN),
            ("", f"/docker/{ID}", UNKNOWN),
        ],
    )
    def test_is_where_the_running_pods_are(self, told: str, cgroup: str, state: State, lab: Lab) -> None:
        lab.put("/var/lib/kubelet/config.yaml", f"{KIND}cgroupRoot: {told}\n")
        assert root(lab, containerd(running=[running(lab, cgroup)])).state is state

    def test_elsewhere_is_put_back_into_kubelet_s_configuration(self, lab: Lab) -> None:
        lab.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--cgroup-root=/other\n")
        found = root(lab, containerd(running=[running(lab, f"/pods{BY_CGROUPFS}")]))
        assert (found.subject, found.state) == ("kubelet", BROKEN)
        assert found.text.startswith("/other (--cgroup-root in ")
        assert found.remedy == "set cgroupRoot to /pods in kubelet's configuration"

    def test_is_shown_by_the_first_container_that_is_one_of_kubelet_s(self, lab: Lab) -> None:
        stray = running(lab, f"/docker/{'cd' * 32}", "cd" * 32, 78)
        own = running(lab, BY_CGROUPFS)
        assert root(lab, containerd(running=[Running("x", "", 0), stray, own])).state is RIGHT

    @pytest.mark.parametrize("with_kubelet", [True, False])
    def test_that_nothing_shows_is_not_known(self, with_kubelet: bool, lab: Lab) -> None:
        assert root(lab, containerd(), with_kubelet).state is UNKNOWN

    def test_in_a_configuration_that_cannot_be_read_is_an_error(self, lab: Lab) -> None:
        lab.put("/var/lib/kubelet/config.yaml", "cgroupRoot: 7\n")
        with pytest.raises(NodeError):
            root(lab, containerd())


def test_without_a_configuration_that_can_be_read_kubelet_s_driver_is_not_known(lab: Lab) -> None:
    lab.put("/var/lib/kubelet/config.yaml", "cgroupDriver: 7\n")
    found: Optional[Finding] = driver(lab, DOCKER, Side("/n", Told()))
    assert found is not None
    assert (found.state, "is not a string" in found.text) == (UNKNOWN, True)
