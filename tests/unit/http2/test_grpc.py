"""gRPC's rules on top of HTTP/2: messages in data that is cut anywhere, compression, content types, deadlines."""

from __future__ import annotations

import gzip
import random
import re
import tracemalloc
import zlib
from typing import Any, List, Tuple
from unittest.mock import patch

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from criproxy.http2 import grpc
from criproxy.http2.fields import NeverIndexed
from criproxy.http2.grpc import (
    PIECE,
    TIMEOUT,
    Code,
    Compressed,
    Reader,
    RpcError,
    is_grpc,
    plain,
    prefix,
    quoted,
    unpercent,
    with_timeout,
)
from criproxy.http2.headers import Block, block_of

LIMIT = 1_000


def message(body: bytes, compressed: bool = False) -> bytes:
    """A message with its prefix."""
    return bytes((compressed,)) + len(body).to_bytes(4, "big") + body


def reader(encoding: bytes = b"identity") -> Reader:
    """One for messages of up to LIMIT bytes."""
    made = Reader(LIMIT)
    made.encoding = encoding
    return made


def read(reading: Reader, data: bytes) -> List[bytes]:
    """The messages that are complete with this data, decompressed."""
    return list(map(plain, reading.feed(data)))


@given(st.lists(st.tuples(st.binary(max_size=40), st.booleans()), max_size=8), st.data())
def test_data_cut_anywhere_gives_the_same_messages(messages: List[Tuple[bytes, bool]], choice: st.DataObject) -> None:
    wire = b"".join(message(gzip.compress(body) if packed else body, packed) for body, packed in messages)
    cuts = sorted(choice.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    reading = reader(b"gzip")
    got: List[bytes] = []
    with patch.object(grpc, "_LARGE", choice.draw(st.sampled_from((8, 20, grpc._LARGE)))):
        for begin, end in zip([0, *cuts], [*cuts, len(wire)]):
            got += read(reading, wire[begin:end])
    assert got == [body for body, _ in messages]
    assert reading.idle


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(1, 44))
def test_a_message_that_is_not_whole_is_waited_for(bodies: List[bytes], missing: int) -> None:
    wire = b"".join(map(message, bodies))
    missing = min(missing, len(bodies[-1]) + 4)
    reading = reader()
    assert reading.feed(wire[:-missing]) == bodies[:-1]
    assert not reading.idle
    assert reading.feed(wire[-missing:]) == bodies[-1:]


class Counted(bytes):
    """Counts the bytes that are taken out of it."""

    taken = 0

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        if isinstance(got, bytes):
            self.taken += len(got)
        return got


def test_many_small_messages_cost_no_more_than_their_size() -> None:
    wire = Counted(message(b"") * 52_000)
    assert len(reader().feed(wire)) == 52_000
    assert wire.taken <= len(wire)


@pytest.mark.parametrize("cut", [5, 6, 9])
def test_a_message_that_is_too_large_is_refused_by_its_prefix(cut: int) -> None:
    reading = reader()
    assert reading.feed(message(bytes(LIMIT))) == [bytes(LIMIT)]
    with pytest.raises(RpcError) as caught:
        reading.feed(prefix(LIMIT + 1)[:cut] + b"x" * (cut - 5))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


_PACKED = gzip.compress(b"a message")
_WRONG = {
    "without an encoding": (b"identity", _PACKED, Code.INTERNAL),
    "by an encoding that is not known": (b"snappy", _PACKED, Code.UNIMPLEMENTED),
    "by an encoding that is not ASCII": (b"\xff", _PACKED, Code.UNIMPLEMENTED),
    "by another encoding": (b"gzip", b"a message", Code.INTERNAL),
    "and is cut in the middle": (b"gzip", _PACKED[:-12], Code.INTERNAL),
    "and has lost its checksum": (b"gzip", _PACKED[:-8], Code.INTERNAL),
    "and is empty": (b"gzip", b"", Code.INTERNAL),
    "and has more behind its end": (b"gzip", _PACKED + _PACKED, Code.INTERNAL),
    "and is larger than the limit": (b"gzip", gzip.compress(bytes(LIMIT + 1)), Code.RESOURCE_EXHAUSTED),
}


@pytest.mark.parametrize(("encoding", "body", "code"), _WRONG.values(), ids=_WRONG)
def test_a_message_is_refused_that_is_compressed(encoding: bytes, body: bytes, code: Code) -> None:
    with pytest.raises(RpcError) as caught:
        read(reader(encoding), message(body, True))
    assert caught.value.code is code


def test_a_message_may_be_as_large_as_the_limit_once_it_is_decompressed() -> None:
    assert read(reader(b"gzip"), message(gzip.compress(bytes(LIMIT)), True)) == [bytes(LIMIT)]
    assert read(reader(b"deflate"), message(zlib.compress(bytes(LIMIT)), True)) == [bytes(LIMIT)]


