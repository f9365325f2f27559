"""What listens at a runtime's socket and is no runtime: the log, the status and the callers are told what it is."""

from __future__ import annotations

import socket
from typing import Callable

import grpc
import pytest
from foreign_servers import ALERT, PAGE, ForeignServer, Serve, answering
from peers import Connect, StartProxy

TLS = "it does not speak gRPC (it answered with a TLS alert)"


def echo(taken: socket.socket) -> None:
    while True:
        data = taken.recv(4096)
        if not data:
            return
        taken.sendall(data)


def prompt(taken: socket.socket) -> None:
    """Greets, and waits for commands."""
    taken.sendall(b"220 ")
    while taken.recv(4096):
        pass


def quoted(text: str) -> str:
    return f'it does not speak gRPC (it answered "{text}")'


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (answering(4096, PAGE), quoted("HTTP/1.1 400 Bad Request")),
        (answering(10, PAGE), quoted("HTTP/1.1 400 Bad Request")),
        (answering(0, PAGE), quoted("HTTP/1.1 400 Bad Request")),
        (answering(4096, ALERT), TLS),
        (answering(10, ALERT), TLS),
        (answering(4096, b"sh: 1: PRI: not found\n"), quoted("sh: 1: PRI: not found")),
        (answering(4096, b"?\n"), quoted("?")),
        (answering(4096, b"\r\n\r\nlogin: "), quoted("login: ")),
        (answering(4096, b"\n"), quoted("")),
        (answering(4096, b"\x1b[31m\xff" + b"x" * 100), quoted(r"\x1b[31m\xff" + "x" * 34 + "…")),
        (echo, quoted("PRI * HTTP/2.0")),
        (prompt, quoted("220 ")),
        (answering(0, b""), "it closed the connection before it answered"),
        (answering(10, b""), "it closed the connection before it answered"),
        (answering(4096, b""), "it closed the connection before it answered"),
    ],
)
def test_the_answer_of_a_foreign_server_is_quoted(
    serve: Serve,
    reason: str,
    foreign_server: Callable[[Serve], ForeignServer],
    start_proxy: StartProxy,
    connect: Connect,
) -> None:
    there = foreign_server(serve)
    proxy = start_proxy(there, {}, "--connection-timeout", "0.1", connected=0)
    line = proxy.wait_for_log("the primary runtime ")
    assert line.endswith(f"] the primary runtime ({there.path}) is not there: {reason}; looking for it")
    assert line.startswith("E")
    # It is looked for again and again, and always found to be the same.
    text = f"criproxy: the primary runtime ({there.path}) is not available: {reason}"
    client = connect(proxy)
    for _ in range(5):
        assert client.fail("RuntimeConfig") == (grpc.StatusCode.UNAVAILABLE, text)
    assert len(proxy.logged("is not there")) == 1


def test_a_peer_that_begins_with_another_frame_is_not_quoted(
    foreign_server: Callable[[Serve], ForeignServer], start_proxy: StartProxy
) -> None:
    there = foreign_server(answering(4096, b"\0\0\x08\x06\0\0\0\0\0criproxy"))
    proxy = start_proxy(there, {}, connected=0)
    assert "is not there: frame type 6 before SETTINGS" in proxy.wait_for_log("the primary runtime ")
