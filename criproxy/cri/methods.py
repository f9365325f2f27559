"""What the proxy knows of each method of the CRI: one row a method.

A row says which runtimes a call goes to, which fields of the request and of the response the proxy has to translate,
and how it is logged. The rest (message names, field numbers, whether the response is a stream) is in ``api.proto``. A
method without a row goes to the primary runtime unchanged.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Dict, Final, Iterable, List, NamedTuple, Tuple

from criproxy.cri.schema import Rpc, load


class To(Enum):
    """The runtimes that a call goes to. ``owner_field`` and ``selectors`` are those of the method's row."""

    PRIMARY = "the primary runtime"
    SELECTED = "the runtime that the selectors name; the primary if they name none; an error if they name several"
    OWNER = "the runtime that the id in owner_field names by its prefix"
    IMAGE = (
        "the runtime that the image in owner_field names by its prefix, or else the first selector, or else the primary"
    )
    ALL = "all runtimes; the response has what each of them lists"
    CONNECTED = "all connected runtimes; each changes something"
    EVENTS = "all runtimes; the response has the events of all, and has no end"
    FIRST_HOLDER = "the first runtime that has the image; only it answers"
    ALL_HOLDERS = "all runtimes that have the image; each removes it"
    IN_COMMON = "the primary runtime and those that share its images; only what all of them have is there"
    PULLED_OR_THERE = "the runtime of the image; if it cannot pull it, it may have it all the same"
    STATUS = "all runtimes; the response is the primary's, with the readiness of the others"


class FieldKind(Enum):
    """What a field holds."""

    ID = "the id of a pod sandbox or a container"
    IMAGE = "a name, a repo digest, a bare digest or an id of an image"
    OWN_IMAGE = "as IMAGE; the request is refused if the image is not one of the runtime's that gets it"
    USER_SPECIFIED_IMAGE = "the image in the pod's spec; the request is refused if it has another runtime's prefix"
    URL = "the URL of a streaming server"
    HANDLER = "a runtime handler; empty means none"
    POD_HANDLER = "the runtime handler of a pod; empty means the default of the pod's runtime"
    API_VERSION = "the version of the CRI"
    METRIC = "the name of a metric"


class RuntimeSelector(Enum):
    """What a field of a request says of the runtime that it is for. An id or an image's prefix goes before it."""

    HANDLER = "a runtime handler; it is configured for one runtime"
    ANNOTATIONS = "annotations; the one of target-runtime has the runtime's id"
    POD = "the config of a pod; the runtime is the one that this sandbox of the pod was started on"


class Merge(Enum):
    """How the responses of several runtimes become one."""

    CONCATENATED = "all entries of all responses"
    ONE_OF_A_METRIC = "one description of each metric, the first"
    ONE_OF_AN_IMAGE = "one entry of each image, with its names in all responses"


class Verbosity(IntEnum):
    """The lowest ``-v`` at which a call is logged."""

    CHANGES = 3
    STATUS = 4
    LISTS = 5


class NamedField(NamedTuple):
    """A field to translate, by its dotted path in the message: ``items.id`` is the id of each item."""

    path: str
    kind: FieldKind


NamedFields = Tuple[NamedField, ...]


class Method(NamedTuple):
    """One method's row."""

    name: str
    to: To
    verbosity: Verbosity
    """The lowest ``-v`` at which a call is logged."""
    owner_field: str = ""
    """The path of the id (`To.OWNER`) or of the image (`To.IMAGE`)."""
    request_fields: NamedFields = ()
    """The fields of the request to translate, including ``owner_field`` and ``narrowed_by``."""
    response_fields: NamedFields = ()
    """The fields of the response to translate."""
    narrowed_by: NamedFields = ()
    """Filters of a list. If one is set, only the runtime that it names is asked. A bare digest names none."""
    selectors: Tuple[Tuple[str, RuntimeSelector], ...] = ()
    """Paths of the request's selectors, the most important first. With `To.OWNER` they do not choose the runtime: they
    say that an image without a prefix is the owner's."""
    starts: str = ""
    """The path of the config of the pod that the call starts."""
    requires: str = ""
    """The path of an image without which the call is refused."""
    empty_if_absent: bool = False
    """Whether an alternative runtime that is not connected counts as an empty response. Otherwise it is an error."""
    digest: To = To.PRIMARY
    """The runtimes that the call goes to if the image in ``owner_field`` is a bare digest."""
    shared: To = To.PRIMARY
    """The same if that is a name without a prefix, and there are runtimes that share images with the primary one: those
    whose pods do not say by themselves whose they are."""
    merge: Merge = Merge.CONCATENATED
    changes_lists: bool = False
    """Whether the call changes the lists of pods and containers."""
    rpc: Rpc = Rpc("", "", "", "", False)
    """What ``api.proto`` says of the method. `METHODS` has it."""

    @property
    def pods(self) -> Tuple[str, ...]:
        """The paths of the pods' configs that are read."""
        asked = tuple(path for path, selector in self.selectors if selector is RuntimeSelector.POD)
        return (self.starts, *asked) if self.starts else asked


