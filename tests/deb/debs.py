"""What `make deb` has put into dist/, and how to look into it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import List

from criproxy import __version__

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
CRIPROXY, NODEPS = "criproxy", "criproxy-nodeps"
ARCHITECTURES = ("amd64", "arm64")
"""Those that criproxy-nodeps is made for."""


def run(*words: object, **environment: str) -> str:
    command = [str(word) for word in words]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


HERE = run("dpkg", "--print-architecture").strip()


def package(name: str, architecture: str = "") -> Path:
    """The package; of those for several architectures that for this machine, unless told otherwise."""
    found = DIST / f"{name}_{__version__}_{architecture or ('all' if name == CRIPROXY else HERE)}.deb"
    assert found.exists(), f"{found} is missing: make deb"
    return found


def field(deb: Path, name: str) -> str:
    return run("dpkg-deb", "--field", deb, name).strip()


def unpacked(deb: Path, target: Path) -> Path:
    run("dpkg-deb", "--raw-extract", deb, target)
    return target


def files(root: Path) -> List[str]:
    paths = (path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())
    return [path for path in paths if not path.startswith("DEBIAN/")]
