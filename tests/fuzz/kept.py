"""The inputs that are kept, and mutations of them."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Iterator, List, Sequence

CORPUS = Path(__file__).parent / "corpus"
_SPECIAL = (b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b" ", b"'", b'"', b"\\", b"\x0a\x02", b"\0\0\0\0")


def kept(target: str) -> List[bytes]:
    """The kept inputs of a target, the shortest first."""
    return sorted((path.read_bytes() for path in (CORPUS / target).iterdir()), key=lambda data: (len(data), data))


def mutations(inputs: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Inputs that are nearly like these, without end; the same ones for the same seed."""
    rng = Random(seed)
    while True:
        data = bytearray(rng.choice(inputs))
        for _ in range(rng.choice((1, 1, 2, 4))):
            _mutate(data, rng, inputs)
        yield bytes(data)


def _mutate(data: bytearray, rng: Random, inputs: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 5, 20)))
    how = rng.randrange(6)
    if how == 0:
        data[at:end] = b""
    elif how == 1:
        data[at:at] = rng.choice(_SPECIAL)
    elif how == 2:
        data[at:at] = data[at:end] * rng.choice((1, 3))
    elif how == 3:
        data[at:end] = bytes(rng.randrange(256) for _ in data[at:end])
    elif how == 4 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    else:
        other = rng.choice(inputs)
        begin = rng.randrange(len(other) + 1)
        data[at:end] = other[begin : begin + rng.choice((4, 30, 200))]
