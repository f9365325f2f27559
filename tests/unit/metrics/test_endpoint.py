"""Where metrics are served: opened, moved, closed."""

from __future__ import annotations

import io
import os
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator, List, Tuple, cast

import pytest

from criproxy.control.subject import DaemonState
from criproxy.listening import SocketError
from criproxy.metrics.endpoint import Endpoint
from criproxy.relay.loop import Loop
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput


@pytest.fixture
def lab() -> Iterator[Tuple[Endpoint, io.StringIO]]:
    """An endpoint and its log."""
    errors: List[BaseException] = []
    loop, text = Loop(errors.append), io.StringIO()
    endpoint = Endpoint(loop, Log(0, StreamOutput(text)), DaemonState("/x", 1.0), cast(Any, None))
    yield endpoint, text
    endpoint.close()
    loop.close()
    assert errors == []


def is_served(path: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        return sock.connect_ex(str(path)) == 0


def test_it_moves_and_ends(lab: Tuple[Endpoint, io.StringIO], tmp_path: Path) -> None:
    endpoint, _ = lab
    one, two = tmp_path / "one", tmp_path / "two"
    endpoint.open("")
    endpoint.move(f"unix:{one}")
    assert is_served(one)
    inode = os.stat(one).st_ino
    endpoint.move(f"unix:{one}")
    assert os.stat(one).st_ino == inode
    endpoint.move(f"unix:{two}")
    assert [one.exists(), is_served(two)] == [False, True]
    endpoint.move("")
    assert not two.exists()


def test_what_cannot_be_leaves_it_where_it_is(lab: Tuple[Endpoint, io.StringIO], tmp_path: Path) -> None:
    endpoint, text = lab
    one = tmp_path / "one"
    endpoint.open(f"unix:{one}")
    with pytest.raises(SocketError):
        endpoint.move(f"unix:{tmp_path}/none/two")
    assert is_served(one)
    endpoint.open(f"unix:{tmp_path}/none/two")
    assert "there are no metrics" in text.getvalue()


def test_a_library_that_does_not_load_is_a_warning_and_leaves_no_socket(
    lab: Tuple[Endpoint, io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "criproxy.metrics.pages", raising=False)
    monkeypatch.delitem(sys.modules, "criproxy.metrics.text", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client.metrics_core", None)
    endpoint, text = lab
    endpoint.open(f"unix:{tmp_path}/one")
    assert "cannot load prometheus_client: " in text.getvalue()
    assert list(tmp_path.iterdir()) == []