def ids(*paths: str) -> NamedFields:
    """Fields that hold an id."""
    return tuple(NamedField(path, FieldKind.ID) for path in paths)


def images(*paths: str) -> NamedFields:
    """Fields that hold an image's name."""
    return tuple(NamedField(path, FieldKind.IMAGE) for path in paths)


def handlers(*paths: str) -> NamedFields:
    """Fields that hold a runtime handler."""
    return tuple(NamedField(path, FieldKind.HANDLER) for path in paths)


def within(path: str, fields: Iterable[NamedField]) -> NamedFields:
    """The same fields of a message that stands at ``path``."""
    return tuple(NamedField(f"{path}.{field.path}", field.kind) for field in fields)


POD_PARTS: Final = ("metadata.uid", "metadata.attempt", "metadata.namespace", "labels")
"""What is read of a pod's config (PodSandboxConfig), beside its annotations."""

# The messages that several methods share.
_SPEC: Final = (*images("image", "user_specified_image", "image_ref"), *handlers("runtime_handler"))
_OWN_SPEC: Final = (
    NamedField("image", FieldKind.OWN_IMAGE),
    NamedField("user_specified_image", FieldKind.USER_SPECIFIED_IMAGE),
    *images("image_ref"),
    *handlers("runtime_handler"),
)
_IMAGE: Final = (
    *images("id", "repo_tags", "repo_digests"),
    *within("spec", _SPEC),
)
_MOUNTED: Final = within("mounts.image", _SPEC)
_CONTAINER: Final = (*ids("id", "pod_sandbox_id"), *within("image", _SPEC), *images("image_ref", "image_id"))
_CONTAINER_STATUS: Final = (*ids("id"), *within("image", _SPEC), *images("image_ref", "image_id"), *_MOUNTED)
_CONTAINER_STATS: Final = ids("attributes.id")
_POD: Final = (*ids("id"), NamedField("runtime_handler", FieldKind.POD_HANDLER))
_POD_STATS: Final = ids("attributes.id", "linux.containers.attributes.id", "windows.containers.attributes.id")
_POD_METRICS: Final = ids("pod_sandbox_id", "container_metrics.container_id")
_SANDBOX_CONFIG: Final = ids("linux.security_context.namespace_options.target_id")
_CONTAINER_CONFIG: Final = (
    *within("image", _OWN_SPEC),
    *within("mounts.image", _OWN_SPEC),
    *ids("linux.security_context.namespace_options.target_id"),
)
_URL: Final = (NamedField("url", FieldKind.URL),)
_SELECTORS_OF_POD: Final = (
    ("config.annotations", RuntimeSelector.ANNOTATIONS),
    ("runtime_handler", RuntimeSelector.HANDLER),
)
_SELECTORS_OF_IMAGE: Final = (
    ("image.runtime_handler", RuntimeSelector.HANDLER),
    ("image.annotations", RuntimeSelector.ANNOTATIONS),
)
_SELECTORS_OF_PULL: Final = (
    *_SELECTORS_OF_IMAGE,
    ("sandbox_config.annotations", RuntimeSelector.ANNOTATIONS),
    ("sandbox_config", RuntimeSelector.POD),
)
_SELECTORS_OF_CONTAINER: Final = (
    ("config.image.runtime_handler", RuntimeSelector.HANDLER),
    ("config.image.annotations", RuntimeSelector.ANNOTATIONS),
    ("sandbox_config.annotations", RuntimeSelector.ANNOTATIONS),
)


