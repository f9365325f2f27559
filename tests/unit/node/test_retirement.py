"""A runtime that is retiring: what the node gets for it, and what keeps and what ends it."""

from __future__ import annotations

import os
from typing import List

import pytest
from node_lab import FakeManager, Lab

from criproxy.node import syntax
from criproxy.node.kubelet import DROP_IN, NodeError
from criproxy.node.plan import DEFAULTS, MOVE_NOTE, Wishes
from criproxy.node.runtimes import ReadyPod
from criproxy.node.status import Verdict

SERVICE = "/etc/systemd/system/criproxy.service"
SHIM = "/etc/systemd/system/dockershim.service"
CONTAINERD = "/run/containerd/containerd.sock"
CRIO = "/run/crio/crio.sock"
DOCKERSHIM = "/var/run/dockershim.sock"
SOCKET = "/run/criproxy.sock"
AWAY = "Connection refused"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here while a test runs."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture
def turned(kubeadm: Lab) -> Lab:
    """A node that is on criproxy, which says what it has behind it."""
    kubeadm.serve()
    kubeadm.node.apply(Wishes(other=""))
    kubeadm.manager.done.clear()
    return kubeadm


@pytest.fixture
def moving(turned: Lab) -> Lab:
    """One that moves from containerd to CRI-O, with a pod on each."""
    turned.node.apply(Wishes(primary="crio", retiring=CONTAINERD))
    turned.runtimes.listed_by = {
        CONTAINERD: [ReadyPod("1a", "default/old")],
        CRIO: [ReadyPod("2b", "default/new")],
        SOCKET: [ReadyPod("1a", "default/old"), ReadyPod("2b", "default/new")],
    }
    turned.manager.done.clear()
    return turned


def steps(lab: Lab) -> List[str]:
    return [" ".join(words) for words in lab.manager.done]


def runtimes(lab: Lab) -> List[str]:
    """The primary and the retiring runtime of the defaults."""
    found = syntax.variables("", lab.text(DEFAULTS))
    return [found["CRI_PRIMARY"], found.get("CRI_RETIRING", "")]


class TestWhatTheNodeGets:
    def test_is_one_reload_for_a_node_that_is_on_criproxy(self, turned: Lab) -> None:
        turned.node.apply(Wishes(primary="crio", retiring=CONTAINERD))
        assert runtimes(turned) == [CRIO, CONTAINERD]
        assert turned.runtimes.served == {"": CRIO, "retiring": CONTAINERD}
        assert [step for step in steps(turned) if not step.startswith(("daemon-reload", "enable"))] == [
            "start criproxy.socket",
            "reload criproxy.service",
        ]

    def test_is_all_at_once_for_one_that_is_not(self, kubeadm: Lab) -> None:
        kubeadm.serve()
        kubeadm.node.apply(Wishes(primary="crio", retiring=CONTAINERD, other="", only_for_a_move=True))
        assert runtimes(kubeadm) == [CRIO, CONTAINERD]
        assert steps(kubeadm)[-1] == "restart kubelet.service"
        assert (kubeadm.root / MOVE_NOTE[1:]).exists()
        kubeadm.node.revert()
        assert not (kubeadm.root / "var/lib/criproxy").exists()

    def test_is_a_service_that_starts_after_both(self, moving: Lab) -> None:
        assert "After=crio.service\nAfter=containerd.service\n" in moving.text(SERVICE)

    def test_is_a_dockershim_that_goes_on(self, old: Lab) -> None:
        old.serve()
        old.node.apply(Wishes())
        old.manager.done.clear()
        old.node.apply(Wishes(primary=CONTAINERD, retiring=DOCKERSHIM))
        assert "After=dockershim.service\nWants=dockershim.service\n" in old.text(SERVICE)
        assert "restart dockershim.service" not in steps(old)
        assert "stop dockershim.service" not in steps(old)
        old.node.apply(Wishes(retiring=""))
        assert "stop dockershim.service" in steps(old)
        assert not (old.root / SHIM[1:]).exists()

    def test_is_a_dockershim_of_its_own_where_docker_was_in_kubelet(self, old: Lab) -> None:
        old.serve()
        old.runtimes.unreachable = {DOCKERSHIM: "No such file"}
        old.node.apply(Wishes(primary=CONTAINERD, retiring=DOCKERSHIM, other=""))
        done = steps(old)
        assert done.index("restart dockershim.service") < done.index("restart criproxy.service")
        assert done[-1] == "restart kubelet.service"

    def test_is_the_old_primary_again_by_an_exchange(self, moving: Lab) -> None:
        moving.node.apply(Wishes(primary=CONTAINERD, retiring=CRIO))
        assert moving.runtimes.served == {"": CONTAINERD, "retiring": CRIO}
        assert "restart kubelet.service" not in steps(moving)

    def test_is_said_in_each_plan(self, moving: Lab) -> None:
        said = list(moving.node.prospects(moving.node.plan(Wishes())))
        text = f"this node moves to {CRIO}: new pods start there, and those on {CONTAINERD} stay until they end"
        assert said == [text, f"the primary runtime ({CRIO}) answers: containerd 1.7"]


