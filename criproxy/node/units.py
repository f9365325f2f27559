"""Units as systemd puts them together: a fragment, and drop-ins from several directories; and what it starts them with.

A systemd that runs is asked which files count; else they are looked for as it would (systemd.unit(5)).
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from criproxy import environment as files
from criproxy.node import syntax
from criproxy.node.manager import Manager
from criproxy.node.specifiers import Specifiers, Unknown
from criproxy.node.syntax import SyntaxProblem
from criproxy.node.tree import Tree

ADMIN = "/etc/systemd/system"
"""Where an administrator's units are, and those that are generated here."""
PACKAGED = ("/usr/lib/systemd/system", "/lib/systemd/system")
"""Where those are that packages bring."""
SEARCHED = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    ADMIN,
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    *reversed(PACKAGED),
    "/run/systemd/generator.late",
)
"""Where units and drop-ins are looked for; of two files of one name the first counts (systemd.unit(5))."""
_LOCAL = ("/usr/local/lib/systemd/system", *PACKAGED)
_NOWHERE = "/dev/null"
_MANAGERS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", "/lib/systemd")
"""Where the manager's own configuration is (systemd-system.conf(5))."""
_LONG_COMMENTS_UNTIL = 254
"""A systemd before this takes a line for a part of a comment before it that ends with a backslash."""
_FROM_SYSTEMD = re.compile(
    r"INVOCATION_ID|MAINPID|MANAGERPID|SYSTEMD_EXEC_PID|PIDFILE|JOURNAL_STREAM|NOTIFY_SOCKET"
    r"|(RUNTIME|STATE|CACHE|LOGS|CONFIGURATION|CREDENTIALS)_DIRECTORY|LISTEN_(FDS|PID|FDNAMES)|WATCHDOG_(PID|USEC)"
)
"""Variables of a service that are set when it is started (systemd.exec(5))."""
_OF_USER = ("HOME", "LOGNAME", "SHELL", "USER")
"""Those that are if its unit names a user in one of these ways."""
_USERS = ("User", "DynamicUser", "PAMName", "SetLoginEnvironment")
_ALIASES_SINCE = 246
"""A systemd before this knows of a unit's other names only what has been asked for by one."""
_UNSET_LATER = 262
"""The first systemd that resolves a command line before UnsetEnvironment= counts, not after it (its issue 43343)."""


@dataclass(frozen=True)
class Value:
    """What a setting is set to, and where."""

    text: str
    path: str
    line: int

    @property
    def where(self) -> str:
        """The place, as people write it."""
        return f"{self.path}, line {self.line}"


@dataclass(frozen=True)
class Unit:
    """A unit as it would be loaded."""

    name: str
    """What it was asked for by."""
    names: Tuple[str, ...]
    """All its names: links make more than one, and the drop-ins of all of them count."""
    fragment: str
    """The unit file's path."""
    drop_ins: Tuple[str, ...]
    """The paths of the drop-ins, in the order in which they are read."""
    stale: bool
    """Whether the systemd that runs has not read these files yet: ``systemctl daemon-reload`` has to come."""
    _settings: Mapping[Tuple[str, str], Tuple[Value, ...]]

    def all(self, section: str, key: str) -> Tuple[str, ...]:
        """The values of a setting that may stand more than once; an empty one has taken back those before it."""
        return tuple(value.text for value in self.values(section, key))

    def values(self, section: str, key: str) -> Tuple[Value, ...]:
        """The same, with their places."""
        return self._settings.get((section, key), ())

    def last(self, section: str, key: str) -> str:
        """The value of a setting that counts once; empty if it is not set."""
        return ("", *self.all(section, key))[-1]


class _Files(NamedTuple):
    names: Tuple[str, ...]
    fragment: str
    drop_ins: Tuple[str, ...]


