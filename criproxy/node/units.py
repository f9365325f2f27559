"""Units as systemd puts them together: a fragment, and drop-ins from several directories."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from criproxy.node import syntax
from criproxy.node.tree import Tree

ADMIN = "/etc/systemd/system"
"""Where an administrator's units are, and those that are generated here."""
PACKAGED = ("/usr/lib/systemd/system", "/lib/systemd/system")
"""Where those are that packages bring."""
SEARCHED = (ADMIN, "/run/systemd/system", "/usr/local/lib/systemd/system", *PACKAGED)
"""Where units and drop-ins are looked for; of two files of one name the first counts (systemd.unit(5))."""
_NOWHERE = "/dev/null"


@dataclass(frozen=True)
class Unit:
    """A unit as it would be loaded."""

    name: str
    fragment: str
    """The unit file's path."""
    drop_ins: Tuple[str, ...]
    """The paths of the drop-ins, in the order in which they are read."""
    _settings: Mapping[Tuple[str, str], Tuple[str, ...]]

    def all(self, section: str, key: str) -> Tuple[str, ...]:
        """The values of a setting that may stand more than once; an empty one has taken back those before it."""
        return self._settings.get((section, key), ())


def load(tree: Tree, name: str, without: Iterable[str] = ()) -> Optional[Unit]:
    """A unit, as it would be without some of its drop-ins; None if there is none, or if it is masked."""
    fragment = next((path for path in (f"{folder}/{name}" for folder in SEARCHED) if tree.exists(path)), None)
    if fragment is None or tree.link(fragment) == _NOWHERE:
        return None
    drop_ins = [path for path in _drop_ins(tree, name) if path not in set(without)]
    found: Dict[Tuple[str, str], List[str]] = {}
    for path in (fragment, *drop_ins):
        for section, key, value in syntax.settings(tree.text(path) or ""):
            values = found.setdefault((section, key), [])
            if value:
                values.append(value)
            else:
                values.clear()
    return Unit(name, fragment, tuple(drop_ins), {key: tuple(values) for key, values in found.items()})


def _drop_ins(tree: Tree, name: str) -> List[str]:
    found: Dict[str, str] = {}
    kind = name.rpartition(".")[2]
    for owner in (name, kind):
        for folder in SEARCHED:
            for file in tree.names(f"{folder}/{owner}.d"):
                if file.endswith(".conf"):
                    found.setdefault(file, f"{folder}/{owner}.d/{file}")
    return [path for _, path in sorted(found.items()) if tree.link(path) != _NOWHERE]


def environment(tree: Tree, unit: Unit) -> Dict[str, str]:
    """The variables that a service is started with. Those of files go before those of ``Environment=``.

    Raises SyntaxProblem for one that cannot be read.
    """
    variables: Dict[str, str] = {}
    for text in unit.all("Service", "Environment"):
        variables.update(syntax.assignments(text))
    for pattern in unit.all("Service", "EnvironmentFile"):
        for path in tree.glob(pattern.lstrip("-").strip('"')):
            variables.update(syntax.variables(path, tree.text(path) or ""))
    return variables


def template(tree: Tree, name: str) -> Optional[str]:
    """The text of a unit that criproxy brings with it: from its package, or from where it was installed by hand."""
    for folder in SEARCHED[2:]:
        text = tree.text(f"{folder}/{name}")
        if text is not None:
            return text
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    texts = (Tree(prefix).text(f"/lib/systemd/system/{name}") for prefix in (sys.prefix, checkout))
    return next((text for text in texts if text is not None), None)