class Drive:
    """Decompresses a message, and counts the steps that this takes."""

    def __init__(self, packed: bytes, encoding: bytes, limit: int) -> None:
        self.count = 0
        self._steps = Compressed(packed, encoding, limit).steps()

    def run(self) -> bytes:
        """Gives the message."""
        while True:
            try:
                next(self._steps)
            except StopIteration as end:
                body: bytes = end.value
                return body
            self.count += 1


def test_a_message_that_is_nearly_nothing_but_its_compression_is_given_up_before_it_is_large() -> None:
    packed = gzip.compress(bytes(63 * 2**20))
    drive = Drive(packed, b"gzip", 64 * 2**20)
    with pytest.raises(RpcError, match=f"{len(packed)} bytes become more than") as caught:
        drive.run()
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert drive.count * PIECE < 2**20 + 128 * len(packed)


def test_a_large_message_is_decompressed_in_pieces() -> None:
    body = random.Random(1).randbytes(100_000) * 40
    drive = Drive(zlib.compress(body), b"deflate", len(body))
    assert drive.run() == body
    assert drive.count == len(body) // PIECE


def test_a_message_that_comes_by_the_byte_takes_as_much_memory_as_it_has_bytes() -> None:
    size = 20_000
    reading = Reader(size)
    tracemalloc.start()
    try:
        for byte in prefix(size) + bytes(size - 1):
            assert reading.feed(bytes((byte,))) == []
        assert tracemalloc.get_traced_memory()[1] < 3 * size
    finally:
        tracemalloc.stop()
    assert reading.feed(b"\0") == [bytes(size)]


@pytest.mark.parametrize("content_type", [b"", b"+proto", b"+json", b";charset=utf-8"])
def test_a_content_type_is_grpcs(content_type: bytes) -> None:
    assert is_grpc(b"application/grpc" + content_type)


@pytest.mark.parametrize("content_type", [b"", b"application/json", b"application/grpcfoo", b"application/grpc-web"])
def test_a_content_type_is_not_grpcs(content_type: bytes) -> None:
    assert not is_grpc(content_type)


def test_another_deadline_leaves_the_other_fields_as_they_are() -> None:
    tail = ((TIMEOUT, b"5S"), NeverIndexed(b"x-secret", b"s"), (b"x-other", b"o"))
    wire = with_timeout(Block(block_of(()).head, b"", tail), 2.5)
    changed = Decoder().decode(wire, raw=True)
    assert changed == [(TIMEOUT, b"2500m"), (b"x-secret", b"s"), (b"x-other", b"o")]
    assert [field.indexable for field in changed] == [True, False, True]


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b"", ""),
        (b"exit status 1: ", "exit status 1: "),
        (b"100%25", "100%"),
        (b"%C3%a4", "ä"),
        ("ä".encode(), "ä"),
        # What is not well encoded stays as it is.
        (b"100%", "100%"),
        (b"%4", "%4"),
        (b"%zz%41", "%zzA"),
        (b"%+1%-1% 1%1_", "%+1%-1% 1%1_"),
        (b"%\xc3\xa4x", "%äx"),
        (b"%ff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_text_of_an_error_is_decoded(encoded: bytes, text: str) -> None:
    assert unpercent(encoded) == text


def test_only_the_beginning_of_a_long_text_is_decoded() -> None:
    """A record of the log holds no more, and a text may have 16 MiB."""
    assert unpercent(b"%41" * 2**20) == "A" * (64 * 1024 // 3) + "%"


@given(st.text(st.characters()))
def test_the_text_of_an_error_of_our_own_is_encoded_as_grpc_has_it(text: str) -> None:
    status, (name, encoded) = Decoder().decode(RpcError(Code.UNKNOWN, text).trailers(), raw=True)
    assert (status, name) == ((b"grpc-status", b"2"), b"grpc-message")
    assert re.fullmatch(rb"([ -$&-~]|%[0-9A-F]{2})*", encoded)
    assert unpercent(encoded) == text.encode(errors="backslashreplace").decode()


def test_the_text_of_an_error_of_our_own_is_cut_between_characters() -> None:
    _, (_, encoded) = Decoder().decode(RpcError(Code.UNKNOWN, "x" + "ä" * 5_000).trailers(), raw=True)
    assert unpercent(encoded) == "x" + "ä" * 2_047


@pytest.mark.parametrize(
    ("said", "quote"),
    [(b"a b", '"a b"'), (b"\x00\xff\n", '"\\x00\\xff\\n"'), (b"x" * 41, '"' + "x" * 40 + '…"')],
)
def test_what_a_peer_has_said_is_quoted(said: bytes, quote: str) -> None:
    assert quoted(said) == quote
