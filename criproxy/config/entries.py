"""The configuration file: ``name = value`` (or ``name: value``) lines and ``#`` comments."""

from __future__ import annotations

import re
from typing import Dict

from criproxy.config.errors import ConfigError
from criproxy.config.names import meant
from criproxy.config.options import OPTIONS

_LINE = re.compile(r"(?P<name>[^\s:=]+)\s*[:=]\s*(?P<value>.*)")
_COMMENT = re.compile(r"\s#")
_END = {quote: re.compile(rf"{quote}(?:\s+#|\Z)") for quote in "\"'"}


def read(text: str, path: str, lines: Dict[str, str]) -> Dict[str, str]:
    """The values in a file's text, by the options' names; ``lines`` receives the file and the line of each.

    Raises ConfigError: there are no sections, and no unknown names.
    """
    names = [option.name for option in OPTIONS]
    items: Dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.split("\n")), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise ConfigError(f"{path}, line {number}: {line!r} is not NAME = VALUE")
        name = match["name"]
        if name not in names:
            raise ConfigError(f"{path}, line {number}: unknown key: {name!r}{meant(name, names)}")
        items[name] = _value(match["value"])
        lines[name] = f"{path}, line {number}"
    return items


def _value(text: str) -> str:
    """What is between quotes, if the last of them ends the line or a comment follows; else all up to a comment."""
    end = _END[text[0]].search(text, 1) if text[:1] in _END else None
    if end:
        return text[1 : end.start()]
    comment = _COMMENT.search(text)
    return text[: comment.start()].rstrip() if comment else text
