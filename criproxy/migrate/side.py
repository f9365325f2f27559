"""One of the two runtimes of a move, as it tells of itself, in what the checks before the move have to know."""

from __future__ import annotations

import json
import re
from enum import Enum
from types import MappingProxyType
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Sequence

from criproxy.client import Client, ClientError
from criproxy.cri.schema import load
from criproxy.inspection.interview import Told, interview
from criproxy.node.kubelet import Ask, NodeError

_LARGEST = 2**20
"""characters: what a runtime tells of itself as JSON; containerd's has some thousands."""
_RUNNING = load().enums["ContainerState"]["CONTAINER_RUNNING"]
_MAJOR = re.compile(r" v?(\d+)\.")
_ID = re.compile(r"[0-9a-f]{12,64}")
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_DOCKER_INFO = ("docker", "info", "--format", "{{json .}}")
_DOCKER_PID = ("docker", "inspect", "--type", "container", "--format", "{{.State.Pid}}")


class Kind(Enum):
    """Which runtime it is. The value is the name that it has in Version, in small letters."""

    CONTAINERD = "containerd"
    CRIO = "cri-o"
    DOCKER = "docker"
    """By a dockershim or cri-dockerd."""
    OTHER = ""


class Running(NamedTuple):
    """A running container."""

    id: str
    log: str
    """The path of its log; empty if it has none."""
    pid: int
    """Of its first process; 0 if that is not known."""


class Side(NamedTuple):
    """What a runtime tells. If it does not answer (``told.failure``) there is nothing else."""

    path: str
    told: Told
    kind: Kind = Kind.OTHER
    major: int = 0
    """The first number of its version; 0 if that is not known."""
    config: Mapping[str, Any] = _NOTHING
    """The ``config`` among the info of a verbose Status: containerd's own, of the others the sandbox image at most."""
    networks: Mapping[str, Any] = _NOTHING
    """The ``cniconfig`` there, which is containerd's."""
    docker: Mapping[str, Any] = _NOTHING
    """What ``docker info`` says."""
    running: Sequence[Running] = ()
    image_folder: str = ""
    """A folder on the file system of its images; empty if it does not say."""

    @property
    def handler(self) -> str:
        """The name of containerd's default runtime handler."""
        return str(part(self.config, "containerd").get("defaultRuntimeName") or "runc")

    @property
    def sandbox_image(self) -> str:
        """The image of its pods' sandboxes; empty if it does not say."""
        return str(self.config.get("sandboxImage") or "")


def kind_of(name: str) -> Kind:
    """Which runtime it is, by the RuntimeName in Version, and whatever follows it."""
    first = name.lower().partition(" ")[0]
    return next((kind for kind in Kind if kind.value == first), Kind.OTHER)


def part(whole: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The object at a path of names in another one; an empty one if there is none."""
    for name in names:
        found = whole.get(name)
        whole = found if isinstance(found, dict) else {}
    return whole


def look(path: str, ask: Ask) -> Side:
    """Asks the runtime on this socket, and Docker by ``ask``, which runs commands of the node's."""
    told = interview(path, path, lambda: "")
    if told.failure:
        return Side(path, told)
    kind = kind_of(told.name)
    major = _MAJOR.search(told.name)
    with Client(path) as client:
        client.version = told.versions[0]
        info = _info(client)
        running = list(_running(client))
        folder = _image_folder(client)
    docker = _NOTHING
    if kind is Kind.DOCKER:
        docker = _parsed(_asked(ask, _DOCKER_INFO))
        running = [_with_pid(ask, each) for each in running[:1]] + running[1:]
    return Side(
        path,
        told,
        kind,
        int(major[1]) if major else 0,
        _parsed(info.get("config", "")),
        _parsed(info.get("cniconfig", "")),
        docker,
        running,
        folder,
    )


def sandbox_image(client: Client) -> str:
    """The image of a runtime's sandboxes; empty if it does not say."""
    return str(_parsed(_info(client).get("config", "")).get("sandboxImage") or "")


def _info(client: Client) -> Dict[str, str]:
    try:
        return dict(client.call("Status", verbose=True).info)
    except ClientError:  # one that answers Status and not a verbose one tells nothing
        return {}


def _running(client: Client) -> Iterator[Running]:
    """The running containers, without those that end meanwhile."""
    try:
        listed = client.call("ListContainers", filter={"state": {"state": _RUNNING}}).containers
    except ClientError:
        return
    for container in listed:
        try:
            answer = client.call("ContainerStatus", container_id=container.id, verbose=True)
        except ClientError:
            continue
        pid = _parsed(answer.info.get("info", "")).get("pid")
        yield Running(container.id, answer.status.log_path, pid if isinstance(pid, int) else 0)


def _image_folder(client: Client) -> str:
    try:
        filesystems = client.call("ImageFsInfo").image_filesystems
    except ClientError:
        return ""
    return str(filesystems[0].fs_id.mountpoint) if filesystems else ""


def _with_pid(ask: Ask, container: Running) -> Running:
    """The same with what Docker knows of it, which a dockershim does not hand on."""
    if not _ID.fullmatch(container.id):
        return container
    printed = _asked(ask, (*_DOCKER_PID, container.id)).strip()
    return container._replace(pid=int(printed)) if re.fullmatch(r"[0-9]{1,9}", printed) else container


def _asked(ask: Ask, command: Sequence[str]) -> str:
    """What a command prints; nothing if it cannot be run, which shows in what is not known then."""
    try:
        return ask(command)
    except NodeError:
        return ""


def _parsed(text: str) -> Mapping[str, Any]:
    """An object in JSON; an empty one for anything else."""
    if len(text) > _LARGEST:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
