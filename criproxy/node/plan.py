"""What a node is to look like with criproxy between its kubelet and its runtimes. Nothing here changes anything."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from criproxy.config import Runtime, runtimes_of
from criproxy.node import syntax, units
from criproxy.node.kubelet import DOCKERSHIM_FLAGS, DROP_IN, UNIT, Kubelet, NodeError, Version, endpoint
from criproxy.node.tree import Tree

SOCKET = "/run/criproxy.sock"
DEFAULTS = "/etc/default/criproxy"
SERVICE = "criproxy.service"
SOCKET_UNIT = "criproxy.socket"
DOCKERSHIM = "dockershim.service"
STREAM_PORT = 11250
"""Where a dockershim of kubelet's own streams from; criproxy's default, too."""
OTHER = "virtlet.cloud:/run/virtlet.sock"
_VIRTLET = "virtlet.cloud"


@dataclass(frozen=True)
class Known:
    """A runtime that a node may have."""

    path: str
    unit: str


RUNTIMES: Dict[str, Known] = {
    "dockershim": Known("/var/run/dockershim.sock", DOCKERSHIM),
    "containerd": Known("/run/containerd/containerd.sock", "containerd.service"),
    "crio": Known("/run/crio/crio.sock", "crio.service"),
    "cri-dockerd": Known("/run/cri-dockerd.sock", "cri-docker.service"),
}
"""Primary runtimes by the names under which they are chosen."""
AUTO = "auto"

_DOCKERSHIM_SINCE: Version = (1, 8, 4)
_DOCKERSHIM_UNTIL: Version = (1, 19, 0)
"""Kubelets from the one to before the other can be started as a dockershim alone."""
_DOCKER_UNTIL: Version = (1, 24, 0)
"""Kubelets before this use Docker by themselves if they are told of no other runtime; those after, containerd."""
_REMOTE_UNTIL: Version = (1, 27, 0)
"""Kubelets before this have ``--container-runtime``; it stops those after."""
_GO_DROP_IN = re.compile(r"KUBELET_EXTRA_ARGS=.*criproxy\.sock")


@dataclass(frozen=True)
class Wishes:
    """What whoever turns the node over asks for. None: what is in the defaults, or else what is usual."""

    primary: Optional[str] = None
    """A name of `RUNTIMES`, "auto" (what kubelet uses now), or a socket's path."""
    other: Optional[str] = None
    """The alternative runtimes, as in ``CRI_OTHER``."""
    attach_detach: Optional[str] = None
    """``--enable-controller-attach-detach=false``: "off" sets it, "keep" does not, "auto" (usual) does for Virtlet."""


@dataclass(frozen=True)
class Plan:
    """The files that the node is to have, with their texts, in the order in which they are to be written."""

    kubelet: Optional[Kubelet]
    """None as long as the node has none: its flags are for later then."""
    primary: str
    """The primary runtime's socket; empty if that cannot be known before there is a kubelet."""
    worked_out: bool
    """Whether it is what kubelet used, rather than what somebody chose."""
    shim: bool
    """Whether the primary is a dockershim that is started for it."""
    defaults: str
    units: Tuple[Tuple[str, str], ...]
    """Units of ours: paths and texts."""
    drop_in: str
    """kubelet's drop-in; empty if there is no kubelet."""

    @property
    def files(self) -> Tuple[Tuple[str, str], ...]:
        """All paths and texts."""
        drop_in = ((DROP_IN, self.drop_in),) if self.drop_in else ()
        return ((DEFAULTS, self.defaults), *self.units, *drop_in)


def make(tree: Tree, kubelet: Optional[Kubelet], wishes: Wishes, written: str = "") -> Plan:
    """Works out the plan. ``written``: the primary that was last worked out and written into the defaults, if any was.

    Raises NodeError if there can be none.
    """
    before = tree.text(DEFAULTS)
    variables = _configured(before or "")
    configured = variables.get("CRI_PRIMARY", "")
    primary, worked_out = _primary(tree, kubelet, wishes.primary, configured, written)
    other = variables.get("CRI_OTHER", OTHER if before is None else "") if wishes.other is None else wishes.other
    others = _checked(primary or RUNTIMES["containerd"].path, other)
    shim = primary in _spellings(RUNTIMES["dockershim"].path) and kubelet is not None
    made = [(f"{units.ADMIN}/{SERVICE}", _service(tree, primary, shim))]
    if not _is_packaged(tree, SOCKET_UNIT):
        made.append((f"{units.ADMIN}/{SOCKET_UNIT}", _template(tree, SOCKET_UNIT)))
    if shim and kubelet is not None:
        made.append((f"{units.ADMIN}/{DOCKERSHIM}", _dockershim(kubelet)))
    drop_in = "" if kubelet is None else _drop_in(kubelet, flags(kubelet.version, _gives_up_attach(wishes, others)))
    return Plan(kubelet, primary, worked_out, shim, _defaults(before, primary, other), tuple(made), drop_in)


