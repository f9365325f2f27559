"""The CRI's messages as protobuf classes, made when the program starts from ``api.proto`` (schema.py).

There are three sets of them. `api` has whole messages, for code that shows or answers calls. `cut` has messages with a
few named fields, for the relay: all other fields are unknown to them, and protobuf's C code copies these unchanged. So
fields that are newer than ``api.proto`` survive, and to parse a list of a thousand containers costs no more than to
parse its ids. `strict` has whole messages that are written as they are read, to see whether bytes are what they should
be (verify.py).
"""

from __future__ import annotations

from functools import cache
from typing import Any, Callable, Dict, Final, Iterable, Mapping, Set, Type

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from criproxy.cri.schema import Schema, SchemaField, load

Classes = Dict[str, Type[Message]]
"""Message classes by the messages' names."""

Transform = Callable[[bytes], bytes]
"""Makes one message of another, both serialized. Raises DecodeError if what it gets is no message."""

_Proto = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bool": _Proto.TYPE_BOOL,
    "bytes": _Proto.TYPE_BYTES,
    "double": _Proto.TYPE_DOUBLE,
    "int32": _Proto.TYPE_INT32,
    "int64": _Proto.TYPE_INT64,
    "string": _Proto.TYPE_STRING,
    "uint32": _Proto.TYPE_UINT32,
    "uint64": _Proto.TYPE_UINT64,
}
ENTRY: Final = "Entry"
"""In a cut schema: an entry of a ``map<string, string>``, with ``key`` and ``value`` (bytes)."""


def api(package: str = "runtime.v1") -> Classes:
    """Every message of the CRI, as classes in this protobuf package (`ApiVersion`). They are made once."""
    return _api(package)


@cache
def _api(package: str) -> Classes:
    return whole(load(), package)


