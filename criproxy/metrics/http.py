"""As much of HTTP/1.1 (RFC 9110, RFC 9112) as a scrape takes, without I/O: the head of a GET, and an answer to it."""

from __future__ import annotations

import re
from typing import Dict, Final, NamedTuple, Optional, Tuple

LARGEST_HEAD: Final = 8 * 1024
"""bytes of a request's first line and fields."""
_END: Final = b"\r\n\r\n"
PLAIN: Final = "text/plain; charset=utf-8"
_REQUEST: Final = re.compile(rb"([!#-'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.([0-9])")
_NAME: Final = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(rb"[^\0\r\n]*")
_AUTHORITY: Final = re.compile(r"[Hh][Tt][Tt][Pp]://[^/?]*")
_STATUS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Request(NamedTuple):
    """A GET that is well formed."""

    path: str
    """Without what follows a ``?``."""
    accept: str
    """The field of this name; empty if there is none."""


class Answer(NamedTuple):
    """An answer with all of its body."""

    status: int
    body: bytes
    content_type: str = PLAIN


class HttpError(Exception):
    """A request that is refused: with this answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = Answer(status, f"{text}\n".encode())


class Head:
    """Collects a request's head."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Optional[bytes]:
        """The head without the empty line at its end, and without what follows, once it is whole. Raises HttpError."""
        seen = max(0, len(self._data) - len(_END) + 1)
        self._data += data
        end = self._data.find(_END, seen)
        if end > LARGEST_HEAD or (end < 0 and len(self._data) >= LARGEST_HEAD + len(_END)):
            raise HttpError(431, f"a request has at most {LARGEST_HEAD} bytes")
        return None if end < 0 else bytes(self._data[:end])


def parse(head: bytes) -> Request:
    """Reads a head without the empty line at its end. Raises HttpError."""
    first, _, rest = head.partition(b"\r\n")
    match = _REQUEST.fullmatch(first)
    if match is None:
        raise HttpError(400, "this is not HTTP")
    if match[3] != b"1":
        raise HttpError(505, "this is HTTP/1.1")
    fields = _fields(rest)
    if b"host" not in fields and match[4] != b"0":
        raise HttpError(400, "there is no Host")
    if match[1] != b"GET":
        raise HttpError(405, "there is only GET")
    target = match[2].decode("ascii")
    authority = _AUTHORITY.match(target)
    path = target[authority.end() if authority else 0 :].partition("?")[0]
    return Request(path, fields.get(b"accept", b"").decode("latin-1"))


def _fields(lines: bytes) -> Dict[bytes, bytes]:
    """The fields by their names in lower case; those of one name are joined (RFC 9110, section 5.3)."""
    fields: Dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n") if lines else ():
        name, colon, value = line.partition(b":")
        if not (colon and _NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise HttpError(400, "a field is not NAME: VALUE")
        name, value = name.lower(), value.strip(b" \t")
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def written(answer: Answer) -> bytes:
    """An answer as it is sent. It is the last on its connection."""
    fields: Tuple[Tuple[str, str], ...] = (
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
        *((("Allow", "GET"),) if answer.status == 405 else ()),
    )
    lines = [f"HTTP/1.1 {answer.status} {_STATUS[answer.status]}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode("ascii") + _END + answer.body
