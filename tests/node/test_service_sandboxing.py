"""What the service is kept from, and that it finds a runtime wherever it is."""

from __future__ import annotations

import re
import socket
from typing import Iterator, Set

import grpc
import pytest

from criproxy.address import host_and_port
from criproxy.node.compat import adapt
from tests.containerd.kubelet import TARGET_RUNTIME
from tests.containerd.service import eventually

from .layouts import DIND, FULL, KIND, KUBEADM, KUBEADM_1_11, KUBEADM_NEWEST, Layout
from .node import Node
from .workers import shared

DEFAULTS = "/etc/default/criproxy"
OWNER = "daemon"
"""Who runs the runtimes, and keeps all others from their sockets."""
PLACES = {
    "run.test": "/run/runtime/cri.sock",
    "tmp.test": "/tmp/runtime/cri.sock",
    "home.test": "/home/somebody/cri.sock",
    "var.test": "/var/lib/runtime/cri.sock",
    "later.test": "/mnt/later/cri.sock",
}
"""Runtimes by their ids. The last is on a file system that is mounted when the service runs."""
_MOUNT = "/mnt/later"
_UNIT = "/etc/systemd/system/criproxy.service"
_UNKNOWN = "/run/systemd/system/criproxy.service.d/unknown.conf"
_UNKNOWN_CALLS = "[Service]\nSystemCallFilter=~clone3 close_range epoll_pwait2 faccessat2 openat2 rseq statx\n"
"""As good as not known: what a newer C library asks for, and neither an old libseccomp nor Linux 4.4 knows."""
_EXPOSURE = re.compile(r"Overall exposure level for criproxy\.service: (\d+\.\d)")
_OFFERED = 2.5
_LAYOUTS = (KUBEADM_1_11, DIND, KUBEADM, KUBEADM_NEWEST, KIND)


