"""This node's kubelet: its unit, its version, its command line, and the runtime that it uses.

All of it is read as kubelet and systemd read it. Anything that is not understood is refused, never ignored.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import Callable, Container, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from criproxy.node import units
from criproxy.node.arguments import Argument, started
from criproxy.node.manager import Manager
from criproxy.node.syntax import SyntaxProblem
from criproxy.node.tree import Tree
from criproxy.node.units import Unit, Variable
from criproxy.text import decoded

UNIT = "kubelet.service"
DROP_IN = f"{units.ADMIN}/{UNIT}.d/99-criproxy.conf"
"""Where criproxy's part of kubelet's flags stands, as in the Go package."""

_PROGRAM = re.compile(r"kubelet([-._]?v?\d[\w.+~-]*)?")
"""kubelet's binary, perhaps with its version behind its name."""
_MULTICALL = ("hyperkube",)
"""Programs that are kubelet if their first argument says so."""
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_VERSION_TIMEOUT = 30.0
"""How long ``kubelet --version`` may take, seconds."""
Version = Tuple[int, int, int]

_FIRST: Version = (1, 5, 0)
"""Kubelets before this know no CRI."""
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
_READ = (
    "cgroup-root",
    "config",
    "config-dir",
    "container-runtime",
    "container-runtime-endpoint",
    "containerd",
    "feature-gates",
    "image-service-endpoint",
    "root-dir",
)
_VALUED = frozenset(DOCKERSHIM_FLAGS + _READ)
_SWITCHES = frozenset(
    re.findall(
        r"\S+",
        """
        add-dir-header allow-privileged alsologtostderr anonymous-auth authentication-token-webhook babysit-daemons
        cgroups-per-qos configure-cbr0 containerized contention-profiling cpu-cfs-quota docker-disable-shared-pid
        docker-only docker-tls enable-cadvisor-json-endpoints enable-controller-attach-detach enable-cri
        enable-custom-metrics enable-debugging-handlers enable-load-reader enable-server exit-on-lock-contention
        experimental-allocatable-ignore-eviction experimental-check-node-capabilities-before-mount experimental-cri
        experimental-dockershim experimental-fail-swap-on experimental-flannel-overlay
        experimental-kernel-memcg-notification fail-swap-on help keep-terminated-pod-volumes kernel-memcg-notification
        local-storage-capacity-isolation log-cadvisor-usage log-json-split-stream log-text-split-stream logtostderr
        make-iptables-util-chains network-plugin-dry-run nosystemd one-output protect-kernel-defaults
        really-crash-for-testing reconcile-cidr redirect-container-streaming register-node register-schedulable
        require-kubeconfig rotate-certificates rotate-server-certificates runonce seccomp-default serialize-image-pulls
        skip-headers skip-log-headers storage-driver-secure version windows-service
        """,
    )
)
"""Those of kubelet's flags, of any release, that take no value from the next word."""


class NodeError(Exception):
    """This node cannot be turned over (or back). The text says why, and what to do about it."""


@dataclass(frozen=True)
class KubeletSetting:
    """Something that kubelet is told, and by what."""

    value: str
    """As it is told; empty if it is not."""
    name: str = ""
    """The flag or the field that says it."""
    where: str = ""
    """The file and the line."""
    note: str = ""
    """What a reader should know about it."""

    @property
    def source(self) -> str:
        """Where it is from, as people write it."""
        return f"{self.name} in {self.where}" if self.name else "kubelet's own default"


