"""A machine that has nothing but a kernel, criproxy-nodeps and a static busybox."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence

from .debs import NODEPS, ROOT, package, run

PATIENCE = 180
"""How long a program may take, seconds: under qemu it is twenty times slower, and a package is built beside it."""
PYTHON = "/usr/lib/criproxy/bin/python3"


def busybox(architecture: str, folder: Path) -> Path:
    """Debian's static busybox for an architecture."""
    folder.mkdir()
    subprocess.run([ROOT / "debian/nodeps/apt", architecture, "download", "busybox-static"], cwd=folder, check=True)
    (deb,) = folder.glob("*.deb")
    run("dpkg-deb", "--extract", deb, folder / "files")
    return next(path for path in (folder / "files/bin/busybox", folder / "files/usr/bin/busybox") if path.exists())


class Alone:
    """Such a machine. Its programs run in namespaces of their own, without a network; needs no root."""

    def __init__(self, root: Path, architecture: str) -> None:
        self.root = root
        self.architecture = architecture
        for folder in ("bin", "dev", "etc", "proc", "run", "tmp"):
            (root / folder).mkdir(parents=True)
        for device in ("null", "urandom"):
            (root / "dev" / device).touch()
        shutil.copy(busybox(architecture, root.parent / f"busybox-{architecture}"), root / "bin/busybox")
        (root / "bin/sh").symlink_to("busybox")

    def unpack(self) -> None:
        """Puts the package's files there, and nothing else of it."""
        run("dpkg-deb", "--extract", package(NODEPS, self.architecture), self.root)

    def start(self, *words: str, trace: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
        """Starts a program with this environment and no other."""
        enter = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        given = [f"{name}={value}" for name, value in environment.items()]
        path = "/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.Popen(
            [*enter, Path(__file__).with_name("enter"), self.root, "/bin/busybox", "env", "-i", *given, *words],
            env={"PATH": path, "TRACE": " ".join(trace)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, status: Optional[int] = 0, **options: object) -> str:
        """What a program says until it ends, with this status unless any will do."""
        with ending(self.start(*words, **options)) as process:  # type: ignore[arg-type]
            said, _ = process.communicate(timeout=PATIENCE)
        assert status in (process.returncode, None), said
        return said

    @contextmanager
    def running(self, *commands: Sequence[str]) -> Iterator[None]:
        """Keeps these running."""
        with ExitStack() as processes:
            for words in commands:
                processes.enter_context(ending(self.start(*words)))
            yield


@contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kills the process, and with it all that it has started, unless it has ended."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
