"""The names under which options are given, and which of them a misspelled name is like."""

from __future__ import annotations

import re
from typing import List, Sequence

from criproxy.config.options import OPTIONS

OPTS = "CRIPROXY_OPTS"
"""The variable of words that stand before those of the command line."""
PARTS = ("CRI_PRIMARY", "CRI_OTHER")
"""The two parts of ``connect`` in /etc/default/criproxy."""
OWN_NAMES = {"CRI_IMAGE_SERVICE": "image-service", "CRI_RETIRING": "retiring"}
"""Options that have names of their own in /etc/default/criproxy."""
EDITED = {
    "CRI_OTHER": "connect",
    "CRIPROXY_HANDLER": "handler",
    "CRIPROXY_DRAINED": "drained",
    "CRIPROXY_ROUTE": "route",
}
"""The variables that commands set in /etc/default/criproxy, and the options that they are meant for."""
_ALIKE = 0.7
"""How much of two names must be the same for one to be a misspelling of the other (difflib's ratio)."""
_LONGEST = 64
"""characters of a name that can be a misspelling: the time that difflib takes grows with their square."""


def variable(option: str) -> str:
    """The environment variable of an option."""
    return "CRIPROXY_" + option.upper().replace("-", "_")


def known_variables() -> List[str]:
    """All environment variables that criproxy reads."""
    return [*PARTS, *OWN_NAMES, OPTS, variable("config"), *(variable(option.name) for option in OPTIONS)]


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that this one is a misspelling of; empty if there is none."""
    if len(name) > _LONGEST:
        return ""
    by_end = {_distinctive(each): each for each in known}
    import difflib  # few configurations have a name that is not known

    found = difflib.get_close_matches(_distinctive(name), by_end, 1, _ALIKE)
    return by_end[found[0]] if found else ""


def meant(name: str, known: Sequence[str]) -> str:
    """What the refusal of an unknown name ends with: the known name that it is like."""
    found = nearest(name, known)
    return f" (did you mean {found}?)" if found else ""


def unknown_variable(name: str) -> str:
    """The warning of an unknown environment variable."""
    found = nearest(name, known_variables())
    hint = f"did you mean {found}?" if found else "no option has that name"
    return f"unknown environment variable {name}: {hint}"


def _distinctive(name: str) -> str:
    """A name without what is common to many, in the capitals of variables."""
    return re.sub("^(CRIPROXY|CRI)_|^-+", "", name.upper().replace("-", "_"))