def load(tree: Tree, name: str, without: Iterable[str] = (), manager: Optional[Manager] = None) -> Optional[Unit]:
    """A unit, as it would be without some of its drop-ins; None if there is none, or if it is masked.

    Raises SyntaxProblem for a unit that is in no file.
    """
    found, stale = _found(tree, name, manager)
    if found is None or _is_nothing(tree, found.fragment):
        return None
    drop_ins = tuple(path for path in found.drop_ins if path not in set(without))
    settings: Dict[Tuple[str, str], List[Value]] = {}
    for path in (found.fragment, *drop_ins):
        for section, key, text, line in syntax.read(tree.text(path) or ""):
            values = settings.setdefault((section, key), [])
            if text:
                values.append(Value(text, path, line))
            else:
                values.clear()
    kept = {key: tuple(values) for key, values in settings.items()}
    return Unit(name, found.names, found.fragment, drop_ins, stale, kept)


def is_masked(tree: Tree, name: str) -> bool:
    """Whether there is a unit of that name which is never to start: a link to /dev/null, or an empty file."""
    found = _searched(tree, name)
    if found is None:
        return False
    return found.fragment == _NOWHERE or (tree.exists(found.fragment) and _is_nothing(tree, found.fragment))


def _found(tree: Tree, name: str, manager: Optional[Manager]) -> Tuple[Optional[_Files], bool]:
    """The unit's files, and whether a systemd that runs has not read them yet."""
    version = manager.version if manager else 0
    searched = _searched(tree, name, with_aliases=not 0 < version < _ALIASES_SINCE)
    if manager is None or not manager.running:
        return searched, False
    shown = manager.show(name, "Names", "LoadState", "FragmentPath", "DropInPaths", "NeedDaemonReload")
    if shown["NeedDaemonReload"] == "yes":
        return searched, True
    if shown["LoadState"] != "loaded":
        return searched, False
    if not shown["FragmentPath"]:
        raise SyntaxProblem(f"{name} is loaded, but no unit file has it; write one")
    paths = tuple(shown["DropInPaths"].split())
    loaded = _Files(tuple(shown["Names"].split()) or (name,), shown["FragmentPath"], paths)
    # It takes no notice of a directory for drop-ins that was made since.
    stale = searched is not None and not _places(tree, searched) <= _places(tree, loaded)
    return (searched if stale else loaded), stale


def _places(tree: Tree, found: _Files) -> Set[str]:
    return {tree.real(path) for path in (found.fragment, *found.drop_ins)}


def _searched(tree: Tree, name: str, with_aliases: bool = True) -> Optional[_Files]:
    folders = _folders(tree)
    chain = _chain(tree, folders, name, ())
    if chain is None:
        return None
    fragment, names = chain
    others = _aliases(tree, folders, names[-1]) if with_aliases else ()
    names = tuple(dict.fromkeys((*names, *others)))
    return _Files(names, fragment, tuple(_drop_ins(tree, folders, names)))


def _folders(tree: Tree) -> List[str]:
    """Where to look, each directory once: /lib is /usr/lib on most nodes."""
    apart = tree.real(PACKAGED[0]) != tree.real(PACKAGED[1])
    return [folder for folder in SEARCHED if apart or folder != PACKAGED[1]]


def _chain(tree: Tree, folders: List[str], name: str, before: Tuple[str, ...]) -> Optional[Tuple[str, Tuple[str, ...]]]:
    """The file that has the unit, and the names that lead to it."""
    names = (*before, name)
    for folder in folders:
        path = f"{folder}/{name}"
        if not tree.exists(path):
            continue
        place, base = os.path.split(_target(tree, path))
        if base == name or tree.real(place) not in map(tree.real, folders):
            return tree.real(path), names
        if _is_alias(name, base):
            return None if base in names else _chain(tree, folders, base, names)
    return None


def _target(tree: Tree, path: str) -> str:
    """What a link leads to; the path itself if it is none."""
    link = tree.link(path)
    return path if link is None else os.path.normpath(os.path.join(os.path.dirname(path), link))


def _is_alias(name: str, target: str) -> bool:
    """Whether a link may give a unit this name. systemd takes no notice of one to a template or another type."""
    return "@" not in target and name.rpartition(".")[2] == target.rpartition(".")[2]


