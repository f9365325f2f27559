"""What a node is to look like with criproxy between its kubelet and its runtimes. Nothing here changes anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterator, Mapping, NamedTuple, Optional, Tuple

from criproxy import address, environment
from criproxy.config import RuntimeAddress, group_name, others_of, runtimes_of
from criproxy.node import shipped, syntax, units
from criproxy.node.compat import adapt
from criproxy.node.endpoints import endpoint, image_service, short, socket
from criproxy.node.kubelet import DOCKERSHIM_FLAGS, DROP_IN, UNIT, Kubelet, NodeError, Version, version_of
from criproxy.node.tree import Tree
from criproxy.node.volumes import ATTACH_FLAG, gives_up_attach

SOCKET = "/run/criproxy.sock"
ENDPOINT = f"unix://{SOCKET}"
"""The same as kubelet's flags have it."""
DEFAULTS = "/etc/default/criproxy"
_SOCKET_GROUP = "CRIPROXY_SOCKET_GROUP"
"""The option in the defaults: systemd makes the socket, so that its unit has to say it, too."""
SERVICE = "criproxy.service"
SOCKET_UNIT = "criproxy.socket"
DOCKERSHIM = "dockershim.service"
STREAM_PORT = 11250
"""Where a dockershim of kubelet's own streams from; criproxy's default, too."""
OTHER = "virtlet.cloud:/run/virtlet.sock"
NOTES = "/var/lib/criproxy"
"""Where is kept what the next run has to know."""
PRIMARY_NOTE = f"{NOTES}/primary"
IMAGE_SERVICE_NOTE = f"{NOTES}/image-service"
"""What was worked out the last time (`WorkedOut`)."""
SWITCH_NOTE = f"{NOTES}/attach-detach"
"""What was last asked for of ``--enable-controller-attach-detach``: it holds for upgrades, too."""
VERSION_NOTE = f"{NOTES}/kubelet-version"
"""What was last said of the version of a kubelet that does not tell it."""
PROGRAM_NOTE = f"{NOTES}/program"
"""The digest of the program that the service runs."""
MOVE_NOTE = f"{NOTES}/only-for-a-move"
"""That criproxy is on this node only while it moves from one runtime to another."""
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
    """The options of plan and apply. None: the value in /etc/default/criproxy, or else the default."""

    primary: Optional[str] = None
    """A name of `RUNTIMES`, "auto" (what kubelet uses now), or a socket's path."""
    other: Optional[str] = None
    """The alternative runtimes, as in ``CRI_OTHER``."""
    attach_detach: Optional[str] = None
    """``--enable-controller-attach-detach=false``: "off" sets it, "keep" does not, "auto" (usual) does for Virtlet on
    a node without a CSI driver."""
    image_service: Optional[str] = None
    """The socket of the primary runtime's image service; "auto" (what kubelet uses now), or empty for its own."""
    kubelet_version: Optional[Version] = None
    """For a kubelet that does not say its version."""
    retiring: Optional[str] = None
    """The socket of the runtime that was the primary one before; empty: none."""
    only_for_a_move: bool = False
    """criproxy is put on a node only while that moves to another runtime."""


CHOSEN = "chosen"
"""Of `WorkedOut`: somebody has chosen, and nothing is to be worked out again."""


@dataclass(frozen=True)
class WorkedOut:
    """What was worked out the last time and written into the defaults: another value there is the operator's choice."""

    primary: str = ""
    image_service: str = ""


@dataclass(frozen=True)
class NodePlan:
    """The files that the node is to have, with their texts, in the order in which they are to be written."""

    kubelet: Optional[Kubelet]
    """None as long as the node has none: its flags are for later then."""
    primary: str
    """The primary runtime's socket; empty if that cannot be known before there is a kubelet."""
    image_service: str
    """The socket of its image service; empty if it is the same."""
    retiring: str
    """The socket of the runtime that was the primary one before; empty if there is none."""
    worked_out: WorkedOut
    """Which of these two kubelet used before, rather than an operator chose."""
    alternatives: Tuple[RuntimeAddress, ...]
    shim: bool
    """Whether the primary or the retiring runtime is a dockershim that is started for it."""
    defaults: str
    units: Tuple[Tuple[str, str], ...]
    """Units of ours: paths and texts."""
    drop_in: str
    """kubelet's drop-in; empty if there is no kubelet."""
    notes: Tuple[str, ...]
    """What whoever asks for it should know, one line each."""

    @property
    def files(self) -> Tuple[Tuple[str, str], ...]:
        """All paths and texts."""
        drop_in = ((DROP_IN, self.drop_in),) if self.drop_in else ()
        return ((DEFAULTS, self.defaults), *self.units, *drop_in)

    def starts(self, socket: str) -> bool:
        """Whether the runtime with this socket is the dockershim, so that it need not run yet."""
        return self.shim and is_dockershim(socket)


