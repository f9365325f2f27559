"""What the proxy knows of each method of the CRI: one row a method.

A row says whom a call is for, which fields of the request and of the answer name something that the proxy has to
translate, and from which verbosity on the call is logged. All else (message names, field numbers, whether the answer
is a stream) stands in ``api.proto``. A method without a row goes to the primary runtime as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Dict, Iterable, List, Tuple

from criproxy.cri.schema import Rpc, load


class To(Enum):
    """Whom a call is for."""

    PRIMARY = "the primary runtime"
    TARGET = "the runtime that the marks choose, which must not differ"
    OWNER = "the runtime that the id at this path belongs to"
    IMAGE = "the runtime that the image at this path belongs to by its name, or else by the first mark"
    EVERYONE = "all runtimes, their answers in one"
    CONNECTED = "all runtimes that are there, for their effect"
    EVENTS = "all runtimes, their endless streams in one"
    FINDER = "the first runtime that has the image"
    HOLDERS = "all runtimes that have the image, for its effect"
    STATUS = "all runtimes, what each says of itself beside what the primary does"


class Kind(Enum):
    """What a field names."""

    ID = "a pod sandbox or a container"
    IMAGE = "an image, or a bare digest"
    OWN_IMAGE = "an image that must be of the runtime that the call is for, or a bare digest"
    SAID_IMAGE = "an image as a pod says it, which must not be of another runtime than the call is for"
    REPO_DIGEST = "an image by name@digest, or a bare digest"
    URL = "where to stream from"
    HANDLER = "a runtime handler; none where there is none"
    POD_HANDLER = "the runtime handler of a pod, which is that of its runtime where there is none"
    API_VERSION = "the CRI's version"
    METRIC = "a metric"


class Mark(Enum):
    """What may say which runtime a request is for, where no id and no image does."""

    HANDLER = "the runtime handler at this path"
    ANNOTATIONS = "the target-runtime annotation among those at this path"
    POD_UID = "the pod of the uid at this path: the runtime that it was started on"


class Merge(Enum):
    """What becomes of the answers of several runtimes."""

    CONCATENATED = "all that each of them lists"
    ONE_OF_A_METRIC = "of each metric the first description"
    ONE_OF_AN_IMAGE = "of each image one entry, with the names that all of them have for it"


@dataclass(frozen=True)
class Named:
    """A field that names something: its dotted path from the message, through every element of a repeated field."""

    path: str
    kind: Kind


Fields = Tuple[Named, ...]


@dataclass(frozen=True)
class Method:
    """One method's row; see `Loud` for ``loud``."""

    name: str
    to: To
    loud: int
    by: str = ""
    """The path that ``to`` speaks of."""
    takes: Fields = ()
    """The fields of the request that name something, those in ``by`` and ``narrowed_by`` included."""
    gives: Fields = ()
    """The fields of the answer that name something."""
    narrowed_by: Fields = ()
    """Filters of a list: where one is set, only the runtime it names is asked; a bare digest names none."""
    marks: Tuple[Tuple[str, Mark], ...] = ()
    """Paths of what says which runtime the request is for, or, where an id says it, that its images are that one's."""
    starts: str = ""
    """The path of the uid of the pod that the call starts."""
    requires: str = ""
    """The path of an image without which the call is refused."""
    empty_if_absent: bool = False
    """Whether an alternative runtime that is not there has an empty answer, rather than none."""
    digest: To = To.PRIMARY
    """Whom the call is for if the image in ``by`` is a bare digest, which does not say whose it is."""
    merge: Merge = Merge.CONCATENATED
    moves: bool = False
    """Whether it changes what the lists of pods and containers have."""
    twin: str = ""
    """The method that gives the same list in the other way: as a stream, or in one message. Their requests are the same
    on the wire, and so are their answers."""
    rpc: Rpc = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rpc", load().methods[self.name])


class Loud:
    """The verbosity from which on a call is logged."""

    CHANGES = 3
    STATUS = 4
    LISTS = 5


def ids(*paths: str) -> Fields:
    """Fields that hold an id."""
    return tuple(Named(path, Kind.ID) for path in paths)


def images(*paths: str) -> Fields:
    """Fields that hold an image's name."""
    return tuple(Named(path, Kind.IMAGE) for path in paths)


def handlers(*paths: str) -> Fields:
    """Fields that hold a runtime handler."""
    return tuple(Named(path, Kind.HANDLER) for path in paths)


def within(path: str, fields: Iterable[Named]) -> Fields:
    """The same fields of a message that stands at ``path``."""
    return tuple(Named(f"{path}.{field.path}", field.kind) for field in fields)


