"""What has been seen, as tables for people."""

from __future__ import annotations

import re
from typing import Collection, Iterator, Sequence, Tuple, Union

from criproxy.cri.identity import is_digest
from criproxy.show.choice import bare
from criproxy.show.entries import Container, Image, Kind, Name, Pod, Role, Runtime, Seen
from criproxy.terminal import plain_table
from criproxy.text import IMAGES, PRIMARY, escape

_WIDEST = 48
"""What a cell may have before it is cut, characters."""
_SHORT_ID = 13
"""Characters of an id that are shown, as crictl does."""
_AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_UNKNOWN = "?"
_RUNTIME_COLUMNS = ("RUNTIME", "SOCKET", "STATE", "CRI", "SINCE", "CALLS")
_POD_COLUMNS = ("RUNTIME", "ID", "NAMESPACE", "NAME", "STATE", "AGE")
_CONTAINER_COLUMNS = ("RUNTIME", "ID", "POD", "NAME", "IMAGE", "STATE", "AGE")
_IMAGE_COLUMNS = ("RUNTIME", "ID", "NAME", "SIZE")

Row = Tuple[str, ...]


def text(seen: Seen, kinds: Collection[Kind], wide: bool = False) -> str:
    """A table for each kind that could be had, and above several who answers; nothing if none could.

    ``wide``: names and ids as kubelet has them, and whole.
    """
    parts = list(_Tables(seen, wide).of(kinds))
    if len(kinds) > 1 and seen.who:
        parts.insert(0, escape(f"{seen.socket}: {seen.who}"))
    return "\n\n".join(parts)


class _Tables:
    def __init__(self, seen: Seen, wide: bool) -> None:
        self._seen = seen
        self._wide = wide

    def of(self, kinds: Collection[Kind]) -> Iterator[str]:
        seen = self._seen
        if Kind.RUNTIMES in kinds and seen.runtimes:  # only criproxy has any
            yield self._table("RUNTIMES", _RUNTIME_COLUMNS, [_runtime(runtime) for runtime in seen.runtimes])
        if Kind.PODS in kinds and seen.pods is not None:
            yield self._table("PODS", _POD_COLUMNS, [self._pod(pod) for pod in seen.pods])
        if Kind.CONTAINERS in kinds and seen.containers is not None:
            rows = [self._container(container) for container in seen.containers]
            yield self._table("CONTAINERS", _CONTAINER_COLUMNS, rows)
        if Kind.IMAGES in kinds and seen.images is not None:
            yield self._table("IMAGES", _IMAGE_COLUMNS, [self._image(image) for image in seen.images])

    def _table(self, title: str, columns: Row, rows: Sequence[Row]) -> str:
        lines = plain_table(columns, rows, None if self._wide else _WIDEST)
        return "\n".join((f"{title} ({len(rows)})", *lines))

    def _pod(self, pod: Pod) -> Row:
        return (
            pod.id.owner or PRIMARY,
            self._id(pod.id),
            pod.namespace,
            pod.name,
            _state(pod),
            self._age(pod),
        )

    def _container(self, container: Container) -> Row:
        return (
            container.id.owner or PRIMARY,
            self._id(container.id),
            str(container.pod or _UNKNOWN),
            container.name,
            self._image_of(container),
            _state(container),
            self._age(container),
        )

    def _image(self, image: Image) -> Row:
        return (
            ",".join(owner or PRIMARY for owner in image.owners),
            self._id(image.id),
            self._names(image.names),
            f"{image.size / 1e6:.1f} MB",
        )

    def _names(self, names: Sequence[Name]) -> str:
        if not names:
            return _UNKNOWN
        if self._wide:
            return ",".join(name.outer for name in names)
        more = f" (+{len(names) - 1})" if len(names) > 1 else ""
        return names[0].own + more

    def _image_of(self, container: Container) -> str:
        """The runtime has a column of its own: an image's name need not say it. Kubelet mostly names it by its id."""
        name = container.image
        if is_digest(name.own.encode()):
            return self._id(name)
        return name.outer if self._wide else name.own

    def _id(self, name: Name) -> str:
        return name.outer if self._wide else _short(bare(name.own))

    def _age(self, thing: Union[Pod, Container]) -> str:
        seconds = max(0, (self._seen.at - thing.created_at) // 10**9)
        size, unit = next((one for one in _AGES if seconds >= one[0]), _AGES[-1])
        return f"{seconds // size}{unit}"


def _runtime(runtime: Runtime) -> Row:
    versions = ", ".join(runtime.versions)
    return (
        IMAGES if runtime.role is Role.IMAGE_SERVICE else runtime.id or PRIMARY,
        runtime.socket,
        runtime.summary.removesuffix(f" ({versions})"),
        versions or "-",
        runtime.since or "-",
        str(runtime.calls),
    )


def _short(thing: str) -> str:
    """The beginning of an id. What stands in front of it is not cut."""
    head = re.match("(.*(__|/))?", thing)
    begin = head.end() if head else 0
    return thing[: begin + _SHORT_ID]


def _state(thing: Union[Pod, Container]) -> str:
    """A pod's or a container's state, marked if its runtime is away: nobody knows whether it still is so."""
    state = thing.state.partition("_")[2].capitalize() or _UNKNOWN
    return f"{state} (remembered)" if thing.remembered else state
