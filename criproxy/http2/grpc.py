"""What gRPC adds to HTTP/2 ("gRPC over HTTP2"): statuses, messages in data, deadlines."""

from __future__ import annotations

import re
import sys
import zlib
from enum import IntEnum
from io import BytesIO
from struct import Struct
from typing import Callable, Final, Generator, List, Optional, Tuple, Union

from criproxy.http2.compiled import COMPILED
from criproxy.http2.frames import word_at
from criproxy.http2.headers import Block, Head, block_of, encode, with_value

CONTENT_TYPE: Final = b"application/grpc"
TIMEOUT: Final = b"grpc-timeout"
PREFIX_SIZE: Final = 5
"""bytes before each message: a flag (compressed), four bytes of length (gRPC over HTTP/2, Length-Prefixed-Message)."""
_UNPACK: Final[Callable[[Union[bytes, bytearray], int], Tuple[int, int]]] = Struct(">BL").unpack_from
_LONGEST_TEXT: Final = 4096
"""bytes of the text of a status of our own: most clients accept at least 8 kB of fields."""
_LONGEST_READ: Final = 64 * 1024
"""bytes of a ``grpc-message`` that are read: a record of the log holds as many. It goes on as it is."""
_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_BYTES: Final = [bytes((byte,)) for byte in range(256)]
_TLS_ALERT: Final = b"\x15\x03"
"""How a server of TLS answers what is none (RFC 8446, section 5.1)."""
_LONGEST_QUOTE: Final = 40
"""bytes that a text quotes of what a peer has said."""
_LONGEST_TIMEOUT: Final = 9
"""characters: a number of at most 8 digits, and its unit (gRPC over HTTP/2, Timeout)."""
PIECE: Final = 256 * 1024
"""bytes that are decompressed, or put together of small ones, at once"""
_SMALL: Final = 4096
"""Pieces of at most so many bytes are put together."""
_LARGE: Final = 8 * 2**20
"""A message of which more bytes have come is large."""
_INFLATED: Final = 2**20
_INFLATION: Final = 128
"""A message may decompress to so many bytes, and to so many more for each that it has. DEFLATE reaches 1032 for one,
but only with nothing in it: a list of entries that are alike, but for their ids, comes to 25."""
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Code(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @classmethod
    def of(cls, status: int) -> Code:
        """The code of a status on the wire: UNKNOWN for one that is not gRPC's."""
        return cls(status) if status in cls.__members__.values() else cls.UNKNOWN


class RpcError(Exception):
    """A status by which the proxy itself ends a call. The text begins with ``criproxy:``."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code

    def trailers(self) -> bytes:
        """The field block that ends an answer of which the headers have been sent."""
        return encode(((b"grpc-status", b"%d" % self.code), (b"grpc-message", _percent(str(self)))))

    def trailers_only(self) -> bytes:
        """The field block that is the whole answer."""
        return RESPONSE_HEADERS + self.trailers()


def _percent(text: str) -> bytes:
    """``grpc-message`` is percent-encoded: printable ASCII but % stays. A text that is too long loses its end.

    A path of the file system that is not UTF-8 is shown with escapes (PEP 383): the field must be.
    """
    whole = text[:_LONGEST_TEXT].encode(errors="backslashreplace")[:_LONGEST_TEXT].decode(errors="ignore").encode()
    return b"".join(bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in whole)


def unpercent(message: bytes) -> str:
    """The text of a ``grpc-message``, or its beginning; what is not well encoded stays as it is."""
    decoded = _ENCODED.sub(lambda found: _BYTES[int(found[1], 16)], message[:_LONGEST_READ])
    return decoded.decode(errors="replace")


def not_grpc(said: bytes) -> str:
    """Why a peer that begins with these bytes does not speak gRPC; empty if it may speak HTTP/2."""
    # The first byte of a frame's length is zero in every frame that has a right to be the first.
    if not said or said.startswith(b"\0"):
        return ""
    if said.startswith(_TLS_ALERT):
        return "it does not speak gRPC (it answered with a TLS alert)"
    line = (said.lstrip() or said).splitlines()[0]
    return f"it does not speak gRPC (it answered {quoted(line)})"


def quoted(said: bytes) -> str:
    """What a peer has said, for a text: in quotes, escaped, and not more than its beginning."""
    beginning = repr(said[:_LONGEST_QUOTE])[2:-1]
    return f'"{beginning}{"…" if len(said) > _LONGEST_QUOTE else ""}"'


RESPONSE_HEADERS: Final = encode(((b":status", b"200"), (b"content-type", CONTENT_TYPE)))
OK_TRAILERS: Final = encode(((b"grpc-status", b"0"),))


# "HTTP to gRPC Status Code Mapping": what gRPC's clients make of an answer that is not gRPC's.
_OF_HTTP: Final = {
    b"400": Code.INTERNAL,
    b"401": Code.UNAUTHENTICATED,
    b"403": Code.PERMISSION_DENIED,
    b"404": Code.UNIMPLEMENTED,
    b"429": Code.UNAVAILABLE,
    b"502": Code.UNAVAILABLE,
    b"503": Code.UNAVAILABLE,
    b"504": Code.UNAVAILABLE,
}


def status_of(head: Head) -> int:
    """The status in trailers (remembered with them); where there is none, what gRPC's clients take it for."""
    status = head.memo
    if not isinstance(status, int):
        value = head.get(b"grpc-status")
        if value is None:
            status = _OF_HTTP.get(head.get(b":status") or b"", Code.UNKNOWN)
        else:
            status = int(value) if value.isdigit() and len(value) < 4 else Code.UNKNOWN
        head.memo = status
    return status


def check_head(head: Head) -> None:
    """Raises RpcError if this is the head of an answer that is not gRPC's; no messages follow it then."""
    status = head.get(b":status")
    if status != b"200":
        text = f"criproxy: the runtime answers with HTTP status {(status or b'').decode()}"
        raise RpcError(_OF_HTTP.get(status or b"", Code.UNKNOWN), text)
    content_type = head.get(b"content-type")
    if not is_grpc(content_type or b""):
        said = "without a content-type" if content_type is None else f"with content-type {quoted(content_type)}"
        text = f"criproxy: the runtime answers {said}"
        raise RpcError(Code.UNKNOWN, text)


def cut_off() -> RpcError:
    """The error of an answer that ends within a message."""
    return RpcError(Code.INTERNAL, "criproxy: the runtime's answer ends within a message")


def no_message() -> RpcError:
    """The error of an answer that should be a message, and is none."""
    return RpcError(Code.INTERNAL, "criproxy: the runtime's answer has no message")


def several_messages() -> RpcError:
    """The error of an answer that should be one message, and is more."""
    return RpcError(Code.INTERNAL, "criproxy: the runtime's answer has several messages, not one")


def no_trailers() -> RpcError:
    """The error of an answer that ends without a status."""
    return RpcError(Code.INTERNAL, "criproxy: the runtime's answer has no trailers")


def unreadable(whose: object, error: Exception) -> RpcError:
    """The error of an unusable answer: ``error`` itself if it is an RpcError, else that the answer does not parse."""
    if isinstance(error, RpcError):
        # An encoding that only the server does not know is INTERNAL ("Compression"); this would be an unknown method.
        return RpcError(Code.INTERNAL, str(error)) if error.code is Code.UNIMPLEMENTED else error
    return RpcError(Code.INTERNAL, f"criproxy: the answer of {whose} does not parse: {error}")


def trailers_of(block: Block) -> bytes:
    """The trailers in a block that may be Trailers-Only (gRPC over HTTP/2), for an answer that has begun."""
    if block.head.get(b":status") is None:
        return block.wire
    return encode(field for field in block.fields if field[0] not in (b":status", b"content-type"))


def text_of(block: Block) -> str:
    """The text of the status in trailers."""
    return unpercent(block.get(b"grpc-message") or b"")


def error_of(block: Block) -> Optional[RpcError]:
    """The error that trailers end a call with; None if they say that it has succeeded."""
    status = status_of(block.head)
    if not status:
        return None
    return RpcError(Code.of(status), text_of(block))


def timeout_of(block: Block) -> Optional[float]:
    """The caller's deadline from when it sent this, seconds; None if it has none."""
    value = block.get(TIMEOUT)
    if value is None or len(value) > _LONGEST_TIMEOUT or not value[:-1].isdigit() or value[-1:] not in _UNITS:
        return None
    return int(value[:-1]) * _UNITS[value[-1:]]


def with_timeout(block: Block, seconds: float) -> bytes:
    """The tail of a request's block with another deadline in it."""
    value = b"%dm" % max(1, min(99_999_999, int(seconds * 1000)))
    return encode(with_value(block.tail_fields, TIMEOUT, value))


def request_head(path: str) -> Block:
    """The head of a request of our own."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"localhost"),
        (b"content-type", CONTENT_TYPE),
        (b"te", b"trailers"),
    )
    return block_of(fields)


def is_grpc(content_type: bytes) -> bool:
    """Whether a content-type is gRPC's: alone, or followed by the format of the messages or by parameters."""
    return content_type.startswith(CONTENT_TYPE) and content_type[len(CONTENT_TYPE) :][:1] in (b"", b"+", b";")


def is_one_message(data: bytes) -> bool:
    """Whether this is one whole message that is not compressed."""
    size = len(data) - PREFIX_SIZE
    if not COMPILED:
        return size >= 0 and data.startswith(size.to_bytes(PREFIX_SIZE, "big"))
    return size >= 0 and not data[0] and word_at(data, 1) == size


def prefix(size: int) -> bytes:
    """What stands before an uncompressed message of this size: the flag is the 0 before its four bytes."""
    return size.to_bytes(PREFIX_SIZE, "big")


class Meter:
    """Watches the messages in a flow of data that is not collected. ``most``: how many it may have."""

    __slots__ = ("_left", "_limit", "_most", "_prefix")

    def __init__(self, limit: int, most: int = sys.maxsize) -> None:
        self._limit = limit
        self._most = most
        self._left = 0
        self._prefix = b""

    @property
    def idle(self) -> bool:
        """Whether no message has been begun."""
        return not (self._left or self._prefix)

    def feed(self, data: bytes) -> None:
        """Raises RpcError if a message that begins in ``data`` is larger than the limit, or one too many."""
        at, end = 0, len(data)
        if self._left >= end and not self._prefix:
            self._left -= end
            return
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            step = PREFIX_SIZE - len(self._prefix)
            self._prefix += data[at : at + step]
            at += step
            if len(self._prefix) == PREFIX_SIZE:
                _, self._left = _UNPACK(self._prefix, 0)
                self._prefix = b""
                self._most -= 1
                if self._most < 0:
                    raise several_messages()
                if self._left > self._limit:
                    raise too_large(self._left, self._limit)


class Compressed:
    """A message as it has come, compressed by ``encoding``; ``limit``: how large it may be, bytes."""

    __slots__ = ("_body", "_encoding", "_limit", "held", "size")

    def __init__(self, body: bytes, encoding: bytes, limit: int) -> None:
        self.size = len(body)
        """bytes, compressed"""
        self.held = self.size
        """The memory that is taken by it and by what has become of it so far, bytes."""
        self._body = body
        self._encoding = encoding
        self._limit = limit

    def steps(self) -> Generator[None, None, bytes]:
        """Decompresses it in pieces of a millisecond or less, and returns it. Raises RpcError if it cannot be."""
        if self._encoding == b"identity":
            raise RpcError(Code.INTERNAL, "criproxy: a message is compressed, and grpc-encoding does not say how")
        if self._encoding not in (b"gzip", b"deflate"):
            raise RpcError(Code.UNIMPLEMENTED, f"criproxy: message compressed by {quoted(self._encoding)}")
        # 32: a zlib or a gzip header, whichever is there.
        decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
        most = min(self._limit, _INFLATED + self.size * _INFLATION)
        parts: List[bytes] = []
        have, body = 0, self._body
        try:
            while not decompressor.eof:
                part = decompressor.decompress(body, PIECE)
                body = decompressor.unconsumed_tail
                if not part and not body:
                    break
                parts.append(part)
                have += len(part)
                self.held = self.size + have
                if have > most:
                    raise too_large(have, self._limit) if have > self._limit else self._bomb(have)
                if len(part) == PIECE:
                    yield
        except zlib.error as error:
            raise RpcError(Code.INTERNAL, f"criproxy: compressed message: {error}") from error
        if not decompressor.eof or decompressor.unused_data:
            raise RpcError(Code.INTERNAL, "criproxy: compressed message: it does not end where its data does")
        return b"".join(parts)

    def _bomb(self, have: int) -> RpcError:
        text = f"criproxy: compressed message: {self.size} bytes become more than {have}; no list is so uniform"
        return RpcError(Code.RESOURCE_EXHAUSTED, text)


Message = Union[bytes, Compressed]
"""One of a flow of messages."""


def held_by(message: Optional[Message]) -> int:
    """The memory that a message takes, if there is one, bytes."""
    if message is None:
        return 0
    return message.held if isinstance(message, Compressed) else len(message)


def plain(message: Message) -> bytes:
    """The message itself, decompressed in one go. Raises RpcError if it cannot be."""
    if not isinstance(message, Compressed):
        return message
    steps = message.steps()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            plain: bytes = end.value
            return plain


class Reader:
    """Collects the messages in a flow of data. ``limit``: the largest one's size, bytes.

    What has come of a message is joined when all is there; of one that is larger than `_LARGE` as it comes, since to
    join 64 MiB takes 50 ms.
    """

    __slots__ = ("_have", "_large", "_limit", "_parts", "encoding")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: List[Union[bytes, bytearray]] = []
        self._large: Optional[BytesIO] = None
        """A large message but for its prefix, which is ``_parts`` then. (To take all of it out is no copy.)"""
        self._have = 0
        self.encoding = b"identity"
        """``grpc-encoding`` of the flow, for messages that say they are compressed."""

    @property
    def idle(self) -> bool:
        """Whether no message has been begun."""
        return not self._have

    @property
    def held(self) -> int:
        """How much of a message has come, bytes."""
        return self._have

    def feed(self, data: bytes) -> List[Message]:
        """The messages that are complete with this data.

        Raises RpcError (RESOURCE_EXHAUSTED) as soon as a message says that it is larger than the limit.
        """
        if self._large is not None:
            return self._feed_large(self._large, data)
        if self._parts:
            self._keep(data)
            # The first part is kept so long that it has the whole prefix; joining waits for the whole message.
            if len(self._parts[0]) >= PREFIX_SIZE and self._have < self._end_of(self._parts[0], 0):
                if self._have > _LARGE:
                    self._begin_large()
                return []
            parts, self._parts = self._parts, []
            size, self._have = self._have, 0
            if len(parts[0]) >= PREFIX_SIZE and size == self._end_of(parts[0], 0):
                compressed = parts[0][0]
                body = b"".join((memoryview(parts[0])[PREFIX_SIZE:], *parts[1:]))
                return [self._compressed(compressed, body) if compressed else body]
            data = b"".join(parts)
        messages: List[Message] = []
        at, size = 0, len(data)
        while size - at >= PREFIX_SIZE:
            end = self._end_of(data, at)
            if end > size:
                break
            body = data[at + PREFIX_SIZE : end]
            messages.append(self._compressed(data[at], body) if data[at] else body)
            at = end
        if at < size:
            self._keep(data[at:] if at else data)  # compiled, a slice of all is a copy, too
        return messages

    def _begin_large(self) -> None:
        first, *others = self._parts
        self._parts = [first[:PREFIX_SIZE]]
        self._large = BytesIO()
        self._large.write(memoryview(first)[PREFIX_SIZE:])
        self._large.writelines(others)

    def _feed_large(self, large: BytesIO, data: bytes) -> List[Message]:
        prefix = self._parts[0]
        missing = self._end_of(prefix, 0) - self._have
        if len(data) < missing:
            large.write(data)
            self._have += len(data)
            return []
        large.write(memoryview(data)[:missing])
        self._large, self._parts, self._have = None, [], 0
        body = large.getvalue()
        message = self._compressed(prefix[0], body) if prefix[0] else body
        return [message, *self.feed(data[missing:])]

    def _keep(self, data: bytes) -> None:
        """Puts a piece behind the others. Small ones are put together: an object of Python's is 40 bytes, and more."""
        self._have += len(data)
        last = self._parts[-1] if self._parts else None
        if len(data) > _SMALL:
            self._parts.append(data)
        elif isinstance(last, bytearray) and len(last) < PIECE:
            last += data
        else:
            self._parts.append(bytearray(data))

    def _end_of(self, data: Union[bytes, bytearray], at: int) -> int:
        """Where the message that begins at ``at`` ends; its prefix is there."""
        _, size = _UNPACK(data, at)
        if size > self._limit:
            raise too_large(size, self._limit)
        return at + PREFIX_SIZE + size

    def _compressed(self, flag: int, body: bytes) -> Compressed:
        if flag > 1:
            raise RpcError(Code.INTERNAL, f"criproxy: a message with the flag {flag}: 1 says it is compressed, 0 not")
        return Compressed(body, self.encoding, self._limit)


def too_large(size: int, limit: int) -> RpcError:
    """The error of a message larger than the limit."""
    text = f"criproxy: a message of {size} bytes is larger than --max-message-size ({limit})"
    return RpcError(Code.RESOURCE_EXHAUSTED, text)