@dataclass(frozen=True)
class Kubelet:
    """A kubelet as it would be started without criproxy."""

    unit: Unit
    command: str
    """``ExecStart=`` as it stands, variables and all."""
    program: Tuple[str, ...]
    """The words that start kubelet, before its flags: one, or two of a multi-call binary."""
    arguments: Tuple[Argument, ...]
    """The words after them, variables and specifiers resolved."""
    version: Version
    variables: Mapping[str, Variable]
    """What its environment is."""

    @property
    def flags(self) -> Tuple[str, ...]:
        """The words of its arguments."""
        return tuple(argument.text for argument in self.arguments)

    def values(self, wanted: Iterable[str]) -> Dict[str, str]:
        """Which of these flags are set, to what; of a flag that is there twice kubelet takes the last."""
        given = self.given(wanted)
        return {name: told.value for name, told in given.items()}

    def given(self, wanted: Iterable[str]) -> Dict[str, KubeletSetting]:
        """The same, with their places. Raises NodeError for flags that kubelet would not understand either."""
        found = _read_flags(self.unit.name, self.arguments)
        return {name: found[name] for name in wanted if name in found}

    def without(self, names: Container[str]) -> Tuple[str, ...]:
        """Its flags but for these, which take values."""
        kept: List[str] = []
        rest = list(reversed(self.flags))
        while rest:
            word = rest.pop()
            if _name(word) not in names:
                kept.append(word)
            elif "=" not in word and rest:
                rest.pop()
        return tuple(kept)

    @property
    def version_text(self) -> str:
        """As people write it."""
        return ".".join(map(str, self.version))


Ask = Callable[[Sequence[str]], str]
"""Gives what a command prints."""


def find(
    tree: Tree, ask: Ask, manager: Optional[Manager] = None, version: Optional[Version] = None
) -> Optional[Kubelet]:
    """The node's kubelet, without what criproxy has added; None if there is no unit that would start one, for which
    `missing` gives the reason.

    ``manager`` is asked which files systemd has loaded; ``version`` is what the kubelet is taken for without asking it.
    Raises NodeError if there is a kubelet that cannot be worked with.
    """
    try:
        unit = units.load(tree, UNIT, without=(DROP_IN,), manager=manager)
        if unit is None:
            return None
        variables = units.variables(tree, unit, manager)
        command, arguments = started(unit, variables, units.specifiers(tree, unit, manager))
    except SyntaxProblem as problem:
        raise NodeError(f"what {UNIT} starts is not understood: {problem}") from problem
    size = _size_of_program([argument.text for argument in arguments])
    if not size:
        words = " ".join(argument.text for argument in arguments[:3])
        raise NodeError(
            f"{command.where}: {unit.name} starts {words!r}, which is not kubelet itself: flags put after it would not"
            " reach kubelet; let ExecStart= name kubelet's binary"
        )
    for argument in arguments[:size]:
        if argument.problem:
            raise NodeError(f"{argument.problem}: write it out")
    program = tuple(argument.text for argument in arguments[:size])
    version = version or _version(ask, program)
    kubelet = Kubelet(unit, command.text, program, tuple(arguments[size:]), version, variables)
    _check(kubelet)
    return kubelet


def missing(tree: Tree) -> str:
    """Why there is no kubelet, in a sentence that does not end."""
    if units.is_masked(tree, UNIT):
        return f"{UNIT} is masked (systemctl unmask {UNIT} lets it start)"
    return "kubelet is not installed"


def _size_of_program(words: Sequence[str]) -> int:
    name = os.path.basename(words[0]) if words else ""
    if _PROGRAM.fullmatch(name):
        return 1
    return 2 if name in _MULTICALL and tuple(words[1:2]) == ("kubelet",) else 0


def _check(kubelet: Kubelet) -> None:
    """Raises NodeError if flags put after kubelet's own would not be read as such, or files be looked for in vain."""
    last = kubelet.flags[-1] if kubelet.flags else ""
    if "--" in kubelet.flags:
        raise NodeError(
            f"{kubelet.unit.name} has a '--' among kubelet's flags: kubelet ignores all flags after it; remove it"
        )
    if last == "-v" or (_name(last) in _VALUED and "=" not in last):
        raise NodeError(f"{kubelet.arguments[-1].where}: kubelet's last flag, {last}, has no value: give it one")
    for setting in ("RootDirectory", "RootImage"):
        for value in kubelet.unit.values("Service", setting)[-1:]:
            raise NodeError(f"{value.where}: {setting}={value.text} gives kubelet a file system of its own: remove it")


def version_of(text: str) -> Version:
    """A kubelet's version as people write it: ``1.33.1``. Raises ValueError."""
    found = _VERSION.fullmatch(text if text.startswith("v") else f"v{text}")
    if not found:
        raise ValueError(f"{text!r} is not a version like 1.33.1")
    return int(found[1]), int(found[2]), int(found[3])


