"""A command line in the manner of Go's ``flag`` package, spelled out as ``--name=value`` words.

A flag has one dash or two, and takes the next word as its value whatever that word looks like.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Dict, List, Mapping, Sequence, Tuple

from criproxy.config.errors import ConfigError
from criproxy.config.names import meant
from criproxy.config.options import OPTIONS, WITHOUT_EFFECT

_WORD = re.compile("--?([^-=][^=]*)(=.*)?", re.DOTALL)
_NAMES = {"h": "help", **{option.go_name: option.name for option in OPTIONS if option.go_name}}
_TAKES_VALUE = {
    "help": False,
    "version": False,
    "config": True,
    "environment-file": True,
    **WITHOUT_EFFECT,
    **{option.name: not option.alone for option in OPTIONS},
}


def spelled_out(argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The ``--name=value`` words, and a warning for each flag without effect. Raises ConfigError."""
    alone = {option.name: option.alone for option in OPTIONS if option.alone}
    words: List[str] = []
    warnings: Dict[str, None] = {}
    rest = iter(argv)
    for word in rest:
        match = _WORD.fullmatch(word)
        if not match:
            raise ConfigError(f"unexpected argument: {word!r}")
        name, value = _NAMES.get(match[1], match[1]), match[2]
        if name not in _TAKES_VALUE:
            raise ConfigError(f"unknown option: {word!r}{meant(name, [f'--{known}' for known in _TAKES_VALUE])}")
        if _TAKES_VALUE[name] and value is None:
            try:
                value = "=" + next(rest)
            except StopIteration:
                raise ConfigError(f"{word!r} needs a value") from None
        if name in WITHOUT_EFFECT:
            warnings[f"the option -{name} has no effect"] = None
        elif name in alone:
            words.append(f"--{name}{value or '=' + alone[name]}")
        elif value and not _TAKES_VALUE[name]:
            raise ConfigError(f"{word!r}: --{name} takes no value")
        else:
            words.append(f"--{name}{value or ''}")
    return _joined(words), list(warnings)


def apart(argv: Sequence[str], own: Mapping[str, bool]) -> Tuple[List[str], List[str]]:
    """The words of a command's own options, and all others: those are the daemon's.

    ``own`` has each option as it is written, and whether it takes a value: ``-o`` the next word, ``--output`` that or
    what follows a ``=``.
    """
    mine: List[str] = []
    others: List[str] = []
    rest = iter(argv)
    for word in rest:
        name, assigned, _ = word.partition("=")
        match = _WORD.fullmatch(word)
        takes_value = _TAKES_VALUE.get(_NAMES.get(match[1], match[1]), False) if match else False
        part, takes_value = (mine, own[name]) if name in own else (others, takes_value)
        part.append(word)
        if takes_value and not assigned:
            part.extend(islice(rest, 1))
    return mine, others


def gives(words: Sequence[str], name: str) -> bool:
    """Whether one of the spelled-out words sets the option of this name."""
    return any(word.startswith(f"--{name}=") for word in words)


def _joined(words: Sequence[str]) -> List[str]:
    """A word for each option: the last one, or one for all values of an option that may be given several times."""
    several = {f"--{option.name}": option.several for option in OPTIONS if option.several}
    last: Dict[str, str] = {}
    values: Dict[str, List[str]] = {}
    for word in words:
        name, _, value = word.partition("=")
        last[name] = word
        if name in several:
            values.setdefault(name, []).append(value)
    return [f"{name}={several[name].join(values[name])}" if name in values else word for name, word in last.items()]
