from __future__ import annotations

from pathlib import Path

import pytest

from criproxy.node import program


@pytest.mark.parametrize("part", ["criproxy/cli.py", "criproxy/relay/loop.so", "criproxy__mypyc.cpython-313.so"])
def test_a_program_is_another_when_a_part_of_it_is(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_FOLDER", tmp_path / "criproxy")
    file = tmp_path / part
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("as it was")
    before = program.digest()
    file.write_text("another")
    assert program.digest() != before


@pytest.mark.parametrize("other", ["criproxy/__pycache__/cli.pyc", "yaml/__init__.py", "grpc__mypyc.so"])
def test_a_program_is_the_same_whatever_is_not_part_of_it(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "_FOLDER", tmp_path / "criproxy")
    before = program.digest()
    file = tmp_path / other
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("something")
    assert program.digest() == before
