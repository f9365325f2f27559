"""The packages' maintainer scripts: what they ask of ``criproxy node``, in each shell that a node may have as sh."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from criproxy import environment

BOTH = Path(__file__).parents[2] / "debian/both"
SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]
_PROGRAM = """\
#!/bin/sh
echo "$*" >> {called}
exit {status}
"""
_POLICY = """\
#!/bin/sh
echo "$*" >> {asked}
case "$*" in {forbidden}) exit {answer} ;; esac
exit 0
"""
_DEBCONF = """\
db_get() { RET=$(sed -n "s,^$1 ,,p" ANSWERS); }
db_set() { echo "set $1 $2" >> SAID; }
db_input() { echo "input $1 $2" >> SAID; }
db_go() { :; }
db_stop() { :; }
"""


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> List[str]:
    if not shutil.which(request.param[0]):
        pytest.skip(f"{request.param[0]} is not installed")
    return list(request.param)


class Scripts:
    """The scripts, with the places that they name below a directory."""

    def __init__(self, folder: Path, shell: List[str]) -> None:
        self._folder = folder
        self._shell = shell
        for name in ("bin", "usr/sbin", "usr/share/debconf", "etc/default", "var/lib/criproxy"):
            (folder / name).mkdir(parents=True)
        self.answers: Dict[str, str] = {}
        """debconf's; none is as on a node that has no debconf."""
        self.defaults = folder / "etc/default/criproxy"
        self.succeeds()

    def succeeds(self, status: int = 0) -> None:
        """What becomes of ``criproxy``."""
        self._executable("bin/criproxy", _PROGRAM.format(called=self._folder / "called", status=status))

    def policy(self, forbidden: str, answer: int) -> None:
        """Makes the administrator's policy answer so for an action (a shell pattern)."""
        text = _POLICY.format(asked=self._folder / "asked", forbidden=forbidden, answer=answer)
        self._executable("usr/sbin/policy-rc.d", text)

    def run(self, name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if self.answers:
            text = _DEBCONF.replace("ANSWERS", str(self._file("answers"))).replace("SAID", str(self._file("said")))
            self._file("usr/share/debconf/confmodule").write_text(text)
            self._file("answers").write_text("".join(f"{key} {value}\n" for key, value in self.answers.items()))
        script = (BOTH / name).read_text().replace("#POLICY#", (BOTH / "policy").read_text())
        for place in ("/usr/sbin/", "/usr/share/debconf/", "/etc/default/", "/var/lib/"):
            script = script.replace(place, f"{self._folder}{place}")
        self._file(name).write_text(script)
        path = f"{self._folder}/bin:/usr/bin:/bin"
        return subprocess.run(
            [*self._shell, str(self._file(name)), *words],
            env={"PATH": path, "DPKG_MAINTSCRIPT_PACKAGE": "criproxy", **environment},
            capture_output=True,
            text=True,
        )

    def lines(self, name: str) -> List[str]:
        """What has been ``called``, ``asked`` of the policy, or ``said`` to debconf."""
        file = self._file(name)
        return file.read_text().splitlines() if file.exists() else []

    def _file(self, name: str) -> Path:
        return self._folder / name

    def _executable(self, name: str, text: str) -> None:
        self._file(name).write_text(text)
        self._file(name).chmod(0o755)


@pytest.fixture
def scripts(tmp_path: Path, shell: List[str]) -> Scripts:
    return Scripts(tmp_path, shell)


ANSWERS = {"criproxy/primary_cri": "crio", "criproxy/other_cri": "a.b:/x,c.d:/y"}


# What is called.


def test_the_answers_count_at_first(scripts: Scripts) -> None:
    scripts.answers = ANSWERS
    assert scripts.run("postinst", "configure").returncode == 0
    assert scripts.lines("called") == ["node apply --primary crio --other a.b:/x,c.d:/y"]


def test_an_empty_answer_is_one_too(scripts: Scripts) -> None:
    scripts.answers = {**ANSWERS, "criproxy/other_cri": ""}
    scripts.run("postinst", "configure")
    assert scripts.lines("called") == ["node apply --primary crio --other "]


def test_the_operators_file_goes_before_the_answers(scripts: Scripts) -> None:
    scripts.answers = ANSWERS
    scripts.defaults.touch()
    scripts.run("postinst", "configure")
    assert scripts.lines("called") == ["node apply"]


def test_answers_that_have_just_been_given_go_before_the_operators_file(scripts: Scripts) -> None:
    scripts.answers = ANSWERS
    scripts.defaults.touch()
    scripts.run("postinst", "configure", DEBCONF_RECONFIGURE="1")
    assert scripts.lines("called") == ["node apply --primary crio --other a.b:/x,c.d:/y"]


@pytest.mark.parametrize(
    ("script", "words", "called"),
    [
        ("postinst", "configure", ["node apply"]),
        ("postinst", "triggered /lib/systemd/system/kubelet.service", ["node apply --again"]),
        ("postinst", "abort-remove", ["node apply"]),
        ("postinst", "abort-upgrade 1.0.0", []),
        ("prerm", "remove", ["node revert --force"]),
        ("prerm", "remove in-favour criproxy-nodeps 1.0.0", []),
        ("prerm", "remove in-favour criproxy 1.0.0", []),
        ("prerm", "remove in-favour another 1.0.0", ["node revert --force"]),
        ("prerm", "upgrade 1.0.1", []),
        ("prerm", "deconfigure in-favour another 1.0.0", []),
    ],
)
def test_a_node_without_debconf(script: str, words: str, called: List[str], scripts: Scripts) -> None:
    assert scripts.run(script, *words.split()).returncode == 0
    assert scripts.lines("called") == called


# The administrator's policy.


@pytest.mark.parametrize("answer", [101, 106])
@pytest.mark.parametrize(
    ("script", "word", "action", "called"),
    [
        ("postinst", "configure", "criproxy start", "node apply --files-only"),
        ("postinst", "configure", "kubelet restart", "node apply --files-only"),
        ("postinst", "triggered", "criproxy start", "node apply --files-only --again"),
        ("prerm", "remove", "criproxy stop", "node revert --force --files-only"),
        ("prerm", "remove", "kubelet restart", "node revert --force --files-only"),
    ],
)
def test_where_the_policy_forbids_an_action_only_files_are_written(
    script: str, word: str, action: str, called: str, answer: int, scripts: Scripts
) -> None:
    scripts.policy(f'"{action}"', answer)
    done = scripts.run(script, word)
    assert done.returncode == 0
    assert done.stderr == f'policy-rc.d forbids "{action}": no service is started, stopped or restarted\n'
    assert scripts.lines("called") == [called]


@pytest.mark.parametrize("answer", [0, 1, 100, 102, 104, 105])
def test_other_answers_of_the_policy_change_nothing(answer: int, scripts: Scripts) -> None:
    scripts.policy("*", answer)
    done = scripts.run("postinst", "configure")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert scripts.lines("called") == ["node apply"]
    assert scripts.lines("asked") == ["criproxy start", "kubelet restart"]


def test_the_policy_is_not_asked_for_what_is_not_done(scripts: Scripts) -> None:
    scripts.policy("*", 101)
    assert scripts.run("prerm", "upgrade", "1.0.1").stderr == ""
    assert scripts.lines("asked") == []


# What fails.


@pytest.mark.parametrize(
    ("words", "environment", "named"),
    [
        ("configure", {}, "dpkg --configure criproxy"),
        ("triggered /lib/systemd/system/kubelet.service", {}, "dpkg --configure criproxy"),
        ("configure", {"DEBCONF_RECONFIGURE": "1"}, "dpkg-reconfigure criproxy"),
    ],
)
def test_a_failure_names_the_command_that_goes_on(
    words: str, environment: Dict[str, str], named: str, scripts: Scripts
) -> None:
    scripts.succeeds(status=1)
    done = scripts.run("postinst", *words.split(), **environment)
    assert done.returncode == 1
    assert done.stderr == f"criproxy: to go on when that is mended: {named}\n"


def test_a_package_whose_node_cannot_be_given_back_stays(scripts: Scripts) -> None:
    scripts.succeeds(status=1)
    assert scripts.run("prerm", "remove").returncode == 1


# The questions.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CRI_PRIMARY=/run/crio/crio.sock\nCRI_OTHER=\n", ("crio", "")),
        ("CRI_PRIMARY='unix:///run/containerd/containerd.sock'\n", ("containerd", None)),
        ('CRI_PRIMARY="/my/own.sock"\nCRI_OTHER=a.b:/x,\\\nc.d:/y\n', ("/my/own.sock", "a.b:/x,c.d:/y")),
        ("CRI_PRIMARY=/first\n CRI_PRIMARY=/var/run/cri-dockerd.sock \n#CRI_OTHER=none\n", ("cri-dockerd", None)),
        ("CRI_OTHER=a.b:/x\\\n", (None, "a.b:/x")),
        (environment.assign("CRI_PRIMARY=/p\n", "CRI_OTHER", "a.b:/x,c.d:/y"), ("/p", "a.b:/x,c.d:/y")),
        ("", (None, None)),
    ],
)
def test_what_the_operators_file_says_is_the_answer(text: str, said: Tuple[str, str], scripts: Scripts) -> None:
    scripts.answers = ANSWERS
    scripts.defaults.write_text(text)
    assert scripts.run("config", "configure").returncode == 0
    wanted = zip(ANSWERS, said)
    assert scripts.lines("said") == [f"set {key} {value}" for key, value in wanted if value is not None]


def test_a_primary_runtime_that_was_worked_out_is_none_that_was_chosen(scripts: Scripts, tmp_path: Path) -> None:
    scripts.answers = ANSWERS
    (tmp_path / "var/lib/criproxy/primary").write_text("/run/crio/crio.sock\n")
    scripts.defaults.write_text("CRI_PRIMARY=/run/crio/crio.sock\n")
    scripts.run("config", "configure")
    assert scripts.lines("said") == ["set criproxy/primary_cri auto"]


def test_the_questions_are_of_medium_priority(scripts: Scripts) -> None:
    scripts.answers = ANSWERS
    scripts.run("config", "configure")
    assert scripts.lines("said") == ["input medium criproxy/primary_cri", "input medium criproxy/other_cri"]


def test_a_socket_of_the_operators_own_is_not_asked_for_among_the_choices(scripts: Scripts) -> None:
    scripts.answers = {**ANSWERS, "criproxy/primary_cri": "/my/own.sock"}
    scripts.run("config", "reconfigure")
    assert scripts.lines("said") == ["input medium criproxy/other_cri"]
