"""A Kubernetes node of some layout: what it was before criproxy came, and what can be seen and done on it."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple, Union

from tests.containerd.client import Client
from tests.containerd.images import Image
from tests.containerd.kubelet import TARGET_RUNTIME
from tests.containerd.runtime import PAUSE, config
from tests.containerd.service import eventually

from . import debs
from .files import Files
from .image_service import ImageService
from .layouts import CONTAINERD, CRIO, CRIO_UNIT, Layout
from .machine import Machine
from .roots import UNIFIED, cache, root

SOCKET = "/run/criproxy.sock"
DROP_IN = "/etc/systemd/system/kubelet.service.d/99-criproxy.conf"
_PLACE = "/run/debs"
"""Where packages are put on a node."""
# Else channels to the same address share one. How long it takes until somebody answers is as in other clients.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_STAND_IN = Path(__file__).with_name("stand-in.c")
# What a machine with cgroups of version 1 has of version 2 is without controllers: nothing can be limited there.
_WITHOUT_CONTROLLERS = """\
#!/bin/sh
for word; do
  [ "$before" != --bundle ] || sed -i 's/"cpu":{"shares":2}/"cpu":{}/' "$word/config.json"
  before=$word
done
exec /usr/sbin/runc "$@"
"""
_POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
systemctl --quiet enable kubelet.service
[ ! -d /run/systemd/system ] || { systemctl daemon-reload && systemctl restart kubelet.service; }
"""