# The messages that several methods share.
_SPEC = (*images("image", "user_specified_image", "image_ref"), *handlers("runtime_handler"))
_OWN_SPEC = (
    Named("image", Kind.OWN_IMAGE),
    Named("user_specified_image", Kind.SAID_IMAGE),
    *images("image_ref"),
    *handlers("runtime_handler"),
)
_IMAGE = (
    *images("id", "repo_tags"),
    Named("repo_digests", Kind.REPO_DIGEST),
    *within("spec", _SPEC),
)
_MOUNTED = within("mounts.image", _SPEC)
_CONTAINER = (*ids("id", "pod_sandbox_id"), *within("image", _SPEC), *images("image_id"))
_CONTAINER_STATUS = (*ids("id"), *within("image", _SPEC), *images("image_id"), *_MOUNTED)
_CONTAINER_STATS = ids("attributes.id")
_POD = (*ids("id"), Named("runtime_handler", Kind.POD_HANDLER))
_POD_STATS = ids("attributes.id", "linux.containers.attributes.id", "windows.containers.attributes.id")
_POD_METRICS = ids("pod_sandbox_id", "container_metrics.container_id")
_SANDBOX_CONFIG = ids("linux.security_context.namespace_options.target_id")
_CONTAINER_CONFIG = (
    *within("image", _OWN_SPEC),
    *within("mounts.image", _OWN_SPEC),
    *ids("linux.security_context.namespace_options.target_id"),
)
_URL = (Named("url", Kind.URL),)
_MARKS_OF_POD = (("config.annotations", Mark.ANNOTATIONS), ("runtime_handler", Mark.HANDLER))
_MARKS_OF_IMAGE = (("image.runtime_handler", Mark.HANDLER), ("image.annotations", Mark.ANNOTATIONS))
_MARKS_OF_PULL = (
    *_MARKS_OF_IMAGE,
    ("sandbox_config.annotations", Mark.ANNOTATIONS),
    ("sandbox_config.metadata.uid", Mark.POD_UID),
)
_MARKS_OF_CONTAINER = (
    ("config.image.runtime_handler", Mark.HANDLER),
    ("config.image.annotations", Mark.ANNOTATIONS),
    ("sandbox_config.annotations", Mark.ANNOTATIONS),
)


def _of_pod(name: str, loud: int, takes: Fields = (), gives: Fields = (), moves: bool = False) -> Method:
    return Method(name, To.OWNER, loud, "pod_sandbox_id", (*ids("pod_sandbox_id"), *takes), gives, moves=moves)


def _of_container(name: str, loud: int, gives: Fields = (), moves: bool = False) -> Method:
    return Method(name, To.OWNER, loud, "container_id", ids("container_id"), gives, moves=moves)


def _of_image(
    name: str,
    loud: int,
    takes: Fields = (),
    gives: Fields = (),
    marks: Tuple[Tuple[str, Mark], ...] = _MARKS_OF_IMAGE,
    digest: To = To.PRIMARY,
    empty_if_absent: bool = False,
) -> Method:
    return Method(
        name,
        To.IMAGE,
        loud,
        "image.image",
        (*within("image", _SPEC), *takes),
        gives,
        marks=marks,
        empty_if_absent=empty_if_absent,
        digest=digest,
    )


def _list(
    name: str, gives: Fields, narrowed_by: Fields = (), merge: Merge = Merge.CONCATENATED, twin: str = ""
) -> Method:
    return Method(name, To.EVERYONE, Loud.LISTS, "", narrowed_by, gives, narrowed_by, merge=merge, twin=twin)


def _image_list(name: str, twin: str) -> Method:
    gives, takes = within("images", _IMAGE), within("filter.image", _SPEC)
    by = images("filter.image.image")
    return Method(
        name,
        To.EVERYONE,
        Loud.LISTS,
        takes=takes,
        gives=gives,
        narrowed_by=by,
        empty_if_absent=True,
        merge=Merge.ONE_OF_AN_IMAGE,
        twin=twin,
    )


_BY_ID = ids("filter.id")
_BY_ID_OR_POD = ids("filter.id", "filter.pod_sandbox_id")

