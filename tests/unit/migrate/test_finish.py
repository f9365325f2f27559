"""The end of a move: nothing is left, kubelet's own files name the new runtime, and the old one is out."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
from faults import Disk, Killed
from node_lab import Lab
from two_runtimes import FakeKubelet

from criproxy import environment
from criproxy.migrate.finish import finish
from criproxy.migrate.scene import Scene
from criproxy.node import kubelet as kubelets
from criproxy.node.kubelet import DROP_IN, NodeError
from criproxy.node.manager import UnitState
from criproxy.node.plan import DEFAULTS, MOVE_NOTE, SERVICE, SOCKET, SOCKET_UNIT, Wishes
from criproxy.node.watch import Clock

FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
SAVED = f"{FLAGS}.criproxy-saved"
KUBELET_STARTS = ("restart", "kubelet.service")
STATIC = {"kubernetes.io/config.source": "file"}
_STEPS = range(1, 75)
"""More than what the end of a move asks of a disk, or nearly so: see `test_all_steps_are_tried`."""


class Move:
    """A node in the middle of a move between two runtimes that are served."""

    def __init__(self, root: Path, kubelet: FakeKubelet, only: bool) -> None:
        self.lab = Lab(root, "kubeadm", "1.33.1")
        self.kubelet = kubelet
        self.old, self.new = kubelet.old.path, kubelet.new.path
        self.asked = 0
        self.agrees = True
        self.lab.put(FLAGS, f'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix://{self.old} --v=2"\n')
        self.before = self.lab.files()
        self.lab.serve()
        self.lab.node.apply(Wishes(primary=self.new, other="", retiring=self.old, only_for_a_move=only))
        self.moving = self.lab.files()
        self.lab.manager.done.clear()
        self.lab.said.clear()

    @property
    def scene(self) -> Scene:
        lab = self.lab

        def agreed() -> bool:
            self.asked += 1
            return self.agrees

        def sleep(seconds: float) -> None:
            lab.manager.clock.sleep(seconds)
            self.kubelet.sleep(seconds)

        clock = Clock(lab.manager.clock.now, sleep)
        return Scene(
            lab.tree, lab.manager, lab.ask, lab.runtimes, lambda: lab.node, lab.said.append, agreed, clock=clock
        )

    def finish(self, evicts: bool = False) -> bool:
        return finish(self.scene, evicts)

    def dies_from_now_on(self) -> None:
        """kubelet, soon after each start."""
        self.lab.manager.words["kubelet.service"] = "unknown service"
        self.lab.manager.follows[KUBELET_STARTS] = lambda: self.lab.manager.dies.update({"kubelet.service": 2.0})

    def lives_again(self) -> None:
        """kubelet, once criproxy has been started."""
        self.lab.manager.dies.clear()
        self.lab.manager.follows[KUBELET_STARTS] = lambda: None
        self.lab._read()

    @property
    def said(self) -> List[str]:
        return [line.replace(self.old, "OLD").replace(self.new, "NEW") for line in self.lab.said]

    @property
    def steps(self) -> List[str]:
        return [" ".join(words) for words in self.lab.manager.done]

    @property
    def variables(self) -> Dict[str, str]:
        return {name: found.value for name, found in environment.read(self.lab.text(DEFAULTS))[0].items()}

    def own_flags(self) -> Tuple[str, ...]:
        """What kubelet is started with without criproxy."""
        found = kubelets.find(self.lab.tree, self.lab.ask)
        assert found is not None
        return found.flags


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here while a test runs."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture
def move(tmp_path: Path, kubelet: FakeKubelet) -> Move:
    """criproxy was on the node before, and stays."""
    return Move(tmp_path / "node", kubelet, only=False)


@pytest.fixture
def short(tmp_path: Path, kubelet: FakeKubelet) -> Move:
    """criproxy is on the node only for the move."""
    return Move(tmp_path / "node", kubelet, only=True)


class TestCriproxyThatStays:
    def test_has_the_old_runtime_no_more(self, move: Move) -> None:
        assert move.finish()
        assert (move.variables["CRI_PRIMARY"], move.variables.get("CRI_RETIRING", "")) == (move.new, "")
        assert move.lab.runtimes.served == {"": move.new}

    def test_is_reloaded_once_and_kubelet_is_left_alone(self, move: Move) -> None:
        move.finish()
        assert move.steps.count(f"reload {SERVICE}") == 1
        assert not [step for step in move.steps if step.startswith(("restart", "stop"))]

    def test_leaves_kubelet_on_the_new_runtime_when_it_is_removed_some_day(self, move: Move) -> None:
        move.finish()
        move.lab.node.revert()
        assert f"--container-runtime-endpoint=unix://{move.new}" in move.own_flags()
        assert f"--container-runtime-endpoint=unix://{move.old}" not in move.own_flags()

    def test_goes_through_a_command_line_of_kubelets_that_changes(self, tmp_path: Path, kubelet: FakeKubelet) -> None:
        """criproxy's drop-in has a copy of it."""
        move = Move(tmp_path / "node", kubelet, only=False)
        move.lab.put(FLAGS, "")
        unit = f"[Service]\nExecStart=\nExecStart=/usr/bin/kubelet --container-runtime-endpoint={move.old}\n"
        move.lab.put("/etc/systemd/system/kubelet.service.d/50-own.conf", unit)
        move.finish()
        assert move.old not in move.lab.text(DROP_IN)
        assert move.steps[-1] == "restart kubelet.service"

    def test_warns_where_kubelets_files_cannot_be_changed(self, move: Move) -> None:
        for path in move.lab.root.rglob("kubelet.service*"):
            path.rename(path.with_name(f"gone-{path.name}"))
        unit = f"[Service]\nExecStart=/usr/bin/kubelet --container-runtime-endpoint={move.old}\n"
        move.lab.put("/run/systemd/generator/kubelet.service", unit)
        assert move.finish()
        (warning,) = [line for line in move.said if line.startswith("warning: ")]
        assert warning.startswith(
            "warning: without criproxy kubelet would be on another runtime than NEW: --container-"
        )
        assert "CRI_RETIRING" not in move.variables or not move.variables["CRI_RETIRING"]

    def test_may_have_been_named_by_hand_in_kubelets_files(self, move: Move) -> None:
        text = f"KUBELET_KUBEADM_ARGS=--container-runtime-endpoint=unix://{SOCKET}\n"
        move.lab.put(FLAGS, text)
        assert move.finish()
        assert move.lab.text(FLAGS) == text

    def test_needs_no_kubelet(self, move: Move) -> None:
        for path in move.lab.root.rglob("kubelet.service"):
            path.unlink()
        assert move.finish()
        assert not move.variables.get("CRI_RETIRING", "")