class Node(Machine):
    """A machine with containerd, on which kubelet runs as the layout says (or not, without ``kubelet``)."""

    def __init__(self, layout: Layout, folder: Path, kubelet: bool = True) -> None:
        self.image_service = ImageService()
        """Plays the one that the layout has beside its runtimes, if it has one."""
        super().__init__(root(layout.suite, layout.packages), layout.suite in UNIFIED)
        self.layout = layout
        self.folder = folder
        """On the host, for packages."""
        self.broken = ""
        """The step of its life that failed, after which no other makes sense."""
        try:
            self.start_runtimes()
            if kubelet:
                self.add_kubelet()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends all that is on the node, and what is played for it."""
        self.image_service.stop()
        super().stop()

    def start_runtimes(self) -> None:
        """Starts containerd, with the image that pods need, and what else kubelet is to use."""
        if self.layout.suite in UNIFIED:
            self.write("/usr/local/sbin/runc", _WITHOUT_CONTROLLERS, 0o755)
        self._start_runtime("containerd", "/etc/containerd/config.toml", "/var/lib/containerd", CONTAINERD)
        if self.layout.primary == CRIO:
            self.write("/etc/systemd/system/crio.service", CRIO_UNIT)
            self._start_runtime("crio", "/etc/crio/crio.conf", "/var/lib/containerd/crio", CRIO)
        if self.layout.images:
            self.image_service.serve(self.path(self.layout.images))

    def _start_runtime(self, unit: str, file: str, folder: str, socket: str) -> None:
        self.write(file, config(Path(folder), Path(socket)))
        self.run("systemctl", "--quiet", "enable", "--now", unit)
        self.load(self.pause, PAUSE, socket)

    @property
    def pause(self) -> Image:
        """What pods are held by."""
        return Image(self.busybox, ["sh", "sleep"], ["sh", "-c", "trap exit TERM; sleep 86400 & wait"])

    @property
    def busybox(self) -> Path:
        """A program for images."""
        return root(self.layout.suite, self.layout.packages) / "bin/busybox"

    def load(self, image: Image, name: str, socket: str) -> None:
        """Makes an image known by that name to the containerd on a socket."""
        self.load_with(
            ["ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", "--no-unpack"], image, name
        )

    def load_with(self, command: Sequence[str], image: Image, name: str) -> None:
        """The same, with a command that takes an archive."""
        archive = self.path("/run/image.tar")
        image.save(archive, [name])
        self.run(*command, "/run/image.tar")
        archive.unlink()

    # kubelet.

    def add_kubelet(self) -> None:
        """Brings kubelet, as a package where it is one, and starts it."""
        self.add_files()
        if self.layout.packaged:
            self.dpkg("--install", self.kubelet_deb())
            for path in self.layout.packaged.keys() & self.layout.files.keys():
                self.write(path, self.layout.files[path])
        else:
            self._place_program()
        self.run("systemctl", "daemon-reload")
        if self.layout.enabled:
            self.run("systemctl", "--quiet", "enable", self.layout.enabled)
        self.run("systemctl", "restart", "kubelet")

    def add_files(self) -> None:
        """Lays what kubelet is going to find."""
        for path, text in self.layout.files.items():
            if path not in self.layout.packaged:
                self.write(path, text)
        for path, text in self.layout.scripts.items():
            self.write(path, text, 0o755)
        for path, target in self.layout.links.items():
            self.path(path).symlink_to(target)

    def _place_program(self) -> None:
        program = self.path(self.layout.program[0])
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_stand_in(self.layout.version), program)

    def programs(self) -> Dict[str, debs.File]:
        """kubelet itself, here one that only notes what it is started with, by its path."""
        return {self.layout.program[0]: (_stand_in(self.layout.version), 0o755)}

    def kubelet_deb(self, release: str = "1.1", changed: Mapping[str, str] = {}) -> Path:
        """kubelet's package. ``changed``: files of it that are others than the layout's."""
        texts = {**self.layout.packaged, **changed}
        files: Dict[str, debs.File] = {path: (text, 0o644) for path, text in texts.items()}
        files.update(self.programs())
        version = re.sub(r"[^\w.+]", "", self.layout.version) + f"-{release}"
        return debs.make(self.folder, "kubelet", version, files, {"postinst": _POSTINST})

    @property
    def own_command(self) -> Tuple[str, ...]:
        """What kubelet is started with without criproxy."""
        return (*self.layout.program, *self.layout.flags)

    @property
    def turned_command(self) -> Tuple[str, ...]:
        """What it is started with behind criproxy."""
        return (*self.own_command, *self.layout.added)

    @property
    def kubelet(self) -> int:
        """kubelet's process id on the node; 0 if it does not run."""
        return int(self.show("kubelet.service", "MainPID"))

    @property
    def kubelet_command(self) -> Tuple[str, ...]:
        """The command line of the kubelet that runs."""
        record = self.path(f"/run/kubelet/{self.kubelet}")
        assert eventually(record.exists, bool), f"kubelet does not run:\n{self.journal('kubelet.service')}"
        return _words(record)

    @property
    def dockershim_command(self) -> Tuple[str, ...]:
        """The command line of the dockershim that runs."""
        record = self.path(f"/run/dockershim/{self.show('dockershim.service', 'MainPID')}")
        assert eventually(record.exists, bool), f"dockershim does not run:\n{self.journal('dockershim.service')}"
        return _words(record)

    def refuse(self, flag: str, seconds: int = 0) -> None:
        """Has kubelet refuse flags that begin so, when it has run with them for some seconds."""
        self.write("/run/kubelet/refuses", f"{flag} {seconds}\n")

    # systemd.

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def state(self, unit: str) -> str:
        """``active``, ``inactive``, ``failed``, …"""
        return self.show(unit, "ActiveState")

    def await_state(self, unit: str, state: str) -> None:
        """Waits until a unit is in that state."""
        seen = eventually(lambda: self.state(unit), lambda seen: seen == state)
        assert seen == state, f"{unit} is {seen}:\n{self.journal(unit)}"

    def await_restarts(self, unit: str, count: int) -> None:
        """Waits until systemd has started a unit again so many times."""
        seen = eventually(lambda: int(self.show(unit, "NRestarts")), lambda seen: seen >= count)
        assert seen >= count, f"{unit} has been restarted {seen} times:\n{self.journal(unit)}"

    def journal(self, unit: str, lines: int = 12) -> str:
        """What a unit has logged last, and systemd about it."""
        return self.run("journalctl", "--no-pager", f"--lines={lines}", "--unit", unit)

    # dpkg.

    def bring(self, package: Path) -> str:
        """Brings a package to the node; gives its place there."""
        self.path(_PLACE).mkdir(exist_ok=True)
        shutil.copy(package, self.path(_PLACE))
        return f"{_PLACE}/{package.name}"

    def dpkg(self, action: str, *packages: Union[Path, str]) -> str:
        """Runs ``dpkg``, which must succeed, on packages by their names or from our files; gives its output."""
        return self.run("dpkg", action, *self._named(packages))

    def refused(self, action: str, *packages: Union[Path, str]) -> str:
        """Runs ``dpkg``, which must not succeed; gives its output."""
        done = self.attempt("dpkg", action, *self._named(packages))
        assert done.returncode, f"dpkg {action} should have failed:\n{done.stdout}"
        return done.stdout

    def _named(self, packages: Sequence[Union[Path, str]]) -> List[str]:
        return [self.bring(package) if isinstance(package, Path) else package for package in packages]

    def answer(self) -> None:
        """Tells debconf the layout's answers."""
        kinds = {"criproxy/primary_cri": "select", "criproxy/other_cri": "string"}
        package = self.layout.package
        lines = [f"{package} {name} {kinds[name]} {value}\n" for name, value in self.layout.answers.items()]
        self.run("debconf-set-selections", stdin="".join(lines))

    def install(self) -> str:
        """Installs the package that is for this layout."""
        self.answer()
        return self.dpkg("--install", debs.built(self.layout.package))

    def status(self, package: str) -> str:
        """What dpkg knows of a package: ``installed``, ``config-files``, …, or ``not-installed``."""
        known = self.attempt("dpkg-query", "--show", "--showformat=${db:Status-Status}", package)
        return "not-installed" if known.returncode else known.stdout.strip()

    # Pods.

    @contextmanager
    def client(self, socket: str = SOCKET, version: str = "v1") -> Iterator[Client]:
        """A client of a CRI socket."""
        path = self.path(socket.replace("/var/run/", "/run/"))  # that link is absolute
        with Client(path, version, options=_OWN_CONNECTION) as client:
            yield client

    def containerd(self) -> Any:
        """A client of the containerd that pods are made on."""
        return self.client(self.layout.runtime, self.api_version)

    @property
    def api_version(self) -> str:
        """The version of the CRI that this Debian's containerd speaks: Debian 11's an older one only."""
        return "v1alpha2" if self.layout.suite == "bullseye" else "v1"

    def run_pod(self) -> str:
        """Makes a pod's sandbox on containerd, through the proxy; gives its id on containerd."""
        with self.client() as client:
            annotations = {TARGET_RUNTIME: self.layout.containerd} if self.layout.containerd else {}
            config: Dict[str, Any] = {
                "metadata": {"name": "pod", "uid": str(uuid.uuid4()), "namespace": "default"},
                "annotations": annotations,
                "linux": {"security_context": {"namespace_options": {"network": client.api.NODE}}},
            }
            return str(client.RunPodSandbox(config=config).pod_sandbox_id).rpartition("__")[2]

    def pods(self) -> List[str]:
        """The pods that containerd itself has running."""
        with self.containerd() as client:
            ready = client.api.SANDBOX_READY
            return [pod.id for pod in client.ListPodSandbox().items if pod.state == ready]

    # Files.

    def files(self) -> Files:
        """All that is kept on the node."""
        return Files.of(self.path("/"))


def _stand_in(version: str) -> Path:
    """The program that plays kubelet, made if it is missing."""
    source = _STAND_IN.read_text()
    made = cache("kubelets") / f"{hashlib.sha256(f'{version} {source}'.encode()).hexdigest()[:12]}"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            making = Path(folder, "kubelet")
            define = f'-DVERSION="{version}"'
            subprocess.run(["cc", "-static", "-Os", define, "-o", str(making), str(_STAND_IN)], check=True)
            making.rename(made)
    return made


def _words(record: Path) -> Tuple[str, ...]:
    return tuple(record.read_text().split("\0")[:-1])
