"""The programs of Kubernetes 1.20.2, built once and kept outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence

from tests.node.roots import cache, mirror

KUBELET = "kubelet"
KUBECTL = "kubectl"
API_SERVER = "kube-apiserver"
DOCKERSHIM = "dockershim"
"""What kubelet 1.8.4 to 1.18 is when it is started with `--experimental-dockershim`."""
ALL = (KUBELET, KUBECTL, DOCKERSHIM, API_SERVER)

_SCRIPT = Path(__file__).with_name("build")
_SOURCE = Path(__file__).with_name("dockershim.go")


def program(name: str) -> Path:
    """A program, built if it is missing."""
    build([name])
    return _place(name)


def build(names: Sequence[str]) -> None:
    """Builds those of the programs that are missing, all in one go: what they have in common is compiled once."""
    with (_cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [name for name in names if not _place(name).exists()]
        if missing:
            _build(missing)


def _cache() -> Path:
    return cache("kubernetes")


def _place(name: str) -> Path:
    """Where a program is: another place whenever it would become another program."""
    source = _SOURCE.read_bytes() if name == DOCKERSHIM else b""
    return _cache() / f"{name}-{hashlib.sha256(_SCRIPT.read_bytes() + source).hexdigest()[:12]}"


def _build(names: Sequence[str]) -> None:
    """Builds beside the programs' places, so that what is there is whole; of all else nothing stays."""
    print(f"building {', '.join(names)} of Kubernetes, which takes some minutes each", flush=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=_cache()) as folder:
        subprocess.run([str(_SCRIPT), folder, mirror(), *names], check=True)
        for name in names:
            Path(folder, "bin", name).rename(_place(name))
