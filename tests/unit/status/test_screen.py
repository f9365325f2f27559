"""What ``criproxy status`` shows of a daemon and of a node, in each state, as text of a terminal's width."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest
from node_lab import FakeManager, Lab

from criproxy.control.api import control
from criproxy.node.kubelet import NodeError
from criproxy.node.manager import UnitState
from criproxy.node.plan import Wishes
from criproxy.node.status import Report
from criproxy.operate.pods import LeftPod
from criproxy.status import look, view
from criproxy.status.command import shown
from criproxy.status.judgement import Level, judge, level_of
from criproxy.status.look import Seen
from criproxy.terminal import Terminal

NOW = 1_764_504_000.0  # 2025-11-30 12:00:00
IN_FORCE = "{ path=/usr/bin/kubelet ; argv[]=/usr/bin/kubelet --container-runtime-endpoint=unix:///run/criproxy.sock }"
DAEMON = {
    "version": "1.0.0",
    "compiled": True,
    "pid": 812,
    "started_at": NOW - 3 * 86400,
    "state": 1,
    "listen": "/run/criproxy.sock",
    "loaded_at": NOW - 7300,
}
PRIMARY = {
    "socket": "/run/containerd/containerd.sock",
    "state": 1,
    "since": NOW - 3 * 86400,
    "name": "containerd",
    "version": "v1.7.24",
    "cri_versions": ["v1"],
    "inventory": {"pods": 12, "containers": 30, "images": 41},
    "calls_in_flight": 2,
    "recent": {"period": 300, "calls": 4031, "p50": 0.0031, "p99": 0.21},
}
ALTERNATIVE = {
    "id": "virtlet.cloud",
    "role": 1,
    "socket": "/run/virtlet.sock",
    "state": 1,
    "since": NOW - 300,
    "name": "virtlet",
    "version": "1.5.1",
    "cri_versions": ["v1alpha2"],
    "inventory": {"pods": 3, "containers": 3, "images": -1},
    "recent": {
        "period": 300,
        "calls": 900,
        "errors": [{"code": "NOT_FOUND", "calls": 2}, {"code": "UNAVAILABLE", "calls": 1}],
        "p50": 0.012,
        "p99": 31.4,
    },
}
AWAY = {
    "state": 0,
    "since": NOW - 14,
    "reason": "connection refused",
    "inventory": None,
    "absence": {"pods": 3, "since": NOW - 14, "remaining": 46},
}
CLIENTS = [
    {"pid": 700, "uid": 0, "name": "kubelet", "calls_in_flight": 1},
    {"pid": 700, "uid": 0, "name": "kubelet"},
    {"pid": 900, "uid": 0, "name": "crictl"},
]


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def turned(tmp_path: Path) -> Lab:
    """A node that is turned over, and with which all is well."""
    lab = Lab(tmp_path, "kubeadm", "1.33.1")
    lab.node.apply(Wishes())
    lab.manager.properties["kubelet.service", "ExecStart"] = IN_FORCE
    return lab


def answer(
    daemon: Optional[Dict[str, Any]] = None,
    primary: Optional[Dict[str, Any]] = None,
    alternative: Optional[Dict[str, Any]] = None,
) -> Any:
    """The daemon's answer, with some of its fields changed."""
    return control().messages["StatusResponse"](
        daemon={**DAEMON, **(daemon or {})},
        runtimes=[{**PRIMARY, **(primary or {})}, {**ALTERNATIVE, **(alternative or {})}],
        clients=CLIENTS,
    )


def seen(lab: Lab, told: Optional[Any], silence: str = "") -> Seen:
    return Seen(NOW, "/run/criproxy/control.sock", told, silence, lab.look.report(asks=False), "")


def screen(found: Seen, width: int = 80) -> List[str]:
    lines = shown(found, "table", Terminal(width)).split("\n")
    assert [line for line in lines if len(line) > width] == []
    return lines


def level(found: Seen) -> Level:
    return level_of(judge(found))


