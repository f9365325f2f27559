"""What is asked of a socket, and for how long."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from criproxy.show.look import look


def test_who_does_not_answer_in_time_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("criproxy.client.TIMEOUT", 0.1)
    path = str(tmp_path / "silent.sock")
    with closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.bind(path)
        silent.listen()
        assert look(path).problem == f"{path}: Status: no answer within 0.1 s"