class TestCriproxyForTheMoveAlone:
    def test_goes_and_leaves_the_node_on_the_new_runtime(self, short: Move) -> None:
        assert short.finish()
        wanted = f'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix://{short.new} --v=2"\n'
        assert short.lab.text(FLAGS) == wanted
        now, before = short.lab.files(), short.before
        assert {path for path in {*now, *before} if now.get(path) != before.get(path)} == {
            FLAGS[1:],
            SAVED[1:],
            DEFAULTS[1:],
        }
        assert now[SAVED[1:]] == before[FLAGS[1:]]

    def test_restarts_kubelet_once_with_its_files_in_place(self, short: Move) -> None:
        short.finish()
        assert [step for step in short.steps if "kubelet" in step] == ["restart kubelet.service"]
        assert short.steps.index("restart kubelet.service") < short.steps.index("stop criproxy.socket criproxy.service")
        assert SERVICE not in short.lab.manager.running_units

    def test_says_what_it_does_before_it_asks(self, short: Move) -> None:
        short.agrees = False
        assert not short.finish()
        assert short.said == [
            f"--- {FLAGS}  as it is",
            f"+++ {FLAGS}  as planned",
            "@@ -1 +1 @@",
            '-KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix://OLD --v=2"',
            '+KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix://NEW --v=2"',
            "# OLD goes from /etc/default/criproxy",
            "# criproxy is here only for the move and goes; kubelet is restarted once, on its own flags",
        ]
        assert (short.asked, short.steps, short.lab.files()) == (1, [], short.moving)

    def test_says_what_kubeadm_has_to_be_told(self, short: Move) -> None:
        short.finish()
        assert short.said[-2:] == [
            "the move is over: this node is on NEW",
            "kubeadm has its own note of the runtime, at the node's object. To change it: kubectl annotate node NODE"
            " --overwrite kubeadm.alpha.kubernetes.io/cri-socket=unix://NEW",
        ]

    def test_comes_back_if_kubelet_ends_without_it(self, short: Move) -> None:
        short.dies_from_now_on()
        short.lab.manager.follows["restart", SERVICE] = short.lives_again
        with pytest.raises(NodeError) as raised:
            short.finish()
        assert str(raised.value).replace(short.new, "NEW") == (
            "kubelet fails without criproxy: it has ended (exit-code), and its log ends: unknown service. criproxy is"
            " before it again, with the runtime NEW: mend that, and try again"
        )
        assert short.lab.tree.exists(MOVE_NOTE)
        assert DROP_IN[1:] in short.lab.files()
        assert short.lab.runtimes.served == {"": short.new}
        assert f"--container-runtime-endpoint=unix://{short.new}" in short.own_flags()
        short.lab.manager.follows.pop(KUBELET_STARTS)
        assert short.finish()  # once the reason has gone
        assert DROP_IN[1:] not in short.lab.files()

    def test_does_not_bring_kubelet_back_to_the_old_runtime_whatever_it_does(self, short: Move) -> None:
        short.dies_from_now_on()
        short.lab.manager.refuses = ("restart", SERVICE)
        with pytest.raises(NodeError, match=r"\. Nor does it live with criproxy: systemctl restart criproxy.service"):
            short.finish()
        assert f"--container-runtime-endpoint=unix://{short.new}" in short.own_flags()

    def test_does_not_watch_a_kubelet_that_did_not_live_before(self, short: Move) -> None:
        short.lab.manager.states["kubelet.service"] = UnitState(active="inactive")
        assert short.finish()

    def test_stays_where_kubelets_files_cannot_be_changed(self, short: Move) -> None:
        for path in short.lab.root.rglob("kubelet.service"):
            path.unlink()
        for path in short.lab.root.rglob("*-kubeadm.conf"):
            path.unlink()
        unit = f"[Service]\nExecStart=/usr/bin/kubelet --container-runtime-endpoint={short.old}\n"
        short.lab.put("/run/systemd/generator/kubelet.service", unit)
        with pytest.raises(NodeError, match="in a file that is made anew at each boot"):
            short.finish()
        assert (short.asked, short.steps) == (0, [])


