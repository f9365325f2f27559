"""The Status of several runtimes in one answer.

The primary runtime's answer stays as it is. To its conditions comes one of each alternative runtime,
``ID/RuntimeReady``; its runtime handlers become those of all runtimes, by the names by which pods can ask for them; and
the ``info`` of a verbose answer gets each runtime's, under its id, and the proxy's own.
"""

from __future__ import annotations

import json
from typing import Any, List, NamedTuple, Sequence, Set

from criproxy.cri.identity import Names, Runtimes, is_label
from criproxy.cri.messages import cut

NOT_AVAILABLE = "RuntimeNotAvailable"
"""The reason of a runtime that is not there."""
NO_ANSWER = "RuntimeDoesNotAnswer"
"""The reason of a runtime that has not answered in time."""
FAILED = "RuntimeStatusFailed"
"""The reason of a runtime that has failed the call."""
NOT_REPORTED = "RuntimeReadyNotReported"
"""The reason of a runtime whose answer lacks the condition."""
OWN_INFO = "criproxy"
"""The key of the proxy's own entry among ``info``."""
LONGEST_TEXT = 4096
"""Of an alternative runtime's reason and message, bytes."""
LARGEST_INFO = 2**20
"""Of an alternative runtime's info, bytes."""

_READY, _NETWORK_READY = "RuntimeReady", "NetworkReady"
_VIEWS = cut(
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


class Said(NamedTuple):
    """What a runtime has said to Status: its answer (`read`), or why there is none."""

    answer: Any
    reason: str = ""
    """In CamelCase, as Kubernetes' reasons are."""
    message: str = ""


def wants_info(request: bytes) -> bool:
    """Whether a StatusRequest asks for a verbose answer. Raises DecodeError if it is none."""
    parsed: Any = _VIEWS["StatusRequest"].FromString(request)
    verbose: bool = parsed.verbose
    return verbose


def read(answer: bytes) -> Any:
    """A StatusResponse as `Said` has it. Raises DecodeError if it is none."""
    return _VIEWS["StatusResponse"].FromString(answer)


def merge(runtimes: Runtimes, primary: Said, others: Sequence[Said], own_info: str = "") -> bytes:
    """The StatusResponse for kubelet. ``others`` are what the alternative runtimes have said, in their order.

    ``own_info``: what the proxy says of itself, JSON; if there is none the answer is not a verbose one. The primary's
    answer is changed.
    """
    answer = primary.answer
    if answer is None:
        answer = _VIEWS["StatusResponse"]()
        for kind in (_READY, _NETWORK_READY):
            _add_condition(answer, kind, False, primary.reason, primary.message)
    for names, said in zip(runtimes.alternatives, others):
        _add_condition_of(answer, names, said)
    _merge_handlers(answer, runtimes, others)
    if own_info:
        _add_info(answer, OWN_INFO, own_info)
        for names, said in zip(runtimes.alternatives, others):
            _add_info(answer, names.runtime, _info_of(names, said))
    merged: bytes = answer.SerializeToString()
    return merged


# Conditions.


def _add_condition_of(answer: Any, names: Names, said: Said) -> None:
    """The condition of an alternative runtime: its own if it has one."""
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
    """A path in it need not be UTF-8."""
    return text.encode("utf-8", "replace")


def _text(value: bytes) -> str:
    """What kubelet's protobuf takes for a string: an alternative runtime's must not spoil the whole answer."""
    return value[:LONGEST_TEXT].decode("utf-8", "replace")


# Runtime handlers.


def _merge_handlers(answer: Any, runtimes: Runtimes, others: Sequence[Said]) -> None:
    """Lists the handlers by the names by which pods can ask for them."""
    merged = type(answer)()
    for handler in answer.runtime_handlers:
        # A pod that asks for an alternative runtime never gets to the primary, whatever that has of the name.
        if runtimes.of_handler(handler.name) is None:
            merged.runtime_handlers.add().CopyFrom(handler)
    listed = {handler.name for handler in merged.runtime_handlers}
    for names, said in zip(runtimes.alternatives, others):
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
    """Lists what has a name of kubelet's; gives the runtime's own names of that.

    A runtime older than CRI 1.30 lists no handlers, and can be asked for those that it has nevertheless; one that
    lists some has no others.
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


def _info_of(names: Names, said: Said) -> str:
    """An alternative runtime's info as one JSON object, or why there is none."""
    if said.answer is None:
        return json.dumps({"error": said.message})
    size = sum(len(entry.key) + len(entry.value) for entry in said.answer.info)
    if size > LARGEST_INFO:
        error = f'criproxy: the info of runtime "{names.runtime}" has {size} bytes, more than {LARGEST_INFO}'
        return json.dumps({"error": error})
    entries = (f"{_json(entry.key, False)}: {_json(entry.value, True)}" for entry in said.answer.info)
    return f"{{{', '.join(entries)}}}"


def _json(value: bytes, may_be_json: bool) -> str:
    """The value itself if it is JSON, which has numbers that would not come out of Python as they went in."""
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
    """Python reads NaN and Infinity, which are no JSON."""
    raise ValueError(constant)