@dataclass(frozen=True)
class Situation:
    """What a plan is made for."""

    tree: Tree
    kubelet: Optional[Kubelet]
    worked_out: WorkedOut = WorkedOut()
    first: bool = True
    """Whether nothing of criproxy's is on the node yet."""
    systemd: int = 0
    """The version of the systemd that is to read the units; 0 if that is not known."""


def make(situation: Situation, wishes: Wishes) -> NodePlan:
    """Works out the plan. Raises NodeError if there can be none."""
    tree, kubelet = situation.tree, situation.kubelet
    before = tree.text(DEFAULTS)
    variables = configured(before or "")
    primary, by_itself = _primary(situation, wishes.primary, variables.get("CRI_PRIMARY", ""))
    images, found = _image_service(situation, wishes.image_service, variables.get("CRI_IMAGE_SERVICE", ""), primary)
    other = variables.get("CRI_OTHER", OTHER if before is None else "") if wishes.other is None else wishes.other
    others = _checked(primary or RUNTIMES["containerd"].path, other)
    retiring = variables.get("CRI_RETIRING", "") if wishes.retiring is None else wishes.retiring
    leaving = _retiring(situation, primary, others, retiring)
    shim = kubelet is not None and any(map(is_dockershim, (primary, leaving)))
    drop_in, notes = _of_kubelet(situation, wishes, others, primary if by_itself else "")
    if leaving:
        notes = (*notes, move_text(primary, leaving))
    values = {"CRI_PRIMARY": primary, "CRI_OTHER": other, "CRI_IMAGE_SERVICE": images, "CRI_RETIRING": retiring}
    return NodePlan(
        kubelet,
        primary,
        images,
        leaving,
        WorkedOut(primary if by_itself else CHOSEN, images if found else CHOSEN),
        others,
        shim,
        _defaults(situation, before, values),
        tuple(_units(situation, (primary, leaving), shim, _group(variables))),
        drop_in,
        notes,
    )


def move_text(primary: str, retiring: str) -> str:
    """That a move is under way, in a sentence that does not end."""
    return f"this node moves to {primary}: new pods start there, and those on {retiring} stay until they end"


def _units(situation: Situation, runtimes: Tuple[str, str], shim: bool, group: str) -> Iterator[Tuple[str, str]]:
    """The units that are to be generated, in what the node's systemd understands: paths and texts.

    ``runtimes``: the sockets of the primary and of the retiring one.
    """
    tree, systemd = situation.tree, situation.systemd
    yield f"{units.ADMIN}/{SERVICE}", adapt(_service(tree, runtimes, shim), systemd)
    listening, path = shipped.unit(tree, SOCKET_UNIT), f"{units.ADMIN}/{SOCKET_UNIT}"
    head = "[Socket]\n"
    adapted = adapt(listening.replace(head, f"{head}SocketGroup={group}\n", 1) if group else listening, systemd)
    # One that was generated before stays in force, so it is kept up.
    if adapted != listening or not shipped.is_packaged(tree, SOCKET_UNIT) or GENERATED in (tree.text(path) or ""):
        yield path, GENERATED + adapted
    if shim and situation.kubelet is not None:
        yield f"{units.ADMIN}/{DOCKERSHIM}", adapt(_dockershim(situation.kubelet), systemd)


def _of_kubelet(
    situation: Situation, wishes: Wishes, others: Tuple[RuntimeAddress, ...], found: str
) -> Tuple[str, Tuple[str, ...]]:
    """kubelet's drop-in, and what there is to say of its flags and of the primary runtime, if that was ``found``."""
    tree, kubelet = situation.tree, situation.kubelet
    if kubelet is None:
        return "", ()
    virtlet = any(runtime.id == _VIRTLET for runtime in others)
    gives_up, notes = gives_up_attach(tree, kubelet, wishes.attach_detach or AUTO, virtlet)
    told = endpoint(tree, kubelet).note if found else ""
    if told:
        notes = (*notes, f"the primary runtime is {found}: {told}")
    return adapt(_drop_in(kubelet, flags(kubelet.version, gives_up)), situation.systemd), notes


def _group(variables: Mapping[str, str]) -> str:
    """The group of the socket, which systemd gives it. Raises NodeError for what cannot be the name of one."""
    try:
        return group_name(variables.get(_SOCKET_GROUP, ""))
    except ValueError as error:
        raise NodeError(f"{DEFAULTS}: {_SOCKET_GROUP}: {error}") from error


def note(tree: Tree, path: str) -> str:
    """What an earlier run has kept there; empty if it has not."""
    return (tree.text(path) or "").strip()


