"""The end of a move: the old runtime goes from the configuration, and kubelet's own files name the new one.

What must not be is a kubelet on the old runtime: it would make every pod anew there. So its files are changed first,
and what criproxy has put on the node goes after that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from criproxy.migrate import endpoint, evict
from criproxy.migrate.left import LeftPod, Rest, pods_on, rests
from criproxy.migrate.scene import Scene
from criproxy.node import endpoints, plan, watch
from criproxy.node import kubelet as kubelets
from criproxy.node.files import SAVED, Before, Files, new_file
from criproxy.node.kubelet import UNIT, Kubelet, NodeError, Version
from criproxy.node.ledger import locked
from criproxy.node.plan import DEFAULTS, MOVE_NOTE, SERVICE, SOCKET, SWITCH_NOTE, Wishes, spellings
from criproxy.node.tree import Tree
from criproxy.node.turn import differences, reason
from criproxy.text import few

_NAMED = 20
"""So many pods are named, the others are counted."""
_ANNOTATION = "kubeadm.alpha.kubernetes.io/cri-socket"
"""Of a node, by kubeadm: which runtime it takes the node's pods to be on."""


class _Move(NamedTuple):
    old: str
    """The retiring runtime's socket; empty if it is out of the configuration already."""
    new: str
    only: bool
    """Whether criproxy is on the node only for the move."""


def finish(scene: Scene, evicts: bool, version: Optional[Version] = None) -> bool:
    """Ends the move that is under way, or goes on with an end that was interrupted. Says whether it was agreed to.

    ``evicts``: pods that are left are stopped, one after the other; ``version`` is kubelet's, if it does not tell it.
    Raises NodeError, whose text says what has been changed, if anything.
    """
    move = _under_way(scene.tree)
    version = version or plan.noted_version(scene.tree)
    kubelet = kubelets.find(scene.tree, scene.ask, scene.manager, version)
    texts = _texts(scene, move, kubelet)
    left = _left(scene, move, evicts)
    _show(scene, move, left, texts)
    if not scene.agreed():
        return False
    for pod in left:
        evict.evict(pod, move.old, move.new, scene.say, scene.clock)
    _see_nothing_left(move)
    _turn(scene, move, texts, version)
    scene.say(f"the move is over: this node is on {move.new}")
    _tell_of_kubeadm(scene, move)
    return True


def _under_way(tree: Tree) -> _Move:
    sockets = plan.sockets(tree)
    move = _Move(sockets.retiring, sockets.primary, tree.exists(MOVE_NOTE))
    if not move.new or not (move.old or move.only):
        raise NodeError("no move is under way: criproxy node migrate --to RUNTIME begins one")
    return move


# kubelet's own files.


def _texts(scene: Scene, move: _Move, kubelet: Optional[Kubelet]) -> Sequence[Tuple[str, str]]:
    """Those that are to be changed, with their new texts. Raises NodeError if they cannot be, and have to."""
    if kubelet is None:
        return ()
    try:
        told = endpoints.endpoint(scene.tree, kubelet)
        if not move.only and told.value and endpoints.socket(told) in spellings(SOCKET):
            return ()
        return endpoint.files_for(scene.tree, kubelet, move.new, scene.manager)
    except NodeError as error:
        if move.only:
            raise
        scene.say(f"warning: without criproxy kubelet would be on another runtime than {move.new}: {error}")
        return ()


