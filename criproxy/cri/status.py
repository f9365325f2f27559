"""Merges the StatusResponses of several runtimes.

The merged response is the primary runtime's, with these additions: a condition ``ID/RuntimeReady`` for each alternative
runtime; the runtime handlers of all runtimes, by the names that a RuntimeClass can have; and, if it is verbose, the
``info`` of each runtime under its id, and the proxy's own.
"""

from __future__ import annotations

import json
from typing import Any, Final, List, NamedTuple, Sequence, Set

from criproxy.cri.identity import Names, Runtimes, is_label
from criproxy.cri.messages import cut, pairs

NOT_AVAILABLE: Final = "RuntimeNotAvailable"
"""The reason of the condition of a runtime that is not connected."""
NO_ANSWER: Final = "RuntimeDoesNotAnswer"
"""The reason if the runtime has not answered in time."""
FAILED: Final = "RuntimeStatusFailed"
"""The reason if the runtime has answered with an error."""
NOT_REPORTED: Final = "RuntimeReadyNotReported"
"""The reason if the runtime's response has no condition RuntimeReady."""
OWN_INFO: Final = "criproxy"
"""The key of the proxy's own entry in ``info``."""
LONGEST_TEXT: Final = 4096
"""The most bytes of an alternative runtime's reason, and of its message."""
LARGEST_INFO: Final = 2**20
"""The most bytes of an alternative runtime's info: all of it has to fit into one message to kubelet (16 MiB)."""

_READY: Final = "RuntimeReady"
_NETWORK_READY: Final = "NetworkReady"
_VIEWS: Final = cut(
    "criproxy.status",
    {
        "StatusRequest": ("verbose",),
        "StatusResponse": (
            *(f"status.conditions.{field}" for field in ("type", "status", "reason", "message")),
            "info",
            "runtime_handlers.name",
            "runtime_handlers.features.user_namespaces",
        ),
    },
)


class ReportedStatus(NamedTuple):
    """A runtime's response to Status (`read`), or why there is none."""

    answer: Any
    reason: str = ""
    """In CamelCase, as ``RuntimeCondition.reason`` has to be."""
    message: str = ""


def wants_info(request: bytes) -> bool:
    """Whether a StatusRequest has ``verbose`` set. Raises DecodeError if it cannot be parsed."""
    parsed: Any = _VIEWS["StatusRequest"].FromString(request)
    verbose: bool = parsed.verbose
    return verbose


def read(answer: bytes) -> Any:
    """Parses a StatusResponse. Raises DecodeError if it cannot be parsed."""
    return _VIEWS["StatusResponse"].FromString(answer)


def merge(runtimes: Runtimes, primary: ReportedStatus, others: Sequence[ReportedStatus], own_info: str = "") -> bytes:
    """The serialized StatusResponse for kubelet. ``others`` are those of `Runtimes.others`, in their order.

    ``own_info`` is the proxy's own info, as JSON. If it is empty the response is not verbose. The message in
    ``primary`` is changed.
    """
    answer = primary.answer
    if answer is None:
        answer = _VIEWS["StatusResponse"]()
        for kind in (_READY, _NETWORK_READY):
            _add_condition(answer, kind, False, primary.reason, primary.message)
    for names, said in zip(runtimes.others, others):
        _add_condition_of(answer, names, said)
    _merge_handlers(answer, runtimes, others)
    if own_info:
        _add_info(answer, OWN_INFO, own_info)
        for names, said in zip(runtimes.others, others):
            _add_info(answer, names.runtime, _info_of(names, said))
    merged: bytes = answer.SerializeToString()
    return merged


# Conditions.


def _add_condition_of(answer: Any, names: Names, said: ReportedStatus) -> None:
    """Adds the condition of an alternative runtime: its own RuntimeReady, or why that is not known."""
    kind = f"{names.runtime}/{_READY}"
    if said.answer is None:
        _add_condition(answer, kind, False, said.reason, said.message)
        return
    for condition in said.answer.status.conditions:
        if condition.type == _READY.encode():
            _add_condition(answer, kind, condition.status, _text(condition.reason), _text(condition.message))
            return
    missing = f'criproxy: runtime "{names.runtime}" does not say whether it is ready'
    _add_condition(answer, kind, False, NOT_REPORTED, missing)


