"""Lists that are put together of several answers, where that is more than one after the other, and cut to messages."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from criproxy.cri.identity import is_digest
from criproxy.cri.incremental import ends
from criproxy.cri.messages import Classes, cut
from criproxy.cri.methods import Merge, Method
from criproxy.cri.rewrite import VIEWS

_LARGEST_SIZE = 2**64 - 1
"""That an image can be said to have, bytes."""


class Listed(NamedTuple):
    """A runtime's answer, as bytes and as a message with the fields that matter here."""

    body: bytes
    answer: Any


class MergeOf(NamedTuple):
    """How a method's answers are merged."""

    view: Any

    merge: Callable[[Sequence[Listed]], List[bytes]]
    """Makes answers, the primary runtime's first, into messages of which the concatenation is the merged answer."""

    def read(self, body: bytes) -> Listed:
        """An answer, ready to be merged. Raises DecodeError."""
        return Listed(body, self.view.FromString(body))


def merge_of(row: Method) -> Optional[MergeOf]:
    """How a method's answers are merged; None if the concatenation of them is it."""
    if row.merge is Merge.CONCATENATED:
        return None
    return MergeOf(_VIEWS[row.rpc.response], _MERGES[row.merge])


def in_messages(body: bytes, limit: int) -> List[bytes]:
    """A list as messages of at most ``limit`` bytes that hold its entries in their order.

    An entry that is larger has a message of its own. What is no row of whole entries stays one message.
    """
    if len(body) <= limit:
        return [body]
    messages: List[bytes] = []
    start = last = 0
    for end in ends(body) or ():
        if end - start > limit and last > start:
            messages.append(body[start:last])
            start = last
        last = end
    messages.append(body[start:])
    return messages


def _one_of_a_metric(lists: Sequence[Listed]) -> List[bytes]:
    """Answers to ListMetricDescriptors of which each metric's description stands in the first that has it."""
    known: Set[bytes] = set()
    out: List[bytes] = []
    for body, answer in lists:
        fresh = [descriptor for descriptor in answer.descriptors if descriptor.name not in known]
        known.update(descriptor.name for descriptor in fresh)
        if len(fresh) < len(answer.descriptors):
            kept = type(answer)()
            kept.descriptors.extend(fresh)
            body = kept.SerializeToString()
        out.append(body)
    return out


def _one_of_an_image(lists: Sequence[Listed]) -> List[bytes]:
    """Lists of images of which each has its one entry in the first that has it; answers that do not change are kept.

    An image is one if it has the same digest and is for the same runtime handler: those are kubelet's key for it.
    """
    ids = [{image.id for image in answer.images} for _, answer in lists]
    if sum(map(len, ids)) == len(set().union(*ids)):
        return [body for body, _ in lists]
    known: Dict[Tuple[bytes, bytes], Tuple[int, Any]] = {}
    changed: Set[int] = set()
    for index, (_, answer) in enumerate(lists):
        again: List[int] = []
        for position, image in enumerate(answer.images):
            first, entry = known.setdefault((image.id, image.spec.runtime_handler), (index, image))
            # What a runtime lists twice itself is its own affair.
            if first != index and is_digest(image.id):
                _add(entry, image)
                again.append(position)
                changed.update((first, index))
        for position in reversed(again):
            del answer.images[position]
    return [answer.SerializeToString() if index in changed else body for index, (body, answer) in enumerate(lists)]


def _add(entry: Any, image: Any) -> None:
    """Puts into an image's entry what another runtime has of it."""
    for names, more in ((entry.repo_tags, image.repo_tags), (entry.repo_digests, image.repo_digests)):
        there = set(names)
        names.extend([name for name in more if name not in there])
    entry.size = min(entry.size + image.size, _LARGEST_SIZE)
    entry.pinned = entry.pinned or image.pinned


_MERGES: Dict[Merge, Callable[[Sequence[Listed]], List[bytes]]] = {
    Merge.ONE_OF_A_METRIC: _one_of_a_metric,
    Merge.ONE_OF_AN_IMAGE: _one_of_an_image,
}
_IMAGE = ("id", "repo_tags", "repo_digests", "size", "spec.runtime_handler", "pinned")
_LISTS_OF_IMAGES = ("ListImagesResponse", "StreamImagesResponse")
_VIEWS: Classes = {
    **VIEWS,
    **cut("criproxy.merging", {answer: [f"images.{path}" for path in _IMAGE] for answer in _LISTS_OF_IMAGES}),
}
