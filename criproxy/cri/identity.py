"""How ids and images of an alternative runtime are called towards kubelet, and back.

An id is ``RUNTIME__ID``, an image ``RUNTIME/IMAGE``; a bare digest (``sha256:…``) says what an image is, not where
it came from, and stays as it is. What bears no runtime's name is the primary's.
"""

from __future__ import annotations

from typing import Iterable, Tuple

TARGET_RUNTIME = b"kubernetes.io/target-runtime"
"""The annotation by which a pod asks for a runtime."""

_DIGESTS = (b"sha256:", b"sha384:", b"sha512:")


def is_digest(image: bytes) -> bool:
    """Whether an image's name is a bare digest."""
    return image.startswith(_DIGESTS)


class Names:
    """The names of one runtime's things. ``runtime`` is its id, empty for the primary."""

    __slots__ = ("_id", "_image", "runtime")

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
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


class Runtimes:
    """Tells whose an id or an image is. ``ids``: the alternative runtimes', in their order."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.alternatives: Tuple[Names, ...] = tuple(Names(runtime) for runtime in ids)
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
