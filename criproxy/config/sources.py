"""Where options are given: on the command line, in CRIPROXY_OPTS, in the environment, and in two kinds of file."""

from __future__ import annotations

import errno
import os
import shlex
from enum import Enum
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

from criproxy import environment
from criproxy.config import entries, files
from criproxy.config.errors import ConfigError
from criproxy.config.names import (
    EDITED,
    OPTS,
    OWN_NAMES,
    PARTS,
    known_variables,
    nearest,
    unknown_variable,
    variable,
)
from criproxy.config.options import DEFAULT_FILE, OPTIONS
from criproxy.config.runtimes import others_of, runtimes_of
from criproxy.config.words import gives, spelled_out

_T = TypeVar("_T")
_SHOWN = 20
"""Lines of a file, or variables, that have a warning each."""
_LOOKED_AT = 200
"""Variables that may be misspelled ones: it takes time to compare them."""
_SHOWING = frozenset(("--help", "--version"))
_NOT_IN_OPTS = ("help", "version", "environment-file")
"""They mean something to whoever types the command line; a reload would make the daemon print and end."""


class Source(Enum):
    """Where an option has its value from."""

    COMMAND_LINE = "command line"
    ENVIRONMENT = "environment"
    ENVIRONMENT_FILE = "environment file"
    FILE = "configuration file"
    DEFAULT = "default"


