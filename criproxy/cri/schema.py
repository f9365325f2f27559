"""Reads ``api.proto``, and other files like it: messages, fields, enumerations and methods as plain data.

Such a file uses a part of the protobuf language that can be read line by line: one declaration a line, no ``oneof``, no
``import``. Reading it takes a few milliseconds. A generated module would be bound to a release of protobuf. The tests
compare the result with protoc's.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Dict, Final, List, NamedTuple, Optional

_FIELD: Final = re.compile(
    r"(?P<repeated>repeated )?(?P<type>map<string, (?P<value>\w+)>|\w+) (?P<name>\w+) = (?P<number>\d+)"
    r"(?: \[(?P<options>.*)\])?;"
)
_VALUE: Final = re.compile(r"(?P<name>\w+) = (?P<number>\d+);")
_METHOD: Final = re.compile(
    r"rpc (?P<name>\w+)\((?P<request>\w+)\) returns \((?P<stream>stream )?(?P<response>\w+)\) {}"
)
_BLOCK: Final = re.compile(r"(?P<kind>message|enum|service) (?P<name>\w+) {(?P<end>})?")


class SchemaField(NamedTuple):
    """A field of a message. ``type`` is the name of a scalar type, or of a message or enumeration of the schema."""

    name: str
    number: int
    type: str
    repeated: bool = False
    map_value: Optional[str] = None
    """The type of the values if this is a map; then ``type`` is ``map<string, …>``."""
    redacted: bool = False
    """Never to be shown (``debug_redact``)."""


class Rpc(NamedTuple):
    """A method of a service: the names of its messages, and whether it streams its responses."""

    service: str
    name: str
    request: str
    response: str
    server_streaming: bool


class Schema(NamedTuple):
    """All of one file, by name."""

    messages: Dict[str, Dict[str, SchemaField]]
    enums: Dict[str, Dict[str, int]]
    methods: Dict[str, Rpc]


def parse(text: str, name: str = "api.proto") -> Schema:
    """Reads a schema, of a file of this name. Raises ValueError with the number of a line that is not understood."""
    messages: Dict[str, Dict[str, SchemaField]] = {}
    enums: Dict[str, Dict[str, int]] = {}
    methods: Dict[str, Rpc] = {}
    open_blocks: List[re.Match[str]] = []
    for number, whole in enumerate(text.splitlines(), 1):
        line = whole.partition("//")[0].strip()
        if not line or line.startswith(("syntax", "package")):
            continue
        block = _BLOCK.fullmatch(line)
        if block:
            if block["kind"] == "message":
                messages[block["name"]] = {}
            if not block["end"]:
                open_blocks.append(block)
        elif line == "}" and open_blocks:
            open_blocks.pop()
        elif open_blocks and _declare(open_blocks[-1], line, messages, enums, methods):
            continue
        else:
            raise ValueError(f"{name}, line {number}: not understood: {line}")
    return Schema(messages, enums, methods)


def _declare(
    block: re.Match[str],
    line: str,
    messages: Dict[str, Dict[str, SchemaField]],
    enums: Dict[str, Dict[str, int]],
    methods: Dict[str, Rpc],
) -> bool:
    """Adds the declaration on ``line`` to what ``block`` is the head of; says whether it was one."""
    if block["kind"] == "enum":
        value = _VALUE.fullmatch(line)
        if value:
            enums.setdefault(block["name"], {})[value["name"]] = int(value["number"])
        return value is not None
    if block["kind"] == "service":
        method = _METHOD.fullmatch(line)
        if method:
            methods[method["name"]] = Rpc(
                block["name"], method["name"], method["request"], method["response"], bool(method["stream"])
            )
        return method is not None
    field = _FIELD.fullmatch(line)
    if field:
        messages[block["name"]][field["name"]] = SchemaField(
            field["name"],
            int(field["number"]),
            field["type"],
            bool(field["repeated"]),
            field["value"],
            "debug_redact = true" in (field["options"] or ""),
        )
    return field is not None


@lru_cache(maxsize=1)
def load() -> Schema:
    """The schema of ``api.proto`` beside this module."""
    return read(os.path.join(os.path.dirname(__file__), "api.proto"))


def read(path: str) -> Schema:
    """The schema in a file that is part of the package. Raises OSError, and ValueError as `parse` does."""
    with open(path, encoding="utf-8") as file:
        return parse(file.read(), os.path.basename(path))
