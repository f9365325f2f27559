"""The process: its socket, its signals, its log."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Iterator, List

import grpc
import pytest
import yaml
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, v1

from criproxy import __version__
from criproxy.relay import loop


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs criproxy to its end."""
    command = [sys.executable, "-m", "criproxy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


class TestTheSocket:
    def test_is_for_its_owner_and_group(self, proxy: Proxy) -> None:
        assert stat.S_IMODE(os.stat(proxy.path).st_mode) == 0o660

    def test_that_is_dead_is_replaced(self, folder: Path, primary: Runtime, start_proxy: StartProxy) -> None:
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(folder / "proxy.sock"))
        dead.close()
        assert start_proxy(primary, {}).stop() == 0

    def test_that_somebody_serves_is_left_alone(self, proxy: Proxy, client: Client, primary: Runtime) -> None:
        result = run("-connect", primary.path, "-listen", proxy.path)
        assert result.returncode == 1
        assert f"cannot listen on {proxy.path}: another process serves it" in result.stderr
        client.call("Status")

    def test_that_is_no_socket_is_left_alone(self, folder: Path, primary: Runtime) -> None:
        path = folder / "file"
        path.write_text("precious")
        result = run("-connect", primary.path, "-listen", str(path))
        assert result.returncode == 1
        assert f"cannot listen: {path} is a file, not a socket; remove it or set another path" in result.stderr
        assert path.read_text() == "precious"

    @pytest.mark.parametrize("kind", ["directory", "symbolic link"])
    def test_that_is_something_else_is_said_to_be_that(self, kind: str, folder: Path, primary: Runtime) -> None:
        path = folder / "s"
        if kind == "directory":
            path.mkdir()
        else:
            path.symlink_to(folder / "none")
        result = run("-connect", primary.path, "-listen", str(path))
        assert result.returncode == 1
        assert f"cannot listen: {path} is a {kind}, not a socket" in result.stderr
        assert os.path.lexists(path)

    def test_in_a_directory_that_does_not_exist_is_an_error(self, folder: Path, primary: Runtime) -> None:
        result = run("-connect", primary.path, "-listen", str(folder / "none" / "s"))
        assert result.returncode == 1
        path = folder / "none" / "s"
        assert f"cannot listen on {path}: {path.parent}: No such file or directory" in result.stderr

    def test_that_another_has_replaced_is_not_removed(
        self, folder: Path, primary: Runtime, start_proxy: StartProxy
    ) -> None:
        proxy = start_proxy(primary, {})
        os.unlink(proxy.path)
        Path(proxy.path).write_text("another's")
        assert proxy.stop() == 0
        assert Path(proxy.path).read_text() == "another's"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
