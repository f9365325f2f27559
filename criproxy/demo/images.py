"""The images of the demo runtime. Every image can be pulled: its digests and its size are made from its name."""

from __future__ import annotations

import hashlib
from typing import Dict, Iterable, List, Optional, Tuple

from criproxy.demo.messages import MESSAGES, CriError, Msg, number

_MIB = 1 << 20


class Images:
    """Images (messages) by their ids, which are digests."""

    def __init__(self) -> None:
        self._images: Dict[str, Msg] = {}

    def all(self) -> List[Msg]:
        """All images, the oldest first."""
        return list(self._images.values())

    def restore(self, images: Iterable[Msg]) -> None:
        """Has these images, too."""
        self._images.update({image.id: image for image in images})

    def find(self, name: str) -> Optional[Msg]:
        """The image of this id (with or without ``sha256:``), tag or repo digest, if it is there."""
        wanted = {name, _canonical(name)}
        for image in self._images.values():
            if wanted & {image.id, image.id.partition(":")[2], *image.repo_tags, *image.repo_digests}:
                return image
        return None

    def pull(self, name: str) -> Msg:
        """The image of this name, made if it is not there. Raises CriError if there is no name."""
        if not name:
            raise CriError("INVALID_ARGUMENT", "the image has no name")
        found = self.find(name)
        if found is not None:
            return found
        repository, tag, digest = _parts(name)
        digest = digest or _digest(f"{repository}:{tag}")
        image_id = _digest(digest)
        image = self._images.setdefault(
            image_id,
            MESSAGES["Image"](
                id=image_id,
                size=_MIB + int(image_id[-6:], 16) * 16,
                uid=number(0),
                repo_digests=[f"{repository}@{digest}"],
                spec={"image": name},
            ),
        )
        if tag:
            image.repo_tags.append(f"{repository}:{tag}")
        return image

    def remove(self, name: str) -> None:
        """Removes the image with all its names, if it is there."""
        found = self.find(name)
        if found is not None:
            del self._images[found.id]


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _parts(name: str) -> Tuple[str, str, str]:
    """An image's name as repository, tag and digest, of which one is empty; the tag is ``latest`` if there is none."""
    name, _, digest = name.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # The colon is that of a registry's port.
        repository, tag = name, "latest"
    return repository, "" if digest else tag, digest


def _canonical(name: str) -> str:
    repository, tag, digest = _parts(name)
    return f"{repository}@{digest}" if digest else f"{repository}:{tag}"
