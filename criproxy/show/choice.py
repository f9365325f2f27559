"""Which of the things that there are is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Callable, Iterable, Iterator, Optional, Tuple, TypeVar

from criproxy.show.entries import Container, Image, Name, Pod, Runtime, Seen
from criproxy.text import PRIMARY

PRIMARY_WORDS = ("primary", PRIMARY)
"""What the primary runtime is called on the command line."""
SHORTEST_ID = 3
"""Characters that the beginning of an id has at least: fewer are a name."""

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Choice:
    """What is asked for; None: any."""

    name: Optional[str] = None
    """A pattern (fnmatch) that a name matches, or the beginning of an id."""
    namespace: Optional[str] = None
    runtime: Optional[str] = None
    """Empty: the primary one."""

    def of(self, seen: Seen) -> Seen:
        """That of what has been seen."""
        return replace(
            seen,
            runtimes=_kept(seen.runtimes, self._has_runtime),
            pods=_kept(seen.pods, self._has_pod),
            containers=_kept(seen.containers, self._has_container),
            images=_kept(seen.images, self._has_image),
        )

    def _has_runtime(self, runtime: Runtime) -> bool:
        names = (runtime.id,) if runtime.id else PRIMARY_WORDS
        return self.runtime in (None, runtime.id) and self._fits(names)

    def _has_pod(self, pod: Pod) -> bool:
        return (
            self.runtime in (None, pod.id.owner)
            and self.namespace in (None, pod.namespace)
            and self._fits((pod.name,), _ids(pod.id))
        )

    def _has_container(self, container: Container) -> bool:
        namespace = None if container.pod is None else container.pod.namespace
        return (
            self.runtime in (None, container.id.owner)
            and (self.namespace is None or self.namespace == namespace)
            and self._fits((container.name,), _ids(container.id))
        )

    def _has_image(self, image: Image) -> bool:
        names = (each for name in (*image.tags, *image.digests) for each in (name.outer, name.own))
        return (self.runtime is None or self.runtime in image.owners) and self._fits(names, _ids(image.id))

    def _fits(self, names: Iterable[str], ids: Iterable[str] = ()) -> bool:
        name = self.name
        if name is None or any(fnmatchcase(each, name) for each in names):
            return True
        return len(name) >= SHORTEST_ID and any(each.startswith(name) for each in ids)


def bare(image_id: str) -> str:
    """The id of an image without the name of its algorithm, as it is mostly written."""
    return re.sub("^sha[0-9]+:", "", image_id)


def _ids(name: Name) -> Iterator[str]:
    """How an id can be written."""
    yield from (name.outer, name.own, bare(name.own))


def _kept(things: Optional[Tuple[Thing, ...]], fits: Callable[[Thing], bool]) -> Optional[Tuple[Thing, ...]]:
    return None if things is None else tuple(thing for thing in things if fits(thing))