def _version(ask: Ask, program: Sequence[str]) -> Version:
    printed = ask((*program, "--version"))
    found = _VERSION.search(printed)
    version = (int(found[1]), int(found[2]), int(found[3])) if found else None
    if version is None or version < _FIRST:
        raise NodeError(
            f"'{' '.join(program)} --version' does not say which version it is: {printed.strip()[:200]!r}; give the"
            " release that it was built from (--kubelet-version X.Y.Z)"
        )
    return version


def _name(word: str) -> str:
    """The name of the flag that a word is, as kubelet writes it; empty for a word that is none."""
    return word[2:].partition("=")[0].replace("_", "-") if word.startswith("--") else ""


def _read_flags(unit: str, arguments: Sequence[Argument]) -> Dict[str, KubeletSetting]:
    """The flags that matter, as kubelet's own library reads them: a flag that takes a value and has no ``=`` takes the
    next word, whatever that is."""
    found: Dict[str, KubeletSetting] = {}
    rest = list(reversed(arguments))
    while rest:
        argument = rest.pop()
        name, (_, assigned, text) = _name(argument.text), argument.text.partition("=")
        if argument.problem and not (name and assigned and name not in _VALUED):
            raise NodeError(_unknown(argument))
        if name in _VALUED:
            value = argument._replace(text=text) if assigned or not rest else rest.pop()
            if value.problem:
                raise NodeError(_unknown(value))
            found[name] = KubeletSetting(value.text, f"--{name}", argument.where)
        elif argument.text == "-v" or (name and not assigned and name not in _SWITCHES):
            _skip_value(argument, rest)
    return found


def _skip_value(argument: Argument, rest: List[Argument]) -> None:
    """kubelet takes no words but flags and their values: so one that is no flag is a value, and one that is a flag is
    none, unless somebody has forgotten the value."""
    if not rest:
        return
    following = rest[-1].text
    if _name(following) in _VALUED:
        raise NodeError(
            f"{argument.where}: {argument.text} is followed by {following}, which kubelet may take for its value: write"
            f" {argument.text}=VALUE, or name the primary runtime (--primary)"
        )
    if not following.startswith("--"):
        rest.pop()


def _unknown(argument: Argument) -> str:
    return f"{argument.problem}: write it out, or name the primary runtime (--primary)"


# The kubelet that runs.


def running_flags(tree: Tree, manager: Manager) -> Optional[Tuple[str, ...]]:
    """The flags of the kubelet that runs; None if none does, or if what runs is not kubelet itself."""
    pid = manager.show(UNIT, "MainPID")["MainPID"] if manager.running else ""
    words = (tree.text(f"/proc/{pid}/cmdline") or "").split("\0")[:-1] if pid not in ("", "0") else []
    for first in (0, 1):  # a script comes after its interpreter
        size = _size_of_program(words[first:])
        if size:
            return tuple(words[first + size :])
    if words and _size_of_program((tree.link(f"/proc/{pid}/exe") or "",)):
        return tuple(words[1:])  # started under a name of its own
    return None


def check_running(kubelet: Kubelet, running: Sequence[str], added: Sequence[str] = ()) -> None:
    """Raises NodeError if the flags of the kubelet that runs differ from what its unit says, ``added`` behind it."""
    expected = (*kubelet.flags, *added)
    if tuple(running) == expected:
        return
    reload = "systemctl daemon-reload, then " if kubelet.unit.stale else ""
    raise NodeError(
        "the running kubelet has other flags than its unit. It runs with:\n"
        f"  {shlex.join(running)}\nIts unit says:\n  {shlex.join(expected)}\n"
        f"If the second is right: {reload}systemctl restart {UNIT}, and try again"
    )


def asker(tree: Tree) -> Ask:
    """Runs commands of the node's. What they print comes back; NodeError is raised if they cannot be run."""
    enter = ["chroot", tree.root] if tree.root else []

    def ask(command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                [*enter, *command], stdin=subprocess.DEVNULL, capture_output=True, timeout=_VERSION_TIMEOUT, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NodeError(
                f"{' '.join(command)} cannot be run: {error}; give kubelet's version (--kubelet-version X.Y.Z)"
            ) from error
        return decoded(done.stdout)

    return ask