class _Written:
    """kubelet's files, written and put back."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._files = Files(scene.tree)
        self._undoing: List[Tuple[str, Callable[[], None]]] = []
        """What puts each thing back that has been done, with its path."""

    def write(self, texts: Sequence[Tuple[str, str]]) -> None:
        """Writes them, with a copy beside each as it was. Raises NodeError; all is as before then."""
        try:
            with locked(self._scene.tree):
                for path, text in texts:
                    self._replace(self._scene.tree.real(path), text)
            self._reload()
        except (NodeError, OSError) as error:
            raise NodeError(f"{reason(error)}; {self.put_back()}") from error

    def _replace(self, path: str, text: str) -> None:
        now = self._files.seen(path)
        for folder in self._files.missing(os.path.dirname(path)):
            self._files.make_folder(folder)
            self._undoing.append((folder, partial(self._files.remove_folder, folder)))
        if now is None:
            self._undoing.append((path, partial(self._files.remove, path)))
        else:
            self._keep(path, now)
            self._undoing.append((path, partial(self._files.put, path, now)))
        self._files.put(path, new_file(_bytes(path, text, now), now))
        self._scene.say(f"wrote {path}")

    def _keep(self, path: str, now: Before) -> None:
        if self._files.seen(path + SAVED) == now:  # of an end that was interrupted
            return
        copy = self._files.free_name(path)
        self._undoing.append((copy, partial(self._files.remove, copy)))
        self._files.put(copy, now)
        self._scene.say(f"{path} as it was is in {copy}")

    def put_back(self) -> str:
        """Puts them back as far as it goes; says what has become of them."""
        failed = []
        for path, undo in reversed(self._undoing):
            try:
                undo()
            except OSError as error:
                failed.append(f"{path}: {error.strerror}")
        with suppress(NodeError):  # the next change of a unit does it, too
            self._reload()
        self._undoing.clear()
        return "kubelet's files " + (f"could not be put back: {'; '.join(failed)}" if failed else "are as before")

    def _reload(self) -> None:
        if self._undoing and self._scene.manager.running:
            self._scene.manager.do("daemon-reload")


def _bytes(path: str, text: str, now: Optional[Before]) -> bytes:
    """A text with the ends of line of the file that it is for, which are read as newlines whatever they are."""
    data = text.encode("utf-8", "surrogateescape")
    if now is None or b"\r" not in now.data:
        return data
    if now.data.count(b"\r\n") != now.data.count(b"\n") or now.data.count(b"\r\n") != now.data.count(b"\r"):
        raise NodeError(f"{path} has ends of line of two kinds: let them be of one kind, and try again")
    return data.replace(b"\n", b"\r\n")


# What is left.


def _left(scene: Scene, move: _Move, evicts: bool) -> Sequence[LeftPod]:
    """What is on the old runtime. Raises NodeError if it must not be, or cannot be known."""
    if not move.old:
        return ()
    _see_in_force(scene, move)
    try:
        pods = pods_on(move.old)
    except NodeError as error:
        raise NodeError(
            f"{error}; start it. If it is never to come back: take CRI_RETIRING out of {DEFAULTS}, then systemctl"
            " reload criproxy, and kubelet makes its pods anew"
        ) from error
    found = rests(pods, pods_on(move.new))
    staying = [_described(pod, rest) for pod, rest in found.items() if rest is not Rest.MOVED]
    if staying and not evicts:
        raise NodeError(
            f"pods are left on {move.old}: {few(staying, _NAMED)}; nothing has been changed: wait until they are"
            " deleted, or let criproxy stop them one after the other (criproxy node migrate --finish --evict)"
        )
    if Rest.RUNS in found.values() and not scene.manager.state(UNIT).runs:
        raise NodeError(f"{UNIT} does not run, so nothing would make the pods on {move.old} anew: start it")
    return list(found)


def _see_in_force(scene: Scene, move: _Move) -> None:
    """Raises NodeError if new pods do not start on the new runtime."""
    try:
        primary = scene.runtimes.behind(SOCKET).get("", move.new)
    except NodeError as error:
        raise NodeError(f"criproxy does not answer: {error}; start it (systemctl start {SERVICE})") from error
    if primary not in spellings(move.new):
        raise NodeError(
            f"criproxy has the primary runtime {primary}, and {DEFAULTS} says {move.new}: criproxy node apply, and try"
            " again"
        )


def _described(pod: LeftPod, rest: Rest) -> str:
    return str(pod) if rest is Rest.RUNS else f"{pod} (it has ended, and its status and logs are there)"


def _see_nothing_left(move: _Move) -> None:
    names = [str(pod) for pod in pods_on(move.old)] if move.old else []
    if names:
        raise NodeError(
            f"pods are left on {move.old}: {few(names, _NAMED)}; the move goes on: try again when they have ended, or"
            " criproxy node migrate --back"
        )


def _show(scene: Scene, move: _Move, left: Sequence[LeftPod], texts: Sequence[Tuple[str, str]]) -> None:
    """Everything that is about to be done."""
    for line in differences(scene.tree, texts):
        scene.say(line.expandtabs())
    for pod in left:
        if not pod.runs:
            scene.say(f"# what is left of {pod} on {move.old} has ended and is removed, with its logs there")
            continue
        scene.say(f"# {pod} is stopped on {move.old}, and kubelet makes it anew on {move.new}")
        for line in evict.prospects(pod):
            scene.say(f"# {line}")
    if move.old:
        scene.say(f"# {move.old} goes from {DEFAULTS}")
    if move.only:
        scene.say("# criproxy is here only for the move and goes; kubelet is restarted once, on its own flags")


# The turn.


def _turn(scene: Scene, move: _Move, texts: Sequence[Tuple[str, str]], version: Optional[Version]) -> None:
    """Changes the node. Raises NodeError; kubelet is on the new runtime in any case, by criproxy or by itself."""
    written = _Written(scene)
    written.write(texts)
    try:
        if move.old:
            scene.node().apply(Wishes(kubelet_version=version, retiring=""))
    except NodeError as error:
        raise NodeError(f"{error}; {written.put_back()}") from error
    if move.only:
        _leave(scene, move, version)


def _leave(scene: Scene, move: _Move, version: Optional[Version]) -> None:
    """Takes criproxy off the node; it comes back if kubelet does not live without it.

    Kubelet's files stay as they are then: all pods are on the new runtime, and nothing must lead kubelet to the old
    one.
    """
    tree, manager = scene.tree, scene.manager
    again = Wishes(
        primary=move.new,
        attach_detach=plan.note(tree, SWITCH_NOTE) or None,
        kubelet_version=version,
        retiring="",
        only_for_a_move=True,
    )
    state = manager.state(UNIT)
    restless = watch.is_restless(manager, UNIT, state, scene.clock)
    scene.node().revert()
    end = "" if restless or not state.runs else watch.ends(manager, UNIT, scene.watch, scene.clock)
    if not end:
        return
    words = manager.last_words(UNIT)
    text = f"kubelet fails without criproxy: {end}{f', and its log ends: {words}' if words else ''}"
    try:
        scene.node().apply(again)
    except NodeError as error:
        raise NodeError(f"{text}. Nor does it live with criproxy: {error}") from error
    raise NodeError(f"{text}. criproxy is before it again, with the runtime {move.new}: mend that, and try again")


def _tell_of_kubeadm(scene: Scene, move: _Move) -> None:
    if scene.tree.exists(endpoint.KUBEADM_FLAGS):
        scene.say(
            "kubeadm has its own note of the runtime, at the node's object. To change it:"
            f" kubectl annotate node NODE --overwrite {_ANNOTATION}=unix://{move.new}"
        )
