"""Who is at the other end of a socket, as the log names it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from criproxy.relay.peer import Peer, peer_of
from criproxy.text import escape

CLIENT = """
import os, socket, sys
with open("/proc/self/comm", "w") as file:
    file.write("kubelet")
if os.getuid() == 0:
    os.setgid(4321)
    os.setuid(1234)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("\\0" + sys.argv[1])
    sock.recv(1)
"""
"""A client with a name of its own, and another user's if it may be."""


def test_a_client_is_a_process_with_its_name_its_user_and_its_group() -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("")
        listening.listen()
        name = listening.getsockname()[1:].decode()
        with subprocess.Popen([sys.executable, "-c", CLIENT, name]) as process:
            sock, _ = listening.accept()
            with sock:
                said = str(peer_of(sock))
    uid, gid = (os.getuid(), os.getgid()) if os.getuid() else (1234, 4321)
    assert said == f"pid {process.pid} (kubelet), uid {uid}, gid {gid}"


def test_root_is_said_without_a_group() -> None:
    assert str(Peer(0, 0, 7)).endswith(", uid 0")


def test_a_process_that_is_gone_or_cannot_be_seen_has_no_name() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert str(Peer(process.pid, 0, 0)) == f"pid {process.pid}, uid 0"
    assert str(Peer(0, 0, 0)) == "a process of another PID namespace, uid 0"


def test_a_process_may_have_any_name() -> None:
    comm = Path("/proc/self/comm")
    own = comm.read_bytes()
    one, other = socket.socketpair()
    with one, other:
        try:
            for byte in range(1, 256):
                comm.write_bytes(b"a" + bytes((byte,)))
                said = escape(str(peer_of(one)))
                assert said.startswith(f"pid {os.getpid()} (a")
                assert said.isprintable()
                assert said.encode()
        finally:
            comm.write_bytes(own)
