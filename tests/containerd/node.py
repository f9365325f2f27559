"""A node of the tests' own: namespaces and one folder, of which nothing remains when it stops."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import shutil
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, List, Tuple, TypeVar

from .cgroup import Cgroup
from .service import ENVIRONMENT, PATIENCE

Made = TypeVar("Made")

_CLONE_NEWNET = 0x40000000

# What is written to /etc, /run and /var/lib is the node's own. Ignoring SIGCHLD lets the kernel reap what is orphaned
# here, such as shims. The last line waits for the end of its input, which is our end at the latest.
_INIT = """
set -e
mount -t proc proc /proc
busybox ip link set lo up
for directory in /run /var/lib /etc; do mount -t tmpfs -o mode=755 tmpfs $directory; done
echo 127.0.0.1 localhost > /etc/hosts
: > /etc/resolv.conf
echo ready
exec env --ignore-signal=CHLD cat
"""


@dataclass(frozen=True)
class Inventory:
    """What there is on a node that the life of a pod may add to; each a sorted list, so that two can be compared."""

    processes: Tuple[str, ...]
    """Their command lines."""
    mounts: Tuple[str, ...]
    """Where they are."""
    interfaces: Tuple[str, ...]
    run: Tuple[str, ...]
    """The files below /run: sockets of shims, the network namespaces' names."""
    leases: Tuple[str, ...]
    """The addresses that CNI has given away."""
    cgroups: Tuple[str, ...]


def in_network(network: Path, make: Callable[[], Made]) -> Made:
    """Calls ``make`` on a thread in a network namespace. The sockets that it makes stay there."""
    with ThreadPoolExecutor(1, initializer=_join, initargs=(network,)) as executor:
        return executor.submit(make).result(PATIENCE)


def _join(network: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with network.open() as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


class Node:
    """Mount, network and process namespaces with a process that holds them, a folder and a cgroup.

    The folder is the same inside and outside; it is the place for sockets. The end of the holding process is the end
    of all processes in the node, and with them of all mounts and networks.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="criproxy-", dir="/tmp"))
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--propagation", "private", "sh", "-c", _INIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            _, errors = self._holder.communicate(timeout=PATIENCE)
            shutil.rmtree(self.folder)
            raise RuntimeError(f"no namespaces can be had here: {errors.decode()}")
        self.cgroup = Cgroup(self.folder.name)
        """For the pods."""

    @property
    def _proc(self) -> Path:
        return Path("/proc", str(self._holder.pid))

    @property
    def root(self) -> str:
        """Where its files are, seen from outside."""
        return str(self._proc / "root")

    def enter(self, *command: str) -> List[str]:
        """The command line that runs a command in the node."""
        namespaces = self._proc / "ns"
        flags = {"mount": "mnt", "net": "net", "pid": "pid_for_children"}
        return ["nsenter", *(f"--{flag}={namespaces / name}" for flag, name in flags.items()), "--", *command]

    def in_network(self, make: Callable[[], Made]) -> Made:
        """Calls ``make`` on a thread in the node's network. The sockets that it makes stay there."""
        return in_network(self._proc / "ns/net", make)

    def dial(self, address: str, port: int) -> socket.socket:
        """A connection to a port in the node's network."""
        return self.in_network(lambda: socket.create_connection((address, port), PATIENCE))

    def inventory(self) -> Inventory:
        """What there is now."""
        root = self._proc / "root"
        return Inventory(
            processes=_sorted(_command_line(path) for path in (root / "proc").glob("[0-9]*/cmdline")),
            mounts=_sorted(line.split()[4] for line in _lines(self._proc / "mountinfo")),
            interfaces=_sorted(line.split(":")[0].strip() for line in _lines(self._proc / "net/dev")[2:]),
            run=_sorted(f"{path}/{name}" for path, _, names in os.walk(root / "run") for name in names),
            leases=_sorted(path.name for path in self.folder.glob("*/leases/*/*") if _is_address(path.name)),
            cgroups=_sorted(str(path) for path in self.cgroup.tree() if path.name != self.folder.name),
        )

    def stop(self) -> None:
        """Ends all that is in the node and removes its folder and its cgroups."""
        self._holder.communicate(timeout=PATIENCE)  # which closes its input
        self.cgroup.remove()
        shutil.rmtree(self.folder)


def _sorted(values: Iterable[str]) -> Tuple[str, ...]:
    return tuple(sorted(values))


def _lines(path: Path) -> List[str]:
    return path.read_text().splitlines()


def _command_line(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return "one that has just ended"


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False
