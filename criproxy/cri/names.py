"""What people call pods and containers: namespace and name, as kubelet sends and lists them.

A request that starts something, or pulls for it, has the name itself. The others have an id, whose name is in the list
of all pods or of all containers.
"""

from __future__ import annotations

from typing import Any, Dict, Final, Iterable, NamedTuple, Optional, Sequence, Tuple

from criproxy.cri.identity import LONGEST_NAME
from criproxy.cri.verify import LONGEST_ID
from criproxy.cri.views import View, Views
from criproxy.cri.wire import DecodeError, field_at

LARGEST_REQUEST: Final = 2**20
"""The largest request that is read for a name, bytes: it takes a fraction of a millisecond."""
_PODS: Final[Dict[str, str]] = {
    "RunPodSandboxRequest": "config",
    "RestorePodRequest": "config",
    "CreateContainerRequest": "sandbox_config",
    "PullImageRequest": "sandbox_config",
}
"""The requests that have a pod's name, and the field with the PodSandboxConfig that it is in."""
_CREATES: Final = "CreateContainerRequest"
"""The request that has a container's name (ContainerConfig.metadata)."""


def _paths() -> Dict[str, Iterable[str]]:
    paths: Dict[str, Iterable[str]] = {
        message: [f"{field}.metadata.namespace", f"{field}.metadata.name"] for message, field in _PODS.items()
    }
    paths[_CREATES] = [*paths[_CREATES], "config.metadata.name"]
    paths["PodSandbox"] = ("id", "metadata.namespace", "metadata.name")
    paths["Container"] = ("id", "pod_sandbox_id", "metadata.name")
    return paths


_VIEWS: Final = Views(_paths())
_POD: Final = _VIEWS["PodSandbox"]
_CONTAINER: Final = _VIEWS["Container"]
_FIRST: Final = 0x0A
"""The tag of a list's entries, and of an entry's id: field 1, length-delimited."""
MOST_ENTRIES: Final = 4096
"""So many entries of a list are looked at for a name, which takes a millisecond."""


class PodName(NamedTuple):
    """A pod, in people's words."""

    namespace: str
    """May be empty: only kubelet has to give one."""
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class ContainerName(NamedTuple):
    """A container, in people's words."""

    pod: Optional[PodName]
    """None if that is not known."""
    name: str

    def __str__(self) -> str:
        return f"{self.pod}/{self.name}" if self.pod is not None else self.name


class Listed(NamedTuple):
    """A container as a list has it."""

    name: str
    pod: bytes
    """The pod's id."""


def named_in(message: str, body: bytes) -> Tuple[Optional[PodName], Optional[ContainerName]]:
    """The pod and the container that a serialized request names by itself; None for what it does not."""
    field = _PODS.get(message)
    if field is None or len(body) > LARGEST_REQUEST:
        return None, None
    try:
        request = _VIEWS[message].read(body)
    except DecodeError:
        return None, None
    pod = _pod_of(getattr(request, field).metadata)
    container = _text(request.config.metadata.name) if message == _CREATES else ""
    return pod, ContainerName(pod, container) if container else None


def find_pod(parts: Sequence[bytes], id: bytes) -> Optional[PodName]:
    """The name of the pod with this id in a list of pods, which is the concatenation of ``parts``; None if none has."""
    found = _find(parts, id, _POD)
    return None if found is None else _pod_of(found.metadata)


def find_container(parts: Sequence[bytes], id: bytes) -> Optional[Listed]:
    """The container with this id in a list of containers, likewise."""
    found = _find(parts, id, _CONTAINER)
    return None if found is None else Listed(_text(found.metadata.name), found.pod_sandbox_id)


def _find(parts: Sequence[bytes], id: bytes, view: View) -> Any:
    # The id is an entry's first field, and what writes messages writes them in the order of their fields: to look for
    # the entry so takes a tenth of the time that it takes to parse the list.
    size = len(id)
    if not 0 < size <= LONGEST_ID:
        return None
    head = bytes((_FIRST, size) if size < 0x80 else (_FIRST, size & 0x7F | 0x80, size >> 7)) + id
    for part in parts:
        entry = _entry_with(part, head)
        if entry:
            try:
                found = view.read(entry)
            except DecodeError:
                continue
            if found.id == id:
                return found
    return None


def _entry_with(body: bytes, head: bytes) -> bytes:
    """The entry of a list that begins so; nothing if there is none among the first `MOST_ENTRIES`, or it is no list.

    The same bytes may be in the middle of an entry, as a text of a pod's author: they name nobody there.
    """
    wanted = body.find(head)
    at, end = 0, len(body)
    try:
        for _ in range(MOST_ENTRIES):
            if wanted < at or body[at] != _FIRST:
                break
            begin, size = at + 2, body[at + 1]
            stop = begin + size
            if size >= 0x80:
                begin, more = at + 3, body[at + 2]
                stop = begin + (size & 0x7F) + (more << 7)
                if more >= 0x80:
                    _, _, begin, stop = field_at(body, at, end)
            if wanted < stop:
                if begin == wanted:
                    return body[begin:stop]
                wanted = body.find(head, stop)
            at = stop
    except (IndexError, DecodeError):
        return b""
    return b""


def _pod_of(metadata: Any) -> Optional[PodName]:
    return PodName(_text(metadata.namespace), _text(metadata.name)) if metadata.name else None


def _text(value: bytes) -> str:
    return value[:LONGEST_NAME].decode("utf-8", "replace")