class Sources(NamedTuple):
    """What has been given, and where."""

    own: List[str]
    """The command line, as ``--name=value``."""
    opts: List[str]
    """The words of CRIPROXY_OPTS, which stand before it."""
    variables: Dict[str, str]
    """The environment and the environment file, less what is empty."""
    places: Dict[str, str]
    """Where each variable is set, by its name: the file and the line, unless it is the process's own."""
    parts: Sequence[str]
    """Those of `PARTS` that ``connect`` has been made of."""
    environment_file: str
    """Empty if none is named."""
    has_environment_file: bool
    """Whether it exists."""
    warnings: List[str]
    lines: Dict[str, str]
    """Where each key of the configuration file stands. `texts` fills it."""
    files: Dict[str, bool]
    """The configuration file, and whether it exists. `texts` fills it."""

    def texts(self) -> Dict[str, str]:
        """The options that have been given, by name: command line before environment before configuration file.

        Raises ConfigError; --help and --version print and raise SystemExit.
        """
        words = [*self.opts, *self.own]
        if not _SHOWING.isdisjoint(words):
            from criproxy.config import parser  # it takes longer than all else here

            parser.show(words)
        path, text = self._file(words)
        found = {} if text is None else entries.read(text, path, self.lines)
        for option in OPTIONS:
            name = variable(option.name)
            if name in self.variables:
                found[option.name] = self.variables[name]
        for word in words:
            name, _, value = word[2:].partition("=")
            found[name] = value
        return {option.name: found[option.name] for option in OPTIONS if option.name in found}

    def _file(self, words: Sequence[str]) -> Tuple[str, Optional[str]]:
        """The configuration file and its text; None if there is no default file."""
        named = [word.partition("=")[2] for word in words if gives((word,), "config")]
        path = named[-1] if named else self.variables.get(variable("config"), DEFAULT_FILE)
        if not path:
            raise ConfigError("config: the file name is empty")
        text = files.read(path)
        if text is None and (named or variable("config") in self.variables):
            raise ConfigError(f"{path}: {os.strerror(errno.ENOENT)}")
        self.files[path] = text is not None
        return path, text

    def place(self, name: str) -> str:
        """Where the option of this name has been given, for the message that refuses it."""
        if self._is_variable(name):
            return self.places[variable(name)]
        if gives(self.own, name):
            return name
        if gives(self.opts, name):
            return f"{self.places[OPTS]}: {name}"
        return f"{self.lines[name]}: {name}" if name in self.lines else name

    def origin(self, name: str) -> Tuple[Source, str]:
        """Where the option of this name has its value from, and the place there: a variable, a file and a line."""
        if self._is_variable(name):
            return self._kind_of(self.places[variable(name)])
        if gives(self.own, name):
            return Source.COMMAND_LINE, f"--{name}"
        if gives(self.opts, name):
            return self._kind_of(self.places[OPTS])
        return (Source.FILE, self.lines[name]) if name in self.lines else (Source.DEFAULT, "")

    def _kind_of(self, place: str) -> Tuple[Source, str]:
        of_file = self.environment_file and place.startswith(f"{self.environment_file}, line ")
        return (Source.ENVIRONMENT_FILE if of_file else Source.ENVIRONMENT), place

    def check_parts(self) -> None:
        """Raises ConfigError if one of the parts of ``connect`` is wrong by itself.

        CRI_OTHER alone is refused: a node of today has no runtime at dockershim's socket, the default.
        """
        if not self.parts or not self._is_variable("connect"):
            return
        primary, other = PARTS
        if primary not in self.parts:
            raise ConfigError(f"{self.places[other]}: there is no primary runtime; set {primary}, too")
        for name, read in zip(PARTS, (runtimes_of, others_of)):
            try:
                if name in self.parts:
                    read(self.variables[name])
            except ValueError as error:
                raise ConfigError(f"{self.places[name]}: {error}") from error

    def fixed(self) -> Dict[str, str]:
        """Of the variables that commands set in the environment file, those that would change nothing, with the reason.

        To be called after `texts`.
        """
        reasons = {name: self._reason_why_fixed(name, option) for name, option in EDITED.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def _reason_why_fixed(self, name: str, option: str) -> str:
        if gives(self.own, option):
            return f"--{option} is given on the command line"
        if gives(self.opts, option):
            return f"{self.places[OPTS]} has --{option}"
        if option == "connect" and variable(option) in self.variables and not self.parts:
            return f"{self.places[variable(option)]} is set, and has all runtimes"
        if self.places.get(name) == name:
            return f"{name} is set in the environment"
        if option in self.lines and not self._is_variable(option):
            return f"{option} is set in {self.lines[option]}"
        return "" if self.environment_file else "no environment file is named (--environment-file)"

    def _is_variable(self, name: str) -> bool:
        """Whether the option of this name has its value from a variable."""
        return variable(name) in self.variables and not any(gives(words, name) for words in (self.own, self.opts))


def find(argv: Sequence[str], environ: Mapping[str, str]) -> Sources:
    """Reads all but the configuration file. Raises ConfigError."""
    own, warnings = spelled_out(argv)
    path, assigned, more = _environment_file(own)
    variables, places = _variables(environ, path, assigned or {})
    parts = _put_together(variables, places)
    opts, without_effect = _words_of_opts(variables.get(OPTS, ""), places)
    there = assigned is not None
    return Sources(own, opts, variables, places, parts, path, there, [*warnings, *more, *without_effect], {}, {})


def unknown_variables(environ: Mapping[str, str]) -> List[str]:
    """A warning for each of the process's variables that is meant for criproxy and unknown.

    Others have variables that begin with CRI_, too: of those only the misspelled ones count.
    """
    known = known_variables()
    own = variable("")
    alike = [name for name in sorted(environ) if name.startswith((own, "CRI_")) and environ[name] and name not in known]
    unknown = [name for name in alike[:_LOOKED_AT] if name.startswith(own) or nearest(name, known)]
    return _few(unknown, unknown_variable)


def _environment_file(words: Sequence[str]) -> Tuple[str, Optional[Dict[str, environment.Assignment]], List[str]]:
    """The environment file that the words name, its variables, and a warning for each line without meaning.

    The variables are None if there is no such file: that is no error, as with systemd's ``EnvironmentFile=-``.
    """
    named = [word.partition("=")[2] for word in words if word.startswith("--environment-file=")]
    if not named:
        return "", {}, []
    path = named[-1]
    if not path:
        raise ConfigError("environment-file: the file name is empty")
    text = files.read(path)
    if text is None:
        return path, None, []
    try:
        assigned, skipped = environment.read(text)
    except ValueError as error:  # an open quote
        raise ConfigError(f"{path}: {error}") from error
    known = known_variables()
    unknown = [name for name in assigned if name not in known]
    warnings = [
        *_few(skipped, lambda line: f"{path}, line {line}: the line is not NAME=value and is skipped"),
        *_few(unknown, lambda name: f"{path}, line {assigned[name].line}: {unknown_variable(name)}"),
    ]
    return path, assigned, warnings


def _few(found: Sequence[_T], warning: Callable[[_T], str]) -> List[str]:
    """A warning for each of the first, and one that counts the others: it takes time to say what is meant."""
    others = len(found) - _SHOWN
    more = [f"{warning(found[_SHOWN])}; and {others - 1} more like it"] if others > 0 else []
    return [*map(warning, found[:_SHOWN]), *more]


def _variables(
    environ: Mapping[str, str], path: str, assigned: Mapping[str, environment.Assignment]
) -> Tuple[Dict[str, str], Dict[str, str]]:
    """The variables that are not empty, and their places."""
    variables = {name: value for name, value in environ.items() if value}
    places = {OPTS: OPTS, **{name: name for name in variables}}
    for name, (value, line) in assigned.items():
        if value and name not in variables:
            variables[name] = value
            places[name] = f"{path}, line {line}: {name}"
    for own, option in OWN_NAMES.items():
        name = variable(option)
        if own in variables and name not in variables:
            variables[name], places[name] = variables[own], places[own]
    return variables, places


def _put_together(variables: Dict[str, str], places: Dict[str, str]) -> List[str]:
    """Makes a ``connect`` of the parts that /etc/default/criproxy has; returns their names."""
    connect = variable("connect")
    parts = [name for name in PARTS if name in variables]
    if not parts or connect in variables:
        return []
    variables[connect] = ",".join(variables[name] for name in parts)
    places[connect] = " and ".join(places[name] for name in parts)
    return parts


def _words_of_opts(opts: str, places: Mapping[str, str]) -> Tuple[List[str], List[str]]:
    """The words of CRIPROXY_OPTS, spelled out, and a warning for each flag without effect."""
    try:
        words, warnings = spelled_out(shlex.split(opts))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{places[OPTS]}: {error}") from error
    for word in words:
        name = word[2:].partition("=")[0]
        if name in _NOT_IN_OPTS:
            raise ConfigError(f"{places[OPTS]}: --{name} can only stand on the command line")
    return words, warnings
