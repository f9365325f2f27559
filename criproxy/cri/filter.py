"""Filters lists of pods and of containers, as a runtime would: for the remembered lists of a runtime that is away.

The bytes of an entry do not change.
"""

from __future__ import annotations

import sys
from typing import Any, Final, List, Optional, Tuple

from criproxy.cri.identity import LONGEST_NAME
from criproxy.cri.methods import METHODS, Method, To
from criproxy.cri.schema import load
from criproxy.cri.views import Views
from criproxy.cri.wire import ENTRY, LENGTH, DecodeError, elements, end_of_entry, field_at, length_field

UNFILTERED: Final = (b"", b"\x0a\x00")
"""The serialized requests for a whole list: one without a filter, one with an empty filter."""
_VIEWS: Final = Views(
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
        self._view = _VIEWS[self.entry]
        self._request = _VIEWS[rpc.request]

    def narrowed(self, body: bytes, request: bytes, sent: bytes = b"") -> bytes:
        """The entries of ``body`` that the request's filter matches, without those whose ids are in ``sent``.

        All are serialized messages. Raises DecodeError if one cannot be parsed.
        """
        if request in UNFILTERED and not sent:
            return body
        wanted = self._request.read(request).filter
        labels = wanted.label_selector
        # A text is in one piece on the wire: to look for it takes a hundredth of the time that it takes to parse.
        texts = [*filter(None, (*labels, *labels.values(), *(getattr(wanted, field) for field in self._ids)))]
        if not all(text in body for text in texts):
            return b""
        known = {self._view.read(entry).id for entry in elements(sent)}
        kept: List[bytes] = []
        for entry in elements(body):
            if texts and not all(text in entry for text in texts):
                continue
            view = self._view.read(entry)
            if not self._matches(view, wanted) or view.id in known:
                continue
            if not labels or labels.items() <= view.labels.items():
                kept.append(length_field(1, entry))
        return b"".join(kept)

    def _matches(self, entry: Any, wanted: Any) -> bool:
        if wanted.state.is_set and entry.state != wanted.state.state:
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


def count(body: bytes, most: int = sys.maxsize) -> int:
    """The number of entries of a list; of more than ``most``, no more than one is counted.

    Raises DecodeError if what is counted does not consist of whole fields.
    """
    found = at = 0
    end = len(body)
    try:
        while at < end and found <= most:
            if body[at] == ENTRY:
                at = end_of_entry(body, at, end)
                found += 1
            else:
                number, wire, _, at = field_at(body, at, end)
                found += number == 1 and wire == LENGTH
    except IndexError:
        at = end + 1
    if at > end:
        raise DecodeError("it is cut off")
    return found


def is_whole(body: bytes) -> bool:
    """Whether a list consists of whole entries, whatever these are."""
    try:
        count(body)
    except DecodeError:
        return False
    return True


def sandbox_of(body: bytes, uid: bytes, attempt: int) -> Optional[bytes]:
    """The id of this sandbox of a pod in a list: of the one with its ``metadata.uid`` and ``attempt``; None if there is
    none. Raises DecodeError if it cannot be parsed."""
    # Most lists do not have it, which takes no parsing to see: a string is in one piece on the wire.
    if not uid or uid not in body:
        return None
    view = _VIEWS["PodSandbox"]
    listed = (view.read(entry) for entry in elements(body))
    wanted = (uid, attempt)
    return next((pod.id for pod in listed if (pod.metadata.uid, pod.metadata.attempt) == wanted), None)


def ready_pods(body: bytes) -> List[str]:
    """NAMESPACE/NAME of each ready pod in a list, sorted. Raises DecodeError if it cannot be parsed."""
    view = _VIEWS["PodSandbox"]
    pods = (view.read(entry) for entry in elements(body))
    return sorted({_name(pod.metadata) for pod in pods if pod.state == _READY})


def _name(metadata: Any) -> str:
    parts = (metadata.namespace, metadata.name)
    return "/".join(part[:LONGEST_NAME].decode("utf-8", "replace") for part in parts)
