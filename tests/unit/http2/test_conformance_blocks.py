"""What the compression of fields lets a peer violate, and what comes of it (RFC 7541; conformance.py).

An end of ours has a dynamic table of 4,096 bytes for the peer's blocks until the peer has acknowledged that there is
none. Each row is a request that has these bytes behind its own fields.
"""

from __future__ import annotations

from conformance import NO_TABLE, TABLE, Row, cases, check
from http2_reference import END_HEADERS, END_STREAM, HEADERS, REQUEST, frame, headers, huffman_string, plain_block

EITHER = TABLE + NO_TABLE
GOOD, BAD, MALFORMED = "headers END_STREAM", "connection COMPRESSION_ERROR", "stream PROTOCOL_ERROR"
FIELDS = plain_block(REQUEST)
_X_Y = b"\x01x\x01y"


def block(wire: bytes) -> bytes:
    """A request with a block of these bytes."""
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, wire)


def behind(wire: bytes) -> bytes:
    """A request with these bytes behind its fields."""
    return block(FIELDS + wire)


def value(coded: bytes) -> bytes:
    """A field whose value is this in Huffman code."""
    return behind(b"\x00\x01x" + bytes((0x80 | len(coded),)) + coded)


ADDED = b"\x40" + _X_Y
"""A field that goes into the dynamic table, as entry 62."""

