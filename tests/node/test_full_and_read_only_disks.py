"""Full disks and folders that are read-only: what is said is true, and what is undone later is undone whole."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import Callable, Iterator, List

import pytest

from .layouts import FULL, KUBEADM
from .node import Node
from .outcomes import completes, install_refused, leaves_nothing

_FOLDERS = ["/etc/systemd/system", "/etc/default", "/var/lib/criproxy"]
_KUBELETS = "/etc/systemd/system/kubelet.service.d"
_READ_ONLY, _FULL = "Read-only file system", "No space left on device"
_AS_BEFORE = ("everything is as it was", "everything is as before")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Node]]:
    """Gives one node to all, or another when a test has failed on it."""
    with ExitStack() as nodes:
        made: List[Node] = []

        def whole() -> Node:
            if not made or made[-1].broken:
                made.append(nodes.enter_context(Node(KUBEADM, tmp_path_factory.mktemp("node"))))
            return made[-1]

        yield whole


@pytest.fixture
def node(whole: Callable[[], Node]) -> Iterator[Node]:
    """A node, which is to be left as it was."""
    node = whole()
    before = node.files()
    yield node
    assert node.broken or node.files().changes(before) == {}


def _lock(node: Node, folder: str) -> None:
    """Makes a folder read-only."""
    node.path(folder).mkdir(exist_ok=True)
    node.run("mount", "--bind", folder, folder)
    node.run("mount", "-o", "remount,bind,ro", folder)


def _put_on_a_small_disk(node: Node, folder: str) -> None:
    node.path(folder).mkdir(exist_ok=True)
    node.run("mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "small", "/mnt")
    node.run("cp", "-a", f"{folder}/.", "/mnt")
    node.run("mount", "--bind", "/mnt", folder)


def _fill(node: Node) -> None:
    filled = node.attempt("dd", "if=/dev/zero", "of=/mnt/filler", "bs=4k")
    assert _FULL in filled.stdout


def _take_from_disk(node: Node, folder: str) -> None:
    """What has been on the small disk is in its place again."""
    node.path("/mnt/filler").unlink()
    node.run("umount", folder)
    node.run("sh", "-c", f"rm -rf {folder} && cp -a /mnt {folder}")
    node.run("umount", "/mnt")


def _is_true(node: Node, said: subprocess.CompletedProcess[str], folder: str) -> None:
    """Whether kubelet is served, and the text of what could not be done names the folder and the reason."""
    if said.returncode:
        assert folder in said.stdout
        assert _READ_ONLY in said.stdout
    assert not any(words in said.stdout for words in _AS_BEFORE)
    command = node.kubelet_command
    assert command in (node.own_command, node.turned_command)
    if command == node.turned_command:
        with node.client() as client:
            assert client.Version().runtime_name == "containerd"


@pytest.mark.parametrize("folder", _FOLDERS)
def test_an_installation_names_a_folder_that_is_read_only(node: Node, folder: str) -> None:
    before = node.files()
    _lock(node, folder)
    text = install_refused(node)
    assert folder in text
    assert _READ_ONLY in text
    node.run("umount", folder)
    completes(node)
    leaves_nothing(node, before)


@pytest.mark.parametrize("folder", _FOLDERS)
def test_a_removal_says_what_it_could_not_put_back_and_is_completed_later(node: Node, folder: str) -> None:
    before = node.files()
    node.install()
    _lock(node, folder)
    removed = node.attempt("dpkg", "--remove", FULL)
    _is_true(node, removed, folder)
    if folder != "/etc/default":  # where a removal has nothing to do
        assert folder in removed.stdout
        assert _READ_ONLY in removed.stdout
    node.run("umount", folder)
    leaves_nothing(node, before)


def test_a_change_that_cannot_be_written_leaves_what_is_in_force(node: Node) -> None:
    node.install()
    files, kubelet, proxy = node.files(), node.kubelet, node.show("criproxy.service", "MainPID")
    _lock(node, "/etc/systemd/system")
    done = node.attempt("criproxy", "node", "apply", "--attach-detach", "keep")
    assert done.returncode == 1
    assert "/etc/systemd/system" in done.stdout
    assert _READ_ONLY in done.stdout
    node.run("umount", "/etc/systemd/system")
    assert node.files().changes(files) == {}
    assert [node.kubelet, node.show("criproxy.service", "MainPID")] == [kubelet, proxy]
    with node.client() as client:
        assert client.Version().runtime_name == "containerd"
    node.dpkg("--purge", FULL)


@pytest.mark.parametrize("folder", ["/etc/systemd/system", _KUBELETS, "/var/lib/criproxy"])
def test_an_installation_names_a_disk_that_is_full(node: Node, folder: str) -> None:
    node.path(_KUBELETS).mkdir(exist_ok=True)
    node.write(f"{_KUBELETS}/10-local.conf", "# so that debhelper does not tidy it up\n")
    node.path(folder).mkdir(exist_ok=True)
    before = node.files()
    _put_on_a_small_disk(node, folder)
    _fill(node)
    text = install_refused(node)
    assert _FULL in text
    assert folder in text
    node.run("umount", folder, "/mnt")
    completes(node)
    node.dpkg("--purge", FULL)
    assert node.kubelet_command == node.own_command
    assert node.files().changes(before).keys() <= {"/var/lib/criproxy"}, node.files().changes(before)
    node.run("rm", "-rf", _KUBELETS, "/var/lib/criproxy")


@pytest.mark.parametrize("folder", ["/etc/systemd/system", "/etc/default", "/var/lib/criproxy"])
def test_a_full_disk_does_not_stop_a_removal(node: Node, folder: str) -> None:
    before = node.files()
    _put_on_a_small_disk(node, folder)
    node.install()
    _fill(node)
    node.dpkg("--remove", FULL)
    assert node.kubelet_command == node.own_command
    assert [node.show(unit, "LoadState") for unit in ("criproxy.service", "criproxy.socket")] == ["not-found"] * 2
    _take_from_disk(node, folder)
    leaves_nothing(node, before)
