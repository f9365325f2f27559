"""The words of ``criproxy node migrate``: who is asked, what is shown, and the exit status."""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import List, Sequence

import pytest
from node_lab import Lab

from criproxy.inspection.findings import Finding, right, wrong
from criproxy.migrate import checks, command, images
from criproxy.migrate.command import main
from criproxy.migrate.images import Image
from criproxy.migrate.scene import Scene
from criproxy.node.plan import Wishes

CRIO = "/run/crio/crio.sock"
CONTAINERD = "/run/containerd/containerd.sock"
MOVED = {"": CRIO, "retiring": CONTAINERD}


class _Terminal(io.StringIO):
    """Somebody who has typed that."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here while a test runs."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> List[Finding]:
    """What is found of the two runtimes, of which the new one has all images."""
    findings = [right("new runtime", "answer", "cri-o 1.33")]
    none: Sequence[Image] = ()
    monkeypatch.setattr(checks, "examine", lambda *_: findings)
    monkeypatch.setattr(images, "lacking", lambda *_: none)
    return findings


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: List[Finding]) -> Lab:
    """A node that is on criproxy, and is what the command is about."""
    node = Lab(tmp_path, "kubeadm", "1.33.1")
    node.serve()
    node.node.apply(Wishes(other=""))

    def scene(options: argparse.Namespace) -> Scene:
        agreed = command._agreed(options.yes)
        return Scene(node.tree, node.manager, node.ask, node.runtimes, lambda: node.node, print, agreed, options.watch)

    monkeypatch.setattr(command, "_scene", scene)
    return node


@pytest.mark.parametrize("runtime", ["crio", CRIO])
def test_yes_moves_the_node(runtime: str, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "--to", runtime, "--yes"]) == 0
    assert lab.runtimes.served == MOVED
    shown = capsys.readouterr().out
    assert "cri-o 1.33" in shown
    assert "all is right" in shown


@pytest.mark.parametrize(("typed", "status"), [("y", 0), ("Yes", 0), ("n", 1), ("", 1), ("yeah", 1)])
def test_a_terminal_is_asked(
    typed: str, status: int, lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal(f"{typed}\n"))
    assert main(["migrate", "--to", "crio"]) == status
    assert (lab.runtimes.served == MOVED) is (status == 0)
    shown = capsys.readouterr().out
    assert shown.index(f"+CRI_PRIMARY={CRIO}") < shown.index("Move this node? [y/N] ")
    assert shown.endswith("nothing has been changed\n") is (status == 1)


def test_who_leaves_has_said_no(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal(""))
    assert main(["migrate", "--to", "crio"]) == 1


def test_without_a_terminal_there_is_a_plan_and_nothing_else(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    before = lab.files()
    assert main(["migrate", "--to", "crio"]) == 2
    said = capsys.readouterr()
    assert f"+CRI_PRIMARY={CRIO}" in said.out
    assert said.err.startswith("criproxy node migrate: this is no terminal, so nobody can be asked: --yes")
    assert lab.files() == before


def test_back_is_a_move_too(lab: Lab) -> None:
    main(["migrate", "--to", "crio", "--yes"])
    assert main(["migrate", "--back", "--yes"]) == 0
    assert lab.runtimes.served == {"": CONTAINERD, "retiring": CRIO}


def test_what_is_wrong_is_shown_and_refuses_it(
    lab: Lab, found: List[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    found.append(wrong("new runtime", "cgroup driver", "cgroupfs, and not systemd", "SystemdCgroup = true"))
    assert main(["migrate", "--to", "crio", "--yes"]) == 1
    said = capsys.readouterr()
    assert "next: SystemdCgroup = true" in said.out
    assert said.err.startswith(f"criproxy node migrate: this node is not moved to {CRIO}")


def test_there_must_be_somewhere_to_move_to(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--to", "crio", "--back"]):
        with pytest.raises(SystemExit) as left:
            main(["migrate", *words])
        assert left.value.code == 2
    assert "--to" in capsys.readouterr().err


def test_it_is_an_action_of_the_node_among_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "{plan,apply,revert,status,migrate}" in capsys.readouterr().out
