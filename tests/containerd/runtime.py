"""A containerd of the tests' own, with all that is its in one folder of a node."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
from pathlib import Path
from typing import Sequence

from .client import Client
from .images import Image
from .node import Node
from .service import PATIENCE, Service

PAUSE = "registry.test/pause:1"
"""The image of the pods' own containers."""
HANDLER = "another-runc"
"""A runtime handler that a pod can ask for."""

# Read by containerd 1.6, 1.7 and 2. The native snapshotter works on every filesystem; restrict_oom_score_adj is for
# machines without CAP_SYS_RESOURCE, and without effect on others.
_CONFIG = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"

[grpc]
  address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"

[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}]
      runtime_type = "io.containerd.runc.v2"
"""


def config(folder: Path, socket: Path) -> str:
    """containerd's configuration, with all that it keeps in one folder."""
    return _CONFIG.format(folder=folder, socket=socket, pause=PAUSE, handler=HANDLER)


def cni(folder: Path, network: str) -> str:
    """The network's configuration of a containerd that keeps all in that folder."""
    ipam = {
        "type": "host-local",
        "dataDir": str(folder / "leases"),
        "ranges": [[{"subnet": network}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    # A pair of interfaces and a route: what asks least of the kernel.
    plugins = [{"type": "ptp", "ipMasq": False, "ipam": ipam}]
    return json.dumps({"cniVersion": "0.4.0", "name": "net", "plugins": plugins})


class Containerd(Service):
    """A containerd on a socket of its own. Its pods get addresses of ``network`` (like ``192.0.2.0/24``)."""

    def __init__(self, node: Node, name: str, network: str) -> None:
        self.folder = node.folder / name
        self.socket = self.folder / "cri.sock"
        self.network = network
        self._node = node
        (self.folder / "cni").mkdir(parents=True)
        file = self.folder / "config.toml"
        file.write_text(config(self.folder, self.socket))
        (self.folder / "cni/net.conflist").write_text(cni(self.folder, network))
        super().__init__(f"containerd {name}", node.enter("containerd", "--config", str(file)))

    def start(self) -> None:
        """Starts it, and comes back when it serves the CRI."""
        with Client(self.socket) as client:
            self.launch(client.serves)

    def stop(self) -> None:
        """Stops it as a service manager does; its pods go on."""
        self.end(signal.SIGTERM)

    def kill(self) -> None:
        """Lets it end at once, as in a crash; its pods go on."""
        self.end(signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The process id of containerd itself, which `nsenter` has as a child: that of whoever serves the socket."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.socket))
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    def load(self, image: Image, names: Sequence[str]) -> None:
        """Makes an image known by these names."""
        archive = self.folder / "image.tar"
        image.save(archive, names)
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "import", "--no-unpack"]
        subprocess.run(
            [*self._node.enter(*command), str(archive)], check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL
        )
        archive.unlink()
