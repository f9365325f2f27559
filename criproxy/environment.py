"""Files of variables as systemd's ``EnvironmentFile=`` reads them (systemd.exec(5)), /etc/default/criproxy above all.

A line is ``NAME=value`` or a comment after ``#`` or ``;``. A value, or parts of it in a row, may stand in quotes, which
may go over several lines: in single ones every character stands for itself, in double ones ``\\`` takes the meaning of
``"``, ``\\``, `````` and ``$`` away. Elsewhere ``\\`` does so with any character, and takes a newline away altogether.
"""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Tuple

_ENTRY = re.compile(
    r"""
    \s*
    (?: [#;] [^\n]*
      | (?P<name> [^=\n]*?) [ \t\r]* =
        (?P<quoted> (?: [ \t\r]* (?: '[^']*' | "(?:[^"\\]|\\.)*" ))* )
        [ \t\r]* (?P<bare> (?: \\. | \\\Z | [^\\\n] )*?) [ \t\r]* (?: \n | \Z )
      | (?P<other> [^\n]+)
      | \Z )
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Assignment(NamedTuple):
    """A variable's value, and the line in which it is given."""

    value: str
    line: int


def read(text: str) -> Tuple[Dict[str, Assignment], List[int]]:
    """The variables, the last value of each, and the lines that give none, which systemd skips as well.

    Raises ValueError for a quote that is not closed: all that follows would silently belong to it.
    """
    variables: Dict[str, Assignment] = {}
    skipped: List[int] = []
    at = 0
    while at < len(text):
        match = _ENTRY.match(text, at)
        assert match is not None  # `other` takes what nothing else does
        at = match.end()
        name, bare, other = match["name"], match["bare"], match["other"]
        if name is None and other is None:  # a comment, or the end
            continue
        line = text.count("\n", 0, match.start("other" if name is None else "name")) + 1
        if name is None or not _NAME.fullmatch(name):
            skipped.append(line)
        elif bare.startswith(("'", '"')):
            raise ValueError(f"line {line}: {name}: the quote is not closed")
        else:
            variables[name] = Assignment(_value(match["quoted"], bare), line)
    return variables, skipped


def _value(quoted: str, bare: str) -> str:
    parts = [
        re.sub(r'\\([\n"\\`$])', _escaped, double) if single is None else single
        for single, double in (match.groups() for match in _QUOTED.finditer(quoted))
    ]
    return "".join(parts) + re.sub(r"\\(\n|.?)", _escaped, bare, flags=re.DOTALL)


def _escaped(match: re.Match[str]) -> str:
    return "" if match[1] == "\n" else match[1]
