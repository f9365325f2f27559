"""Fields and their representations in a field block (RFC 7541): reading, writing, finding one by its bytes."""

from __future__ import annotations

from typing import Dict, Final, Generator, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from criproxy.http2 import huffman
from criproxy.http2.tables import OVERHEAD, STATIC, TABLE_SIZE, DynamicTable


class NeverIndexed(NamedTuple):
    """A field that no table may ever hold (RFC 7541, section 7.1.3), however often it is passed on. Equals its pair."""

    name: bytes
    value: bytes


Field = Tuple[bytes, ...]
"""A field's name and value. Were it the type of a pair, compiled code would make a mere pair of a `NeverIndexed`."""

MAX_LIST_SIZE: Final = 16 * 2**20
"""The largest list of fields that is read, as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113, section 6.5.2), and
the largest field block on the wire; bytes. It is what gRPC's library in Go takes, kubelet's therefore: the text of an
error is a field, and runtimes put whatever a failed program has written into it."""

MAX_FIELDS: Final = 1_000
"""The most fields in a list. A field may be one byte on the wire (RFC 7541, section 6.1), so the size alone does not
bound the work."""

STEP: Final = 4_096
"""bytes of Huffman code that are read at once: it takes 0.2 µs a byte."""

NO_TABLE: Final = b"\x20"
"""A dynamic table size update to 0 (RFC 7541, section 6.3). It begins our first block on a connection, so that the
peer's decoder needs no other, whatever it makes of its own SETTINGS_HEADER_TABLE_SIZE later."""

_LITERALS: Final = b"\x00\x10\x40"
"""The first byte of a literal field whose name follows: without, never to have, and with an index (RFC 7541, 6.2)."""

_STATIC: Final[Tuple[Field, ...]] = STATIC
_STATIC_INDEX: Final[Dict[Field, int]] = {field: index for index, field in reversed(list(enumerate(_STATIC, 1)))}
_STATIC_NAMES: Final[Dict[bytes, int]] = {name: index for index, (name, _) in reversed(list(enumerate(STATIC, 1)))}


class TooLarge(Exception):
    """A list of fields beyond MAX_LIST_SIZE or MAX_FIELDS. A table that was handed in is in step with the peer's."""


MALFORMED: Final = (IndexError, ValueError)
"""What `decode` raises for bytes that are no field block."""


def decode(wire: bytes, table: Optional[DynamicTable] = None) -> Tuple[Field, ...]:
    """Reads a field block. ``table``: the peer's dynamic table; without one, a block may use the static table alone.

    Raises `TooLarge`, and one of `MALFORMED` for bytes that are no field block.
    """
    fields: List[Field] = []
    size = at = 0
    end = len(wire)
    too_large = False
    if table is not None:
        at = _resize(wire, table)
    while at < end:
        first = wire[at]
        if first & 0x80:  # indexed field (RFC 7541, section 6.1)
            index, at = _integer(wire, at, 0x7F)
            field = _entry(index, table)
        elif first & 0xE0 == 0x20:
            raise ValueError("a dynamic table size update that is not allowed here")
        else:  # a literal, with (6.2.1), without (6.2.2) or never to have (6.2.3) an index
            index, at = _integer(wire, at, 0x3F if first & 0x40 else 0x0F)
            if index:
                name = _entry(index, table)[0]
            else:
                name, at = _string(wire, at)
            value, at = _string(wire, at)
            field = (name, value)
            # Not a conditional expression, which has the type of a pair (see `Field`).
            if first & 0xF0 == 0x10:
                field = NeverIndexed(name, value)
            if first & 0x40 and table is not None:
                table.add(name, value)
        size += len(field[0]) + len(field[1]) + OVERHEAD
        if size <= MAX_LIST_SIZE and len(fields) < MAX_FIELDS:
            fields.append(field)
        elif table is None:
            raise TooLarge
        else:  # What follows may still change the table.
            too_large = True
    if too_large:
        raise TooLarge
    return tuple(fields)


def decode_in_steps(wire: bytes) -> Generator[None, None, Tuple[Field, ...]]:
    """Reads a block that uses no dynamic table as `decode` does, in steps of at most STEP bytes of Huffman code."""
    return decode((yield from _without_huffman(wire)))


def _without_huffman(wire: bytes) -> Generator[None, None, bytes]:
    """The same block with all its strings as they are. It may still be malformed in any other way."""
    out = bytearray()
    at = spent = 0
    for _ in range(MAX_FIELDS + 1):
        if at >= len(wire):
            return bytes(out)
        begin, first = at, wire[at]
        index, at = _integer(wire, at, 0x7F if first & 0x80 else 0x3F if first & 0x40 else 0x0F)
        out += wire[begin:at]
        if first & 0xE0 == 0x20:  # not allowed here, as `decode` will say
            return bytes(out)
        for _ in range(0 if first & 0x80 else 1 if index else 2):
            coded = wire[at] & 0x80
            size, begin = _integer(wire, at, 0x7F)
            at = begin + size
            if at > len(wire):
                raise ValueError("a string that is cut off")
            text = wire[begin:at]
            if coded and text:
                text, spent = yield from _plain(text, spent)
            out += _prefixed(len(text), 7, 0) + text
        if len(out) > MAX_LIST_SIZE:
            break
    raise TooLarge


