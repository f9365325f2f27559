"""How ids and images of an alternative runtime are called towards kubelet, and back.

An id is ``RUNTIME__ID``, an image ``RUNTIME/IMAGE``; a bare digest (``sha256:…``) says what an image is, not where
it came from, and stays as it is. What else bears no runtime's name is the primary's.

A runtime handler, by which a pod's RuntimeClass asks for a runtime, has a name of kubelet's and one of the runtime's
own, which may be none: `Handler`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Dict, Iterable, Mapping, Optional, Tuple

TARGET_RUNTIME = b"kubernetes.io/target-runtime"
"""The annotation by which a pod asks for a runtime."""

_DIGESTS = (b"sha256:", b"sha384:", b"sha512:")
_LABEL = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_label(name: str) -> bool:
    """Whether this can be the handler of a RuntimeClass: a DNS label (RFC 1123)."""
    return _LABEL.fullmatch(name) is not None


@dataclass(frozen=True)
class Handler:
    """What a pod that asks for the runtime handler ``name`` gets."""

    name: str
    """As RuntimeClass.handler has it."""
    runtime: str
    """The id of the runtime that it is of."""
    inner: str
    """The runtime's own name for it; empty for what the runtime does by default."""


def is_digest(image: bytes) -> bool:
    """Whether an image's name is a bare digest."""
    return image.startswith(_DIGESTS)


class Names:
    """The names of one runtime's things. ``runtime`` is its id, empty for the primary.

    ``handlers`` are the names by which pods ask for it, with the runtime's own; of several for the same thing the
    first is what kubelet sees.
    """

    __slots__ = ("_id", "_image", "_outer_handlers", "handlers", "runtime")

    def __init__(self, runtime: str, handlers: Mapping[bytes, bytes] = MappingProxyType({})) -> None:
        self.runtime = runtime
        self.handlers = handlers
        self._outer_handlers: Dict[bytes, bytes] = {}
        for outer, inner in handlers.items():
            # The id of a runtime may be no label: it can be asked for, but not by a RuntimeClass.
            if is_label(outer.decode()):
                self._outer_handlers.setdefault(inner, outer)
        self._id = f"{runtime}__".encode() if runtime else b""
        self._image = f"{runtime}/".encode() if runtime else b""

    def has_id(self, name: bytes) -> bool:
        """Whether this is an id of the runtime's as kubelet knows it (alternative runtimes only)."""
        return bool(self._id) and name.startswith(self._id)

    def has_image(self, name: bytes) -> bool:
        """Whether this is an image of the runtime's as kubelet knows it (alternative runtimes only)."""
        return bool(self._image) and name.startswith(self._image)

    def outer_id(self, name: bytes) -> bytes:
        """A runtime's id as kubelet knows it."""
        return self._id + name

    def inner_id(self, name: bytes) -> bytes:
        """Kubelet's id as the runtime knows it."""
        return name[len(self._id) :] if name.startswith(self._id) else name

    def outer_image(self, name: bytes) -> bytes:
        """A runtime's image as kubelet knows it."""
        return name if name.startswith(_DIGESTS) else self._image + name

    def outer_repo_digest(self, name: bytes) -> bytes:
        """A repo digest as kubelet knows it: it may be without a name, too (``@`` in front, or none)."""
        return self._image + name if name.find(b"@") > 0 else name

    def inner_image(self, name: bytes) -> bytes:
        """Kubelet's image as the runtime knows it."""
        return name[len(self._image) :] if name.startswith(self._image) else name

    @property
    def has_outer_handlers(self) -> bool:
        """Whether there are handlers that kubelet knows by other names than the runtime (none being one)."""
        return bool(self._outer_handlers)

    def outer_handler(self, name: bytes) -> bytes:
        """A runtime's handler, which may be none, as kubelet knows it."""
        return self._outer_handlers.get(name, name)

    def inner_handler(self, name: bytes) -> bytes:
        """Kubelet's handler as the runtime knows it."""
        return self.handlers.get(name, name)


class Runtimes:
    """Tells whose an id, an image or a handler is. ``ids``: the alternative runtimes', in their order."""

    def __init__(self, ids: Iterable[str], handlers: Iterable[Handler] = ()) -> None:
        of: Dict[str, Dict[bytes, bytes]] = {runtime: {} for runtime in ids}
        for handler in handlers:
            of[handler.runtime][handler.name.encode()] = handler.inner.encode()
        for runtime, own in of.items():
            own.setdefault(runtime.encode(), b"")
        self.alternatives: Tuple[Names, ...] = tuple(Names(runtime, own) for runtime, own in of.items())
        self.primary = Names("")

    def of_id(self, name: bytes) -> Names:
        """The runtime that this id belongs to."""
        for names in self.alternatives:
            if names.has_id(name):
                return names
        return self.primary

    def of_image(self, name: bytes) -> Names:
        """The runtime that this image belongs to."""
        for names in self.alternatives:
            if names.has_image(name):
                return names
        return self.primary

    def of_target(self, target: bytes) -> Names:
        """The runtime of the target-runtime annotation. Raises KeyError if there is none of that id."""
        for names in self.alternatives:
            if names.runtime.encode() == target:
                return names
        raise KeyError(target)

    def of_handler(self, handler: bytes) -> Optional[Names]:
        """The alternative runtime that a runtime handler asks for; None if it asks for none of them."""
        for names in self.alternatives:
            if handler in names.handlers:
                return names
        return None