def _aliases(tree: Tree, folders: List[str], name: str) -> Iterator[str]:
    """The links that make other names of this one."""
    for folder in folders:
        for entry in tree.names(folder):
            link = tree.link(f"{folder}/{entry}")
            if link and os.path.basename(link) == name and _is_alias(entry, name):
                yield entry


def _is_nothing(tree: Tree, path: str) -> bool:
    return tree.real(path) == _NOWHERE or not tree.text(path)


def _drop_ins(tree: Tree, folders: List[str], names: Sequence[str]) -> Iterator[str]:
    """The drop-ins of all names, in the order of their own names; of two with the same the first found counts."""
    places = [f"{folder}/{owner}.d" for name in names for folder in folders for owner in _owners(name)]
    places += [f"{folder}/{names[0].rpartition('.')[2]}.d" for folder in folders]
    found: Dict[str, str] = {}
    for place in places:
        for file in tree.names(place):
            if file.endswith(".conf") and not file.startswith("."):
                found.setdefault(file, f"{place}/{file}")
    return (path for _, path in sorted(found.items()) if tree.real(path) != _NOWHERE)


def _owners(name: str) -> Iterator[str]:
    """The names whose drop-ins are for this unit: its own, and each part of it up to a dash."""
    yield name
    prefix, _, suffix = name.rpartition(".")
    cut = prefix.rstrip("-").rfind("-")
    if cut > 0:
        yield from _owners(f"{prefix[: cut + 1]}.{suffix}")


# What a service is started with.


class Variable(NamedTuple):
    """A variable of a service."""

    value: str
    where: str
    problem: str = ""
    """Why its value is not known, if it is not."""


class _Variables(Dict[str, Variable]):
    """Variables; of those that systemd sets by itself it is known that they are not known."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self._of_user = any(unit.values("Service", key) for key in _USERS)

    def __missing__(self, name: str) -> Variable:
        of_systemd = _FROM_SYSTEMD.fullmatch(name) or (self._of_user and name in _OF_USER)
        return Variable("", "", f"${name} is set by systemd when it starts the unit" if of_systemd else "")


def environment(tree: Tree, unit: Unit, manager: Optional[Manager] = None) -> Dict[str, str]:
    """The variables that a service is started with. Raises SyntaxProblem for one that cannot be read."""
    return {name: variable.value for name, variable in variables(tree, unit, manager).items()}


def specifiers(tree: Tree, unit: Unit, manager: Optional[Manager] = None) -> Specifiers:
    """What the unit's specifiers stand for."""
    running = manager is not None and manager.running
    return Specifiers(tree, unit.names, running, manager.version if manager else 0)


def variables(tree: Tree, unit: Unit, manager: Optional[Manager] = None) -> Mapping[str, Variable]:
    """The variables that a service is started with, and where each is set; systemd.exec(5) says which go before which:
    what it inherits, what it is passed, ``Environment=`` and files.

    Raises SyntaxProblem for one that cannot be read, and for a file without which systemd would not start the service.
    """
    named = specifiers(tree, unit, manager)
    found = _Variables(unit)
    found.update(_inherited(tree, manager, named))
    found.update(_passed(tree, unit, manager))
    found.update(_assigned(unit.values("Service", "Environment"), named))
    for value in unit.values("Service", "EnvironmentFile"):
        found.update(_of_file(tree, unit, value, named, manager.version if manager else 0))
    if manager is not None and manager.version >= _UNSET_LATER:
        return found
    for value in unit.values("Service", "UnsetEnvironment"):
        for word in syntax.assignments(value.text):
            name, sign, text = named.resolve(word).partition("=")
            if name in found and (not sign or found[name].value == text):
                del found[name]
    return found


def _assigned(values: Iterable[Value], named: Specifiers) -> Dict[str, Variable]:
    """The variables of ``Environment=`` settings."""
    found: Dict[str, Variable] = {}
    for value in values:
        for word in syntax.assignments(value.text):
            problem = ""
            try:
                name, text = syntax.assigned(named.resolve(word))
            except Unknown as unknown:
                name, text = syntax.assigned(word)
                problem = f"{value.where}: {unknown}"
            except SyntaxProblem:
                continue  # as systemd does
            if name:
                found[name] = Variable(text, value.where, problem)
    return found


