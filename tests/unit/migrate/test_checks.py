"""What is said before a move, of two runtimes that are asked by gRPC."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence

import pytest
from moving import Peer, digest, kubelet_of, said
from node_lab import Lab
from peers import v1

from criproxy.inspection.findings import Finding, State
from criproxy.migrate import checks
from criproxy.migrate.checks import examine
from criproxy.node.kubelet import NodeError

RIGHT, BROKEN, SAID = State.RIGHT, State.BROKEN, State.NOT_APPLICABLE
SYSTEMD = '{"containerd": {"runtimes": {"runc": {"options": {"SystemdCgroup": true}}}}, "sandboxImage": "pause:1"}'
NET = (
    '{"Networks": [{"IFName": "eth0", "Config": {"Name": "n", "Source":'
    ' "{\\"name\\": \\"n\\", \\"type\\": \\"calico\\"}"}}]}'
)
ID = "ab" * 32
LOG = "/var/log/pods/default_web_web/main/0.log"


class Scene(NamedTuple):
    """A node with two containerds, of which one has a pod that the other could have, too."""

    lab: Lab
    old: Peer
    new: Peer

    def all(self) -> List[Finding]:
        """What is said; the node is in a directory, in which sockets are elsewhere."""
        return examine(self.old.path, self.new.path, self.lab.tree, kubelet_of(self.lab), refuse)

    def found(self, what: str, subject: str = "new runtime") -> Finding:
        (found,) = (each for each in self.all() if (each.subject, each.what) == (subject, what))
        return found


def refuse(command: Sequence[str]) -> str:
    raise NodeError(f"{command[0]} cannot be run")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    lab = Lab(tmp_path / "root", "kubeadm", "1.33.1")
    old, new = Peer(tmp_path / "old.sock"), Peer(tmp_path / "new.sock")
    for peer in (old, new):
        peer.info = {"config": SYSTEMD, "cniconfig": NET}
        peer.has(digest("1"), "web:1")
        peer.has(digest("2"), "pause:1")
        peer.image_folder = "/var/lib"
        peer.runtime.start()
    old.run("web", digest("1"), ID, log=LOG)
    old.pids[ID] = 77
    lab.put("/proc/77/cgroup", f"0::/kubepods.slice/kubepods-pod7.slice/cri-containerd-{ID}.scope\n")
    lab.put(LOG, "")
    yield Scene(lab, old, new)
    old.runtime.stop()
    new.runtime.stop()


def test_all_that_is_right_is_said_in_its_order(scene: Scene) -> None:
    assert said(scene.all()) == [
        "old runtime: answer: right",
        "old runtime: status: right",
        "new runtime: answer: right",
        "new runtime: status: right",
        "new runtime: lists: right",
        "new runtime: cgroup driver: right",
        "kubelet: cgroup root: right",
        "new runtime: network: right",
        "new runtime: images: right",
        "new runtime: sandbox image: right",
        "new runtime: disk: right",
        "old runtime: logs: right",
        # The peer's socket is not the one that cAdvisor asks.
        "kubelet: statistics: not applicable",
        "kubelet: events: right",
    ]


@pytest.mark.parametrize("name", ["old", "new"])
def test_a_runtime_that_does_not_answer_is_all_that_is_said(name: str, scene: Scene) -> None:
    peers: Dict[str, Peer] = {"old": scene.old, "new": scene.new}
    peers[name].runtime.stop()
    found = scene.found("answer", f"{name} runtime")
    assert (found.state, found.text) == (BROKEN, f"{peers[name].path}: No such file or directory")
    assert {each.what for each in scene.all()} == {"answer", "status"}


def test_a_runtime_that_is_not_done_in_time_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_TIME", 0.0)
    assert [each.text.partition(": ")[2] for each in scene.all()] == ["it has not answered everything within 0 s"] * 2


def test_the_old_runtime_is_no_new_one(scene: Scene) -> None:
    (found,) = examine(scene.old.path, scene.old.path, scene.lab.tree, None, refuse)
    assert (found.state, found.remedy) == (BROKEN, "name another runtime")


@pytest.mark.parametrize("condition", ["RuntimeReady", "NetworkReady"])
@pytest.mark.parametrize("name", ["old", "new"])
def test_a_runtime_that_is_not_ready_refuses_the_move(name: str, condition: str, scene: Scene) -> None:
    {"old": scene.old, "new": scene.new}[name].conditions[condition] = False
    found = scene.found("status", f"{name} runtime")
    assert (found.state, found.text) == (BROKEN, f"{condition} is false")


def test_a_runtime_that_does_not_answer_everything_refuses_the_move(scene: Scene) -> None:
    del scene.new.runtime.answers["ListContainers"]
    assert scene.found("answer").state is RIGHT  # an empty answer is one
    scene.new.runtime.answers["ListContainers"] = scene.new.runtime.answers["RuntimeConfig"]
    found = scene.found("answer")
    assert (found.state, "v1, but ListContainers: UNIMPLEMENTED" in found.text) == (BROKEN, True)


def test_two_sockets_of_one_runtime_refuse_the_move(scene: Scene) -> None:
    scene.new.pods = scene.old.pods
    found = scene.found("lists")
    assert (found.state, "pod-web" in found.text) == (BROKEN, True)


def test_another_cgroup_driver_refuses_the_move(scene: Scene) -> None:
    scene.new.tells_driver(1)
    found = scene.found("cgroup driver")
    assert (found.state, found.text.startswith("cgroupfs, and not systemd, that of the running")) == (BROKEN, True)


def test_addresses_that_both_give_away_refuse_the_move(scene: Scene) -> None:
    for peer, folder in ((scene.old, "/a"), (scene.new, "/b")):
        ipam = f'{{\\"type\\": \\"host-local\\", \\"subnet\\": \\"10.0.0.0/8\\", \\"dataDir\\": \\"{folder}\\"}}'
        peer.info["cniconfig"] = NET.replace('\\"calico\\"', f'\\"bridge\\", \\"ipam\\": {ipam}')
    assert scene.found("network").state is BROKEN


class TestImages:
    def test_that_are_not_there_are_copied(self, scene: Scene) -> None:
        scene.new.images.clear()
        scene.new.has(digest("2"), "pause:1")
        found = scene.found("images")
        assert (found.state, found.text.startswith("1 of the running pods' are not there, or others")) == (SAID, True)
        assert "web:1" in found.text

    def test_that_cannot_be_told_refuse_the_move(self, scene: Scene) -> None:
        scene.old.runtime.answers["ImageStatus"] = lambda *_: b"\xff"
        found = scene.found("images")
        assert (found.state, "which images are there cannot be told" in found.text) == (BROKEN, True)

    def test_of_sandboxes_that_are_not_there_are_copied_too(self, scene: Scene) -> None:
        del scene.new.images["pause:1"]
        found = scene.found("sandbox image")
        assert (found.state, found.text.startswith("pause:1 is not there: it is copied")) == (SAID, True)
        assert scene.found("images").state is RIGHT

    @pytest.mark.parametrize(("name", "how"), [("containerd", "pinned_images"), ("cri-o", "crictl images")])
    def test_of_sandboxes_that_are_not_known_are_said_with_how_to_look(self, name: str, how: str, scene: Scene) -> None:
        scene.new.info = {}
        scene.new.runtime.answers["Version"] = v1.VersionResponse(runtime_name=name, runtime_version="2.0")
        found = scene.found("sandbox image")
        assert (found.state, how in found.text) == (SAID, True)


class TestDisk:
    def test_has_room_for_three_times_what_is_lacking(self, scene: Scene) -> None:
        del scene.new.images["web:1"]
        found = scene.found("disk")
        assert found.state is RIGHT
        assert found.text.endswith("are free for images at /var/lib, and about 3.0 MiB are needed")

    def test_without_that_refuses_the_move(self, scene: Scene) -> None:
        disk = os.statvfs("/")
        scene.old.has(digest("1"), "web:1", size=disk.f_blocks * disk.f_frsize)
        del scene.new.images["web:1"]
        found = scene.found("disk")
        assert (found.state, found.remedy.startswith("make room there")) == (BROKEN, True)

    @pytest.mark.parametrize(
        ("folder", "text"),
        [("", "it does not say where its images are; it takes about 0.0 MiB"), ("/x", "/x, where its images are: No")],
    )
    def test_that_is_not_known_is_said(self, folder: str, text: str, scene: Scene) -> None:
        scene.new.image_folder = folder
        found = scene.found("disk")
        assert (found.state, found.text.startswith(text)) == (SAID, True)


def test_a_configuration_of_kubelet_s_that_cannot_be_read_refuses_the_move(scene: Scene) -> None:
    scene.lab.put("/var/lib/kubelet/config.yaml", "cgroupRoot: 7\n")
    found = scene.found("cgroup root")
    assert (found.state, "is not a string" in found.text, found.remedy) == (
        BROKEN,
        True,
        "mend that, and do this again",
    )


def test_a_file_that_cannot_be_read_refuses_the_move(scene: Scene) -> None:
    (scene.lab.root / "var/lib/kubelet/config.yaml").unlink()
    (scene.lab.root / "var/lib/kubelet/config.yaml").mkdir()
    found = scene.found("cgroup root")
    assert (found.state, found.text) == (BROKEN, "/var/lib/kubelet/config.yaml: Is a directory")
