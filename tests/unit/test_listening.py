"""The socket that kubelet connects to."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import Optional

import pytest

from criproxy.listening import SocketError, listen

BURST = 600


def test_a_burst_of_connections_waits_to_be_taken(tmp_path: Path) -> None:
    allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())
    if allowed < BURST:
        pytest.skip(f"this machine lets {allowed} connections wait")
    path = str(tmp_path / "criproxy.sock")
    with contextlib.ExitStack() as stack:
        listening = listen(path)
        stack.callback(listening.sock.close)
        for _ in range(BURST):
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            client.setblocking(False)
            client.connect(path)


@pytest.mark.parametrize("gid", [None, max(os.getgroups()) if os.getuid() else 7])
def test_root_and_the_group_may_connect_and_nobody_else(gid: Optional[int], tmp_path: Path) -> None:
    path = tmp_path / "criproxy.sock"
    listening = listen(str(path)) if gid is None else listen(str(path), gid)
    found = path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid() if gid is None else gid)
    listening.sock.close()


def test_a_socket_that_cannot_be_given_to_the_group_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    path = tmp_path / "criproxy.sock"
    with pytest.raises(SocketError, match=f"cannot give {path} to the group 7: Operation not permitted; run criproxy"):
        listen(str(path), 7)
    assert not path.exists()


def test_nobody_can_connect_before_the_socket_is_the_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = []

    def look(path: str, *_: object, **__: object) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            refused.append(client.connect_ex(path))

    monkeypatch.setattr(os, "chown", look)
    path = str(tmp_path / "criproxy.sock")
    with listen(path, 7).sock:
        assert [os.strerror(error) for error in refused] == ["Connection refused"]
