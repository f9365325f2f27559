"""The methods' rows against the schema: whatever names a pod, a container, an image or a URL is in them, or has a
reason not to be; and what the rows say is what becomes of messages that are not ours."""

from __future__ import annotations

import random
import re
from operator import attrgetter
from typing import Any, Callable, Dict, List, Set, Tuple, Union

import pytest
from cri_reference import (
    BYTES,
    Tree,
    fill,
    paths_to,
    renamed,
    their_class,
    tree_of,
    wire_of,
    with_unknown_fields,
)

from criproxy.cri.identity import Names
from criproxy.cri.messages import api
from criproxy.cri.methods import (
    METHODS,
    POD_PARTS,
    FieldKind,
    Merge,
    Method,
    NamedField,
    RuntimeSelector,
    To,
    Verbosity,
)
from criproxy.cri.rewrite import VIEWS, renaming
from criproxy.cri.schema import SchemaField, load

ID, IMAGE, URL = FieldKind.ID, FieldKind.IMAGE, FieldKind.URL
HANDLER, POD_HANDLER = FieldKind.HANDLER, FieldKind.POD_HANDLER

ECHO = "a pod has no target: only ephemeral containers do"

NAMING: Dict[str, Dict[str, Union[FieldKind, str]]] = {
    # Pods.
    "PodSandbox": {"id": ID, "runtime_handler": POD_HANDLER},
    "PodSandboxStatus": {"id": ID, "runtime_handler": POD_HANDLER},
    "PodSandboxAttributes": {"id": ID},
    "PodSandboxFilter": {"id": ID},
    "PodSandboxStatsFilter": {"id": ID},
    "PodSandboxMetrics": {"pod_sandbox_id": ID},
    "RunPodSandboxRequest": {"runtime_handler": HANDLER},
    "RunPodSandboxResponse": {"pod_sandbox_id": ID},
    "StopPodSandboxRequest": {"pod_sandbox_id": ID},
    "RemovePodSandboxRequest": {"pod_sandbox_id": ID},
    "PodSandboxStatusRequest": {"pod_sandbox_id": ID},
    "PodSandboxStatsRequest": {"pod_sandbox_id": ID},
    "PortForwardRequest": {"pod_sandbox_id": ID},
    "UpdatePodSandboxResourcesRequest": {"pod_sandbox_id": ID},
    "CheckpointPodRequest": {"pod_sandbox_id": ID, "container_ids": ID},
    "RestorePodRequest": {"runtime_handler": HANDLER},
    "RestorePodResponse": {"pod_sandbox_id": ID},
    # Containers.
    "Container": {"id": ID, "pod_sandbox_id": ID, "image_id": IMAGE, "image_ref": IMAGE},
    "ContainerStatus": {"id": ID, "image_id": IMAGE, "image_ref": IMAGE},
    "ContainerAttributes": {"id": ID},
    "ContainerFilter": {"id": ID, "pod_sandbox_id": ID},
    "ContainerStatsFilter": {"id": ID, "pod_sandbox_id": ID},
    "ContainerMetrics": {"container_id": ID},
    "ContainerEventResponse": {"container_id": ID},
    "CreateContainerRequest": {"pod_sandbox_id": ID},
    "CreateContainerResponse": {"container_id": ID},
    "StartContainerRequest": {"container_id": ID},
    "StopContainerRequest": {"container_id": ID},
    "RemoveContainerRequest": {"container_id": ID},
    "ContainerStatusRequest": {"container_id": ID},
    "ContainerStatsRequest": {"container_id": ID},
    "UpdateContainerResourcesRequest": {"container_id": ID},
    "ReopenContainerLogRequest": {"container_id": ID},
    "CheckpointContainerRequest": {"container_id": ID},
    "ExecSyncRequest": {"container_id": ID},
    "ExecRequest": {"container_id": ID},
    "AttachRequest": {"container_id": ID},
    "RestoredContainer": {"container_id": ID},
    "NamespaceOption": {"target_id": ID},
    # Images.
    "Image": {"id": IMAGE, "repo_tags": IMAGE, "repo_digests": IMAGE},
    "ImageSpec": {"image": IMAGE, "user_specified_image": IMAGE, "image_ref": IMAGE, "runtime_handler": HANDLER},
    "PullImageResponse": {"image_ref": IMAGE},
    # Others.
    "ExecResponse": {"url": URL},
    "AttachResponse": {"url": URL},
    "PortForwardResponse": {"url": URL},
    "VersionResponse": {"runtime_api_version": FieldKind.API_VERSION},
    "MetricDescriptor": {"name": FieldKind.METRIC},
}
"""Every field that names something, by its message: what it names, or why it is left alone."""

