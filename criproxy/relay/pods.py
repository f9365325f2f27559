"""Which runtime a pod was started on, for the calls that say no more than which sandbox of which pod they are about."""

from __future__ import annotations

from typing import Callable, Final, Mapping, Tuple

from criproxy.http2.cache import Cache

_MOST: Final = 2**20
"""What sandboxes that are remembered may take, bytes: some 3,500, and a node has 110 pods by default."""


class Pods:
    """The runtimes of pods' sandboxes (PodSandboxMetadata.uid and attempt), in memory alone.

    A pod may have an old sandbox on one runtime and its next one on another. Those that were started through this
    process are known at once. For others ``listed`` gives the id of the runtime, empty if it is not known.
    """

    def __init__(self, listed: Callable[[bytes, int], str] = lambda uid, attempt: "") -> None:
        self._listed = listed
        self._started: Cache[Tuple[bytes, int], str] = Cache(_MOST)

    def note(self, uid: bytes, attempt: int, runtime: str) -> None:
        """A pod is being started on a runtime (its id; nothing for the primary one)."""
        self._started.keep((uid, attempt), runtime, len(uid))

    def rename(self, ids: Mapping[str, str]) -> None:
        """Runtimes have other ids than they had (the keys): one that was the primary may be the retiring one now."""
        for (uid, attempt), runtime in self._started.items():
            if runtime in ids:
                self.note(uid, attempt, ids[runtime])

    def owner(self, uid: bytes, attempt: int) -> str:
        """The id of the runtime that a sandbox was started on; nothing if that is the primary one, or not known.

        Without a uid a request names no pod, though one may have been started without.
        """
        if not uid:
            return ""
        known = self._started.get((uid, attempt))
        return self._listed(uid, attempt) if known is None else known
