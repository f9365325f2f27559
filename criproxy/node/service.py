"""The service that is installed here: what systemd starts criproxy with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import List, Mapping, Optional, Sequence, Tuple

from criproxy.node import units
from criproxy.node.arguments import started
from criproxy.node.kubelet import NodeError
from criproxy.node.manager import Manager
from criproxy.node.plan import SERVICE
from criproxy.node.syntax import SyntaxProblem
from criproxy.node.tree import Tree
from criproxy.node.units import Variable

_PROGRAM = "criproxy"
_AS_MODULE = ("-m", _PROGRAM)
"""What follows the interpreter where there is no program."""


@dataclass(frozen=True)
class Service:
    """criproxy as systemd would start it."""

    words: Tuple[str, ...]
    """Those behind the program's name."""
    where: str
    """Where they stand: the unit's file and the line."""
    variables: Mapping[str, Variable]
    """Its environment."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment, without where each variable is set."""
        return {name: variable.value for name, variable in self.variables.items()}


def find(tree: Tree, manager: Optional[Manager] = None) -> Optional[Service]:
    """The service of this node; None if there is none. Raises NodeError for one that cannot be understood."""
    try:
        unit = units.load(tree, SERVICE, manager=manager)
        if unit is None:
            return None
        variables = units.variables(tree, unit, manager)
        command, arguments = started(unit, variables, units.specifiers(tree, unit, manager))
    except SyntaxProblem as problem:
        raise NodeError(f"what {SERVICE} starts is not understood: {problem}") from problem
    unknown = next((argument.problem for argument in arguments if argument.problem), "")
    if unknown:
        raise NodeError(f"{unknown}: write it out")
    return Service(tuple(_options(command.where, [argument.text for argument in arguments])), command.where, variables)


def _options(where: str, words: Sequence[str]) -> List[str]:
    if words and os.path.basename(words[0]) == _PROGRAM:
        return list(words[1:])
    if tuple(words[1:3]) == _AS_MODULE:
        return list(words[3:])
    raise NodeError(f"{where}: {SERVICE} starts {' '.join(words[:3])!r}, which is not criproxy itself")