ELSEWHERE: Dict[str, Union[FieldKind, str]] = {
    "ContainerConfig.image.image": FieldKind.OWN_IMAGE,
    "ContainerConfig.mounts.image.image": FieldKind.OWN_IMAGE,
    "ContainerConfig.image.user_specified_image": FieldKind.USER_SPECIFIED_IMAGE,
    "ContainerConfig.mounts.image.user_specified_image": FieldKind.USER_SPECIFIED_IMAGE,
    "LinuxPodSandboxStatus.namespaces.options.target_id": ECHO,
}
"""Where it depends on the way there."""

_LOOKS_NAMING = re.compile(r"(.*_)?(ids?|image|images|image_ref|ref|url|handler|repo_tags|repo_digests)")
_LOOKS_ONLY = {("SecurityProfile", "localhost_ref"): "a file on the node"}

MESSAGES = [(row, side) for row in METHODS.values() for side in ("request", "response")]
_IDS = [f"{row.name} {side}" for row, side in MESSAGES]


def message_of(row: Method, side: str) -> str:
    return str(getattr(row.rpc, side))


def fields_of(row: Method, side: str) -> Tuple[NamedField, ...]:
    return row.request_fields if side == "request" else row.response_fields


def expected(message: str) -> Dict[str, Union[FieldKind, str]]:
    """What the tables say of all fields of a message and of those within it, by their paths."""
    out: Dict[str, Union[FieldKind, str]] = {}
    for way, field in paths_to(message, lambda at, field: field.name in NAMING.get(at, {})):
        path = ".".join([*(step.name for _, step in way), field.name])
        owner = way[-1][1].type if way else message
        what = NAMING[owner][field.name]
        for depth, (passed, _) in enumerate(way):
            suffix = ".".join([passed, *(step.name for _, step in way[depth:]), field.name])
            what = ELSEWHERE.get(suffix, what)
        out[path] = what
    return out


def test_every_method_has_a_row_and_every_row_a_method() -> None:
    assert set(METHODS) == set(load().methods)
    for name, row in METHODS.items():
        assert row.rpc is load().methods[name]


def test_every_field_that_looks_like_it_names_something_is_in_the_tables() -> None:
    looks: Set[Tuple[str, str]] = {
        (message, field.name)
        for message, fields in load().messages.items()
        for field in fields.values()
        if field.type == "string" and _LOOKS_NAMING.fullmatch(field.name)
    }
    named = {(message, name) for message, fields in NAMING.items() for name in fields}
    assert looks - named == set(_LOOKS_ONLY)
    for message, name in named:
        assert load().messages[message][name].type == "string"


@pytest.mark.parametrize(("row", "side"), MESSAGES, ids=_IDS)
def test_a_row_names_the_fields_that_the_tables_name(row: Method, side: str) -> None:
    wanted = {path: what for path, what in expected(message_of(row, side)).items() if isinstance(what, FieldKind)}
    named = fields_of(row, side)
    assert {field.path: field.kind for field in named} == wanted
    assert len(named) == len(wanted)


