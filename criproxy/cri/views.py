"""Messages of which a few named fields are read, and all others passed over.

What is read is never written again: who changes a message copies it but for the fields that change (rewrite.py). So
fields that are newer than ``api.proto`` survive, and what is read of a list of a thousand containers is their ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Final, Iterable, List, Mapping, Optional, Set, Tuple

from criproxy.cri.schema import SchemaField, load
from criproxy.cri.wire import LENGTH, VARINT, field_at, length_field, varint_at, varint_field

if TYPE_CHECKING:  # compiled, these are numbers of C's, and else Python's
    from mypy_extensions import i64

_TEXT: Final = 0
_NUMBER: Final = 1
_MESSAGE: Final = 2
_MAP: Final = 3

_Read = Callable[[int], Any]
_READ: Final[Dict[str, _Read]] = {
    "bool": bool,
    "int32": lambda number: _signed(number & 0xFFFFFFFF, 32),
    "int64": lambda number: _signed(number, 64),
    "uint32": lambda number: number & 0xFFFFFFFF,
    "uint64": lambda number: number,
}
"""What a number of 64 bits without a sign is in a field of such a type."""


def _signed(number: int, bits: int) -> int:
    return number - (1 << bits) if number >> (bits - 1) else number


def enum_value(number: int) -> int:
    """What a number of 64 bits without a sign is in a field with an enumeration: the low 32, with a sign."""
    return _signed(number & 0xFFFFFFFF, 32)


class _Field:
    """A field that is read. ``view`` reads what is in it if that is a message."""

    __slots__ = ("kind", "name", "read", "repeated", "view")

    def __init__(self, field: SchemaField, view: Optional[View]) -> None:
        self.name = field.name
        self.repeated = field.repeated
        self.view = view
        self.read: _Read = _READ.get(field.type, enum_value)
        kind = _NUMBER
        if field.map_value is not None:
            kind = _MAP
        elif view is not None:
            kind = _MESSAGE
        elif field.type in ("string", "bytes"):
            kind = _TEXT
        self.kind: i64 = kind

    @property
    def default(self) -> Any:
        """What it has if it is not set."""
        if self.repeated:
            return ()
        if self.view is not None:
            return self.view.unset
        return {_TEXT: b"", _MAP: {}}.get(self.kind, self.read(0))


class View:
    """Reads messages of one kind. ``unset`` is what it reads of one that is not there.

    What is read has the fields as attributes: a string as ``bytes``, so that one which is not UTF-8 is no different; an
    enumeration as its number; a map as a dictionary of bytes; a message as what its own view reads; what is repeated as
    a sequence of these. What is not set has its default. ``raw`` has the message's bytes, and ``is_set`` says whether
    it is there at all.
    """

    __slots__ = ("_fields", "_made", "unset")

    def __init__(self, message: str, fields: Iterable[Tuple[SchemaField, Optional[View]]]) -> None:
        self._fields: List[Optional[_Field]] = []
        defaults: Dict[str, Any] = {"raw": b"", "is_set": True}
        for field, view in fields:
            self._fields += [None] * (field.number + 1 - len(self._fields))
            made = self._fields[field.number] = _Field(field, view)
            defaults[field.name] = made.default
        self._made: Any = type(message, (), defaults)
        self.unset: Any = self._made()
        self.unset.is_set = False

    @property
    def fields(self) -> Dict[str, Optional[View]]:
        """The names of the fields that it reads, with the views of those that are messages."""
        return {field.name: field.view for field in self._fields if field is not None}

    def read(self, body: bytes) -> Any:
        """Reads a message. Raises DecodeError if the bytes are not whole fields.

        Of a field that stands there several times the last value counts, and messages are the merge of their pieces
        ("Last One Wins"). One of another wire type than its own is none that anybody knows.
        """
        made = self._made()
        made.raw = body
        pieces: Dict[str, Tuple[View, List[bytes]]] = {}
        several: Dict[str, Any] = {}
        fields = self._fields
        known: i64 = len(fields)
        at: i64 = 0
        end: i64 = len(body)
        while at < end:
            number, wire, begin, at = field_at(body, at, end)
            field = fields[number] if number < known else None
            if field is None or (wire != VARINT if field.kind == _NUMBER else wire != LENGTH):
                continue
            name = field.name
            if field.kind == _NUMBER:
                setattr(made, name, field.read(varint_at(body, begin, at)[0]))
            elif field.kind == _MAP:
                key, value = _entry(body, begin, at)
                several.setdefault(name, {})[key] = value
            elif field.repeated:
                view = field.view
                element = body[begin:at]
                several.setdefault(name, []).append(element if view is None else view.read(element))
            elif field.view is not None:
                pieces.setdefault(name, (field.view, []))[1].append(body[begin:at])
            else:
                setattr(made, name, body[begin:at])
        for name, values in several.items():
            setattr(made, name, values)
        for name, (view, parts) in pieces.items():
            setattr(made, name, view.read(b"".join(parts)))
        return made


def _entry(body: bytes, at: int, end: int) -> Tuple[bytes, bytes]:
    """The key and the value of an entry of a ``map<string, string>``."""
    key = value = b""
    while at < end:
        number, wire, begin, at = field_at(body, at, end)
        if wire == LENGTH and number == 1:
            key = body[begin:at]
        elif wire == LENGTH and number == 2:
            value = body[begin:at]
    return key, value


class Views:
    """Views by the messages' names. Each is made when it is first asked for: most methods are seldom called.

    They read the fields on dotted paths (``config.image.image``), which ``paths`` has by message; a message that is in
    several others has one view for all of them.
    """

    __slots__ = ("_made", "_wanted")

    def __init__(self, paths: Mapping[str, Iterable[str]]) -> None:
        schema = load()
        self._made: Dict[str, View] = {}
        self._wanted: Dict[str, Set[str]] = {}
        for message, dotted in paths.items():
            self._wanted.setdefault(message, set())
            for path in dotted:
                at = message
                for part in path.split("."):
                    self._wanted.setdefault(at, set()).add(part)
                    at = schema.messages[at][part].type

    def __getitem__(self, message: str) -> View:
        """The view of a message. Raises KeyError for one that no path has."""
        view = self._made.get(message)
        if view is None:
            known = load().messages
            fields = [known[message][name] for name in sorted(self._wanted[message])]
            parts = [(field, self._part(field.type) if field.type in known else None) for field in fields]
            view = self._made[message] = View(message, parts)
        return view

    def _part(self, message: str) -> View:
        """The view of a message in another one, of which a path may say no more than that it is there."""
        self._wanted.setdefault(message, set())
        return self[message]

    @property
    def messages(self) -> List[str]:
        """The names of all messages that have a view."""
        return list(self._wanted)


def encode(message: str, fields: Mapping[str, Any]) -> bytes:
    """A message with these fields, by their names: bytes, numbers, other messages in dictionaries, and lists of these.

    Raises KeyError for a field that the schema does not have.
    """
    known = load().messages[message]
    parts: List[bytes] = []
    for name, values in fields.items():
        field = known[name]
        for value in values if isinstance(values, list) else (values,):
            if isinstance(value, int):
                parts.append(varint_field(field.number, value))
            else:
                inner = value if isinstance(value, bytes) else encode(field.type, value)
                parts.append(length_field(field.number, inner))
    return b"".join(parts)
