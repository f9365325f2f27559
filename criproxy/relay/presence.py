"""What kubelet has been told of images whose names do not say whose they are.

Before it makes a container, kubelet asks for its image twice (ImageStatus): whether it has to be pulled, and then for
the user that the image names. To run as the user of an image that is not there is to run as root. So the second
question must find an image that the pod's runtime has, though another one lacks it. Newer kubelets ask the first with
the pod's annotations, of which there are always some, and the second without. Older ones ask both alike: of what has
just been there, or been pulled, they are not told for a while that it is not there.
"""

from __future__ import annotations

from typing import Final, Optional, Tuple

from criproxy.http2.cache import Cache
from criproxy.relay.loop import Clock
from criproxy.relay.placement import Placement

REMEMBERED: Final = 600.0
"""How long it is remembered that an image has been said not to be there, seconds: kubelet may have to wait for the
pulls of other images before it pulls this one."""
TAKEN: Final = 30.0
"""How long kubelet may take from one question for an image to the other, or from its pull, seconds."""
_MOST: Final = 2**18
"""What names of images may take, bytes, of each kind: some 800."""


class Presence:
    """Names of images, each for a while: those of which it was said that they are not there though they are somewhere,
    and those that have been there, or have been pulled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lacking: Cache[bytes, float] = Cache(_MOST)
        self._there: Cache[bytes, Tuple[str, float]] = Cache(_MOST)
        self._has_annotations = False
        """Whether kubelet has ever asked with annotations."""
        self._placement: Optional[Placement] = None
        self._settled_at = 0.0

    def lacking(self, name: bytes) -> None:
        """It has been said that an image is not there, though it is somewhere."""
        self._lacking.keep(name, self._clock.time() + REMEMBERED, len(name))

    def has_been_lacking(self, name: bytes) -> bool:
        """Whether that is what kubelet knows of an image."""
        until = self._lacking.get(name)
        return until is not None and self._clock.time() < until

    def same(self, name: bytes, there: bool) -> None:
        """All runtimes have an image, which is what has been said, or none has it."""
        self._lacking.drop(name)
        if there:
            self._there.keep(name, ("", self._clock.time() + TAKEN), len(name))

    def pulled(self, name: bytes, runtime: str) -> None:
        """A runtime (its id) has pulled an image, or has been found to have it."""
        self._there.keep(name, (runtime, self._clock.time() + TAKEN), len(name))

    def holder(self, name: bytes) -> str:
        """The id of the runtime that has pulled an image last; empty if that is the primary one, or not known."""
        known = self._there.get(name)
        return "" if known is None else known[0]

    def must_be_found(self, name: bytes, annotated: bool, placement: Placement) -> bool:
        """Whether a question for an image may be the second one, which must not be told that it is not there.

        ``placement``: what is in force, since when nothing is known of the questions before.
        """
        now = self._clock.time()
        if placement is not self._placement:
            self._placement, self._settled_at = placement, now + TAKEN
        if annotated:
            self._has_annotations = True
            return False
        known = self._there.get(name)
        return self._has_annotations or now < self._settled_at or (known is not None and now < known[1])
