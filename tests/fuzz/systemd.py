"""systemd's reader of EnvironmentFile= (parse_env_file_internal in its src/basic/env-file.c), state by state."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict

_NEWLINE = "\n\r"
_SPACE = " \t\n\r"
State = Callable[[str], Any]
"""Takes a character and gives the next state."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Reader:
    """One file's. Each `State` is a method."""

    def __init__(self, long_comments: bool) -> None:
        self.found: Dict[str, str] = {}
        self._long_comments = long_comments
        self._key = self._value = ""
        self._kept = 0
        """How much of the value stays whatever is taken off its end."""
        self.state: State = self.before_key

    def push(self) -> None:
        """The end of an assignment: white space at its end goes but for what was quoted or escaped."""
        key = self._key.rstrip(_SPACE)
        if _NAME.fullmatch(key):
            self.found[key] = self._value[: self._kept] + self._value[self._kept :].rstrip(_SPACE)
        self._key = self._value = ""
        self._kept = 0

    def before_key(self, character: str) -> State:
        if character in "#;":
            return self.comment
        if character in _SPACE:
            return self.before_key
        self._key = character
        return self.key

    def key(self, character: str) -> State:
        if character in _NEWLINE:
            self._key = ""
            return self.before_key
        if character == "=":
            return self.before_value
        self._key += character
        return self.key

    def before_value(self, character: str) -> State:
        self._kept = len(self._value)
        if character in _NEWLINE:
            self.push()
            return self.before_key
        if character in _SPACE:
            return self.before_value
        if character in "'\"\\":
            return {"'": self.single, '"': self.double, "\\": self.escape}[character]
        self._value += character
        return self.value

    def value(self, character: str) -> State:
        if character in _NEWLINE:
            self.push()
            return self.before_key
        if character == "\\":
            self._kept = len(self._value)
            return self.escape
        self._value += character
        return self.value

    def escape(self, character: str) -> State:
        if character not in _NEWLINE:
            self._value += character
        self._kept = len(self._value)
        return self.value

    def single(self, character: str) -> State:
        if character == "'":
            return self.before_value
        self._value += character
        self._kept = len(self._value)
        return self.single

    def double(self, character: str) -> State:
        if character == '"':
            return self.before_value
        if character == "\\":
            return self.double_escape
        self._value += character
        self._kept = len(self._value)
        return self.double

    def double_escape(self, character: str) -> State:
        if character != "\n":
            self._value += character if character in '"\\`$' else f"\\{character}"
        self._kept = len(self._value)
        return self.double

    def comment(self, character: str) -> State:
        if character == "\\" and self._long_comments:
            return self.comment_escape
        return self.before_key if character in _NEWLINE else self.comment

    def comment_escape(self, character: str) -> State:
        del character
        return self.comment


def variables_of(text: str, long_comments: bool) -> Dict[str, str]:
    """The variables of a file. ``long_comments``: as before systemd 254."""
    reader = _Reader(long_comments)
    state: State = reader.before_key
    for character in text:
        state = state(character)
    if state not in (reader.before_key, reader.key, reader.comment, reader.comment_escape):
        reader.push()
    return reader.found
