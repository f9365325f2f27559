"""The process as a service of systemd's: a socket that is handed over, readiness, status, the watchdog."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime
from systemd_peers import Notified

from criproxy.http2 import frames
from criproxy.http2.headers import encode
from criproxy.relay import loop

HANDED_OVER = """
import os, sys
count = int(sys.argv.pop(1))
for at in range(count):
    os.dup2(int(sys.argv.pop(1)), 100 + at)
for at in range(count):
    os.dup2(100 + at, 3 + at)
    os.close(100 + at)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=os.environ.get("LISTEN_PID", str(os.getpid())))
os.execv(sys.executable, [sys.executable, "-m", "criproxy", *sys.argv[1:]])
"""
"""What systemd does for a service whose sockets it holds; the arguments are their number and their descriptors."""

Start = Callable[..., Proxy]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts the proxy before runtimes, with descriptors handed over and variables set."""
    made: List[Proxy] = []

    def start_one(connect: str, *options: str, fds: Any = (), listen: str = "", **variables: str) -> Proxy:
        numbers = [fd.fileno() for fd in fds]
        launcher = ("-c", HANDED_OVER, str(len(numbers)), *map(str, numbers)) if numbers else ("-m", "criproxy")
        how: Dict[str, Any] = {"launcher": launcher, "pass_fds": numbers, "env": {**os.environ, **variables}}
        made.append(Proxy(connect, listen or str(folder / "proxy.sock"), *options, **how))
        return made[-1]

    yield start_one
    for proxy in made:
        proxy.stop()
        assert not proxy.logged("internal error"), "\n".join(proxy.lines)