def _add_condition(answer: Any, kind: str, status: bool, reason: str, message: str) -> None:
    conditions = answer.status.conditions
    if all(condition.type != kind.encode() for condition in conditions):
        conditions.add(type=kind.encode(), status=status, reason=reason.encode(), message=_bytes(message))


def _bytes(text: str) -> bytes:
    """A message may quote a path, which need not be UTF-8."""
    return text.encode("utf-8", "replace")


def _text(value: bytes) -> str:
    """A valid protobuf string. An invalid one of an alternative runtime would make the whole response invalid."""
    return value[:LONGEST_TEXT].decode("utf-8", "replace")


# Runtime handlers.


def _merge_handlers(answer: Any, runtimes: Runtimes, others: Sequence[ReportedStatus]) -> None:
    """Makes ``runtime_handlers`` the handlers of all runtimes, by their outer names."""
    merged = type(answer)()
    for handler in answer.runtime_handlers:
        # A pod with such a handler goes to the alternative runtime, even if the primary has one of the same name.
        if runtimes.of_handler(handler.name) is None:
            merged.runtime_handlers.add().CopyFrom(handler)
    listed = {handler.name for handler in merged.runtime_handlers}
    for names, said in zip(runtimes.others, others):
        own = [] if said.answer is None else list(said.answer.runtime_handlers)
        taken = listed | _add_configured(merged, names, own)
        for handler in own:
            if handler.name not in taken and runtimes.of_handler(handler.name) is None and _can_be_asked_for(handler):
                taken.add(handler.name)
                merged.runtime_handlers.add().CopyFrom(handler)
        listed.update(handler.name for handler in merged.runtime_handlers)
    answer.ClearField("runtime_handlers")
    answer.MergeFrom(merged)


def _can_be_asked_for(handler: Any) -> bool:
    return is_label(handler.name.decode("utf-8", "replace"))


def _add_configured(merged: Any, names: Names, own: List[Any]) -> Set[bytes]:
    """Adds the handlers that the configuration names. Returns their inner names.

    A runtime older than CRI 1.30 lists no handlers but has some. A newer one lists all that it has.
    """
    by_name = {handler.name: handler for handler in own}
    renamed: Set[bytes] = set()
    for outer, inner in names.handlers.items():
        if not is_label(outer.decode()) or (own and inner not in by_name):
            continue
        renamed.add(inner)
        handler = merged.runtime_handlers.add()
        if inner in by_name:
            handler.CopyFrom(by_name[inner])
        handler.name = outer
    return renamed


# Info.


def _add_info(answer: Any, key: str, text: str) -> None:
    if all(entry.key != key.encode() for entry in answer.info):
        answer.info.add(key=key.encode(), value=text.encode())


def _info_of(names: Names, said: ReportedStatus) -> str:
    """The info of an alternative runtime as one JSON object, or the reason why there is none."""
    if said.answer is None:
        return json.dumps({"error": said.message})
    info = pairs(said.answer.info)
    size = sum(len(key) + len(value) for key, value in info.items())
    if size > LARGEST_INFO:
        error = f'criproxy: the info of runtime "{names.runtime}" has {size} bytes, more than {LARGEST_INFO}'
        return json.dumps({"error": error})
    entries = (f"{_json(key, False)}: {_json(value, True)}" for key, value in info.items())
    return f"{{{', '.join(entries)}}}"


def _json(value: bytes, may_be_json: bool) -> str:
    """The value as JSON. A value that is JSON stays unchanged: Python would write some numbers differently."""
    text = value.decode("utf-8", "replace")
    if may_be_json:
        try:
            json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            pass
        else:
            return text
    return json.dumps(text)


def _refuse(constant: str) -> None:
    """Python accepts NaN and Infinity, which are not JSON."""
    raise ValueError(constant)