class TestOnASignal:
    def test_it_removes_its_socket_and_exits(self, number: int, proxy: Proxy, client: Client) -> None:
        client.call("Status")
        proxy.signal(number)
        assert proxy.wait() == 0
        assert not os.path.exists(proxy.path)

    def test_it_finishes_what_is_under_way(
        self, number: int, proxy: Proxy, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        release = threading.Event()

        def late(request: object, context: grpc.ServicerContext) -> v1.ExecSyncResponse:
            assert release.wait(PATIENCE)
            return v1.ExecSyncResponse(exit_code=7)

        primary.answers["ExecSync"] = other.answers["ExecSync"] = late
        futures = [
            client.stub("ExecSync").future(client.request("ExecSync", container_id=name))
            for name in ("c", "alt.test__c")
        ]
        for runtime in (primary, other):
            runtime.wait_for("ExecSync")
        proxy.signal(number)
        proxy.wait_for_log("stopping")
        with pytest.raises(OSError, match=r"refused|No such file"), socket.socket(socket.AF_UNIX) as late_comer:
            late_comer.connect(proxy.path)
        release.set()
        assert [future.result(PATIENCE).exit_code for future in futures] == [7, 7]
        assert proxy.wait() == 0

    def test_endless_streams_end(
        self, number: int, proxy: Proxy, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        def events(request: object, context: grpc.ServicerContext) -> Iterator[object]:
            over = threading.Event()
            context.add_callback(over.set)
            over.wait(PATIENCE)
            return iter(())

        for runtime in (primary, other):
            runtime.answers["GetContainerEvents"] = events
        stream = client.stub("GetContainerEvents")(client.request("GetContainerEvents"))
        for runtime in (primary, other):
            runtime.wait_for("GetContainerEvents")
        proxy.signal(number)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        said = (caught.value.code(), caught.value.details())
        assert said == (grpc.StatusCode.UNAVAILABLE, "criproxy: it is being stopped")
        assert proxy.wait() == 0


def test_calls_that_do_not_end_are_cut_off(proxy: Proxy, client: Client, primary: Runtime) -> None:
    release = threading.Event()
    primary.answers["ExecSync"] = lambda *_: release.wait(60) and None
    future = client.stub("ExecSync").future(client.request("ExecSync", container_id="c"))
    primary.wait_for("ExecSync")
    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    release.set()
    assert isinstance(future.exception(PATIENCE), grpc.RpcError)
    assert proxy.logged("calls cut off because they did not end in time: 1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cuts_calls_off_at_once(number: int, proxy: Proxy, client: Client, primary: Runtime) -> None:
    release = threading.Event()
    primary.answers["ExecSync"] = lambda *_: release.wait(60) and None
    future = client.stub("ExecSync").future(client.request("ExecSync", container_id="c"))
    primary.wait_for("ExecSync")
    proxy.signal(signal.SIGTERM)
    proxy.wait_for_log("stopping: no new calls, 1 under way")
    proxy.signal(number)
    assert proxy.wait() == 0
    release.set()
    assert isinstance(future.exception(PATIENCE), grpc.RpcError)
    assert proxy.logged("a second signal: stopping at once, calls cut off: 1")
    assert not proxy.logged("did not end in time")
    assert not os.path.exists(proxy.path)


def test_the_command_line_of_the_go_program_works(primary: Runtime, other: Runtime, folder: Path) -> None:
    connect = f"{primary.path},virtlet.cloud:{other.path}"
    arguments = ["-v", "3", "-logtostderr", "-streamPort", "11250", "-apiserver", "http://x"]
    proxy = Proxy(connect, str(folder / "s"), *arguments)
    try:
        proxy.wait_for_log("connected to ", 2)
        assert len(proxy.logged("has no effect")) == 1
        client = Client(proxy.path)
        client.call("StopContainer", container_id="virtlet.cloud__c")
        client.close()
        assert other.called("StopContainer")[0].request.container_id == "c"
    finally:
        assert proxy.stop() == 0


class TestTheLog:
    def log(self, client: Client, proxy: Proxy) -> List[str]:
        """What is logged of a call of each kind."""
        client.call("StopContainer", container_id="c")
        client.call("ContainerStatus", container_id="c")
        client.call("ListContainers")
        client.call("ListContainers", filter={"id": "alt.test__c"})
        client.fail("StopPodSandbox", pod_sandbox_id="p")
        proxy.stop()
        calls = [re.search(r"(ENTER|LEAVE|FAIL): /runtime\.v1\.\w+/(\w+)\(\)", line) for line in proxy.lines]
        return [f"{match[1]} {match[2]}" for match in calls if match]

    @pytest.mark.parametrize(
        ("level", "wanted"),
        [
            (0, []),
            (1, []),
            (2, ["FAIL StopPodSandbox"]),
            (
                3,
                ["ENTER StopContainer", "LEAVE StopContainer", "ENTER StopPodSandbox", "FAIL StopPodSandbox"],
            ),
            (
                4,
                [
                    "ENTER StopContainer",
                    "LEAVE StopContainer",
                    "ENTER ContainerStatus",
                    "LEAVE ContainerStatus",
                    "ENTER StopPodSandbox",
                    "FAIL StopPodSandbox",
                ],
            ),
            (
                5,
                [
                    "ENTER StopContainer",
                    "LEAVE StopContainer",
                    "ENTER ContainerStatus",
                    "LEAVE ContainerStatus",
                    *["ENTER ListContainers", "LEAVE ListContainers"] * 2,
                    "ENTER StopPodSandbox",
                    "FAIL StopPodSandbox",
                ],
            ),
        ],
    )
    def test_tells_what_the_level_asks_for(
        self,
        level: int,
        wanted: List[str],
        primary: Runtime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        primary.answers["StopPodSandbox"] = lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        proxy = start_proxy(primary, {"alt.test": other}, "-v", str(level))
        assert self.log(connect(proxy), proxy) == wanted

    def test_shows_messages_as_yaml(self, client: Client, proxy: Proxy, primary: Runtime) -> None:
        primary.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p1")
        config = v1.PodSandboxConfig(
            metadata=v1.PodSandboxMetadata(name="web", uid="u"), labels={"a": "yes"}, port_mappings=[{"host_port": 80}]
        )
        client.call("RunPodSandbox", config=config)
        proxy.wait_for_log("LEAVE: /runtime.v1.RuntimeService/RunPodSandbox()")
        proxy.stop()
        start = next(
            n for n, line in enumerate(proxy.lines) if "ENTER: /runtime.v1.RuntimeService/RunPodSandbox" in line
        )
        end = next(n for n, line in enumerate(proxy.lines) if "LEAVE: /runtime.v1.RuntimeService/RunPodSandbox" in line)
        shown = yaml.safe_load("\n".join(proxy.lines[start + 1 : end]))
        assert shown["config"]["metadata"] == {"name": "web", "uid": "u"}
        assert shown["config"]["labels"] == {"a": "yes"}
        assert shown["config"]["port_mappings"] == [{"host_port": 80}]

    def test_tells_which_process_a_client_is(self, primary: Runtime, start_proxy: StartProxy, connect: Connect) -> None:
        proxy = start_proxy(primary, {}, "-v", "6")
        connect(proxy).call("Status")
        line = proxy.wait_for_log(f"): made by pid {os.getpid()} (")
        assert "connection of a client (" in line
        assert line.endswith(f"), uid {os.getuid()}" + (f", gid {os.getgid()}" if os.getuid() else ""))

    def test_keeps_secrets(self, client: Client, proxy: Proxy) -> None:
        secret = "hunter2"
        auth = v1.AuthConfig(username="me", password=secret, auth=secret, identity_token=secret, registry_token=secret)
        client.call("PullImage", image={"image": "i"}, auth=auth)
        config = v1.ContainerConfig(
            image=v1.ImageSpec(image="i"), envs=[v1.KeyValue(key="TOKEN", value=secret.encode())]
        )
        client.call("CreateContainer", pod_sandbox_id="p", config=config)
        proxy.stop()
        assert proxy.logged('username: "me"')
        assert proxy.logged('key: "TOKEN"')
        assert not proxy.logged(secret)

    def test_cannot_be_forged(self, client: Client, proxy: Proxy, primary: Runtime) -> None:
        forged = "x\nI0101 00:00:00.000000       1 criproxy] all is well"
        primary.answers["StopContainer"] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, forged)
        client.fail("StopContainer", container_id=forged)
        proxy.wait_for_log("FAIL: ")
        proxy.stop()
        assert not [line for line in proxy.lines if line.startswith("I0101")]

    def test_says_that_a_runtime_is_missing_and_when_it_comes(
        self, runtime: MakeRuntime, primary: Runtime, start_proxy: StartProxy
    ) -> None:
        other = runtime("other")
        proxy = start_proxy(primary, {"alt.test": other}, connected=1)
        line = proxy.wait_for_log(f'runtime "alt.test" ({other.path}) is not there: there is no such socket')
        assert re.match(r"W\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ criproxy\] ", line)
        other.start()
        assert "other 1, CRI v1, v1alpha2" in proxy.wait_for_log('connected to runtime "alt.test"')
        assert len(proxy.logged("is not there: there is no such socket")) == 1


def test_the_version_says_whether_what_moves_calls_is_compiled() -> None:
    compiled = "" if str(loop.__file__).endswith(".py") else " (compiled)"
    assert run("--version").stdout == f"criproxy {__version__}{compiled}\n"
