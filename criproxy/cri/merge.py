"""Lists that are put together of several answers, where that is more than one after the other."""

from __future__ import annotations

from typing import Any, Callable, Dict, Final, List, NamedTuple, Optional, Sequence, Set, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.messages import Classes, cut
from criproxy.cri.methods import Merge, Method
from criproxy.cri.rewrite import VIEWS
from criproxy.cri.steps import Work

_LARGEST_SIZE: Final = 2**64 - 1
"""The largest ``Image.size``, a uint64 in bytes."""
_AT_ONCE: Final = 256
"""So many entries are merged, in one to two milliseconds, between two steps; lists of fewer are merged in one."""


class Listed(NamedTuple):
    """The response of one runtime, serialized and parsed. The message has only the fields that a merge needs."""

    body: bytes
    answer: Any


class MergeOf(NamedTuple):
    """How the responses to a method are merged."""

    view: Any
    """The class that parses a response."""

    merge: Callable[[Sequence[Listed]], Work[List[bytes]]]
    """Merges responses, the primary's first, in steps. The concatenation of what it returns is the merged response."""

    def read(self, body: bytes) -> Listed:
        """Parses a response for ``merge``. Nothing is merged with one that cannot be parsed: it stays as it is."""
        try:
            return Listed(body, self.view.FromString(body))
        except DecodeError:
            return Listed(body, self.view())


def merge_of(row: Method) -> Optional[MergeOf]:
    """How the responses to a method are merged; None if their concatenation is the merged response."""
    if row.merge is Merge.CONCATENATED:
        return None
    return MergeOf(_VIEWS[row.rpc.response], _MERGES[row.merge])


def _one_of_a_metric(lists: Sequence[Listed]) -> Work[List[bytes]]:
    """Merges responses to ListMetricDescriptors: only the first description of each metric stays."""
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
        if len(known) > _AT_ONCE:
            yield
    return out


def _one_of_an_image(lists: Sequence[Listed]) -> Work[List[bytes]]:
    """Merges lists of images: an image has one entry, in the first list that has it. Other lists keep their bytes.

    Entries are of the same image if they have the same id and the same runtime handler, as for kubelet (the key of its
    image collection with the feature RuntimeClassInImageCriApi). An id that is no digest has a runtime's prefix, unless
    the names of that runtime have none.
    """
    ids: List[List[bytes]] = []
    seen: Set[bytes] = set()
    shared: Set[bytes] = set()
    for _, answer in lists:
        ids.append([image.id for image in answer.images])
        own = set(ids[-1])
        shared.update(id for id in own & seen if id)
        seen |= own
        if len(seen) > _AT_ONCE:
            yield
    if not shared:
        return [body for body, _ in lists]
    known: Dict[Tuple[bytes, bytes], Tuple[int, _Image]] = {}
    changed: Set[int] = set()
    again: List[Set[int]] = []
    for index, (_, answer) in enumerate(lists):
        again.append(set())
        for position, (id, entry) in enumerate(zip(ids[index], answer.images)):
            if position % _AT_ONCE == _AT_ONCE - 1:
                yield
            if id not in shared:
                continue
            key = (id, entry.spec.runtime_handler)
            first, image = known.get(key) or known.setdefault(key, (index, _Image(entry)))
            # A runtime that lists an image twice keeps both entries.
            if first != index:
                image.add(entry)
                again[index].add(position)
                changed.update((first, index))
    for (_, answer), gone in zip(lists, again):
        if gone:
            rest = type(answer)()
            rest.images.extend(entry for position, entry in enumerate(answer.images) if position not in gone)
            answer.ClearField("images")
            answer.MergeFrom(rest)
            if len(seen) > _AT_ONCE:
                yield
    return [answer.SerializeToString() if index in changed else body for index, (body, answer) in enumerate(lists)]


class _Image:
    """An image's entry, to which those of other runtimes are added."""

    __slots__ = ("_entry", "_names")

    def __init__(self, entry: Any) -> None:
        self._entry = entry
        self._names: Optional[Tuple[Set[bytes], Set[bytes]]] = None

    def add(self, image: Any) -> None:
        """Adds the names, the size and the pin of another runtime's entry."""
        entry = self._entry
        if self._names is None:
            self._names = set(entry.repo_tags), set(entry.repo_digests)
        pairs = ((entry.repo_tags, image.repo_tags), (entry.repo_digests, image.repo_digests))
        for there, (names, more) in zip(self._names, pairs):
            fresh = [name for name in more if name not in there]
            names.extend(fresh)
            there.update(fresh)
        entry.size = min(entry.size + image.size, _LARGEST_SIZE)
        entry.pinned = entry.pinned or image.pinned


_MERGES: Final[Dict[Merge, Callable[[Sequence[Listed]], Work[List[bytes]]]]] = {
    Merge.ONE_OF_A_METRIC: _one_of_a_metric,
    Merge.ONE_OF_AN_IMAGE: _one_of_an_image,
}
_IMAGE: Final = ("id", "repo_tags", "repo_digests", "size", "spec.runtime_handler", "pinned")
_LISTS_OF_IMAGES: Final = ("ListImagesResponse", "StreamImagesResponse")
_VIEWS: Final[Classes] = {
    **VIEWS,
    **cut("criproxy.merging", {answer: [f"images.{path}" for path in _IMAGE] for answer in _LISTS_OF_IMAGES}),
}