HEAD = [
    "kubelet    1.33.1, on criproxy, running",
    "criproxy   1.0.0 (compiled), pid 812, since 2025-11-27 12:00:00 (3 d)",
    "           configuration of 2025-11-30 09:58:20 (2 h)",
    "clients    kubelet (pid 700), 2 connections, 1 call; crictl (pid 900)",
    "",
    "RUNTIMES (CALLS: in flight; ERRORS, P50, P99: of the last 5 minutes)",
]
UP = [
    "RUNTIME        STATE     PODS  CTRS  IMAGES  CALLS  ERRORS     P50     P99",
    "(primary)      up 3 d      12    30      41      2       0  3.1 ms  210 ms",
    "  containerd v1.7.24, CRI v1, /run/containerd/containerd.sock",
    "virtlet.cloud  up 5 min     3     3       -      0       3   12 ms  31.4 s",
    "  virtlet 1.5.1, CRI v1alpha2, /run/virtlet.sock",
    "",
]


# Each state.


@pytest.mark.parametrize("width", [80, 120])
def test_all_is_well(turned: Lab, width: int) -> None:
    found = seen(turned, answer())
    assert screen(found, width) == [*HEAD, *UP, "all is well"]
    assert level(found) is Level.WELL


def test_an_alternative_is_away(turned: Lab) -> None:
    found = seen(turned, answer(alternative=AWAY))
    assert screen(found) == [
        *HEAD,
        "RUNTIME        STATE      PODS  CTRS  IMAGES  CALLS  ERRORS     P50     P99",
        "(primary)      up 3 d       12    30      41      2       0  3.1 ms  210 ms",
        "  containerd v1.7.24, CRI v1, /run/containerd/containerd.sock",
        "virtlet.cloud  away 14 s     -     -       -      0       3   12 ms  31.4 s",
        "  /run/virtlet.sock: connection refused; 3 pods remembered for another 46 s",
        "",
        'degraded: runtime "virtlet.cloud" has been away for 14 s: connection refused.',
        "          Next: start what serves /run/virtlet.sock; criproxy finds it by itself",
    ]
    assert screen(found, 120)[-2:] == [
        'degraded: runtime "virtlet.cloud" has been away for 14 s: connection refused. Next: start what serves'
        " /run/virtlet.sock;",
        "          criproxy finds it by itself",
    ]
    assert level(found) is Level.DEGRADED


@pytest.mark.parametrize("role", ["ROLE_PRIMARY", "ROLE_IMAGE_SERVICE"])
def test_the_primary_is_away_or_a_part_of_it(turned: Lab, role: str) -> None:
    number = control().enums["Role"][role]
    found = seen(turned, answer(primary={**AWAY, "role": number, "absence": None}))
    lines = screen(found)
    assert "  /run/containerd/containerd.sock: connection refused" in lines
    assert lines[-3].startswith("down: the primary runtime")
    assert screen(found, 120)[-1].endswith("criproxy finds it by itself")
    assert level(found) is Level.DOWN


def test_the_worst_is_said_first(turned: Lab) -> None:
    found = seen(turned, answer(primary={**AWAY, "absence": None}, alternative=AWAY))
    assert [finding.level for finding in judge(found)] == [Level.DOWN, Level.DEGRADED]


@pytest.mark.parametrize("width", [80, 120])
def test_an_alternative_is_drained_which_somebody_wanted(turned: Lab, width: int) -> None:
    found = seen(turned, answer(alternative={"drained": True}))
    drained = "  drained: it gets no new pods (criproxy undrain virtlet.cloud lets it have them again)"
    shown = screen(found, width)
    assert " ".join(shown).split() == " ".join([*HEAD, *UP[:-1], drained, "", "all is well"]).split()
    assert level(found) is Level.WELL


RETIRES = {"id": "retiring", "role": control().enums["Role"]["ROLE_RETIRING"], "socket": "/run/old.sock"}


def retiring(lab: Lab, left: Optional[List[LeftPod]], **more: Any) -> Seen:
    return replace(seen(lab, answer(alternative={**RETIRES, **more})), left=left)


