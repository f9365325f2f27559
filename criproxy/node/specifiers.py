"""What ``%n`` and its like stand for in a unit (systemd.unit(5), "Specifiers")."""

from __future__ import annotations

import re
from typing import Callable, Dict, Sequence

from criproxy.node.syntax import SyntaxProblem
from criproxy.node.tree import Tree

_SPECIFIER = re.compile(r"%([%a-zA-Z0-9])")
_ALL = frozenset("aAbBcCdDEfgGhHiIjJlLmMnNopPqrRsStTuUvVwWyY")
"""Those that systemd knows, whichever release brought them."""
_ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")


class Unknown(SyntaxProblem):
    """A specifier stands for what cannot be known here."""


class Specifiers:
    """The specifiers of a service without an instance. ``version`` is systemd's, 0 if it is not known.

    A specifier that depends on the boot (``%H``) has a value only on a node that runs. A specifier of the unit's name
    has none if the unit has several names: systemd uses the one by which it loaded the unit.
    """

    def __init__(self, tree: Tree, names: Sequence[str], running: bool, version: int = 0) -> None:
        self._tree = tree
        self._version = version or 1_000
        self._known: Dict[str, str] = {
            "%": "%",
            "i": "",
            "I": "",
            "t": "/run",
            "h": "/root",
            "u": "root",
            "U": "0",
            **self._since(236, {"E": "/etc", "S": "/var/lib", "C": "/var/cache", "L": "/var/log"}),
            **self._since(236, {"T": "/tmp", "V": "/var/tmp"}),
            **self._since(247, {"g": "root", "G": "0"}),
        }
        if len(names) == 1:
            prefix = names[0].rpartition(".")[0]
            last = prefix.rpartition("-")[2]
            self._known.update(n=names[0], N=prefix, p=prefix, P=_unescaped(prefix), f=f"/{_unescaped(prefix)}")
            self._known.update(self._since(242, {"j": last, "J": _unescaped(last)}))
        self._read: Dict[str, Callable[[], str]] = {}
        if running:
            self._read = {
                "H": lambda: self._line("/proc/sys/kernel/hostname"),
                "l": lambda: self._line("/proc/sys/kernel/hostname").partition(".")[0],
                "v": lambda: self._line("/proc/sys/kernel/osrelease"),
                "b": lambda: self._line("/proc/sys/kernel/random/boot_id").replace("-", ""),
                "m": lambda: self._line("/etc/machine-id"),
            }

    def resolve(self, text: str) -> str:
        """The text with what its specifiers stand for.

        Raises SyntaxProblem for one that systemd does not know either, and Unknown.
        """
        return _SPECIFIER.sub(lambda found: self._value(found[1]), text)

    def _value(self, letter: str) -> str:
        if letter in self._known:
            return self._known[letter]
        if letter not in _ALL:
            raise SyntaxProblem(f"systemd has no specifier %{letter}; write %%{letter} for a literal %{letter}")
        value = self._read[letter]() if letter in self._read else ""
        if not value:
            raise Unknown(f"the value of %{letter} is not known here")
        self._known[letter] = value  # read once, however often it stands there
        return value

    def _since(self, version: int, known: Dict[str, str]) -> Dict[str, str]:
        return known if self._version >= version else {}

    def _line(self, path: str) -> str:
        return (self._tree.text(path) or "").strip()


def _unescaped(name: str) -> str:
    """A part of a unit's name as the path that it may stand for (systemd-escape(1))."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name.replace("-", "/"))
