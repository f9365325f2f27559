"""The three versions of the CRI on the wire: v1, v1alpha2 and v1alpha1.

v1 and v1alpha2 differ in the path of a method alone. v1alpha1 differs from both in two places (Kubernetes 1.10's
change of the API):

- ``NamespaceOption`` has ``bool host_network, host_pid, host_ipc`` where the later ones have ``NamespaceMode network,
  pid, ipc``; the host's namespace is ``true`` there and NODE here;
- ``FilesystemUsage`` has ``storage_id`` where the later ones have ``fs_id``; the same shape with another meaning, so
  neither can be made of the other and a conversion leaves the field out.
"""

from __future__ import annotations

from enum import Enum
from functools import cache, lru_cache
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from criproxy.cri.messages import Classes, cut
from criproxy.cri.methods import METHODS
from criproxy.cri.schema import load


class Version(Enum):
    """A version of the CRI. The value is its protobuf package, in which its methods' paths begin."""

    V1 = "runtime.v1"
    V1ALPHA2 = "runtime.v1alpha2"
    V1ALPHA1 = "runtime"

    @property
    def spoken(self) -> str:
        """As VersionResponse.runtime_api_version says it."""
        return self.value.partition(".")[2] or "v1alpha1"


_PACKAGES = {version.value: version for version in Version}
_POD, _NODE = 0, 2
_NAMESPACES = ("network", "pid", "ipc")


def split_path(path: str) -> Optional[Tuple[Version, str, str]]:
    """The version, service and method of a gRPC path of the CRI; None if the path is of something else."""
    package, dot, rest = path[1:].rpartition(".")
    service, slash, method = rest.partition("/")
    version = _PACKAGES.get(package)
    if version is None or not (dot and slash and path.startswith("/")):
        return None
    return version, service, method


def path_of(version: Version, service: str, method: str) -> str:
    """The gRPC path of a method."""
    return f"/{version.value}.{service}/{method}"


Conversion = Callable[[bytes], bytes]


def conversion(message: str, source: Version, target: Version) -> Optional[Conversion]:
    """What makes a message of one version into that of another; None where they are the same on the wire."""
    if (source is Version.V1ALPHA1) == (target is Version.V1ALPHA1) or message not in _views():
        return None
    view = _views()[message]
    convert = _to_bool if target is Version.V1ALPHA1 else _to_mode
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
    return int(mode == _NODE)


_CHANGED = {"NamespaceOption": _NAMESPACES, "FilesystemUsage": ("fs_id",)}


@cache
def _paths(message: str) -> List[Tuple[Tuple[str, ...], str]]:
    """Where the messages that differ stand in this one: the ways to them, and which they are."""
    return list(_search(message, ()))


def _search(message: str, way: Tuple[str, ...]) -> Iterator[Tuple[Tuple[str, ...], str]]:
    if message in _CHANGED:
        yield way, message
        return
    for field in load().messages[message].values():
        if field.type in load().messages:
            yield from _search(field.type, (*way, field.name))


@lru_cache(maxsize=1)
def _views() -> Classes:
    """The messages that hold something that differs, with just that; made when a runtime or kubelet needs it."""
    wanted: Dict[str, List[str]] = {}
    for row in METHODS.values():
        for message in (row.rpc.request, row.rpc.response):
            paths = [".".join((*way, name)) for way, kind in _paths(message) for name in _CHANGED[kind]]
            if paths:
                wanted[message] = paths
    return cut("criproxy.versions", wanted)


def _find(message: Any, way: Tuple[str, ...]) -> Iterator[Any]:
    """The messages at the end of a way; nothing where something on it is not set."""
    if not way:
        yield message
        return
    value = getattr(message, way[0])
    if hasattr(value, "append"):
        for element in value:
            yield from _find(element, way[1:])
    elif message.HasField(way[0]):
        yield from _find(value, way[1:])