class TestItIsKept:
    def test_by_a_later_apply_and_an_upgrade(self, moving: Lab) -> None:
        before = moving.files()
        for again in (False, True):
            moving.node.apply(Wishes(), again)
        moving.manager.clock.sleep(60.0)
        moving.program_age, moving.program = 30.0, "another"
        moving.node.apply(Wishes())
        assert "restart criproxy.service" in steps(moving)
        after = moving.files()
        del before["var/lib/criproxy/program"], after["var/lib/criproxy/program"]
        assert after == before
        assert moving.runtimes.served == {"": CRIO, "retiring": CONTAINERD}

    def test_by_answers_to_the_packages_questions(self, moving: Lab) -> None:
        moving.node.apply(Wishes(primary="crio", other="x.y:/run/x.sock"))
        assert runtimes(moving) == [CRIO, CONTAINERD]

    def test_by_one_that_is_stopped_meanwhile(self, moving: Lab) -> None:
        moving.runtimes.unreachable[CONTAINERD] = AWAY
        moving.node.apply(Wishes(other="x.y:/run/x.sock"))
        assert runtimes(moving) == [CRIO, CONTAINERD]

    def test_by_a_change_that_fails(self, moving: Lab) -> None:
        before = moving.files()
        moving.manager.refuses = ("enable", "criproxy.socket", "criproxy.service")
        with pytest.raises(NodeError, match="all changes have been undone"):
            moving.node.apply(Wishes(primary=CONTAINERD, retiring=CRIO))
        assert moving.files() == before

    def test_by_a_spelling_of_its_own(self, turned: Lab) -> None:
        turned.put(DEFAULTS, f"{turned.text(DEFAULTS)}CRI_RETIRING=unix:///run/b.sock\n")
        turned.node.apply(Wishes())
        assert turned.node.plan(Wishes()).retiring == "/run/b.sock"
        assert runtimes(turned) == [CONTAINERD, "unix:///run/b.sock"]


