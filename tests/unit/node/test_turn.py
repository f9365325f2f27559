"""The change of a node and the way back: the files, the order, and what happens when something goes wrong."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from node_lab import FakeManager, Lab

from criproxy import environment
from criproxy.node import ledger as ledgers
from criproxy.node.kubelet import DROP_IN, NodeError
from criproxy.node.manager import UnitState
from criproxy.node.plan import DEFAULTS, Wishes
from criproxy.node.runtimes import ReadyPod

SERVICE = "/etc/systemd/system/criproxy.service"
SHIM = "/etc/systemd/system/dockershim.service"
CONTAINERD = "/run/containerd/containerd.sock"
KEPT = {"etc/default/criproxy"}
"""What the removal leaves, for the purge."""


_FLUSHES = range(1, 40)
"""Some of those when an old node is turned over. At which of all a run can be stopped is tried in test_ledger.py."""


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
        kubeadm.runtimes.unreachable = {CONTAINERD: "no such file", "/run/criproxy.sock": "UNAVAILABLE"}
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

    def test_what_commands_write_into_the_defaults_is_an_operators_choice(self, kubeadm: Lab) -> None:
        """Those that add a runtime and drain one (criproxy.operate)."""
        kubeadm.node.apply(Wishes())
        text = environment.assign(kubeadm.text(DEFAULTS), "CRI_OTHER", "a.b:/run/a.sock,c.d:/run/c.sock")
        text = environment.assign(text, "CRIPROXY_DRAINED", "a.b")
        kubeadm.put(DEFAULTS, text)
        kubeadm.node.apply(Wishes())
        assert kubeadm.text(DEFAULTS) == text
        kubeadm.node.revert()
        assert kubeadm.text(DEFAULTS) == text

    def test_what_was_worked_out_follows_kubelet(self, old: Lab) -> None:
        old.node.apply(Wishes())
        old.put(
            "/etc/default/kubelet",
            "KUBELET_EXTRA_ARGS=--container-runtime=remote --container-runtime-endpoint=unix:///run/crio/crio.sock\n",
        )
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

    def test_what_somebody_made_of_a_file_of_ours_is_kept_beside_its_place(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.put(DROP_IN, "# edited\n")
        kubeadm.node.revert()
        assert any(f"{DROP_IN}.criproxy-saved" in line for line in kubeadm.said)
        assert not (kubeadm.root / DROP_IN[1:]).exists()
        assert kubeadm.text(f"{DROP_IN}.criproxy-saved") == "# edited\n"

    def test_an_operators_edit_stays_in_force_and_ours_lies_beside_it(self, kubeadm: Lab) -> None:
        before = kubeadm.files()
        kubeadm.node.apply(Wishes())
        edited = kubeadm.text(SERVICE) + "# edited\n"
        kubeadm.put(SERVICE, edited)
        kubeadm.node.apply(Wishes(primary="crio"))
        assert kubeadm.text(SERVICE) == edited
        assert "After=crio.service" in kubeadm.text(f"{SERVICE}.criproxy-dist")
        said = f"{SERVICE} has been edited and stays in force; criproxy's own version is in {SERVICE}.criproxy-dist"
        assert said in kubeadm.said
        kubeadm.said.clear()
        kubeadm.node.apply(Wishes())
        assert said not in kubeadm.said
        kubeadm.node.revert()
        assert kubeadm.files().keys() - before.keys() == {*KEPT, f"{SERVICE[1:]}.criproxy-saved"}

    def test_an_edit_that_takes_kubelet_off_criproxy_is_refused(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.put(DROP_IN, "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet\n")
        with pytest.raises(NodeError, match="has been edited and does not give kubelet criproxy's socket"):
            kubeadm.node.apply(Wishes())

    def test_a_drop_in_copied_from_another_node_is_not_what_was_before(self, kubeadm: Lab) -> None:
        before = kubeadm.files()
        kubeadm.node.apply(Wishes())
        (kubeadm.root / "var/lib/criproxy/node.json").unlink()
        kubeadm.node.apply(Wishes())
        kubeadm.node.revert()
        assert not (kubeadm.root / DROP_IN[1:]).exists()
        assert kubeadm.files().keys() - before.keys() - KEPT <= {
            str(Path(path).parent)[1:] for path in (DROP_IN, "/var/lib/criproxy/node.json")
        }, "of which it cannot be told whether they are the node's own"

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
        old.manager = FakeManager("kubelet.service", "criproxy.service")
        old.node.apply(Wishes())
        assert old.text(DEFAULTS).startswith("CRI_PRIMARY=/var/run/dockershim.sock\nCRI_OTHER=a.b:/run/a.sock\n")
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
        with pytest.raises(NodeError, match="undone"):
            kubeadm.node.apply(Wishes())
        assert kubeadm.files() == before
        assert "criproxy.service" not in kubeadm.manager.running_units

    @pytest.mark.parametrize("socket", [CONTAINERD, "/run/criproxy.sock"])
    def test_a_working_kubelet_is_not_turned_to_a_runtime_that_does_not_answer(self, kubeadm: Lab, socket: str) -> None:
        before = kubeadm.files()
        kubeadm.runtimes.unreachable[socket] = "Connection refused"
        with pytest.raises(NodeError, match=rf"does not answer.*{socket}: Connection refused.*--primary RUNTIME"):
            kubeadm.node.apply(Wishes())
        assert kubeadm.files() == before
        assert "restart kubelet.service" not in steps(kubeadm)
        if socket == CONTAINERD:
            assert steps(kubeadm) == [], "it is seen before anything is touched"

    @pytest.mark.parametrize("wishes", [Wishes(primary="crio"), Wishes(image_service="/run/crio/crio.sock")])
    def test_nor_is_one_that_is_on_criproxy_already(self, kubeadm: Lab, wishes: Wishes) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.runtimes.served = {"": CONTAINERD}
        before = kubeadm.files()
        kubeadm.manager.done.clear()
        kubeadm.runtimes.unreachable["/run/crio/crio.sock"] = "No such file"
        with pytest.raises(NodeError, match=r"does not answer: /run/crio/crio.sock: No such file; nothing has been"):
            kubeadm.node.apply(wishes)
        assert kubeadm.files() == before
        assert steps(kubeadm) == []

    def test_an_upgrade_goes_on_while_the_runtime_is_away(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.runtimes.unreachable.update({CONTAINERD: "Connection refused", "/run/criproxy.sock": "UNAVAILABLE"})
        kubeadm.node.apply(Wishes())
        assert any(line.startswith("warning: the primary runtime") for line in kubeadm.said)

    def test_a_directory_in_the_sockets_place_is_named(self, kubeadm: Lab) -> None:
        (kubeadm.root / "run/criproxy.sock").mkdir(parents=True)
        with pytest.raises(NodeError, match=r"^/run/criproxy\.sock is a directory"):
            kubeadm.node.apply(Wishes())
        assert steps(kubeadm) == []

    def test_a_configuration_that_the_daemon_would_refuse_is_seen_before_it_is_restarted(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.put(DEFAULTS, kubeadm.text(DEFAULTS).replace('"-v 2"', '"--verbosity much"'))
        kubeadm.manager.done.clear()
        with pytest.raises(NodeError, match=r"would refuse its configuration: .*much"):
            kubeadm.node.apply(Wishes())
        assert not {"restart criproxy.service", "reload criproxy.service"} & set(steps(kubeadm))

    def test_what_cannot_be_put_back_is_said(self, kubeadm: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        kubeadm.manager.refuses = ("restart", "kubelet.service")
        real = os.unlink

        def unlink(path: Any, **more: Any) -> None:
            if str(path).endswith("criproxy.service"):
                raise OSError(errno.EROFS, "Read-only file system", path)
            real(path, **more)

        monkeypatch.setattr(os, "unlink", unlink)
        with pytest.raises(NodeError, match="not everything could be undone: ") as caught:
            kubeadm.node.apply(Wishes())
        assert f"could not remove {SERVICE}: Read-only file system" in str(caught.value)
        assert "restart kubelet.service" in str(caught.value), "which has been refused both times"
        monkeypatch.undo()
        kubeadm.manager.refuses = ()
        kubeadm.node.revert()
        assert not (kubeadm.root / SERVICE[1:]).exists()

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
        try:
            old.node.apply(Wishes())
        except NodeError as error:
            assert ": No space left on device; all changes have been undone" in str(error)  # noqa: PT017
        else:
            # Only what need not be done any more could not be taken out of the ledger.
            assert steps(old)[-1] == "restart kubelet.service"
            old.node.revert()
        monkeypatch.undo()
        assert {path: seen for path, seen in old.files().items() if path not in KEPT} == before

    def test_a_damaged_ledger_is_not_guessed_at(self, kubeadm: Lab) -> None:
        kubeadm.put("/var/lib/criproxy/node.json", json.dumps({"files": 1}))
        with pytest.raises(NodeError, match="damaged"):
            kubeadm.node.apply(Wishes())

    def test_two_at_once_are_refused(self, kubeadm: Lab) -> None:
        with ledgers.Ledger.opened(kubeadm.tree), pytest.raises(NodeError, match="another criproxy command"):
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

    def test_nothing_to_change_is_said_with_what_there_is_to_know(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        said = list(kubeadm.node.prospects(kubeadm.node.plan(Wishes())))
        assert said[-1] == f"the primary runtime ({CONTAINERD}) answers: containerd 1.7"
        kubeadm.runtimes.unreachable[CONTAINERD] = "Connection refused"
        said = list(kubeadm.node.prospects(kubeadm.node.plan(Wishes())))
        assert said[-1] == f"the primary runtime does not answer: {CONTAINERD}: Connection refused; apply would refuse"


class TestHowTheDaemonIsBroughtUpToDate:
    def test_it_is_reloaded_if_neither_its_unit_nor_its_program_has_changed(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.done.clear()
        kubeadm.node.apply(Wishes(other="x.y:/run/x.sock"))
        assert "reload criproxy.service" in steps(kubeadm)
        assert "restart criproxy.service" not in steps(kubeadm)

    def test_it_is_restarted_if_its_unit_has(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.done.clear()
        kubeadm.put(
            "/lib/systemd/system/criproxy.service",
            kubeadm.text("/lib/systemd/system/criproxy.service") + "Environment=ANOTHER=1\n",
        )
        kubeadm.node.apply(Wishes())
        assert "restart criproxy.service" in steps(kubeadm)

    def test_it_is_not_for_its_place_in_the_nodes_order(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.done.clear()
        kubeadm.runtimes.served = {"": "/run/crio/crio.sock"}
        kubeadm.node.apply(Wishes(primary="crio"))
        assert "After=crio.service" in kubeadm.text(SERVICE)
        assert "reload criproxy.service" in steps(kubeadm)
        assert "restart criproxy.service" not in steps(kubeadm)

    def test_its_socket_is_made_anew_if_that_gets_a_group(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.done.clear()
        kubeadm.put(DEFAULTS, f"{kubeadm.text(DEFAULTS)}CRIPROXY_SOCKET_GROUP=daemon\n")
        kubeadm.node.apply(Wishes())
        assert [step for step in steps(kubeadm) if "criproxy" in step][1:] == [
            "restart criproxy.socket",
            "restart criproxy.service",
        ]
        kubeadm.manager.done.clear()
        kubeadm.node.apply(Wishes())
        assert "start criproxy.socket" in steps(kubeadm)

    def test_a_group_that_is_not_there_changes_nothing(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.put(DEFAULTS, f"{kubeadm.text(DEFAULTS)}CRIPROXY_SOCKET_GROUP=nobodys\n")
        before = kubeadm.files()
        with pytest.raises(NodeError, match=r"there is no group 'nobodys' on this node; create it"):
            kubeadm.node.apply(Wishes())
        assert kubeadm.files() == before

    def test_a_socket_that_cannot_be_made_anew_is_made_as_it_was(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.done.clear()
        kubeadm.put(DEFAULTS, f"{kubeadm.text(DEFAULTS)}CRIPROXY_SOCKET_GROUP=daemon\n")
        kubeadm.manager.refuses = ("restart", "criproxy.socket")
        with pytest.raises(NodeError):
            kubeadm.node.apply(Wishes())
        assert "SocketGroup" not in "".join(map(str, kubeadm.files().values()))
        assert [step for step in steps(kubeadm) if step.startswith("restart")] == [
            "restart criproxy.socket",
            "restart criproxy.socket",
            "restart criproxy.service",
        ]

    def test_it_is_asked_once_which_runtimes_it_has_before_anything_is_changed(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.runtimes.served, kubeadm.runtimes.asked_behind = {"": CONTAINERD}, 0
        kubeadm.node.apply(Wishes())
        assert kubeadm.runtimes.asked_behind == 2, "and once when it has reloaded"
        kubeadm.runtimes.asked_behind = 0
        kubeadm.node.revert()
        assert kubeadm.runtimes.asked_behind == 1

    def test_it_is_restarted_if_its_program_has(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.done.clear()
        kubeadm.manager.clock.sleep(60.0)
        kubeadm.program_age, kubeadm.program = 30.0, "another"
        kubeadm.node.apply(Wishes())
        assert "restart criproxy.service" in steps(kubeadm)

    def test_it_is_not_if_the_same_program_has_been_put_in_its_place(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.clock.sleep(60.0)
        kubeadm.program_age = 30.0
        kubeadm.manager.done.clear()
        kubeadm.node.apply(Wishes())
        assert "restart criproxy.service" not in steps(kubeadm)

    def test_a_reload_is_waited_for_and_one_without_effect_undone(self, kubeadm: Lab) -> None:
        kubeadm.put("/etc/systemd/system/criproxy.service", kubeadm.text("/lib/systemd/system/criproxy.service"))
        kubeadm.node.apply(Wishes(primary="/run/a.sock"))
        before = kubeadm.files()
        kubeadm.runtimes.served = {"": "/run/a.sock"}
        with pytest.raises(NodeError, match=r"still has the primary runtime /run/a.sock.*all changes have been undone"):
            kubeadm.changed(force=True).apply(Wishes(primary="/run/b.sock"))
        assert kubeadm.files() == before
        assert steps(kubeadm)[-1] == "reload criproxy.service"


class TestKubeletIsWatched:
    def test_one_that_does_not_live_with_its_flags_gets_its_own_back(self, kubeadm: Lab) -> None:
        before = kubeadm.files()
        kubeadm.manager.dies["kubelet.service"] = 3.0
        kubeadm.manager.words["kubelet.service"] = "unknown flag: --container-runtime"
        kubeadm.manager.clock.sleep(-1.0)  # as old as it is it has not died yet
        with pytest.raises(NodeError, match=r"fails with its new flags: it has ended \(exit-code\)") as caught:
            kubeadm.node.apply(Wishes())
        assert "Its log ends: unknown flag: --container-runtime" in str(caught.value)
        assert "all changes have been undone" in str(caught.value)
        assert kubeadm.files() == before
        assert steps(kubeadm).count("restart kubelet.service") == 2

    def test_one_that_runs_without_the_flags_of_a_drop_in_that_was_there_is_restarted(self, kubeadm: Lab) -> None:
        drop_in = kubeadm.node.plan(Wishes()).drop_in
        kubeadm.put(DROP_IN, drop_in)
        words = ("/usr/bin/kubelet", *kubeadm.node.plan(Wishes()).kubelet.flags)  # type: ignore[union-attr]
        pid = kubeadm.manager.state("kubelet.service").pid
        kubeadm.put(f"/proc/{pid}/cmdline", "".join(f"{word}\0" for word in words))
        kubeadm.node.apply(Wishes())
        assert steps(kubeadm)[-1] == "restart kubelet.service"

    def test_one_that_runs_with_other_flags_than_its_unit_says_is_left_alone(self, kubeadm: Lab) -> None:
        pid = kubeadm.manager.state("kubelet.service").pid
        kubeadm.put(f"/proc/{pid}/cmdline", "/usr/bin/kubelet\0--by-hand\0")
        before = kubeadm.files()
        with pytest.raises(NodeError, match="the running kubelet has other flags than its unit"):
            kubeadm.node.apply(Wishes())
        assert kubeadm.files() == before
        assert steps(kubeadm) == []

    def test_for_as_long_as_is_asked_for(self, kubeadm: Lab) -> None:
        kubeadm.manager.dies["kubelet.service"] = 3.0
        kubeadm.manager.clock.sleep(-1.0)
        kubeadm.changed(watch=2.0).apply(Wishes())
        assert "restarted kubelet: it is on criproxy now" in kubeadm.said

    def test_one_that_was_in_a_crash_loop_before_is_turned_over_all_the_same(self, kubeadm: Lab) -> None:
        """As before ``kubeadm init``, when its configuration is not there yet."""
        loop = UnitState("loaded", "activating", "auto-restart", 0, 7, "exit-code")
        kubeadm.manager.states["kubelet.service"] = loop
        kubeadm.node.apply(Wishes())
        assert any("so it is not watched" in line for line in kubeadm.said)
        assert (kubeadm.root / DROP_IN[1:]).exists()

    def test_one_that_has_failed_is_started_on_its_own_flags(self, kubeadm: Lab) -> None:
        kubeadm.node.apply(Wishes())
        kubeadm.manager.states["kubelet.service"] = UnitState("loaded", "failed", "failed", 0, 5, "exit-code")
        kubeadm.manager.done.clear()
        kubeadm.node.revert()
        done = steps(kubeadm)
        assert done.index("reset-failed kubelet.service") < done.index("restart kubelet.service")


class TestPodsOfARuntimeThatGoes:
    @pytest.fixture
    def turned(self, kubeadm: Lab) -> Lab:
        kubeadm.node.apply(Wishes(other="virtlet.cloud:/run/virtlet.sock,x.y:/run/x.sock"))
        kubeadm.runtimes.served = {"": CONTAINERD, "virtlet.cloud": "/run/virtlet.sock", "x.y": "/run/x.sock"}
        kubeadm.runtimes.listed = [ReadyPod("p1", "default/web"), ReadyPod("virtlet.cloud__v1", "default/vm")]
        kubeadm.manager.done.clear()
        return kubeadm

    @pytest.mark.parametrize(
        ("wishes", "lost"),
        [
            (Wishes(other="x.y:/run/x.sock"), r"lose pods .*default/vm \(virtlet.cloud\)"),
            (Wishes(other="virtlet.cloud:/run/elsewhere.sock"), r"default/vm \(virtlet.cloud\)"),
            (Wishes(primary="crio"), rf"default/web \({CONTAINERD}\)"),
        ],
    )
    def test_are_named_and_the_change_refused(self, turned: Lab, wishes: Wishes, lost: str) -> None:
        before = turned.files()
        with pytest.raises(NodeError, match=f"{lost}.*nothing has been changed.*--force"):
            turned.node.apply(wishes)
        assert turned.files() == before
        assert steps(turned) == []

    def test_do_not_stand_in_the_way_of_other_changes(self, turned: Lab) -> None:
        turned.node.apply(Wishes(other="virtlet.cloud:/var/run/virtlet.sock"))
        assert "reload criproxy.service" in steps(turned)

    def test_are_named_by_a_revert_that_is_refused(self, turned: Lab) -> None:
        with pytest.raises(NodeError, match=r"default/vm \(virtlet.cloud\); nothing has been changed"):
            turned.node.revert()
        assert steps(turned) == []

    def test_are_a_warning_to_whoever_insists(self, turned: Lab) -> None:
        turned.changed(force=True).revert()
        assert any(line.startswith("warning: kubelet is about to lose pods") for line in turned.said)
        assert not (turned.root / DROP_IN[1:]).exists()

    def test_are_counted_where_they_are_many(self, turned: Lab) -> None:
        turned.runtimes.listed = [ReadyPod(f"x.y__{number}", f"default/{number}") for number in range(13)]
        with pytest.raises(NodeError, match=r"default/9 \(x.y\) and 3 more"):
            turned.node.revert()


class TestFilesOnly:
    def test_nothing_is_started_stopped_or_restarted(self, kubeadm: Lab) -> None:
        kubeadm.changed(files_only=True).apply(Wishes())
        assert (kubeadm.root / DROP_IN[1:]).exists()
        kubeadm.changed(files_only=True).revert()
        verbs = {words[0] for words in kubeadm.manager.done}
        assert verbs == {"daemon-reload", "enable", "disable"}
        assert "kubelet is on its own flags only after a restart: systemctl restart kubelet" in kubeadm.said

    def test_a_later_run_does_the_rest(self, kubeadm: Lab) -> None:
        kubeadm.changed(files_only=True).apply(Wishes())
        assert "kubelet is on criproxy only after a restart: criproxy node apply" in kubeadm.said
        kubeadm.node.apply(Wishes())
        assert steps(kubeadm)[-1] == "restart kubelet.service"
        assert "restart criproxy.service" in steps(kubeadm)