def _to(name: str) -> To:
    """Whom a method is for, by its name."""
    if name in ("Version", "RuntimeConfig"):
        return To.PRIMARY
    if name in ("RunPodSandbox", "RestorePod"):
        return To.SELECTED
    if name in ("ImageStatus", "PullImage", "RemoveImage"):
        return To.IMAGE
    if name.startswith(("List", "Stream")) or name == "ImageFsInfo":
        return To.ALL
    others = {"Status": To.STATUS, "UpdateRuntimeConfig": To.CONNECTED, "GetContainerEvents": To.EVENTS}
    return others.get(name, To.OWNER)


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_a_row_says_whom_the_call_is_for(row: Method) -> None:
    assert row.to is _to(row.name)
    takes = {field.path: field.kind for field in row.request_fields}
    if row.to is To.OWNER:
        assert takes[row.owner_field] is ID
        assert row.owner_field in ("pod_sandbox_id", "container_id")
    elif row.to is To.IMAGE:
        assert row.owner_field == "image.image"
        assert takes[row.owner_field] is IMAGE
    else:
        assert not row.owner_field


_SELECTORS = {
    "runtime_handler": RuntimeSelector.HANDLER,
    "annotations": RuntimeSelector.ANNOTATIONS,
    "sandbox_config": RuntimeSelector.POD,
}


def test_the_selectors_of_a_request_are_what_may_say_which_runtime_it_is_for() -> None:
    """In the order in which they count; those of a pod must not differ."""
    of_image = ["image.runtime_handler", "image.annotations"]
    wanted = {
        "RunPodSandbox": ["config.annotations", "runtime_handler"],
        "RestorePod": ["config.annotations", "runtime_handler"],
        "ImageStatus": of_image,
        "RemoveImage": of_image,
        "PullImage": [*of_image, "sandbox_config.annotations", "sandbox_config"],
        "CreateContainer": [*(f"config.{path}" for path in of_image), "sandbox_config.annotations"],
    }
    assert {name: [path for path, _ in row.selectors] for name, row in METHODS.items() if row.selectors} == wanted
    for row in METHODS.values():
        for path, selector in row.selectors:
            assert selector is _SELECTORS[path.rpartition(".")[2]]


def test_a_pod_is_started_by_a_request_that_has_its_config() -> None:
    started = {name: row.starts for name, row in METHODS.items() if row.starts}
    assert started == dict.fromkeys(("RunPodSandbox", "RestorePod"), "config")


def test_the_pods_of_a_request_are_the_one_that_it_starts_and_the_one_that_it_pulls_for() -> None:
    assert {name: row.pods for name, row in METHODS.items() if row.pods} == {
        "RunPodSandbox": ("config",),
        "RestorePod": ("config",),
        "PullImage": ("sandbox_config",),
    }


def test_an_image_whose_name_may_be_of_several_runtimes_is_known_by_three_methods() -> None:
    assert {name: row.shared for name, row in METHODS.items() if row.shared is not To.PRIMARY} == {
        "ImageStatus": To.IN_COMMON,
        "PullImage": To.PULLED_OR_THERE,
        "RemoveImage": To.ALL_HOLDERS,
    }


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_a_list_is_narrowed_by_the_ids_and_the_image_in_its_filter(row: Method) -> None:
    """By the image that is asked for: what else an ImageSpec names is about the same image."""
    in_filter = [field for field in row.request_fields if field.path.startswith("filter.")]
    assert set(row.narrowed_by) == {
        field for field in in_filter if field.kind is ID or field.path == "filter.image.image"
    }
    assert bool(row.narrowed_by) == ("filter" in load().messages[row.rpc.request])


def test_the_lists_of_pods_and_containers_are_others_after_what_makes_starts_stops_or_removes_some() -> None:
    wanted = {f"{what}PodSandbox" for what in ("Run", "Stop", "Remove")} | {"RestorePod"}
    wanted |= {f"{what}Container" for what in ("Create", "Start", "Stop", "Remove")}
    assert {name for name, row in METHODS.items() if row.changes_lists} == wanted


def test_a_container_needs_an_image() -> None:
    assert {name: row.requires for name, row in METHODS.items() if row.requires} == {
        "CreateContainer": "config.image.image"
    }


def test_images_of_a_runtime_that_is_not_there_are_none() -> None:
    assert {name for name, row in METHODS.items() if row.empty_if_absent} == {
        "ListImages",
        "StreamImages",
        "ImageStatus",
    }


