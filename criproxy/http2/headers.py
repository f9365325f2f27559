"""Field blocks (RFC 7541): read, remembered, written.

Both ends of every connection are asked to use no dynamic table (SETTINGS_HEADER_TABLE_SIZE = 0). Once a peer has
acknowledged that, a block refers to the static table alone: it means the same on any connection. So it can be
forwarded as it is, and remembered: a `Head` is kept by its bytes, and the same bytes need not be decoded twice.

A client writes a new deadline into each call, so a whole block hardly ever comes twice. It is cut before the first
field whose name is *volatile* (gRPC's ``grpc-timeout``): what stands before is the head, the few bytes from there
are the tail, decoded each time. The cut looks for the bytes that spell the name, so it can be fooled by a value that
has the same bytes; then the piece before is no sequence of whole fields and the block is decoded as one.

Until the acknowledgement (a client may send its first calls before it has read anything of ours) a block may use the
dynamic table: hpack.Decoder reads it, and it is written anew without one.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Dict, Iterable, List, Optional, Pattern, Sequence, Tuple

from hpack import Decoder
from hpack.exceptions import HPACKError
from hpack.hpack import encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from criproxy.http2.errors import ConnectionFault, ErrorCode

Field = Tuple[bytes, bytes]
"""A field's name and value."""

MAX_BLOCK = 65_536
"""The largest block that is read, and the largest list of fields as SETTINGS_MAX_HEADER_LIST_SIZE counts it, bytes."""

_STATIC: Tuple[Field, ...] = tuple((bytes(name), bytes(value)) for name, value in HeaderTable.STATIC_TABLE)
_STATIC_INDEX: Dict[Field, int] = {field: index for index, field in reversed(list(enumerate(_STATIC, 1)))}
_STATIC_NAMES: Dict[bytes, int] = {name: index for index, (name, _) in reversed(list(enumerate(_STATIC, 1)))}

NO_TABLE = b"\x20"
"""A dynamic table size update to 0 (RFC 7541, section 6.3). It begins our first block on a connection, so that the
peer's decoder needs no other, whatever it makes of its own SETTINGS_HEADER_TABLE_SIZE later."""

_REMEMBERED_HEADS = 1024
_LARGEST_REMEMBERED = 4096
# RFC 9113, section 8.2.1: nothing at or below a space, no uppercase letter, no colon, nothing beyond ASCII.
_NAME = re.compile(rb"[!-9;-@\[-~]+")
_CONTROL = re.compile(rb"[\0\r\n]")
# RFC 9113, section 8.2.2.
_CONNECTION_SPECIFIC = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))


class Role(Enum):
    """What a block's pseudo-headers make of it (RFC 9113, sections 8.1 and 8.3)."""

    REQUEST = "the head of a request"
    RESPONSE = "the head of an answer"
    INTERIM = "the head of an interim answer"
    TRAILERS = "trailers"


_REQUESTS = ([b":method", b":path", b":scheme"], [b":authority", b":method", b":path", b":scheme"])


class Head:
    """A field block, or one up to its first volatile field: its bytes, and what they mean.

    The same bytes give the same object as long as it is remembered, so ``memo`` may hold what a user of this
    module worked out from the fields.
    """

    __slots__ = ("fields", "malformed", "memo", "role", "wire")

    def __init__(self, wire: bytes, fields: Tuple[Field, ...]) -> None:
        self.wire = wire
        self.fields = fields
        self.role = _role(fields)
        self.malformed: Optional[str] = _malformed(fields) if self.role else "pseudo-headers that do not go together"
        self.memo: object = None

    def get(self, name: bytes) -> Optional[bytes]:
        """The first value of this field, or None."""
        for field, value in self.fields:
            if field == name:
                return value
        return None


class Block:
    """A whole field block: a head and, where it was cut, the fields from the first volatile one on."""

    __slots__ = ("head", "tail", "tail_fields")

    def __init__(self, head: Head, tail: bytes = b"", tail_fields: Tuple[Field, ...] = ()) -> None:
        self.head = head
        self.tail = tail
        self.tail_fields = tail_fields

    @property
    def wire(self) -> bytes:
        """The block's bytes, without a dynamic table: good for any connection."""
        return self.head.wire + self.tail

    @property
    def fields(self) -> Tuple[Field, ...]:
        """All fields, in their order."""
        return self.head.fields + self.tail_fields

    @property
    def malformed(self) -> Optional[str]:
        """What makes the fields malformed, or None."""
        return self.head.malformed or (_malformed(self.tail_fields) if self.tail_fields else None)

    def get(self, name: bytes) -> Optional[bytes]:
        """The first value of this field, or None."""
        for fields in (self.head.fields, self.tail_fields):
            for field, value in fields:
                if field == name:
                    return value
        return None


def block_of(fields: Iterable[Field]) -> Block:
    """The block that says these fields."""
    fields = tuple(fields)
    return Block(Head(encode(fields), fields))


