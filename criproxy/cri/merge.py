"""Lists that are put together of several answers, where that is more than one after the other."""

from __future__ import annotations

from typing import Any, Callable, Dict, Final, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from criproxy.cri.filter import count
from criproxy.cri.methods import Merge, Method
from criproxy.cri.steps import Work
from criproxy.cri.views import View, Views, encode
from criproxy.cri.wire import LENGTH, DecodeError, field_at, length_field

_LARGEST_SIZE: Final = 2**64 - 1
"""The largest ``Image.size``, a uint64 in bytes."""
MOST_MERGED: Final = 65_536
"""The most entries of a list that is read, which take some 300 bytes each. A node has some hundred images."""
_AT_ONCE: Final = 256
"""So many entries are merged, in one to two milliseconds, between two steps; lists of fewer are merged in one."""


class Listed(NamedTuple):
    """The response of one runtime, serialized, and what of it a merge needs (views.py)."""

    body: bytes
    answer: Any


class MergeOf(NamedTuple):
    """How the responses to a method are merged."""

    view: View
    """Reads a response."""

    merge: Callable[[Sequence[Listed]], Work[List[bytes]]]
    """Merges responses, the primary's first, in steps. The concatenation of what it returns is the merged response."""

    def read(self, body: bytes) -> Listed:
        """Reads a response for ``merge``.

        Nothing is merged with one that cannot be read, or has more than `MOST_MERGED` entries: it stays as it is.
        """
        try:
            readable = count(body, MOST_MERGED) <= MOST_MERGED
            return Listed(body, self.view.read(body) if readable else self.view.unset)
        except DecodeError:
            return Listed(body, self.view.unset)


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
        names = [descriptor.name for descriptor in answer.descriptors]
        out.append(_with_entries(body, {position: b"" for position, name in enumerate(names) if name in known}))
        known.update(names)
        if len(known) > _AT_ONCE:
            yield
    return out


def _with_entries(body: bytes, new: Mapping[int, bytes]) -> bytes:
    """A list in which entries at some positions are others; of one that is empty nothing is left."""
    if not new:
        return body
    parts: List[bytes] = []
    at = position = 0
    while at < len(body):
        start = at
        number, wire, _, at = field_at(body, start, len(body))
        part = body[start:at]
        if number == 1 and wire == LENGTH:
            entry = new.get(position)
            position += 1
            if entry is not None:
                part = length_field(1, entry) if entry else b""
        parts.append(part)
    return b"".join(parts)


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
    known: Dict[Tuple[bytes, bytes], Tuple[int, int, _Image]] = {}
    changed: List[Dict[int, bytes]] = [{} for _ in lists]
    for index, (_, answer) in enumerate(lists):
        for position, (id, entry) in enumerate(zip(ids[index], answer.images)):
            if position % _AT_ONCE == _AT_ONCE - 1:
                yield
            if id not in shared:
                continue
            key = (id, entry.spec.runtime_handler)
            first, at, image = known.get(key) or known.setdefault(key, (index, position, _Image(entry)))
            # A runtime that lists an image twice keeps both entries.
            if first != index:
                image.add(entry)
                changed[first][at] = b""
                changed[index][position] = b""
    for first, at, image in known.values():
        if at in changed[first]:
            changed[first][at] = image.entry
    out: List[bytes] = []
    for (body, _), new in zip(lists, changed):
        out.append(_with_entries(body, new))
        if len(seen) > _AT_ONCE:
            yield
    return out


class _Image:
    """An image's entry, to which those of other runtimes are added."""

    __slots__ = ("_digests", "_image", "_pinned", "_size", "_tags")

    def __init__(self, image: Any) -> None:
        self._image = image
        self._tags = _Names(image.repo_tags)
        self._digests = _Names(image.repo_digests)
        self._size: int = image.size
        self._pinned: bool = image.pinned

    def add(self, image: Any) -> None:
        """Adds the names, the size and the pin of another runtime's entry."""
        self._tags.add(image.repo_tags)
        self._digests.add(image.repo_digests)
        self._size = min(self._size + image.size, _LARGEST_SIZE)
        self._pinned = self._pinned or image.pinned

    @property
    def entry(self) -> bytes:
        """The entry as it was, and behind it what is added. Of what stands there twice the last counts."""
        added: Dict[str, Any] = {"repo_tags": self._tags.added, "repo_digests": self._digests.added}
        if self._size != self._image.size:
            added["size"] = self._size
        if self._pinned and not self._image.pinned:
            added["pinned"] = True
        raw: bytes = self._image.raw
        return raw + encode("Image", added)


class _Names:
    """Names of an image, and in ``added`` those that came to them."""

    __slots__ = ("_there", "added")

    def __init__(self, names: Sequence[bytes]) -> None:
        self._there = set(names)
        self.added: List[bytes] = []

    def add(self, names: Sequence[bytes]) -> None:
        """Adds those that are not there."""
        fresh = [name for name in names if name not in self._there]
        self.added += fresh
        self._there.update(fresh)


_MERGES: Final[Dict[Merge, Callable[[Sequence[Listed]], Work[List[bytes]]]]] = {
    Merge.ONE_OF_A_METRIC: _one_of_a_metric,
    Merge.ONE_OF_AN_IMAGE: _one_of_an_image,
}
_IMAGE: Final = ("id", "repo_tags", "repo_digests", "size", "spec.runtime_handler", "pinned")
_LISTS_OF_IMAGES: Final = ("ListImagesResponse", "StreamImagesResponse")
_VIEWS: Final = Views(
    {
        "ListMetricDescriptorsResponse": ["descriptors.name"],
        **{answer: [f"images.{path}" for path in _IMAGE] for answer in _LISTS_OF_IMAGES},
    }
)
