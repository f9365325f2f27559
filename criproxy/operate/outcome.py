"""How such a command ends: its exit status, and what it says if it cannot do what it is asked for."""

from __future__ import annotations

import json
import sys
from enum import IntEnum
from typing import Any, Callable, Mapping, Sequence

from criproxy.client import ClientError
from criproxy.output import JSON
from criproxy.text import escape


class Exit(IntEnum):
    """Exit statuses."""

    DONE = 0
    REFUSED = 1
    """It could not be done, or must not be: nothing has changed."""
    NO_DAEMON = 2
    """The daemon does not answer. (Words that are not understood have this status, too.)"""


class Refused(Exception):
    """It cannot be done, or must not be; nothing has changed. The text is one line that says why."""


def carried_out(command: str, act: Callable[[], int]) -> int:
    """Does what a command is asked for; gives the exit status."""
    try:
        return act()
    except Refused as error:
        say(command, str(error))
        return Exit.REFUSED


def say(command: str, text: str) -> None:
    """Writes a line to standard error."""
    print(f"criproxy {command}: {escape(text)}", file=sys.stderr)


def say_new_warnings(command: str, before: Sequence[str], now: Sequence[str]) -> None:
    """Says the warnings of a configuration that another one before it did not have."""
    for warning in now:
        if warning not in before:
            say(command, f"warning: {warning}")


def say_refused(command: str, error: ClientError) -> Exit:
    """Says that the daemon does not do what it is asked for, or does not answer; gives the exit status."""
    if error.refused:
        say(command, str(error))
        return Exit.REFUSED
    say(command, f"{error} (criproxy status tells why)")
    return Exit.NO_DAEMON


def tell(output: str, told: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Prints what has been done: an object for programs, or lines for people."""
    print(json.dumps(told) if output == JSON else "\n".join(map(escape, lines)))
