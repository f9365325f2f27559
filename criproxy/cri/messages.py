"""The CRI's messages as protobuf classes, made when the program starts from ``api.proto`` (schema.py).

There are three sets of them. `api` has whole messages, for code that shows or answers calls. `cut` has messages with a
few named fields, for the relay: all other fields are unknown to them, and protobuf's C code copies these unchanged. So
fields that are newer than ``api.proto`` survive, and to parse a list of a thousand containers costs no more than to
parse its ids. `strict` has whole messages that are written as they are read, to see whether bytes are what they should
be (verify.py).
"""

from __future__ import annotations

from functools import cache
from typing import Any, Callable, Dict, Final, Iterable, List, Mapping, Optional, Set, Type

from google.protobuf.internal import api_implementation
from google.protobuf.message import Message

from criproxy.cri import descriptors
from criproxy.cri.descriptors import ENUM, MESSAGE, OPTIONAL, REPEATED, SCALARS
from criproxy.cri.schema import Schema, SchemaField, load

Classes = Dict[str, Type[Message]]
"""Message classes by the messages' names."""

Transform = Callable[[bytes], bytes]
"""Makes one message of another, both serialized. Raises DecodeError if what it gets is no message."""

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
    kind = SCALARS["bytes"]
    made = [descriptors.message(ENTRY, (descriptors.field("key", 1, kind), descriptors.field("value", 2, kind)))]
    for message, parts in wanted.items():
        fields = (schema.messages[message][part] for part in sorted(parts))
        made.append(descriptors.message(message, [_narrow(name, field, "bytes") for field in fields]))
    return _classes(name, made, wanted)


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
    entry = descriptors.field("entry", 1, SCALARS["bytes"], REPEATED)
    return _classes("criproxy.entries", (descriptors.message("List", (entry,)),), ("List",))["List"]


def _narrow(package: str, field: SchemaField, text: str) -> bytes:
    """A field without the type of an enumeration or a map. ``text``: the scalar type of a string."""
    kind, type_name = SCALARS.get(text if field.type == "string" else field.type, SCALARS["uint64"]), ""
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
            made.append(_narrow(package, field, "string"))
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
