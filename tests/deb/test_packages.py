"""The Debian packages that `make deb` has put into dist/."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import sys
from pathlib import Path
from typing import Dict, Set, Tuple

import pytest

from criproxy import __version__

from .debs import ARCHITECTURES, CRIPROXY, NODEPS, ROOT, field, files, package, run, unpacked

LAST_OF_THE_GO_PROGRAM = "0.14.0"
MB = 1000 * 1000
DIST_PACKAGES = "lib/python3/dist-packages"
COMPILER = {"mypy", "mypyc", "librt", "ast_serialize", "mypy_extensions", "pathspec", "setuptools"}
"""Names of what compiles criproxy-nodeps' modules."""
CPUS = {"amd64": "x86_64", "arm64": "aarch64"}
DEBS = [(CRIPROXY, "all"), *((NODEPS, architecture) for architecture in ARCHITECTURES)]


@pytest.fixture(scope="module")
def nodeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(package(NODEPS), tmp_path_factory.mktemp("nodeps") / "root")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def each_nodeps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tuple[str, Path]:
    return request.param, unpacked(package(NODEPS, request.param), tmp_path_factory.mktemp(request.param) / "root")


@pytest.mark.parametrize(("name", "architecture"), DEBS)
def test_version(name: str, architecture: str) -> None:
    deb = package(name, architecture)
    assert field(deb, "Version") == __version__
    assert field(deb, "Architecture") == architecture
    run("dpkg", "--compare-versions", __version__, "gt", LAST_OF_THE_GO_PROGRAM)


def test_the_source_package_lies_beside_them() -> None:
    names = [path.name for path in (ROOT / "dist").iterdir()]
    assert f"{CRIPROXY}_{__version__}.dsc" in names
    for architecture in ARCHITECTURES:
        for kind in ("buildinfo", "changes"):
            assert f"{CRIPROXY}_{__version__}_{architecture}.{kind}" in names


@pytest.mark.parametrize(("name", "architecture"), DEBS)
def test_dpkg_1_18_can_read_them(name: str, architecture: str) -> None:
    assert run("ar", "t", package(name, architecture)).split() == ["debian-binary", "control.tar.xz", "data.tar.xz"]


def test_criproxy_depends_on_what_it_imports() -> None:
    depends = set(re.findall(r"[\w.-]+(?=[,: ]|$)", field(package(CRIPROXY), "Depends")))
    libraries = {"grpcio", "protobuf", "configargparse", "systemd", "yaml"}
    assert depends >= {"python3", *(f"python3-{library}" for library in libraries)}


def test_criproxy_wants_no_older_library_than_the_program() -> None:
    libraries = re.findall(r"install_requires=\[(.+)\]", (ROOT / "setup.py").read_text())[0]
    wanted = dict(re.findall(r'"(\w+)[^"]*>=([\d.]+)[",]', libraries))
    named = dict(re.findall(r"python3-(\w+) \(>= ([\d.]+)\)", field(package(CRIPROXY), "Depends")))
    assert named == wanted != {}


def test_criproxy_takes_a_kubelet_that_is_no_package() -> None:
    assert "kubelet" not in field(package(CRIPROXY), "Depends")
    assert field(package(CRIPROXY), "Recommends") == "kubelet"


def test_criproxy_suggests_what_metrics_need_and_nodeps_has_it_without_its_servers(nodeps: Path) -> None:
    assert field(package(CRIPROXY), "Suggests") == "python3-prometheus-client"
    library = nodeps / "usr/lib/criproxy" / DIST_PACKAGES / "prometheus_client"
    assert {path.name for path in library.glob("**/*.py")} == {
        "__init__.py",  # of openmetrics
        "exposition.py",
        "metrics_core.py",
        "process_collector.py",
        "registry.py",
        "samples.py",
        "utils.py",
        "validation.py",
    }
    assert not (library / "exposition.py").exists()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nodeps_depends_on_nothing(architecture: str) -> None:
    deb = package(NODEPS, architecture)
    assert field(deb, "Depends") == field(deb, "Pre-Depends") == ""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nodeps_names_what_is_inside(architecture: str) -> None:
    sources = re.findall(r"([\w.+-]+) \(= ", field(package(NODEPS, architecture), "Built-Using"))
    assert {"glibc", "python3.13", "gcc-14"} <= set(sources)


def test_criproxy_is_not_compiled(tmp_path: Path) -> None:
    root = unpacked(package(CRIPROXY), tmp_path / "root")
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from criproxy.cli import main; sys.exit(main())"
    assert run(sys.executable, "-c", start, root / "usr" / DIST_PACKAGES, "--version") == f"criproxy {__version__}\n"
    assert [path for path in files(root) if path.endswith(".so")] == []


def test_nodeps_has_what_moves_calls_compiled_beside_its_source(each_nodeps: Tuple[str, Path]) -> None:
    architecture, root = each_nodeps
    program = root / "usr/lib/criproxy" / DIST_PACKAGES / "criproxy"
    sources = [path for folder in ("cri", "http2", "relay") for path in program.glob(f"{folder}/[!_]*.py")]
    suffix = f".cpython-313-{CPUS[architecture]}-linux-gnu.so"
    assert {path.with_suffix(suffix) for path in sources} == set(program.rglob("*.so")) != set()
    assert [path for path in sources if list(path.parent.glob(f"__pycache__/{path.stem}.*"))] == []


