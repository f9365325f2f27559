"""The wire format of protobuf as plainly as it can be written, and messages of the CRI that are not ours.

A `Tree` is a message's fields as they stand on the wire. It needs the schema only to know which fields are messages,
so it shows what a change has done to fields that nobody knows, and can hold what no protobuf class would write.
"""

from __future__ import annotations

import random
from typing import Any, Callable, Iterator, List, Optional, Tuple, Type, Union

from criproxy.cri.messages import api
from criproxy.cri.schema import SchemaField, load

try:
    from cri_api.v1 import api_pb2
except ImportError:  # it wants a newer protobuf than the oldest that we run with
    api_pb2 = None  # type: ignore[assignment]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Value = Union[int, bytes, "Tree"]
Tree = List[Tuple[int, int, Any]]
"""Fields in the order of the wire: number, wire type, value (a number, bytes, or a tree for a message)."""


def their_class(message: str) -> Type[Any]:
    """The message as somebody else's class, where there is one; ours for what is newer than theirs."""
    theirs: Optional[Type[Any]] = getattr(api_pb2, message, None)
    return api()[message] if theirs is None else theirs


def field_of(message: str, number: int) -> Optional[SchemaField]:
    """The schema's field of this number."""
    for field in load().messages.get(message, {}).values():
        if field.number == number:
            return field
    return None


def varint(value: int) -> bytes:
    """A number on the wire."""
    wire = b""
    while value >= 128:
        wire += bytes((value % 128 + 128,))
        value //= 128
    return wire + bytes((value,))


def _read_varint(wire: bytes, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        value |= (wire[at] & 0x7F) << shift
        shift += 7
        at += 1
        if wire[at - 1] < 0x80:
            return value, at


def tree_of(wire: bytes, message: str) -> Tree:
    """Reads a message."""
    tree: Tree = []
    at = 0
    while at < len(wire):
        tag, at = _read_varint(wire, at)
        number, kind = tag >> 3, tag & 7
        value: Any
        if kind == VARINT:
            value, at = _read_varint(wire, at)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(kind, 0)
            if kind == BYTES:
                size, at = _read_varint(wire, at)
            value, at = wire[at : at + size], at + size
        field = field_of(message, number)
        if field is not None and kind == BYTES and field.type in load().messages:
            value = tree_of(value, field.type)
        tree.append((number, kind, value))
    return tree


def wire_of(tree: Tree) -> bytes:
    """Writes a message."""
    wire = b""
    for number, kind, value in tree:
        wire += varint(number << 3 | kind)
        if kind == VARINT:
            wire += varint(value)
            continue
        data = wire_of(value) if isinstance(value, list) else value
        wire += (varint(len(data)) if kind == BYTES else b"") + data
    return wire


def sorted_tree(tree: Tree) -> Tree:
    """The same message in one order of its fields: what is repeated keeps its own."""
    fields = [(number, kind, sorted_tree(value) if isinstance(value, list) else value) for number, kind, value in tree]
    return sorted(fields, key=lambda field: field[0])


def renamed(tree: Tree, message: str, path: str, change: Callable[[bytes], bytes]) -> Tree:
    """The message with the fields at this path changed that are set."""
    first, _, rest = path.partition(".")
    out: Tree = []
    for number, kind, value in tree:
        field = field_of(message, number)
        if field is not None and field.name == first and kind == BYTES:
            if rest:
                value = renamed(value, field.type, rest, change)
            elif value:
                value = change(value)
        out.append((number, kind, value))
    return out


def with_unknown_fields(tree: Tree) -> Tree:
    """The message with fields in it that nobody knows, of every wire type, at every level."""
    fields = [
        (number, kind, with_unknown_fields(value) if isinstance(value, list) else value) for number, kind, value in tree
    ]
    unknown: Tree = [
        (1_001, BYTES, b"\xff\xfe no UTF-8 \x00"),
        (1_002, VARINT, 2**64 - 1),
        (1_003, FIXED32, b"\x80\x00\x7f\x00"),
        (1_004, FIXED64, b"abcdefgh"),
        (1_001, BYTES, b"again"),
        (2**29 - 1, BYTES, b""),
    ]
    return unknown[:3] + fields + unknown[3:]


def fill(message: Any, rng: random.Random, text: Callable[[str], str], chance: float = 1.0, depth: int = 0) -> None:
    """Sets each field of a message with this probability; ``text`` gives the strings by the fields' names."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() >= chance:
            continue
        repeated = is_repeated(field)
        count = rng.randint(1, 3) if repeated else 1
        if is_map(field):
            entries = getattr(message, field.name)
            for _ in range(count):
                entries[text("key")] = b"v" if field.message_type.fields_by_name["value"].type == 12 else text("value")
        elif field.message_type is not None:
            for _ in range(count):
                sub = getattr(message, field.name).add() if repeated else getattr(message, field.name)
                sub.SetInParent()
                fill(sub, rng, text, chance, depth + 1)
        else:
            values = [_scalar(field, rng, text) for _ in range(count)]
            if repeated:
                getattr(message, field.name).extend(values)
            else:
                setattr(message, field.name, values[0])


def _scalar(field: Any, rng: random.Random, text: Callable[[str], str]) -> Any:
    if field.type == field.TYPE_STRING:
        return text(field.name)
    if field.type == field.TYPE_BYTES:
        return rng.randbytes(5)
    if field.type == field.TYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values])
    if field.type == field.TYPE_BOOL:
        return True
    if field.type == field.TYPE_DOUBLE:
        return rng.random()
    return rng.choice((1, 2**31 - 1))


def is_repeated(field: Any) -> bool:
    """Whether a field of a descriptor is repeated, by whichever spelling this release of protobuf has for it."""
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == field.LABEL_REPEATED)


def is_map(field: Any) -> bool:
    """Whether a field of a descriptor is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def paths_to(
    message: str, wanted: Callable[[str, SchemaField], bool]
) -> Iterator[Tuple[List[Tuple[str, SchemaField]], SchemaField]]:
    """All ways through a message to fields that are ``wanted(message, field)``: the messages passed, then the field."""
    for field in load().messages[message].values():
        if wanted(message, field):
            yield [], field
        if field.type in load().messages:
            for way, found in paths_to(field.type, wanted):
                yield [(message, field), *way], found