class TestItIsRefused:
    @pytest.mark.parametrize("primary", [CONTAINERD, f"/var{CONTAINERD}", "containerd", "auto"])
    def test_as_the_primary_runtime(self, moving: Lab, primary: str) -> None:
        before = moving.files()
        with pytest.raises(NodeError, match=f"{CONTAINERD} is retiring.*criproxy node migrate --back"):
            moving.node.apply(Wishes(primary=primary))
        assert moving.files() == before

    def test_as_an_alternative_runtime(self, moving: Lab) -> None:
        with pytest.raises(NodeError, match=f"{CONTAINERD} is retiring, so it cannot be the runtime 'x.y'"):
            moving.node.apply(Wishes(other=f"x.y:{CONTAINERD}"))

    def test_as_a_dockershim_that_this_kubelet_cannot_be(self, kubeadm: Lab) -> None:
        kubeadm.version = "1.20.2"
        with pytest.raises(NodeError, match=r"kubelet 1.20.2 has dockershim inside itself only .*Docker's pods"):
            kubeadm.node.apply(Wishes(primary=CONTAINERD, retiring=DOCKERSHIM))

    @pytest.mark.parametrize("away", [CRIO, CONTAINERD])
    def test_while_one_of_the_two_is_away(self, kubeadm: Lab, away: str) -> None:
        before = kubeadm.files()
        kubeadm.runtimes.unreachable[away] = AWAY
        with pytest.raises(NodeError, match=f"does not answer: {away}: {AWAY}; nothing has been changed: start it"):
            kubeadm.node.apply(Wishes(primary="crio", retiring=CONTAINERD))
        assert kubeadm.files() == before
        assert steps(kubeadm) == []

    def test_but_not_on_the_way_back_from_one_that_is_away(self, moving: Lab) -> None:
        moving.runtimes.unreachable[CRIO] = AWAY
        moving.node.apply(Wishes(primary=CONTAINERD, retiring=CRIO))
        assert runtimes(moving) == [CONTAINERD, CRIO]
        said = f"warning: the retiring runtime does not answer: {CRIO}: {AWAY}; kubelet cannot list its pods"
        assert any(line.startswith(said) for line in moving.said)

    def test_where_the_daemon_does_not_take_it(self, turned: Lab) -> None:
        turned.manager.follows.clear()
        before = turned.files()
        with pytest.raises(NodeError, match=f"still has the primary runtime {CONTAINERD}: journalctl.*undone"):
            turned.node.apply(Wishes(primary="crio", retiring=CONTAINERD))
        assert turned.files() == before

    def test_where_the_daemon_does_not_let_it_go(self, moving: Lab) -> None:
        moving.manager.follows.clear()
        moving.runtimes.listed_by[CONTAINERD] = []
        with pytest.raises(NodeError, match=f"still has the primary runtime {CRIO} and the retiring one {CONTAINERD}"):
            moving.node.apply(Wishes(retiring=""))
        assert runtimes(moving) == [CRIO, CONTAINERD]


class TestItsPods:
    def test_keep_it_from_being_left_out(self, moving: Lab) -> None:
        before = moving.files()
        with pytest.raises(NodeError, match=rf"lose pods that go on running: default/old \({CONTAINERD}\); nothing"):
            moving.node.apply(Wishes(retiring=""))
        assert moving.files() == before
        assert steps(moving) == []

    def test_let_it_go_when_they_have_ended(self, moving: Lab) -> None:
        moving.runtimes.listed_by[CONTAINERD] = []
        moving.node.apply(Wishes(retiring=""))
        assert runtimes(moving) == [CRIO, ""]
        assert moving.runtimes.served == {"": CRIO}
        assert "After=containerd.service" not in moving.text(SERVICE)

    def test_are_not_known_while_it_is_away(self, moving: Lab) -> None:
        moving.runtimes.unreachable[CONTAINERD] = AWAY
        with pytest.raises(NodeError, match=f"all that {CONTAINERD} has, which does not tell"):
            moving.node.apply(Wishes(retiring=""))

    def test_of_the_primary_keep_another_from_its_place(self, moving: Lab) -> None:
        with pytest.raises(NodeError, match=rf"default/new \({CRIO}\); nothing has been changed"):
            moving.node.apply(Wishes(primary="/run/c.sock"))

    def test_of_alternatives_are_known_by_their_ids_as_ever(self, moving: Lab) -> None:
        moving.node.apply(Wishes(other="x.y:/run/x.sock"))
        moving.runtimes.listed_by[SOCKET].append(ReadyPod("x.y__3c", "default/x"))
        with pytest.raises(NodeError, match=r"go on running: default/x \(x.y\); nothing has been changed"):
            moving.node.apply(Wishes(other=""))