class TestASocketThatIsHandedOver:
    @pytest.fixture
    def held(self, folder: Path) -> Iterator[socket.socket]:
        """A listening socket that lives longer than any process that serves it."""
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(folder / "proxy.sock"))
            os.chmod(folder / "proxy.sock", 0o600)
            made.listen(128)
            yield made

    def test_is_served_and_left_as_it_is(
        self, held: socket.socket, start: Start, primary: Runtime, connect: Connect
    ) -> None:
        proxy = start(primary.path, fds=[held])
        proxy.wait_for_log(f"serves {proxy.path} for")
        connect(proxy).call("Status")
        assert stat.S_IMODE(os.stat(proxy.path).st_mode) == 0o600
        assert proxy.stop() == 0
        assert stat.S_ISSOCK(os.stat(proxy.path).st_mode)
        assert proxy.lines[0].endswith(f"serves {proxy.path} for {primary.path}")

    def test_takes_connections_for_the_process_that_comes_next(
        self, held: socket.socket, start: Start, primary: Runtime, connect: Connect
    ) -> None:
        proxy = start(primary.path, fds=[held])
        connect(proxy).call("Status")
        assert proxy.stop() == 0
        early = connect(proxy)
        future = early.stub("Status").future(early.request("Status"), timeout=PATIENCE)
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(proxy.path)
            assert not future.done()
            start(primary.path, fds=[held])
            future.result(PATIENCE)
            raw.settimeout(PATIENCE)
            assert raw.recv(1)

    def test_lets_no_call_fail_while_the_process_is_restarted(
        self, held: socket.socket, start: Start, primary: Runtime, other: Runtime, connect: Connect
    ) -> None:
        over = threading.Event()
        failed: List[grpc.RpcError] = []
        done: List[int] = []
        runtimes = f"{primary.path},alt.test:{other.path}"
        primary.answers["ListPodSandbox"] = other.answers["ListPodSandbox"] = _one_pod

        def call_on(client: Client) -> None:
            count = 0
            while not over.is_set():
                try:
                    client.call("StopContainer", container_id="alt.test__c")
                    assert len(client.call("ListPodSandbox").items) == 2
                    count += 1
                except grpc.RpcError as error:
                    failed.append(error)
                    return
            done.append(count)

        proxy = start(runtimes, fds=[held])
        threads = [threading.Thread(target=call_on, args=(connect(proxy),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            seen = len(other.called("StopContainer"))
            other.wait_for("StopContainer", seen + 50)
            assert proxy.stop() == 0
            proxy = start(runtimes, fds=[held])
        seen = len(other.called("StopContainer"))
        other.wait_for("StopContainer", seen + 50)
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert not failed
        assert len(done) == len(threads)

    def test_for_another_process_is_not_ours(self, held: socket.socket, start: Start, primary: Runtime) -> None:
        proxy = start(primary.path, fds=[held], listen=f"{primary.path}.own", LISTEN_PID="1")
        proxy.wait_for_log(f"serves {primary.path}.own")

    def test_goes_before_the_path_that_is_configured(
        self, held: socket.socket, start: Start, primary: Runtime, folder: Path
    ) -> None:
        proxy = start(primary.path, fds=[held], listen=str(folder / "other"))
        proxy.wait_for_log(f"listen: {folder}/other is ignored: systemd passed {folder}/proxy.sock")
        proxy.wait_for_log(f"serves {folder}/proxy.sock")
        assert not (folder / "other").exists()

    def test_of_another_group_than_is_configured_gets_a_warning(
        self, held: socket.socket, start: Start, primary: Runtime
    ) -> None:
        gid = os.stat(held.getsockname()).st_gid
        proxy = start(primary.path, f"--socket-group={gid}", fds=[held])
        proxy.wait_for_log("connected to the primary runtime")
        assert not proxy.logged("socket-group")
        proxy.stop()
        proxy = start(primary.path, f"--socket-group={gid + 1}", fds=[held])
        warning = proxy.wait_for_log(f"socket-group: {gid + 1} has no effect")
        assert f"{held.getsockname()} belongs to the group {gid}; restart criproxy" in warning
        assert "run: criproxy node apply" in warning

    def test_cannot_be_a_runtimes(self, held: socket.socket, start: Start, folder: Path) -> None:
        proxy = start(str(folder / "proxy.sock"), fds=[held], listen=str(folder / "other"))
        assert proxy.wait() == 1
        assert "is the socket of the primary runtime; criproxy needs one of its own" in proxy.lines[-1]

    @pytest.mark.parametrize(
        ("kinds", "said"),
        [
            ([(socket.AF_INET, socket.SOCK_STREAM)], "is not a listening unix stream socket"),
            ([(socket.AF_UNIX, socket.SOCK_DGRAM)], "is not a listening unix stream socket"),
            ([(socket.AF_UNIX, socket.SOCK_STREAM)], "is not a listening unix stream socket"),
            ([(socket.AF_UNIX, socket.SOCK_STREAM)] * 2, "systemd passed 2 sockets; exactly one is expected"),
        ],
    )
    def test_of_another_kind_is_refused(
        self, kinds: List[Tuple[int, int]], said: str, start: Start, primary: Runtime
    ) -> None:
        made = [socket.socket(*kind) for kind in kinds]
        proxy = start(primary.path, fds=made)
        assert proxy.wait() == 1
        assert said in proxy.lines[-1]
        for sock in made:
            sock.close()

    def test_that_is_none_is_refused(self, start: Start, primary: Runtime, folder: Path) -> None:
        with open(folder / "file", "w") as file:
            proxy = start(primary.path, fds=[file])
            assert proxy.wait() == 1
        assert "systemd passed something that is not a socket" in proxy.lines[-1]


def _one_pod(request: object, context: grpc.ServicerContext) -> bytes:
    del request, context
    return b"\x0a\x03\x0a\x01p"


def test_a_call_that_crosses_our_goaway_is_answered(start: Start, primary: Runtime) -> None:
    """RFC 9113, section 6.8: it was sent before the client could know."""
    proxy = start(primary.path)
    proxy.wait_for_log("connected to ")
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as stream:
        sock.settimeout(PATIENCE)
        sock.connect(proxy.path)
        sock.sendall(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, b""))
        _until(stream, frames.SETTINGS)
        proxy.signal(signal.SIGTERM)
        assert _until(stream, frames.GOAWAY)[:4] == b"\x7f\xff\xff\xff"
        ping = _until(stream, frames.PING)
        head = encode(
            (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", b"/runtime.v1.RuntimeService/Status"),
                (b":authority", b"localhost"),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
                (b"user-agent", b"test"),
            )
        )
        sock.sendall(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, head))
        sock.sendall(frames.frame(frames.PING, frames.ACK, 0, ping))
        assert _until(stream, frames.GOAWAY)[:4] == b"\0\0\0\x01"
        sock.sendall(frames.frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\0"))
        assert _until(stream, frames.DATA) == b"\0\0\0\0\0"
    assert proxy.wait() == 0
    assert primary.called("Status")


def test_a_client_that_does_not_hear_is_not_waited_for(start: Start, primary: Runtime) -> None:
    proxy = start(primary.path)
    proxy.wait_for_log("connected to ")
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(proxy.path)
        deaf.settimeout(PATIENCE)
        assert deaf.recv(1)
        assert proxy.stop() == 0
    assert not proxy.logged("cut off")


def _until(stream: Any, kind: int) -> bytes:
    """The payload of the next frame of a kind."""
    while True:
        head = stream.read(9)
        payload: bytes = stream.read(int.from_bytes(head[:3], "big"))
        if head[3] == kind and not (kind == frames.SETTINGS and head[4] & frames.ACK):
            return payload


class TestWhatSystemdIsTold:
    @pytest.fixture
    def notified(self, folder: Path) -> Iterator[Notified]:
        made = Notified(str(folder / "notify"))
        yield made
        made.close()

    def test_it_is_ready_and_who_is_there(
        self, start: Start, notified: Notified, primary: Runtime, other: Runtime
    ) -> None:
        start(f"{primary.path},alt.test:{other.path}", NOTIFY_SOCKET=notified.path)
        notified.wait_for("READY=1")
        assert notified.seen[-2] == (
            f"STATUS=primary {primary.path}: primary 1 (v1, v1alpha2); alt.test {other.path}: other 1 (v1, v1alpha2)"
        )

    def test_an_image_service_of_its_own_is_named_after_the_primary_runtime_and_not_waited_for(
        self, start: Start, notified: Notified, primary: Runtime, other: Runtime, runtime: MakeRuntime
    ) -> None:
        images, release = runtime("images", services=("ImageService",)), threading.Event()
        images.answers["ImageStatus"] = lambda *_: release.wait(PATIENCE) and None
        images.start()
        runtimes = f"{primary.path},alt.test:{other.path}"
        start(runtimes, "--image-service", images.path, NOTIFY_SOCKET=notified.path)
        notified.wait_for("READY=1")
        release.set()
        notified.wait_for(
            f"STATUS=primary {primary.path}: primary 1 (v1, v1alpha2);"
            f" image service {images.path}: connected (v1, v1alpha2); alt.test {other.path}: other 1 (v1, v1alpha2)"
        )

    def test_an_abstract_socket_will_do(self, start: Start, primary: Runtime, folder: Path) -> None:
        notified = Notified(f"\0{folder}/notify")
        start(primary.path, NOTIFY_SOCKET=f"@{folder}/notify")
        notified.wait_for("READY=1")
        notified.close()

    def test_it_is_not_ready_before_the_primary_has_answered(
        self, start: Start, notified: Notified, runtime: MakeRuntime, other: Runtime
    ) -> None:
        asked, release = threading.Event(), threading.Event()
        primary = runtime("slow")

        def late(*_: object) -> bytes:
            asked.set()
            assert release.wait(PATIENCE)
            return b"\x12\x04late"

        primary.answers["Version"] = late
        primary.start()
        proxy = start(f"{primary.path},alt.test:{other.path}", NOTIFY_SOCKET=notified.path)
        assert asked.wait(PATIENCE)
        notified.wait_for(f"STATUS=primary {primary.path}: not connected yet; alt.test {other.path}: other 1")
        # Whoever connects is waited with for a second, not for ever.
        with grpc.insecure_channel(f"unix:{proxy.path}") as channel:
            grpc.channel_ready_future(channel).result(PATIENCE)
        while notified.has_more():
            assert b"READY" not in notified.receive()
        assert "READY=1" not in notified.seen
        release.set()
        notified.wait_for("READY=1")
        assert notified.seen[-2].startswith(f"STATUS=primary {primary.path}: late")

    def test_it_is_ready_if_the_primary_is_known_not_to_be_there(
        self, start: Start, notified: Notified, runtime: MakeRuntime
    ) -> None:
        primary = runtime("primary")
        start(primary.path, NOTIFY_SOCKET=notified.path)
        notified.wait_for("READY=1")
        assert notified.seen[-2] == f"STATUS=primary {primary.path}: not there: there is no such socket"

    def test_the_status_changes_as_the_runtimes_do(
        self, start: Start, notified: Notified, primary: Runtime, runtime: MakeRuntime
    ) -> None:
        other = runtime("other")
        start(f"{primary.path},alt.test:{other.path}", NOTIFY_SOCKET=notified.path)
        begin = f"STATUS=primary {primary.path}: primary 1 (v1, v1alpha2); alt.test {other.path}: "
        notified.wait_for(begin + "not there: there is no such socket")
        other.start()
        notified.wait_for(begin + "other 1 (v1, v1alpha2)")
        other.stop()
        notified.wait_for(begin + "not there: ")
        assert all(before != after for before, after in zip(notified.seen, notified.seen[1:]))

    def test_a_runtime_that_does_not_answer_is_not_there(
        self, start: Start, notified: Notified, primary: Runtime, connect: Connect, folder: Path
    ) -> None:
        # A second proxy is the alternative runtime: a process that can be stopped.
        inner = start(primary.path, listen=str(folder / "inner"))
        inner.wait_for_log("connected to ")
        connected = f"{primary.path},alt.test:{inner.path}"
        outer = start(connected, "--fan-out-timeout", "0.3", NOTIFY_SOCKET=notified.path)
        notified.wait_for("READY=1")
        inner.signal(signal.SIGSTOP)
        try:
            connect(outer).call("ListPodSandbox")
            lines = notified.wait_for("STATUS=")
            assert lines[0].endswith(f"alt.test {inner.path}: not there: it does not answer")
        finally:
            inner.signal(signal.SIGCONT)
        assert notified.wait_for("STATUS=")[0].endswith(f"alt.test {inner.path}: primary 1 (v1, v1alpha2, v1alpha1)")

    def test_it_stops(self, start: Start, notified: Notified, primary: Runtime) -> None:
        proxy = start(primary.path, NOTIFY_SOCKET=notified.path)
        notified.wait_for("READY=1")
        assert proxy.stop() == 0
        notified.wait_for("STOPPING=1")
        assert not notified.has_more()

    def test_it_reads_its_configuration(self, start: Start, notified: Notified, primary: Runtime) -> None:
        proxy = start(primary.path, NOTIFY_SOCKET=notified.path)
        notified.wait_for("READY=1")
        proxy.signal(signal.SIGHUP)
        reloading, since = notified.wait_for("RELOADING=1")
        assert reloading == "RELOADING=1"
        assert since.startswith("MONOTONIC_USEC=")
        assert int(since.partition("=")[2]) > 0
        notified.wait_for("READY=1")

    def test_the_watchdog_is_fed(self, start: Start, notified: Notified, primary: Runtime) -> None:
        start(primary.path, NOTIFY_SOCKET=notified.path, WATCHDOG_USEC="200000")
        for _ in range(3):
            notified.wait_for("WATCHDOG=1")

    def test_a_watchdog_of_another_process_is_not_fed(self, start: Start, notified: Notified, primary: Runtime) -> None:
        start(primary.path, NOTIFY_SOCKET=notified.path, WATCHDOG_USEC="1000", WATCHDOG_PID="1")
        notified.wait_for("READY=1")
        assert "WATCHDOG=1" not in notified.seen

    def test_what_the_watchdog_ends_shows_where_it_was(self, start: Start, primary: Runtime) -> None:
        proxy = start(primary.path)
        proxy.wait_for_log("connected to ")
        proxy.signal(signal.SIGABRT)
        assert proxy.wait() == -signal.SIGABRT
        # What is compiled has no frames of Python's.
        where = "relay/loop.py" if str(loop.__file__).endswith(".py") else "daemon.py"
        assert any(where in line and "in run" in line for line in proxy.lines)

    def test_nobody_there_is_a_warning(self, start: Start, primary: Runtime, connect: Connect, folder: Path) -> None:
        proxy = start(primary.path, NOTIFY_SOCKET=str(folder / "nobody"), WATCHDOG_USEC="10000")
        proxy.wait_for_log("serves ")
        connect(proxy).call("Status")
        proxy.wait_for_log("cannot tell systemd ")
        assert proxy.stop() == 0
        assert len(proxy.logged("cannot tell systemd ")) == 1


def test_its_name_is_criproxy(start: Start, primary: Runtime) -> None:
    proxy = start(primary.path)
    proxy.wait_for_log("serves ")
    assert Path(f"/proc/{proxy.process.pid}/comm").read_text() == "criproxy\n"
    assert proxy.path in Path(f"/proc/{proxy.process.pid}/cmdline").read_text().split("\0")
