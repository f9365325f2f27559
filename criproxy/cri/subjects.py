"""The pods and containers that a message is about, so that the log can be searched for them.

A message is about the id in a field of its own, and a request for a list about the ids in its filter. The entries of a
list do not count.
"""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import Any, Callable, Dict, Final, Iterator, List, Tuple

from criproxy.cri.methods import METHODS, FieldKind, NamedFields
from criproxy.cri.rewrite import VIEWS
from criproxy.cri.schema import load
from criproxy.cri.wire import DecodeError

POD: Final = "pod"
CONTAINER: Final = "container"

_SUBJECTS: Final = {
    "pod_sandbox_id": POD,
    "filter.pod_sandbox_id": POD,
    "pod_sandbox_status.id": POD,
    "container_id": CONTAINER,
}
"""By the path of a field. ``filter.id`` is not here: it is a pod's or a container's, depending on the filter."""

_Get = Callable[[Any], Any]


_FIELDS: Final[Dict[str, NamedFields]] = {
    message: fields
    for row in METHODS.values()
    for message, fields in ((row.rpc.request, row.request_fields), (row.rpc.response, row.response_fields))
}


@cache
def _getters(message: str) -> List[Tuple[str, _Get]]:
    return list(_of_fields(message))


def _of_fields(message: str) -> Iterator[Tuple[str, _Get]]:
    for field in _FIELDS.get(message, ()):
        subject = _SUBJECTS.get(field.path)
        if field.path == "filter.id" and field.kind is FieldKind.ID:
            filtered = load().messages[message]["filter"].type
            subject = POD if filtered.startswith("PodSandbox") else CONTAINER
        if subject is not None:
            yield subject, attrgetter(field.path)


def subjects(message: str, body: bytes) -> Iterator[Tuple[str, str]]:
    """`POD` or `CONTAINER` and an id, for each that a serialized message is about; nothing if it cannot be parsed."""
    getters = _getters(message)
    if not getters:
        return
    try:
        parsed = VIEWS[message].read(body)
    except DecodeError:
        return
    for subject, get in getters:
        name: bytes = get(parsed)
        if name:
            yield subject, name.decode(errors="replace")
