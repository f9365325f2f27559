"""Field blocks (RFC 7541): what they mean, and how they are remembered.

Both ends of every connection are asked to use no dynamic table (SETTINGS_HEADER_TABLE_SIZE = 0). Once a peer has
acknowledged that, a block refers to the static table alone: it means the same on any connection. So it can be
forwarded as it is, and remembered: a `Block` is kept by its bytes, and the same bytes need not be decoded twice.

A client writes a new deadline into each call, so a whole block need not come twice. It is cut before the first field
whose name is *volatile* (gRPC's ``grpc-timeout``): what stands before is the head, the few bytes from there are the
tail. The cut looks for the bytes that spell the name, so it can be fooled by a value that has the same bytes; then the
piece before is no sequence of whole fields and the block is decoded as one. Kubelet's deadlines are two minutes in
whole milliseconds, which are mostly the same: the last blocks that were cut are remembered as they are, too.

Until the acknowledgement (a client may send its first calls before it has read anything of ours) a block may use the
dynamic table: it is read with that, and written anew without one.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Generator, Iterable, Optional, Sequence, Tuple

from criproxy.http2.cache import Cache
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.fields import (
    MALFORMED,
    MAX_LIST_SIZE,
    NO_TABLE,
    STEP,
    Field,
    Spelling,
    TooLarge,
    decode,
    decode_in_steps,
    encode,
    with_value,
)
from criproxy.http2.tables import DynamicTable

__all__ = [
    "MAX_LIST_SIZE",
    "NO_TABLE",
    "Block",
    "BlockDecoder",
    "Field",
    "Head",
    "Role",
    "Spelling",
    "block_of",
    "decode",
    "encode",
    "with_value",
]

MAX_UNSETTLED_BLOCK: Final = 65_536
"""The largest block from a peer that may have a dynamic table, bytes. Such a block must be read for the table's sake
whatever it is, and the peer has not acknowledged yet that we take more."""

_REMEMBERED: Final = 2 * 2**20
"""What remembered heads may take, bytes. A client has one head a method, and a runtime one a kind of answer: some
hundreds in all, of 2 kB each. What comes beyond that is metadata that changes with each call."""
_RECENT: Final = 128 * 1024
"""What the last blocks that were cut may take, bytes: some hundred."""
_LARGEST_REMEMBERED: Final = 4096
"""Bytes of a head on the wire."""
_FIELD: Final = 128
"""What a field takes beside its bytes, bytes: a byte on the wire may stand for a whole field of the static table."""
_COPIES: Final = 4
"""How often the bytes of a head are there: its own, its path, and the heads for runtimes of other versions."""
# RFC 9113, section 8.2.1: nothing at or below a space, no uppercase letter, no colon, nothing beyond ASCII.
_NAME: Final = re.compile(rb"[!-9;-@\[-~]+")
_LONGEST_NAME: Final = 4_096
"""bytes: no field that is in use has a name of a hundredth of it, and to check it takes as long as it is."""
_USUAL: Final = frozenset((b"grpc-timeout", b"traceparent", b"tracestate"))
"""Names that come with another value in each call, so that nothing remembers them, and need not be looked at."""
_LONGEST_QUOTE: Final = 40
"""bytes of a name that a text quotes."""
_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")
_BLANKS: Final = (b" ", b"\t")
# RFC 9113, section 8.2.2.
_CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
# gRPC's libraries percent-encode the text of an error, but not its blanks, and "exit status 1: " is a text.
_MAY_HAVE_BLANKS: Final = b"grpc-message"
_CONTENT_LENGTH: Final = b"content-length"
_LONGEST_LENGTH: Final = 19
"""digits of a content-length: no message has more bytes, and longer numbers are slow to read."""
UNREADABLE: Final = -1
"""The length that a block gives whose content-length is no number, or there twice (RFC 9110, section 8.6)."""


class Role(Enum):
    """What a block's pseudo-headers make of it (RFC 9113, sections 8.1 and 8.3)."""

    REQUEST = "the head of a request"
    RESPONSE = "the head of a response"
    INTERIM = "the head of an interim response"
    TRAILERS = "trailers"