@pytest.mark.parametrize(
    ("left", "text"),
    [
        ([], "nothing is left on it. Next: criproxy node migrate --finish"),
        (["a"], "1 pod left on it (default/a). When all are gone: criproxy node migrate --finish"),
        (
            ["a", "-b"],
            "1 pod left on it (default/a), ended: 1. When all are gone: criproxy node migrate --finish",
        ),
        (["-b"], "0 pods left on it, ended: 1. When all are gone: criproxy node migrate --finish"),
        (
            list("abcde"),
            "5 pods left on it (default/a, default/b, default/c and 2 more). When all are gone: criproxy node",
        ),
    ],
)
def test_a_runtime_is_retiring_with_what_is_left_on_it(turned: Lab, left: List[str], text: str) -> None:
    pods = [LeftPod(f"default/{name.strip('-')}", name, not name.startswith("-")) for name in left]
    found = retiring(turned, pods)
    assert f"retiring: it gets no new pods; {text}" in " ".join(" ".join(screen(found)).split())
    assert level(found) is Level.WELL
    told = json.loads(shown(found, "json", Terminal()))
    assert [pod["name"] for pod in told["left"]] == [pod.name for pod in pods]


def test_a_retiring_runtime_is_away(turned: Lab) -> None:
    found = retiring(turned, None, **{**AWAY, "absence": None})
    assert "  retiring: it gets no new pods" in screen(found)
    assert any(line.startswith("down: the retiring runtime has been away for 14 s") for line in screen(found))
    assert level(found) is Level.DOWN
    assert json.loads(shown(found, "json", Terminal()))["left"] is None


@pytest.mark.parametrize("width", [80, 120])
def test_new_pods_go_to_an_alternative_by_rules(turned: Lab, width: int) -> None:
    routes = [{"rule": "namespace in (a, b)", "runtime": "virtlet.cloud"}, {"rule": "10%", "runtime": "virtlet.cloud"}]
    found = seen(turned, answer({"routes": routes}))
    rules = '  new pods by the rules "namespace in (a, b)", "10%" (criproxy route list)'
    assert " ".join(screen(found, width)).split() == " ".join([*HEAD, *UP[:-1], rules, "", "all is well"]).split()
    found = seen(turned, answer({"routes": routes[1:]}))
    assert '  new pods by the rule "10%" (criproxy route list)' in screen(found, width)
    assert level(found) is Level.WELL


@pytest.mark.parametrize("width", [80, 120])
def test_the_verbosity_is_not_the_configured_one(turned: Lab, width: int) -> None:
    found = seen(turned, answer({"verbosity": {"level": 5, "configured": 2, "remaining": 540}}))
    assert screen(found, width)[3] == "           verbosity 5 for another 9 min; configured: 2 (criproxy log-level)"
    assert level(found) is Level.WELL


def test_a_reload_was_refused(turned: Lab) -> None:
    reason = "/etc/criproxy/criproxy.conf, line 3: verbosity: 'high' is not a number"
    found = seen(turned, answer({"refusal": {"at": NOW - 12, "reason": reason}}))
    assert screen(found)[3:5] == [
        "           reload refused 12 s ago: /etc/criproxy/criproxy.conf, line 3:",
        "           verbosity: 'high' is not a number",
    ]
    assert screen(found, 120)[3] == f"           reload refused 12 s ago: {reason}"
    assert level(found) is Level.DEGRADED


def test_the_daemon_does_not_run(turned: Lab) -> None:
    turned.manager.do("stop", "criproxy.service")
    found = seen(turned, None, "No such file or directory")
    assert screen(found) == [
        "kubelet    1.33.1, on criproxy, running",
        "criproxy   no answer on /run/criproxy/control.sock: No such file or directory",
        "           criproxy.socket: listening",
        "           criproxy.service: inactive",
        "",
        "down: criproxy does not answer on /run/criproxy/control.sock: No such file or",
        "      directory",
        "degraded: criproxy.service is inactive. Next: systemctl start criproxy.service",
    ]
    assert len(screen(found, 120)) == 7
    assert level(found) is Level.DOWN


