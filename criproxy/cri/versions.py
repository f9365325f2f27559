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
from typing import Callable, Final, Optional, Tuple

from criproxy.cri.rewrite import Drop, Number, Rewriter, Tree
from criproxy.cri.schema import load
from criproxy.cri.steps import Transform
from criproxy.cri.views import enum_value


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
    if (source is ApiVersion.V1ALPHA1) == (target is ApiVersion.V1ALPHA1):
        return None
    tree = _tree(message, _to_bool if target is ApiVersion.V1ALPHA1 else _to_mode)
    return Rewriter(message, tree) if tree else None


def _to_mode(host: int) -> int:
    return _NODE if host else _POD


def _to_bool(mode: int) -> int:
    return int(enum_value(mode) == _NODE)


def _tree(message: str, convert: Callable[[int], int]) -> Tree:
    """What differs between the versions in a message, and in those in it. Few nodes have v1alpha1."""
    if message == "NamespaceOption":
        return {name: Number(convert) for name in _NAMESPACES}
    if message == "FilesystemUsage":
        return {"fs_id": Drop()}
    fields = load().messages[message].values()
    inner = ((field.name, _tree(field.type, convert)) for field in fields if field.type in load().messages)
    return {name: tree for name, tree in inner if tree}
