"""Which runtime a pod was started on, for the calls that say no more than the pod's uid."""

from __future__ import annotations

from typing import Callable, Dict

_MOST = 4096
"""Pods that are remembered: many times what a node has."""


class Pods:
    """The runtimes of pods by the pods' uids (PodSandboxMetadata.uid), in memory alone.

    What was started through us is known at once; of what was there before us, ``listed`` says on which runtime it is
    (the id; nothing if it is not known).
    """

    def __init__(self, listed: Callable[[bytes], str] = lambda _: "") -> None:
        self._listed = listed
        self._started: Dict[bytes, str] = {}

    def note(self, uid: bytes, runtime: str) -> None:
        """A pod is being started on a runtime (its id; nothing for the primary one)."""
        self._started.pop(uid, None)
        if len(self._started) >= _MOST:
            del self._started[next(iter(self._started))]
        self._started[uid] = runtime

    def owner(self, uid: bytes) -> str:
        """The id of the runtime that a pod was started on; nothing if that is the primary one, or not known."""
        known = self._started.get(uid)
        return self._listed(uid) if known is None else known
