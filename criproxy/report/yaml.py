"""A message of the CRI as YAML, for people to read; what nobody may read is not in it.

Not shown are passwords and tokens (the schema says which fields: ``debug_redact``), the values of a container's
environment and what repeats them, since that is where people keep theirs.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Iterator, Optional

from google.protobuf.message import DecodeError

from criproxy.cri.messages import api
from criproxy.cri.schema import load

REDACTED = "<redacted>"
_ENVIRONMENT = ("KeyValue", "value")
_REPEATS_THE_ENVIRONMENT = frozenset(("kubectl.kubernetes.io/last-applied-configuration",))
_VERBOSE = "info"
"""The map of implementation details in a verbose status; runtimes put the container's whole configuration there."""

_INDENT = "  "
# What YAML reads as a string without quotes, whatever its version makes of words like `no`.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*")
_WORDS = frozenset(["y", "n", "yes", "no", "true", "false", "on", "off", "null"])


def dump(message: str, body: bytes, limit: Optional[int] = None) -> str:
    """The serialized ``message`` (a name of the schema's) as YAML, one line a field; empty if nothing is set.

    No more than about ``limit`` bytes are made; what does not parse gives a comment that says so.
    """
    try:
        parsed = api()[message].FromString(body)
    except DecodeError as error:
        return f"# {len(body)} bytes that are no {message}: {error}\n"
    lines = []
    size = 0
    for line in _fields(message, parsed, ""):
        lines.append(line + "\n")
        size += len(line) + 1
        if limit is not None and size > limit:
            lines.append("# and more\n")
            break
    return "".join(lines)


def _fields(message: str, parsed: Any, indent: str) -> Iterator[str]:
    schema = load().messages[message]
    for descriptor, value in parsed.ListFields():
        field = schema[descriptor.name]
        name = f"{indent}{field.name}:"
        if field.redacted or (message, field.name) == _ENVIRONMENT:
            yield f"{name} {REDACTED}"
        elif field.map_value is not None:
            yield name
            yield from _map(field.name, value, indent + _INDENT)
        elif field.repeated:
            yield name
            for element in value:
                yield from _element(descriptor, field.type, element, indent)
        elif field.type in load().messages:
            yield name if value.ListFields() else f"{name} {{}}"
            yield from _fields(field.type, value, indent + _INDENT)
        else:
            yield f"{name} {_scalar(descriptor, value)}"


def _element(descriptor: Any, kind: str, element: Any, indent: str) -> Iterator[str]:
    """An element of a list: a message's first field stands beside the dash, the others below it."""
    if kind not in load().messages:
        yield f"{indent}- {_scalar(descriptor, element)}"
        return
    dash = f"{indent}- "
    for line in _fields(kind, element, indent + _INDENT):
        yield dash + line[len(dash) :]
        dash = indent + _INDENT
    if not element.ListFields():
        yield f"{indent}- {{}}"


def _map(name: str, value: Any, indent: str) -> Iterator[str]:
    for key in sorted(value):
        if name == _VERBOSE:
            shown = f"<{len(value[key])} characters>"
        else:
            shown = REDACTED if key in _REPEATS_THE_ENVIRONMENT else _string(str(value[key]))
        yield f"{indent}{_string(key)}: {shown}"


def _scalar(descriptor: Any, value: Any) -> str:
    if descriptor.enum_type is not None:
        known = descriptor.enum_type.values_by_number.get(value)
        return known.name if known is not None else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"!!binary {_string(base64.b64encode(value).decode())}"
    if isinstance(value, str):
        return _string(value)
    return repr(value)


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text)
