"""Which runtime a pod was started on, for the calls that say no more than the pod's uid."""

from __future__ import annotations

from typing import Callable, Final

from criproxy.http2.cache import Cache

_MOST: Final = 2**20
"""What pods that are remembered may take, bytes: some 3,500, and a node has 110 by default."""


class Pods:
    """The runtimes of pods by the pods' uids (PodSandboxMetadata.uid), in memory alone.

    Pods that were started through this process are known at once. For others ``listed`` gives the id of the runtime,
    empty if it is not known.
    """

    def __init__(self, listed: Callable[[bytes], str] = lambda _: "") -> None:
        self._listed = listed
        self._started: Cache[bytes, str] = Cache(_MOST)

    def note(self, uid: bytes, runtime: str) -> None:
        """A pod is being started on a runtime (its id; nothing for the primary one)."""
        self._started.keep(uid, runtime, len(uid))

    def owner(self, uid: bytes) -> str:
        """The id of the runtime that a pod was started on; nothing if that is the primary one, or not known.

        Without a uid a request names no pod, though one may have been started without.
        """
        if not uid:
            return ""
        known = self._started.get(uid)
        return self._listed(uid) if known is None else known
