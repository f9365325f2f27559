"""The daemon that a command is about: one with the options that are given to it, or else the installed service."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from typing import Mapping, Optional, Sequence

from criproxy.inspection.together import together
from criproxy.node import service
from criproxy.node.kubelet import NodeError
from criproxy.node.manager import Manager
from criproxy.node.plan import SERVICE
from criproxy.node.service import Service
from criproxy.node.systemd import Systemd
from criproxy.node.tree import Tree
from criproxy.text import escape

_TIME = 10.0
"""How long systemd may take to tell of the service, seconds."""
REFUSED = 2
"""The exit status of a command whose options, or the daemon's, are refused."""


@dataclass(frozen=True)
class Subject:
    """A daemon by what it is started with."""

    words: Sequence[str]
    environ: Mapping[str, str]
    service: Optional[Service] = None
    """The installed service, if it is this."""


def of(words: Sequence[str], tree: Tree, manager: Manager) -> Subject:
    """The daemon with these options and this process's environment; without options the service, if there is one.

    Raises NodeError for a service that cannot be understood.
    """
    found = None if words else service.find(tree, manager)
    return Subject(words, os.environ) if found is None else Subject(found.words, found.environ, found)


def here(words: Sequence[str]) -> Subject:
    """The same of this node. Raises NodeError."""
    (found,) = together([partial(_here, words)], _TIME)
    if found is None:
        raise NodeError(f"systemd has not told within {_TIME:g} s what {SERVICE} starts: give the options yourself")
    return found


def _here(words: Sequence[str]) -> Subject:
    tree = Tree("/")
    try:
        return of(words, tree, Systemd(tree))
    except OSError as error:
        raise NodeError(f"{error.filename}: {error.strerror}") from error


def refuse(command: str, why: object) -> int:
    """Says why a command cannot answer; gives the exit status."""
    print(f"{command}: {escape(str(why))}", file=sys.stderr)
    return REFUSED
