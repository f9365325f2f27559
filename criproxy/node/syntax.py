"""How systemd reads units, command lines, assignments and files of variables (systemd.service(5), systemd.exec(5))."""

from __future__ import annotations

import re
from typing import Dict, Iterator, List, Mapping, Tuple

from criproxy import environment

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NEEDS_QUOTES = re.compile(r"[\s\"'\\;]|^$")


class SyntaxProblem(Exception):
    """A text that systemd would not read either. The message shows it."""


def split(text: str) -> List[str]:
    """The words of a setting: white space parts them, quotes hold them together, a backslash escapes.

    Raises SyntaxProblem for a quote without an end.
    """
    words: List[str] = []
    word: List[str] = []
    begun, quote, at = False, "", 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "\\" and at < len(text):
            word.append(_ESCAPES.get(text[at], text[at]))
            begun, at = True, at + 1
        elif quote:
            if character == quote:
                quote = ""
            else:
                word.append(character)
        elif character in "\"'":
            begun, quote = True, character
        elif character.isspace():
            if begun:
                words.append("".join(word))
            word, begun = [], False
        else:
            word.append(character)
            begun = True
    if quote:
        raise SyntaxProblem(f"a {quote} without an end: {text}")
    if begun:
        words.append("".join(word))
    return words


def expand(command: str, variables: Mapping[str, str]) -> List[str]:
    """The arguments that a command line becomes: ``$NAME`` alone is as many words as it has, ``${NAME}`` is text."""
    arguments: List[str] = []
    for word in split(command.replace("%%", "%")):
        if word[:1] == "$" and _NAME.fullmatch(word[1:]):
            arguments.extend(split(variables.get(word[1:], "")))
        else:
            arguments.append(_BRACED.sub(lambda found: variables.get(found[1], "") if found[1] else "$", word))
    return arguments


def quote(argument: str) -> str:
    """One argument as a word of a command line that systemd reads as just that."""
    argument = argument.replace("%", "%%").replace("$", "$$")
    if not _NEEDS_QUOTES.search(argument):
        return argument
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def assignments(text: str) -> Dict[str, str]:
    """The variables of an ``Environment=`` setting."""
    return dict(word.split("=", 1) for word in split(text) if "=" in word)


def variables(path: str, text: str) -> Dict[str, str]:
    """The variables of an ``EnvironmentFile=``. Raises SyntaxProblem, which names the file."""
    try:
        return {name: assignment.value for name, assignment in environment.read(text)[0].items()}
    except ValueError as error:
        raise SyntaxProblem(f"{path}: {error}") from error


def _joined(text: str) -> Iterator[str]:
    """Lines without comments; those that end with a backslash together with what follows, a space between."""
    begun = ""
    for line in text.split("\n"):
        if line.lstrip()[:1] in ("#", ";"):
            continue
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        yield begun + line
        begun = ""
    if begun:
        yield begun


def settings(text: str) -> Iterator[Tuple[str, str, str]]:
    """A unit file's settings in their order: section, key, value."""
    section = ""
    for line in _joined(text):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip()
