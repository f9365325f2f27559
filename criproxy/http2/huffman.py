"""The Huffman code of strings in field blocks (RFC 7541, section 5.2 and appendix B).

It is canonical: the codes follow from their lengths, and the table by which they are read from the codes.
"""

from __future__ import annotations

from typing import Dict, Final, List, Tuple

# fmt: off
_LENGTHS: Final[Tuple[int, ...]] = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
)
# fmt: on
"""Bits of each byte's code, and at last of the one that says that there is no more, which no string may have."""
_END: Final = 256
_LEAF: Final = 256
"""What a byte has more than its own number in the tree, so that it is no node's."""
_LONGEST_PADDING: Final = 7
"""bits, all of them 1."""

_EMITS: Final = 0x100
_FAILS: Final = 0x200
_COMPLETE: Final = 0x400
"""Marks of an entry of `_TABLE`, behind the byte: it has one; the code ended in it; a string may end behind it."""
_MARKED: Final = 0x3FF
_NODE: Final = 16
"""By so many bits the node in an entry is shifted."""
START: Final = _COMPLETE
"""The entry before a string's first bits."""


def _codes() -> List[int]:
    """Each byte's code: they are numbered by their lengths, and those of one length by the bytes."""
    codes = [0] * len(_LENGTHS)
    code = before = 0
    for length, byte in sorted((length, byte) for byte, length in enumerate(_LENGTHS)):
        code <<= length - before
        codes[byte] = code
        code += 1
        before = length
    return codes


def _tree(codes: List[int]) -> List[int]:
    """At twice a node's number what a 0 leads to from there, and behind that what a 1 does: a node, or a leaf."""
    tree = [0, 0]
    for byte, code in enumerate(codes):
        at = 0
        for shift in range(_LENGTHS[byte] - 1, 0, -1):
            branch = 2 * at + (code >> shift & 1)
            if not tree[branch]:
                tree[branch] = len(tree) // 2
                tree += (0, 0)
            at = tree[branch]
        tree[2 * at + (code & 1)] = _LEAF + byte
    return tree


def _table(tree: List[int]) -> List[int]:
    """An entry for each node and each four bits that follow: the next node, the marks, the byte that they end.

    It is one number: numbers are quicker to take apart than tuples where this is compiled.
    """
    ends: Dict[int, int] = {}
    node = 0
    for _ in range(_LONGEST_PADDING + 1):
        ends[node] = _COMPLETE
        node = tree[2 * node + 1]
    table: List[int] = []
    for node in range(len(tree) // 2):
        row = [node << _NODE]
        for _ in range(4):
            row = [_step(entry, tree[2 * (entry >> _NODE) + bit]) for entry in row for bit in (0, 1)]
        table += (entry | ends.get(entry >> _NODE, 0) for entry in row)
    return table


def _step(entry: int, to: int) -> int:
    """What becomes of an entry by another bit, which leads to that node or leaf."""
    if to < _LEAF:
        return to << _NODE | entry & _MARKED
    return _FAILS if to == _LEAF + _END else _EMITS | to - _LEAF


_CODES: Final[List[int]] = _codes()
_TABLE: Final[List[int]] = _table(_tree(_CODES))


def encode(text: bytes) -> bytes:
    """The code of a text."""
    code, length = 1, 0  # the 1 keeps the zeros behind it
    for byte in text:
        code = code << _LENGTHS[byte] | _CODES[byte]
        length += _LENGTHS[byte]
    padding = -length % 8
    code = (code + 1 << padding) - 1
    return code.to_bytes((length + padding) // 8 + 1, "big")[1:]


def decode(text: bytes) -> bytes:
    """The text of a code. Raises ValueError."""
    out = bytearray()
    check(read(text, START, out))
    return bytes(out)


def read(text: bytes, entry: int, out: bytearray) -> int:
    """Reads on in a code from this entry, four bits at a time, and gives the last one. Raises ValueError."""
    for byte in text:
        entry = _TABLE[entry >> 12 & 0xFF0 | byte >> 4]
        if entry & _EMITS:
            out.append(entry & 0xFF)
        elif entry & _FAILS:
            raise ValueError("Huffman code with an end in it")
        entry = _TABLE[entry >> 12 & 0xFF0 | byte & 0x0F]
        if entry & _EMITS:
            out.append(entry & 0xFF)
        elif entry & _FAILS:
            raise ValueError("Huffman code with an end in it")
    return entry


def check(entry: int) -> None:
    """Raises ValueError if a code cannot end behind this entry."""
    if not entry & _COMPLETE:
        raise ValueError("Huffman code that does not end")