class BlockDecoder:
    """Reads the blocks of one peer. ``volatile``: see `spelling`."""

    def __init__(self, volatile: Optional[Pattern[bytes]] = None) -> None:
        self._volatile = volatile
        self._stateful: Optional[Decoder] = Decoder(max_header_list_size=MAX_BLOCK)

    def settle(self) -> None:
        """The peer has acknowledged SETTINGS_HEADER_TABLE_SIZE = 0: from here on its blocks are stateless."""
        self._stateful = None

    def decode(self, wire: bytes) -> Block:
        """Reads a block. Raises ConnectionFault (COMPRESSION_ERROR) if that cannot be done (RFC 9113, section 4.3)."""
        try:
            if self._stateful is not None:
                return self._decode_stateful(self._stateful, wire)
            if wire[:1] == NO_TABLE:
                wire = wire.lstrip(NO_TABLE)
            head = _remembered.get(wire)
            return Block(head) if head is not None else self._decode_new(wire)
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"field block: {error}") from error

    def _decode_new(self, wire: bytes) -> Block:
        cut = self._volatile.search(wire) if self._volatile is not None else None
        if cut is None or cut.start() == 0:
            return Block(_head(wire))
        at = cut.start()
        head = _remembered.get(wire[:at])
        if head is None:
            try:
                head = _head(wire[:at])
            except (HPACKError, IndexError, ValueError):
                return Block(_head(wire))
        tail = wire[at:]
        return Block(head, tail, decode(tail))

    def _decode_stateful(self, decoder: Decoder, wire: bytes) -> Block:
        fields = [(bytes(field[0]), bytes(field[1])) for field in decoder.decode(wire, raw=True)]
        if self._volatile is None:
            return Block(_head(encode(fields)))
        return self._decode_new(encode(fields))


_remembered: Dict[bytes, Head] = {}


def _head(wire: bytes) -> Head:
    head = _remembered.get(wire)
    if head is not None:
        return head
    head = Head(wire, decode(wire))
    if len(wire) <= _LARGEST_REMEMBERED:
        if len(_remembered) >= _REMEMBERED_HEADS:
            _remembered.clear()
        _remembered[wire] = head
    return head


def decode(wire: bytes) -> Tuple[Field, ...]:
    """Reads a stateless block (no dynamic table, no size update in it).

    Raises IndexError, ValueError or HPACKError for anything else.
    """
    fields: List[Field] = []
    size = at = 0
    end = len(wire)
    while at < end:
        first = wire[at]
        if first & 0x80:  # indexed field (RFC 7541, section 6.1)
            index, at = _integer(wire, at, 0x7F)
            if not index:
                raise ValueError("index 0")
            name, value = _STATIC[index - 1]
        elif first & 0xE0 == 0x20:
            raise ValueError("a dynamic table size update that is not allowed here")
        else:  # a literal, with (6.2.1), without (6.2.2) or never to have (6.2.3) an index
            index, at = _integer(wire, at, 0x3F if first & 0x40 else 0x0F)
            if index:
                name = _STATIC[index - 1][0]
            else:
                name, at = _string(wire, at)
            value, at = _string(wire, at)
        fields.append((name, value))
        size += len(name) + len(value) + 32
        if size > MAX_BLOCK:
            raise ValueError(f"more than {MAX_BLOCK} bytes of fields")
    return tuple(fields)


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
    huffman = wire[at] & 0x80
    size, at = _integer(wire, at, 0x7F)
    end = at + size
    if end > len(wire):
        raise ValueError("a string that is cut off")
    text = wire[at:end]
    return (bytes(decode_huffman(text)) if huffman else text), end


def encode(fields: Iterable[Field]) -> bytes:
    """Writes a stateless block: the static table where it has the field or its name, literals for the rest."""
    out = bytearray()
    for field in fields:
        index = _STATIC_INDEX.get(field)
        if index is not None:
            out += _prefixed(index, 7, 0x80)
            continue
        name, value = field
        index = _STATIC_NAMES.get(name)
        if index is not None:
            out += _prefixed(index, 4, 0)
        else:
            out += b"\0" + _prefixed(len(name), 7, 0) + name
        out += _prefixed(len(value), 7, 0) + value
    return bytes(out)


def _prefixed(number: int, bits: int, first: int) -> bytearray:
    encoded = bytearray(encode_integer(number, bits))
    encoded[0] |= first
    return encoded


def spelling(name: bytes) -> Pattern[bytes]:
    """Finds the beginning of a literal field of this name in a block: plain or Huffman-coded, to be indexed or not.

    (Go's gRPC sends it without indexing, that in C with, though there is no table for it.)
    """
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(name)
    plain = bytes(_prefixed(len(name), 7, 0)) + name
    huffman = bytes(_prefixed(len(coded), 7, 0x80)) + coded
    return re.compile(b"[\x00\x10\x40](?:" + re.escape(plain) + b"|" + re.escape(huffman) + b")")


def _role(fields: Sequence[Field]) -> Optional[Role]:
    """What the pseudo-headers make of a block; None for one that is missing, unknown or there twice."""
    pseudo = [field for field in fields if field[0][:1] == b":"]
    if not pseudo:
        return Role.TRAILERS
    names = sorted(name for name, _ in pseudo)
    if names == [b":status"]:
        return Role.INTERIM if pseudo[0][1][:1] == b"1" else Role.RESPONSE
    return Role.REQUEST if names in _REQUESTS else None


def _malformed(fields: Sequence[Field]) -> Optional[str]:
    """What makes these fields malformed (RFC 9113, sections 8.2 and 8.3), or None."""
    regular = False
    for name, value in fields:
        if name[:1] == b":":
            if regular:
                return f"pseudo-header {name!r} after regular fields"
        else:
            regular = True
            if not _NAME.fullmatch(name):
                return f"field name {name!r}"
            if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
                return f"connection-specific field {name!r}"
        if _CONTROL.search(value):
            return f"a control character in the value of {name!r}"
    return None
