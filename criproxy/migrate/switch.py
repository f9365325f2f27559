"""The beginning of a move, and the way back: another runtime becomes the primary one, and the one before is retiring.

All of a node that is changed is one turn of `criproxy.node.turn`. So whenever it is stopped the next one, in whichever
direction, makes the node whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterator, NamedTuple, Optional, Sequence

from criproxy import address
from criproxy.inspection.findings import Finding, State
from criproxy.migrate.scene import Scene
from criproxy.node import endpoints, plan, syntax
from criproxy.node import kubelet as kubelets
from criproxy.node.kubelet import DROP_IN, Kubelet, NodeError, Version
from criproxy.node.ledger import Ledger
from criproxy.node.plan import DEFAULTS, SOCKET, SWITCH_NOTE, NodePlan, Wishes, spellings
from criproxy.text import few

if TYPE_CHECKING:  # it brings gRPC's library, which other actions do without
    from criproxy.migrate.images import Image

_CROSSED = (State.DEGRADED, State.BROKEN)
_NAMED = 3
"""So many images are named, the others are counted."""
_DOCKER = (
    "let cri-dockerd serve Docker, put kubelet on that (unix:///run/cri-dockerd.sock), and move from there. Whether"
    " pods that run now survive that change is not known: a drain of the node is safe"
)


class Runtimes(NamedTuple):
    """What is asked of two runtimes by their sockets, the old one's first. Each raises NodeError."""

    examine: Callable[[str, str, Kubelet], Sequence[Finding]]
    """What there is to say of the move. A finding with a cross refuses it."""
    lacking: Callable[[str, str], Sequence[Image]]
    """The images that the new one lacks."""
    copy: Callable[[Sequence[Image], str, str, Callable[[str], None]], None]
    """Brings images to the new one."""


class _Place(NamedTuple):
    """Where a node is."""

    kubelet: Kubelet
    turned: bool
    """Whether kubelet is on criproxy."""
    primary: str
    """The socket of the runtime that new pods start on, by criproxy or by kubelet itself."""
    retiring: str
    """The socket of the one before, if a move is under way; empty if not."""
    images: str
    """The socket of the primary runtime's image service, if it has one of its own."""
    only: bool
    """Whether criproxy, if it is put on the node for a move, is there for nothing else."""


def move(
    scene: Scene, runtimes: Runtimes, name: str, show: Callable[[Sequence[Finding]], None], version: Optional[Version]
) -> bool:
    """Moves the node to the runtime of that name, or on that socket. Says whether it was agreed to.

    ``show`` shows what has been found; ``version`` is kubelet's, if it does not tell it. Raises NodeError.
    """
    place = _place(scene, version)
    new = plan.named(name)
    _refuse(place, new)
    if place.retiring:
        return _turn(scene, place, Wishes(place.primary, retiring=place.retiring, kubelet_version=version))
    wishes = _wishes(scene, place, new, version)
    _refuse_alternative(scene.node().plan(wishes), new)
    found = runtimes.examine(place.primary, new, place.kubelet)
    show(found)
    if any(finding.state in _CROSSED for finding in found):
        raise NodeError(f"this node is not moved to {new}: do first what is said above; nothing has been changed")
    lacking = runtimes.lacking(place.primary, new)
    return _turn(scene, place, wishes, lacking, lambda: runtimes.copy(lacking, place.primary, new, scene.say))


def back(scene: Scene, version: Optional[Version]) -> bool:
    """Moves the node back: the retiring runtime becomes the primary one, and the primary one is retiring. Says whether
    it was agreed to. Raises NodeError."""
    place = _place(scene, version)
    primary, retiring, _ = plan.sockets(scene.tree)
    if not retiring:
        raise NodeError("no move is under way: criproxy node migrate --to RUNTIME begins one")
    return _turn(scene, place, Wishes(retiring, retiring=primary, kubelet_version=version))


def _place(scene: Scene, version: Optional[Version]) -> _Place:
    if not scene.manager.running:
        raise NodeError("no systemd runs here: a node is moved while its kubelet and its runtimes run")
    tree = scene.tree
    kubelet = kubelets.find(tree, scene.ask, scene.manager, version or plan.noted_version(tree))
    if kubelet is None:
        raise NodeError(f"{kubelets.missing(tree)}: there is nothing to move")
    primary, retiring, images = plan.sockets(tree)
    if DROP_IN in Ledger.read(tree).entries and tree.exists(DROP_IN) and primary:
        return _Place(kubelet, True, primary, retiring, "" if images in spellings(primary) else images, False)
    used = plan.used_by(tree, kubelet, primary)
    images = plan.images_used_by(tree, kubelet, images, used)
    told = address.path_of(endpoints.endpoint(tree, kubelet).value)
    return _Place(kubelet, False, used, "", images, told not in spellings(SOCKET))