_REQUESTS: Final = ([b":method", b":path", b":scheme"], [b":authority", b":method", b":path", b":scheme"])
_TUNNEL: Final = [b":authority", b":method"]
_NEVER_EMPTY: Final = frozenset((b":method", b":scheme", b":path"))


class Head:
    """A field block, or one up to its first volatile field: its bytes, and what they mean.

    The same bytes give the same object as long as it is remembered, so ``memo`` may hold what a user of this
    module worked out from the fields. ``length``: see `Block`.
    """

    __slots__ = ("fields", "length", "malformed", "memo", "role", "wire")

    def __init__(self, wire: bytes, fields: Tuple[Field, ...]) -> None:
        self.wire = wire
        self.fields = fields
        self.length = _length(fields)
        if self.length is not None:
            self.fields = fields = _without_length(fields)
            self.wire = encode(fields)
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
    """A whole field block: a head and, where it was cut, the fields from the first volatile one on.

    ``length``: how many bytes of data follow by the block's content-length, None if it does not say, or `UNREADABLE`.
    The field itself is left out of the fields and of the bytes: whoever passes the block on may change a message on
    the way, and the old length would make what is passed on malformed (RFC 9113, section 8.1.1).
    """

    __slots__ = ("head", "length", "malformed", "tail", "tail_fields")

    def __init__(self, head: Head, tail: bytes = b"", tail_fields: Tuple[Field, ...] = ()) -> None:
        self.head = head
        self.length = head.length
        self.tail = tail
        self.tail_fields = tail_fields
        self.malformed: Optional[str] = head.malformed or (_malformed(tail_fields) if tail_fields else None)
        """What makes the fields malformed, or None."""

    @property
    def wire(self) -> bytes:
        """The block's bytes, without a dynamic table: good for any connection."""
        return self.head.wire + self.tail if self.tail else self.head.wire

    @property
    def fields(self) -> Tuple[Field, ...]:
        """All fields, in their order."""
        return self.head.fields + self.tail_fields

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
    """Reads the blocks of one peer. ``volatile``: the field before which blocks are cut."""

    def __init__(self, volatile: Optional[Spelling] = None) -> None:
        self._cut_before = volatile
        self._table: Optional[DynamicTable] = DynamicTable()

    @property
    def settled(self) -> bool:
        """Whether blocks are stateless, so that one that nobody needs need not be read."""
        return self._table is None

    @property
    def max_block(self) -> int:
        """The largest block that is read, bytes."""
        return MAX_LIST_SIZE if self.settled else MAX_UNSETTLED_BLOCK

    def settle(self) -> None:
        """The peer has acknowledged SETTINGS_HEADER_TABLE_SIZE = 0: from here on its blocks are stateless."""
        self._table = None

    def decode(self, wire: bytes) -> Optional[Block]:
        """Reads a block; None for one with more fields than are taken (see fields.TooLarge).

        Raises ConnectionFault (COMPRESSION_ERROR) if it cannot be read (RFC 9113, section 4.3).
        """
        if self._table is None:
            block = _remembered.get(wire)
            if block is not None:
                return block
        try:
            if self._table is not None:
                wire = encode(decode(wire, self._table))
            elif wire[:1] == NO_TABLE:
                wire = wire.lstrip(NO_TABLE)
            return self._decode_new(wire)
        except TooLarge:
            return None
        except MALFORMED as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"field block: {error}") from error

    def steps(self, wire: bytes) -> Generator[None, None, Optional[Block]]:
        """Reads a large block as `decode` does, in steps of a millisecond. It is neither cut nor remembered.

        With a table it is read in one go, since it has `MAX_UNSETTLED_BLOCK` at most; the steps come behind that.
        """
        try:
            if self._table is not None:
                fields = decode(wire, self._table)
                wire = encode(fields)
                yield from (None for _ in range(len(wire) // STEP))
            else:
                wire = wire.lstrip(NO_TABLE) if wire[:1] == NO_TABLE else wire
                fields = yield from decode_in_steps(wire)
            return Block(Head(wire, fields))
        except TooLarge:
            return None
        except MALFORMED as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"field block: {error}") from error

    def _decode_new(self, wire: bytes) -> Block:
        volatile = self._cut_before
        if volatile is None:
            return _block(wire)
        block = _recent.get(wire)
        if block is not None:
            return block
        at, value_at = volatile.find(wire)
        if at <= 0:
            return _block(wire)
        cut = _remembered.get(wire[:at])
        if cut is None:
            try:
                cut = _block(wire[:at])
            except MALFORMED:
                return _block(wire)
        head, tail = cut.head, wire[at:]
        fields = volatile.decode(tail, value_at - at)
        for name, _ in fields:
            if name == _CONTENT_LENGTH:
                return _with_length(head, fields)
        block = Block(head, tail, fields)
        _recent.keep(wire, block, 2 * len(wire) + _FIELD * (len(head.fields) + len(fields)))
        return block


_remembered: Final[Cache[bytes, Block]] = Cache(_REMEMBERED)
_recent: Final[Cache[bytes, Block]] = Cache(_RECENT)


def _block(wire: bytes) -> Block:
    """One that is not cut."""
    block = _remembered.get(wire)
    if block is not None:
        return block
    head = Head(wire, decode(wire))
    block = Block(head)
    if len(wire) <= _LARGEST_REMEMBERED:
        _remembered.keep(wire, block, taken_by(head))
    return block


def _length(fields: Iterable[Field]) -> Optional[int]:
    """What content-length says (RFC 9110, section 8.6): None without one, `UNREADABLE` if it is not one number."""
    values = [value for name, value in fields if name == _CONTENT_LENGTH]
    if not values:
        return None
    value = values[0]
    return int(value) if len(values) == 1 and value.isdigit() and len(value) <= _LONGEST_LENGTH else UNREADABLE


def _without_length(fields: Iterable[Field]) -> Tuple[Field, ...]:
    return tuple(field for field in fields if field[0] != _CONTENT_LENGTH)


def _with_length(head: Head, tail_fields: Tuple[Field, ...]) -> Block:
    """A block that has its content-length, or a second one, behind the cut."""
    kept = _without_length(tail_fields)
    block = Block(head, encode(kept), kept)
    block.length = _length(tail_fields) if head.length is None else UNREADABLE
    return block


def taken_by(head: Head) -> int:
    """The memory that a head takes, with what is worked out from it, bytes."""
    return _COPIES * len(head.wire) + sum(len(name) + len(value) + _FIELD for name, value in head.fields)


def _role(fields: Sequence[Field]) -> Optional[Role]:
    """What the pseudo-headers make of a block; None for one that is missing, unknown or there twice."""
    pseudo = [field for field in fields if field[0][:1] == b":"]
    if not pseudo:
        return Role.TRAILERS
    names = sorted(name for name, _ in pseudo)
    if names == [b":status"]:
        return _role_of_status(pseudo[0][1])
    if (b":method", b"CONNECT") in pseudo:  # RFC 9113, section 8.5
        return Role.REQUEST if names == _TUNNEL else None
    return Role.REQUEST if names in _REQUESTS else None


def _role_of_status(status: bytes) -> Optional[Role]:
    """RFC 9110, section 15: three digits; 1xx is an interim response. HTTP/2 has no 101 (RFC 9113, section 8.6)."""
    if status == b"101" or not _STATUS.fullmatch(status):
        return None
    return Role.INTERIM if status[:1] == b"1" else Role.RESPONSE


def _malformed(fields: Sequence[Field]) -> Optional[str]:
    """What makes these fields malformed (RFC 9113, sections 8.2 and 8.3), or None."""
    regular = False
    for name, value in fields:
        if name[:1] == b":":
            if regular:
                return f"pseudo-header {name[:_LONGEST_QUOTE]!r} after regular fields"
            if not value and name in _NEVER_EMPTY:
                return f"an empty {name.decode()}"
        else:
            regular = True
            if len(name) > _LONGEST_NAME or not (name in _USUAL or _NAME.fullmatch(name)):
                return f"field name {name[:_LONGEST_QUOTE]!r}"
            if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
                return f"connection-specific field {name!r}"
        if value.isalnum():
            continue
        if b"\0" in value or b"\r" in value or b"\n" in value:
            return f"a control character in the value of {name!r}"
        if (value[:1] in _BLANKS or value[-1:] in _BLANKS) and name != _MAY_HAVE_BLANKS:
            return f"a blank around the value of {name!r}"
    return None
