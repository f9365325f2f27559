"""Which pods and containers a message is about, for a log in which one looks for them.

A message is about what it has one field for, and a list about what it is narrowed to; what an answer lists is nothing
that the call was about.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Callable, Dict, Iterator, List, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.methods import METHODS, Fields, Kind
from criproxy.cri.rewrite import VIEWS
from criproxy.cri.schema import load

POD = "pod"
CONTAINER = "container"

_SUBJECTS = {
    "pod_sandbox_id": POD,
    "filter.pod_sandbox_id": POD,
    "pod_sandbox_status.id": POD,
    "container_id": CONTAINER,
}
"""By a field's path. ``filter.id`` is the id of what the filter is for."""

_Get = Callable[[Any], Any]


def _of_rows() -> Dict[str, List[Tuple[str, _Get]]]:
    found: Dict[str, List[Tuple[str, _Get]]] = {}
    for row in METHODS.values():
        for message, fields in ((row.rpc.request, row.takes), (row.rpc.response, row.gives)):
            found[message] = list(_of_fields(message, fields))
    return found


def _of_fields(message: str, fields: Fields) -> Iterator[Tuple[str, _Get]]:
    for field in fields:
        subject = _SUBJECTS.get(field.path)
        if field.path == "filter.id" and field.kind is Kind.ID:
            filtered = load().messages[message]["filter"].type
            subject = POD if filtered.startswith("PodSandbox") else CONTAINER
        if subject is not None:
            yield subject, attrgetter(field.path)


_GETTERS = _of_rows()


def subjects(message: str, body: bytes) -> Iterator[Tuple[str, str]]:
    """`POD` or `CONTAINER` and an id, for each that the serialized ``message`` is about."""
    getters = _GETTERS.get(message)
    if not getters:
        return
    try:
        parsed = VIEWS[message].FromString(body)
    except DecodeError:
        return
    for subject, get in getters:
        name: bytes = get(parsed)
        if name:
            yield subject, name.decode(errors="replace")