class TestPodsThatAreLeft:
    def test_keep_the_move_going(self, move: Move) -> None:
        move.kubelet.old.run("web")
        move.kubelet.old.end(move.kubelet.old.run("once"))
        with pytest.raises(NodeError) as raised:
            move.finish()
        assert str(raised.value).replace(move.old, "OLD") == (
            "pods are left on OLD: default/once (it has ended, and its status and logs are there), default/web; nothing"
            " has been changed: wait until they are deleted, or let criproxy stop them one after the other (criproxy"
            " node migrate --finish --evict)"
        )
        assert (move.asked, move.steps, move.lab.files()) == (0, [], move.moving)
        assert sorted(move.kubelet.old.pods) == ["once", "web"]

    def test_are_named_up_to_a_number(self, move: Move) -> None:
        for number in range(23):
            move.kubelet.old.run(f"web-{number:02}", ())
        with pytest.raises(NodeError, match=r"default/web-18, default/web-19 and 3 more; nothing has been changed"):
            move.finish()

    def test_are_evicted_if_that_is_wanted(self, short: Move) -> None:
        short.kubelet.old.run("a", annotations=STATIC)
        short.kubelet.old.run("b", annotations=STATIC)
        short.kubelet.old.end(short.kubelet.old.run("once"))
        short.kubelet.never.append("once")
        assert short.finish(evicts=True)
        assert (short.kubelet.old.pods, sorted(short.kubelet.new.pods)) == ([], ["a", "b"])
        told = [line for line in short.said if line.startswith(("#", "default/"))]
        assert told == [
            "# default/a is stopped on OLD, and kubelet makes it anew on NEW",
            "# default/b is stopped on OLD, and kubelet makes it anew on NEW",
            "# what is left of default/once on OLD has ended and is removed, with its logs there",
            "# OLD goes from /etc/default/criproxy",
            "# criproxy is here only for the move and goes; kubelet is restarted once, on its own flags",
            "default/a: stopping main (at most 7 s)",
            "default/a is on NEW",
            "default/a has nothing on OLD any more",
            "default/b: stopping main (at most 7 s)",
            "default/b is on NEW",
            "default/b has nothing on OLD any more",
            "default/once has nothing on OLD any more",
        ]

    def test_are_not_stopped_while_no_kubelet_runs(self, move: Move) -> None:
        move.lab.manager.states["kubelet.service"] = UnitState(active="inactive")
        move.kubelet.old.run("a")
        with pytest.raises(NodeError, match=r"kubelet.service does not run, so nothing would make the pods on .* anew"):
            move.finish(evicts=True)
        assert move.kubelet.old.stopped == []

    def test_stay_if_one_of_them_does_not_come_back(self, move: Move) -> None:
        move.kubelet.busy = True
        move.kubelet.old.run("a")
        move.kubelet.old.run("b")
        with pytest.raises(NodeError, match="default/a has not come back"):
            move.finish(evicts=True)
        assert move.variables["CRI_RETIRING"] == move.old
        assert sorted(move.kubelet.old.pods) == ["a", "b"]

    def test_may_have_moved_by_themselves(self, move: Move) -> None:
        move.kubelet.old.end(move.kubelet.old.run("web"))
        move.kubelet.new.run("web")
        assert move.finish()
        assert "default/web has nothing on OLD any more" in move.said
        assert move.kubelet.old.pods == []

    def test_may_come_while_others_are_evicted(self, move: Move) -> None:
        """As a runtime's own pods, which no kubelet knows."""
        move.kubelet.old.run("a", annotations=STATIC)
        move.kubelet.old.on_stop = lambda: void(move.kubelet.old.run("late"))
        with pytest.raises(NodeError, match=r"pods are left on .*: default/late; the move goes on"):
            move.finish(evicts=True)
        assert move.variables["CRI_RETIRING"] == move.old