def _plain(text: bytes, spent: int) -> Generator[None, None, Tuple[bytes, int]]:
    """The text without Huffman code (RFC 7541, 5.2); ``spent``: bytes that have been read since the last step."""
    out = bytearray()
    entry = huffman.START
    for at in range(0, len(text), STEP):
        piece = text[at : at + STEP]
        entry = huffman.read(piece, entry, out)
        spent += len(piece)
        if spent >= STEP:
            spent = 0
            yield
    huffman.check(entry)
    return bytes(out), spent


def _resize(wire: bytes, table: DynamicTable) -> int:
    """Follows the size updates at the beginning of a block; gives where they end."""
    at = 0
    while wire[at : at + 1] and wire[at] & 0xE0 == 0x20:
        size, at = _integer(wire, at, 0x1F)
        if size > TABLE_SIZE:
            raise ValueError(f"a dynamic table of {size} bytes")
        table.resize(size)
    return at


def _entry(index: int, table: Optional[DynamicTable]) -> Field:
    if not index:
        raise ValueError("index 0")
    if table is None or index <= len(_STATIC):
        return _STATIC[index - 1]
    return table.field(index)


def _integer(wire: bytes, at: int, mask: int) -> Tuple[int, int]:
    """RFC 7541, section 5.1: the number at ``at``, and where it ends."""
    number = wire[at] & mask
    at += 1
    if number < mask:
        return number, at
    shift = 0
    while True:
        byte = wire[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 28:
            raise ValueError("a number that is too large")


def _string(wire: bytes, at: int) -> Tuple[bytes, int]:
    """RFC 7541, section 5.2: the string at ``at``, and where it ends."""
    coded = wire[at] & 0x80
    size, at = _integer(wire, at, 0x7F)
    end = at + size
    if end > len(wire):
        raise ValueError("a string that is cut off")
    text = wire[at:end]
    return huffman.decode(text) if coded else text, end


def encode(fields: Iterable[Field]) -> bytes:
    """Writes a stateless block: the static table where it has the field or its name, literals for the rest."""
    out = bytearray()
    for field in fields:
        never = field.__class__ is NeverIndexed
        index = None if never else _STATIC_INDEX.get(field)
        if index is not None:
            out += _prefixed(index, 7, 0x80)
            continue
        name, value = field
        first = 0x10 if never else 0
        index = _STATIC_NAMES.get(name)
        if index is not None:
            out += _prefixed(index, 4, first)
        else:
            out.append(first)
            out += _prefixed(len(name), 7, 0) + name
        out += _prefixed(len(value), 7, 0) + value
    return bytes(out)


def with_value(fields: Iterable[Field], name: bytes, value: bytes) -> Iterator[Field]:
    """The fields with another value of this name; all others as they are."""
    for field in fields:
        if field[0] == name:
            yield name, value
        else:
            yield field


def _prefixed(number: int, bits: int, first: int) -> bytearray:
    """RFC 7541, section 5.1: a number of which so many bits are in the first byte, beside those of ``first``."""
    most = (1 << bits) - 1
    if number < most:
        return bytearray((first | number,))
    encoded = bytearray((first | most,))
    number -= most
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return encoded


class Spelling:
    """Finds the beginning of a literal field of this name in a block: plain or Huffman-coded, to be indexed or not.

    (Go's gRPC sends it without indexing, that in C with, though there is no table for it.)
    """

    __slots__ = ("_coded", "_name", "_plain")

    def __init__(self, name: bytes) -> None:
        coded = huffman.encode(name)
        self._name = name
        self._plain = bytes(_prefixed(len(name), 7, 0)) + name
        self._coded = bytes(_prefixed(len(coded), 7, 0x80)) + coded

    def find(self, wire: bytes) -> Tuple[int, int]:
        """Where the first such field begins, and where its value does; -1 twice where there is none."""
        plain, coded = _literal(wire, self._plain), _literal(wire, self._coded)
        if coded >= 0 and not 0 <= plain < coded:
            return coded, coded + 1 + len(self._coded)
        return (plain, plain + 1 + len(self._plain)) if plain >= 0 else (-1, -1)

    def decode(self, wire: bytes, at: int) -> Tuple[Field, ...]:
        """Reads a block that begins with such a field, whose value begins at ``at``. Raises as `decode` does.

        It is the only one as a rule, and its name is known: to read that again takes longer than its value.
        """
        value, end = _string(wire, at)
        if end < len(wire):
            return decode(wire)
        if wire[0] == 0x10:
            return (NeverIndexed(self._name, value),)
        return ((self._name, value),)


def _literal(wire: bytes, name: bytes) -> int:
    """Where the first literal field begins whose name is written so; a negative number if there is none."""
    at = wire.find(name, 1) - 1
    while at >= 0 and wire[at] not in _LITERALS:
        at = wire.find(name, at + 2) - 1
    return at
