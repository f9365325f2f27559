"""Changes the named fields of messages: paths are compiled once, to functions that walk a parsed message."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping

from criproxy.cri.messages import Classes, cut
from criproxy.cri.methods import METHODS, Fields, Kind
from criproxy.cri.schema import load

Change = Callable[[bytes], bytes]
Walk = Callable[[Any], None]


def _paths_of_rows() -> Dict[str, List[str]]:
    paths: Dict[str, List[str]] = {}
    for row in METHODS.values():
        for message, fields in ((row.rpc.request, row.takes), (row.rpc.response, row.gives)):
            paths.setdefault(message, []).extend(field.path for field in fields)
        paths[row.rpc.request].extend(path for path in (row.by, row.requires, row.starts) if path)
        paths[row.rpc.request].extend(path for path, _ in row.marks)
    return paths


EVEN_UNSET = frozenset((Kind.POD_HANDLER,))
"""Kinds of fields that are changed where they are empty, too."""

VIEWS: Classes = cut("criproxy.identities", _paths_of_rows())
"""Every message that a row speaks of, with the fields that it names."""


def walk(message: str, fields: Fields, changes: Mapping[Kind, Change]) -> Walk:
    """A function that changes the fields of a parsed ``message`` in place.

    Kinds without a change stay as they are, and so do fields that are not set but for those of `EVEN_UNSET`.
    """
    tree: Dict[str, Any] = {}
    for field in fields:
        if field.kind not in changes:
            continue
        at = tree
        *way, last = field.path.split(".")
        for part in way:
            at = at.setdefault(part, {})
        at[last] = (changes[field.kind], field.kind in EVEN_UNSET)
    return _compile(message, tree)


def _compile(message: str, tree: Mapping[str, Any]) -> Walk:
    """Python source for the tree, compiled: a list has thousands of fields, and a loop over a tree of closures takes
    twice as long for them."""
    known: Dict[str, Any] = {}
    lines = ["def walk(m0):", *_body(message, tree, 0, 1, known)]
    scope: Dict[str, Any] = dict(known)
    exec(compile("\n".join(lines), f"<fields of {message}>", "exec"), scope)
    walker: Walk = scope["walk"]
    return walker


def _body(message: str, tree: Mapping[str, Any], depth: int, indent: int, known: Dict[str, Any]) -> Iterable[str]:
    pad, here, below = "    " * indent, f"m{depth}", f"m{depth + 1}"
    yield f"{pad}pass"
    for name, sub in tree.items():
        field = load().messages[message][name]
        if isinstance(sub, dict):
            head = f"for {below} in {here}.{name}:" if field.repeated else f"if {here}.HasField({name!r}):"
            yield f"{pad}{head}"
            if not field.repeated:
                yield f"{pad}    {below} = {here}.{name}"
            yield from _body(field.type, sub, depth + 1, indent + 1, known)
            continue
        change = f"change{len(known)}"
        known[change], even_unset = sub
        if field.repeated:
            yield f"{pad}if {here}.{name}:"
            yield f"{pad}    {here}.{name}[:] = [{change}(value) for value in {here}.{name}]"
        else:
            yield f"{pad}value = {here}.{name}"
            yield f"{pad}if {even_unset} or value:"
            yield f"{pad}    {here}.{name} = {change}(value)"