def _refuse(place: _Place, new: str) -> None:
    """Raises NodeError for a move that there cannot be from where the node is."""
    if place.retiring and new in spellings(place.retiring):
        raise NodeError(f"{new} is the runtime that this node moves away from: criproxy node migrate --back goes back")
    if place.retiring and new not in spellings(place.primary):
        raise NodeError(
            f"{plan.move_text(place.primary, place.retiring)}. A node is on two runtimes at most: end that move first"
            " (criproxy node migrate --finish), or go back (--back)"
        )
    if place.retiring:
        return
    if new in spellings(place.primary):
        raise NodeError(f"this node is on {new} already")
    if plan.is_dockershim(place.primary):
        plan.check_dockershim(place.kubelet, _DOCKER)
    if place.images:
        raise NodeError(
            f"the runtime that this node is on has an image service of its own ({place.images}), and a retiring"
            " runtime is asked for images at its own socket only: let it serve its images itself first (take"
            " --image-service-endpoint from kubelet, or criproxy node apply --image-service ''), and see that pods"
            " start"
        )


def _refuse_alternative(planned: NodePlan, new: str) -> None:
    """The ids of an alternative runtime's pods have its own before them, and kubelet would not know them again."""
    same = next((runtime.id for runtime in planned.alternatives if runtime.path in spellings(new)), "")
    if same:
        raise NodeError(
            f"{new} is the alternative runtime {same!r}, whose pods kubelet would lose: criproxy drain {same}, and when"
            f" they are gone criproxy runtime remove {same}; then it can be moved to"
        )


def _wishes(scene: Scene, place: _Place, new: str, version: Optional[Version]) -> Wishes:
    """A node that is put on criproxy for the move gets nothing else with it, unless somebody has said what."""
    if place.turned:
        return Wishes(new, retiring=place.primary, kubelet_version=version)
    return Wishes(
        new,
        other=None if scene.tree.exists(DEFAULTS) else "",
        attach_detach=plan.note(scene.tree, SWITCH_NOTE) or "keep",
        kubelet_version=version,
        retiring=place.primary,
        only_for_a_move=place.only,
    )


def _turn(
    scene: Scene,
    place: _Place,
    wishes: Wishes,
    lacking: Sequence[Image] = (),
    copy: Callable[[], None] = lambda: None,
) -> bool:
    """Shows what is to be done, and does it if that is agreed to."""
    planned = scene.node().plan(wishes)
    for line in list(scene.node().differences(planned)) or ["nothing to change"]:
        scene.say(line.expandtabs())
    for line in _words(scene, place, planned, lacking):
        scene.say(f"# {line}")
    if not scene.agreed():
        return False
    if lacking:
        copy()
    scene.node().apply(wishes)
    scene.say(
        f"next: criproxy status shows what is left on {planned.retiring}; when nothing is, criproxy node migrate"
        " --finish; --back goes back at any time"
    )
    return True


def _words(scene: Scene, place: _Place, planned: NodePlan, lacking: Sequence[Image]) -> Iterator[str]:
    """What is about to happen, a sentence a line."""
    if lacking:
        names = [image.names[0] for image in lacking]
        yield f"images are copied to {planned.primary} first: {few(names, _NAMED)}"
    yield from scene.node().prospects(planned)
    if not place.turned:
        yield f"criproxy is put between kubelet and both{' for the time of the move' if place.only else ''}"
    if planned.starts(planned.retiring) and not place.turned:
        yield "a dockershim of criproxy's takes the place of the one inside kubelet, and has its pods"
    restarts = "restarted once, since its flags change" if _restarts(scene, planned) else "not restarted"
    yield f"kubelet is {restarts}; no container is"


def _restarts(scene: Scene, planned: NodePlan) -> bool:
    """Whether kubelet has to be."""
    running = kubelets.running_flags(scene.tree, scene.manager)
    if running is not None and not any(SOCKET in flag for flag in running):
        return True
    there = scene.tree.text(DROP_IN) or ""
    return syntax.of_processes(there) != syntax.of_processes(planned.drop_in)
