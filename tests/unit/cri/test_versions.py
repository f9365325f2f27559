"""The CRI's three versions: paths, and what v1alpha1 has otherwise, against bytes made by hand."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import pytest
from cri_reference import BYTES, VARINT, Tree, sorted_tree, tree_of, wire_of, with_unknown_fields

from criproxy.cri.methods import METHODS
from criproxy.cri.schema import load
from criproxy.cri.versions import ApiVersion, conversion, path_of, split_path

V1, V1ALPHA2, V1ALPHA1 = ApiVersion.V1, ApiVersion.V1ALPHA2, ApiVersion.V1ALPHA1

POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/runtime.v1.RuntimeService/Version", (V1, "RuntimeService", "Version")),
        ("/runtime.v1alpha2.ImageService/PullImage", (V1ALPHA2, "ImageService", "PullImage")),
        ("/runtime.RuntimeService/Version", (V1ALPHA1, "RuntimeService", "Version")),
        ("/runtime.v1.RuntimeService/Future", (V1, "RuntimeService", "Future")),
    ],
)
def test_a_path_of_the_cri_has_a_version(path: str, parts: Tuple[ApiVersion, str, str]) -> None:
    assert split_path(path) == parts
    assert path_of(*parts) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/runtime.v1.RuntimeService",
        "/runtime.v2.RuntimeService/Version",
        "/RuntimeService/Version",
        "/grpc.health.v1.Health/Check",
        "runtime.v1.RuntimeService/Version",
        "xruntime.v1.RuntimeService/Version",
        "/v1.RuntimeService/Version",
        "/runtime.v1.RuntimeService/a.b",
    ],
)
def test_other_paths_have_none(path: str) -> None:
    assert split_path(path) is None


def test_versions_are_spoken_of_as_kubelet_knows_them() -> None:
    assert [version.spoken for version in ApiVersion] == ["v1", "v1alpha2", "v1alpha1"]


# Conversions.


def converted(message: str, source: ApiVersion, target: ApiVersion, tree: Tree) -> Tree:
    """The message in the other version."""
    convert = conversion(message, source, target)
    assert convert is not None
    return sorted_tree(tree_of(convert(wire_of(tree)), message))


def sandbox_request(options: Tree) -> Tree:
    """RunPodSandboxRequest.config.linux.security_context.namespace_options; beside it privileged, and a handler."""
    context: Tree = [(1, BYTES, options), (6, VARINT, 1)]
    return [
        (1, BYTES, [(2, BYTES, b"host"), (8, BYTES, [(1, BYTES, b"/cgroup"), (2, BYTES, context)])]),
        (2, BYTES, b"runc"),
    ]


def container_request(options: Tree) -> Tree:
    """CreateContainerRequest.config.linux.security_context.namespace_options, and the sandbox's once more."""
    ours: Tree = [(15, BYTES, [(2, BYTES, [(3, BYTES, options)])])]
    theirs: Tree = [(8, BYTES, [(2, BYTES, [(1, BYTES, options)])])]
    return [(1, BYTES, b"pod"), (2, BYTES, ours), (3, BYTES, theirs)]


def pull_request(options: Tree) -> Tree:
    """PullImageRequest.sandbox_config."""
    return [(1, BYTES, [(1, BYTES, b"nginx")]), (3, BYTES, [(8, BYTES, [(2, BYTES, [(1, BYTES, options)])])])]


def status_response(options: Tree) -> Tree:
    """PodSandboxStatusResponse.status.linux.namespaces.options."""
    return [(1, BYTES, [(1, BYTES, b"pod"), (6, BYTES, [(1, BYTES, [(2, BYTES, options)])])])]


_WITH_OPTIONS = {
    "RunPodSandboxRequest": sandbox_request,
    "CreateContainerRequest": container_request,
    "PullImageRequest": pull_request,
    "PodSandboxStatusResponse": status_response,
}

_MODES: List[Tuple[Tree, Tree]] = [
    # v1alpha1's host_network, host_pid, host_ipc; and the later network, pid, ipc.
    ([(1, VARINT, 1)], [(1, VARINT, NODE)]),
    ([(2, VARINT, 1)], [(2, VARINT, NODE)]),
    ([(3, VARINT, 1)], [(3, VARINT, NODE)]),
    ([(1, VARINT, 1), (2, VARINT, 1), (3, VARINT, 1)], [(1, VARINT, NODE), (2, VARINT, NODE), (3, VARINT, NODE)]),
    ([], []),
]


@pytest.mark.parametrize("later", [V1, V1ALPHA2])
@pytest.mark.parametrize("message", _WITH_OPTIONS)
@pytest.mark.parametrize(("old", "new"), _MODES)
def test_the_hosts_namespaces_are_said_as_the_version_does(
    message: str, later: ApiVersion, old: Tree, new: Tree
) -> None:
    built = _WITH_OPTIONS[message]
    assert converted(message, V1ALPHA1, later, built(old)) == built(new)
    assert converted(message, later, V1ALPHA1, built(new)) == built(old)


