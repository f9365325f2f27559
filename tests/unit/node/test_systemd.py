"""What is asked of systemd, through a systemctl and a journalctl that take no more than those of 229 do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Dict, List, Sequence

import pytest

from criproxy.node import compat, units, watch
from criproxy.node import systemd as module
from criproxy.node.kubelet import NodeError
from criproxy.node.manager import UnitState
from criproxy.node.systemd import Systemd
from criproxy.node.tree import Tree

# Their manual pages of 229, less what is short for another.
OPTIONS = {
    "systemctl": (
        "type state property all recursive reverse after before full show-types job-mode fail ignore-inhibitors quiet"
        " no-block no-wall global no-reload no-ask-password kill-who signal force message now root runtime preset-mode"
        " lines output firmware-setup plain host machine no-pager no-legend version help system user"
    ),
    "journalctl": (
        "system user machine merge directory file root since until cursor after-cursor boot unit user-unit identifier"
        " priority dmesg output lines reverse show-cursor utc catalog no-full full all follow no-tail quiet pager-end"
        " interval verify-key force fields field list-boots disk-usage vacuum-size vacuum-time vacuum-files verify"
        " sync flush rotate header list-catalog dump-catalog update-catalog setup-keys no-pager version help"
    ),
}
_STAND_IN = """\
#!{python}
import json, os, sys, time
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with open({log!r}, "a") as log:
    print(json.dumps([name, *words]), file=log)
if name == "chroot":
    os.execv({folder!r} + "/" + words[1], words[1:])
for word in words:
    if word.startswith("-") and word[2:].partition("=")[0] not in {options!r}.get(name, "").split():
        sys.exit(f"{{name}}: unrecognized option '{{word}}'")
for wanted, printed, error, status in json.load(open({answers!r})):
    if set(wanted.split()) <= {{name, *words}}:
        if status is None:
            time.sleep(3600)
        sys.stdout.write(printed)
        sys.stderr.write(error)
        sys.exit(status)
"""


class Node:
    """A node with those two programs. An answer is for a call that has these words among its own; the first counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: List[Sequence[object]] = []
        for name in ("systemctl", "journalctl", "chroot"):
            program = folder / name
            places = {"log": str(folder / "log"), "answers": str(folder / "answers"), "folder": str(folder)}
            program.write_text(_STAND_IN.format(python=sys.executable, options=OPTIONS, **places))
            program.chmod(0o755)
        self.answer("nothing")

    def answer(self, words: str, printed: str = "", error: str = "", status: object = 0) -> None:
        self._answers.append((words, printed, error, status))
        (self._folder / "answers").write_text(json.dumps(self._answers))

    def calls(self) -> List[List[str]]:
        log = self._folder / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def lose(self, name: str) -> None:
        (self._folder / name).unlink()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("PATH", str(tmp_path))
    return Node(tmp_path)


@pytest.fixture
def systemd(node: Node) -> Systemd:
    """systemd, on a node that is booted with it."""
    made = Systemd(Tree("/"))
    made.running = True
    return made


@pytest.fixture
def image(node: Node, tmp_path: Path) -> Systemd:
    """The same in an image that is being built."""
    return Systemd(Tree(str(tmp_path / "image")))


# What is said.


def test_nothing_is_said_that_229_does_not_know(node: Node, systemd: Systemd, image: Systemd, tmp_path: Path) -> None:
    node.answer("systemctl --version", "systemd 229\n")
    node.answer("systemctl restart", error="Job failed.\n", status=1)
    assert systemd.version == image.version == 229
    systemd.do("daemon-reload")
    image.do("enable", "criproxy.service")
    with pytest.raises(NodeError):
        systemd.do("restart", "kubelet.service")
    systemd.state("kubelet.service")
    systemd.environment()
    systemd.restarts("kubelet.service", 5)
    systemd.failures("kubelet.service", 5)
    watch.age_of(systemd, "kubelet.service", watch.REAL)
    units.load(Tree(str(tmp_path)), "kubelet.service", manager=systemd)
    calls = [call for call in node.calls() if call[0] != "chroot"]
    assert {name for name, *_ in calls} == {"systemctl", "journalctl"}
    for name, *words in calls:
        options = [word.partition("=")[0] for word in words if word.startswith("-")]
        assert all(compat.OPTIONS[name][option] <= compat.OLDEST for option in options)
        properties = [word.partition("=")[2] for word in words if word.startswith("--property")]
        assert set(properties) <= compat.PROPERTIES.keys()
        verb = [word for word in words if not word.startswith("-")][:1]
        assert name != "systemctl" or "--version" in options or compat.VERBS[verb[0]] <= compat.OLDEST


