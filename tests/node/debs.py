"""Debian packages: those under test, later versions of them, and small ones made by hand."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, List, Mapping, Tuple, Union

import pytest

from .layouts import FULL, NODEPS

DIST = Path(__file__).parents[2] / "dist"

File = Tuple[Union[str, Path], int]
"""A text, or the file that has it, and a mode."""


def require(tests: str) -> None:
    """Ends the tests in this folder unless they run as root, on packages that have been built."""
    if os.geteuid():
        pytest.exit(f"{tests} needs root: it boots nodes", returncode=1)
    for package in (FULL, NODEPS):
        if len(_found(package)) != 1:
            pytest.exit(f"there is not just one {package}_*.deb for this machine in dist: make clean deb", returncode=1)


def built(package: str) -> Path:
    """The package as `make deb` has built it."""
    (found,) = _found(package)
    return found


def _found(package: str) -> List[Path]:
    architecture = "all"
    if package == NODEPS:
        command = ["dpkg", "--print-architecture"]
        architecture = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return list(DIST.glob(f"{package}_*_{architecture}.deb"))


def later(deb: Path, folder: Path) -> Path:
    """The same package in a later version, with a program that is another by its bytes alone."""

    def change(content: Path) -> None:
        _raise_version(content)
        modules = [*content.rglob("criproxy/__init__.py"), *content.rglob("criproxy/__init__*.pyc")]
        assert modules, f"{deb.name} has no program"
        for file in modules:
            file.write_bytes(file.read_bytes() + b"\n")  # bytecode may have something after it, too
        _sum_up(content)

    return _repacked(deb, folder / f"later-{deb.name}", change)


def renamed(deb: Path, folder: Path) -> Path:
    """The same package in a later version, with nothing in it that is another."""
    return _repacked(deb, folder / f"renamed-{deb.name}", _raise_version)


def with_another_unit(deb: Path, folder: Path) -> Path:
    """The same package in a later version, with a unit that is another."""

    def change(content: Path) -> None:
        _raise_version(content)
        (unit,) = content.rglob("lib/systemd/system/criproxy.service")
        unit.write_text(unit.read_text().replace("[Service]\n", "[Service]\nLimitNPROC=4096\n"))
        _sum_up(content)

    return _repacked(deb, folder / f"unit-{deb.name}", change)


def _raise_version(content: Path) -> None:
    control = content / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)$", r"\1+later", control.read_text(), flags=re.M))


def _sum_up(content: Path) -> None:
    """Has dpkg know what the files now are."""
    sums = content / "DEBIAN/md5sums"
    names = [line.split("  ", 1)[1] for line in sums.read_text().splitlines()]
    sums.write_text("".join(f"{hashlib.md5((content / name).read_bytes()).hexdigest()}  {name}\n" for name in names))


def make(folder: Path, package: str, version: str, files: Mapping[str, File], scripts: Mapping[str, str]) -> Path:
    """A package with these files, of which those in /etc are configuration files. ``scripts``: the maintainer's."""
    fields = {
        "Package": package,
        "Version": version,
        "Architecture": "all",
        "Maintainer": "Nobody <nobody@example.com>",
        "Description": "stand-in",
    }
    with tempfile.TemporaryDirectory() as content:
        for path, (source, mode) in files.items():
            _write(Path(content + path), source, mode)
        control = Path(content, "DEBIAN")
        _write(control / "control", "".join(f"{name}: {value}\n" for name, value in fields.items()), 0o644)
        _write(control / "conffiles", "".join(f"{path}\n" for path in files if path.startswith("/etc/")), 0o644)
        for name, text in scripts.items():
            _write(control / name, text, 0o755)
        return _packed(Path(content), folder / f"{package}_{version}_all.deb")


def _write(path: Path, source: Union[str, Path], mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, Path):
        shutil.copy(source, path)
    else:
        path.write_text(source)
    path.chmod(mode)


def _repacked(deb: Path, target: Path, change: Callable[[Path], None]) -> Path:
    content = Path(tempfile.mkdtemp())
    try:
        subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(content)], check=True)
        change(content)
        return _packed(content, target)
    finally:
        shutil.rmtree(content)


def _packed(content: Path, target: Path) -> Path:
    content.chmod(0o755)
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(content), str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target
