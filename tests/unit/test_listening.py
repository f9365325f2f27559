"""The sockets that we listen on."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
from pathlib import Path
from typing import Optional

import pytest

from criproxy.listening import SocketError, listen, listen_for_control, listen_for_metrics

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


# The control socket.


def test_the_control_socket_is_its_owners_alone_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "criproxy/control.sock"
    listening = listen_for_control(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    listening.sock.close()
    listening.release()
    assert not path.exists()


def test_a_socket_of_the_process_s_own_group_is_made_without_chown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's unit does not let it call chown(2)."""
    monkeypatch.delattr(os, "chown")
    for listening in (listen_for_control(str(tmp_path / "c.sock")), listen_for_metrics(f"unix:{tmp_path / 'm.sock'}")):
        with listening.sock:
            listening.release()


def test_a_control_socket_that_somebody_serves_is_not_taken_from_them(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    first = listen_for_control(path)
    with pytest.raises(SocketError, match="another process serves it"):
        listen_for_control(path)
    first.sock.close()
    listen_for_control(path).sock.close()


def test_whatever_else_is_in_the_place_of_the_control_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(SocketError, match="is a file, not a socket; remove it or set another path with --control"):
        listen_for_control(str(path))
    assert path.read_text() == "precious"


def test_only_one_folder_is_made_for_the_control_socket(tmp_path: Path) -> None:
    with pytest.raises(SocketError, match="No such file or directory"):
        listen_for_control(str(tmp_path / "a/b/control.sock"))


# The socket of the metrics.


def test_everybody_may_ask_for_metrics_at_a_path(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    listening = listen_for_metrics(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    listening.sock.close()
    listening.release()
    assert not path.exists()


def test_what_is_in_the_place_of_the_metrics_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    path.write_text("precious")
    with pytest.raises(SocketError, match="set another path with --metrics-listen"):
        listen_for_metrics(f"unix:{path}")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_metrics_may_be_at_a_port_which_is_there_again_at_once(host: str) -> None:
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host.strip("[]"), 0))
        except OSError as error:
            pytest.skip(f"{host}: {error}")
        port = probe.getsockname()[1]
    address = f"{host}:{port}"
    for _ in range(2):
        listening = listen_for_metrics(address)
        with pytest.raises(SocketError, match=re.escape(f"cannot listen on {address}: Address already in use")):
            listen_for_metrics(address)
        with socket.create_connection((host.strip("[]"), port)):
            listening.sock.accept()[0].close()
        listening.sock.close()
        listening.release()
