"""What is looked at before a node moves from one runtime to another. Nothing is changed."""

from __future__ import annotations

import os
from functools import partial
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from criproxy.inspection.findings import Finding, right, skipped, wrong
from criproxy.inspection.interview import PATIENCE, Told
from criproxy.inspection.runtimes import how_to_start, of_status, some
from criproxy.inspection.together import together
from criproxy.migrate import cgroups, images, kubelets, side
from criproxy.migrate.images import Image
from criproxy.migrate.move import NEW, OLD, Move
from criproxy.migrate.network import NETWORK, network
from criproxy.migrate.side import Kind, Side
from criproxy.node.kubelet import Ask, Kubelet, NodeError
from criproxy.node.tree import Tree

_TIME = 2 * PATIENCE
"""How long a runtime may take for all that it is asked, seconds."""
_UNPACKED = 3
"""So many times what an image's status says it takes on a disk, roughly: as it was pulled, and unpacked."""
_MEND = "mend that, and do this again"


class Check(NamedTuple):
    """What is looked at, and how."""

    what: str
    look: Callable[[Move], Iterator[Finding]]


def examine(old: str, new: str, tree: Tree, kubelet: Optional[Kubelet], ask: Ask) -> List[Finding]:
    """What there is to say of a move from the runtime on the socket ``old`` to that on ``new``.

    A finding with a cross refuses the move, and its remedy says what to do first. ``ask`` runs commands of the node's.
    """
    if tree.real(old) == tree.real(new):
        return [wrong(NEW, "answer", f"{new} is the old runtime's socket", "name another runtime", broken=True)]
    sides = together([partial(side.look, path, ask) for path in (old, new)], _TIME)
    late = Told(failure=f"it has not answered everything within {_TIME:g} s")
    of_old, of_new = (found or Side(path, late) for found, path in zip(sides, (old, new)))
    findings = [*_answer(OLD, of_old), *_answer(NEW, of_new)]
    if of_old.told.failure or of_new.told.failure:
        return findings
    move = Move(tree, kubelet, of_old, of_new)
    for check in _CHECKS:
        findings += _looked(check, move)
    return findings


def _looked(check: Check, move: Move) -> List[Finding]:
    try:
        return list(check.look(move))
    except NodeError as error:
        return [wrong(NEW, check.what, str(error), _MEND, broken=True)]
    except OSError as error:
        return [wrong(NEW, check.what, f"{error.filename}: {error.strerror}", "it takes root", broken=True)]


def _answer(subject: str, seen: Side) -> Iterator[Finding]:
    """Whether a runtime answers all that kubelet asks, and is ready."""
    told = seen.told
    if told.failure:
        remedy = how_to_start(seen.path, told.failure)
        yield wrong(subject, "answer", f"{seen.path}: {told.failure}", remedy, broken=True)
        return
    versions = ", ".join(version.spoken for version in told.versions)
    text = f"{told.name or 'a runtime without a name'} at {seen.path}, CRI {versions}"
    if told.lacking:
        yield wrong(subject, "answer", f"{text}, but {some(told.lacking)}", "upgrade or configure it", broken=True)
    else:
        yield right(subject, "answer", text)
    status = of_status(subject, told, True)
    yield status if not status.remedy else wrong(subject, "status", status.text, status.remedy, broken=True)


def _lists(move: Move) -> Iterator[Finding]:
    """Two sockets of one runtime have the same pods, and there is nothing to move."""
    old, new = (frozenset((*each.told.pods, *each.told.containers)) for each in (move.old, move.new))
    both = sorted(old & new)
    if both:
        text = f"it has what the old one has, {some(both)}: two sockets of one runtime"
        yield wrong(NEW, "lists", text, "name another runtime", broken=True)
    else:
        yield right(NEW, "lists", f"{len(move.old.told.pods)} pods on the old one, none of them on the new one")


def _images(move: Move) -> Iterator[Finding]:
    """Whether pods find their images there once kubelet asks the new runtime for them, and what it takes if not."""
    lacking = images.lacking(move.old.path, move.new.path)
    used = [image for image in lacking if image.id]
    if used:
        text = f"{len(used)} of the running pods' are not there, or others of these names: {_named(used)}"
        yield skipped(NEW, "images", f"{text}: they are copied before the switch, or pulled where that cannot be")
    else:
        yield right(NEW, "images", "all of the running pods' are there")
    yield _sandbox_image(move, [image for image in lacking if not image.id])
    yield _disk(move, lacking)


def _sandbox_image(move: Move, lacking: Sequence[Image]) -> Finding:
    name = move.new.sandbox_image
    if lacking:
        text = f"{_named(lacking)} is not there: it is copied before the switch, or pulled where that cannot be"
        return skipped(NEW, "sandbox image", text)
    if name:
        return right(NEW, "sandbox image", f"{name} is there")
    how = "crictl images shows whether a pause is there"
    if move.new.kind is Kind.CONTAINERD:
        how = f"see sandbox under pinned_images in its config.toml, and {how}"
    return skipped(NEW, "sandbox image", f"it does not say which one it uses: {how}")


def _disk(move: Move, lacking: Sequence[Image]) -> Finding:
    folder, needed = move.new.image_folder, _UNPACKED * sum(image.size for image in lacking)
    if not folder:
        text = f"it does not say where its images are; it takes about {images.size(needed)} for those that it lacks"
        return skipped(NEW, "disk", text)
    try:
        found = os.statvfs(move.tree.target(folder))
    except OSError as error:
        return skipped(NEW, "disk", f"{folder}, where its images are: {error.strerror}")
    free = found.f_bavail * found.f_frsize
    text = f"{images.size(free)} are free for images at {folder}, and about {images.size(needed)} are needed"
    if free < needed:
        return wrong(NEW, "disk", text, "make room there, or give the new runtime another disk", broken=True)
    return right(NEW, "disk", text)


def _named(lacking: Sequence[Image]) -> str:
    return some([image.names[0] for image in lacking])


_CHECKS: Tuple[Check, ...] = (
    Check("lists", _lists),
    Check(cgroups.DRIVER, cgroups.driver),
    Check(cgroups.ROOT, cgroups.root),
    Check(NETWORK, network),
    Check("images", _images),
    Check(kubelets.LOGS, kubelets.logs),
    Check(kubelets.STATISTICS, kubelets.statistics),
    Check(kubelets.EVENTS, kubelets.events),
)
