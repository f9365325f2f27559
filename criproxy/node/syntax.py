"""How systemd reads units, command lines, assignments and files of variables (systemd.syntax(7), systemd.service(5),
systemd.exec(5)).

Where the manuals are silent, systemd's code decides. An error in a command makes systemd refuse the command; an error
in a list of variables makes it skip the rest of the list. A quote in a variable's value needs no end.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from criproxy import environment

SPACE = " \t\n\r"
"""What parts words. No other white space does."""
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_ESCAPE = re.compile(r"[abfnrtvs\\\"']|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[0-3][0-7]{2}")
_BRACED = re.compile(r"\$\$|\$\{([^}:]*)(\}?)")
"""What has no end is taken as well, and stays: it would be looked for once for each ``${`` else."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEEDS_QUOTES = re.compile(r"[\s\"'\\;]|^$")


class SyntaxProblem(Exception):
    """A text that systemd would not read either, or that cannot be read here as it would. The message shows it."""


class Setting(NamedTuple):
    """A setting of a unit file."""

    section: str
    key: str
    value: str
    line: int


class Words:
    """The words of a text: white space parts them, quotes hold them together, a backslash escapes.

    ``escapes``: ``\\x2f`` and the like are replaced, as in settings; else a backslash only removes a character's
    meaning, as in the value of a variable. Raises SyntaxProblem for a quote without an end, which a
    value may have, and, if ``strict``, for an escape that is none, which otherwise stands for itself.
    """

    def __init__(self, text: str, escapes: bool = True, strict: bool = False) -> None:
        self._text = text
        self._escapes = escapes
        self._strict = strict
        self._at = 0

    def __iter__(self) -> Iterator[str]:
        word = self.next()
        while word is not None:
            yield word
            word = self.next()

    def takes(self, sign: str) -> bool:
        """Whether the next word is just this, unquoted; it is taken then."""
        self._skip_space()
        after = self._at + len(sign)
        if not self._text.startswith(sign, self._at) or self._text[after : after + 1].strip(SPACE):
            return False
        self._at = after
        return True

    def next(self) -> Optional[str]:
        """The next word, if there is one more."""
        self._skip_space()
        if self._at == len(self._text):
            return None
        word: List[str] = []
        quote = ""
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == "\\":
                word.append(self._escaped())
            elif character == quote:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            elif not quote and character in SPACE:
                break
            else:
                word.append(character)
        if quote and self._escapes:
            raise SyntaxProblem(f"a {quote} without an end: {self._text}")
        return _text("".join(word))

    def _skip_space(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in SPACE:
            self._at += 1

    def _escaped(self) -> str:
        found = _ESCAPE.match(self._text, self._at) if self._escapes else None
        character = _unescaped(found[0]) if found else ""
        if found and character:
            self._at = found.end()
            return character
        if self._strict:
            raise SyntaxProblem(f"a backslash that escapes nothing: {self._text}")
        character = self._text[self._at : self._at + 1]
        self._at += len(character)
        return f"\\{character}" if self._escapes else character


def _unescaped(escape: str) -> str:
    """What an escape stands for; empty for a NUL and for what is no character."""
    kind, number = escape[0], escape[1:]
    if not number:
        return _ESCAPES.get(kind, kind)
    value = int(number, 16) if kind in "xuU" else int(escape, 8)
    if kind in "uU":
        return "" if value > 0x10FFFF or 0xD800 <= value < 0xE000 or not value else chr(value)
    return bytes([value]).decode("utf-8", "surrogateescape") if value else ""


def _text(word: str) -> str:
    """Bytes that were escaped one by one may be a character together."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def split(text: str) -> List[str]:
    """The words of a setting. Raises SyntaxProblem for a quote without an end."""
    return list(Words(text))


def commands(text: str) -> List[List[str]]:
    """The commands of an ``ExecStart=``, which `` ; `` parts, as words. Raises SyntaxProblem."""
    found: List[List[str]] = [[]]
    words = Words(text)
    while True:
        if found[-1] and words.takes(";"):
            found.append([])
            continue
        word = ";" if found[-1] and words.takes("\\;") else words.next()
        if word is None:
            return [command for command in found if command]
        found[-1].append(word)


def names(word: str) -> List[str]:
    """The variables that a word of a command is made of: ``$NAME`` if it is the whole word, else each ``${NAME}``."""
    if word.startswith("$") and word[1:2] not in ("{", "$"):
        return [word[1:]]
    return [name for name, end in _BRACED.findall(word) if name and end]


def arguments(word: str, value_of: Callable[[str], str]) -> List[str]:
    """The arguments that a word of a command becomes. A variable that is not set is empty.

    ``$NAME`` alone is as many words as it has; ``${NAME}`` is text.
    """
    if word.startswith("$") and word[1:2] not in ("{", "$"):
        return list(Words(value_of(word[1:]), escapes=False))

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        return value_of(found[1]) if found[2] else found[0]

    return [_BRACED.sub(value, word)]


def expand(command: str, variables: Mapping[str, str]) -> List[str]:
    """The arguments that a command line without specifiers becomes. Raises SyntaxProblem."""
    words = (word.replace("%%", "%") for word in split(command))
    return [argument for word in words for argument in arguments(word, lambda name: variables.get(name, ""))]


def quote(argument: str) -> str:
    """One argument as a word of a command line that systemd reads as just that."""
    argument = argument.replace("%", "%%").replace("$", "$$")
    if not _NEEDS_QUOTES.search(argument):
        return argument
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def assignments(text: str) -> List[str]:
    """The words of an ``Environment=`` setting; what systemd cannot read, and all that follows it, it skips."""
    found: List[str] = []
    with suppress(SyntaxProblem):
        for word in Words(text, strict=True):
            found.append(word)
    return found


def assigned(word: str) -> Tuple[str, str]:
    """The variable's name and its value of an assignment; an empty name if it is none."""
    name, sign, value = word.partition("=")
    return (name, value) if sign and _NAME.fullmatch(name) else ("", "")


def variables(path: str, text: str) -> Dict[str, str]:
    """The variables of a file such as /etc/default/criproxy. Raises SyntaxProblem, which names the file."""
    try:
        return {name: assignment.value for name, assignment in environment.read(text)[0].items()}
    except ValueError as error:
        raise SyntaxProblem(f"{path}: {error}") from error


def _joined(text: str) -> Iterator[Tuple[str, int]]:
    """Lines without comments, with their numbers; those that end with a backslash together with what follows, a space
    between."""
    begun: List[str] = []
    first = 0
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip(SPACE)[:1] in ("#", ";"):
            continue
        first = first or number
        if (len(line) - len(line.rstrip("\\"))) % 2:  # one that is escaped is a backslash
            begun.append(line[:-1] + " ")
            continue
        yield "".join((*begun, line)), first
        begun, first = [], 0
    if begun:
        yield "".join(begun), first


def read(text: str) -> Iterator[Setting]:
    """A unit file's settings in their order."""
    section = ""
    for line, number in _joined(text.lstrip("\ufeff")):
        line = line.strip(SPACE)
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield Setting(section, key.strip(SPACE), value.strip(SPACE), number)


def settings(text: str) -> Iterator[Tuple[str, str, str]]:
    """A unit file's settings in their order: section, key, value."""
    return ((setting.section, setting.key, setting.value) for setting in read(text))


def of_processes(text: str) -> List[Tuple[str, str, str]]:
    """A unit file's settings without those of [Unit] and [Install]: they are in force as soon as systemd has read them,
    and what runs need not be restarted for them."""
    return [setting for setting in settings(text) if setting[0] not in ("Unit", "Install")]