def _inherited(tree: Tree, manager: Optional[Manager], named: Specifiers) -> Dict[str, Variable]:
    """The manager's own variables, which all services get; while none runs, those that it is configured to have."""
    if manager is not None and manager.running:
        where = "systemctl show-environment"
        return {name: Variable(value, where) for name, value in manager.environment().items()}
    main = next((path for folder in _MANAGERS if tree.exists(path := f"{folder}/system.conf")), "")
    parts: Dict[str, str] = {}
    for folder in _MANAGERS:
        for file in tree.names(f"{folder}/system.conf.d"):
            if file.endswith(".conf"):
                parts.setdefault(file, f"{folder}/system.conf.d/{file}")
    values: List[Value] = []
    for path in (main, *(path for _, path in sorted(parts.items()))):
        for section, key, text, line in syntax.read(tree.text(path) or "" if path else ""):
            if (section, key) == ("Manager", "DefaultEnvironment"):
                if text:
                    values.append(Value(text, path, line))
                else:
                    values.clear()
    return _assigned(values, named)


def _passed(tree: Tree, unit: Unit, manager: Optional[Manager]) -> Dict[str, Variable]:
    """What is passed on of the variables that the manager itself was started with."""
    own: Optional[Dict[str, str]] = None
    if manager is not None and manager.running:
        text = tree.text("/proc/1/environ")
        own = None if text is None else dict(syntax.assigned(word) for word in text.split("\0"))
    found: Dict[str, Variable] = {}
    for value in unit.values("Service", "PassEnvironment"):
        for name in value.text.split():
            if own is None:
                problem = f"{value.where}: only the node's systemd knows the value of ${name}"
                found[name] = Variable("", value.where, problem)
            elif name in own:
                found[name] = Variable(own[name], value.where)
    return found


def _of_file(tree: Tree, unit: Unit, value: Value, named: Specifiers, version: int) -> Dict[str, Variable]:
    """The variables of an ``EnvironmentFile=``, which may name several files, and none if it begins with ``-``."""
    try:
        pattern = named.resolve(value.text)
    except SyntaxProblem as unknown:
        raise SyntaxProblem(f"{value.where}: EnvironmentFile={value.text}: {unknown}") from unknown
    may_be_missing = pattern.startswith("-")
    pattern = pattern[1:] if may_be_missing else pattern
    if not pattern.startswith("/"):
        return {}  # systemd takes no notice of it, quotes included
    found: Dict[str, Variable] = {}
    paths = tree.glob(pattern)
    missing = "" if paths else f"there is no {pattern}"
    for path in paths:
        text = None if tree.is_folder(path) else tree.text(path)
        if text is None or not _is_utf8(text):
            missing = f"{path} is not a text file"
            break
        found.update(_read_variables(path, text, version))
    if missing and not may_be_missing:
        raise SyntaxProblem(f"{value.where}: {missing}: systemd does not start {unit.name}; mend EnvironmentFile=")
    return found


def _read_variables(path: str, text: str, version: int) -> Dict[str, Variable]:
    now, before = (files.read(text, open_quotes=True, long_comments=long)[0] for long in (False, True))
    if now != before and not version:
        raise SyntaxProblem(
            f"{path}: a comment ends with a backslash, and systemd before {_LONG_COMMENTS_UNTIL} reads it"
            " differently; remove the backslash"
        )
    chosen = before if 0 < version < _LONG_COMMENTS_UNTIL else now
    return {name: Variable(value, f"{path}, line {line}") for name, (value, line) in chosen.items()}


def _is_utf8(text: str) -> bool:
    return not re.search("[\udc80-\udcff]", text)


def template(tree: Tree, name: str) -> Optional[str]:
    """The text of a unit that criproxy brings with it: from its package, or from where it was installed by hand."""
    for folder in _LOCAL:
        text = tree.text(f"{folder}/{name}")
        if text is not None:
            return text
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    texts = (Tree(prefix).text(f"/lib/systemd/system/{name}") for prefix in (sys.prefix, checkout))
    return next((text for text in texts if text is not None), None)
