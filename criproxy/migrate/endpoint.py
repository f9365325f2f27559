"""kubelet's own files, so that without criproxy it uses another runtime than before.

A socket that they name is replaced where it stands, and flags are added where none is named. Each change is tried on
the node's files as they would be, which are read again as systemd and kubelet read them: only one that gives kubelet
the socket, and all else as it was, is taken.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from criproxy import environment
from criproxy.node import configuration, endpoints, syntax, units
from criproxy.node import kubelet as kubelets
from criproxy.node.configuration import ConfigurationProblem
from criproxy.node.endpoints import INSTANCE_CONFIG, REMOTE_BY_DEFAULT, short
from criproxy.node.kubelet import UNIT, Kubelet, KubeletSetting, NodeError
from criproxy.node.manager import Manager
from criproxy.node.tree import Tree

KUBEADM_FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
"""Where kubeadm puts what it finds out of a node's runtime."""
DROP_IN = f"{units.ADMIN}/{UNIT}.d/99-container-runtime.conf"
"""What is written where kubelet's command line stands in a package's file only."""
_WRITTEN = """\
# Written by "criproxy node migrate --finish": kubelet's own command line, with another runtime.
"""
_VOLATILE = "/run/"
"""What is below it somebody makes anew at each boot."""
_ADMINISTRATORS = "/etc/"
_KIND, _RUNTIME, _IMAGES = "container-runtime", "container-runtime-endpoint", "image-service-endpoint"
_FIELD = "containerRuntimeEndpoint"
_NETWORK = ("network-plugin", "network-plugin-mtu", "cni-conf-dir", "cni-bin-dir", "cni-cache-dir")
"""Those of kubelet's flags that are for the dockershim within it: with another runtime they mean nothing."""
_NETWORK_FLAG = r"--(?:network-plugin|network-plugin-mtu|cni-conf-dir|cni-bin-dir|cni-cache-dir)(?:=|[ \t]+)[^\s\"']*"
_USUAL = re.compile(r"/[\w./+@:-]+")
"""A path that stands for itself in units, files of variables, YAML and JSON."""

Texts = Dict[str, str]


def files_for(
    tree: Tree, kubelet: Kubelet, socket: str, manager: Optional[Manager] = None
) -> Sequence[Tuple[str, str]]:
    """Those of kubelet's own files, with their new texts, that put it on the runtime at ``socket``; none if they do.

    Raises NodeError, which names the place, for what has to be changed by hand.
    """
    if not _USUAL.fullmatch(socket):
        raise NodeError(f"{socket!r}: such a path is not written into kubelet's files; give the socket another one")
    node = _Node(tree, kubelet, manager)
    made = _Change(node, f"unix://{socket}").made()
    return [(path, text) for path, text in made.items() if text != tree.text(path)]


class _Look(NamedTuple):
    """The node's files as they would be."""

    tree: Tree
    kubelet: Kubelet

    def flag(self, name: str) -> KubeletSetting:
        """What kubelet is told by this flag; empty if it has it not."""
        return self.kubelet.given((name,)).get(name, KubeletSetting(""))


class _Node:
    """kubelet before any change, and as it would be with other texts."""

    def __init__(self, tree: Tree, kubelet: Kubelet, manager: Optional[Manager]) -> None:
        self.tree = tree
        self.before = _Look(tree, kubelet)
        self._manager = manager

    def look(self, texts: Texts) -> _Look:
        """Raises NodeError if kubelet would not be understood any more."""
        tree, before = self.tree.planned(texts), self.before.kubelet
        kubelet = kubelets.find(tree, _nobody, self._manager, before.version)
        if kubelet is None:
            raise NodeError(f"{UNIT} would be gone")
        return _Look(tree, kubelet)

    def find(self, candidates: Iterator[Texts], holds: Callable[[_Look], bool]) -> Optional[Texts]:
        """The first of the changes after which it holds."""
        for texts in candidates:
            try:
                if holds(self.look(texts)):
                    return texts
            except NodeError:
                continue  # kubelet, or systemd, would not take it
        return None


def _nobody(command: Sequence[str]) -> str:
    raise NodeError(f"{' '.join(command)} is not to be run: kubelet's version is known")