class TestTheNodeIsGivenBack:
    def test_to_the_runtime_that_kubelets_flags_name_and_the_pods_of_the_other_are_named(self, moving: Lab) -> None:
        before = moving.files()
        with pytest.raises(NodeError, match=rf"running: default/new \({CRIO}\); nothing.*migrate --finish.*--force"):
            moving.node.revert()
        assert moving.files() == before
        assert steps(moving) == []

    def test_whichever_that_is(self, moving: Lab) -> None:
        moving.put(
            "/var/lib/kubelet/kubeadm-flags.env",
            f'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///var{CRIO}"\n',
        )
        with pytest.raises(NodeError, match=rf"running: default/old \({CONTAINERD}\); nothing"):
            moving.node.revert()

    def test_not_while_criproxy_is_stopped_either(self, moving: Lab) -> None:
        moving.manager.do("stop", "criproxy.service")
        moving.runtimes.unreachable[SOCKET] = AWAY
        with pytest.raises(NodeError, match=rf"running: default/new \({CRIO}\); nothing"):
            moving.node.revert()

    def test_with_those_of_both_named_if_kubelets_flags_are_not_understood(self, moving: Lab) -> None:
        moving.put("/etc/systemd/system/kubelet.service.d/50.conf", "[Service]\nExecStart=\nExecStart=/opt/start-it\n")
        with pytest.raises(NodeError, match=rf"default/new \({CRIO}\), default/old \({CONTAINERD}\); nothing"):
            moving.node.revert()

    def test_if_nothing_would_be_lost(self, moving: Lab) -> None:
        moving.runtimes.listed_by[CRIO] = []
        moving.node.revert()
        assert DROP_IN[1:] not in moving.files()

    def test_by_force(self, moving: Lab) -> None:
        moving.changed(force=True).revert()
        assert any(f"default/new ({CRIO})" in line for line in moving.said)
        assert DROP_IN[1:] not in moving.files()

    def test_without_kubelet_there_is_nothing_to_lose(self, moving: Lab) -> None:
        (moving.root / "usr/lib/systemd/system/kubelet.service").unlink()
        moving.node.revert()
        assert DROP_IN[1:] not in moving.files()

    def test_where_no_systemd_runs_nobody_is_asked(self, moving: Lab) -> None:
        moving.manager = FakeManager(running=False)
        moving.node.revert()
        assert DROP_IN[1:] not in moving.files()


class TestItIsToldOf:
    @pytest.fixture
    def well(self, moving: Lab) -> Lab:
        """All else is well."""
        endpoint = "--container-runtime-endpoint=unix:///run/criproxy.sock"
        moving.manager.properties["kubelet.service", "ExecStart"] = f"{{ argv[]=/usr/bin/kubelet {endpoint} }}"
        return moving

    def test_with_the_pods_that_are_left(self, well: Lab) -> None:
        report = well.look.report()
        assert (report.verdict, report.problems) == (Verdict.WELL, [])
        assert report.lines[-2:] == [
            f"this node moves to {CRIO}: new pods start there, and those on {CONTAINERD} stay until they end (criproxy"
            " node migrate --finish ends it)",
            f"pods that run on {CONTAINERD}: 1",
        ]

    def test_while_it_is_away_as_what_kubelet_cannot_work_with(self, well: Lab) -> None:
        well.runtimes.unreachable[CONTAINERD] = AWAY
        (problem,) = well.look.report().grave
        assert problem.startswith("the retiring runtime does not answer, and kubelet cannot list its pods: ")

    def test_but_is_not_asked_by_who_has_it_from_the_daemon(self, well: Lab) -> None:
        well.runtimes.unreachable[CONTAINERD] = AWAY
        report = well.look.report(asks=False)
        assert report.problems == []
        assert report.move == report.lines[-1]

    def test_when_its_move_has_been_interrupted(self, kubeadm: Lab) -> None:
        kubeadm.put(DEFAULTS, f"CRI_PRIMARY={CRIO}\nCRI_RETIRING={CONTAINERD}\n")
        assert kubeadm.look.report().move == "", "it may be from an earlier life of this node"
        kubeadm.put(MOVE_NOTE, "yes\n")
        text = f"a move to {CRIO} has been interrupted. Next: criproxy node migrate --to {CRIO}, or --back"
        assert kubeadm.look.report().lines[-1] == text
