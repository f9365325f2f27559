"""The three versions of the CRI on the wire: v1, v1alpha2 and v1alpha1.

v1 and v1alpha2 differ only in the paths of methods. v1alpha1 differs from both in two messages (the API changed in
Kubernetes 1.10):

- ``NamespaceOption`` has ``bool host_network, host_pid, host_ipc`` where the later ones have ``NamespaceMode network,
  pid, ipc``; the host's namespace is ``true`` there and NODE here;
- ``FilesystemUsage`` has ``storage_id`` where the later ones have ``fs_id``. They look the same on the wire and mean
  different things, so a conversion drops the field.
"""

from __future__ import annotations

from enum import Enum
from functools import cache, lru_cache
from typing import Any, Dict, Final, Iterator, List, Optional, Tuple

from criproxy.cri.messages import Classes, Transform, cut, enum_value
from criproxy.cri.methods import METHODS
from criproxy.cri.schema import load


class ApiVersion(Enum):
    """A version of the CRI. The value is its protobuf package, which is the first part of a method's path."""

    V1 = "runtime.v1"
    V1ALPHA2 = "runtime.v1alpha2"
    V1ALPHA1 = "runtime"

    @property
    def spoken(self) -> str:
        """The version as in ``VersionResponse.runtime_api_version``."""
        return self.value.partition(".")[2] or "v1alpha1"


_PACKAGES: Final = {version.value: version for version in ApiVersion}
_POD: Final = 0
_NODE: Final = 2
_NAMESPACES: Final = ("network", "pid", "ipc")


def split_path(path: str) -> Optional[Tuple[ApiVersion, str, str]]:
    """The version, service and method of a gRPC path (``/PACKAGE.SERVICE/METHOD``); None if it is not the CRI's."""
    package, dot, rest = path[1:].rpartition(".")
    service, slash, method = rest.partition("/")
    version = _PACKAGES.get(package)
    if version is None or not (dot and slash and path.startswith("/")):
        return None
    return version, service, method


def path_of(version: ApiVersion, service: str, method: str) -> str:
    """The gRPC path of a method."""
    return f"/{version.value}.{service}/{method}"


def conversion(message: str, source: ApiVersion, target: ApiVersion) -> Optional[Transform]:
    """The function that converts a message from one version to another; None if they are the same on the wire."""
    if (source is ApiVersion.V1ALPHA1) == (target is ApiVersion.V1ALPHA1) or message not in _views():
        return None
    view = _views()[message]
    convert = _to_bool if target is ApiVersion.V1ALPHA1 else _to_mode
    paths = _paths(message)

    def apply(body: bytes) -> bytes:
        parsed = view.FromString(body)
        for path, kind in paths:
            for found in _find(parsed, path):
                if kind == "NamespaceOption":
                    for name in _NAMESPACES:
                        setattr(found, name, convert(getattr(found, name)))
                else:
                    found.ClearField("fs_id")
        serialized: bytes = parsed.SerializeToString()
        return serialized

    return apply


def _to_mode(host: int) -> int:
    return _NODE if host else _POD


def _to_bool(mode: int) -> int:
    return int(enum_value(mode) == _NODE)


_CHANGED: Final = {"NamespaceOption": _NAMESPACES, "FilesystemUsage": ("fs_id",)}


@cache
def _paths(message: str) -> List[Tuple[Tuple[str, ...], str]]:
    """The paths of the messages in this one that differ between versions, each with the name of the message."""
    return list(_search(message, ()))


def _search(message: str, path: Tuple[str, ...]) -> Iterator[Tuple[Tuple[str, ...], str]]:
    if message in _CHANGED:
        yield path, message
        return
    for field in load().messages[message].values():
        if field.type in load().messages:
            yield from _search(field.type, (*path, field.name))


@lru_cache(maxsize=1)
def _views() -> Classes:
    """The messages that contain a difference, with only those fields. Few nodes have v1alpha1."""
    wanted: Dict[str, List[str]] = {}
    for row in METHODS.values():
        for message in (row.rpc.request, row.rpc.response):
            paths = [".".join((*path, name)) for path, kind in _paths(message) for name in _CHANGED[kind]]
            if paths:
                wanted[message] = paths
    return cut("criproxy.versions", wanted)


def _find(message: Any, path: Tuple[str, ...]) -> Iterator[Any]:
    """The messages at a path; none if a message on the path is not set."""
    if not path:
        yield message
        return
    value = getattr(message, path[0])
    if hasattr(value, "append"):
        for element in value:
            yield from _find(element, path[1:])
    elif message.HasField(path[0]):
        yield from _find(value, path[1:])