def _configured(text: str) -> Dict[str, str]:
    try:
        return syntax.variables(DEFAULTS, text)
    except syntax.SyntaxProblem as problem:
        raise NodeError(str(problem)) from problem


def _primary(
    tree: Tree, kubelet: Optional[Kubelet], wish: Optional[str], configured: str, written: str
) -> Tuple[str, bool]:
    """The primary runtime's socket, and whether it was worked out rather than chosen.

    What an operator has chosen, or put into the defaults, is kept; what was worked out is worked out anew, for kubelet
    may use another runtime by now.
    """
    chosen = configured if wish is None and configured != written else ""
    if wish is not None and wish != AUTO:
        chosen = RUNTIMES[wish].path if wish in RUNTIMES else _path_of(wish)
    path = chosen or _used(tree, kubelet, configured)
    if kubelet is not None and path in _spellings(RUNTIMES["dockershim"].path):
        _check_dockershim(kubelet)
    return path, not chosen


def _used(tree: Tree, kubelet: Optional[Kubelet], configured: str) -> str:
    """The socket of the runtime that kubelet uses without criproxy."""
    if kubelet is None:
        return configured
    told = endpoint(tree, kubelet)
    if told:
        path = _path_of(told)
        if path not in _spellings(SOCKET):
            return path
        if configured:
            return configured
        raise NodeError(
            f"kubelet's own flags or configuration already name {SOCKET}, so they do not tell which runtime it used"
            " before: name the primary runtime (--primary, criproxy/primary_cri)"
        )
    if kubelet.version >= _DOCKER_UNTIL:
        return RUNTIMES["containerd"].path
    return RUNTIMES["dockershim"].path


def _path_of(address: str) -> str:
    for scheme in ("unix://", "unix:"):
        if address.startswith(scheme):
            address = address[len(scheme) :]
            break
    if not address.startswith("/"):
        names = ", ".join((AUTO, *RUNTIMES))
        raise NodeError(f"{address!r} is no primary runtime: neither one of {names} nor the path of a unix socket")
    return address


def _spellings(path: str) -> Tuple[str, ...]:
    """A path below /run, which is /var/run, too."""
    short = path[len("/var") :] if path.startswith("/var/run/") else path
    return short, f"/var{short}"


def _check_dockershim(kubelet: Kubelet) -> None:
    if _DOCKERSHIM_SINCE <= kubelet.version < _DOCKERSHIM_UNTIL:
        return
    if kubelet.version < _DOCKERSHIM_SINCE:
        raise NodeError(
            f"kubelet {kubelet.version_text} cannot be started as a dockershim (1.8.4 to 1.18 can): upgrade it first"
        )
    where = "inside itself only" if kubelet.version < _DOCKER_UNTIL else "no more"
    raise NodeError(
        f"kubelet {kubelet.version_text} has dockershim {where} (1.8.4 to 1.18 can be started as one): the primary"
        " runtime can be containerd, crio, cri-dockerd (for Docker), or the path of any other runtime's socket"
    )


def _checked(primary: str, other: str) -> Tuple[Runtime, ...]:
    try:
        return runtimes_of(f"{primary},{other}" if other else primary)[1:]
    except ValueError as error:
        raise NodeError(f"the runtimes cannot be: {error}") from error


def _gives_up_attach(wishes: Wishes, others: Tuple[Runtime, ...]) -> bool:
    if wishes.attach_detach in (None, AUTO):
        return any(runtime.id == _VIRTLET for runtime in others)
    return wishes.attach_detach == "off"


def flags(version: Version, gives_up_attach: bool) -> Tuple[str, ...]:
    """The flags by which a kubelet of this version uses criproxy."""
    made = [f"--container-runtime-endpoint=unix://{SOCKET}", f"--image-service-endpoint=unix://{SOCKET}"]
    if version < _REMOTE_UNTIL:
        made.insert(0, "--container-runtime=remote")
    if gives_up_attach:
        made.append("--enable-controller-attach-detach=false")
    return tuple(made)


# Texts.

