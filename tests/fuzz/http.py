"""A request for metrics: however it is cut, it is the same, or refused alike."""

from __future__ import annotations

from contextlib import suppress
from typing import Iterable, Optional, Union

from criproxy.metrics.http import LARGEST_HEAD, Head, HttpError, Request, parse
from tests.fuzz.target import Target, cut, options_of

_SIZES = (1, 2, 3, 5, 64, 1_000)
"""Of the pieces, bytes."""
_FILLER = 64
"""An option: fields that bring the head to its bound."""


def _heard(pieces: Iterable[bytes]) -> Union[Request, int, None]:
    """The request, the status of its refusal, or nothing as long as it is not whole."""
    collected = Head()
    try:
        for piece in pieces:
            head = collected.feed(piece)
            if head is not None:
                assert len(head) <= LARGEST_HEAD
                return parse(head)
    except HttpError as error:
        return error.answer.status
    return None


def _again(request: Request) -> bytes:
    """A request that means the same."""
    return f"GET {request.path or 'http://x'} HTTP/1.1\r\nHost: x\r\nAccept: {request.accept}\r\n\r\n".encode("latin-1")


def _one(data: bytes) -> None:
    options, flow = options_of(data)
    if options & _FILLER:
        flow = flow.replace(
            b"\r\n", b"\r\nFiller: " + bytes(LARGEST_HEAD - len(flow)).replace(b"\0", b"x") + b"\r\n", 1
        )
    whole: Optional[Union[Request, int]] = _heard([flow])
    assert _heard(cut(flow, _SIZES[options % len(_SIZES)])) == whole
    if isinstance(whole, Request):
        assert _heard([_again(whole)]) == whole._replace(accept=whole.accept.strip(" \t"))
        assert not {" ", "?", "\r", "\n"} & set(whole.path)
        assert not {"\0", "\r", "\n"} & set(whole.accept)
    else:
        assert whole in (None, 400, 405, 431, 505)


def _work(data: bytes) -> None:
    _, flow = options_of(data)
    _heard(cut(flow, 64))
    with suppress(HttpError):
        parse(flow)


SCRAPES = Target(_one, _work)
