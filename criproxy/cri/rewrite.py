"""Changes the named fields of messages: paths are made into tables once, and these are followed along the bytes.

Nothing is parsed for it: what is not named is copied as it stands, in the order in which it stands. A message that is
there in several pieces, or a field that is there twice, is changed in each; so protobuf reads the same of it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Final, List, Mapping, Optional

from criproxy.cri.methods import METHODS, POD_PARTS, FieldKind, NamedFields
from criproxy.cri.schema import SchemaField, load
from criproxy.cri.views import Views
from criproxy.cri.wire import LENGTH, VARINT, DecodeError, field_at, varint, varint_at

if TYPE_CHECKING:  # compiled, these are numbers of C's, and else Python's
    from mypy_extensions import i64

Change = Callable[[bytes], bytes]
"""Makes the new value of a field of the old one."""
NumberChange = Callable[[int], int]
"""The same of a field with a number of 64 bits without a sign."""


def _paths_of_rows() -> Dict[str, List[str]]:
    paths: Dict[str, List[str]] = {}
    for row in METHODS.values():
        for message, fields in ((row.rpc.request, row.request_fields), (row.rpc.response, row.response_fields)):
            paths.setdefault(message, []).extend(field.path for field in fields)
        paths[row.rpc.request].extend(path for path in (row.owner_field, row.requires) if path)
        paths[row.rpc.request].extend(path for path, _ in row.selectors)
        paths[row.rpc.request].extend(f"{pod}.{part}" for pod in row.pods for part in POD_PARTS)
    return paths


EVEN_UNSET: Final = frozenset((FieldKind.POD_HANDLER,))
"""Kinds of fields that are changed where they are empty, too."""

VIEWS: Final[Views] = Views(_paths_of_rows())
"""Every message that a row speaks of, with the fields that it names."""

MOST_ELEMENTS: Final = 4096
"""The most elements of a repeated field, which take some milliseconds. A pod has some hundred containers at most; lists
are changed in parts (incremental.py)."""

_OF_SHORT_TAGS: Final = 16
"""The numbers below it are those of fields whose tag is one byte."""


class Text:
    """What becomes of a field with a string. ``even_unset``: whether of one that is not there, too."""

    __slots__ = ("change", "even_unset")

    def __init__(self, change: Change, even_unset: bool = False) -> None:
        self.change = change
        self.even_unset = even_unset


class Number:
    """What becomes of a field with a number, if it is there."""

    __slots__ = ("change",)

    def __init__(self, change: NumberChange) -> None:
        self.change = change


class Drop:
    """The field goes."""

    __slots__ = ()


Tree = Dict[str, Any]
"""By the names of a message's fields: a tree for one that is a message, and else `Text`, `Number` or `Drop`."""


def renaming(message: str, fields: NamedFields, changes: Mapping[FieldKind, Change]) -> Rewriter:
    """What changes these fields of a ``message``, as far as their kinds have a change.

    It raises what a change raises. Fields that are not set stay so but for those of `EVEN_UNSET`.
    """
    tree: Tree = {}
    for field in fields:
        if field.kind in changes:
            *parents, last = field.path.split(".")
            at = tree
            for part in parents:
                at = at.setdefault(part, {})
            at[last] = Text(changes[field.kind], field.kind in EVEN_UNSET)
    return Rewriter(message, tree, MOST_ELEMENTS)


class _Field:
    """A field that changes. One of ``text``, ``number`` and ``inner`` is set, or it goes."""

    __slots__ = ("bit", "even_empty", "inner", "name", "number", "repeated", "tag", "text", "wire")

    def __init__(self, field: SchemaField, below: Any, most: int) -> None:
        self.name = field.name
        self.repeated = field.repeated
        self.bit: i64 = 1 << field.number
        """Stands for the field in a set of fields."""
        self.text: Optional[Change] = below.change if isinstance(below, Text) else None
        self.number: Optional[NumberChange] = below.change if isinstance(below, Number) else None
        self.inner: Optional[Rewriter] = Rewriter(field.type, below, most) if isinstance(below, dict) else None
        self.even_empty = field.repeated or (isinstance(below, Text) and below.even_unset)
        in_bytes = field.type in ("string", "bytes") or field.type in load().messages
        self.wire: i64 = LENGTH if in_bytes else VARINT
        self.tag = varint(field.number << 3 | self.wire)