def _of_pod(
    name: str,
    verbosity: Verbosity,
    request_fields: NamedFields = (),
    response_fields: NamedFields = (),
    changes_lists: bool = False,
) -> Method:
    return Method(
        name,
        To.OWNER,
        verbosity,
        "pod_sandbox_id",
        (*ids("pod_sandbox_id"), *request_fields),
        response_fields,
        changes_lists=changes_lists,
    )


def _of_container(
    name: str, verbosity: Verbosity, response_fields: NamedFields = (), changes_lists: bool = False
) -> Method:
    return Method(
        name, To.OWNER, verbosity, "container_id", ids("container_id"), response_fields, changes_lists=changes_lists
    )


def _of_image(
    name: str,
    verbosity: Verbosity,
    request_fields: NamedFields = (),
    response_fields: NamedFields = (),
    selectors: Tuple[Tuple[str, RuntimeSelector], ...] = _SELECTORS_OF_IMAGE,
    digest: To = To.PRIMARY,
    shared: To = To.PRIMARY,
    empty_if_absent: bool = False,
) -> Method:
    return Method(
        name,
        To.IMAGE,
        verbosity,
        "image.image",
        (*within("image", _SPEC), *request_fields),
        response_fields,
        selectors=selectors,
        empty_if_absent=empty_if_absent,
        digest=digest,
        shared=shared,
    )


def _list(
    name: str, response_fields: NamedFields, narrowed_by: NamedFields = (), merge: Merge = Merge.CONCATENATED
) -> Method:
    return Method(name, To.ALL, Verbosity.LISTS, "", narrowed_by, response_fields, narrowed_by, merge=merge)


def _image_list(name: str) -> Method:
    response_fields, request_fields = within("images", _IMAGE), within("filter.image", _SPEC)
    named = images("filter.image.image")
    return Method(
        name,
        To.ALL,
        Verbosity.LISTS,
        request_fields=request_fields,
        response_fields=response_fields,
        narrowed_by=named,
        empty_if_absent=True,
        merge=Merge.ONE_OF_AN_IMAGE,
    )


_BY_ID: Final = ids("filter.id")
_BY_ID_OR_POD: Final = ids("filter.id", "filter.pod_sandbox_id")