def test_kubelet_is_in_a_crash_loop(turned: Lab) -> None:
    turned.manager.states["kubelet.service"] = UnitState("loaded", "activating", "auto-restart", 0, 5, "exit-code")
    turned.manager.words["kubelet.service"] = "unknown flag: --container-runtime"
    found = seen(turned, answer())
    lines = screen(found)
    assert lines[:2] == [
        "kubelet    1.33.1, on criproxy, restarting (5 times): unknown flag:",
        "           --container-runtime",
    ]
    assert lines[-2:] == [
        "down: kubelet.service is restarting (5 times): unknown flag:",
        "      --container-runtime. Next: journalctl -u kubelet.service",
    ]
    assert screen(found, 120)[-1] == (
        "down: kubelet.service is restarting (5 times): unknown flag: --container-runtime. Next: journalctl -u"
        " kubelet.service"
    )
    assert level(found) is Level.DOWN


def test_kubelets_flags_lead_elsewhere(turned: Lab) -> None:
    turned.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--container-runtime-endpoint=unix:///run/crio/crio.sock\n")
    found = seen(turned, answer())
    assert screen(found)[-5] == "degraded: kubelet's own flags or configuration name the runtime"
    assert len(screen(found, 120)[-1]) < 120
    assert level(found) is Level.DEGRADED


def test_a_node_that_is_not_turned_over(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "kubeadm", "1.33.1")
    found = seen(lab, answer())
    assert screen(found)[0] == "kubelet    1.33.1, not on criproxy (this node is not turned over), running"
    assert level(found) is Level.WELL, "somebody runs it by hand"
    assert screen(seen(lab, None, "No such file or directory"))[-2:] == [
        "      directory. This node is not turned over. Next: criproxy node plan shows",
        "      what criproxy node apply would do",
    ]


def test_a_node_without_systemd(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "kubeadm", "1.33.1")
    lab.manager = FakeManager(running=False)
    assert screen(seen(lab, answer()))[0] == "kubelet    not looked at: systemd does not run here"
    assert screen(seen(lab, None, "No such file or directory"))[-1].endswith("(--socket)")


# What decides the exit status.


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (UnitState("loaded", "active", "running", 100, 0, "success"), Level.WELL),
        (UnitState("loaded", "activating", "auto-restart", 0, 1, "exit-code"), Level.DEGRADED),
        (UnitState("loaded", "activating", "auto-restart", 0, 3, "exit-code"), Level.DOWN),
        (UnitState("loaded", "activating", "auto-restart", 0, None, "exit-code"), Level.DOWN),
        (UnitState("loaded", "failed", "failed", 0, 0, "exit-code"), Level.DOWN),
        (UnitState("loaded", "inactive", "dead"), Level.DOWN),
        (UnitState("masked", "inactive", "dead"), Level.DOWN),
    ],
)
def test_how_kubelet_is(turned: Lab, state: UnitState, wanted: Level) -> None:
    turned.manager.states["kubelet.service"] = state
    assert level(seen(turned, answer())) is wanted


@pytest.mark.parametrize(
    ("daemon", "primary", "wanted"),
    [
        ("DAEMON_SERVING", "RUNTIME_UP", Level.WELL),
        ("DAEMON_STARTING", "RUNTIME_STARTING", Level.DEGRADED),
        ("DAEMON_STOPPING", "RUNTIME_UP", Level.DEGRADED),
        ("DAEMON_SERVING", "RUNTIME_AWAY", Level.DOWN),
    ],
)
def test_how_the_daemon_is(turned: Lab, daemon: str, primary: str, wanted: Level) -> None:
    numbers = {**control().enums["DaemonState"], **control().enums["RuntimeState"]}
    told = answer({"state": numbers[daemon]}, {"state": numbers[primary]})
    assert level(seen(turned, told)) is wanted


def test_who_may_not_ask_is_told_so(turned: Lab) -> None:
    found = seen(turned, None, "Permission denied")
    assert judge(found)[0].text.endswith("Permission denied. Next: run this as root")
    assert level(found) is Level.DOWN


