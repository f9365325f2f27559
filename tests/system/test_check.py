"""``criproxy check`` as its users run it, before runtimes served by gRPC's own server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest
from foreign_servers import ForeignServer, Serve
from peers import MakeRuntime, StartProxy

from criproxy.config import parse
from criproxy.demo.messages import MESSAGES
from criproxy.demo.runtime import DemoRuntime
from criproxy.demo.server import serve
from criproxy.inspection import interview
from criproxy.inspection.node import listening
from criproxy.node.runtimes import Sockets

WAIT = 60.0
ALT = "alt.test"
RIGHT, DEGRADED, BROKEN = "right", "degraded", "broken"


def fill(runtime: DemoRuntime, image: str = "nginx:1.27") -> None:
    """A pod with a container that runs."""
    runtime.PullImage(MESSAGES["PullImageRequest"](image={"image": image}))
    config = {"metadata": {"name": "web", "namespace": "default", "uid": "1"}}
    pod_id = runtime.RunPodSandbox(MESSAGES["RunPodSandboxRequest"](config=config)).pod_sandbox_id
    config = {"metadata": {"name": "app"}, "image": {"image": image}}
    request = MESSAGES["CreateContainerRequest"](pod_sandbox_id=pod_id, config=config)
    container_id = runtime.CreateContainer(request).container_id
    runtime.StartContainer(MESSAGES["StartContainerRequest"](container_id=container_id))


class Scene:
    """Two runtimes, each with a container that runs, and a streaming server that accepts connections."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.streaming = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.primary, self.other = str(folder / "p.sock"), str(folder / "a.sock")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.streaming.getsockname()[1]}"

    def serve(self, path: str, *without: str, image: str = "nginx:1.27", url: str = "") -> None:
        runtime = DemoRuntime("demo", url or f"http://{self.address}")
        fill(runtime, image)
        server = serve(runtime, path, ("v1", "v1alpha2"), without)
        os.chmod(path, 0o660)
        self._stack.callback(lambda: server.stop(0).wait(WAIT))

    def check(self, *words: str) -> Tuple[int, Dict[Tuple[str, str], Dict[str, str]]]:
        """The exit status, and what has been found, by what has been looked at."""
        connect = f"{self.primary},{ALT}:{self.other}"
        done = subprocess.run(
            [sys.executable, "-m", "criproxy", "check", "-o", "json", "--connect", connect, *words],
            stdout=subprocess.PIPE,
            text=True,
            timeout=WAIT,
            check=False,
        )
        findings: List[Dict[str, str]] = json.loads(done.stdout)["findings"]
        return done.returncode, {(each["subject"], each["what"]): each for each in findings}