def test_nodeps_holds_no_compiler(each_nodeps: Tuple[str, Path]) -> None:
    _, root = each_nodeps
    home = root / "usr/lib/criproxy"
    names = {re.split("[-.]", path.name)[0] for path in (home / DIST_PACKAGES).iterdir()}
    assert names & COMPILER == set() < names
    assert {path.name for path in home.iterdir()} == {"bin", "lib"}


def test_nodeps_has_the_licenses_of_what_is_compiled_into_it(each_nodeps: Tuple[str, Path]) -> None:
    _, root = each_nodeps
    licenses = (root / "usr/share/doc/criproxy-nodeps/parts/mypy/copyright").read_text()
    assert "The MIT License" in licenses
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in licenses


def test_the_compiler_has_the_version_of_all_other_checks() -> None:
    tools = pinned(ROOT / ".ci/constraints.txt")
    common = {pin for pin in pinned(ROOT / "debian/nodeps/compiler.txt") if pin.startswith(("mypy==", "types-"))}
    assert common <= tools
    assert len(common) == 2


def pinned(requirements: Path) -> Set[str]:
    return set(re.findall(r"^[\w-]+==[\w.]+", requirements.read_text(), re.M))


@pytest.mark.parametrize(("name", "other"), [(CRIPROXY, NODEPS), (NODEPS, CRIPROXY)])
def test_each_takes_the_place_of_the_other(name: str, other: str) -> None:
    assert field(package(name), "Conflicts") == other
    assert field(package(name), "Replaces") == other


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nodeps_is_small(architecture: str) -> None:
    deb = package(NODEPS, architecture)
    assert deb.stat().st_size < 20 * MB
    assert int(field(deb, "Installed-Size")) * 1024 < 65 * MB


def test_nodeps_keeps_to_itself(nodeps: Path) -> None:
    own = re.compile(
        r"usr/lib/criproxy/.+|usr/bin/criproxy|usr/lib/systemd/system/criproxy\.(service|socket)"
        r"|usr/share/(doc/criproxy-nodeps/.+|man/man[578]/criproxy[.\w-]*\.gz|lintian/overrides/criproxy-nodeps)"
        r"|usr/share/(criproxy/.+|bash-completion/completions/criproxy|zsh/vendor-completions/_criproxy)"
    )
    assert [path for path in files(nodeps) if not own.fullmatch(path)] == []


_PAGES = ("5/criproxy.conf.5", "7/criproxy.7", "8/criproxy.8", "8/criproxy-node.8")


def test_both_have_the_same_beside_their_programs(nodeps: Path, tmp_path: Path) -> None:
    criproxy = unpacked(package(CRIPROXY), tmp_path / "root")
    units = [f"usr/lib/systemd/system/criproxy.{kind}" for kind in ("service", "socket")]
    manuals = [f"usr/share/man/man{page}.gz" for page in _PAGES]
    completions = ["usr/share/bash-completion/completions/criproxy", "usr/share/zsh/vendor-completions/_criproxy"]
    etc = ["usr/share/criproxy/criproxy.conf", "usr/share/criproxy/default/criproxy"]
    control = ["DEBIAN/templates", "DEBIAN/config", "DEBIAN/triggers"]
    for path in (*units, *manuals, *completions, *etc, *control):
        assert (criproxy / path).read_bytes() == (nodeps / path).read_bytes()
    for unit in units:
        assert (nodeps / unit).read_text() == (ROOT / "lib/systemd/system" / Path(unit).name).read_text()


def test_both_have_their_documents(nodeps: Path, tmp_path: Path) -> None:
    for name, root in ((NODEPS, nodeps), (CRIPROXY, unpacked(package(CRIPROXY), tmp_path / "root"))):
        doc = root / "usr/share/doc" / name
        assert gzip.decompress((doc / "README.md.gz").read_bytes()) == (ROOT / "README.md").read_bytes()
        assert gzip.decompress((doc / "changelog.gz").read_bytes()) == (ROOT / "debian/changelog").read_bytes()
        for example in (ROOT / "etc/criproxy").iterdir():
            assert (doc / "examples" / example.name).read_bytes() == example.read_bytes()
        assert (doc / "copyright").exists()


@pytest.mark.parametrize("language", ["de", "fr"])
def test_the_questions_are_translated(language: str, nodeps: Path) -> None:
    templates = (nodeps / "DEBIAN/templates").read_text()
    assert templates.count(f"\nDescription-{language}.UTF-8: ") == templates.count("\nDescription: ") == 2


@pytest.mark.timeout(1200)
def test_a_second_build_is_the_same(tmp_path: Path) -> None:
    tree = tmp_path / "elsewhere"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
    run("sh", "-c", 'umask 077 && exec "$1"', "sh", tree / ".ci/deb", TZ="Asia/Tokyo", LANG="C")
    assert sums(tree / "dist") == sums(ROOT / "dist")


def sums(dist: Path) -> Dict[str, str]:
    """Of all but what says when and where the build was."""
    tells: Tuple[str, ...] = (".buildinfo", ".changes")
    built = (path for path in dist.glob(f"{CRIPROXY}*_{__version__}*") if path.suffix not in tells)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built}
