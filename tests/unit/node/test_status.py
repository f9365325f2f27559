"""What is said of a node, and whether all is well with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from node_lab import FakeManager, Lab

from criproxy.node.kubelet import DROP_IN
from criproxy.node.manager import UnitState
from criproxy.node.plan import Wishes
from criproxy.node.status import Condition, Report, Verdict

CONTAINERD = "/run/containerd/containerd.sock"
IN_FORCE = "{ path=/usr/bin/kubelet ; argv[]=/usr/bin/kubelet --container-runtime-endpoint=unix:///run/criproxy.sock }"


@pytest.fixture
def turned(kubeadm: Lab) -> Lab:
    """A node that is turned over, and with which all is well."""
    kubeadm.node.apply(Wishes())
    kubeadm.manager.properties["kubelet.service", "ExecStart"] = IN_FORCE
    return kubeadm


def problem(lab: Lab) -> str:
    """The one thing that is not well."""
    report = lab.look.report()
    assert report.verdict is Verdict.NOT_WELL
    (found,) = report.problems
    assert f"not well: {found}" in report.text.splitlines()
    return found


def test_a_node_that_is_turned_over_and_well(turned: Lab) -> None:
    report = turned.look.report()
    assert report.verdict is Verdict.WELL
    assert report.text.splitlines() == [
        "kubelet is on criproxy (1.33.1)",
        "kubelet.service: running",
        "criproxy.socket: listening",
        "criproxy.service: running",
        "/run/criproxy.sock: containerd 1.7",
    ]


def test_a_node_that_is_not_turned_over(kubeadm: Lab) -> None:
    kubeadm.runtimes.unreachable["/run/criproxy.sock"] = "No such file or directory"
    report = kubeadm.look.report()
    assert report.verdict is Verdict.NOT_TURNED_OVER
    assert report.lines[0] == "kubelet is not on criproxy (1.33.1)"
    assert report.problems == []


def test_a_node_without_kubelet(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "", "1.33.1")
    assert lab.look.report().lines[0] == "kubelet is not on criproxy: kubelet is not installed"


def test_a_crash_loop_is_told_with_its_last_words(turned: Lab) -> None:
    turned.manager.states["kubelet.service"] = UnitState("loaded", "activating", "auto-restart", 0, 5, "exit-code")
    turned.manager.words["kubelet.service"] = "unknown flag: --container-runtime"
    assert problem(turned) == (
        "kubelet.service is restarting (5 times): unknown flag: --container-runtime. Next: journalctl -u"
        " kubelet.service"
    )


@pytest.mark.parametrize(
    ("ago", "text"), [(0.2, "5 times in 1 s"), (10.0, "5 times in 10 s"), (720.0 * 6, "5 times in 72 min")]
)
def test_a_crash_loop_is_told_with_how_often_in_how_long(turned: Lab, ago: float, text: str) -> None:
    now = turned.manager.clock.time = 200000.0
    turned.manager.states["kubelet.service"] = UnitState("loaded", "activating", "auto-restart", 0, 5, "exit-code")
    turned.manager.restarted["kubelet.service"] = [now - 100000.0, now - ago, *[now] * 4]
    assert problem(turned).startswith(f"kubelet.service is restarting ({text}). Next: ")


def test_a_crash_loop_is_told_between_two_crashes_too(turned: Lab) -> None:
    turned.manager.states["criproxy.service"] = UnitState("loaded", "active", "running", 100, 3, "success")
    assert problem(turned).startswith("criproxy.service is restarting (3 times)")
    turned.manager.clock.sleep(60.0)
    assert turned.look.report().verdict is Verdict.WELL, "it runs for a minute now"


@pytest.mark.parametrize("unit", ["criproxy.service", "criproxy.socket", "kubelet.service"])
def test_a_unit_that_is_stopped(turned: Lab, unit: str) -> None:
    turned.manager.do("stop", unit)
    assert problem(turned) == f"{unit} is inactive. Next: systemctl start {unit}"


def test_a_unit_that_has_failed(turned: Lab) -> None:
    turned.manager.states["kubelet.service"] = UnitState("loaded", "failed", "failed", 0, 0, "exit-code")
    turned.manager.words["kubelet.service"] = "no such flag"
    assert problem(turned).startswith("kubelet.service is failed (exit-code): no such flag. Next: ")


def test_a_masked_kubelet_is_said_to_be_masked(turned: Lab) -> None:
    turned.manager.states["kubelet.service"] = UnitState("masked", "inactive", "dead")
    assert problem(turned).startswith("kubelet.service is masked (systemctl unmask kubelet.service)")


def test_the_primary_runtime_is_gone(turned: Lab) -> None:
    turned.runtimes.unreachable["/run/criproxy.sock"] = "UNAVAILABLE: criproxy: the primary runtime is not available"
    assert "the primary runtime is not available. Next: criproxy status" in problem(turned)


def test_a_unit_that_systemd_has_not_loaded_anew(turned: Lab) -> None:
    turned.manager.properties["kubelet.service", "ExecStart"] = "{ path=/usr/bin/kubelet ; argv[]=/usr/bin/kubelet }"
    assert "Next: systemctl daemon-reload" in problem(turned)


def test_a_kubelet_that_was_started_before_the_change(turned: Lab) -> None:
    pid = turned.manager.state("kubelet.service").pid
    turned.put(f"/proc/{pid}/cmdline", "/usr/bin/kubelet\0--config=/x\0")
    assert problem(turned).endswith("Next: systemctl restart kubelet.service")


def test_kubelets_own_flags_name_another_runtime_by_now(turned: Lab) -> None:
    turned.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--container-runtime-endpoint=unix:///run/crio/crio.sock\n")
    assert "name the runtime /run/crio/crio.sock, and criproxy's primary one is" in problem(turned)
    turned.node.apply(Wishes(primary=CONTAINERD))
    assert turned.look.report().verdict is Verdict.WELL, "somebody wants it so"


def test_kubelets_own_flags_name_another_image_service_by_now(turned: Lab) -> None:
    turned.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--image-service-endpoint=unix:///run/lazy.sock\n")
    assert "name the image service /run/lazy.sock, and criproxy's is the primary runtime's own" in problem(turned)
    turned.node.apply(Wishes())
    assert turned.look.report().verdict is Verdict.WELL
    turned.put("/etc/default/kubelet", "")
    assert "name the image service of the runtime, and criproxy's is /run/lazy.sock" in problem(turned)
    turned.node.apply(Wishes(image_service="/run/lazy.sock"))
    assert turned.look.report().verdict is Verdict.WELL, "somebody wants it so"


def test_an_image_service_that_the_configuration_names_is_looked_at_too(turned: Lab) -> None:
    turned.put(
        "/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\nimageServiceEndpoint: unix:///run/lazy.sock\n"
    )
    assert "name the image service /run/lazy.sock" in problem(turned)


def test_the_socket_is_a_directory(turned: Lab) -> None:
    (turned.root / "run/criproxy.sock").mkdir(parents=True)
    assert problem(turned).startswith("/run/criproxy.sock is a directory, so criproxy cannot listen there. Next: rmdir")


def test_a_kubelet_that_cannot_be_worked_with(turned: Lab) -> None:
    turned.put("/etc/systemd/system/kubelet.service.d/50.conf", "[Service]\nExecStart=\nExecStart=/opt/start-it\n")
    assert "/opt/start-it" in problem(turned)


def test_in_a_folder_only_files_are_looked_at(turned: Lab) -> None:
    turned.manager = FakeManager(running=False)
    report = turned.look.report()
    assert (report.verdict, report.lines) == (Verdict.WELL, ["kubelet is on criproxy (1.33.1)"])
    (turned.root / DROP_IN[1:]).unlink()
    assert turned.look.report().verdict is Verdict.NOT_TURNED_OVER


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (UnitState("loaded", "active", "running", 100, 0, "success"), Condition.RUNS),
        (UnitState("loaded", "activating", "auto-restart", 0, 2, "exit-code"), Condition.RESTARTING),
        (UnitState("loaded", "activating", "auto-restart", 0, 3, "exit-code"), Condition.LOOPS),
        (UnitState("loaded", "activating", "auto-restart", 0, None, "exit-code"), Condition.LOOPS),
        (UnitState("loaded", "failed", "failed", 0, 0, "exit-code"), Condition.FAILED),
        (UnitState("loaded", "inactive", "dead"), Condition.STOPPED),
        (UnitState("masked", "inactive", "dead"), Condition.STOPPED),
        (UnitState("not-found", "inactive", "dead"), Condition.MISSING),
        (UnitState(), Condition.MISSING),
    ],
)
def test_a_unit_is_told_in_one_word_too(turned: Lab, state: UnitState, wanted: Condition) -> None:
    turned.manager.states["kubelet.service"] = state
    report = turned.look.report()
    assert [unit.name for unit in report.units] == ["kubelet.service", "criproxy.socket", "criproxy.service"]
    assert report.units[0].condition is wanted
    assert [unit.problem for unit in report.units if unit.problem] == report.problems
    assert bool(report.problems) is (wanted is not Condition.RUNS)


def test_who_asks_the_daemon_itself_has_no_runtime_asked(turned: Lab) -> None:
    turned.runtimes.unreachable["/run/criproxy.sock"] = "UNAVAILABLE: criproxy: the primary runtime is not available"
    report = turned.look.report(asks=False)
    assert report.verdict is Verdict.WELL
    assert report.lines[-1] == "criproxy.service: running"
    (turned.root / "run/criproxy.sock").mkdir(parents=True)
    assert "is a directory" in turned.look.report(asks=False).problems[0]


def test_the_verdict_is_an_exit_status() -> None:
    assert [Report(False).verdict, Report(True).verdict, Report(True, [], ["x"]).verdict] == [3, 0, 1]