_GENERATED = """\
# Generated by "criproxy node apply"; "criproxy node revert" and the removal of the package take it away.
"""


def _drop_in(kubelet: Kubelet, wanted: Tuple[str, ...]) -> str:
    # ExecStart= as it stands in kubelet's own unit, so that systemd goes on resolving the operator's variables at each
    # start. The flags come last, where they win: a variable of theirs would lose to the one in an environment file.
    return (
        f"{_GENERATED}[Unit]\nWants={SERVICE}\nAfter={SERVICE}\n\n"
        f"[Service]\nExecStart=\nExecStart={kubelet.command} {' '.join(wanted)}\n"
    )


def _dockershim(kubelet: Kubelet) -> str:
    heeded = kubelet.values(DOCKERSHIM_FLAGS)
    words = (
        *kubelet.program,
        "--experimental-dockershim",
        "--port",
        str(STREAM_PORT),
        *(f"--{name}={value}" for name, value in heeded.items()),
    )
    return (
        f"{_GENERATED}[Unit]\nDescription=Docker as a CRI runtime: kubelet's dockershim, for criproxy\n"
        f"Documentation=man:criproxy(8)\nWants=docker.service\nAfter=docker.service\nBefore={SERVICE}\n"
        "StartLimitIntervalSec=0\n\n"
        f"[Service]\nExecStart={' '.join(map(syntax.quote, words))}\nRestart=always\nRestartSec=1\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def _service(tree: Tree, primary: str, shim: bool) -> str:
    """The service that criproxy brings with it, with its place in this node's order."""
    text = _template(tree, SERVICE)
    lines = [f"Before={UNIT}"]
    runtime = next((known.unit for known in RUNTIMES.values() if primary in _spellings(known.path)), "")
    if runtime and (runtime != DOCKERSHIM or shim):
        lines.append(f"After={runtime}")
    if shim:
        lines.append(f"Wants={DOCKERSHIM}")
    if not _is_packaged(tree, SERVICE):
        text = text.replace("/usr/bin/criproxy", _program())
    return _GENERATED + text.replace("\n\n[Service]", "\n".join(("", *lines, "", "[Service]")), 1)


def _template(tree: Tree, name: str) -> str:
    text = units.template(tree, name)
    if text is None:
        raise NodeError(f"{name} is missing: it is a part of criproxy's installation; install criproxy again")
    return text


def _is_packaged(tree: Tree, name: str) -> bool:
    return any(tree.exists(f"{folder}/{name}") for folder in units.PACKAGED)


def _program() -> str:
    """What starts this program, on a node that it was not installed on by a package."""
    called = sys.argv[0] if os.path.basename(sys.argv[0]) == "criproxy" else shutil.which("criproxy")
    return os.path.abspath(called) if called else f"{sys.executable} -m criproxy"


_FIRST_DEFAULTS = """\
# What criproxy stands before: see criproxy(8). To be followed by: systemctl reload criproxy

# The socket of the primary runtime, which everything is for that names no other.
CRI_PRIMARY={primary}

# The other runtimes, as ID:SOCKET, with commas between.
CRI_OTHER={other}

# Runtime handlers (of RuntimeClasses) that ask for one of them, as NAME=ID, with commas between.
#CRIPROXY_HANDLER=vm=virtlet.cloud

# Options, as on the command line ("criproxy --help" lists them).
CRIPROXY_OPTS="-v 2"
"""


def _defaults(before: Optional[str], primary: str, other: str) -> str:
    """The file as it was, with these runtimes in it."""
    if before is None:
        return _FIRST_DEFAULTS.format(primary=primary, other=other)
    variables = _configured(before)
    text = before
    for name, value in (("CRI_PRIMARY", primary), ("CRI_OTHER", other)):
        if variables.get(name, "") != value:
            text = _with_variable(text, name, value)
    return text


def _with_variable(text: str, name: str, value: str) -> str:
    lines: List[str] = text.splitlines()
    assigned = [number for number, line in enumerate(lines) if re.match(rf"\s*{name}\s*=", line)]
    if assigned:
        lines[assigned[-1]] = f"{name}={value}"
    else:
        lines.append(f"{name}={value}")
    return "\n".join((*lines, ""))


def is_from_the_go_package(path: str, text: str) -> bool:
    """Whether a file is one that the Go program's package had put there: it is no part of the node as it was before."""
    if path == DROP_IN:
        return bool(_GO_DROP_IN.search(text))
    return path.endswith(f"/{DOCKERSHIM}") and "--experimental-dockershim" in text
