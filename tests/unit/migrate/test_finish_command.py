"""The words that end a move: ``criproxy node migrate --finish``."""

from __future__ import annotations

import io
from typing import Any, List, Sequence, Tuple

import pytest

from criproxy.migrate import finish
from criproxy.migrate.command import main
from criproxy.migrate.scene import Scene


class _Terminal(io.StringIO):
    """Somebody who has typed that."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[bool, Any]]:
    """How moves have been ended: whether pods are evicted, and kubelet's version. Each asks first."""
    asked: List[Tuple[bool, Any]] = []

    def end(scene: Scene, evicts: bool, version: Any) -> bool:
        asked.append((evicts, version))
        return scene.agreed()

    monkeypatch.setattr(finish, "finish", end)
    return asked


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], (False, None)),
        (["--evict"], (True, None)),
        (["--evict", "--kubelet-version", "1.20.2"], (True, (1, 20, 2))),
    ],
)
def test_they_end_it(words: Sequence[str], wanted: Tuple[bool, Any], ended: List[Tuple[bool, Any]]) -> None:
    assert main(["migrate", "--finish", "--yes", *words]) == 0
    assert ended == [wanted]


@pytest.mark.parametrize(("typed", "status"), [("y", 0), ("n", 1)])
def test_whoever_says_them_is_asked(
    typed: str,
    status: int,
    ended: List[Tuple[bool, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal(f"{typed}\n"))
    assert main(["migrate", "--finish"]) == status
    assert "End this move? [y/N] " in capsys.readouterr().out


def test_nobody_is_evicted_by_another_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["migrate", "--back", "--evict", "--yes"])
    assert left.value.code == 2
    assert "--evict goes with --finish" in capsys.readouterr().err


def test_they_do_not_go_with_a_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["migrate", "--to", "crio", "--finish"])
    assert "not allowed with argument --to" in capsys.readouterr().err