def test_a_digest_is_looked_for_and_removed_everywhere_and_pulled_by_the_primary() -> None:
    digest = {name: row.digest for name, row in METHODS.items() if row.to is To.IMAGE}
    assert digest == {"ImageStatus": To.FIRST_HOLDER, "RemoveImage": To.ALL_HOLDERS, "PullImage": To.PRIMARY}
    assert {row.digest for row in METHODS.values() if row.to is not To.IMAGE} == {To.PRIMARY}


def test_what_several_runtimes_list_is_one_for_metrics_and_images() -> None:
    assert {name: row.merge for name, row in METHODS.items() if row.merge is not Merge.CONCATENATED} == {
        "ListMetricDescriptors": Merge.ONE_OF_A_METRIC,
        "ListImages": Merge.ONE_OF_AN_IMAGE,
        "StreamImages": Merge.ONE_OF_AN_IMAGE,
    }


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_changes_are_logged_at_the_lowest_verbosity_and_lists_at_the_highest(row: Method) -> None:
    if row.to in (To.ALL, To.EVENTS):
        assert row.verbosity == Verbosity.LISTS
    elif row.name.endswith(("Status", "Stats", "Version")) or row.name == "RuntimeConfig":
        assert row.verbosity == Verbosity.STATUS
    else:
        assert row.verbosity == Verbosity.CHANGES


# What becomes of messages.

_RUNTIME = "alt.test"
_NAMES = Names(_RUNTIME, {b"vm": b"kata", b"plain": b""})

Change = Callable[[bytes], bytes]


def _stripped(prefix: bytes) -> Change:
    return lambda value: value[len(prefix) :] if value.startswith(prefix) else value


_INWARDS: Dict[FieldKind, Tuple[Change, Change]] = {
    ID: (_NAMES.inner_id, _stripped(b"alt.test__")),
    IMAGE: (_NAMES.inner_image, _stripped(b"alt.test/")),
    FieldKind.OWN_IMAGE: (_NAMES.inner_image, _stripped(b"alt.test/")),
    FieldKind.USER_SPECIFIED_IMAGE: (_NAMES.inner_image, _stripped(b"alt.test/")),
    HANDLER: (_NAMES.inner_handler, lambda value: {b"vm": b"kata", b"plain": b""}.get(value, value)),
}
_OUTWARDS: Dict[FieldKind, Tuple[Change, Change]] = {
    ID: (_NAMES.outer_id, lambda value: b"alt.test__" + value),
    IMAGE: (_NAMES.outer_image, lambda value: value if value.lstrip(b"@")[:7] == b"sha256:" else b"alt.test/" + value),
    HANDLER: (_NAMES.outer_handler, lambda value: b"vm" if value == b"kata" else value),
    URL: (lambda value: b"http://node" + value, lambda value: b"http://node" + value),
}
"""By kind: the change as the relay makes it, and as it is written down here."""

_TEXTS = [
    "alt.test__abc",
    "abc",
    "alt.test/nginx:1",
    "nginx",
    "sha256:012",
    "nginx@sha256:012",
    "@sha256:012",
    "/exec/ä",
    "vm",
    "kata",
]


def _changed(row: Method, side: str, wire: bytes) -> Tuple[bytes, Tree]:
    """The message as the row has it changed for an alternative runtime, and as the plain reference has it."""
    message, fields = message_of(row, side), fields_of(row, side)
    changes = _INWARDS if side == "request" else _OUTWARDS
    change = renaming(message, fields, {kind: change for kind, (change, _) in changes.items()})
    tree = tree_of(wire, message)
    for path, what in expected(message).items():
        if isinstance(what, FieldKind) and what in changes:
            tree = renamed(tree, message, path, changes[what][1])
    return change(wire), tree