def test_a_daemon_that_runs_without_that_socket(turned: Lab) -> None:
    found = seen(turned, None, "No such file or directory")
    assert "journalctl -u criproxy.service says whether it has that socket" in judge(found)[0].text


def test_a_node_that_cannot_be_looked_at_does_not_hide_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Report:
        raise NodeError("systemctl: no answer")

    monkeypatch.setattr(look, "_asked", lambda socket: (answer(), ""))
    found = look.look("/run/criproxy/control.sock", fail, lambda: NOW)
    assert screen(found)[0] == "kubelet    not looked at: systemctl: no answer"
    assert level(found) is Level.WELL


# Other forms.


def test_wide_is_a_line_for_each_runtime(turned: Lab) -> None:
    lines = shown(seen(turned, answer()), "wide", Terminal(80)).split("\n")
    (line,) = (line for line in lines if line.startswith("virtlet.cloud"))
    assert line.split("  ")[0:2] == ["virtlet.cloud", "up"]
    for part in ("2025-11-30 11:55:00 (5 min)", "1.5.1", "v1alpha2", "/run/virtlet.sock", "2 NOT_FOUND, 1 UNAVAILABLE"):
        assert part in line


def test_json_has_the_daemons_messages_the_node_and_the_verdict(turned: Lab) -> None:
    told = json.loads(shown(seen(turned, answer(alternative=AWAY)), "json", Terminal(80)))
    assert list(told) == [
        "level",
        "findings",
        "at",
        "socket",
        "silence",
        "daemon",
        "runtimes",
        "clients",
        "node",
        "left",
    ]
    assert (told["level"], told["findings"][0]["level"]) == ("degraded", "degraded")
    first, second = told["runtimes"]
    assert (first["id"], first["role"], first["state"]) == ("", "ROLE_PRIMARY", "RUNTIME_UP")
    assert first["inventory"] == {"pods": 12, "containers": 30, "images": 41}
    assert second["absence"]["pods"] == 3
    assert second["recent"]["errors"][0] == {"code": "NOT_FOUND", "calls": 2}
    assert told["daemon"]["startedAt"] == NOW - 3 * 86400
    assert told["node"]["turnedOver"] is True
    assert told["node"]["units"][0] == {
        "name": "kubelet.service",
        "condition": "runs",
        "text": "running",
        "restarts": 0,
    }


def test_json_of_a_daemon_that_does_not_run_has_the_same_keys(turned: Lab) -> None:
    there = view.as_json(seen(turned, answer()), [])
    away = view.as_json(seen(turned, None, "No such file or directory"), [])
    assert list(there) == list(away)
    assert (away["daemon"], away["runtimes"]) == (None, [])


def test_colour_is_for_terminals_and_says_nothing_that_words_do_not(turned: Lab) -> None:
    found = seen(turned, answer(alternative=AWAY))
    coloured = shown(found, "table", Terminal(80, True))
    assert "\x1b[31maway 14 s\x1b[0m" in coloured
    plain = shown(found, "table", Terminal(80))
    assert re.sub("\x1b\\[\\d*m", "", coloured) == plain
    assert "\x1b" not in plain


def test_nothing_that_somebody_says_steers_the_terminal(turned: Lab) -> None:
    evil = "\x1b[2Jevil\nall is well"
    told = answer(
        {"refusal": {"at": NOW, "reason": evil}},
        {"name": evil, "version": evil, "socket": f"/run/{evil}"},
        {**AWAY, "reason": evil},
    )
    told.clients[0].name = evil
    for output in ("table", "wide"):
        text = shown(seen(turned, told), output, Terminal(80))
        assert "\x1b" not in text
        assert "all is well" not in text.split("\n")


def test_a_long_id_is_cut_so_that_the_numbers_fit(turned: Lab) -> None:
    found = seen(turned, answer(alternative={"id": f"{'runtime' * 9}.example.com"}))
    lines = screen(found)
    (line,) = (line for line in lines if line.startswith("runtimeruntime"))
    assert "..." in line
    assert line.endswith("31.4 s")