@pytest.fixture
def scene(folder: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(folder, stack)


def test_all_is_right_with_two_runtimes_that_are(scene: Scene) -> None:
    scene.serve(scene.primary)
    scene.serve(scene.other)
    status, found = scene.check()
    assert status == 0
    assert {each["state"] for each in found.values()} == {RIGHT, "not applicable"}
    for runtime in ("(primary)", ALT):
        assert found[runtime, "versions"]["text"].startswith("v1, v1alpha2: ")
        assert found[runtime, "streaming"]["text"] == f"{scene.address} accepts connections"
    assert found["all runtimes", "lists"]["text"].startswith("4 pods and containers")
    assert found[ALT, "cgroup driver"]["state"] == RIGHT


def test_nothing_is_run_and_nothing_changed(scene: Scene, runtime: MakeRuntime) -> None:
    scene.serve(scene.primary)
    peer = runtime("a").start()
    scene.other = peer.path
    scene.check()
    asked = {call.method for call in (*peer.calls, *peer.own_calls)}
    assert asked == {
        "Version",
        "Status",
        "ListPodSandbox",
        "ListContainers",
        "ImageStatus",
        "ListImages",
        "RuntimeConfig",
    }


@pytest.mark.parametrize(("away", "status", "state"), [("other", 1, DEGRADED), ("primary", 2, BROKEN)])
def test_a_runtime_that_is_away_is_told(away: str, status: int, state: str, scene: Scene) -> None:
    scene.serve(scene.primary if away == "other" else scene.other)
    found_status, found = scene.check()
    assert found_status == status
    assert found["(primary)" if away == "primary" else ALT, "answer"]["state"] == state


def test_a_runtime_without_an_image_service_is_told(scene: Scene) -> None:
    scene.serve(scene.primary)
    scene.serve(scene.other, "ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo")
    status, found = scene.check()
    assert (status, found[ALT, "versions"]["state"]) == (1, DEGRADED)
    assert "ImageStatus: UNIMPLEMENTED" in found[ALT, "versions"]["text"]


def test_the_primary_s_images_may_be_at_another_socket(scene: Scene, runtime: MakeRuntime) -> None:
    scene.serve(scene.primary, "ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo")
    scene.serve(scene.other)
    images = runtime("images", services=("ImageService",)).start()
    assert scene.check()[0] == 2
    assert scene.check("--image-service", images.path)[0] == 0
    images.stop()
    status, found = scene.check("--image-service", images.path)
    assert (status, images.path in found["(primary)", "versions"]["text"]) == (2, True)


def test_a_streaming_server_that_is_not_there_is_told(scene: Scene) -> None:
    scene.serve(scene.primary)
    with socket.create_server(("127.0.0.1", 0)) as server:
        gone = f"127.0.0.1:{server.getsockname()[1]}"
    scene.serve(scene.other, url=f"http://{gone}")
    status, found = scene.check()
    assert (status, found[ALT, "streaming"]["state"]) == (1, DEGRADED)
    assert found[ALT, "streaming"]["text"].endswith(f"{gone}: Connection refused")


def test_a_url_that_is_a_path_has_the_address_of_the_options(scene: Scene) -> None:
    scene.serve(scene.primary, url="/")
    scene.serve(scene.other)
    assert scene.check("--stream-url", f"http://{scene.address}")[1]["(primary)", "streaming"]["state"] == RIGHT


def test_two_sockets_of_one_runtime_are_told(scene: Scene) -> None:
    scene.serve(scene.primary)
    os.symlink(scene.primary, scene.other)
    status, found = scene.check()
    assert (status, found[ALT, "lists"]["state"]) == (2, BROKEN)


def test_an_image_of_a_registry_with_a_port_is_told_where_it_needs_a_prefix(scene: Scene) -> None:
    scene.serve(scene.primary)
    scene.serve(scene.other, image="registry.test:5000/nginx:1.27")
    status, found = scene.check("--image-prefix", "required")
    assert (status, found[ALT, "registries"]["state"]) == (1, DEGRADED)
    assert scene.check()[0] == 0


@pytest.mark.parametrize(
    ("answer", "cause"),
    [(b"", "it closed the connection before it answered"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP")],
)
def test_who_is_no_runtime_is_told(
    answer: bytes, cause: str, scene: Scene, foreign_server: Callable[[Serve], ForeignServer]
) -> None:
    scene.serve(scene.primary)
    scene.other = foreign_server(lambda taken: taken.sendall(answer) if answer else None).path
    status, found = scene.check()
    assert (status, cause in found[ALT, "answer"]["text"]) == (1, True)


def test_who_says_nothing_is_not_waited_for(
    foreign_server: Callable[[Serve], ForeignServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(taken: socket.socket) -> None:
        while taken.recv(4096):
            pass

    monkeypatch.setattr(interview, "_QUESTION", 0.5)
    path = foreign_server(listen).path
    assert interview.interview(path, path, str).failure == "Version: no answer within 0.5 s"


def test_who_is_slow_with_each_answer_has_a_bound_in_all(runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interview, "PATIENCE", 0.0)
    path = runtime("slow").start().path
    assert interview.interview(path, path, str).failure == "Version: it has not answered everything within 0 s"


def test_criproxy_is_asked_which_runtimes_it_has(scene: Scene, runtime: MakeRuntime, start_proxy: StartProxy) -> None:
    primary, other = runtime("one").start(), runtime("two").start()
    proxy = start_proxy(primary, {ALT: other})
    path = str(Path(primary.path).with_name("proxy.sock"))
    words = ["--listen", path, "--connect"]
    config: Any = parse([*words, f"{primary.path},{ALT}:{other.path}"], {})
    assert {finding.what: finding.state.value for finding in listening(config, Sockets())}["in force"] == RIGHT
    config = parse([*words, primary.path], {})
    assert {finding.what: finding.state.value for finding in listening(config, Sockets())}["in force"] == DEGRADED
    assert proxy.stop() == 0


def test_a_terminal_has_colors_and_nobody_else(scene: Scene) -> None:
    scene.serve(scene.primary)
    command = [sys.executable, "-m", "criproxy", "check", "--connect", scene.primary]
    ours, its = os.openpty()
    with os.fdopen(its, "w") as terminal:
        environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
        environment.pop("NO_COLOR", None)
        subprocess.run(command, stdout=terminal, env=environment, timeout=WAIT, check=True)
        shown = os.read(ours, 65536).decode()
        assert shown.startswith("\x1b[32m✓\x1b[0m  configuration")
        subprocess.run(command, stdout=terminal, env={**environment, "NO_COLOR": "1"}, timeout=WAIT, check=True)
        assert "\x1b" not in os.read(ours, 65536).decode()
    os.close(ours)