class _Change:
    """The change of one node."""

    def __init__(self, node: _Node, value: str) -> None:
        self._node = node
        self._value = value
        """The endpoint as it is to be written."""
        self._texts: Texts = {}

    def made(self) -> Texts:
        """The texts of the files that change. Raises NodeError."""
        tree, kubelet = self._node.before
        told = endpoints.endpoint(tree, kubelet)
        images = endpoints.told_of_images(tree, kubelet)
        follow = images.value and not endpoints.image_service(tree, kubelet).value
        in_docker = kubelet.version < REMOTE_BY_DEFAULT and not told.value
        lacking: List[str] = []
        if in_docker and not self._replaced(self._node.before.flag(_KIND), _KIND, "remote"):
            lacking.append(f"--{_KIND}=remote")
        # One that is there for Docker within kubelet counts from now on.
        runtime = self._node.before.flag(_RUNTIME) if in_docker else told
        default = not told.value and not in_docker and short(self._path) == endpoints.DEFAULT
        if not default and not self._is_there(runtime) and not self._replaced(runtime, _RUNTIME, self._value):
            lacking.append(f"--{_RUNTIME}={self._value}")
        if follow and not self._images_follow() and not self._replaced(images, _IMAGES, self._value):
            lacking.append(f"--{_IMAGES}={self._value}")
        if lacking:
            self._add(lacking)
        if in_docker:
            self._drop_network()
        self._tell_kubeadm()
        self._check()
        return self._texts

    @property
    def _path(self) -> str:
        return self._value[len("unix://") :]

    def _is_there(self, told: KubeletSetting) -> bool:
        return bool(told.value) and short(endpoints.socket(told)) == short(self._path)

    def _images_follow(self) -> bool:
        """Whether the image service is there by now: both may be told by one variable."""
        return self._is_there(endpoints.told_of_images(*self._node.look(self._texts)))

    # A socket that is named.

    def _replaced(self, told: KubeletSetting, name: str, value: str) -> bool:
        """Replaces what kubelet is told, where it stands; says whether that could be done."""
        if not told.value:
            return False
        path = _file(told)
        if not told.name.startswith("--"):
            self._texts[path] = self._configured(path, told.name)
            return True
        self._refuse_volatile(path, f"{told.source} is {told.value}")
        if not path or path.startswith(units.PACKAGED):
            return False
        before = self._node.before.kubelet.without(_ALL)

        def holds(look: _Look) -> bool:
            return look.flag(name).value == value and look.kubelet.without(_ALL) == before

        found = self._node.find(self._substitutes(path, told.value, value), holds)
        self._texts = found or self._texts
        return found is not None

    def _substitutes(self, path: str, old: str, new: str) -> Iterator[Texts]:
        """The file with the new text in the place of each old one: of a flag that is there twice the last counts."""
        text = self._text(path)
        for match in reversed(list(re.finditer(rf"(?<![\w/.-]){re.escape(old)}(?![\w/.-])", text))):
            yield {**self._texts, path: text[: match.start()] + new + text[match.end() :]}

    def _refuse_volatile(self, path: str, what: str) -> None:
        if path.startswith(_VOLATILE):
            raise NodeError(
                f"{what}, in a file that is made anew at each boot: let that which makes it give kubelet"
                f" --{_RUNTIME}={self._value}, then systemctl daemon-reload, and try again"
            )

    def _configured(self, path: str, name: str) -> str:
        try:
            return configuration.assign(path, self._text(path), name, self._value)
        except ConfigurationProblem as problem:
            raise NodeError(f"{problem}, and try again") from problem

    def _text(self, path: str) -> str:
        return self._texts.get(path) or self._node.tree.text(path) or ""

    # None that is named.

    def _add(self, flags: Sequence[str]) -> None:
        """Gives kubelet more flags, where kubeadm or the node's operator would."""
        before = self._node.before.kubelet.without(_ALL)
        told = dict(flag[2:].split("=", 1) for flag in flags)

        def holds(look: _Look) -> bool:
            return all(look.flag(name).value == value for name, value in told.items()) and (
                look.kubelet.without(_ALL) == before
            )

        found = self._node.find(self._additions(" ".join(flags)), holds)
        if found is None:
            raise NodeError(
                f"kubelet gets {' '.join(flags)} in none of the files in which that is looked for ({UNIT}, its"
                " drop-ins and EnvironmentFile=): write it there, systemctl daemon-reload, and try again"
            )
        self._texts = found

    def _additions(self, words: str) -> Iterator[Texts]:
        kubelet = self._node.before.kubelet
        for path, name in _variables(kubelet):
            yield {**self._texts, path: environment.extend(self._text(path), name, words)}
        command = kubelet.unit.values("Service", "ExecStart")[-1]
        if command.path.startswith(_ADMINISTRATORS):
            text = _extended(self._text(command.path), command.line, words)
            yield {**self._texts, command.path: text}
        self._refuse_volatile(command.path, f"{command.where}, has kubelet's command line")
        if not self._node.tree.exists(DROP_IN):
            text = f"{_WRITTEN}[Service]\nExecStart=\nExecStart={kubelet.command} {words}\n"
            yield {**self._texts, DROP_IN: text}

    def _drop_network(self) -> None:
        """Takes out what kubeadm had written for Docker; what others have written means nothing, and stays."""
        text, path = self._node.tree.text(KUBEADM_FLAGS), KUBEADM_FLAGS
        if text is None:
            return
        without = re.sub(rf"[ \t]+{_NETWORK_FLAG}|{_NETWORK_FLAG}[ \t]*", "", self._text(path))
        names = (*_ALL, *_NETWORK)
        before = self._node.before.kubelet.without(names)
        now = self._node.look(self._texts)

        def holds(look: _Look) -> bool:
            return look.kubelet.without(names) == before and all(look.flag(name) == now.flag(name) for name in _ALL)

        self._texts = self._node.find(iter([{**self._texts, path: without}]), holds) or self._texts

    def _tell_kubeadm(self) -> None:
        """Which else puts the old runtime into kubelet's configuration the next time that it writes that."""
        text = self._node.tree.text(INSTANCE_CONFIG)
        if text is None:
            return
        try:
            field = configuration.read(INSTANCE_CONFIG, text, (_FIELD,)).get(_FIELD)
        except ConfigurationProblem as problem:
            raise NodeError(f"{problem}; mend it, and try again") from problem
        if field is not None and field.value and short(self._path) != short(_bare(field.value)):
            self._texts[INSTANCE_CONFIG] = self._configured(INSTANCE_CONFIG, _FIELD)

    def _check(self) -> None:
        """Sees all of it together."""
        before, after = self._node.before, self._node.look(self._texts)
        told = endpoints.endpoint(*after)
        path = endpoints.socket(told) if told.value else endpoints.DEFAULT
        same_images = endpoints.image_service(*before).value == endpoints.image_service(*after).value
        if short(path) != short(self._path) or not same_images:
            raise NodeError(
                f"kubelet's {told.source} would be {path}, and its image service"
                f" {endpoints.image_service(*after).value or 'the same'}: change its files by hand so that it uses"
                f" {self._path} without criproxy, and try again"
            )


