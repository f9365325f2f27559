"""What each option is set to, and by what: for people who ask why the daemon does what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence, Tuple

from criproxy.config.configuration import Config, checked
from criproxy.config.options import DEFAULT_FILE, OPTIONS, default_of
from criproxy.config.sources import Source, Sources, find

_ABSENT = "does not exist"


@dataclass(frozen=True)
class Setting:
    """An option, as it counts."""

    name: str
    value: str
    """As a text that the option takes; empty for none."""
    default: str
    """The same if nobody sets it."""
    source: Source
    where: str
    """The place in the source: a variable, a file and a line. Empty for a default."""
    note: str = ""
    """What else a reader should know."""


def settings(argv: Sequence[str], environ: Mapping[str, str]) -> Tuple[Config, Tuple[Setting, ...]]:
    """The configuration of a daemon with these words and this environment, and all of its options.

    Raises ConfigError; --version prints and raises SystemExit.
    """
    given = find(argv, environ)
    config, texts = checked(given, environ)
    compatibility = texts.get("compatibility", "")
    found = []
    for option in OPTIONS:
        default = default_of(option, compatibility)
        source, where = given.origin(option.name)
        note = f"with compatibility {compatibility}" if source is Source.DEFAULT and default != option.default else ""
        found.append(Setting(option.name, texts.get(option.name, default), default, source, where, note))
    return config, (*found, *_files(given))


def _files(given: Sources) -> Tuple[Setting, Setting]:
    """The options that name files, with whether these are there."""
    ((path, exists),) = given.files.items()
    source, where = given.origin("config")
    named = given.environment_file
    origin = (Source.COMMAND_LINE, "--environment-file") if named else (Source.DEFAULT, "")
    return (
        Setting("config", path, DEFAULT_FILE, source, where, "" if exists else _ABSENT),
        Setting("environment-file", named, "", *origin, _ABSENT if named and not given.has_environment_file else ""),
    )