def whole(schema: Schema, package: str) -> Classes:
    """Every message of a schema, as classes in this protobuf package."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for enum, values in schema.enums.items():
        # The values of proto3 enumerations share their file's scope: each goes into a message of its own.
        nested = file.message_type.add(name=f"{enum}Values").enum_type.add(name=enum)
        for name, number in values.items():
            nested.value.add(name=name, number=number)
    for name, fields in schema.messages.items():
        message = file.message_type.add(name=name)
        for field in fields.values():
            _whole(schema, package, message, field)
    return _classes(file, schema.messages)


def _whole(schema: Schema, package: str, message: descriptor_pb2.DescriptorProto, field: SchemaField) -> None:
    proto = message.field.add(name=field.name, number=field.number)
    repeated = field.repeated or field.map_value is not None
    proto.label = _Proto.LABEL_REPEATED if repeated else _Proto.LABEL_OPTIONAL
    if field.map_value is not None:
        entry = message.nested_type.add(name="".join(part.capitalize() for part in field.name.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_Proto.TYPE_STRING, label=_Proto.LABEL_OPTIONAL)
        entry.field.add(name="value", number=2, type=_SCALARS[field.map_value], label=_Proto.LABEL_OPTIONAL)
        proto.type = _Proto.TYPE_MESSAGE
        proto.type_name = f".{package}.{message.name}.{entry.name}"
    elif field.type in _SCALARS:
        proto.type = _SCALARS[field.type]
    elif field.type in schema.enums:
        proto.type = _Proto.TYPE_ENUM
        proto.type_name = f".{package}.{field.type}Values.{field.type}"
    else:
        proto.type = _Proto.TYPE_MESSAGE
        proto.type_name = f".{package}.{field.type}"


def cut(name: str, paths: Mapping[str, Iterable[str]]) -> Classes:
    """Classes with only the fields on these dotted paths (``config.image.image``), by message.

    A string is ``bytes`` here, so that one which is not UTF-8 passes through unchanged; an
    enumeration is a number (`enum_value` reads it); a map is a list of `ENTRY` messages, which is the same on the wire
    and keeps its order (`pairs` reads it).
    ``name`` is their protobuf package. Raises KeyError for a path that the schema does not have.
    """
    schema = load()
    wanted: Dict[str, Set[str]] = {}
    for message, dotted in paths.items():
        wanted.setdefault(message, set())
        for path in dotted:
            at = message
            for part in path.split("."):
                field = schema.messages[at][part]
                wanted.setdefault(at, set()).add(part)
                at = field.type
                if at in schema.messages:
                    wanted.setdefault(at, set())
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    entry = file.message_type.add(name=ENTRY)
    for number, part in enumerate(("key", "value"), 1):
        entry.field.add(name=part, number=number, type=_Proto.TYPE_BYTES, label=_Proto.LABEL_OPTIONAL)
    for message, parts in wanted.items():
        proto = file.message_type.add(name=message)
        for part in sorted(parts):
            _narrow(name, proto, schema.messages[message][part])
    return _classes(file, wanted)


def pairs(entries: Iterable[Any]) -> Dict[bytes, bytes]:
    """A map of a cut message, read as protobuf reads it: of a key that stands twice the last value counts.

    Source: "Maps", "Backwards compatibility" and "Last One Wins" in protobuf's language and encoding guides.
    """
    return {entry.key: entry.value for entry in entries}


def enum_value(number: int) -> int:
    """A number of an enumeration in a cut message, read as protobuf reads it: the low 32 bits, with a sign."""
    return (number & 0xFFFFFFFF ^ 0x80000000) - 0x80000000


@cache
def entries() -> Type[Message]:
    """The class for any list of the CRI: ``entry`` has the bytes of each entry, and all other fields are unknown."""
    name = "criproxy.entries"
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    proto = file.message_type.add(name="List").field.add(name="entry", number=1)
    proto.type, proto.label = _Proto.TYPE_BYTES, _Proto.LABEL_REPEATED
    return _classes(file, ["List"])["List"]


def _narrow(package: str, message: descriptor_pb2.DescriptorProto, field: SchemaField) -> None:
    proto = message.field.add(name=field.name, number=field.number)
    repeated = field.repeated or field.map_value is not None
    proto.label = _Proto.LABEL_REPEATED if repeated else _Proto.LABEL_OPTIONAL
    if field.map_value is not None:
        proto.type, proto.type_name = _Proto.TYPE_MESSAGE, f".{package}.{ENTRY}"
    elif field.type in load().messages:
        proto.type, proto.type_name = _Proto.TYPE_MESSAGE, f".{package}.{field.type}"
    elif field.type in load().enums:
        proto.type = _Proto.TYPE_UINT64
    else:
        proto.type = _Proto.TYPE_BYTES if field.type == "string" else _SCALARS[field.type]


def strict(name: str, roots: Iterable[str]) -> Classes:
    """Classes with all fields of these messages and of those in them, for bytes that may be no such message.

    They parse text that is UTF-8 and nothing else. Every field has presence and a map is a list of `ENTRY` messages, so
    that a message of known fields, in the order of their numbers and each written once in the shortest way, is written
    as it was read.
    ``name`` is their protobuf package. Raises KeyError for a message that the schema does not have.
    """
    schema = load()
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    entry = file.message_type.add(name=ENTRY)
    for number, part in enumerate(("key", "value"), 1):
        _present(entry, part, number, _Proto.TYPE_STRING)
    done: Set[str] = set()
    rest = list(roots)
    while rest:
        message = rest.pop()
        if message in done:
            continue
        done.add(message)
        proto = file.message_type.add(name=message)
        for field in schema.messages[message].values():
            if field.type in schema.messages:
                rest.append(field.type)
            if field.repeated or field.map_value is not None or field.type in schema.messages:
                _narrow(name, proto, field)
                if field.type == "string":
                    proto.field[-1].type = _Proto.TYPE_STRING
            else:
                _present(proto, field.name, field.number, _SCALARS.get(field.type, _Proto.TYPE_UINT64))
    return _classes(file, done)


def _present(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: int) -> None:
    """Adds a field that is written if it was read, though it may have its default: the only one of a ``oneof``."""
    field = message.field.add(
        name=name, number=number, label=_Proto.LABEL_OPTIONAL, oneof_index=len(message.oneof_decl)
    )
    field.type = kind  # type: ignore[assignment]
    message.oneof_decl.add(name=f"{name}_presence")


def _classes(file: descriptor_pb2.FileDescriptorProto, names: Iterable[str]) -> Classes:
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_class(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names}


def message_class(descriptor: Any) -> Type[Message]:
    """The class for a message's descriptor. Releases of protobuf have different functions for it."""
    factory: Any = message_factory
    if hasattr(factory, "GetMessageClass"):
        made: Type[Message] = factory.GetMessageClass(descriptor)
    else:  # before protobuf 4.22
        made = factory.MessageFactory(descriptor.file.pool).GetPrototype(descriptor)
    return made
