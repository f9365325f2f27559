"""What this node's kubelet is: its unit, its version, what it is started with, and the runtime that it uses."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from criproxy.node import syntax, units
from criproxy.node.tree import Tree
from criproxy.node.units import Unit

UNIT = "kubelet.service"
DROP_IN = f"{units.ADMIN}/{UNIT}.d/99-criproxy.conf"
"""Where criproxy's part of kubelet's flags stands, as in the Go package."""

_PROGRAM = "kubelet"
_MULTICALL = ("hyperkube",)
"""Programs that are kubelet if their first argument says so."""
_PREFIXES = "@-:+!|"
"""What may stand before the program's path in ``ExecStart=`` (systemd.service(5))."""
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_VERSION_TIMEOUT = 30.0
"""How long ``kubelet --version`` may take, seconds."""
_ENDPOINT_KEY = re.compile(r"""^containerRuntimeEndpoint:[ \t]*["']?([^"'\s#]*)""", re.MULTILINE)
_INSTANCE_CONFIG = "/var/lib/kubelet/instance-config.yaml"
"""What kubeadm (1.34 and later) keeps of this node's own part of kubelet's configuration."""

Version = Tuple[int, int, int]

DOCKERSHIM_FLAGS = (
    "network-plugin",
    "hairpin-mode",
    "non-masquerade-cidr",
    "cni-conf-dir",
    "cni-bin-dir",
    "docker-endpoint",
    "runtime-request-timeout",
    "image-pull-progress-deadline",
    "streaming-connection-idle-timeout",
    "docker-exec-handler",
    "seccomp-profile-root",
    "pod-infra-container-image",
    "runtime-cgroups",
    "cgroup-driver",
    "network-plugin-mtu",
    "address",
)
"""Those of kubelet's flags that a dockershim of its own heeds; all take a value."""
_READ = ("config", "config-dir", "container-runtime", "container-runtime-endpoint", "image-service-endpoint")
_VALUED = frozenset(DOCKERSHIM_FLAGS + _READ)


class NodeError(Exception):
    """This node cannot be turned over (or back). The text says why, and what to do about it."""


@dataclass(frozen=True)
class Kubelet:
    """A kubelet as it would be started without criproxy."""

    unit: Unit
    command: str
    """``ExecStart=`` as it stands, variables and all."""
    program: Tuple[str, ...]
    """The words that start kubelet, before its flags: one, or two of a multi-call binary."""
    flags: Tuple[str, ...]
    """The words after them, variables resolved."""
    version: Version

    def values(self, wanted: Iterable[str]) -> Dict[str, str]:
        """Which of these flags are set, to what; of a flag that is there twice kubelet takes the last."""
        found = _read_flags(self.flags)
        return {name: found[name] for name in wanted if name in found}

    @property
    def version_text(self) -> str:
        """As people write it."""
        return ".".join(map(str, self.version))


Ask = Callable[[Sequence[str]], str]
"""Gives what a command prints."""


def find(tree: Tree, ask: Ask) -> Optional[Kubelet]:
    """The node's kubelet, without what criproxy has added; None if there is no unit that would start one.

    Raises NodeError if there is one that cannot be worked with.
    """
    unit = units.load(tree, UNIT, without=(DROP_IN,))
    if unit is None:
        return None
    commands = unit.all("Service", "ExecStart")
    if not commands:
        return None
    command = commands[-1]
    words = _words(tree, unit, command)
    size = _size_of_program(words)
    if not size:
        raise NodeError(
            f"{unit.name} starts {' '.join(words[:3])!r}, which is not kubelet itself: flags put after it would not"
            " reach kubelet; let ExecStart= name kubelet's binary"
        )
    program = (words[0].lstrip(_PREFIXES), *words[1:size])
    return Kubelet(unit, command, program, tuple(words[size:]), _version(ask((*program, "--version")), program))


def _words(tree: Tree, unit: Unit, command: str) -> List[str]:
    try:
        words = syntax.expand(command, units.environment(tree, unit))
    except syntax.SyntaxProblem as problem:
        raise NodeError(f"{unit.name}: what it starts is not understood: {problem}") from problem
    return words or [command]


def _size_of_program(words: Sequence[str]) -> int:
    name = os.path.basename(words[0].lstrip(_PREFIXES))
    if name == _PROGRAM:
        return 1
    return 2 if name in _MULTICALL and tuple(words[1:2]) == (_PROGRAM,) else 0


def _version(printed: str, program: Sequence[str]) -> Version:
    found = _VERSION.search(printed)
    if not found:
        raise NodeError(f"{' '.join(program)} --version does not say which version it is: {printed.strip()[:200]!r}")
    return int(found[1]), int(found[2]), int(found[3])


def _read_flags(words: Sequence[str]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--"):
            continue
        name, assigned, value = word[2:].partition("=")
        name = name.replace("_", "-")
        if name in _VALUED:
            found[name] = value if assigned else next(rest, "")
    return found


def endpoint(tree: Tree, kubelet: Kubelet) -> str:
    """The runtime that kubelet is told to use, as it is told: its flag, or else its configuration; empty if neither
    says."""
    flags = kubelet.values(_READ)
    if flags.get("container-runtime-endpoint"):
        return flags["container-runtime-endpoint"]
    files = [flags["config"]] if "config" in flags else []
    if "config-dir" in flags:  # files there go before the one, and the later before the earlier
        files += tree.glob(f"{flags['config-dir']}/*.conf")
    for path in (*reversed(files), _INSTANCE_CONFIG):
        found = _ENDPOINT_KEY.search(tree.text(path) or "")
        if found and found[1]:
            return found[1]
    return ""


def asker(tree: Tree) -> Ask:
    """Runs commands of the node's. What they print comes back; NodeError is raised if they cannot be run."""
    enter = ["chroot", tree.root] if tree.root else []

    def ask(command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                [*enter, *command], stdin=subprocess.DEVNULL, capture_output=True, timeout=_VERSION_TIMEOUT, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NodeError(f"{' '.join(command)} cannot be run: {error}") from error
        return done.stdout.decode("utf-8", "replace")

    return ask
