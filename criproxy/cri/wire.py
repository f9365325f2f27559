"""Protocol buffers on the wire: where fields end, and how they are written.

Source: "Encoding" in protobuf's documentation (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, List, Tuple

if TYPE_CHECKING:  # compiled, these are numbers of C's, and else Python's
    from mypy_extensions import i64

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5
"""Wire types ("Message Structure")."""
_HUGE: Final = 1 << 61
"""Larger than any message, and with an offset added to it still a number of C's; compiled, larger ones are objects."""
_SHORT: Final = [bytes((number,)) for number in range(0x80)]
_LONG: Final = [bytes((number | 0x80,)) for number in range(0x80)]
"""The numbers of seven bits, and the first seven bits of one that goes on."""
ENTRY: Final = 0x0A
"""The tag of an entry: field 1, length-delimited. Every list of the CRI has its entries in this field."""


class DecodeError(Exception):
    """Bytes are not the message, or the field, that they should be."""


def field_at(body: bytes, at: i64, end: i64) -> Tuple[i64, i64, i64, i64]:
    """The number and the wire type of the field that begins at ``at``, and where its value begins and ends.

    Raises DecodeError if there is no field of a message that ends at ``end``, or it is a group.
    """
    if at + 1 < end and body[at] & 0x87 == LENGTH and body[at] > 7 and body[at + 1] < 0x80:  # most fields
        begin: i64 = at + 2
        stop: i64 = begin + body[at + 1]
        if stop <= end:
            return body[at] >> 3, LENGTH, begin, stop
    tag, begin = _size_at(body, at, end)
    number: i64 = tag >> 3
    wire: i64 = tag & 7
    if not 0 < number < 1 << 29:
        raise DecodeError(f"field number {number}")
    if wire == LENGTH:
        size, begin = _size_at(body, begin, end)
        stop = begin + size
    elif wire == VARINT:
        stop = end_of_varint(body, begin, end)
    elif wire == FIXED64:
        stop = begin + 8
    elif wire == FIXED32:
        stop = begin + 4
    else:
        raise DecodeError(f"wire type {wire}")
    if stop > end:
        raise DecodeError("it is cut off")
    return number, wire, begin, stop


def _size_at(body: bytes, at: i64, end: i64) -> Tuple[i64, i64]:
    """A length, or a tag, and where it ends; `_HUGE` stands for all that are larger. Raises DecodeError for one of more
    than 64 bits."""
    value: i64 = 0
    shift: i64 = 0
    begin: i64 = at
    while at < end and shift < 63:
        byte: i64 = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value < _HUGE:  # compiled, an expression that chooses would make an object of it
                return value, at
            return _HUGE, at
        shift += 7
    return _HUGE, end_of_varint(body, begin, end)


def end_of_varint(body: bytes, at: i64, end: i64) -> i64:
    """Where the number ends that begins at ``at``. Raises DecodeError if it has more than 64 bits."""
    last: i64 = at + 9
    while at < end:
        byte: i64 = body[at]
        if byte < 0x80 and (at < last or byte < 2):
            return at + 1
        if at == last:
            raise DecodeError("a number has more than 64 bits")
        at += 1
    raise DecodeError("it is cut off")


def varint_at(body: bytes, at: i64, end: i64) -> Tuple[int, i64]:
    """The number that begins at ``at``, and where it ends. Raises DecodeError if it has more than 64 bits."""
    stop: i64 = end_of_varint(body, at, end)
    value = shift = 0  # Python's numbers: C's of 64 bits have a sign
    for byte in body[at:stop]:
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, stop


def text_in(body: bytes, number: int) -> bytes:
    """The string or bytes in a field of a message; empty if it is not set. Raises DecodeError."""
    found = b""
    at, end = 0, len(body)
    if 2 < end < 0x82 and body[1] == end - 2 and body[0] == number << 3 | LENGTH:  # most requests have nothing else
        return body[2:]
    while at < end:
        which, wire, begin, at = field_at(body, at, end)
        if which == number and wire == LENGTH:
            found = body[begin:at]
    return found


def elements(body: bytes) -> List[bytes]:
    """The entries of a list. Raises DecodeError."""
    found: List[bytes] = []
    at, end = 0, len(body)
    while at < end:
        which, wire, begin, at = field_at(body, at, end)
        if which == 1 and wire == LENGTH:
            found.append(body[begin:at])
    return found


def end_of_entry(body: bytes, at: int, end: int) -> int:
    """Where the entry of a list ends that begins at ``at`` with `ENTRY`: perhaps behind ``end``.

    Raises IndexError, DecodeError.
    """
    size = body[at + 1]
    if size < 0x80:
        return at + 2 + size
    more = body[at + 2]
    if more < 0x80:
        return at + 3 + (size & 0x7F) + (more << 7)
    return field_at(body, at, end)[3]


def varint(value: int) -> bytes:
    """A number that is not negative and has at most 64 bits."""
    if value < 0x80:
        return _SHORT[value]
    if value < 0x4000:
        return _LONG[value & 0x7F] + _SHORT[value >> 7]
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def length_field(number: int, value: bytes) -> bytes:
    """A field with a string, bytes or a message."""
    return varint(number << 3 | LENGTH) + varint(len(value)) + value


def varint_field(number: int, value: int) -> bytes:
    """A field with an integer, an enumeration's number or a truth value. A negative one has 64 bits."""
    return varint(number << 3 | VARINT) + varint(value & 0xFFFFFFFFFFFFFFFF)