_NUMBERS = [
    Row("RFC 7541, 5.1", "a number in its prefix", EITHER, behind(b"\x04\x00"), MALFORMED),
    Row("RFC 7541, 5.1", "a number behind its prefix", EITHER, behind(b"\x0f\x06\x01v"), GOOD),
    Row("RFC 7541, 5.1", "a number with an empty end", EITHER, behind(b"\x0f\x86\x80\x00\x01v"), GOOD),
    Row("RFC 7541, 5.1", "a number without its end", EITHER, behind(b"\x0f\x80"), BAD),
    Row("RFC 7541, 5.1", "a number of too many bytes", EITHER, behind(b"\x0f" + b"\x80" * 10 + b"\x00\x01v"), BAD),
    Row("RFC 7541, 5.1", "a number that is too large", EITHER, behind(b"\x00\x7f" + b"\xff" * 8 + b"\x7f"), BAD),
    Row("RFC 7541, 5.1", "an index of 2^31", EITHER, behind(b"\xff\x81\xff\xff\xff\x07"), BAD),
]
_STRINGS = [
    Row("RFC 7541, 5.2", "a string", EITHER, behind(b"\x00" + _X_Y), GOOD),
    Row("RFC 7541, 5.2", "an empty string", EITHER, behind(b"\x00\x01x\x00"), GOOD),
    Row("RFC 7541, 5.2", "an empty string in Huffman code", EITHER, behind(b"\x00\x01x\x80"), GOOD),
    Row(
        "RFC 7541, 5.2",
        "a name and a value in Huffman code",
        EITHER,
        behind(b"\x00" + huffman_string(b"x") + huffman_string(b"yz")),
        GOOD,
    ),
    Row("RFC 7541, 5.2", "a name that is cut off", EITHER, behind(b"\x00\x05x"), BAD),
    Row("RFC 7541, 5.2", "a value that is cut off", EITHER, behind(b"\x00\x01x\x05y"), BAD),
    Row("RFC 7541, 5.2", "a name without a value", EITHER, behind(b"\x00\x01x"), BAD),
    Row("RFC 7541, 5.2", "a string longer than memory", EITHER, behind(b"\x00\x01x\x7f\xff\xff\xff\xff\x07"), BAD),
    Row("RFC 7541, 5.2", "Huffman code that is cut off", EITHER, behind(b"\x00\x01x\x85\x1f"), BAD),
    Row("RFC 7541, 5.2", "padding of 7 ones", EITHER, behind(b"\x00\x01x" + huffman_string(b"a" * 5)), GOOD),
    Row("RFC 7541, 5.2", "padding of 3 ones", EITHER, value(b"\x1f"), GOOD),
    Row("RFC 7541, 5.2", "padding of 8 ones", EITHER, value(b"\x1f\xff"), BAD),
    Row("RFC 7541, 5.2", "padding of zeros", EITHER, value(b"\x18"), BAD),
    Row("RFC 7541, 5.2", "padding that is no prefix of EOS", EITHER, value(b"\x1e"), BAD),
    Row("RFC 7541, 5.2", "EOS", EITHER, value(b"\xff\xff\xff\xff"), BAD),
    Row("RFC 7541, 5.2", "EOS within a string", EITHER, value(b"\x1f\xff\xff\xff\xe3"), BAD),
    Row(
        "RFC 7541, 5.2",
        "an uppercase name in Huffman code",
        EITHER,
        behind(b"\x00" + huffman_string(b"X") + b"\x01y"),
        MALFORMED,
    ),
    Row("RFC 7541, 5.2", "LF in Huffman code", EITHER, behind(b"\x00\x01x" + huffman_string(b"a\nb")), MALFORMED),
]
_INDEXES = [
    Row("RFC 7541, 6.1", "index 0", EITHER, behind(b"\x80"), BAD),
    Row("RFC 7541, 2.3.3", "the last static index", EITHER, behind(b"\xbd"), GOOD),
    Row("RFC 7541, 2.3.3", "an index beyond both tables", EITHER, behind(b"\xbe"), BAD),
    Row("RFC 7541, 2.3.3", "a name's index beyond both tables", EITHER, behind(b"\x7f\x00\x01y"), BAD),
    Row("RFC 7541, 2.3.3", "an index far beyond", EITHER, behind(b"\xff\xff\xff\x03"), BAD),
    Row("RFC 7541, 6.2.1", "a field that goes into the table", EITHER, behind(ADDED), GOOD),
    Row("RFC 7541, 6.2.1", "a field from the dynamic table", TABLE, behind(ADDED + b"\xbe"), GOOD),
    Row("RFC 7541, 6.2.1", "a field from a table that there is not", NO_TABLE, behind(ADDED + b"\xbe"), BAD),
    Row("RFC 7541, 6.2.2", "a name from the dynamic table", TABLE, behind(ADDED + b"\x0f\x2f\x01z"), GOOD),
    Row("RFC 7541, 6.2.3", "a field that is never to be indexed", EITHER, behind(b"\x10" + _X_Y), GOOD),
    Row("RFC 7541, 6.2.3", "a static name, never to be indexed", EITHER, behind(b"\x1f\x06\x01v"), GOOD),
    Row(
        "RFC 7541, 4.4",
        "an entry that pushes another out",
        TABLE,
        behind(ADDED + b"\x40\x01l\x7f\x81\x1f" + b"v" * 4_096 + b"\xbe"),
        BAD,
    ),
]
_SIZES = [
    Row("RFC 7541, 6.3", "a table of nothing", EITHER, block(b"\x20" + FIELDS), GOOD),
    Row("RFC 7541, 4.2", "two updates, the smaller first", TABLE, block(b"\x20\x3f\xe1\x1f" + FIELDS), GOOD),
    Row("RFC 7541, 6.3", "a table of what there is at first", TABLE, block(b"\x3f\xe1\x1f" + FIELDS), GOOD),
    Row("RFC 7541, 6.3", "a table larger than that", TABLE, block(b"\x3f\xe2\x1f" + FIELDS), BAD),
    Row("RFC 7541, 6.3", "a table larger than the nothing that there is", NO_TABLE, block(b"\x21" + FIELDS), BAD),
    Row("RFC 7541, 4.2", "an update behind a field", EITHER, behind(b"\x20"), BAD),
    Row("RFC 7541, 4.2", "an update between fields", EITHER, block(FIELDS + b"\x20\x00" + _X_Y), BAD),
    Row(
        "RFC 7541, 4.3",
        "an entry of a table that has become nothing",
        TABLE,
        headers(3, REQUEST) + block(b"\x20\xbe" + FIELDS),
        BAD,
    ),
    # RFC 9113, section 4.3.1, has the first block behind the acknowledgement of a smaller table begin with an update.
    # Without one it means the same here: there is no table that could be out of step.
    Row("4.3.1: differs", "no update though the table is gone", NO_TABLE, block(FIELDS), GOOD),
    Row("4.3.1", "blocks of updates alone", EITHER, block(b"\x20" * 100), MALFORMED),
]


@cases(_NUMBERS + _STRINGS + _INDEXES + _SIZES)
def test_block(row: Row, state: str) -> None:
    check(row, state)