def noted_version(tree: Tree) -> Optional[Version]:
    """What was last said of the version of a kubelet that does not tell it."""
    noted = note(tree, VERSION_NOTE)
    return version_of(noted) if noted else None


def configured(text: str) -> Dict[str, str]:
    """The variables of the defaults. Raises NodeError if they cannot be read."""
    try:
        return syntax.variables(DEFAULTS, text)
    except syntax.SyntaxProblem as problem:
        raise NodeError(str(problem)) from problem


class RuntimeSockets(NamedTuple):
    """The sockets that the defaults name; empty where they name none."""

    primary: str
    retiring: str
    image_service: str


def sockets(tree: Tree) -> RuntimeSockets:
    """Those of a node's defaults, as paths. Raises NodeError if these cannot be read."""
    found = configured(tree.text(DEFAULTS) or "")
    names = ("CRI_PRIMARY", "CRI_RETIRING", "CRI_IMAGE_SERVICE")
    return RuntimeSockets(*(address.path_of(found.get(name, "")) for name in names))


def _primary(situation: Situation, wish: Optional[str], configured: str) -> Tuple[str, bool]:
    """The primary runtime's socket, and whether it was worked out rather than chosen.

    A socket that an operator has chosen, or put into the defaults, is kept. One that was worked out is worked out
    again, because kubelet may use another runtime by now.
    """
    chosen = configured if wish is None and configured != situation.worked_out.primary else ""
    if wish is not None and wish != AUTO:
        chosen = named(wish)
    path = chosen or _used(situation, configured)
    if situation.kubelet is not None and is_dockershim(path):
        check_dockershim(
            situation.kubelet,
            "the primary runtime can be containerd, crio, cri-dockerd (for Docker), or the path of any other runtime's"
            " socket",
        )
    return path, not chosen


def _retiring(situation: Situation, primary: str, others: Tuple[RuntimeAddress, ...], configured: str) -> str:
    """The retiring runtime's socket. Raises NodeError for one that has another part already."""
    path = address.path_of(configured)
    if not path:
        return ""
    if primary in spellings(path):
        raise NodeError(
            f"{path} is retiring, so it cannot be the primary runtime by itself: criproxy node migrate --back makes it"
            " that again, and the other one retiring"
        )
    same = next((runtime.id for runtime in others if runtime.path in spellings(path)), "")
    if same:
        raise NodeError(f"{path} is retiring, so it cannot be the runtime {same!r}: take it out of the other runtimes")
    if situation.kubelet is not None and is_dockershim(path):
        check_dockershim(situation.kubelet, "so Docker's pods cannot stay beside another runtime")
    return path


def _used(situation: Situation, configured: str) -> str:
    """The socket of the runtime that kubelet uses without criproxy."""
    kubelet = situation.kubelet
    return configured if kubelet is None else used_by(situation.tree, kubelet, configured)


def used_by(tree: Tree, kubelet: Kubelet, configured: str) -> str:
    """The socket of the runtime that a kubelet uses by its own flags. If these name criproxy's, ``configured`` counts.

    Raises NodeError if it cannot be told.
    """
    told = endpoint(tree, kubelet)
    if told.value:
        path = socket(told)
        if path not in spellings(SOCKET):
            return path
        if configured:
            return configured
        raise NodeError(
            f"kubelet's {told.source} is {SOCKET} already, so it does not tell which runtime was used before: name it"
            " (criproxy node apply --primary RUNTIME)"
        )
    if kubelet.version >= _DOCKER_UNTIL:
        return RUNTIMES["containerd"].path
    return RUNTIMES["dockershim"].path


def _image_service(situation: Situation, wish: Optional[str], configured: str, primary: str) -> Tuple[str, bool]:
    """The socket of the primary runtime's image service, empty if it is the runtime's own, and whether it was worked
    out rather than chosen."""
    if wish is not None and wish != AUTO:
        return (_path_of(wish) if wish else ""), False
    if wish is None and configured != situation.worked_out.image_service:
        return configured, False
    if situation.kubelet is None:
        return configured, True
    return images_used_by(situation.tree, situation.kubelet, configured, primary), True


def images_used_by(tree: Tree, kubelet: Kubelet, configured: str, primary: str) -> str:
    """The socket of the image service that a kubelet uses by its own flags; empty if it is the primary runtime's. If
    these name criproxy's, ``configured`` counts.

    Raises NodeError if it cannot be told.
    """
    path = image_service(tree, kubelet).value
    if path in spellings(SOCKET):
        return configured
    return "" if path in spellings(primary) else path


def named(wish: str) -> str:
    """The socket of a runtime by its name in `RUNTIMES`, or as it is given. Raises NodeError for neither."""
    return RUNTIMES[wish].path if wish in RUNTIMES else _path_of(wish)


