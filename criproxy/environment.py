"""Files of variables as systemd's ``EnvironmentFile=`` reads them (systemd.exec(5)), /etc/default/criproxy above all.

A line is ``NAME=value`` or a comment after ``#`` or ``;``. A value may be one or more quoted parts, which may go over
several lines. In single quotes every character stands for itself. In double quotes ``\\`` escapes ``"``, ``\\``, ``````
and ``$``. Outside of quotes ``\\`` escapes any character, and removes a newline.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Dict, Iterator, List, NamedTuple, Tuple

_QUOTES = r"""'[^']*'|"[^"\\]*(?:\\.[^"\\]*)*\""""
_ENTRY = rf"""
    [ \t\r\n]*
    (?: [#;] COMMENT
      | (?P<name> [^ \t\r\n][^=\n]*) =
        (?P<quoted> (?: [ \t\r]* (?: {_QUOTES} ))* )
        [ \t\r]* (?P<bare> [^\\\n]* (?: (?: \\. | \\\Z ) [^\\\n]* )* ) (?: \n | \Z )
      | (?P<other> [^\n]+)
      | \Z )
    """
"""Every repetition ends where the next part must begin, so that a text is read once, not once for each blank in it."""
_COMMENT = r"[^\n]*"
_COMMENT_BEFORE_254 = r"[^\\\n]* (?: \\. [^\\\n]* )* \\?"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_BLANK = " \t\r"


class Assignment(NamedTuple):
    """A variable's value, and the line in which it is given."""

    value: str
    line: int


def read(text: str, open_quotes: bool = False, long_comments: bool = False) -> Tuple[Dict[str, Assignment], List[int]]:
    """The variables, the last value of each, and the lines that give none. systemd skips those lines, too.

    Raises ValueError for an open quote, unless ``open_quotes``: then all that follows belongs to the quote, as for
    systemd. ``long_comments``: a backslash at the end of a comment continues it, as before systemd 254.
    """
    entries = _reading(_COMMENT_BEFORE_254 if long_comments else _COMMENT)
    variables: Dict[str, Assignment] = {}
    skipped: List[int] = []
    line, at = 1, 0
    for match in _entries(text, entries):
        bare, other = match["bare"], match["other"]
        if bare is None and other is None:  # a comment, or the end
            continue
        begin = match.start("name" if other is None else "other")
        line, at = line + text.count("\n", at, begin), begin
        name = _name(match)
        # Whatever its name is, all that follows is its value.
        is_open = other is None and bare.startswith(("'", '"'))
        if is_open and not open_quotes:
            raise ValueError(f"line {line}: {name}: the quote is not closed")
        if not re.fullmatch(_NAME, name):
            skipped.append(line)
        elif is_open:
            variables[name] = Assignment(_value(match["quoted"] + _closed(text[match.start("bare") :]), ""), line)
        else:
            variables[name] = Assignment(_value(match["quoted"], bare), line)
        if is_open:
            break
    return variables, skipped


def _closed(quoted: str) -> str:
    """A quote that goes to the end of its file, with an end."""
    escapes = len(quoted) - len(quoted.rstrip("\\")) if quoted[0] == '"' else 0
    return (quoted[:-1] if escapes % 2 else quoted) + quoted[0]


def assign(text: str, name: str, value: str) -> str:
    """The text with a variable set to a value. Replaces the last assignment, with all its lines.

    If there is none, a line is added: after the last one in which the assignment is commented out, or at the end.
    Raises ValueError for a quote that is not closed, as `read` does.
    """
    read(text)
    line = f"{name}={quote(value)}\n"
    shown = re.compile(rf"[ \t\r\n]*[#;][ \t]*{re.escape(name)}=")
    begin = end = len(text)
    found = False
    for match in _entries(text, _reading(_COMMENT)):
        if _name(match) == name:
            begin, end, found = match.start("name"), match.end(), True
        elif not found and match["name"] is None and shown.match(match[0]):
            begin = end = match.end() + (text[match.end() : match.end() + 1] == "\n")
    before = text[:begin].rstrip(" \t") if found else text[:begin]
    if before and not before.endswith("\n"):
        line = f"\n{line}"
    if before.endswith(("\\", "\\\n")):  # It takes a newline for its own.
        line = f"\n{line}"
    return f"{before}{line}{text[end:]}"


def extend(text: str, name: str, words: str) -> str:
    """The text with words, which need no quotes, at the end of a variable's last value; all else is as it was.

    Raises ValueError for a variable that is not set, and for a quote that is not closed.
    """
    before = read(text)[0]
    if name not in before:
        raise ValueError(f"{name} is not set")
    value = before[name].value
    added = f" {words}" if value.rstrip(" \t\n") == value and value else words
    last = [match for match in _entries(text, _reading(_COMMENT)) if _name(match) == name][-1]
    end = last.end("quoted") - 1  # before the quote that closes it
    if last["bare"].strip(_BLANK) or not last["quoted"]:
        end = last.start("bare") + len(last["bare"].rstrip(_BLANK))
    extended = text[:end] + added + text[end:]
    if read(extended)[0][name].value == value + added:
        return extended
    return assign(text, name, value + added)  # it ends with an escape


@cache
def _reading(comment: str) -> re.Pattern[str]:
    """What finds an entry: made when a file is read, since the daemon's first start need not read any."""
    return re.compile(_ENTRY.replace("COMMENT", comment), re.VERBOSE | re.DOTALL)


def _entries(text: str, entries: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """One after the other: assignments, comments, and what is neither."""
    at = 0
    while at < len(text):
        match = entries.match(text, at)
        assert match is not None  # `other` takes what nothing else does
        at = match.end()
        yield match


def _name(match: re.Match[str]) -> str:
    """The name of an assignment; empty for anything else."""
    return (match["name"] or "").rstrip(_BLANK)


def quote(value: str) -> str:
    """A value as `read` takes it: without quotes if it needs none."""
    if not re.search(r"[\s\"'\\`$;#]", value):
        return value
    return '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'


def _value(quoted: str, bare: str) -> str:
    parts = [
        part[1:-1] if part[0] == "'" else re.sub(r'\\([\n"\\`$])', _escaped, part[1:-1])
        for part in re.findall(_QUOTES, quoted, re.DOTALL)
    ]
    kept = bare.rstrip(_BLANK)
    if (len(kept) - len(kept.rstrip("\\"))) % 2:  # it escapes a blank
        kept = bare[: len(kept) + 1]
    return "".join(parts) + re.sub(r"\\(\n|.?)", _escaped, kept, flags=re.DOTALL)


def _escaped(match: re.Match[str]) -> str:
    return "" if match[1] == "\n" else match[1]
