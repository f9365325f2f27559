"""The names that an alternative runtime's ids and images have for kubelet, and the way back.

An id is ``RUNTIME__ID``, an image ``RUNTIME/IMAGE``, and so is an image's id that is no digest (CRI-O before 1.31 has
the bare hexadecimal digits). A bare digest (``sha256:…``) says what an image is, not where it came from, and stays as
it is. A name without the prefix of a runtime is the primary's; an id with the prefix of a runtime that is not
configured, as one that was removed, is nobody's (`UnknownRuntime`).

A runtime handler (RuntimeClass.handler) chooses a pod's runtime. Kubelet and the runtime may have different names for
it, and the runtime's may be empty: `RuntimeHandler`.

The *retiring* runtime was the primary one before. Kubelet knows its pods and containers by names without a prefix, as
the primary's: whose such an id is has to be learned (`criproxy.relay.owners`).

*Outer* is the name that kubelet has, *inner* the name that the runtime has. All of them are bytes: a name need not be
UTF-8.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Dict, Final, Iterable, Mapping, NamedTuple, Optional, Tuple

TARGET_RUNTIME: Final = b"kubernetes.io/target-runtime"
"""The annotation by which a pod asks for a runtime."""

RETIRING: Final = "retiring"
"""What the runtime is called that was the primary one before."""
LONGEST_NAME: Final = 253
"""bytes of a name that is shown or quoted (a DNS subdomain, RFC 1123)."""
_DIGESTS: Final = (b"sha256:", b"sha384:", b"sha512:", b"@")
"""What a bare digest begins with. A repo digest of an image that has no name is ``@sha256:…``."""
_FIRST_OF_DIGESTS: Final = frozenset(each[:1] for each in _DIGESTS)
"""Most names begin with another byte, which is quicker to see."""
_UNDERSCORE: Final = ord("_")
_PREFIX: Final = re.compile(rb"([^\0-\x20\x7f/:,]+?)__")
"""What an outer id begins with: no runtime's id has white space, control characters, ``/``, ``:``, ``,`` or ``__``. No
primary runtime's ids have two underscores; names of its containers do."""
_LABEL: Final = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_label(name: str) -> bool:
    """Whether a RuntimeClass can have this handler: a DNS label (RFC 1123), at most 63 characters."""
    return _LABEL.fullmatch(name) is not None


class RuntimeHandler(NamedTuple):
    """The runtime, and its own handler, for a pod with this runtime handler."""

    name: str
    """RuntimeClass.handler."""
    runtime: str
    """The id of the runtime."""
    inner: str
    """The runtime's own name for the handler; empty means its default."""


def is_digest(image: bytes) -> bool:
    """Whether the name of an image is a bare digest."""
    return image[:1] in _FIRST_OF_DIGESTS and image.startswith(_DIGESTS)