class Rewriter:
    """Changes fields of one kind of message: a `criproxy.cri.steps.Transform`.

    ``tree`` says which, and how; none of their numbers is above 62. ``most``: so many elements a repeated field with a
    change may have.
    """

    __slots__ = ("_fields", "_most", "_unset")

    def __init__(self, message: str, tree: Tree, most: int = sys.maxsize) -> None:
        known = load().messages[message]
        self._most = most
        self._fields: List[Optional[_Field]] = [None] * _OF_SHORT_TAGS if tree else []
        self._unset: List[_Field] = []
        """Those that are changed where they are not set, too."""
        for name, below in tree.items():
            field = known[name]
            self._fields += [None] * (field.number + 1 - len(self._fields))
            made = self._fields[field.number] = _Field(field, below, most)
            if isinstance(below, Text) and below.even_unset:
                self._unset.append(made)

    def __call__(self, body: bytes) -> bytes:
        """The changed message. Raises DecodeError if it does not consist of whole fields, at every level that is
        looked at, or a repeated field with a change has too many elements."""
        made = self._changed(body, 0, len(body), True) if self._fields else None
        return body if made is None else made

    # The fields are followed one by one. What stands between two that change is copied as one slice: `copied` is where
    # that begins. A message that changes gets a new length, so what is in it is put together first.
    def _changed(self, body: bytes, at: i64, end: i64, first: bool) -> Optional[bytes]:
        """The changed message between two offsets; None if nothing in it changes.

        ``first``: whether no other piece of the same message has been before. What is not set has its new value at the
        front then, so that another piece can set it.
        """
        parts: List[bytes] = []
        fields = self._fields
        known: i64 = len(fields)
        seen: i64 = 0
        elements: Dict[str, int] = {}
        copied = at
        while at < end:
            start = at
            tag: i64 = body[at]
            wire: i64 = LENGTH
            if tag & 0x87 == LENGTH and tag > 7 and at + 1 < end and body[at + 1] < 0x80:  # most fields
                begin: i64 = at + 2
                at = begin + body[at + 1]
                if at > end:
                    raise DecodeError("it is cut off")
                field = fields[tag >> 3]
            else:
                number, wire, begin, at = field_at(body, at, end)
                field = fields[number] if number < known else None
            if field is None or field.wire != wire:
                continue
            earlier = seen & field.bit
            seen |= field.bit
            if field.repeated:
                _count(elements, field.name, self._most)
            new: Optional[bytes] = None
            if field.text is not None:
                if begin < at or field.even_empty:
                    old = body[begin:at]
                    value = field.text(old)
                    new = None if value is old else value
            elif field.inner is not None:
                new = field.inner._changed(body, begin, at, field.repeated or not earlier)
            else:
                # A number, or what goes.
                parts.append(body[copied:start])
                if field.number is not None:
                    parts += (field.tag, varint(field.number(varint_at(body, begin, at)[0])))
                copied = at
            if new is not None:
                if copied < start:
                    parts.append(body[copied:start])
                parts.append(field.tag)
                parts.append(varint(len(new)))
                parts.append(new)
                copied = at
        front = self._front(seen) if first and self._unset else b""
        if front:
            parts.insert(0, front)
        if not parts:
            return None
        parts.append(body[copied:end])
        return b"".join(parts)

    def _front(self, seen: i64) -> bytes:
        """The new values of those fields that are not set."""
        parts: List[bytes] = []
        for field in self._unset:
            value = field.text(b"") if field.text is not None and not seen & field.bit else b""
            if value:
                parts += (field.tag, varint(len(value)), value)
        return b"".join(parts)


def _count(elements: Dict[str, int], name: str, most: int) -> None:
    """Another element of a repeated field. Raises DecodeError if they are too many."""
    count = elements.get(name, 0) + 1
    if count > most:
        raise DecodeError(f"{name} has more than {most} elements")
    elements[name] = count