_ROWS: Final[List[Method]] = [
    Method(
        "Version",
        To.PRIMARY,
        Verbosity.STATUS,
        response_fields=(NamedField("runtime_api_version", FieldKind.API_VERSION),),
    ),
    Method("Status", To.STATUS, Verbosity.STATUS),
    Method("RuntimeConfig", To.PRIMARY, Verbosity.STATUS),
    Method("UpdateRuntimeConfig", To.CONNECTED, Verbosity.CHANGES),
    Method(
        "RunPodSandbox",
        To.SELECTED,
        Verbosity.CHANGES,
        request_fields=(*within("config", _SANDBOX_CONFIG), *handlers("runtime_handler")),
        response_fields=ids("pod_sandbox_id"),
        selectors=_SELECTORS_OF_POD,
        starts="config",
        changes_lists=True,
    ),
    _of_pod("StopPodSandbox", Verbosity.CHANGES, changes_lists=True),
    _of_pod("RemovePodSandbox", Verbosity.CHANGES, changes_lists=True),
    _of_pod(
        "PodSandboxStatus",
        Verbosity.STATUS,
        response_fields=(*within("status", _POD), *within("containers_statuses", _CONTAINER_STATUS)),
    ),
    _list("ListPodSandbox", within("items", _POD), _BY_ID),
    _list("StreamPodSandboxes", within("pod_sandboxes", _POD), _BY_ID),
    _of_pod("UpdatePodSandboxResources", Verbosity.CHANGES),
    Method(
        "CreateContainer",
        To.OWNER,
        Verbosity.CHANGES,
        "pod_sandbox_id",
        (
            *ids("pod_sandbox_id"),
            *within("config", _CONTAINER_CONFIG),
            *within("sandbox_config", _SANDBOX_CONFIG),
        ),
        ids("container_id"),
        selectors=_SELECTORS_OF_CONTAINER,
        requires="config.image.image",
        changes_lists=True,
    ),
    _of_container("StartContainer", Verbosity.CHANGES, changes_lists=True),
    _of_container("StopContainer", Verbosity.CHANGES, changes_lists=True),
    _of_container("RemoveContainer", Verbosity.CHANGES, changes_lists=True),
    _list("ListContainers", within("containers", _CONTAINER), _BY_ID_OR_POD),
    _list("StreamContainers", within("containers", _CONTAINER), _BY_ID_OR_POD),
    _of_container("ContainerStatus", Verbosity.STATUS, within("status", _CONTAINER_STATUS)),
    _of_container("UpdateContainerResources", Verbosity.CHANGES),
    _of_container("ReopenContainerLog", Verbosity.CHANGES),
    _of_container("ExecSync", Verbosity.CHANGES),
    _of_container("Exec", Verbosity.CHANGES, _URL),
    _of_container("Attach", Verbosity.CHANGES, _URL),
    _of_pod("PortForward", Verbosity.CHANGES, response_fields=_URL),
    _of_container("ContainerStats", Verbosity.STATUS, within("stats", _CONTAINER_STATS)),
    _list("ListContainerStats", within("stats", _CONTAINER_STATS), _BY_ID_OR_POD),
    _list(
        "StreamContainerStats",
        within("container_stats", _CONTAINER_STATS),
        _BY_ID_OR_POD,
    ),
    _of_pod("PodSandboxStats", Verbosity.STATUS, response_fields=within("stats", _POD_STATS)),
    _list("ListPodSandboxStats", within("stats", _POD_STATS), _BY_ID),
    _list("StreamPodSandboxStats", within("pod_sandbox_stats", _POD_STATS), _BY_ID),
    _list("ListMetricDescriptors", (NamedField("descriptors.name", FieldKind.METRIC),), merge=Merge.ONE_OF_A_METRIC),
    _list("ListPodSandboxMetrics", within("pod_metrics", _POD_METRICS)),
    _list("StreamPodSandboxMetrics", within("pod_sandbox_metrics", _POD_METRICS)),
    _of_container("CheckpointContainer", Verbosity.CHANGES),
    _of_pod("CheckpointPod", Verbosity.CHANGES, ids("container_ids")),
    Method(
        "RestorePod",
        To.SELECTED,
        Verbosity.CHANGES,
        request_fields=(
            *within("config", _SANDBOX_CONFIG),
            *handlers("runtime_handler"),
            *within("container_configs", _CONTAINER_CONFIG),
        ),
        response_fields=ids("pod_sandbox_id", "restored_containers.container_id"),
        selectors=_SELECTORS_OF_POD,
        starts="config",
        changes_lists=True,
    ),
    Method(
        "GetContainerEvents",
        To.EVENTS,
        Verbosity.LISTS,
        response_fields=(
            *ids("container_id"),
            *within("pod_sandbox_status", _POD),
            *within("containers_statuses", _CONTAINER_STATUS),
        ),
    ),
    _image_list("ListImages"),
    _image_list("StreamImages"),
    _of_image(
        "ImageStatus",
        Verbosity.STATUS,
        response_fields=within("image", _IMAGE),
        digest=To.FIRST_HOLDER,
        shared=To.IN_COMMON,
        empty_if_absent=True,
    ),
    _of_image(
        "PullImage",
        Verbosity.CHANGES,
        within("sandbox_config", _SANDBOX_CONFIG),
        images("image_ref"),
        _SELECTORS_OF_PULL,
        shared=To.PULLED_OR_THERE,
    ),
    _of_image("RemoveImage", Verbosity.CHANGES, digest=To.ALL_HOLDERS, shared=To.ALL_HOLDERS),
    _list("ImageFsInfo", ()),
]

METHODS: Final[Dict[str, Method]] = {row.name: row._replace(rpc=load().methods[row.name]) for row in _ROWS}
"""All rows by the methods' names."""
