"""``criproxy show`` as its users run it, before runtimes served by gRPC's own server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
from peers import MakeRuntime, Proxy, StartProxy, v1
from peers import Runtime as Peer

from criproxy import __version__
from criproxy.client import Client
from criproxy.demo.messages import MESSAGES, CriError
from criproxy.demo.runtime import DemoRuntime
from criproxy.demo.server import serve

WAIT = 30.0
SHOW = [sys.executable, "-m", "criproxy", "show"]


class Alternative(DemoRuntime):
    """A runtime whose answers look as those of an alternative runtime do behind the proxy."""

    def ListPodSandbox(self, request: Any) -> Any:
        answer = super().ListPodSandbox(request)
        for pod in answer.items:
            pod.id = f"alt.test__{pod.id}"
        return answer

    def ListContainers(self, request: Any) -> Any:
        answer = super().ListContainers(request)
        for container in answer.containers:
            container.id = f"alt.test__{container.id}"
            container.pod_sandbox_id = f"alt.test__{container.pod_sandbox_id}"
            container.image.image = f"alt.test/{container.image.image}"
        return answer

    def ListImages(self, request: Any) -> Any:
        answer = super().ListImages(request)
        for image in answer.images:
            for names in (image.repo_tags, image.repo_digests):
                names[:] = [f"alt.test/{name}" for name in names]
        return answer


def fill(runtime: DemoRuntime, name: str = "web", namespace: str = "default") -> None:
    """A pod and a running container."""
    runtime.PullImage(MESSAGES["PullImageRequest"](image={"image": "nginx:1.27"}))
    config = {"metadata": {"name": name, "namespace": namespace, "uid": "1"}}
    pod_id = runtime.RunPodSandbox(MESSAGES["RunPodSandboxRequest"](config=config)).pod_sandbox_id
    config = {"metadata": {"name": "app"}, "image": {"image": "nginx:1.27"}}
    request = MESSAGES["CreateContainerRequest"](pod_sandbox_id=pod_id, config=config)
    container_id = runtime.CreateContainer(request).container_id
    runtime.StartContainer(MESSAGES["StartContainerRequest"](container_id=container_id))


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="cri") as directory:
        yield os.path.join(directory, "r.sock")


@contextmanager
def served(runtime: DemoRuntime, path: str, *versions: str) -> Iterator[None]:
    server = serve(runtime, path, versions or ("v1", "v1alpha2"))
    try:
        yield
    finally:
        server.stop(0).wait(WAIT)


def show(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SHOW, *options], capture_output=True, text=True, timeout=WAIT)


def tables(text: str) -> List[List[List[str]]]:
    """The tables' rows without their titles, the columns' names first."""
    parts = text.rstrip("\n").split("\n\n")[1:]
    return [[re.split(r"  +", line) for line in part.split("\n")[1:]] for part in parts]


def test_it_shows_the_pods_containers_and_images_of_a_runtime(path: str) -> None:
    runtime = DemoRuntime("demo")
    fill(runtime)
    with served(runtime, path):
        shown = show("--socket", path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.match(rf"{re.escape(path)}: demo [\d.]+, CRI v1\n\nPODS \(1\)\n", shown.stdout)
    pods, containers, images = tables(shown.stdout)
    assert pods[0] == ["RUNTIME", "ID", "NAMESPACE", "NAME", "STATE", "AGE"]
    assert (pods[1][0], *pods[1][2:5]) == ("(primary)", "default", "web", "Ready")
    assert re.fullmatch(r"[0-9a-f]{13}", pods[1][1])
    assert re.fullmatch(r"\d+s", pods[1][5])
    assert containers[0] == ["RUNTIME", "ID", "POD", "NAME", "IMAGE", "STATE", "AGE"]
    assert (containers[1][0], *containers[1][2:6]) == ("(primary)", "default/web", "app", "nginx:1.27", "Running")
    assert images[0] == ["RUNTIME", "ID", "NAME", "SIZE"]
    assert (images[1][0], images[1][2]) == ("(primary)", "nginx:1.27")
    assert re.fullmatch(r"\d+\.\d MB", images[1][3])


def test_what_is_of_an_alternative_runtime_is_shown_with_its_id_and_without_the_prefixes(path: str) -> None:
    runtime = Alternative("demo")
    fill(runtime)
    with served(runtime, path):
        pods, containers, images = tables(show("--socket", path).stdout)
    assert (pods[1][0], pods[1][3]) == ("alt.test", "web")
    assert re.fullmatch(r"[0-9a-f]{13}", pods[1][1])
    assert (containers[1][0], *containers[1][2:5]) == ("alt.test", "default/web", "app", "nginx:1.27")
    assert re.fullmatch(r"[0-9a-f]{13}", containers[1][1])
    assert (images[1][0], images[1][2]) == ("alt.test", "nginx:1.27")


@pytest.mark.parametrize(
    ("tags", "digests", "owners", "name"),
    [
        (["x:1", "alt.test/x:1"], [], "(primary),alt.test", "x:1 (+1)"),
        (["alt.test/x:1", "alt.test/x:2"], ["sha256:d"], "alt.test", "x:1 (+1)"),
        (["x:1"], ["x@sha256:d", "alt.test/x@sha256:d"], "(primary),alt.test", "x:1"),
        ([], ["alt.test/x@sha256:d", "x@sha256:d"], "alt.test,(primary)", "x@sha256:d (+1)"),
        ([], ["alt.test/x@sha256:d", "@sha256:d"], "alt.test", "x@sha256:d (+1)"),
        ([], ["sha256:d"], "(primary)", "sha256:d"),
        ([], [], "(primary)", "?"),
    ],
)
def test_an_image_is_shown_with_all_runtimes_whose_names_it_bears(
    tags: List[str], digests: List[str], owners: str, name: str, path: str
) -> None:
    class Merged(Alternative):
        def ListImages(self, request: Any) -> Any:
            answer = super().ListImages(request)
            answer.images[0].repo_tags[:], answer.images[0].repo_digests[:] = tags, digests
            return answer

    runtime = Merged("demo")
    fill(runtime)
    with served(runtime, path):
        _, _, images = tables(show("--socket", path).stdout)
    assert (images[1][0], images[1][2]) == (owners, name)


def test_on_criproxys_socket_it_shows_the_runtimes_first(start_proxy: StartProxy, folder: Path) -> None:
    with served(DemoRuntime("demo"), str(folder / "demo.sock")):
        behind = Peer(str(folder / "demo.sock"), "demo")
        absent = Peer(str(folder / "absent.sock"), "absent")
        proxy = start_proxy(behind, {"alt.test": absent}, connected=1)
        shown = show("--socket", proxy.path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\n\nRUNTIMES (2)\n" in shown.stdout
    (columns, first, second), pods, _, _ = tables(shown.stdout)
    assert columns == ["RUNTIME", "SOCKET", "STATE", "CRI", "SINCE", "CALLS"]
    assert re.fullmatch(r"[\d-]+T[\d:]+Z", first.pop(4))
    assert first == ["(primary)", behind.path, f"demo {__version__}", "v1, v1alpha2", "0"]
    assert second == ["alt.test", absent.path, "not there: there is no such socket", "-", "-", "0"]
    assert pods[0][0] == "RUNTIME"


def test_an_image_service_of_its_own_is_shown_below_the_primary_runtime(
    start_proxy: StartProxy, primary: Peer, other: Peer, runtime: MakeRuntime
) -> None:
    images = runtime("images", services=("ImageService",))
    proxy = start_proxy(primary, {"alt.test": other}, "--image-service", images.path, "--connection-timeout", "0.1")
    shown = show("--socket", proxy.path)
    (_, first, second, third), pods, containers = tables(shown.stdout)
    assert second == ["(images)", images.path, "not there: there is no such socket", "-", "-", "0"]
    assert (first[0], third[0]) == ("(primary)", "alt.test")
    # The images are not to be had, and all else is.
    assert (pods[0][1], containers[0][1]) == ("ID", "ID")
    assert shown.returncode == 1
    assert f": the image service ({images.path}) is not available: there is no such socket" in shown.stderr
    images.start()
    proxy.wait_for_log("connected to the image service")
    shown = show("--socket", proxy.path)
    assert shown.returncode == 0
    second = tables(shown.stdout)[0][2]
    assert re.fullmatch(r"[\d-]+T[\d:]+Z", second.pop(4))
    assert second == ["(images)", images.path, "connected", "v1, v1alpha2", "0"]


def test_without_its_primary_runtime_criproxy_shows_the_runtimes_nevertheless(
    start_proxy: StartProxy, folder: Path
) -> None:
    with served(DemoRuntime("demo"), str(folder / "demo.sock")):
        absent, behind = (Peer(str(folder / f"{name}.sock"), name) for name in ("absent", "demo"))
        proxy = start_proxy(absent, {"alt.test": behind}, "--connection-timeout", "0.1", connected=1)
        shown = show("--socket", proxy.path)
    assert shown.returncode == 1
    ((_, first, second),) = tables(f"\n\n{shown.stdout}")
    assert (first[0], first[2]) == ("(primary)", "not there: there is no such socket")
    assert (second[0], second[2]) == ("alt.test", f"demo {__version__}")
    assert f"{proxy.path}: the primary runtime" in shown.stderr


@pytest.mark.parametrize(
    ("image_id", "short"),
    [
        ("sha256:0123456789abcdef", "0123456789abc"),
        ("virtlet.cloud/0123456789abcdef", "virtlet.cloud/0123456789abc"),
        ("virtlet.cloud/cirros:0.5", "virtlet.cloud/cirros:0.5"),
        ("cirros:0.5", "cirros:0.5"),
    ],
)
def test_an_id_is_cut_behind_what_says_whose_it_is(image_id: str, short: str, path: str) -> None:
    class Named(DemoRuntime):
        def ListImages(self, request: Any) -> Any:
            return MESSAGES["ListImagesResponse"](images=[{"id": image_id, "repo_tags": ["cirros:0.5"]}])

    with served(Named("demo"), path):
        _, _, images = tables(show("--socket", path).stdout)
    assert images[1][1] == short


def test_the_image_of_a_container_is_shown_by_the_beginning_of_its_id(path: str) -> None:
    """Kubelet creates containers by the ids of images; the table of images has them in the same way."""
    digest = "0123456789abcdef" * 4

    class ById(DemoRuntime):
        def ListContainers(self, request: Any) -> Any:
            answer = super().ListContainers(request)
            answer.containers[0].image.image = f"sha256:{digest}"
            return answer

    runtime = ById("demo")
    fill(runtime)
    with served(runtime, path):
        short, whole = show("--socket", path, "containers"), show("--socket", path, "containers", "--full")
    assert f"  {digest[:13]}  Running" in short.stdout
    assert f"  sha256:{digest}  Running" in whole.stdout


def test_on_criproxys_socket_an_image_is_known_by_its_runtime_without_a_pod(
    start_proxy: StartProxy, primary: Peer, other: Peer
) -> None:
    other.answers["ListImages"] = v1.ListImagesResponse(images=[{"id": "0a" * 16, "repo_tags": ["cirros:0.5"]}])
    shown = show("--socket", start_proxy(primary, {"virtlet.cloud": other}).path)
    (row,) = tables(shown.stdout)[3][1:]
    assert (row[0], row[2]) == ("virtlet.cloud", "cirros:0.5")
    assert row[1].endswith("0a0a0a0a0a0a0")


def test_what_is_remembered_of_a_runtime_that_is_away_does_not_look_live(
    start_proxy: StartProxy, primary: Peer, other: Peer
) -> None:
    for peer in (primary, other):
        peer.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p"}])
        peer.answers["ListContainers"] = v1.ListContainersResponse(containers=[{"id": "c", "state": 1}])
    proxy = start_proxy(primary, {"alt.test": other})

    def states() -> List[List[str]]:
        _, pods, containers, _ = (
            part.splitlines()[2:] for part in show("--socket", proxy.path).stdout.split("\n\n")[1:]
        )
        return [re.findall(r"Ready|Running|\(remembered\)", row) for row in (*pods, *containers)]

    assert states() == [["Ready"], ["Ready"], ["Running"], ["Running"]]
    other.stop()
    proxy.wait_for_log("has gone")
    assert states() == [["Ready"], ["Ready", "(remembered)"], ["Running"], ["Running", "(remembered)"]]


@pytest.mark.parametrize(
    "own_info",
    ["", "{", "[]", "1", '{"runtimes": 1}', '{"runtimes": [1]}', '{"runtimes": [{"id": ""}]}', '{"runtimes": []}'],
)
def test_what_is_not_criproxys_has_no_runtimes_to_show(own_info: str, path: str) -> None:
    class Other(DemoRuntime):
        def Status(self, request: Any) -> Any:
            return MESSAGES["StatusResponse"](info={"criproxy": own_info})

    with served(Other("demo"), path):
        shown = show("--socket", path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "RUNTIMES" not in shown.stdout


def test_a_runtime_that_fails_status_is_shown_nevertheless(path: str) -> None:
    class Failing(DemoRuntime):
        def Status(self, request: Any) -> Any:
            raise CriError("INTERNAL", "broken")

    with served(Failing("demo"), path):
        shown = show("--socket", path)
    assert shown.returncode == 0
    assert "PODS (0)" in shown.stdout


def test_the_columns_are_aligned_and_the_rows_counted(path: str) -> None:
    runtime = DemoRuntime("demo")
    fill(runtime, "a")
    fill(runtime, "a-longer-name", "another-namespace")
    with served(runtime, path):
        text = show("--socket", path).stdout
    title, *rows = text.split("\n\n")[1].split("\n")
    assert title == "PODS (2)"
    assert len({re.search(r"\b(STATE|Ready)\b", row).start() for row in rows}) == 1  # type: ignore[union-attr]


def test_a_runtime_with_nothing_in_it_has_empty_tables(path: str) -> None:
    with served(DemoRuntime("demo"), path):
        text = show("--socket", path).stdout
    assert [line for line in text.split("\n") if line.endswith("(0)")] == ["PODS (0)", "CONTAINERS (0)", "IMAGES (0)"]
    assert [len(rows) for rows in tables(text)] == [1, 1, 1]


def test_names_are_cut_and_cannot_steer_the_terminal(path: str) -> None:
    runtime = DemoRuntime("demo")
    fill(runtime, "x" * 100, "\x1b[31m\n")
    with served(runtime, path):
        text = show("--socket", path).stdout
    assert tables(text)[0][1][2:4] == [r"\x1b[31m\n", "x" * 45 + "..."]


def test_a_runtime_of_the_older_version_is_asked_in_that(path: str) -> None:
    runtime = DemoRuntime("demo")
    fill(runtime)
    with served(runtime, path, "v1alpha2"):
        shown = show("--socket", path)
    assert shown.returncode == 0
    assert "CRI v1alpha2" in shown.stdout
    assert "PODS (1)" in shown.stdout


def test_the_socket_may_be_written_as_an_endpoint(path: str) -> None:
    with served(DemoRuntime("demo"), path):
        assert show("--socket", f"unix://{path}").returncode == 0


def error_of(shown: subprocess.CompletedProcess[str]) -> str:
    """The one line of a failure."""
    assert (shown.returncode, shown.stdout) == (1, "")
    (line,) = shown.stderr.splitlines()
    return line


def test_a_socket_that_is_not_there_is_told_in_one_line(path: str) -> None:
    assert error_of(show("--socket", path)) == f"criproxy show: {path}: No such file or directory"


def test_a_socket_that_nobody_serves_is_told_in_one_line(path: str) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(path)
    assert error_of(show("--socket", path)) == f"criproxy show: {path}: Connection refused"


def test_a_socket_path_that_is_too_long_is_told_in_one_line() -> None:
    assert "too long" in error_of(show("--socket", "/" + "x" * 200))


def test_a_failed_call_is_told_in_one_line_with_its_status(path: str) -> None:
    class Failing(DemoRuntime):
        def ListImages(self, request: Any) -> Any:
            return super().ImageStatus(request)

    with served(Failing("demo"), path):
        shown = show("--socket", path)
    assert shown.returncode == 1
    assert re.fullmatch(rf"criproxy show: {re.escape(path)}: ListImages: [A-Z_]+: .*\n", shown.stderr)


def test_what_can_be_had_is_shown_where_another_call_fails(path: str) -> None:
    class Failing(DemoRuntime):
        def ListImages(self, request: Any) -> Any:
            raise CriError("INTERNAL", "broken")

    runtime = Failing("demo")
    fill(runtime)
    with served(runtime, path):
        shown = show("--socket", path)
    assert shown.returncode == 1
    assert "PODS (1)" in shown.stdout
    assert "CONTAINERS (1)" in shown.stdout
    assert "IMAGES" not in shown.stdout


def test_somebody_who_does_not_speak_the_cri_is_told_in_one_line(path: str) -> None:
    with served(DemoRuntime("demo"), path, "v0"):
        assert error_of(show("--socket", path)).endswith(": it speaks no known version of the CRI (v1, v1alpha2)")


@pytest.mark.parametrize(
    "options",
    [
        ["--colour"],
        ["--once", "--watch"],
        ["somewhere"],
        ["pod"],
        ["pods", "a", "b"],
        ["pods", ""],
        ["pods", "--runtime", ""],
        ["images", "-n", "default"],
        ["runtimes", "-n", "default"],
        ["--full", "-o", "json"],
        ["-o", "yaml"],
    ],
)
def test_bad_usage_ends_with_2(options: List[str]) -> None:
    shown = show(*options)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "usage: criproxy show" in shown.stderr


def test_watch_shows_it_until_ctrl_c_and_waits_for_somebody_to_answer(path: str) -> None:
    watching = subprocess.Popen([*SHOW, "--socket", path, "--watch"], stdout=subprocess.PIPE, text=True)
    timer = threading.Timer(WAIT, watching.kill)
    timer.start()
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline() == f"criproxy show: {path}: No such file or directory\n"
        with served(DemoRuntime("demo"), path):
            assert any(line == "IMAGES (0)\n" for line in iter(watching.stdout.readline, ""))
            watching.send_signal(signal.SIGINT)
            watching.stdout.read()
            assert watching.wait(WAIT) == 0
    finally:
        timer.cancel()
        watching.kill()
        watching.communicate()


@pytest.fixture
def both(start_proxy: StartProxy, folder: Path) -> Iterator[Proxy]:
    """criproxy before two runtimes: on both a pod with a container, and the same image."""
    here, there = DemoRuntime("here"), DemoRuntime("there")
    fill(here, "web")
    fill(here, "db", "shop")
    fill(there, "vm")
    paths = [str(folder / f"{name}.sock") for name in ("here", "there")]
    with served(here, paths[0]), served(there, paths[1]):
        yield start_proxy(Peer(paths[0], "here"), {"alt.test": Peer(paths[1], "there")}, connected=2)


def rows(shown: subprocess.CompletedProcess[str], column: int) -> List[str]:
    """A column of a table that is shown alone."""
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\n\n" not in shown.stdout
    return [re.split(r"  +", line)[column] for line in shown.stdout.splitlines()[2:]]


def listed(*options: str) -> Dict[str, List[Dict[str, Any]]]:
    """What programs get."""
    shown = show(*options, "-o", "json")
    assert (shown.returncode, shown.stderr) == (0, "")
    lists: Dict[str, List[Dict[str, Any]]] = json.loads(shown.stdout)
    return lists


@pytest.mark.parametrize(
    ("kind", "column", "shown"),
    [
        ("runtimes", 0, ["(primary)", "alt.test"]),
        ("pods", 3, ["web", "db", "vm"]),
        ("containers", 2, ["default/web", "shop/db", "default/vm"]),
        ("images", 2, ["nginx:1.27 (+1)"]),
    ],
)
def test_a_kind_is_shown_alone(kind: str, column: int, shown: List[str], both: Proxy) -> None:
    assert rows(show(kind, "--socket", both.path), column) == shown


def test_a_name_is_a_pattern_for_whole_names(both: Proxy) -> None:
    def names(kind: str, name: str, column: int) -> List[str]:
        return rows(show(kind, name, "--socket", both.path), column)

    assert names("pods", "web", 3) == ["web"]
    assert names("pods", "[dv]?", 3) == ["db", "vm"]
    assert names("containers", "a*", 2) == ["default/web", "shop/db", "default/vm"]
    assert names("runtimes", "alt.*", 0) == ["alt.test"]
    assert names("runtimes", "primary", 0) == ["(primary)"]
    for name in ("nginx:1.27", "alt.test/nginx:*", "alt.test/nginx@sha256:*", "nginx@sha256:*"):
        assert names("images", name, 2) == ["nginx:1.27 (+1)"]


def test_a_namespace_has_pods_and_their_containers(both: Proxy) -> None:
    at = ("--socket", both.path)
    assert rows(show("pods", "-n", "shop", *at), 3) == ["db"]
    assert rows(show("containers", "--namespace=shop", *at), 2) == ["shop/db"]
    assert rows(show("-n", "default", "pods", "-o", "table", "v*", *at), 3) == ["vm"]
    assert rows(show("pods", "-n", "shop*", *at), 3) == []
    pods, containers = tables(show("-n", "shop", *at).stdout)
    assert ([row[3] for row in pods[1:]], [row[2] for row in containers[1:]]) == (["db"], ["shop/db"])
    assert set(listed("-n", "shop", *at)) == {"pods", "containers"}


def test_a_runtime_has_what_is_its_own(both: Proxy) -> None:
    at = ("--socket", both.path)
    assert rows(show("pods", "--runtime", "alt.test", *at), 3) == ["vm"]
    for primary in ("primary", "(primary)"):
        assert rows(show("containers", "--runtime", primary, *at), 2) == ["default/web", "shop/db"]
    assert rows(show("images", "--runtime", "alt.test", *at), 0) == ["(primary),alt.test"]
    runtimes, pods, containers, images = tables(show("--runtime", "alt.test", *at).stdout)
    assert [len(part) - 1 for part in (runtimes, pods, containers, images)] == [1, 1, 1, 1]
    unknown = error_of(show("pods", "--runtime", "alt.tset", *at))
    assert unknown.endswith(f'{both.path}: there is no runtime "alt.tset" (there are: (primary), alt.test)')


@pytest.mark.parametrize("wide", [["--full"], ["-o", "wide"]])
def test_whole_ids_and_names_are_those_that_kubelet_has(wide: List[str], both: Proxy) -> None:
    at = ("--socket", both.path)
    with Client(both.path) as client:
        for kind, things in (
            ("pods", client.call("ListPodSandbox").items),
            ("containers", client.call("ListContainers").containers),
            ("images", client.call("ListImages").images),
        ):
            assert rows(show(kind, *wide, *at), 1) == [thing.id for thing in things]
    (vm,) = [each for each in rows(show("pods", *wide, *at), 1) if each.startswith("alt.test__")]
    assert rows(show("containers", "--runtime", "alt.test", *wide, *at), 4) == ["alt.test/nginx:1.27"]
    assert rows(show("images", *wide, *at), 2) == ["nginx:1.27,alt.test/nginx:1.27"]
    # Each way to write an id, and its beginning.
    own = vm[len("alt.test__") :]
    for written in (vm, vm[:12], own, own[:13], own[:3]):
        assert "vm" in rows(show("pods", written, *at), 3)
    assert error_of(show("pods", own[:2], *at))
    (image,) = rows(show("images", *wide, *at), 1)
    for written in (image, image[: len("sha256:") + 4], image[len("sha256:") :][:13]):
        assert rows(show("images", written, *at), 1) == rows(show("images", *at), 1)


def test_nothing_is_cut_in_the_wide_format(path: str) -> None:
    runtime = DemoRuntime("demo")
    fill(runtime, "x" * 100, "y" * 60)
    with served(runtime, path):
        _, containers, _ = tables(show("--socket", path, "--full").stdout)
    assert containers[1][2] == f"{'y' * 60}/{'x' * 100}"


def test_programs_get_all_that_is_asked_for_by_what_kubelet_calls_it(both: Proxy) -> None:
    at = ("--socket", both.path)
    lists = listed(*at)
    assert set(lists) == {"runtimes", "pods", "containers", "images"}
    primary, other = lists["runtimes"]
    assert (primary["id"], primary["role"], other["role"]) == ("", "ROLE_PRIMARY", "ROLE_ALTERNATIVE")
    assert re.fullmatch(r"[\d-]+T[\d:]+Z", other.pop("connectedSince"))
    assert other == {
        "id": "alt.test",
        "role": "ROLE_ALTERNATIVE",
        "socket": other["socket"],
        "available": True,
        "summary": f"there {__version__} (v1, v1alpha2)",
        "criVersions": ["v1", "v1alpha2"],
        "callsInFlight": 0,
    }
    (pod,) = listed("pods", "vm", *at)["pods"]
    assert pod["id"].startswith("alt.test__")
    assert len(pod["id"]) == len("alt.test__") + 64
    assert re.fullmatch(r"[\d-]+T[\d:]+Z", pod["createdAt"])
    assert {field: pod[field] for field in pod if field not in ("id", "createdAt")} == {
        "runtime": "alt.test",
        "namespace": "default",
        "name": "vm",
        "uid": "1",
        "attempt": 0,
        "runtimeHandler": "",
        "state": "SANDBOX_READY",
        "remembered": False,
    }
    (container,) = listed("containers", "--runtime", "alt.test", *at)["containers"]
    assert (container["podSandboxId"], container["podNamespace"], container["podName"]) == (pod["id"], "default", "vm")
    assert (container["name"], container["image"]) == ("app", "alt.test/nginx:1.27")
    assert (container["state"], container["remembered"]) == ("CONTAINER_RUNNING", False)
    (image,) = lists["images"]
    assert image["runtimes"] == ["", "alt.test"]
    assert image["repoTags"] == ["nginx:1.27", "alt.test/nginx:1.27"]
    assert isinstance(image["size"], int)
    assert image["pinned"] is False


def test_on_a_runtimes_own_socket_programs_get_no_runtimes(path: str) -> None:
    runtime = DemoRuntime("demo")
    fill(runtime)
    with served(runtime, path):
        lists = listed("--socket", path)
        alone = show("runtimes", "--socket", path)
        assert error_of(alone) == f"criproxy show: {path}: it is not criproxy, and tells of no runtimes"
    assert {kind: len(entries) for kind, entries in lists.items()} == {
        "runtimes": 0,
        "pods": 1,
        "containers": 1,
        "images": 1,
    }
    assert (lists["pods"][0]["runtime"], lists["images"][0]["runtimes"]) == ("", [""])


def test_the_image_service_is_told_apart_from_the_primary_runtime(
    start_proxy: StartProxy, primary: Peer, other: Peer, folder: Path
) -> None:
    proxy = start_proxy(primary, {"alt.test": other}, "--image-service", str(folder / "absent.sock"))
    runtimes = listed("runtimes", "--runtime", "primary", "--socket", proxy.path)["runtimes"]
    assert [(each["id"], each["role"], each["available"]) for each in runtimes] == [
        ("", "ROLE_PRIMARY", True),
        ("", "ROLE_IMAGE_SERVICE", False),
    ]
    assert runtimes[1]["connectedSince"] is None


def test_the_runtimes_alone_are_shown_without_the_primary_one(start_proxy: StartProxy, folder: Path) -> None:
    with served(DemoRuntime("demo"), str(folder / "demo.sock")):
        absent, behind = (Peer(str(folder / f"{name}.sock"), name) for name in ("absent", "demo"))
        proxy = start_proxy(absent, {"alt.test": behind}, "--connection-timeout", "0.1", connected=1)
        assert rows(show("runtimes", "--socket", proxy.path), 0) == ["(primary)", "alt.test"]


def test_what_is_remembered_is_marked_in_every_format(start_proxy: StartProxy, primary: Peer, other: Peer) -> None:
    for peer in (primary, other):
        peer.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p"}])
        peer.answers["ListContainers"] = v1.ListContainersResponse(containers=[{"id": "c", "state": 1}])
    proxy = start_proxy(primary, {"alt.test": other})
    at = ("--socket", proxy.path)
    assert "remembered" not in show("--full", *at).stdout
    other.stop()
    proxy.wait_for_log("has gone")
    lists = listed(*at)
    for kind in ("pods", "containers"):
        assert [entry["remembered"] for entry in lists[kind]] == [False, True]
        (line,) = (line for line in show(kind, "--full", *at).stdout.splitlines() if "alt.test__" in line)
        assert "(remembered)" in line


def test_a_name_that_nothing_has_is_told_with_where_it_was_looked_for(both: Proxy) -> None:
    shown = show("pods", "nix*", "-n", "shop", "--runtime", "primary", "--socket", both.path)
    assert error_of(shown) == (
        f"criproxy show: {both.path}: none of the pods of the runtime (primary) in the namespace"
        ' "shop" has the name, or an id that begins with, "nix*"'
    )
    as_json = show("images", "nix", "-o", "json", "--socket", both.path)
    assert (as_json.returncode, json.loads(as_json.stdout)) == (1, {"images": []})
    assert 'none of the images has the name, or an id that begins with, "nix"' in as_json.stderr


def test_programs_get_what_can_be_had_and_nothing_from_nobody(path: str) -> None:
    class Failing(DemoRuntime):
        def ListImages(self, request: Any) -> Any:
            raise CriError("INTERNAL", "broken")

    assert error_of(show("-o", "json", "--socket", path)).endswith("No such file or directory")
    with served(Failing("demo"), path):
        shown = show("-o", "json", "--socket", path)
    assert (shown.returncode, json.loads(shown.stdout)) == (1, {"runtimes": [], "pods": [], "containers": []})
    assert "ListImages" in shown.stderr


def test_watch_gives_programs_one_object_after_the_other(both: Proxy) -> None:
    command = [*SHOW, "pods", "vm", "-o", "json", "--watch", "--socket", both.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        timer = threading.Timer(WAIT, watching.kill)
        timer.start()
        try:
            assert watching.stdout is not None
            first, second = ("".join(iter(watching.stdout.readline, "}\n")) for _ in range(2))
            watching.send_signal(signal.SIGINT)
        finally:
            timer.cancel()
    assert watching.returncode == 0
    assert [pod["name"] for pod in json.loads(f"{first}}}")["pods"]] == ["vm"]
    assert json.loads(f"{first}}}") == json.loads(f"{second}}}")