_ALL = (_KIND, _RUNTIME, _IMAGES)


def _file(told: KubeletSetting) -> str:
    """The file in which it stands; empty if it is none, as the manager's own environment."""
    return told.where.rpartition(", line ")[0]


def _bare(value: str) -> str:
    return endpoints.socket(KubeletSetting(value, _FIELD, INSTANCE_CONFIG))


def _variables(kubelet: Kubelet) -> List[Tuple[str, str]]:
    """The files of variables, and the names of these, that are words of kubelet's command line by themselves: kubeadm's
    own first, then those that stand last in the command, where they win."""
    own = {kubelet.unit.fragment, *kubelet.unit.drop_ins}
    found = []
    for word in syntax.split(kubelet.command):
        name = word[1:] if re.fullmatch(r"\$\w+", word) else ""
        path = kubelet.variables[name].where.rpartition(", line ")[0] if name in kubelet.variables else ""
        if path and path not in own and not path.startswith(_VOLATILE):
            found.append((path, name))
    found.reverse()
    return sorted(found, key=lambda place: place[0] != KUBEADM_FLAGS)


def _extended(text: str, line: int, words: str) -> str:
    """A unit file with words at the end of the setting that begins in a line, which may go over several."""
    lines = text.split("\n")
    last = line - 1
    while last + 1 < len(lines) and (len(lines[last]) - len(lines[last].rstrip("\\"))) % 2:
        last += 1
    lines[last] = f"{lines[last].rstrip(syntax.SPACE)} {words}"
    return "\n".join(lines)
