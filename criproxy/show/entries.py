"""What there is to see on a CRI socket: runtimes, pods, containers and images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional, Sequence, Tuple, Union

from criproxy.cri.names import PodName


class Kind(Enum):
    """What can be asked for alone, in the order in which all of it is shown."""

    RUNTIMES = "runtimes"
    PODS = "pods"
    CONTAINERS = "containers"
    IMAGES = "images"


class Role(Enum):
    """What a runtime is to criproxy, as the control socket's messages have it."""

    PRIMARY = "ROLE_PRIMARY"
    IMAGE_SERVICE = "ROLE_IMAGE_SERVICE"
    ALTERNATIVE = "ROLE_ALTERNATIVE"


@dataclass(frozen=True)
class Name:
    """What a pod, a container or an image is called: by name or by id."""

    outer: str
    """As kubelet has it."""
    own: str
    """As its runtime has it."""
    owner: str
    """The id of the runtime; empty: the primary one."""


@dataclass(frozen=True)
class Runtime:
    """One behind criproxy, as criproxy tells of it."""

    id: str
    """Empty: the primary one, or its image service."""
    role: Role
    socket: str
    available: bool
    summary: str
    """What it is, or why it is not there."""
    versions: Tuple[str, ...]
    """The versions of the CRI that it speaks."""
    since: str
    """When it was connected, RFC 3339; empty if it is not."""
    calls: int
    """In flight."""


@dataclass(frozen=True)
class Pod:
    """A pod sandbox (PodSandbox)."""

    id: Name
    namespace: str
    name: str
    uid: str
    attempt: int
    handler: str
    """The runtime handler; empty: the runtime's default."""
    state: str
    """PodSandboxState, as ``SANDBOX_READY``; a number that has no name in the CRI stands for itself."""
    created_at: int
    """Nanoseconds since 1970."""
    remembered: bool
    """Its runtime is away: this is what criproxy has last heard of it."""


@dataclass(frozen=True)
class Container:
    """A container (Container)."""

    id: Name
    pod_id: str
    """As kubelet has it."""
    pod: Optional[PodName]
    """None if no pod in the list has this id."""
    name: str
    attempt: int
    image: Name
    image_ref: str
    image_id: str
    state: str
    """ContainerState, likewise."""
    created_at: int
    """Nanoseconds since 1970."""
    remembered: bool
    """As a pod's."""


@dataclass(frozen=True)
class Image:
    """An image (Image)."""

    id: Name
    owners: Tuple[str, ...]
    """The ids of all runtimes that have it, empty for the primary one."""
    tags: Tuple[Name, ...]
    digests: Tuple[Name, ...]
    size: int
    """Bytes."""
    pinned: bool

    @property
    def names(self) -> Tuple[Name, ...]:
        """What it is called by: its tags, or else its digests."""
        return self.tags or self.digests


Entry = Union[Runtime, Pod, Container, Image]


@dataclass(frozen=True)
class Seen:
    """What has been seen in one look. A list is None if it could not be had, or nobody needed it."""

    socket: str
    at: int
    """When it was, nanoseconds since 1970."""
    who: str = ""
    """Who answers on the socket."""
    runtimes: Optional[Tuple[Runtime, ...]] = None
    """Empty if it is not criproxy that answers."""
    pods: Optional[Tuple[Pod, ...]] = None
    containers: Optional[Tuple[Container, ...]] = None
    images: Optional[Tuple[Image, ...]] = None
    problem: str = ""
    """Why some of it could not be had, with the socket's path."""

    def of(self, kind: Kind) -> Optional[Sequence[Entry]]:
        """The list of a kind."""
        lists = {
            Kind.RUNTIMES: self.runtimes,
            Kind.PODS: self.pods,
            Kind.CONTAINERS: self.containers,
            Kind.IMAGES: self.images,
        }
        return lists[kind]