@pytest.fixture(scope="module", params=_LAYOUTS, ids=shared)
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on which the package is installed, of each Debian."""
    layout: Layout = request.param
    with Node(layout, tmp_path_factory.mktemp(layout.name)) as node:
        node.install()
        yield node


def test_it_is_exposed_no_more_than_is_said(node: Node) -> None:
    if node.layout.suite == "bullseye":
        pytest.skip("its systemd (247) measures otherwise")
    found = _EXPOSURE.search(node.run("systemd-analyze", "--no-pager", "security", "criproxy.service"))
    assert found
    assert float(found[1]) <= _OFFERED


def test_it_can_change_nothing_on_the_node(node: Node) -> None:
    for folder in ("/etc", "/usr", "/var/lib", "/home", "/tmp", "/run", "/sys/fs/cgroup"):
        done = _inside(node, "touch", f"{folder}/made-by-criproxy")
        assert "Read-only file system" in done, folder


def test_its_control_socket_is_roots_alone(node: Node) -> None:
    assert node.run("stat", "--format=%a %U:%G", "/run/criproxy", "/run/criproxy/control.sock").splitlines() == [
        "755 root:root",
        "600 root:root",
    ]


def test_metrics_are_served_at_a_port_and_at_a_path_where_the_library_is(node: Node) -> None:
    text = node.path(DEFAULTS).read_text()
    for address in ("127.0.0.1:11251", "unix:/run/criproxy/metrics.sock"):
        node.write(DEFAULTS, f"{text}CRIPROXY_METRICS_LISTEN={address}\n")
        reload = node.attempt("systemctl", "reload", "criproxy.service")
        if node.layout.package == FULL:
            assert reload.returncode
            assert "apt install python3-prometheus-client" in node.journal("criproxy.service")
        else:
            assert eventually(lambda address=address: _ready(node, address), bool), address  # type: ignore[misc]
    node.write(DEFAULTS, text)
    node.run("systemctl", "reload", "criproxy.service")


def test_its_memory_and_its_tasks_have_a_bound_that_is_far_away(node: Node) -> None:
    assert node.show("criproxy.service", "TasksMax") == "16"
    tasks = node.show("criproxy.service", "TasksCurrent")
    assert tasks in ("1", "[not set]", str(2**64 - 1))  # the others where the node's cgroups count none
    memory = node.show("criproxy.service", "MemoryMax")
    assert memory == str(512 * 1024 * 1024)


def test_a_group_gets_its_socket_and_gives_it_back(node: Node) -> None:
    text = node.path(DEFAULTS).read_text()
    for added, wanted in ((f"CRIPROXY_SOCKET_GROUP={OWNER}\n", f"660 root:{OWNER}"), ("", "660 root:root")):
        node.write(DEFAULTS, text + added)
        node.run("criproxy", "node", "apply")
        assert node.run("stat", "--format=%a %U:%G", "/run/criproxy.sock").strip() == wanted
        assert "no effect" not in node.journal("criproxy.service", lines=10)
        with node.client() as client:
            assert client.Version().runtime_name == "containerd"


def test_it_says_all_that_it_has_to_say(node: Node) -> None:
    assert "virtlet.cloud" in node.show("criproxy.service", "StatusText")
    assert node.journal("criproxy.service")


def test_it_finds_a_runtime_wherever_its_socket_is_and_whosever_it_is(node: Node) -> None:
    others = ",".join(f"{id}:{path}" for id, path in PLACES.items())
    text = node.path(DEFAULTS).read_text()
    node.write(DEFAULTS, re.sub("^CRI_OTHER=.*$", f"CRI_OTHER={others}", text, flags=re.M))
    node.run("systemctl", "reload", "criproxy.service")
    service = node.show("criproxy.service", "MainPID")
    node.run("mkdir", _MOUNT)
    node.run("mount", "-t", "tmpfs", "later", _MOUNT)
    for id, path in PLACES.items():
        _start_runtime(node, id, path)
    assert eventually(lambda: _reached(node), lambda ids: ids == set(PLACES)) == set(PLACES)
    assert node.show("criproxy.service", "MainPID") == service


def test_it_holds_no_file_system_that_the_node_gives_up(node: Node) -> None:
    before = _inside(node, "cat", "/proc/self/mountinfo")
    node.run("systemctl", "stop", "runtime-later.test.service")
    node.run("umount", _MOUNT)
    assert f" {_MOUNT} " in before
    assert f" {_MOUNT} " not in _inside(node, "cat", "/proc/self/mountinfo")


def test_a_reload_fails_and_changes_nothing_if_the_configuration_is_refused(node: Node) -> None:
    text = node.path(DEFAULTS).read_text()
    pid = node.show("criproxy.service", "MainPID")
    node.write(DEFAULTS, re.sub("^CRI_OTHER=.*$", "CRI_OTHER=virtlet.cloud", text, flags=re.M))
    assert node.attempt("systemctl", "reload", "criproxy.service").returncode
    assert (node.state("criproxy.service"), node.show("criproxy.service", "MainPID")) == ("active", pid)
    node.write(DEFAULTS, text)
    node.run("systemctl", "reload", "criproxy.service")


@pytest.mark.parametrize("version", [229, 232, 237, 239, 245])
def test_it_runs_with_what_an_older_systemd_is_told(node: Node, version: int) -> None:
    text = node.path(_UNIT).read_text()
    node.write(_UNIT, adapt(text, version))
    node.write(_UNKNOWN, _UNKNOWN_CALLS)
    _restart(node)
    with node.client() as client:
        assert client.Version().runtime_name == "containerd"
    # What systemd says of a line that it skips; newer ones say of MemoryLimit= that it is an old name.
    lines = node.journal("criproxy.service", lines=50).splitlines()
    assert [line for line in lines if f"{_UNIT}:" in line and "MemoryLimit" not in line] == []
    node.path(_UNKNOWN).unlink()
    node.write(_UNIT, text)
    _restart(node)


def _ready(node: Node, address: str) -> bool:
    """Whether the service says at this address that it is ready."""
    try:
        if address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(node.path(address.partition(":")[2])))
        else:
            sock = node.dial(*host_and_port(address))
    except OSError:
        return False
    with sock:
        sock.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        return sock.recv(100).startswith(b"HTTP/1.1 200 ")


def _restart(node: Node) -> None:
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "restart", "criproxy.service")


def _inside(node: Node, *command: str) -> str:
    """What a command says that sees the node's files as the service does."""
    pid = node.show("criproxy.service", "MainPID")
    return node.attempt("nsenter", f"--target={pid}", "--mount", "--", *command).stdout


def _start_runtime(node: Node, id: str, path: str) -> None:
    """Starts a runtime that calls itself by its id, on a socket that is its own user's alone."""
    folder = path.rpartition("/")[0]
    node.run("mkdir", "-p", folder)
    node.run("chown", OWNER, folder)
    node.run("chmod", "700", folder)
    options = [f"--property=User={OWNER}", "--property=UMask=0177", f"--unit=runtime-{id}"]
    node.run("systemd-run", "--quiet", *options, "criproxy", "demo-runtime", "--listen", path, "--name", id)


def _reached(node: Node) -> Set[str]:
    """The runtimes on which a pod can be made."""
    found = set()
    for id in PLACES:
        metadata = {"name": id, "uid": id, "namespace": "default"}
        with node.client() as client:
            try:
                pod = client.RunPodSandbox(config={"metadata": metadata, "annotations": {TARGET_RUNTIME: id}})
            except grpc.RpcError:
                continue
        assert pod.pod_sandbox_id.startswith(f"{id}__")
        found.add(id)
    return found
