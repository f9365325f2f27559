"""preinst starts the package's Python before anything on the node is replaced."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable, Dict, Tuple

import pytest

from tests.node import debs as node_debs

from .alone import Alone
from .debs import ARCHITECTURES, HERE, NODEPS, package, run, unpacked

GO_PROGRAM = "the Go program"
DPKG = "var/lib/dpkg"
DPKG_OWN = {f"{DPKG}/{name}" for name in ("status", "status-old", "lock", "lock-frontend", "triggers/Lock")}
"""What dpkg writes whatever it does."""

Breaks = Callable[[Path], None]


@pytest.fixture
def node(tmp_path: Path) -> Alone:
    """A node that has a shell and dpkg's records, with a package in them."""
    machine = Alone(tmp_path / "node", HERE)
    for folder in ("info", "updates", "triggers"):
        (machine.root / DPKG / folder).mkdir(parents=True)
    (machine.root / DPKG / "status").touch()
    for program in ("dirname", "rm", "uname"):
        (machine.root / "bin" / program).symlink_to("busybox")
    assert dpkg(machine, "--install", node_debs.make(tmp_path, "busybox", "1", {}, {})).returncode == 0
    return machine


def dpkg(node: Alone, action: str, deb: Path) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "--user", "--map-root-user", "dpkg", f"--root={node.root}", f"--log={node.root}/tmp/log"]
    return subprocess.run([*command, action, deb], capture_output=True, text=True)


def broken(deb: Path, folder: Path, breaks: Breaks) -> Path:
    content = unpacked(deb, folder / "content")
    breaks(content / "DEBIAN")
    target = folder / "broken.deb"
    run("dpkg-deb", "-Znone", "--root-owner-group", "--build", content, target)
    return target


def wrong_cpu(control: Path) -> None:
    (other,) = set(ARCHITECTURES) - {HERE}
    foreign = unpacked(package(NODEPS, other), control.parent / "other")
    (foreign / "DEBIAN/ld.so").replace(control / "ld.so")
    run("rm", "-r", foreign)


def library_that_is_not_one(control: Path) -> None:
    (control / "libc.so.6").write_text("")


def half_a_program(control: Path) -> None:
    python = control / "python3.13"
    python.write_bytes(python.read_bytes()[: python.stat().st_size // 2])


def all_there_is(node: Alone) -> Dict[str, Tuple[int, bytes]]:
    paths = {path.relative_to(node.root).as_posix(): path for path in node.root.rglob("*")}
    return {
        name: (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for name, path in paths.items()
        if name not in DPKG_OWN and not name.startswith("tmp/")
    }


def installed(node: Alone) -> str:
    form = "${Package} ${Version} ${Status}\\n"
    query = ["dpkg-query", f"--admindir={node.root / DPKG}", "--show", f"--showformat={form}"]
    return run("sh", "-c", '"$@" | grep " installed$" || :', "sh", *query)


def go_package(folder: Path) -> Path:
    files = {"/usr/bin/criproxy": (GO_PROGRAM, 0o755), "/lib/systemd/system/criproxy.service": ("[Unit]\n", 0o644)}
    return node_debs.make(folder, NODEPS, "0.14.0", files, {})


@pytest.mark.parametrize("breaks", [wrong_cpu, library_that_is_not_one, half_a_program])
@pytest.mark.parametrize("before", ["nothing", GO_PROGRAM])
def test_a_package_whose_python_does_not_start_changes_nothing(
    node: Alone, tmp_path: Path, before: str, breaks: Breaks
) -> None:
    if before == GO_PROGRAM:
        assert dpkg(node, "--install", go_package(tmp_path)).returncode == 0
    as_it_was = all_there_is(node), installed(node)
    refused = dpkg(node, "--install", broken(package(NODEPS), tmp_path, breaks))
    assert refused.returncode == 1
    (said,) = [line for line in refused.stderr.splitlines() if line.startswith("criproxy-nodeps")]
    assert "cannot run on this node (Linux " in said
    assert "which stays as it is" in said
    assert (all_there_is(node), installed(node)) == as_it_was


@pytest.mark.parametrize("before", ["nothing", GO_PROGRAM, NODEPS])
def test_of_what_preinst_starts_nothing_stays(node: Alone, tmp_path: Path, before: str) -> None:
    earlier: Dict[str, Callable[[Path], Path]] = {GO_PROGRAM: go_package, NODEPS: lambda _: package(NODEPS)}
    if before in earlier:
        assert dpkg(node, "--unpack", earlier[before](tmp_path)).returncode == 0
    unpack = dpkg(node, "--unpack", node_debs.later(package(NODEPS), tmp_path))
    assert unpack.returncode == 0, unpack.stderr
    kept = {path.name for path in (node.root / DPKG).rglob("*") if path.is_file()}
    assert {f"{NODEPS}.preinst", f"{NODEPS}.postinst"} <= kept
    assert not [name for name in kept if ".so" in name or "python" in name]
    assert not (node.root / DPKG / "tmp.ci").exists()
