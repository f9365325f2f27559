"""Writes protobuf's own description of messages (``google/protobuf/descriptor.proto``), as far as the CRI needs it.

protobuf can do it, too (``descriptor_pb2``), with all that it has in Python: five times the code of the C that reads
and writes messages, for a few kilobytes once. The tests compare what is written with what that makes of it.
"""

from __future__ import annotations

from typing import Dict, Final, Iterable

from criproxy.cri.wire import length_field, varint_field

OPTIONAL: Final = 1
REPEATED: Final = 3
"""FieldDescriptorProto.Label"""
ENUM: Final = 14
MESSAGE: Final = 11
"""FieldDescriptorProto.Type"""
SCALARS: Final[Dict[str, int]] = {
    "bool": 8,
    "bytes": 12,
    "double": 1,
    "int32": 5,
    "int64": 3,
    "string": 9,
    "uint32": 13,
    "uint64": 4,
}
"""The same of the scalar types."""
_MAP_ENTRY: Final = b"\x38\x01"
"""MessageOptions.map_entry"""


def field(name: str, number: int, kind: int, label: int = OPTIONAL, type_name: str = "", oneof: int = -1) -> bytes:
    """FieldDescriptorProto. ``type_name``: that of a `MESSAGE` or `ENUM`; ``oneof``: the index of the one it is in."""
    parts = [_text(1, name), varint_field(3, number), varint_field(4, label), varint_field(5, kind)]
    if type_name:
        parts.append(_text(6, type_name))
    if oneof >= 0:
        parts.append(varint_field(9, oneof))
    return b"".join(parts)


def message(
    name: str,
    fields: Iterable[bytes],
    nested: Iterable[bytes] = (),
    enums: Iterable[bytes] = (),
    oneofs: Iterable[str] = (),
) -> bytes:
    """DescriptorProto: a message with these fields, messages and enumerations, and with oneofs of these names."""
    return b"".join(
        (
            _text(1, name),
            *(length_field(2, each) for each in fields),
            *(length_field(3, each) for each in nested),
            *(length_field(4, each) for each in enums),
            *(length_field(8, _text(1, each)) for each in oneofs),
        )
    )


def map_entry(name: str, value: int) -> bytes:
    """DescriptorProto of the entries of a map from texts to values of this scalar type."""
    fields = (field("key", 1, SCALARS["string"]), field("value", 2, value))
    return message(name, fields) + length_field(7, _MAP_ENTRY)


def enum(name: str, values: Dict[str, int]) -> bytes:
    """EnumDescriptorProto."""
    each = (_text(1, value) + varint_field(2, number) for value, number in values.items())
    return _text(1, name) + b"".join(length_field(2, value) for value in each)


def file(package: str, messages: Iterable[bytes]) -> bytes:
    """FileDescriptorProto: a file of that package's name, in proto3."""
    parts = [_text(1, f"{package}.proto"), _text(2, package)]
    parts += (length_field(4, each) for each in messages)
    parts.append(_text(12, "proto3"))
    return b"".join(parts)


def _text(number: int, value: str) -> bytes:
    return length_field(number, value.encode("ascii"))
