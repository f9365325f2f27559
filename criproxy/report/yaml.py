"""CRI messages as YAML text for people, without secrets.

The structure is YAML's, a field a line; each value is JSON, which is YAML, too.

Never shown: fields that the schema marks ``debug_redact`` (the credentials of a pull); the values of environment
variables; the annotation in which kubectl keeps a pod's manifest, which holds the same values; and the
``info`` of verbose answers, which has them, too, and the runtime's own configuration.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Any, Callable, Iterator

from criproxy.cri.schema import SchemaField, load
from criproxy.cri.steps import Work, finish
from criproxy.cri.wire import DecodeError
from criproxy.text import escape

LIMIT = 60 * 1024
"""bytes of text: a record of the log holds little more (`record.LIMIT`)."""

_LINES_AT_ONCE = 100
"""They take about a millisecond."""
_REDACTED = "<redacted>"
_REDACTED_FIELDS = {("KeyValue", "value")}
_REDACTED_MAPS = {"info"}
_REDACTED_KEYS = {"kubectl.kubernetes.io/last-applied-configuration"}


def dump(message: str, body: bytes) -> str:
    """The serialized CRI message of this name as YAML, several lines, each with a newline at its end.

    Unknown fields and what does not fit into `LIMIT` are left out; a comment at the end says so. If ``body`` is not
    such a message, the comment is all there is.
    """
    return finish(dump_in_steps(message, body))


def dump_in_steps(message: str, body: bytes) -> Work[str]:
    """The same in steps, of which the first reads the message."""
    if message not in load().messages:
        return f"# {len(body)} bytes of an unknown message: {escape(message)}\n"
    from criproxy.cri.messages import api, parse  # they bring protobuf, which the daemon seldom needs

    text, size = [], 0
    try:
        parsed = parse(api()[message], body)
        for number, line in enumerate(_message(message, parsed), 1):
            if not number % _LINES_AT_ONCE:
                yield
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
                text.append(f"# {unknown} bytes in unknown fields")
    except (DecodeError, UnicodeDecodeError):
        return f"# {len(body)} bytes that are not a {message}\n"
    return "\n".join(text) + "\n"


def _unknown(message: Any) -> int:
    """The bytes that fields without a name take. The ways to look at them differ between releases of protobuf."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    size: int = message.ByteSize() - known.ByteSize()
    return size


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


def _field(message: str, field: SchemaField, value: Any) -> Iterator[str]:
    if field.redacted or (message, field.name) in _REDACTED_FIELDS:
        yield f"{field.name}: {_REDACTED}"
    elif field.map_value is not None:
        yield f"{field.name}:"
        for key in sorted(value):
            hidden = field.name in _REDACTED_MAPS or key in _REDACTED_KEYS
            yield f"  {_scalar(key)}: {_REDACTED if hidden else _scalar(value[key])}"
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


def _value(field: SchemaField, value: Any) -> Iterator[str]:
    schema = load()
    if field.type in schema.messages:
        yield from _message(field.type, value)
    elif field.type in schema.enums:
        yield next((name for name, number in schema.enums[field.type].items() if number == value), str(value))
    else:
        yield _scalar(value)


@cache
def _encoder() -> Callable[[Any], str]:
    import json  # the log of a node that nobody debugs has no message

    return json.JSONEncoder(ensure_ascii=False).encode


def _scalar(value: Any) -> str:
    """A number, a truth value or a text as JSON, of which YAML takes all but what is not printable: that is escaped."""
    if isinstance(value, bytes):
        value = value[: LIMIT + 1].decode(errors="backslashreplace")
    elif isinstance(value, str):
        value = value[: LIMIT + 1]
    return escape(_encoder()(value))