_ROWS: List[Method] = [
    Method("Version", To.PRIMARY, Loud.STATUS, gives=(Named("runtime_api_version", Kind.API_VERSION),)),
    Method("Status", To.STATUS, Loud.STATUS),
    Method("RuntimeConfig", To.PRIMARY, Loud.STATUS),
    Method("UpdateRuntimeConfig", To.CONNECTED, Loud.CHANGES),
    Method(
        "RunPodSandbox",
        To.TARGET,
        Loud.CHANGES,
        takes=(*within("config", _SANDBOX_CONFIG), *handlers("runtime_handler")),
        gives=ids("pod_sandbox_id"),
        marks=_MARKS_OF_POD,
        starts="config.metadata.uid",
        moves=True,
    ),
    _of_pod("StopPodSandbox", Loud.CHANGES, moves=True),
    _of_pod("RemovePodSandbox", Loud.CHANGES, moves=True),
    _of_pod(
        "PodSandboxStatus",
        Loud.STATUS,
        gives=(*within("status", _POD), *within("containers_statuses", _CONTAINER_STATUS)),
    ),
    _list("ListPodSandbox", within("items", _POD), _BY_ID, twin="StreamPodSandboxes"),
    _list("StreamPodSandboxes", within("pod_sandboxes", _POD), _BY_ID, twin="ListPodSandbox"),
    _of_pod("UpdatePodSandboxResources", Loud.CHANGES),
    Method(
        "CreateContainer",
        To.OWNER,
        Loud.CHANGES,
        "pod_sandbox_id",
        (
            *ids("pod_sandbox_id"),
            *within("config", _CONTAINER_CONFIG),
            *within("sandbox_config", _SANDBOX_CONFIG),
        ),
        ids("container_id"),
        marks=_MARKS_OF_CONTAINER,
        requires="config.image.image",
        moves=True,
    ),
    _of_container("StartContainer", Loud.CHANGES, moves=True),
    _of_container("StopContainer", Loud.CHANGES, moves=True),
    _of_container("RemoveContainer", Loud.CHANGES, moves=True),
    _list("ListContainers", within("containers", _CONTAINER), _BY_ID_OR_POD, twin="StreamContainers"),
    _list("StreamContainers", within("containers", _CONTAINER), _BY_ID_OR_POD, twin="ListContainers"),
    _of_container("ContainerStatus", Loud.STATUS, within("status", _CONTAINER_STATUS)),
    _of_container("UpdateContainerResources", Loud.CHANGES),
    _of_container("ReopenContainerLog", Loud.CHANGES),
    _of_container("ExecSync", Loud.CHANGES),
    _of_container("Exec", Loud.CHANGES, _URL),
    _of_container("Attach", Loud.CHANGES, _URL),
    _of_pod("PortForward", Loud.CHANGES, gives=_URL),
    _of_container("ContainerStats", Loud.STATUS, within("stats", _CONTAINER_STATS)),
    _list("ListContainerStats", within("stats", _CONTAINER_STATS), _BY_ID_OR_POD, twin="StreamContainerStats"),
    _list(
        "StreamContainerStats",
        within("container_stats", _CONTAINER_STATS),
        _BY_ID_OR_POD,
        twin="ListContainerStats",
    ),
    _of_pod("PodSandboxStats", Loud.STATUS, gives=within("stats", _POD_STATS)),
    _list("ListPodSandboxStats", within("stats", _POD_STATS), _BY_ID, twin="StreamPodSandboxStats"),
    _list("StreamPodSandboxStats", within("pod_sandbox_stats", _POD_STATS), _BY_ID, twin="ListPodSandboxStats"),
    _list("ListMetricDescriptors", (Named("descriptors.name", Kind.METRIC),), merge=Merge.ONE_OF_A_METRIC),
    _list("ListPodSandboxMetrics", within("pod_metrics", _POD_METRICS), twin="StreamPodSandboxMetrics"),
    _list("StreamPodSandboxMetrics", within("pod_sandbox_metrics", _POD_METRICS), twin="ListPodSandboxMetrics"),
    _of_container("CheckpointContainer", Loud.CHANGES),
    _of_pod("CheckpointPod", Loud.CHANGES, ids("container_ids")),
    Method(
        "RestorePod",
        To.TARGET,
        Loud.CHANGES,
        takes=(
            *within("config", _SANDBOX_CONFIG),
            *handlers("runtime_handler"),
            *within("container_configs", _CONTAINER_CONFIG),
        ),
        gives=ids("pod_sandbox_id", "restored_containers.container_id"),
        marks=_MARKS_OF_POD,
        starts="config.metadata.uid",
        moves=True,
    ),
    Method(
        "GetContainerEvents",
        To.EVENTS,
        Loud.LISTS,
        gives=(
            *ids("container_id"),
            *within("pod_sandbox_status", _POD),
            *within("containers_statuses", _CONTAINER_STATUS),
        ),
    ),
    _image_list("ListImages", "StreamImages"),
    _image_list("StreamImages", "ListImages"),
    _of_image("ImageStatus", Loud.STATUS, gives=within("image", _IMAGE), digest=To.FINDER, empty_if_absent=True),
    _of_image(
        "PullImage", Loud.CHANGES, within("sandbox_config", _SANDBOX_CONFIG), images("image_ref"), _MARKS_OF_PULL
    ),
    _of_image("RemoveImage", Loud.CHANGES, digest=To.HOLDERS),
    _list("ImageFsInfo", ()),
]

METHODS: Dict[str, Method] = {row.name: row for row in _ROWS}
"""All rows by the methods' names."""
