"""Messages in a flow of data: however it is cut, they are the same, or the same error."""

from __future__ import annotations

from contextlib import suppress
from typing import Iterable, List, Optional, Tuple

from criproxy.http2.grpc import Code, Meter, Reader, RpcError, plain
from tests.fuzz.target import Target, options_of

_LIMITS = (0, 10, 1_000, 100_000)
_ENCODINGS = (b"identity", b"gzip", b"deflate", b"snappy")
_CUTS = 48
"""Places at which a flow is cut in two."""


def _reader(options: int) -> Reader:
    reader = Reader(_LIMITS[options & 3])
    reader.encoding = _ENCODINGS[options >> 2 & 3]
    return reader


def _read(reader: Reader, pieces: Iterable[bytes]) -> Tuple[List[bytes], Optional[Code]]:
    messages: List[bytes] = []
    try:
        for piece in pieces:
            messages += map(plain, reader.feed(piece))
    except RpcError as error:
        return messages, error.code
    return messages, None


def _one(data: bytes) -> None:
    options, flow = options_of(data)
    limit = _LIMITS[options & 3]
    whole = _reader(options)
    messages, error = _read(whole, [flow])
    assert all(len(message) <= limit for message in messages)
    for at in range(0, len(flow) + 1, 1 + len(flow) // _CUTS):
        reader, meter = _reader(options), Meter(limit)
        cut_messages, cut_error = _read(reader, [flow[:at], flow[at:]])
        # Of two errors in a flow, the one that is found first depends on the cut.
        assert (cut_error is None) == (error is None)
        assert error is not None or (cut_messages, reader.idle) == (messages, whole.idle)
        too_large = False
        try:
            meter.feed(flow[:at])
            meter.feed(flow[at:])
        except RpcError as fault:
            assert fault.code is Code.RESOURCE_EXHAUSTED
            too_large = True
        # What one refuses for its size the other does; that something does not decompress only the Reader knows.
        assert error is not None or (not too_large and meter.idle == reader.idle)
    single = _read(_reader(options), (flow[at : at + 1] for at in range(len(flow))))
    assert (single[1] is None) == (error is None)
    assert error is not None or single[0] == messages


def _work(data: bytes) -> None:
    options, flow = options_of(data)
    reader, meter = _reader(options | 3), Meter(_LIMITS[3])
    with suppress(RpcError):
        for at in range(0, len(flow), 64):
            reader.feed(flow[at : at + 64])
            meter.feed(flow[at : at + 64])


GRPC = Target(_one, _work)
