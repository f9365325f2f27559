"""The words that a service is started with, variables and specifiers resolved as by systemd."""

from __future__ import annotations

from typing import Iterator, List, Mapping, NamedTuple, Optional, Tuple

from criproxy.node import syntax
from criproxy.node.specifiers import Specifiers, Unknown
from criproxy.node.syntax import SyntaxProblem
from criproxy.node.units import Unit, Value, Variable

_PREFIXES = "@-:+!|"
"""What may stand before the program's path in ``ExecStart=`` (systemd.service(5))."""


class Argument(NamedTuple):
    """One of the words that a service is started with."""

    text: str
    where: str
    """Where it stands: in the unit, or in the file that sets a variable of it."""
    problem: str = ""
    """Why it is not known as a whole, if it is not."""


def started(unit: Unit, variables: Mapping[str, Variable], specifiers: Specifiers) -> Tuple[Value, List[Argument]]:
    """``ExecStart=`` and the words that it becomes, the program's own name for itself left out.

    Raises SyntaxProblem for a unit that does not start one command, and for one that cannot be read.
    """
    values = unit.values("Service", "ExecStart")
    if not values:
        raise SyntaxProblem(f"{unit.fragment} and its drop-ins have no ExecStart=, and systemd does not start it")
    value = values[-1]
    commands = [(one, command) for one in values for command in _commands(one)]
    if len(commands) != 1:
        places = ", ".join(dict.fromkeys(one.where for one, _ in commands))
        raise SyntaxProblem(f"ExecStart= has {len(commands)} commands ({places}), and one is understood here")
    ((_, words),) = commands
    path = words[0].lstrip(_PREFIXES)
    prefixes = words[0][: len(words[0]) - len(path)]
    arguments = list(_resolved(path, value, {}, specifiers))
    for word in words[2 if "@" in prefixes else 1 :]:
        arguments += _resolved(word, value, None if ":" in prefixes else variables, specifiers)
    return value, arguments


def _resolved(
    word: str, value: Value, variables: Optional[Mapping[str, Variable]], specifiers: Specifiers
) -> Iterator[Argument]:
    """The arguments that a word of a command becomes; without variables, itself."""
    problem = ""
    try:
        word = specifiers.resolve(word)
    except Unknown as unknown:
        problem = f"{value.where}: {word}: {unknown}"
    except SyntaxProblem as wrong:
        raise SyntaxProblem(f"{value.where}: {word}: {wrong}") from wrong
    used = {} if variables is None else {name: variables[name] for name in syntax.names(word)}
    where = next((f"{variable.where}, {name}" for name, variable in used.items() if variable.where), value.where)
    problem = next(filter(None, (problem, *(variable.problem for variable in used.values()))), "")
    whole = problem or variables is None  # what is not known as a whole stays as it stands
    for text in [word] if whole else syntax.arguments(word, lambda name: used[name].value):
        yield Argument(text, where, problem)


def _commands(value: Value) -> List[List[str]]:
    try:
        return syntax.commands(value.text)
    except SyntaxProblem as problem:
        raise SyntaxProblem(f"{value.where}: {problem}") from problem