@pytest.mark.parametrize(("row", "side"), MESSAGES, ids=_IDS)
@pytest.mark.parametrize("chance", [1.0, 0.7, 0.0])
def test_names_in_a_message_of_theirs_are_changed_and_nothing_else(row: Method, side: str, chance: float) -> None:
    message = message_of(row, side)
    theirs = their_class(message)
    rng = random.Random(0)
    for _ in range(4):
        built = theirs()
        fill(built, rng, lambda _: rng.choice(_TEXTS), chance)
        got, tree = _changed(row, side, built.SerializeToString())
        assert tree_of(got, message) == tree
        assert theirs.FromString(got) == theirs.FromString(wire_of(tree))


@pytest.mark.parametrize(("row", "side"), MESSAGES, ids=_IDS)
def test_names_that_are_no_text_are_changed_and_fields_that_nobody_knows_survive(row: Method, side: str) -> None:
    message = message_of(row, side)
    built = their_class(message)()
    rng = random.Random(0)
    fill(built, rng, lambda _: rng.choice(_TEXTS))
    tree = with_unknown_fields(tree_of(built.SerializeToString(), message))
    got, wanted = _changed(row, side, wire_of(_without_text(tree, message)))
    assert tree_of(got, message) == wanted
    assert b"\xff\xfe no UTF-8" in got


def _without_text(tree: Tree, message: str) -> Tree:
    """The message with bytes in each of its strings that are no UTF-8."""
    fields: Dict[int, SchemaField] = {field.number: field for field in load().messages.get(message, {}).values()}
    out: Tree = []
    for number, kind, value in tree:
        if number in fields and isinstance(value, list):
            value = _without_text(value, fields[number].type)
        elif number in fields and kind == BYTES and fields[number].type == "string":
            value += b"\xff\xc3"
        out.append((number, kind, value))
    return out


def test_kinds_without_a_change_stay() -> None:
    row = METHODS["CreateContainer"]
    image = {"image": "alt.test/nginx"}
    request: Any = api()[row.rpc.request](pod_sandbox_id="alt.test__pod", config={"image": image})
    change = renaming(row.rpc.request, row.request_fields, {ID: _NAMES.inner_id})
    changed = type(request).FromString(change(request.SerializeToString()))
    assert changed == type(request)(pod_sandbox_id="pod", config={"image": image})


def test_what_is_not_set_stays_so() -> None:
    for row in METHODS.values():
        for message, fields in ((row.rpc.request, row.request_fields), (row.rpc.response, row.response_fields)):
            assert renaming(message, fields, dict.fromkeys(FieldKind, lambda value: b"changed " + value))(b"") == b""


def test_a_pod_without_a_handler_has_its_runtime_s() -> None:
    row = METHODS["ListPodSandbox"]
    items = [{"id": "p", "runtime_handler": handler} for handler in ("", "kata", "other")]
    answer: Any = api()[row.rpc.response](items=items)
    change = renaming(row.rpc.response, row.response_fields, {POD_HANDLER: _NAMES.outer_handler})
    changed = type(answer).FromString(change(answer.SerializeToString()))
    assert [item.runtime_handler for item in changed.items] == ["plain", "vm", "other"]


def test_a_change_may_refuse() -> None:
    def refuse(value: bytes) -> bytes:
        raise ValueError(value)

    row = METHODS["StopContainer"]
    request: Any = api()[row.rpc.request](container_id="foreign")
    with pytest.raises(ValueError, match="foreign"):
        renaming(row.rpc.request, row.request_fields, {ID: refuse})(request.SerializeToString())


def test_every_path_of_a_row_can_be_read() -> None:
    """Whatever the router asks for has a place in the view of the request."""
    paths: List[Tuple[str, str]] = []
    for row in METHODS.values():
        paths += [(row.rpc.request, path) for path in (row.owner_field, row.requires) if path]
        paths += [(row.rpc.request, path) for path, _ in row.selectors if path not in row.pods]
        paths += [(row.rpc.request, f"{pod}.{part}") for pod in row.pods for part in POD_PARTS]
        paths += [(row.rpc.request, field.path) for field in row.narrowed_by]
    assert len(paths) > 30
    for message, path in paths:
        assert not attrgetter(path)(VIEWS[message].unset), (message, path)
