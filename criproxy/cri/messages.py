"""The CRI's messages as protobuf classes, made when the program starts from ``api.proto`` (schema.py).

`api` has them for code that shows or answers calls; the relay does without. `strict` has messages that are written as
they are read, to see whether bytes are what they should be (verify.py).
"""

from __future__ import annotations

from functools import cache
from typing import Any, Dict, Final, Iterable, List, Optional, Set, Type

from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError as NotDecoded
from google.protobuf.message import Message

from criproxy.cri import descriptors
from criproxy.cri.descriptors import ENUM, MESSAGE, OPTIONAL, REPEATED, SCALARS
from criproxy.cri.schema import Schema, SchemaField, load
from criproxy.cri.wire import DecodeError

Classes = Dict[str, Type[Message]]
"""Message classes by the messages' names."""

ENTRY: Final = "Entry"
"""In `strict`: an entry of a ``map<string, string>``, with ``key`` and ``value``."""


def parse(kind: Any, body: bytes) -> Any:
    """Parses a message of a class. Raises `criproxy.cri.wire.DecodeError`."""
    try:
        return kind.FromString(body)
    except (NotDecoded, ValueError) as error:  # releases of protobuf differ in how they refuse text
        raise DecodeError(str(error)) from error


def api(package: str = "runtime.v1") -> Classes:
    """Every message of the CRI, as classes in this protobuf package (`ApiVersion`). They are made once."""
    return _api(package)


@cache
def _api(package: str) -> Classes:
    return whole(load(), package)


def whole(schema: Schema, package: str) -> Classes:
    """Every message of a schema, as classes in this protobuf package."""
    # The values of proto3 enumerations share their file's scope: each goes into a message of its own.
    made = [
        descriptors.message(f"{enum}Values", (), enums=(descriptors.enum(enum, values),))
        for enum, values in schema.enums.items()
    ]
    made += (_whole(schema, package, name, fields.values()) for name, fields in schema.messages.items())
    return _classes(package, made, schema.messages)


def _whole(schema: Schema, package: str, message: str, fields: Iterable[SchemaField]) -> bytes:
    made: List[bytes] = []
    entries: List[bytes] = []
    for field in fields:
        kind, type_name = SCALARS.get(field.type, MESSAGE), ""
        if field.map_value is not None:
            entry = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
            entries.append(descriptors.map_entry(entry, SCALARS[field.map_value]))
            type_name = f".{package}.{message}.{entry}"
        elif field.type in schema.enums:
            kind, type_name = ENUM, f".{package}.{field.type}Values.{field.type}"
        elif kind == MESSAGE:
            type_name = f".{package}.{field.type}"
        made.append(descriptors.field(field.name, field.number, kind, _label(field), type_name))
    return descriptors.message(message, made, entries)


def _narrow(package: str, field: SchemaField) -> bytes:
    """A field without the type of an enumeration or a map."""
    kind, type_name = SCALARS.get(field.type, SCALARS["uint64"]), ""
    if field.map_value is not None:
        kind, type_name = MESSAGE, f".{package}.{ENTRY}"
    elif field.type in load().messages:
        kind, type_name = MESSAGE, f".{package}.{field.type}"
    return descriptors.field(field.name, field.number, kind, _label(field), type_name)


def _label(field: SchemaField) -> int:
    return REPEATED if field.repeated or field.map_value is not None else OPTIONAL


def strict(name: str, roots: Iterable[str]) -> Classes:
    """Classes with all fields of these messages and of those in them, for bytes that may be no such message.

    They parse text that is UTF-8 and nothing else. Every field has presence and a map is a list of `ENTRY` messages, so
    that a message of known fields, in the order of their numbers and each written once in the shortest way, is written
    as it was read.
    ``name`` is their protobuf package. Raises KeyError for a message that the schema does not have.
    """
    schema = load()
    made = [_present(ENTRY, (SchemaField("key", 1, "string"), SchemaField("value", 2, "string")), name)]
    done: Set[str] = set()
    rest = list(roots)
    while rest:
        message = rest.pop()
        if message in done:
            continue
        done.add(message)
        fields = schema.messages[message].values()
        rest += (field.type for field in fields if field.type in schema.messages)
        made.append(_present(message, fields, name))
    return _classes(name, made, done)


def _present(message: str, fields: Iterable[SchemaField], package: str) -> bytes:
    """A message whose values are written if they were read, though they may have their default.

    Each is the only one of a ``oneof``.
    """
    made: List[bytes] = []
    oneofs: List[str] = []
    for field in fields:
        if _label(field) == REPEATED or field.type in load().messages:
            made.append(_narrow(package, field))
            continue
        kind = SCALARS.get(field.type, SCALARS["uint64"])
        made.append(descriptors.field(field.name, field.number, kind, oneof=len(oneofs)))
        oneofs.append(f"{field.name}_presence")
    return descriptors.message(message, made, oneofs=oneofs)


def _in_c() -> Optional[Any]:
    """What protobuf has in C (upb, of protobuf 4 and newer); None if it is not used, or has other names.

    Its modules around that import all that protobuf has in Python, which takes longer and holds more than the C.
    """
    found = getattr(api_implementation, "_c_module", None) if api_implementation.Type() == "upb" else None
    return found if all(hasattr(found, name) for name in ("DescriptorPool", "MessageMeta")) else None


_UPB: Final = _in_c()


def _classes(package: str, messages: Iterable[bytes], names: Iterable[str]) -> Classes:
    pool: Any = _pool()
    pool.AddSerializedFile(descriptors.file(package, messages))
    return {name: message_class(pool.FindMessageTypeByName(f"{package}.{name}")) for name in names}


def _pool() -> Any:
    if _UPB is not None:
        return _UPB.DescriptorPool()
    from google.protobuf.descriptor_pool import DescriptorPool  # elsewhere it is not needed

    return DescriptorPool()


def message_class(descriptor: Any) -> Type[Message]:
    """The class for a message's descriptor. Releases of protobuf have different functions for it."""
    if _UPB is not None:
        of_upb: Type[Message] = _UPB.MessageMeta(
            descriptor.name, (Message,), {"DESCRIPTOR": descriptor, "__module__": None}
        )
        return of_upb
    from google.protobuf import message_factory  # elsewhere it is not needed

    factory: Any = message_factory
    if hasattr(factory, "GetMessageClass"):
        made: Type[Message] = factory.GetMessageClass(descriptor)
    else:  # before protobuf 4.22
        made = factory.MessageFactory(descriptor.file.pool).GetPrototype(descriptor)
    return made
