"""The CRI's messages as protobuf classes, made when the program starts from ``api.proto`` (schema.py).

There are two sets of them. `api` has every message whole, for whoever shows or answers calls. `cut` has only the
fields that somebody names, for the relay: what a message holds besides stays an unknown field, is copied by
protobuf's C code and comes out as it went in. So a field that did not exist when ``api.proto`` was written survives,
and a list of a thousand containers costs no more than its ids.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Dict, Iterable, Mapping, Set, Type

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from criproxy.cri.schema import Field, load

Classes = Dict[str, Type[Message]]
"""Message classes by the messages' names."""

_Proto = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Proto.TYPE_BOOL,
    "bytes": _Proto.TYPE_BYTES,
    "double": _Proto.TYPE_DOUBLE,
    "int32": _Proto.TYPE_INT32,
    "int64": _Proto.TYPE_INT64,
    "string": _Proto.TYPE_STRING,
    "uint32": _Proto.TYPE_UINT32,
    "uint64": _Proto.TYPE_UINT64,
}
ENTRY = "Entry"
"""In a cut schema: an entry of a ``map<string, string>``, with ``key`` and ``value`` (bytes)."""


def api(package: str = "runtime.v1") -> Classes:
    """Every message of the CRI, as classes of this protobuf package (its API version); made once."""
    return _api(package)


@cache
def _api(package: str) -> Classes:
    schema = load()
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for enum, values in schema.enums.items():
        # The values of proto3 enumerations share their file's scope: each goes into a message of its own.
        nested = file.message_type.add(name=f"{enum}Values").enum_type.add(name=enum)
        for name, number in values.items():
            nested.value.add(name=name, number=number)
    for name, fields in schema.messages.items():
        message = file.message_type.add(name=name)
        for field in fields.values():
            _whole(package, message, field)
    return _classes(file, schema.messages)


def _whole(package: str, message: descriptor_pb2.DescriptorProto, field: Field) -> None:
    schema = load()
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
    """Classes that know only the fields on these paths (dotted, as ``config.image.image``), by message.

    A string is ``bytes`` here, so that one which is not UTF-8 passes through as it would without us, and an
    enumeration is a number; a map is a list of `ENTRY` messages, which is the same on the wire and keeps its order.
    ``name`` tells one cut from another. Raises KeyError for a path that the schema does not have.
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


@cache
def entries() -> Type[Message]:
    """Any list of the CRI: its entries are in ``entry`` as the bytes that they are, and what else it has is unknown."""
    name = "criproxy.entries"
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    proto = file.message_type.add(name="List").field.add(name="entry", number=1)
    proto.type, proto.label = _Proto.TYPE_BYTES, _Proto.LABEL_REPEATED
    return _classes(file, ["List"])["List"]


def _narrow(package: str, message: descriptor_pb2.DescriptorProto, field: Field) -> None:
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


def _classes(file: descriptor_pb2.FileDescriptorProto, names: Iterable[str]) -> Classes:
    pool: Any = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_class(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names}


def message_class(descriptor: Any) -> Type[Message]:
    """The class for a message's descriptor, by whichever spelling this release of protobuf has for it."""
    factory: Any = message_factory
    if hasattr(factory, "GetMessageClass"):
        made: Type[Message] = factory.GetMessageClass(descriptor)
    else:  # before protobuf 4.22
        made = factory.MessageFactory(descriptor.file.pool).GetPrototype(descriptor)
    return made