@pytest.mark.parametrize("mode", [POD, CONTAINER, TARGET, 7])
def test_only_the_hosts_namespace_is_true_for_v1alpha1(mode: int) -> None:
    new: Tree = [(1, VARINT, mode), (2, VARINT, NODE), (4, BYTES, b"target")]
    old: Tree = [(1, VARINT, 0), (2, VARINT, 1), (4, BYTES, b"target")]
    assert converted("RunPodSandboxRequest", V1, V1ALPHA1, sandbox_request(new)) == sandbox_request(old)


def test_a_namespace_option_that_is_not_there_does_not_come_to_be() -> None:
    tree: Tree = [(1, BYTES, [(2, BYTES, b"host"), (8, BYTES, [(2, BYTES, [])])])]
    for source, target in ((V1, V1ALPHA1), (V1ALPHA1, V1)):
        assert converted("RunPodSandboxRequest", source, target, tree) == tree
        assert converted("RunPodSandboxRequest", source, target, []) == []


def usage(identifier: Optional[Tree]) -> Tree:
    """A FilesystemUsage: what identifies the filesystem, if anything, between its time and its used bytes."""
    return [(1, VARINT, 5), *([] if identifier is None else [(2, BYTES, identifier)]), (3, BYTES, [(1, VARINT, 4_096)])]


def fs_info(identifier: Optional[Tree]) -> Tree:
    """ImageFsInfoResponse.image_filesystems, twice, and container_filesystems."""
    return [(1, BYTES, usage(identifier)), (1, BYTES, usage(identifier)), (2, BYTES, usage(identifier))]


def stats(identifier: Optional[Tree]) -> Tree:
    """ListContainerStatsResponse.stats.writable_layer, and a container without one."""
    return [
        (1, BYTES, [(1, BYTES, [(1, BYTES, b"one")]), (4, BYTES, usage(identifier))]),
        (1, BYTES, [(1, BYTES, [(1, BYTES, b"two")])]),
    ]


_WITH_FILESYSTEM = {"ImageFsInfoResponse": fs_info, "ListContainerStatsResponse": stats}


@pytest.mark.parametrize("message", _WITH_FILESYSTEM)
@pytest.mark.parametrize(
    ("source", "target"), [(V1ALPHA1, V1), (V1ALPHA1, V1ALPHA2), (V1, V1ALPHA1), (V1ALPHA2, V1ALPHA1)]
)
def test_what_identifies_a_filesystem_is_left_out(message: str, source: ApiVersion, target: ApiVersion) -> None:
    """A uuid in v1alpha1, a mount point later: neither can be made of the other."""
    built = _WITH_FILESYSTEM[message]
    for identifier in ([(1, BYTES, b"/var/lib")], [], None):
        assert converted(message, source, target, built(identifier)) == built(None)


def test_fields_that_nobody_knows_survive_a_conversion() -> None:
    old = with_unknown_fields(sandbox_request([(1, VARINT, 1)]))
    new = with_unknown_fields(sandbox_request([(1, VARINT, NODE)]))
    assert converted("RunPodSandboxRequest", V1ALPHA1, V1, old) == sorted_tree(new)
    assert converted("RunPodSandboxRequest", V1, V1ALPHA1, new) == sorted_tree(old)


def test_messages_that_are_the_same_are_left_alone() -> None:
    for message in load().messages:
        assert conversion(message, V1, V1ALPHA2) is None
        assert conversion(message, V1ALPHA2, V1) is None
        assert conversion(message, V1ALPHA1, V1ALPHA1) is None


def test_a_message_without_anything_that_differs_is_left_alone() -> None:
    differs: Dict[str, bool] = {}
    for row in METHODS.values():
        for message in (row.rpc.request, row.rpc.response):
            differs[message] = _holds(message, ("NamespaceOption", "FilesystemUsage"))
            assert (conversion(message, V1ALPHA1, V1) is not None) == differs[message]
            assert (conversion(message, V1, V1ALPHA1) is not None) == differs[message]
    assert {message for message, here in differs.items() if here} == {
        "RunPodSandboxRequest",
        "PodSandboxStatusResponse",
        "CreateContainerRequest",
        "PullImageRequest",
        "ContainerStatsResponse",
        "ListContainerStatsResponse",
        "StreamContainerStatsResponse",
        "PodSandboxStatsResponse",
        "ListPodSandboxStatsResponse",
        "StreamPodSandboxStatsResponse",
        "ImageFsInfoResponse",
        "RestorePodRequest",
        "ContainerEventResponse",
    }


def _holds(message: str, wanted: Tuple[str, ...]) -> bool:
    fields = load().messages[message].values()
    return message in wanted or any(field.type in load().messages and _holds(field.type, wanted) for field in fields)