class Names:
    """The names of one runtime's ids, images and handlers. ``runtime`` is its id, empty for the primary.

    ``retiring``: it was the primary one before, so that nothing of it has a prefix. ``handlers`` has the inner name of
    each outer one. If several outer names have the same inner one, kubelet sees the first.
    """

    __slots__ = ("_id", "_image", "_outer_handlers", "handlers", "prefixed", "retiring", "runtime", "title")

    def __init__(
        self, runtime: str, handlers: Mapping[bytes, bytes] = MappingProxyType({}), retiring: bool = False
    ) -> None:
        self.runtime = runtime
        self.retiring = retiring
        self.prefixed = bool(runtime) and not retiring
        """Whether its ids and images have other names for kubelet than they have there."""
        self.title = runtime or "primary"
        """What programs that watch us know it by: the journal, traces."""
        self.handlers = handlers
        self._outer_handlers: Dict[bytes, bytes] = {}
        for outer, inner in handlers.items():
            # The id of a runtime need not be a label. Then no RuntimeClass can have it.
            if is_label(outer.decode()):
                self._outer_handlers.setdefault(inner, outer)
        self._id = f"{runtime}__".encode() if self.prefixed else b""
        self._image = f"{runtime}/".encode() if self.prefixed else b""

    def has_id(self, name: bytes) -> bool:
        """Whether this is an outer id of the runtime, by its prefix. Never true for a runtime that has none."""
        return bool(self._id) and name.startswith(self._id)

    def has_image(self, name: bytes) -> bool:
        """Whether this is an outer image of the runtime, by its prefix. Never true for a runtime that has none."""
        return bool(self._image) and name.startswith(self._image)

    def outer_id(self, name: bytes) -> bytes:
        """The outer name of an id."""
        return self._id + name

    def inner_id(self, name: bytes) -> bytes:
        """The inner name of an id."""
        return name[len(self._id) :] if name.startswith(self._id) else name

    def outer_image(self, name: bytes) -> bytes:
        """The outer name of an image: of its name, its repo digest, its bare digest, or its id.

        Every field that names an image goes through this function, and different names stay different. So two fields
        agree for kubelet exactly if they agree for the runtime. Kubelet's image collection relies on that: it removes
        an image if no container has its ``Image.id`` as ``image_id``, or as ``image_ref`` if ``image_id`` is empty.
        """
        return name if is_digest(name) else self._image + name

    def inner_image(self, name: bytes) -> bytes:
        """The inner name of an image."""
        return name[len(self._image) :] if name.startswith(self._image) else name

    @property
    def has_outer_handlers(self) -> bool:
        """Whether kubelet has a name of its own for a handler of the runtime, or for its default."""
        return bool(self._outer_handlers)

    def outer_handler(self, name: bytes) -> bytes:
        """The outer name of a runtime handler. The inner one may be empty."""
        return self._outer_handlers.get(name, name)

    def inner_handler(self, name: bytes) -> bytes:
        """The inner name of a runtime handler; may be empty."""
        return self.handlers.get(name, name)


class UnknownRuntime(Exception):
    """An id has the prefix of a runtime that is not configured. ``runtime``: the prefix, without the underscores."""

    def __init__(self, runtime: bytes) -> None:
        super().__init__(runtime)
        self.runtime = runtime


class Runtimes:
    """Finds the runtime of an id, an image or a handler.

    ``ids``: those of the alternative runtimes, in their order; ``handlers``: all by which pods can ask for them;
    ``retiring``: whether there is one that was the primary before. No pod can ask for that.
    """

    def __init__(self, ids: Iterable[str], handlers: Iterable[RuntimeHandler] = (), retiring: bool = False) -> None:
        of: Dict[str, Dict[bytes, bytes]] = {runtime: {} for runtime in ids}
        for handler in handlers:
            of[handler.runtime][handler.name.encode()] = handler.inner.encode()
        self.alternatives: Tuple[Names, ...] = tuple(Names(runtime, own) for runtime, own in of.items())
        self.primary = Names("")
        self.retiring: Optional[Names] = Names(RETIRING, retiring=True) if retiring else None
        self.others: Tuple[Names, ...] = self.alternatives
        """All but the primary: the alternative ones, and the retiring one last."""
        self.unprefixed: Tuple[Names, ...] = (self.primary,)
        """Those whose ids and images have no prefix: the primary, and the retiring one."""
        if self.retiring is not None:
            self.others = (*self.alternatives, self.retiring)
            self.unprefixed = (self.primary, self.retiring)

    def of_id(self, name: bytes) -> Names:
        """The runtime of an outer id, as far as its prefix says it: one without may be the retiring runtime's.

        Raises UnknownRuntime.
        """
        for names in self.alternatives:
            if names.has_id(name):
                return names
        prefix = _PREFIX.match(name) if _UNDERSCORE in name else None
        if prefix is not None:
            raise UnknownRuntime(prefix[1])
        return self.primary

    def of_image(self, name: bytes) -> Names:
        """The runtime of an outer image; the primary for a bare digest."""
        for names in self.alternatives:
            if names.has_image(name):
                return names
        return self.primary

    def of_target(self, target: bytes) -> Names:
        """The runtime that a target-runtime annotation names. Raises KeyError if no alternative runtime has that id."""
        for names in self.alternatives:
            if names.runtime.encode() == target:
                return names
        raise KeyError(target)

    def of_handler(self, handler: bytes) -> Optional[Names]:
        """The alternative runtime that has this outer runtime handler, or None."""
        for names in self.alternatives:
            if handler in names.handlers:
                return names
        return None