def _path_of(wish: str) -> str:
    path = address.path_of(wish)
    if not path.startswith("/"):
        names = ", ".join((AUTO, *RUNTIMES))
        raise NodeError(f"{path!r} is neither one of {names} nor the path of a unix socket")
    return path


def spellings(path: str) -> Tuple[str, ...]:
    """A path below /run, which is /var/run, too."""
    return short(path), f"/var{short(path)}"


def is_dockershim(socket: str) -> bool:
    """Whether a runtime is Docker by kubelet's dockershim."""
    return socket in spellings(RUNTIMES["dockershim"].path)


def check_dockershim(kubelet: Kubelet, remedy: str) -> None:
    """Raises NodeError, with that remedy, if a kubelet cannot be started as a dockershim alone."""
    if _DOCKERSHIM_SINCE <= kubelet.version < _DOCKERSHIM_UNTIL:
        return
    if kubelet.version < _DOCKERSHIM_SINCE:
        raise NodeError(
            f"kubelet {kubelet.version_text} cannot be started as a dockershim (1.8.4 to 1.18 can): upgrade it first"
        )
    where = "inside itself only" if kubelet.version < _DOCKER_UNTIL else "no more"
    raise NodeError(
        f"kubelet {kubelet.version_text} has dockershim {where} (1.8.4 to 1.18 can be started as one): {remedy}"
    )


def _checked(primary: str, other: str) -> Tuple[RuntimeAddress, ...]:
    try:
        if other:
            others_of(other)
        return runtimes_of(f"{primary},{other}" if other else primary)[1:]
    except ValueError as error:
        raise NodeError(f"the other runtimes (--other, CRI_OTHER): {error}") from error


def flags(version: Version, gives_up_attach: bool) -> Tuple[str, ...]:
    """The flags by which a kubelet of this version uses criproxy."""
    made = [f"--container-runtime-endpoint={ENDPOINT}", f"--image-service-endpoint={ENDPOINT}"]
    if version < _REMOTE_UNTIL:
        made.insert(0, "--container-runtime=remote")
    if gives_up_attach:
        made.append(ATTACH_FLAG)
    return tuple(made)


# Texts.

GENERATED = """\
# Generated by "criproxy node apply"; "criproxy node revert" and the removal of the package take it away.
"""


def _drop_in(kubelet: Kubelet, wanted: Tuple[str, ...]) -> str:
    # ExecStart= as it stands in kubelet's own unit, so that systemd goes on resolving the operator's variables at each
    # start. The flags come last, where they win: a variable of theirs would lose to the one in an environment file.
    return (
        f"{GENERATED}[Unit]\nWants={SERVICE}\nAfter={SERVICE}\n\n"
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
        f"{GENERATED}[Unit]\nDescription=Docker as a CRI runtime: kubelet's dockershim, for criproxy\n"
        f"Documentation=man:criproxy(8)\nWants=docker.service\nAfter=docker.service\nBefore={SERVICE}\n"
        "StartLimitIntervalSec=0\n\n"
        f"[Service]\nExecStart={' '.join(map(syntax.quote, words))}\nRestart=always\nRestartSec=1\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def _service(tree: Tree, runtimes: Tuple[str, str], shim: bool) -> str:
    """The service that criproxy brings with it, with its place in this node's order."""
    text = shipped.unit(tree, SERVICE)
    before = [known.unit for path in runtimes for known in RUNTIMES.values() if path in spellings(known.path)]
    lines = [f"Before={UNIT}", *(f"After={unit}" for unit in before if unit != DOCKERSHIM or shim)]
    if shim:
        lines.append(f"Wants={DOCKERSHIM}")
    if not shipped.is_packaged(tree, SERVICE):
        text = text.replace("/usr/bin/criproxy", shipped.program())
    return GENERATED + text.replace("\n\n[Service]", "\n".join(("", *lines, "", "[Service]")), 1)


_USUAL_OPTIONS = {"CRIPROXY_OPTS": "-v 2"}
"""What the defaults get that the Go package has left: its program's options stood in its unit."""


def _defaults(situation: Situation, before: Optional[str], values: Dict[str, str]) -> str:
    """The file as it was, or the one that criproxy brings, with these values in it."""
    text = shipped.file(situation.tree, "default/criproxy") if before is None else before
    there = configured(text)
    if before is not None and situation.first and not any(name.startswith("CRIPROXY_") for name in there):
        values = {**values, **_USUAL_OPTIONS}
    for name, value in values.items():
        if there.get(name, "") != value:
            text = environment.assign(text, name, value)
    return text


def is_from_the_go_package(path: str, text: str) -> bool:
    """Whether a file is one that the Go program's package had put there: it is no part of the node as it was before."""
    if path == DROP_IN:
        return bool(_GO_DROP_IN.search(text))
    return path.endswith(f"/{DOCKERSHIM}") and "--experimental-dockershim" in text
