"""A node moves to another runtime, and back: what is refused, shown and done, and wherever it is killed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import pytest
from faults import Disk, Killed
from node_lab import FakeManager, Lab

from criproxy.inspection.findings import Finding, right, skipped, wrong
from criproxy.migrate import switch
from criproxy.migrate.images import Image
from criproxy.migrate.scene import Scene
from criproxy.migrate.switch import Runtimes
from criproxy.node import syntax
from criproxy.node.kubelet import DROP_IN, Kubelet, NodeError
from criproxy.node.manager import UnitState
from criproxy.node.plan import DEFAULTS, MOVE_NOTE, Wishes

SERVICE = "/etc/systemd/system/criproxy.service"
FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
CONTAINERD = "/run/containerd/containerd.sock"
CRIO = "/run/crio/crio.sock"
DOCKERSHIM = "/var/run/dockershim.sock"
SOCKET = "/run/criproxy.sock"
FITS = [right("new runtime", "answer", "cri-o 1.33"), skipped("new runtime", "disk", "it does not say")]


def image(name: str) -> Image:
    return Image(f"sha256:{name}", (name,), (name,), 1000, ("default/web",))


class Mover:
    """Moves a node, with two runtimes that are only said to fit, and somebody who only says yes or no."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.findings: List[Finding] = list(FITS)
        self.lacking: List[Image] = []
        self.answer = True
        self.examined: List[Tuple[str, str]] = []
        self.shown: List[Finding] = []
        self.copied: List[Image] = []
        self.copy_fails = ""

    @property
    def said(self) -> List[str]:
        return self.lab.said

    def to(self, name: str) -> bool:
        return switch.move(self._scene(), self._runtimes(), name, self.shown.extend, None)

    def back(self) -> bool:
        return switch.back(self._scene(), None)

    def refused(self, name: str) -> str:
        """Why the node is not moved there; nothing is changed."""
        before, done = self.lab.files(), list(self.lab.manager.done)
        with pytest.raises(NodeError) as caught:
            self.to(name)
        assert self.lab.files() == before
        assert self.lab.manager.done == done
        return str(caught.value)

    def _scene(self) -> Scene:
        lab = self.lab
        return Scene(lab.tree, lab.manager, lab.ask, lab.runtimes, lambda: lab.node, lab.said.append, self._agreed)

    def _agreed(self) -> bool:
        self.said.append("?")
        return self.answer

    def _runtimes(self) -> Runtimes:
        return Runtimes(self._examine, lambda old, new: self.lacking, self._copy)

    def _examine(self, old: str, new: str, kubelet: Kubelet) -> Sequence[Finding]:
        self.examined.append((old, new))
        return self.findings

    def _copy(self, lacking: Sequence[Image], old: str, new: str, say: Callable[[str], None]) -> None:
        if self.copy_fails:
            raise NodeError(self.copy_fails)
        self.copied += lacking


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here while a test runs."""
    monkeypatch.setattr(os, "fsync", os.fstat)


def kubeadm(root: Path, on_criproxy: bool, layout: str = "kubeadm", version: str = "1.33.1") -> Mover:
    """A node as kubeadm makes it."""
    lab = Lab(root, layout, version)
    lab.serve()
    if on_criproxy:
        lab.node.apply(Wishes(other=""))
        lab.manager.done.clear()
        lab.said.clear()
    return Mover(lab)


@pytest.fixture
def turned(tmp_path: Path) -> Mover:
    """A node that is on criproxy."""
    return kubeadm(tmp_path, True)


@pytest.fixture
def untouched(tmp_path: Path) -> Mover:
    """One that is not."""
    return kubeadm(tmp_path, False)


@pytest.fixture
def moving(turned: Mover) -> Mover:
    """One that moves from containerd to CRI-O already."""
    assert turned.to("crio")
    turned.lab.manager.done.clear()
    turned.said.clear()
    return turned


def steps(mover: Mover) -> List[str]:
    return [" ".join(words) for words in mover.lab.manager.done]


def configured(mover: Mover) -> Dict[str, str]:
    found = syntax.variables("", mover.lab.text(DEFAULTS))
    return {name: found[name] for name in found if name.startswith("CRI_")}


class TestANodeThatIsOnCriproxy:
    def test_is_moved_by_one_reload(self, turned: Mover) -> None:
        assert turned.to("crio")
        assert configured(turned) == {"CRI_PRIMARY": CRIO, "CRI_OTHER": "", "CRI_RETIRING": CONTAINERD}
        assert turned.lab.runtimes.served == {"": CRIO, "retiring": CONTAINERD}
        assert [step for step in steps(turned) if step.startswith(("reload", "restart", "stop"))] == [
            "reload criproxy.service"
        ]

    def test_has_criproxy_for_more_than_the_move(self, turned: Mover) -> None:
        turned.to("crio")
        assert not (turned.lab.root / MOVE_NOTE[1:]).exists()

    def test_is_moved_by_a_path_too(self, turned: Mover) -> None:
        assert turned.to("unix:///run/b.sock")
        assert turned.lab.runtimes.served == {"": "/run/b.sock", "retiring": CONTAINERD}

    def test_keeps_its_alternative_runtimes(self, turned: Mover) -> None:
        turned.lab.node.apply(Wishes(other="x.y:/run/x.sock"))
        assert turned.to("crio")
        assert turned.lab.runtimes.served == {"": CRIO, "x.y": "/run/x.sock", "retiring": CONTAINERD}


class TestANodeThatIsNotOnCriproxy:
    def test_is_put_on_it_for_the_time_of_the_move(self, untouched: Mover) -> None:
        before = untouched.lab.files()
        assert untouched.to("crio")
        lab = untouched.lab
        assert untouched.examined == [(CONTAINERD, CRIO)]
        assert configured(untouched) == {"CRI_PRIMARY": CRIO, "CRI_OTHER": "", "CRI_RETIRING": CONTAINERD}
        assert lab.kubelet_has == lab.text(DROP_IN)
        assert (lab.root / MOVE_NOTE[1:]).exists()
        lab.runtimes.listed = []
        lab.node.revert()
        assert {path: seen for path, seen in lab.files().items() if path != DEFAULTS[1:]} == before

    def test_gets_nothing_that_it_has_not_asked_for(self, untouched: Mover) -> None:
        untouched.to("crio")
        assert "--enable-controller-attach-detach" not in untouched.lab.text(DROP_IN)

    def test_keeps_the_runtimes_that_its_operator_has_configured(self, untouched: Mover) -> None:
        untouched.lab.put(DEFAULTS, "CRI_PRIMARY=/run/other.sock\nCRI_OTHER=virtlet.cloud:/run/virtlet.sock\n")
        untouched.to("crio")
        assert untouched.lab.runtimes.served == {
            "": CRIO,
            "virtlet.cloud": "/run/virtlet.sock",
            "retiring": CONTAINERD,
        }
        assert "--enable-controller-attach-detach" not in untouched.lab.text(DROP_IN)

    def test_may_have_kubelet_on_criproxy_by_a_setting_of_its_own(self, untouched: Mover) -> None:
        untouched.lab.put(FLAGS, f"KUBELET_KUBEADM_ARGS=--container-runtime-endpoint=unix://{SOCKET}\n")
        untouched.lab.put(DEFAULTS, "CRI_PRIMARY=/run/a.sock\nCRI_OTHER=\n")
        untouched.to("crio")
        assert untouched.examined == [("/run/a.sock", CRIO)]
        assert not (untouched.lab.root / MOVE_NOTE[1:]).exists()

    def test_has_a_dockershim_that_takes_the_place_of_the_one_in_kubelet(self, tmp_path: Path) -> None:
        mover = kubeadm(tmp_path, False, "kubeadm <= 1.10", "1.10.13")
        assert mover.to("containerd")
        assert mover.examined == [(DOCKERSHIM, CONTAINERD)]
        assert mover.lab.runtimes.served == {"": CONTAINERD, "retiring": DOCKERSHIM}
        assert "dockershim.service" in mover.lab.manager.running_units
        assert "# a dockershim of criproxy's takes the place of the one inside kubelet, and has its pods" in mover.said

    @pytest.mark.parametrize("version", ["1.19.0", "1.23.17"])
    def test_may_have_docker_where_no_dockershim_can_be_started(self, tmp_path: Path, version: str) -> None:
        why = kubeadm(tmp_path, False, "kubeadm <= 1.10", version).refused("containerd")
        assert why.startswith(f"kubelet {version} has dockershim inside itself only")
        assert "cri-dockerd" in why
        assert "is not known" in why


class TestWhatIsShown:
    def test_is_what_was_found_then_the_difference_then_what_will_happen(self, turned: Mover) -> None:
        turned.to("crio")
        assert turned.shown == FITS
        question = turned.said.index("?")
        assert f"+CRI_PRIMARY={CRIO}" in turned.said[:question]
        assert f"+CRI_RETIRING={CONTAINERD}" in turned.said[:question]
        words = [line for line in turned.said[:question] if line.startswith("# ") and "criproxy-own" not in line]
        assert words[-3:] == [
            f"# this node moves to {CRIO}: new pods start there, and those on {CONTAINERD} stay until they end",
            f"# the primary runtime ({CRIO}) answers: containerd 1.7",
            "# kubelet is not restarted; no container is",
        ]

    def test_says_that_kubelet_is_restarted_where_it_is(self, untouched: Mover) -> None:
        untouched.to("crio")
        assert "# criproxy is put between kubelet and both for the time of the move" in untouched.said
        assert "# kubelet is restarted once, since its flags change; no container is" in untouched.said

    def test_says_so_of_one_that_runs_without_its_drop_in(self, turned: Mover) -> None:
        words = ("/usr/bin/kubelet", *turned.lab.node.plan(Wishes()).kubelet.flags)  # type: ignore[union-attr]
        pid = turned.lab.manager.state("kubelet.service").pid
        turned.lab.put(f"/proc/{pid}/cmdline", "".join(f"{word}\0" for word in words))
        turned.answer = False
        turned.to("crio")
        assert "# kubelet is restarted once, since its flags change; no container is" in turned.said

    def test_is_not_done_by_a_no(self, turned: Mover) -> None:
        before = turned.lab.files()
        turned.answer = False
        turned.lacking = [image("a")]
        assert not turned.to("crio")
        assert turned.lab.files() == before
        assert steps(turned) == []
        assert turned.copied == []

    def test_ends_with_the_next_step(self, turned: Mover) -> None:
        turned.to("crio")
        assert turned.said[-1].startswith(
            f"next: criproxy status shows what is left on {CONTAINERD}; when nothing is, "
        )


class TestImagesThatTheNewRuntimeLacks:
    def test_are_named_and_copied_before_the_switch(self, turned: Mover) -> None:
        turned.lacking = [image(name) for name in "abcde"]
        assert turned.to("crio")
        assert f"# images are copied to {CRIO} first: a, b, c and 2 more" in turned.said
        assert turned.copied == turned.lacking

    def test_keep_the_node_where_it_is_if_that_fails(self, turned: Mover) -> None:
        turned.lacking, turned.copy_fails = [image("a")], "a cannot be brought to the new runtime"
        assert turned.refused("crio") == turned.copy_fails


class TestItIsRefused:
    @pytest.mark.parametrize("broken", [True, False])
    def test_where_the_runtimes_do_not_fit(self, turned: Mover, broken: bool) -> None:
        turned.findings.append(wrong("new runtime", "cgroup driver", "cgroupfs, and not systemd", "set it", broken))
        assert turned.refused("crio").startswith(f"this node is not moved to {CRIO}")
        assert turned.shown == turned.findings
        assert "?" not in turned.said

    @pytest.mark.parametrize("name", ["containerd", CONTAINERD, f"unix:///var{CONTAINERD}"])
    def test_to_where_the_node_is(self, turned: Mover, name: str) -> None:
        assert "already" in turned.refused(name)

    def test_to_what_is_neither_a_name_nor_a_path(self, turned: Mover) -> None:
        assert "'cri-oh' is neither one of " in turned.refused("cri-oh")

    def test_to_an_alternative_runtime(self, turned: Mover) -> None:
        turned.lab.node.apply(Wishes(other="x.y:/run/x.sock"))
        assert "criproxy drain x.y" in turned.refused("/run/x.sock")

    def test_to_a_third_runtime(self, moving: Mover) -> None:
        assert "A node is on two runtimes at most" in moving.refused("/run/c.sock")

    def test_to_the_one_that_is_retiring(self, moving: Mover) -> None:
        assert "criproxy node migrate --back goes back" in moving.refused("containerd")

    def test_from_a_runtime_with_an_image_service_of_its_own(self, turned: Mover) -> None:
        turned.lab.node.apply(Wishes(image_service="/run/lazy.sock"))
        assert "an image service of its own (/run/lazy.sock)" in turned.refused("crio")

    def test_from_one_that_kubelets_flags_give_it(self, untouched: Mover) -> None:
        untouched.lab.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--image-service-endpoint=unix:///run/lazy.sock\n")
        assert "an image service of its own (/run/lazy.sock)" in untouched.refused("crio")

    def test_without_kubelet(self, tmp_path: Path) -> None:
        assert kubeadm(tmp_path, False, "").refused("crio") == "kubelet is not installed: there is nothing to move"

    def test_without_systemd(self, turned: Mover) -> None:
        turned.lab.manager = FakeManager(running=False)
        assert turned.refused("crio").startswith("no systemd runs here")

    def test_where_the_daemon_does_not_take_it_and_all_is_put_back(self, turned: Mover) -> None:
        before = turned.lab.files()
        turned.lab.manager.follows.clear()
        with pytest.raises(NodeError, match="all changes have been undone"):
            turned.to("crio")
        assert turned.lab.files() == before

    def test_where_kubelet_does_not_live_with_it_and_all_is_put_back(self, untouched: Mover) -> None:
        before = untouched.lab.files()
        untouched.lab.manager.dies["kubelet.service"] = 3.0
        untouched.lab.manager.clock.sleep(-1.0)  # as old as it is it has not died yet
        with pytest.raises(NodeError, match=r"fails with its new flags.*all changes have been undone"):
            untouched.to("crio")
        assert untouched.lab.files() == before
        assert untouched.lab.kubelet_has == ""


class TestTheWayBack:
    def test_exchanges_both(self, moving: Mover) -> None:
        assert moving.back()
        assert moving.lab.runtimes.served == {"": CONTAINERD, "retiring": CRIO}
        assert "restart kubelet.service" not in steps(moving)
        assert "?" in moving.said

    def test_and_back_again(self, moving: Mover) -> None:
        moving.back()
        assert moving.back()
        assert moving.lab.runtimes.served == {"": CRIO, "retiring": CONTAINERD}

    def test_is_open_while_the_new_runtime_is_away(self, moving: Mover) -> None:
        moving.lab.runtimes.unreachable[CRIO] = "Connection refused"
        assert moving.back()
        assert moving.lab.runtimes.served == {"": CONTAINERD, "retiring": CRIO}

    def test_has_docker_as_it_was(self, tmp_path: Path) -> None:
        mover = kubeadm(tmp_path, False, "kubeadm <= 1.10", "1.10.13")
        mover.to("containerd")
        assert mover.back()
        assert mover.lab.runtimes.served == {"": DOCKERSHIM, "retiring": CONTAINERD}
        assert "stop dockershim.service" not in steps(mover)

    def test_is_not_taken_without_a_move(self, turned: Mover) -> None:
        with pytest.raises(NodeError, match="no move is under way: criproxy node migrate --to"):
            turned.back()

    def test_is_not_taken_by_a_no(self, moving: Mover) -> None:
        before = moving.lab.files()
        moving.answer = False
        assert not moving.back()
        assert moving.lab.files() == before


def test_the_same_again_completes_what_is_left_to_do(moving: Mover) -> None:
    moving.examined.clear()
    before = moving.lab.files()
    assert moving.to(CRIO)
    assert moving.examined == [], "both are in use, and the move is not to be judged anew"
    assert "nothing to change" in moving.said
    assert moving.lab.files() == before


def test_a_kubelet_in_a_crash_loop_can_be_moved_too(untouched: Mover) -> None:
    loop = UnitState("loaded", "activating", "auto-restart", 0, 7, "exit-code")
    untouched.lab.manager.states["kubelet.service"] = loop
    assert untouched.to("crio")
    assert untouched.lab.runtimes.served == {"": CRIO, "retiring": CONTAINERD}


# Wherever it is killed.

Make = Callable[[Path], Mover]
MAKERS: Dict[str, Make] = {
    "on criproxy": lambda root: kubeadm(root, True),
    "not on it": lambda root: kubeadm(root, False),
    "docker in kubelet": lambda root: kubeadm(root, False, "kubeadm <= 1.10", "1.10.13"),
}


def _new(mover: Mover) -> str:
    return "containerd" if mover.lab.version.startswith("1.10") else "crio"


def _kill_at_the_disk(mover: Mover, at: int) -> bool:
    disk = Disk(at=at)
    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        disk.put_under(patch)
        mover.to(_new(mover))
    return disk.struck


def _kill_at_systemd(mover: Mover, at: int) -> bool:
    """Before what systemd is told, or after it, in turns."""
    count, manager = 0, mover.lab.manager
    real, struck = manager.do, False

    def do(*words: str) -> None:
        nonlocal count, struck
        for after in (False, True):
            count += 1
            if count == at:
                struck = True
                raise Killed
            if not after:
                real(*words)

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(manager, "do", do)
        mover.to(_new(mover))
    return struck


_STRIDE: Dict[Callable[[Mover, int], bool], int] = {_kill_at_the_disk: 4, _kill_at_systemd: 1}


def _killed(root: Path, make: Make, kill: Callable[[Mover, int], bool]) -> Iterator[Mover]:
    """Nodes whose move has been killed, each at another point, until there is no such point left.

    Of a disk's points some are enough here: that each is survived is tried in test_ledger.py.
    """
    at = 1
    mover = make(root / str(at))
    while kill(mover, at):
        yield mover
        at += _STRIDE[kill]
        mover = make(root / str(at))
    assert at > 8


def _assert_whole(mover: Mover, primary: str, retiring: str) -> None:
    """The configuration, the daemon and kubelet agree."""
    lab = mover.lab
    assert (configured(mover)["CRI_PRIMARY"], configured(mover).get("CRI_RETIRING", "")) == (primary, retiring)
    assert lab.runtimes.served == ({"": primary, "retiring": retiring} if retiring else {"": primary})
    assert lab.kubelet_has == lab.text(DROP_IN)
    assert "--container-runtime-endpoint=unix:///run/criproxy.sock" in lab.kubelet_has
    assert list(lab.node.differences(lab.node.plan(Wishes()))) == []


@pytest.mark.parametrize("kill", _STRIDE)
@pytest.mark.parametrize("made", MAKERS)
class TestKilled:
    """The pods of the old runtime are seen at each moment, and any of the next commands makes the node whole."""

    def test_the_same_again_completes_it(self, tmp_path: Path, made: str, kill: Callable[[Mover, int], bool]) -> None:
        whole = MAKERS[made](tmp_path / "whole")
        whole.to(_new(whole))
        wanted = {path: seen for path, seen in whole.lab.files().items() if not path.endswith("node.json")}
        for mover in _killed(tmp_path, MAKERS[made], kill):
            old = DOCKERSHIM if "docker" in made else CONTAINERD
            if mover.lab.kubelet_has:
                assert old in mover.lab.runtimes.served.values()
            mover.to(_new(mover))
            _assert_whole(mover, CONTAINERD if "docker" in made else CRIO, old)
            files = {path: seen for path, seen in mover.lab.files().items() if not path.endswith("node.json")}
            assert files == wanted

    def test_the_way_back_is_open(self, tmp_path: Path, made: str, kill: Callable[[Mover, int], bool]) -> None:
        for mover in _killed(tmp_path, MAKERS[made], kill):
            if not mover.lab.tree.text(DEFAULTS) or not configured(mover).get("CRI_RETIRING"):
                with pytest.raises(NodeError, match="no move is under way"):
                    mover.back()
                continue
            mover.back()
            old, new = (DOCKERSHIM, CONTAINERD) if "docker" in made else (CONTAINERD, CRIO)
            _assert_whole(mover, old, new)

    def test_an_apply_makes_it_whole(self, tmp_path: Path, made: str, kill: Callable[[Mover, int], bool]) -> None:
        old, new = (DOCKERSHIM, CONTAINERD) if "docker" in made else (CONTAINERD, CRIO)
        for mover in _killed(tmp_path, MAKERS[made], kill):
            begun = bool(mover.lab.tree.text(DEFAULTS)) and bool(configured(mover).get("CRI_RETIRING"))
            mover.lab.node.apply(Wishes(other=""))
            _assert_whole(mover, *((new, old) if begun else (old, "")))

    def test_a_revert_takes_it_away(self, tmp_path: Path, made: str, kill: Callable[[Mover, int], bool]) -> None:
        before = Lab(
            tmp_path / "before", *(("kubeadm <= 1.10", "1.10.13") if "docker" in made else ("kubeadm", "1.33.1"))
        )
        for mover in _killed(tmp_path, MAKERS[made], kill):
            mover.lab.runtimes.listed = []
            mover.lab.node.revert()
            files = {path: seen for path, seen in mover.lab.files().items() if not path.startswith(DEFAULTS[1:])}
            assert files == before.files()
            assert mover.lab.kubelet_has == ""