def void(value: Any) -> None:
    """Takes no notice of it."""


class TestAMove:
    def test_that_is_not_under_way_has_no_end(self, tmp_path: Path, move: Move) -> None:
        move.finish()
        with pytest.raises(NodeError, match=r"no move is under way: criproxy node migrate --to RUNTIME begins one"):
            move.finish()

    def test_whose_old_runtime_is_away_may_be_given_up(self, move: Move) -> None:
        move.lab.put(DEFAULTS, move.lab.text(DEFAULTS).replace(move.old, f"{move.old}.away"))
        with pytest.raises(NodeError, match=r"start it\. If it is never to come back: take CRI_RETIRING out of"):
            move.finish()

    def test_that_criproxy_does_not_know_of_has_to_be_applied(self, move: Move) -> None:
        move.lab.runtimes.served = {"": move.old}
        with pytest.raises(
            NodeError, match=r"criproxy has the primary runtime .*/old.sock, and .*: criproxy node apply"
        ):
            move.finish()

    def test_needs_a_criproxy_that_runs(self, move: Move) -> None:
        move.lab.runtimes.unreachable[SOCKET] = "Connection refused"
        with pytest.raises(
            NodeError, match=r"^criproxy does not answer: .*; start it \(systemctl start criproxy.service"
        ):
            move.finish()

    def test_goes_on_if_criproxy_does_not_take_the_change(self, short: Move) -> None:
        short.lab.manager.refuses = ("reload", SERVICE)
        with pytest.raises(NodeError, match=r"reload criproxy.service: refused; kubelet's files are as before"):
            short.finish()
        assert short.lab.files() == short.moving

    def test_goes_on_without_a_file_and_a_folder_that_were_made_for_its_end(self, short: Move) -> None:
        for path in short.lab.root.rglob("10-kubeadm.conf"):
            path.unlink()
        short.lab.put(
            "/usr/lib/systemd/system/kubelet.service",
            f"[Service]\nExecStart=/usr/bin/kubelet --container-runtime-endpoint=unix://{short.old}\n",
        )
        folder = short.lab.root / "etc/systemd/system/kubelet.service.d"
        (folder / "99-criproxy.conf").unlink()
        folder.rmdir()
        before = short.lab.files()
        short.lab.manager.refuses = ("daemon-reload",)
        with pytest.raises(NodeError, match=r"daemon-reload: refused; kubelet's files are as before"):
            short.finish()
        assert short.lab.files() == before

    def test_goes_on_if_a_file_cannot_be_written(self, short: Move) -> None:
        (short.lab.root / SAVED[1:]).mkdir()
        with pytest.raises(NodeError, match=r"kubelet's files are as before"):
            short.finish()
        assert f"unix://{short.old}" in short.lab.text(FLAGS)
        assert short.variables["CRI_RETIRING"] == short.old

    def test_leaves_the_ends_of_lines_as_they_are(self, short: Move) -> None:
        text = f"A=1\r\nKUBELET_KUBEADM_ARGS=--container-runtime-endpoint=unix://{short.old}\r\n".encode()
        (short.lab.root / FLAGS[1:]).write_bytes(text)
        short.finish()
        assert (short.lab.root / FLAGS[1:]).read_bytes() == text.replace(short.old.encode(), short.new.encode())

    def test_is_told_of_ends_of_lines_of_two_kinds(self, short: Move) -> None:
        text = f"A=1\nKUBELET_KUBEADM_ARGS=--container-runtime-endpoint=unix://{short.old}\r\n".encode()
        (short.lab.root / FLAGS[1:]).write_bytes(text)
        with pytest.raises(NodeError, match="ends of line of two kinds"):
            short.finish()
        assert (short.lab.root / FLAGS[1:]).read_bytes() == text


