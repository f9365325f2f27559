"""What gRPC adds to HTTP/2 ("gRPC over HTTP2"): statuses, messages in data, deadlines."""

from __future__ import annotations

import zlib
from enum import IntEnum
from typing import List, Optional

from criproxy.http2.headers import Block, Head, block_of, encode

CONTENT_TYPE = b"application/grpc"
TIMEOUT = b"grpc-timeout"
PREFIX_SIZE = 5
"""A message begins with a flag (compressed) and four bytes of length."""
_LONGEST_TEXT = 4096
"""Of a status's text in bytes: clients take no more than 8 kB of fields from anybody, as a rule."""
_LONGEST_TIMEOUT = 9
"""A number of at most 8 digits, and its unit."""
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


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


class RpcError(Exception):
    """What a call ends with when the proxy itself has to say it. The text names what it is about."""

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
    """``grpc-message`` is percent-encoded: printable ASCII but % stays."""
    return b"".join(
        bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte
        for byte in text.encode()[:_LONGEST_TEXT]
    )


def unpercent(message: bytes) -> str:
    """The text of a ``grpc-message``; what is not well encoded stays as it is."""
    first, *rest = message.split(b"%")
    out = bytearray(first)
    for part in rest:
        try:
            out.append(int(part[:2], 16))
            out += part[2:]
        except ValueError:
            out += b"%" + part
    return out.decode("utf-8", "replace")


RESPONSE_HEADERS = encode(((b":status", b"200"), (b"content-type", CONTENT_TYPE)))
OK_TRAILERS = encode(((b"grpc-status", b"0"),))


# "HTTP to gRPC Status Code Mapping": what gRPC's clients make of an answer that is not gRPC's.
_OF_HTTP = {
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
        text = f"criproxy: the runtime answers with HTTP status {(status or b'').decode('latin-1')}"
        raise RpcError(_OF_HTTP.get(status or b"", Code.UNKNOWN), text)


def cut_off() -> RpcError:
    """The error of an answer that ends within a message."""
    return RpcError(Code.INTERNAL, "criproxy: the answer ends within a message")


def no_message() -> RpcError:
    """The error of an answer that should be a message, and is none."""
    return RpcError(Code.INTERNAL, "criproxy: an answer without a message")


def several_messages() -> RpcError:
    """The error of an answer that should be one message, and is more."""
    return RpcError(Code.INTERNAL, "criproxy: an answer of several messages")


def unreadable(whose: object, error: Exception) -> RpcError:
    """The error of an answer that cannot be taken in: what it is already, or that ``whose`` answer does not parse."""
    if isinstance(error, RpcError):
        return error
    return RpcError(Code.INTERNAL, f"criproxy: the answer of {whose} does not parse: {error}")


def trailers_of(block: Block) -> bytes:
    """What ends an answer whose headers have been sent, of a block that may be the whole of another's."""
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
    return RpcError(Code(status) if status in Code.__members__.values() else Code.UNKNOWN, text_of(block))


def timeout_of(block: Block) -> Optional[float]:
    """The caller's deadline from when it sent this, seconds; None if it has none."""
    value = block.get(TIMEOUT)
    if value is None or len(value) > _LONGEST_TIMEOUT or not value[:-1].isdigit() or value[-1:] not in _UNITS:
        return None
    return int(value[:-1]) * _UNITS[value[-1:]]


def with_timeout(block: Block, seconds: float) -> bytes:
    """The tail of a request's block with another deadline in it."""
    value = b"%dm" % max(1, min(99_999_999, int(seconds * 1000)))
    return encode((name, value if name == TIMEOUT else old) for name, old in block.tail_fields)


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


def is_one_message(data: bytes) -> bool:
    """Whether this is one whole message that is not compressed."""
    return len(data) >= PREFIX_SIZE and data[0] == 0 and int.from_bytes(data[1:5], "big") == len(data) - PREFIX_SIZE


def prefix(size: int) -> bytes:
    """What stands before an uncompressed message of this size."""
    return b"\0" + size.to_bytes(4, "big")


class Meter:
    """Watches the sizes of messages in a flow of data that is not collected."""

    __slots__ = ("_left", "_limit", "_prefix")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = 0
        self._prefix = b""

    def feed(self, data: bytes) -> None:
        """Raises RpcError (RESOURCE_EXHAUSTED) if a message that begins in ``data`` is larger than the limit."""
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
                self._left = int.from_bytes(self._prefix[1:], "big")
                self._prefix = b""
                if self._left > self._limit:
                    raise too_large(self._left, self._limit)


class Reader:
    """Collects the messages in a flow of data. ``limit``: the largest one's size, bytes."""

    __slots__ = ("_have", "_limit", "_parts", "encoding")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: List[bytes] = []
        self._have = 0
        self.encoding = b"identity"
        """``grpc-encoding`` of the flow, for messages that say they are compressed."""

    @property
    def idle(self) -> bool:
        """Whether no message has been begun."""
        return not self._have

    def feed(self, data: bytes) -> List[bytes]:
        """The messages that are complete with this data.

        Raises RpcError (RESOURCE_EXHAUSTED) as soon as a message says that it is larger than the limit.
        """
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            # The first part is kept so long that it has the whole prefix; joining waits for the whole message.
            if len(self._parts[0]) >= PREFIX_SIZE and self._have < self._wanted(self._parts[0]):
                return []
            parts, self._parts = self._parts, []
            size, self._have = self._have, 0
            if len(parts[0]) >= PREFIX_SIZE and size == self._wanted(parts[0]):
                compressed = parts[0][0]
                body = b"".join((memoryview(parts[0])[PREFIX_SIZE:], *parts[1:]))
                return [self._decompressed(body) if compressed else body]
            data = b"".join(parts)
        messages: List[bytes] = []
        at = 0
        while at < len(data):
            rest = data[at:] if at else data
            wanted = self._wanted(rest) if len(rest) >= PREFIX_SIZE else PREFIX_SIZE
            if len(rest) < wanted:
                self._parts.append(rest)
                self._have = len(rest)
                break
            body = rest[PREFIX_SIZE:wanted]
            messages.append(self._decompressed(body) if rest[0] else body)
            at += wanted
        return messages

    def _wanted(self, data: bytes) -> int:
        size = int.from_bytes(data[1:PREFIX_SIZE], "big")
        if size > self._limit:
            raise too_large(size, self._limit)
        return PREFIX_SIZE + size

    def _decompressed(self, body: bytes) -> bytes:
        if self.encoding not in (b"gzip", b"deflate"):
            raise RpcError(Code.UNIMPLEMENTED, f"criproxy: message compressed by {self.encoding.decode()!r}")
        # 32: a zlib or a gzip header, whichever is there.
        decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            plain = decompressor.decompress(body, self._limit + 1)
        except zlib.error as error:
            raise RpcError(Code.INTERNAL, f"criproxy: compressed message: {error}") from error
        if len(plain) > self._limit:
            raise too_large(len(plain), self._limit)
        return plain


def too_large(size: int, limit: int) -> RpcError:
    """The error of a message larger than the limit."""
    text = f"criproxy: a message of {size} bytes is larger than --max-message-size ({limit})"
    return RpcError(Code.RESOURCE_EXHAUSTED, text)
