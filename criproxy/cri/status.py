"""Merges the StatusResponses of several runtimes.

The merged response is the primary runtime's, with these additions: a condition ``ID/RuntimeReady`` for each alternative
runtime; the runtime handlers of all runtimes, by the names that a RuntimeClass can have; and, if it is verbose, the
``info`` of each runtime under its id, and the proxy's own.
"""

from __future__ import annotations

from typing import Any, Dict, Final, List, NamedTuple, Sequence, Set, Tuple

from criproxy.cri.identity import Names, Runtimes, is_label
from criproxy.cri.rewrite import Drop, Rewriter
from criproxy.cri.schema import load
from criproxy.cri.views import Views, encode
from criproxy.cri.wire import length_field

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
_VIEWS: Final = Views(
    {
        "StatusRequest": ("verbose",),
        "StatusResponse": (
            *(f"status.conditions.{field}" for field in ("type", "status", "reason", "message")),
            "info",
            "runtime_handlers.name",
        ),
    },
)

_HANDLERS: Final = load().messages["StatusResponse"]["runtime_handlers"].number
_WITHOUT_HANDLERS: Final = Rewriter("StatusResponse", {"runtime_handlers": Drop()})
_WITHOUT_NAME: Final = Rewriter("RuntimeHandler", {"name": Drop()})


class ReportedStatus(NamedTuple):
    """A runtime's response to Status (`read`), or why there is none."""

    answer: Any
    reason: str = ""
    """In CamelCase, as ``RuntimeCondition.reason`` has to be."""
    message: str = ""


def wants_info(request: bytes) -> bool:
    """Whether a StatusRequest has ``verbose`` set. Raises DecodeError if it cannot be parsed."""
    verbose: bool = _VIEWS["StatusRequest"].read(request).verbose
    return verbose


def read(answer: bytes) -> Any:
    """Reads a StatusResponse. Raises DecodeError if it cannot be parsed."""
    return _VIEWS["StatusResponse"].read(answer)


def merge(runtimes: Runtimes, primary: ReportedStatus, others: Sequence[ReportedStatus], own_info: str = "") -> bytes:
    """The serialized StatusResponse for kubelet. ``others`` are those of `Runtimes.others`, in their order.

    ``own_info`` is the proxy's own info, as JSON. If it is empty the response is not verbose.
    """
    # Messages in a row are their merge: what is added stands behind the primary's own.
    answer = _VIEWS["StatusResponse"].unset if primary.answer is None else primary.answer
    parts: List[bytes] = [_WITHOUT_HANDLERS(answer.raw)]
    conditions: Set[bytes] = {condition.type for condition in answer.status.conditions}
    if primary.answer is None:
        for kind in (_READY, _NETWORK_READY):
            parts.append(_condition(conditions, kind, False, primary.reason, primary.message))
    for names, said in zip(runtimes.others, others):
        parts.append(_condition_of(conditions, names, said))
    parts += (length_field(_HANDLERS, handler) for handler in _handlers(answer, runtimes, others))
    if own_info:
        keys: Set[bytes] = set(answer.info)
        parts.append(_info(keys, OWN_INFO, own_info))
        for names, said in zip(runtimes.others, others):
            parts.append(_info(keys, names.runtime, _info_of(names, said)))
    return b"".join(parts)


# Conditions.


def _condition_of(there: Set[bytes], names: Names, said: ReportedStatus) -> bytes:
    """The condition of an alternative runtime: its own RuntimeReady, or why that is not known."""
    kind = f"{names.runtime}/{_READY}"
    if said.answer is None:
        return _condition(there, kind, False, said.reason, said.message)
    for condition in said.answer.status.conditions:
        if condition.type == _READY.encode():
            return _condition(there, kind, condition.status, _text(condition.reason), _text(condition.message))
    missing = f'criproxy: runtime "{names.runtime}" does not say whether it is ready'
    return _condition(there, kind, False, NOT_REPORTED, missing)