def test_a_newer_option_would_be_noticed_here(node: Node, systemd: Systemd) -> None:
    with pytest.raises(NodeError, match="unrecognized option '--value'"):
        systemd.do("show", "--value", "kubelet.service")


# Versions.


@pytest.mark.parametrize(
    ("printed", "version"),
    [("systemd 229\n+PAM +AUDIT\n", 229), ("systemd 257 (257.9-1~deb13u1)\n", 257), ("systemd 262~rc1\n", 262)],
)
def test_its_version_is_what_systemctl_says(node: Node, systemd: Systemd, printed: str, version: int) -> None:
    node.answer("systemctl --version", printed)
    assert systemd.version == version


def test_an_image_is_asked_for_the_version_of_its_own(node: Node, image: Systemd, tmp_path: Path) -> None:
    node.answer("systemctl --version", "systemd 237\n")
    assert image.version == 237
    assert node.calls()[0] == ["chroot", str(tmp_path / "image"), "systemctl", "--version"]


def test_there_is_no_version_where_systemctl_does_not_say_it(node: Node, systemd: Systemd, image: Systemd) -> None:
    node.answer("systemctl --version", "mine 3\n")
    assert systemd.version == 0
    node.lose("systemctl")
    assert image.version == 0


# Properties.


def test_properties_come_by_their_names_and_those_that_are_not_known_are_empty(node: Node, systemd: Systemd) -> None:
    node.answer("systemctl show kubelet.service", "MainPID=7\nEnvironment=A=b=c D=\nOther=1\n")
    assert systemd.show("kubelet.service", "Environment", "MainPID", "NRestarts") == {
        "Environment": "A=b=c D=",
        "MainPID": "7",
        "NRestarts": "",
    }


def test_a_property_that_comes_several_times_has_a_line_for_each(node: Node, systemd: Systemd) -> None:
    node.answer(
        "systemctl show",
        "EnvironmentFiles=/etc/a (ignore_errors=yes)\nResult=success\nEnvironmentFiles=/etc/b (ignore_errors=no)\n",
    )
    found = systemd.show("kubelet.service", "EnvironmentFiles")["EnvironmentFiles"]
    assert found.split("\n") == ["/etc/a (ignore_errors=yes)", "/etc/b (ignore_errors=no)"]


def test_a_failure_is_none_if_the_properties_are_there(node: Node, systemd: Systemd) -> None:
    node.answer("systemctl show", "LoadState=not-found\n", error="Unit not found.\n", status=4)
    assert systemd.show("kubelet.service", "LoadState") == {"LoadState": "not-found"}


def test_a_manager_that_does_not_answer_is_an_error(node: Node, systemd: Systemd) -> None:
    node.answer("systemctl show", error="Failed to connect to bus: No such file\nmore\n", status=1)
    with pytest.raises(NodeError, match=r"^systemctl show .*kubelet.service: Failed to connect to bus: No such file$"):
        systemd.state("kubelet.service")


def test_a_state_says_what_systemd_says(node: Node, systemd: Systemd) -> None:
    printed = {
        "MainPID": "0",
        "NRestarts": "5",
        "Result": "exit-code",
        "LoadState": "loaded",
        "ActiveState": "activating",
        "SubState": "auto-restart",
    }
    node.answer("systemctl show kubelet.service", "".join(f"{name}={value}\n" for name, value in printed.items()))
    state = systemd.state("kubelet.service")
    assert state == UnitState("loaded", "activating", "auto-restart", 0, 5, "exit-code")
    assert state.runs
    assert state.restarting


def test_before_235_nobody_counts_restarts(node: Node, systemd: Systemd) -> None:
    node.answer("systemctl show", "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nResult=success\n")
    assert systemd.state("kubelet.service") == UnitState("loaded", "active", "running", 7, None, "success")


@pytest.mark.parametrize(
    ("active", "runs"),
    [
        ("active", True),
        ("reloading", True),
        ("activating", True),
        ("deactivating", True),
        ("inactive", False),
        ("failed", False),
        ("", False),
    ],
)
def test_a_unit_runs_unless_it_has_ended_for_good(active: str, runs: bool) -> None:
    assert UnitState(active=active).runs == runs


# Logs.


def test_its_last_words_are_those_of_its_last_process(node: Node, systemd: Systemd) -> None:
    node.answer("systemctl show", "ExecMainPID=42\n")
    node.answer(
        "journalctl --lines=2 _SYSTEMD_UNIT=kubelet.service _PID=42",
        "starting\n\n  unknown flag: --container-runtime\n",
    )
    assert systemd.last_words("kubelet.service", 2) == "starting; unknown flag: --container-runtime"


