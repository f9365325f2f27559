"""Lists of pods and of containers, narrowed by us: for when no runtime is there to do it.

An entry that is let through comes out as it went in, byte for byte.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Optional, Tuple

from criproxy.cri.messages import cut, entries
from criproxy.cri.methods import METHODS, Method, To
from criproxy.cri.schema import load

UNFILTERED = (b"", b"\x0a\x00")
"""The requests for all that there is, serialized: without a filter, and with an empty one."""
_VIEWS = cut(
    "criproxy.filter",
    {
        "PodSandbox": ("id", "state", "labels", "metadata.uid"),
        "PodSandboxFilter": ("id", "state.state", "label_selector"),
        "Container": ("id", "state", "labels", "pod_sandbox_id"),
        "ContainerFilter": ("id", "state.state", "label_selector", "pod_sandbox_id"),
        "ListPodSandboxRequest": ("filter",),
        "ListContainersRequest": ("filter",),
    },
)
_LIST: Any = entries()


def _entry_of(row: Method) -> str:
    """The message that a method lists."""
    return next(field.type for field in load().messages[row.rpc.response].values())


class Sort:
    """Lists of one sort of things. ``method`` is the unary one of them."""

    def __init__(self, name: str, method: str, ids: Tuple[str, ...]) -> None:
        rpc = METHODS[method].rpc
        self.name = name
        self.method = method
        self.entry = _entry_of(METHODS[method])
        self._ids = ids
        """Fields that a filter can have the beginning of."""
        self._view: Any = _VIEWS[self.entry]
        self._request: Any = _VIEWS[rpc.request]

    def narrowed(self, body: bytes, request: bytes, sent: bytes = b"") -> bytes:
        """The entries of a list that a request's filter lets through, without those whose ids are in the list ``sent``.

        All are serialized messages. Raises DecodeError if one of them is none.
        """
        if request in UNFILTERED and not sent:
            return body
        wanted = self._request.FromString(request).filter
        labels = _pairs(wanted.label_selector)
        known = {self._view.FromString(entry).id for entry in _entries(sent)}
        kept = _LIST()
        for entry in _entries(body):
            view = self._view.FromString(entry)
            if view.id not in known and self._matches(view, wanted) and labels.items() <= _pairs(view.labels).items():
                kept.entry.append(entry)
        narrowed: bytes = kept.SerializeToString()
        return narrowed

    def _matches(self, entry: Any, wanted: Any) -> bool:
        if wanted.HasField("state") and entry.state != wanted.state.state:
            return False
        return all(getattr(entry, field).startswith(getattr(wanted, field)) for field in self._ids)


PODS = Sort("pods", "ListPodSandbox", ("id",))
CONTAINERS = Sort("containers", "ListContainers", ("id", "pod_sandbox_id"))
SORTS = (PODS, CONTAINERS)
_LISTS = [row for row in METHODS.values() if row.to is To.EVERYONE]
_SORTS = {row.name: sort for row in _LISTS for sort in SORTS if sort.entry == _entry_of(row)}


def sort_of(row: Method) -> Optional[Sort]:
    """What sort of list a method gives, in one message or as a stream; None for all others."""
    return _SORTS.get(row.name)


def count(body: bytes) -> int:
    """How many entries a list has."""
    return len(_entries(body))


def has_pod(body: bytes, uid: bytes) -> bool:
    """Whether a list of pods has one of this UID (Kubernetes' own, not an id). Raises DecodeError if it is no list."""
    # Nearly always it is not there at all, and that is seen without parsing.
    if not uid or uid not in body:
        return False
    view: Any = _VIEWS["PodSandbox"]
    return any(view.FromString(entry).metadata.uid == uid for entry in _entries(body))


def _entries(body: bytes) -> List[bytes]:
    found: List[bytes] = _LIST.FromString(body).entry
    return found


def _pairs(labels: Iterable[Any]) -> Dict[bytes, bytes]:
    return {label.key: label.value for label in labels}
