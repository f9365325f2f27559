"""The client that the commands ask a socket by: who is told what is wrong is told it once."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Callable

import grpc
import pytest
from foreign_servers import ALERT, PAGE, ForeignServer, Serve, answering
from peers import MakeRuntime, Runtime, StartProxy

from criproxy import client
from criproxy.client import Client, ClientError


def error_of(path: str, method: str = "Version") -> ClientError:
    """The error of a call; its text is the socket and the cause."""
    with Client(path) as asking, pytest.raises(ClientError) as caught:
        asking.call(method)
    assert str(caught.value) == f"{path}: {caught.value.cause}"
    return caught.value


def test_a_socket_that_is_not_there_is_the_systems_to_explain(folder: Path) -> None:
    error = error_of(str(folder / "none"))
    assert (error.cause, error.code) == ("No such file or directory", None)


@pytest.mark.parametrize("method", ["Version", "ListPodSandbox"])
def test_what_criproxy_says_itself_stands_alone(method: str, runtime: MakeRuntime, start_proxy: StartProxy) -> None:
    """It names the runtime and its socket: neither the method nor the status tells more."""
    absent = runtime("absent")
    proxy = start_proxy(absent, {}, "--connection-timeout", "0.1", connected=0)
    error = error_of(proxy.path, method)
    assert error.cause == f"the primary runtime ({absent.path}) is not available: there is no such socket"
    assert error.code is grpc.StatusCode.UNAVAILABLE


def test_what_a_runtime_says_has_the_method_and_the_status(primary: Runtime) -> None:
    primary.answers["ListPodSandbox"] = lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, "no\nsuch\n")
    error = error_of(primary.path, "ListPodSandbox")
    assert (error.cause, error.code) == ("ListPodSandbox: NOT_FOUND: no such", grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize(
    ("serve", "cause"),
    [
        (answering(4096, PAGE), 'it does not speak gRPC (it answered "HTTP/1.1 400 Bad Request")'),
        (answering(0, PAGE), 'it does not speak gRPC (it answered "HTTP/1.1 400 Bad Request")'),
        (answering(4096, ALERT), "it does not speak gRPC (it answered with a TLS alert)"),
        (answering(4096, b""), "it closed the connection before it answered"),
        (answering(0, b""), "it closed the connection before it answered"),
    ],
)
def test_who_does_not_speak_grpc_is_quoted(
    serve: Serve, cause: str, foreign_server: Callable[[Serve], ForeignServer]
) -> None:
    error = error_of(foreign_server(serve).path)
    assert (error.cause, error.code) == (cause, grpc.StatusCode.UNAVAILABLE)


def test_who_says_nothing_has_not_answered_in_time(
    foreign_server: Callable[[Serve], ForeignServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(taken: socket.socket) -> None:
        while taken.recv(4096):
            pass

    monkeypatch.setattr(client, "TIMEOUT", 0.5)
    error = error_of(foreign_server(listen).path)
    assert error.cause == "Version: no answer within 0.5 s"
    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
