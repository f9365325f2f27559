"""The Debian packages that `make deb` has put into dist/."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest

from criproxy import __version__

ROOT = Path(__file__).parents[2]
CRIPROXY, NODEPS = "criproxy", "criproxy-nodeps"
LAST_OF_THE_GO_PROGRAM = "0.14.0"
MB = 1000 * 1000


def run(*words: object, **environment: str) -> str:
    command = [str(word) for word in words]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def package(name: str, dist: Path = ROOT / "dist") -> Path:
    found = list(dist.glob(f"{name}_*.deb"))
    assert len(found) == 1, f"{dist} has {len(found)} packages {name}; make deb"
    return found[0]


def field(name: str, which: str) -> str:
    return run("dpkg-deb", "--field", package(name), which).strip()


def unpacked(name: str, target: Path) -> Path:
    run("dpkg-deb", "--raw-extract", package(name), target)
    return target


def files(root: Path) -> List[str]:
    paths = (path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())
    return [path for path in paths if not path.startswith("DEBIAN/")]


@pytest.fixture(scope="module")
def nodeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(NODEPS, tmp_path_factory.mktemp("nodeps") / "root")


@pytest.mark.parametrize("name", [CRIPROXY, NODEPS])
def test_version(name: str) -> None:
    assert field(name, "Version") == __version__
    run("dpkg", "--compare-versions", __version__, "gt", LAST_OF_THE_GO_PROGRAM)


def test_names() -> None:
    assert package(CRIPROXY).name == f"criproxy_{__version__}_all.deb"
    architecture = run("dpkg", "--print-architecture").strip()
    assert package(NODEPS).name == f"criproxy-nodeps_{__version__}_{architecture}.deb"


def test_criproxy_depends_on_what_it_imports() -> None:
    depends = set(re.findall(r"[\w.-]+(?=[,: ]|$)", field(CRIPROXY, "Depends")))
    libraries = {"grpcio", "protobuf", "hpack", "configargparse", "systemd"}
    assert depends >= {"python3", "kubelet", *(f"python3-{library}" for library in libraries)}


def test_nodeps_depends_on_the_c_library_alone() -> None:
    assert field(NODEPS, "Depends") == "libc6 (>= 2.31)"


@pytest.mark.parametrize(("name", "other"), [(CRIPROXY, NODEPS), (NODEPS, CRIPROXY)])
def test_each_takes_the_place_of_the_other(name: str, other: str) -> None:
    assert field(name, "Conflicts") == other
    assert field(name, "Replaces") == other


def test_nodeps_is_small() -> None:
    assert package(NODEPS).stat().st_size < 25 * MB
    assert int(field(NODEPS, "Installed-Size")) * 1024 < 60 * MB


def test_nodeps_keeps_to_itself(nodeps: Path) -> None:
    own = re.compile(
        r"usr/lib/criproxy/.+|usr/bin/criproxy|usr/lib/systemd/system/criproxy\.(service|socket)"
        r"|usr/share/(doc/criproxy-nodeps/.+|man/man8/criproxy\.8\.gz|lintian/overrides/criproxy-nodeps)"
    )
    assert [path for path in files(nodeps) if not own.fullmatch(path)] == []


def test_both_have_the_same_units_questions_and_triggers(nodeps: Path, tmp_path: Path) -> None:
    criproxy = unpacked(CRIPROXY, tmp_path / "root")
    units = [f"usr/lib/systemd/system/criproxy.{kind}" for kind in ("service", "socket")]
    for path in (*units, "DEBIAN/templates", "DEBIAN/config", "DEBIAN/triggers"):
        assert (criproxy / path).read_text() == (nodeps / path).read_text()
    for unit in units:
        assert (nodeps / unit).read_text() == (ROOT / "lib/systemd/system" / Path(unit).name).read_text()


def nodeps_runs(root: Path, *words: str) -> str:
    """What the program says, by the interpreter in the package and with none of this environment."""
    launcher = root / "usr/bin/criproxy"
    interpreter, option = launcher.read_text().splitlines()[0].lstrip("#!").split()
    return run("env", "-i", f"{root}{interpreter}", option, launcher, *words)


def test_nodeps_runs_by_its_own_interpreter(nodeps: Path) -> None:
    before = files(nodeps)
    assert nodeps_runs(nodeps, "--version") == f"criproxy {__version__}\n"
    assert nodeps_runs(nodeps, "show", "--help").startswith("usage: criproxy show")
    assert files(nodeps) == before


def test_nodeps_serves(nodeps: Path, tmp_path: Path) -> None:
    shown = nodeps_runs(nodeps, "demo", "--once", "--dir", str(tmp_path))
    assert "alt.demo" in shown


@pytest.mark.parametrize("name", [CRIPROXY, NODEPS])
def test_lintian(name: str) -> None:
    assert run("lintian", "--allow-root", "--tag-display-limit", "0", package(name)) == ""


@pytest.mark.timeout(600)
def test_a_second_build_is_the_same(tmp_path: Path) -> None:
    tree = tmp_path / "elsewhere"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=ignored)
    run("sh", "-c", 'umask 077 && exec "$1"', "sh", tree / ".ci/deb", TZ="Asia/Tokyo", LANG="C")
    assert sums(tree / "dist") == sums(ROOT / "dist")


def sums(dist: Path) -> Dict[str, str]:
    return {name: hashlib.sha256(package(name, dist).read_bytes()).hexdigest() for name in (CRIPROXY, NODEPS)}