def _condition(there: Set[bytes], kind: str, status: bool, reason: str, message: str) -> bytes:
    """A piece of the response with a condition, unless there is one of that type."""
    if kind.encode() in there:
        return b""
    there.add(kind.encode())
    condition = {"type": kind.encode(), "status": status, "reason": reason.encode(), "message": _bytes(message)}
    return encode("StatusResponse", {"status": {"conditions": [condition]}})


def _bytes(text: str) -> bytes:
    """A message may quote a path, which need not be UTF-8."""
    return text.encode("utf-8", "replace")


def _text(value: bytes) -> str:
    """A valid protobuf string. An invalid one of an alternative runtime would make the whole response invalid."""
    return value[:LONGEST_TEXT].decode("utf-8", "replace")


# Runtime handlers.


def _handlers(answer: Any, runtimes: Runtimes, others: Sequence[ReportedStatus]) -> List[bytes]:
    """The runtime handlers of all runtimes, by their outer names."""
    # A pod with such a handler goes to the alternative runtime, even if the primary has one of the same name.
    kept = [handler for handler in answer.runtime_handlers if runtimes.of_handler(handler.name) is None]
    merged: List[bytes] = [handler.raw for handler in kept]
    listed: Set[bytes] = {handler.name for handler in kept}
    for names, said in zip(runtimes.others, others):
        own = [] if said.answer is None else list(said.answer.runtime_handlers)
        configured = _configured(names, own)
        merged += (raw for _, _, raw in configured)
        taken = listed.union(inner for _, inner, _ in configured)
        for handler in own:
            if handler.name not in taken and runtimes.of_handler(handler.name) is None and _can_be_asked_for(handler):
                taken.add(handler.name)
                listed.add(handler.name)
                merged.append(handler.raw)
        listed.update(outer for outer, _, _ in configured)
    return merged


def _can_be_asked_for(handler: Any) -> bool:
    return is_label(handler.name.decode("utf-8", "replace"))


def _configured(names: Names, own: List[Any]) -> List[Tuple[bytes, bytes, bytes]]:
    """The handlers that the configuration names: the outer name of each, its inner one, and the serialized handler.

    A runtime older than CRI 1.30 lists no handlers but has some. A newer one lists all that it has.
    """
    by_name = {handler.name: handler.raw for handler in own}
    found: List[Tuple[bytes, bytes, bytes]] = []
    for outer, inner in names.handlers.items():
        if is_label(outer.decode()) and (inner in by_name or not own):
            features = _WITHOUT_NAME(by_name.get(inner, b""))
            found.append((outer, inner, encode("RuntimeHandler", {"name": outer}) + features))
    return found


# Info.


def _info(there: Set[bytes], key: str, text: str) -> bytes:
    """A piece of the response with an entry, unless there is one with that key."""
    if key.encode() in there:
        return b""
    there.add(key.encode())
    entry = length_field(1, key.encode()) + length_field(2, text.encode())
    return encode("StatusResponse", {"info": entry})


def _info_of(names: Names, said: ReportedStatus) -> str:
    """The info of an alternative runtime as one JSON object, or the reason why there is none."""
    import json  # nobody but a person asks for it

    if said.answer is None:
        return json.dumps({"error": said.message})
    info: Dict[bytes, bytes] = said.answer.info
    size = sum(len(key) + len(value) for key, value in info.items())
    if size > LARGEST_INFO:
        error = f'criproxy: the info of runtime "{names.runtime}" has {size} bytes, more than {LARGEST_INFO}'
        return json.dumps({"error": error})
    entries = (f"{_json(key, False)}: {_json(value, True)}" for key, value in info.items())
    return f"{{{', '.join(entries)}}}"


def _json(value: bytes, may_be_json: bool) -> str:
    """The value as JSON. A value that is JSON stays unchanged: Python would write some numbers differently."""
    import json

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
