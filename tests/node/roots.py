"""The Debians that nodes are booted from, made once and kept outside the checkout.

``python -m tests.node.roots`` makes those that are missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence, Tuple

SUITES = ("bullseye", "bookworm", "trixie", "forky")
"""Debian 11, 12, 13 and 14."""
UNIFIED = ("forky",)
"""Those whose systemd takes cgroups of version 2 only (since 258)."""
BARE: Tuple[str, ...] = ()
"""What a node without Python has beside systemd and containerd."""
PYTHON = (
    "python3-configargparse",
    "python3-grpcio",
    "python3-protobuf",
    "python3-systemd",
    "python3-yaml",
)
"""What `criproxy` takes from the distribution."""
_SCRIPT = Path(__file__).with_name("make-root")


def root(suite: str, packages: Sequence[str] = BARE) -> Path:
    """A Debian with these packages, made if it is missing. Not to be written to."""
    made = cache("roots") / f"{suite}-{'python' if packages else 'bare'}-{_digest(suite, packages)}"
    with (cache("roots") / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(made, suite, packages)
    return made


def cache(name: str) -> Path:
    """A directory of that name for what is made once, outside the checkout."""
    made = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "criproxy" / name
    made.mkdir(parents=True, exist_ok=True)
    return made


def _digest(suite: str, packages: Sequence[str]) -> str:
    return hashlib.sha256("\0".join((_SCRIPT.read_text(), suite, *packages)).encode()).hexdigest()[:12]


def _make(made: Path, suite: str, packages: Sequence[str]) -> None:
    """Makes it beside its place, so that what is there is whole."""
    with tempfile.TemporaryDirectory(prefix="making-", dir=made.parent) as folder:
        making = Path(folder, "root")
        bare = made.parent / f"{suite}-bare-{_digest(suite, BARE)}"
        if packages:
            if not bare.exists():
                _make(bare, suite, BARE)
            subprocess.run(["cp", "-a", "--reflink=auto", str(bare), str(making)], check=True)
        print(f"making {made}", flush=True)
        subprocess.run([str(_SCRIPT), suite, str(making), mirror(), *packages], check=True)
        making.rename(made)


def mirror() -> str:
    """Where this machine has its own Debian from; empty if it is none."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian", "Created-By: Packages"]
    if not shutil.which(targets[0]):
        return ""
    return next(iter(subprocess.run(targets, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()), "")


if __name__ == "__main__":
    for suite in SUITES:
        for packages in (BARE, PYTHON):
            root(suite, packages)
