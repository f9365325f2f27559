"""CRI messages as YAML text, for people, without what must not be read by them.

Not shown, whoever logs: what the schema calls ``debug_redact`` (the credentials of a pull); the values of environment
variables; the annotation in which kubectl keeps a pod's manifest, which holds the same values; and what runtimes put
into ``info`` for a verbose request, which holds them too, as well as the runtime's own configuration.
"""

from __future__ import annotations

import base64
import math
import re
from itertools import chain
from typing import Any, Iterator, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.messages import api
from criproxy.cri.schema import Field, load

LIMIT = 60 * 1024
"""bytes of text: no more is made of a message, since no more would be written."""

_REDACTED = "<redacted>"
_REDACTED_FIELDS = {("KeyValue", "value")}
_REDACTED_MAPS = {"info"}
_REDACTED_KEYS = {"kubectl.kubernetes.io/last-applied-configuration"}

_PLAIN = re.compile(r"[A-Za-z_/][\w./@+=,-]*(?:[ :][\w./@+=,-]+)*", re.ASCII)
"""What needs no quotes and is a string to every reader, if it is none of the words below."""
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_LONGEST_KEY = 1000
"""characters: YAML lets a key of more than 1024 stand only after a question mark."""


def dump(message: str, body: bytes) -> str:
    """The serialized CRI message of this name as YAML, several lines, each with a newline at its end.

    What does not fit into `LIMIT` is left out, and so is what `body` has in fields unknown here; a comment at the end
    says so. If ``body`` is no such message, there is nothing but such a comment.
    """
    if message not in load().messages:
        return f"# {len(body)} bytes of a message unknown here: {escape(message)}\n"
    text, size = [], 0
    try:
        parsed = api()[message].FromString(body)
        for line in _message(message, parsed):
            encoded = line.encode()
            size += len(encoded) + 1
            if size > LIMIT:
                left = LIMIT - (size - len(encoded))
                text.append(encoded[: max(left, 0)].decode(errors="ignore"))
                text.append(f"# cut here: the whole message has {len(body)} bytes")
                break
            text.append(line)
        else:
            unknown = _unknown(parsed)
            if unknown:
                text.append(f"# {unknown} bytes in fields unknown here")
    except (DecodeError, UnicodeDecodeError):
        return f"# {len(body)} bytes that are no {message}\n"
    return "\n".join(text) + "\n"


def _unknown(message: Any) -> int:
    """The bytes that fields without a name take. The ways to look at them differ between releases of protobuf."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    size: int = message.ByteSize() - known.ByteSize()
    return size


def escape(text: str) -> str:
    """The text with everything but printable characters as ``\\n``, ``\\x1b``, ``\\u202e``."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if character == "\n":
        return "\\n"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _message(name: str, message: Any) -> Iterator[str]:
    fields = load().messages[name]
    lines = chain.from_iterable(
        _field(name, fields[descriptor.name], value) for descriptor, value in message.ListFields()
    )
    first = next(lines, None)
    if first is None:
        yield "{}"
        return
    yield first
    yield from lines


def _field(message: str, field: Field, value: Any) -> Iterator[str]:
    if field.redacted or (message, field.name) in _REDACTED_FIELDS:
        yield f"{field.name}: {_REDACTED}"
    elif field.map_value is not None:
        yield f"{field.name}:"
        for key in sorted(value):
            hidden = field.name in _REDACTED_MAPS or key in _REDACTED_KEYS
            for line in _entry(_scalar(key), _REDACTED if hidden else _scalar(value[key])):
                yield "  " + line
    elif field.repeated:
        yield f"{field.name}:"
        for item in value:
            mark = "  - "
            for line in _value(field, item):
                yield mark + line
                mark = "    "
    elif field.type in load().messages and value.ListFields():
        yield f"{field.name}:"
        for line in _value(field, value):
            yield "  " + line
    else:
        yield f"{field.name}: {next(_value(field, value))}"


def _entry(key: str, value: str) -> Tuple[str, ...]:
    return (f"{key}: {value}",) if len(key) <= _LONGEST_KEY else (f"? {key}", f": {value}")


def _value(field: Field, value: Any) -> Iterator[str]:
    schema = load()
    if field.type in schema.messages:
        yield from _message(field.type, value)
    elif field.type in schema.enums:
        yield next((name for name, number in schema.enums[field.type].items() if number == value), str(value))
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bytes):
        return _binary(value[: LIMIT + 1])
    return _string(value[: LIMIT + 1])


def _number(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, e, exponent = repr(value).partition("e")
    # YAML 1.1 takes a number with an exponent for one only if it has a point in it.
    return mantissa + (".0" if e and "." not in mantissa else "") + e + exponent


def _binary(value: bytes) -> str:
    try:
        return _string(value.decode())
    except UnicodeDecodeError:
        return f'!!binary "{base64.b64encode(value).decode()}"'


def _string(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