def test_they_are_systemds_if_it_has_died_without_any(node: Node, systemd: Systemd) -> None:
    node.answer("systemctl show", "ExecMainPID=42\n")
    node.answer("journalctl _PID=42")
    node.answer("journalctl --unit=criproxy.service", "Main process exited, code=killed, status=31/SYS\n")
    assert systemd.last_words("criproxy.service") == "Main process exited, code=killed, status=31/SYS"


def test_they_are_none_without_a_journal(node: Node, systemd: Systemd) -> None:
    node.lose("journalctl")
    assert systemd.last_words("kubelet.service") == ""
    assert systemd.restarts("kubelet.service", 5) == []


def test_its_restarts_are_told_with_their_times(node: Node, systemd: Systemd, image: Systemd) -> None:
    node.answer(
        "journalctl --output=short-monotonic --lines=5 UNIT=kubelet.service",
        "[   12.345678] node systemd[1]: kubelet.service: Scheduled restart job, restart counter is at 1.\n"
        "[10023.000001] node systemd[1]: kubelet.service: Scheduled restart job, restart counter is at 2.\n",
    )
    assert systemd.restarts("kubelet.service", 5) == [12.345678, 10023.000001]
    assert systemd.failures("kubelet.service", 5) == [12.345678, 10023.000001]
    assert image.restarts("kubelet.service", 5) == []


@pytest.mark.parametrize("verb", ["start", "restart", "reload"])
def test_a_unit_that_does_not_start_is_named_with_its_last_words(node: Node, systemd: Systemd, verb: str) -> None:
    node.answer(f"systemctl {verb}", error="Job for kubelet.service failed.\nSee more.\n", status=1)
    node.answer("journalctl _SYSTEMD_UNIT=kubelet.service", "unknown flag\n")
    with pytest.raises(NodeError) as raised:
        systemd.do(verb, "kubelet.service")
    wanted = f"systemctl {verb} kubelet.service: Job for kubelet.service failed. Its log ends: unknown flag"
    assert str(raised.value) == wanted


def test_what_fails_without_a_word_is_told_by_its_status(node: Node, systemd: Systemd) -> None:
    node.answer("systemctl stop", status=5)
    with pytest.raises(NodeError, match=r"^systemctl stop a.service: exit status 5$"):
        systemd.do("stop", "a.service")


# The manager's environment.


@pytest.mark.parametrize(
    ("printed", "wanted"),
    [
        ("", {}),
        ("LANG=C.UTF-8\nPATH=/usr/bin:/bin\n", {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}),
        ("A=$'a b'\nB=$'it\\'s'\nC=$'x\\ny\\\\\\001'\n", {"A": "a b", "B": "it's", "C": "x\ny\\\x01"}),
        ("A=\nB=$'\\303\\244 \u00f6'\n", {"A": "", "B": "\u00e4 \u00f6"}),
        ('A=a b\nB=x\ny "z"\nC=$\'\n', {"A": "a b", "B": 'x\ny "z"', "C": "$'"}),
    ],
    ids=["none", "plain", "quoted", "other alphabets", "of an older one, which does not quote"],
)
def test_variables_are_read_as_they_are_printed(
    node: Node, systemd: Systemd, printed: str, wanted: Dict[str, str]
) -> None:
    node.answer("systemctl show-environment", printed)
    assert systemd.environment() == wanted


# Without a manager, and with one that is stuck.


def test_without_a_manager_nothing_is_asked_and_units_are_enabled_in_the_image(
    node: Node, image: Systemd, tmp_path: Path
) -> None:
    assert not image.running
    assert image.show("kubelet.service", "MainPID") == {"MainPID": ""}
    assert image.state("kubelet.service") == UnitState()
    assert image.last_words("kubelet.service") == ""
    assert image.environment() == {}
    assert node.calls() == []
    image.do("enable", "criproxy.service")
    assert node.calls() == [["systemctl", f"--root={tmp_path / 'image'}", "enable", "criproxy.service"]]


def test_an_image_without_systemd_enables_nothing(node: Node, image: Systemd) -> None:
    node.lose("systemctl")
    image.do("enable", "criproxy.service")


def test_a_manager_without_systemctl_is_an_error(node: Node, systemd: Systemd) -> None:
    node.lose("systemctl")
    for ask in (lambda: systemd.do("daemon-reload"), lambda: systemd.state("a.service"), systemd.environment):
        with pytest.raises(NodeError, match=r"^systemctl .*No such file or directory"):
            ask()


def test_a_manager_that_is_stuck_is_an_error(node: Node, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.3)
    node.answer("systemctl", status=None)
    with pytest.raises(NodeError, match=r"^systemctl daemon-reload: .*timed out"):
        systemd.do("daemon-reload")
