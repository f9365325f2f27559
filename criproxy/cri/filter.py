"""Filters lists of pods and of containers, as a runtime would: for the remembered lists of a runtime that is away.

The bytes of an entry do not change.
"""

from __future__ import annotations

from typing import Any, Final, List, Optional, Sequence, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.identity import LONGEST_NAME
from criproxy.cri.messages import cut, entries, enum_value, pairs
from criproxy.cri.methods import METHODS, Method, To
from criproxy.cri.schema import load

UNFILTERED: Final = (b"", b"\x0a\x00")
"""The serialized requests for a whole list: one without a filter, one with an empty filter."""
_VIEWS: Final = cut(
    "criproxy.filter",
    {
        "PodSandbox": (
            "id",
            "state",
            "labels",
            *(f"metadata.{part}" for part in ("uid", "attempt", "namespace", "name")),
        ),
        "PodSandboxFilter": ("id", "state.state", "label_selector"),
        "Container": ("id", "state", "labels", "pod_sandbox_id"),
        "ContainerFilter": ("id", "state.state", "label_selector", "pod_sandbox_id"),
        "ListPodSandboxRequest": ("filter",),
        "ListContainersRequest": ("filter",),
    },
)
_LIST: Final[Any] = entries()
_READY: Final = load().enums["PodSandboxState"]["SANDBOX_READY"]


def _entry_of(row: Method) -> str:
    """The message that a list consists of."""
    return next(field.type for field in load().messages[row.rpc.response].values())


class ListKind:
    """A kind of list: of pods or of containers. ``method`` is the unary method that gives it."""

    def __init__(self, name: str, method: str, ids: Tuple[str, ...]) -> None:
        rpc = METHODS[method].rpc
        self.name = name
        self.method = method
        self.entry = _entry_of(METHODS[method])
        self._ids = ids
        """The fields of a filter that have a full id or the beginning of one."""
        self._view: Any = _VIEWS[self.entry]
        self._request: Any = _VIEWS[rpc.request]

    def narrowed(self, body: bytes, request: bytes, sent: bytes = b"") -> bytes:
        """The entries of ``body`` that the request's filter matches, without those whose ids are in ``sent``.

        All are serialized messages. Raises DecodeError if one cannot be parsed.
        """
        if request in UNFILTERED and not sent:
            return body
        wanted = self._request.FromString(request).filter
        labels = pairs(wanted.label_selector)
        # A text is in one piece on the wire: to look for it takes a hundredth of the time that it takes to parse.
        texts = [*filter(None, (*labels, *labels.values(), *(getattr(wanted, field) for field in self._ids)))]
        if not all(text in body for text in texts):
            return b""
        known = {self._view.FromString(entry).id for entry in _entries(sent)}
        kept = _LIST()
        for entry in _entries(body):
            if texts and not all(text in entry for text in texts):
                continue
            view = self._view.FromString(entry)
            if not self._matches(view, wanted) or view.id in known:
                continue
            if not labels or labels.items() <= pairs(view.labels).items():
                kept.entry.append(entry)
        narrowed: bytes = kept.SerializeToString()
        return narrowed

    def _matches(self, entry: Any, wanted: Any) -> bool:
        if wanted.HasField("state") and enum_value(entry.state) != enum_value(wanted.state.state):
            return False
        return all(getattr(entry, field).startswith(getattr(wanted, field)) for field in self._ids)


PODS: Final = ListKind("pods", "ListPodSandbox", ("id",))
CONTAINERS: Final = ListKind("containers", "ListContainers", ("id", "pod_sandbox_id"))
LIST_KINDS: Final = (PODS, CONTAINERS)
_LISTS: Final = [row for row in METHODS.values() if row.to is To.ALL]
_KINDS: Final = {row.name: kind for row in _LISTS for kind in LIST_KINDS if kind.entry == _entry_of(row)}


def list_kind_of(row: Method) -> Optional[ListKind]:
    """The kind of list that a method gives, in one message or as a stream; None for any other method."""
    return _KINDS.get(row.name)


def count(body: bytes) -> int:
    """The number of entries of a list. Raises DecodeError if it cannot be parsed."""
    return len(_entries(body))


def is_whole(body: bytes) -> bool:
    """Whether a list consists of whole entries, whatever these are."""
    try:
        _LIST.FromString(body)
    except DecodeError:
        return False
    return True


def sandbox_of(body: bytes, uid: bytes, attempt: int) -> Optional[bytes]:
    """The id of this sandbox of a pod in a list: of the one with its ``metadata.uid`` and ``attempt``; None if there is
    none. Raises DecodeError if it cannot be parsed."""
    # Most lists do not have it, which takes no parsing to see: a string is in one piece on the wire.
    if not uid or uid not in body:
        return None
    view: Any = _VIEWS["PodSandbox"]
    listed = (view.FromString(entry) for entry in _entries(body))
    wanted = (uid, attempt)
    return next((pod.id for pod in listed if (pod.metadata.uid, pod.metadata.attempt) == wanted), None)


def ready_pods(body: bytes) -> List[str]:
    """NAMESPACE/NAME of each ready pod in a list, sorted. Raises DecodeError if it cannot be parsed."""
    view: Any = _VIEWS["PodSandbox"]
    pods = (view.FromString(entry) for entry in _entries(body))
    return sorted({_name(pod.metadata) for pod in pods if enum_value(pod.state) == _READY})


def _name(metadata: Any) -> str:
    parts = (metadata.namespace, metadata.name)
    return "/".join(part[:LONGEST_NAME].decode("utf-8", "replace") for part in parts)


def _entries(body: bytes) -> Sequence[bytes]:
    found: Sequence[bytes] = _LIST.FromString(body).entry
    return found
