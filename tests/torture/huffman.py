"""Huffman's code (RFC 7541, section 5.2), which criproxy's own encoder does not use."""

from __future__ import annotations

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

_ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def huffman(text: bytes) -> bytes:
    """A string literal, with its length (section 5.2)."""
    coded = _ENCODER.encode(text)
    return _length(len(coded)) + coded


def _length(value: int) -> bytes:
    """An integer with a prefix of 7 bits, and the bit that says Huffman (section 5.1)."""
    if value < 127:
        return bytes((0x80 | value,))
    out = bytearray((0xFF,))
    value -= 127
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