class TestAnEndThatIsInterrupted:
    @pytest.mark.parametrize("step", _STEPS)
    def test_goes_on_where_it_was(self, step: int, short: Move) -> None:
        disk = Disk(at=step)
        with pytest.MonkeyPatch.context() as patch:
            disk.put_under(patch)
            with contextlib.suppress(Killed):
                short.finish()
        done = not short.lab.tree.exists(MOVE_NOTE)
        if not done:
            assert short.finish()
        assert f"--container-runtime-endpoint=unix://{short.new}" in short.own_flags()
        assert not short.variables.get("CRI_RETIRING", "")
        assert DROP_IN[1:] not in short.lab.files()
        assert short.lab.files()[SAVED[1:]] == short.before[FLAGS[1:]]
        assert not [path for path in short.lab.files() if path.startswith(f"{SAVED[1:]}.")]

    @pytest.mark.parametrize(
        "words",
        [
            ("daemon-reload",),
            ("reload", SERVICE),
            KUBELET_STARTS,
            ("stop", SOCKET_UNIT, SERVICE),
            ("disable", SOCKET_UNIT, SERVICE),
        ],
    )
    def test_goes_on_whatever_of_systemds_was_done_last(self, words: Tuple[str, ...], short: Move) -> None:
        def killed() -> None:
            raise Killed

        lives = short.lab.manager.follows.get(words)
        short.lab.manager.follows[words] = killed
        with pytest.raises(Killed):
            short.finish()
        short.lab.manager.follows.pop(words)
        if lives is not None:
            lives()
            short.lab.manager.follows[words] = lives
        assert short.finish()
        assert f"--container-runtime-endpoint=unix://{short.new}" in short.own_flags()
        assert {SERVICE, SOCKET_UNIT}.isdisjoint(short.lab.manager.running_units)
        assert not short.lab.tree.exists(MOVE_NOTE)

    def test_all_steps_are_tried(self, short: Move) -> None:
        disk = Disk(at=_STEPS.stop)
        with pytest.MonkeyPatch.context() as patch:
            disk.put_under(patch)
            short.finish()
        assert not disk.struck
