"""The change of a node and the way back: the files, the order, and what happens when something goes wrong."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from node_lab import FakeManager, Lab

from criproxy.node import ledger as ledgers
from criproxy.node.kubelet import DROP_IN, NodeError
from criproxy.node.plan import DEFAULTS, Wishes

SERVICE = "/etc/systemd/system/criproxy.service"
SHIM = "/etc/systemd/system/dockershim.service"
KEPT = {"etc/default/criproxy"}
"""What the removal leaves, for the purge."""


_FLUSHES = range(1, 14)
"""So many are there when an old node is turned over: of the ledger and of each file."""


def steps(lab: Lab) -> List[str]:
    return [" ".join(words) for words in lab.manager.done]


class TestThereAndBack:
    def test_leaves_the_tree_as_it_was_but_for_the_defaults(self, lab: Lab) -> None:
        before = lab.files()
        lab.node.apply(Wishes())
        assert DROP_IN[1:] in lab.files()
        lab.node.revert()
        assert {path: seen for path, seen in lab.files().items() if path not in KEPT} == before

    def test_kubelet_is_turned_over_when_criproxy_is_ready(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        assert steps(kubeadm) == [
            "daemon-reload",
            "enable criproxy.socket criproxy.service",
            "start criproxy.socket",
            "restart criproxy.service",
            "daemon-reload",
            "restart kubelet.service",
        ]

    def test_kubelet_is_given_back_before_criproxy_stops(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.done.clear()
        kubeadm.node.revert()
        assert steps(kubeadm) == [
            "daemon-reload",
            "restart kubelet.service",
            "stop criproxy.socket criproxy.service",
            "disable criproxy.socket criproxy.service",
            "daemon-reload",
        ]

    def test_dockershim_comes_first_and_goes_last(self, old: Lab) -> None:
        old.node.apply(Wishes())
        done = steps(old)
        assert done.index("restart dockershim.service") < done.index("restart criproxy.service")
        old.node.revert()
        assert "stop criproxy.socket criproxy.service dockershim.service" in steps(old)
        assert not (old.root / SHIM[1:]).exists()

    def test_a_kubelet_that_is_stopped_stays_stopped(self, kubeadm: Lab) -> None:
        kubeadm.manager = FakeManager()
        kubeadm.unreachable = "no such file"
        kubeadm.node.apply(Wishes())
        kubeadm.node.revert()
        assert "restart kubelet.service" not in steps(kubeadm)

    def test_twice_is_as_once(self, lab: Lab) -> None:
        lab.node.apply(Wishes())
        once = lab.files()
        lab.manager.done.clear()
        lab.node.apply(Wishes())
        assert lab.files() == once
        assert "restart kubelet.service" not in steps(lab)
        assert "restart dockershim.service" not in steps(lab)
        lab.node.revert()
        twice = lab.files()
        lab.node.revert()
        assert lab.files() == twice
        assert lab.said[-1] == "there is nothing to undo"

    def test_a_new_command_of_kubelets_is_followed(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.put(
            "/etc/systemd/system/kubelet.service.d/50.conf", "[Service]\nExecStart=\nExecStart=/opt/kubelet --a\n"
        )
        kubeadm.node.apply(Wishes())
        assert "ExecStart=/opt/kubelet --a --container-runtime-endpoint" in kubeadm.text(DROP_IN)
        assert steps(kubeadm)[-1] == "restart kubelet.service"

    def test_what_was_said_of_attach_and_detach_holds_for_upgrades(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes(attach_detach="keep"))
        kubeadm.node.apply(Wishes())
        assert "--enable-controller-attach-detach" not in kubeadm.text(DROP_IN)
        kubeadm.node.apply(Wishes(attach_detach="auto"))
        assert "--enable-controller-attach-detach=false" in kubeadm.text(DROP_IN)
        kubeadm.node.revert()
        assert not (kubeadm.root / "var/lib/criproxy").exists()

    def test_what_was_chosen_is_not_worked_out_later(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes(primary="crio"))
        kubeadm.node.apply(Wishes())
        assert "CRI_PRIMARY=/run/crio/crio.sock" in kubeadm.text(DEFAULTS)

    def test_what_was_worked_out_follows_kubelet(self, old: Lab) -> None:
        old.node.apply(Wishes())
        old.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--container-runtime-endpoint=unix:///run/crio/crio.sock\n")
        old.put("/etc/systemd/system/kubelet.service.d/20.conf", "[Service]\nEnvironmentFile=/etc/default/kubelet\n")
        old.node.apply(Wishes())
        assert "CRI_PRIMARY=/run/crio/crio.sock" in old.text(DEFAULTS)
        assert "stop dockershim.service" in steps(old)
        assert not (old.root / SHIM[1:]).exists()

    def test_again_leaves_alone_a_node_that_has_been_given_back(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.node.revert()
        before = kubeadm.files()
        kubeadm.node.apply(Wishes(), again=True)
        assert kubeadm.files() == before

    def test_without_a_manager_files_are_all_that_changes(self, kubeadm: Lab) -> None:
        kubeadm.manager = FakeManager(running=False)
        kubeadm.node.apply(Wishes())
        assert steps(kubeadm) == ["enable criproxy.socket criproxy.service"]
        assert (kubeadm.root / DROP_IN[1:]).exists()

    def test_kubelet_may_come_later(self, tmp_path: Path) -> None:
        lab = Lab(tmp_path, "", "1.33.0")
        lab.node.apply(Wishes())
        assert steps(lab) == ["daemon-reload"]
        lab.put("/lib/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n")
        lab.node.apply(Wishes(), again=True)
        assert "CRI_PRIMARY=/run/containerd/containerd.sock" in lab.text(DEFAULTS)
        assert steps(lab)[-1] == "restart kubelet.service"


class TestWhatStoodInTheWay:
    def test_a_file_of_the_operators_comes_back(self, kubeadm: Lab) -> None:
        kubeadm.put(SERVICE, "# mine\n")
        os.chmod(kubeadm.root / SERVICE[1:], 0o600)
        kubeadm.node.apply(Wishes())
        assert "# mine" not in kubeadm.text(SERVICE)
        kubeadm.node.revert()
        assert kubeadm.text(SERVICE) == "# mine\n"
        assert (kubeadm.root / SERVICE[1:]).stat().st_mode & 0o777 == 0o600

    def test_a_link_comes_back(self, kubeadm: Lab) -> None:
        kubeadm.put("/opt/c.service", "# linked\n")
        link = kubeadm.root / SERVICE[1:]
        link.symlink_to("/opt/c.service")
        kubeadm.node.apply(Wishes())
        assert not link.is_symlink()
        kubeadm.node.revert()
        assert os.readlink(link) == "/opt/c.service"
        assert kubeadm.text("/opt/c.service") == "# linked\n"

    @pytest.mark.parametrize("way", ["revert", "apply"])
    def test_what_somebody_made_of_a_file_of_ours_is_kept(self, kubeadm: Lab, way: str) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.put(DROP_IN, "# edited\n[Service]\nExecStart=\nExecStart=/usr/bin/kubelet\n")
        if way == "revert":
            kubeadm.node.revert()
            assert any(f"{DROP_IN}.criproxy-saved" in line for line in kubeadm.said)
            assert not (kubeadm.root / DROP_IN[1:]).exists()
        else:
            kubeadm.node.apply(Wishes())
            assert "criproxy.sock" in kubeadm.text(DROP_IN)
        assert kubeadm.text(f"{DROP_IN}.criproxy-saved").startswith("# edited")

    def test_a_directory_that_others_use_stays(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.put("/etc/systemd/system/kubelet.service.d/mine.conf", "[Service]\n")
        kubeadm.node.revert()
        assert os.listdir(kubeadm.root / "etc/systemd/system/kubelet.service.d") == ["mine.conf"]

    def test_the_go_packages_files_are_taken_over(self, old: Lab) -> None:
        before = old.files()
        old.put(
            DROP_IN,
            '[Service]\nEnvironment="KUBELET_EXTRA_ARGS=--container-runtime=remote'
            " --container-runtime-endpoint=unix:///run/criproxy.sock"
            " --image-service-endpoint=unix:///run/criproxy.sock"
            ' --enable-controller-attach-detach=false --v=4"\n',
        )
        old.put(
            SHIM, "[Service]\nExecStart=/usr/bin/kubelet --experimental-dockershim --port 11250 $KUBELET_EXTRA_ARGS\n"
        )
        old.put(f"{SHIM}.d/10-kubeadm.conf", "[Service]\nEnvironment=X=1\n")
        old.put(DEFAULTS, "CRI_PRIMARY=/var/run/dockershim.sock\nCRI_OTHER=a.b:/run/a.sock\n")
        old.manager.running_units.add("criproxy.service")
        old.node.apply(Wishes())
        assert old.text(DEFAULTS) == "CRI_PRIMARY=/var/run/dockershim.sock\nCRI_OTHER=a.b:/run/a.sock\n"
        assert "--v=4" not in old.text(DROP_IN)
        assert "$KUBELET_EXTRA_ARGS" not in old.text(SHIM)
        assert os.listdir(old.root / f"{SHIM}.d"[1:]) == ["10-kubeadm.conf.criproxy-saved"]
        # The Go program holds the socket that the socket unit is to take.
        done = steps(old)
        assert done.index("stop criproxy.service") < done.index("start criproxy.socket")
        old.node.revert()
        left = old.files().keys() - before.keys()
        assert {path for path in left if not path.startswith(f"{SHIM}.d"[1:])} == KEPT


class TestFailures:
    @pytest.mark.parametrize(
        "refused",
        [
            ("enable", "criproxy.socket", "criproxy.service"),
            ("start", "criproxy.socket"),
            ("restart", "criproxy.service"),
            ("restart", "kubelet.service"),
        ],
    )
    def test_a_refusal_of_systemds_leaves_all_as_it_was(self, kubeadm: Lab, refused: tuple[str, ...]) -> None:
        before = kubeadm.files()
        kubeadm.manager.refuses = refused
        with pytest.raises(NodeError, match="everything is as it was"):
            kubeadm.node.apply(Wishes())
        assert kubeadm.files() == before
        assert "criproxy.service" not in kubeadm.manager.running_units

    def test_a_working_kubelet_is_not_turned_to_a_runtime_that_does_not_answer(self, kubeadm: Lab) -> None:
        before = kubeadm.files()
        kubeadm.unreachable = "Version: UNAVAILABLE"
        with pytest.raises(NodeError, match="does not answer through criproxy, so kubelet is left alone"):
            kubeadm.node.apply(Wishes())
        assert kubeadm.files() == before
        assert "restart kubelet.service" not in steps(kubeadm)

    def test_an_upgrade_goes_on_while_the_runtime_is_away(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.unreachable = "Version: UNAVAILABLE"
        kubeadm.node.apply(Wishes())

    def test_an_upgrade_that_fails_leaves_what_was(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        before = kubeadm.files()
        kubeadm.manager.refuses = ("enable", "criproxy.socket", "criproxy.service")
        with pytest.raises(NodeError):
            kubeadm.node.apply(Wishes(primary="crio"))
        assert kubeadm.files() == before

    def test_a_drop_in_that_is_read_later_is_named(self, kubeadm: Lab) -> None:
        later = "/etc/systemd/system/kubelet.service.d/zz.conf"
        kubeadm.put(later, "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet\n")
        before = kubeadm.files()
        with pytest.raises(NodeError, match=f"{later} is read after"):
            kubeadm.node.apply(Wishes())
        assert kubeadm.files() == before

    @pytest.mark.parametrize("count", _FLUSHES)
    def test_wherever_it_is_killed_the_next_run_completes_it_and_revert_undoes_it(
        self, old: Lab, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        before = old.files()
        _fail_at(monkeypatch, count, KeyboardInterrupt())  # which nothing on the way catches
        with pytest.raises(KeyboardInterrupt):
            old.node.apply(Wishes())
        monkeypatch.undo()
        old.node.apply(Wishes())
        old.node.revert()
        assert {path: seen for path, seen in old.files().items() if path not in KEPT} == before

    @pytest.mark.parametrize("act", ["apply", "revert"])
    @pytest.mark.parametrize("at", [("daemon-reload",), ("restart", "kubelet.service")])
    def test_a_run_killed_before_it_could_restart_kubelet_leaves_that_to_the_next(
        self, kubeadm: Lab, monkeypatch: pytest.MonkeyPatch, act: str, at: Tuple[str, ...]
    ) -> None:
        acts: Dict[str, Callable[[], None]] = {
            "apply": lambda: kubeadm.node.apply(Wishes()),
            "revert": kubeadm.node.revert,
        }
        if act == "revert":
            acts["apply"]()
        real = kubeadm.manager.do

        def kill(*words: str) -> None:
            if words == at and (DROP_IN[1:] in kubeadm.files()) == (act == "apply"):
                raise KeyboardInterrupt
            real(*words)

        monkeypatch.setattr(kubeadm.manager, "do", kill)
        with pytest.raises(KeyboardInterrupt):
            acts[act]()
        monkeypatch.undo()
        kubeadm.manager.done.clear()
        acts[act]()
        assert "restart kubelet.service" in steps(kubeadm)
        kubeadm.manager.done.clear()
        acts[act]()
        assert "restart kubelet.service" not in steps(kubeadm)

    @pytest.mark.parametrize("count", _FLUSHES)
    def test_a_full_disk_at_any_write_leaves_all_as_it_was(
        self, old: Lab, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        before = old.files()
        _fail_at(monkeypatch, count, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(NodeError, match=": No space left on device; everything is as it was before"):
            old.node.apply(Wishes())
        monkeypatch.undo()
        assert old.files() == before

    def test_a_damaged_ledger_is_not_guessed_at(self, kubeadm: Lab) -> None:
        kubeadm.put("/var/lib/criproxy/node.json", json.dumps({"files": 1}))
        with pytest.raises(NodeError, match="damaged"):
            kubeadm.node.apply(Wishes())

    def test_two_at_once_are_refused(self, kubeadm: Lab) -> None:
        with ledgers.Ledger(kubeadm.tree).locked(), pytest.raises(NodeError, match="another criproxy node"):
            kubeadm.node.apply(Wishes())


def _fail_at(monkeypatch: pytest.MonkeyPatch, count: int, error: BaseException) -> None:
    """Lets the so-manieth flush of a file to the disk fail."""
    done = 0
    real = os.fsync

    def fsync(fd: int) -> None:
        nonlocal done
        done += 1
        if done == count:
            raise error
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)


class TestWhatIsShown:
    def test_a_plan_is_a_diff_and_touches_nothing(self, kubeadm: Lab) -> None:
        before = kubeadm.files()
        lines = list(kubeadm.node.differences(kubeadm.node.plan(Wishes())))
        assert f"+++ {DROP_IN}\tas planned" in lines
        assert "+CRI_PRIMARY=/run/containerd/containerd.sock" in lines
        assert kubeadm.files() == before
        assert steps(kubeadm) == []

    def test_a_plan_that_is_carried_out_has_no_differences(self, lab: Lab) -> None:
        lab.node.apply(Wishes())
        assert list(lab.node.differences(lab.node.plan(Wishes()))) == []

    def test_status(self, kubeadm: Lab) -> None:
        kubeadm.manager = FakeManager(running=False)
        lines, turned = kubeadm.node.status()
        assert not turned
        assert lines[0] == "kubelet: 1.33.1, its own flags name unix:///run/containerd/containerd.sock"
        kubeadm.node.apply(Wishes())
        lines, turned = kubeadm.node.status()
        assert turned
        assert lines[-1] == "/run/criproxy.sock: containerd 1.7"
