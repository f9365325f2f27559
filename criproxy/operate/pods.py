"""The pods that a runtime has itself, for whoever is about to do without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

from criproxy.client import Client

SHOWN = 20
"""Pods that are named; the others are counted."""


@dataclass(frozen=True)
class LeftPod:
    """A pod in the runtime's own list."""

    name: str
    """``namespace/name``"""
    id: str
    """The runtime's own."""
    ready: bool

    def __str__(self) -> str:
        return self.name if self.ready else f"{self.name} (not ready)"


def plain(pods: Sequence[LeftPod]) -> List[Dict[str, Any]]:
    """Pods for programs."""
    return [{"name": pod.name, "id": pod.id, "ready": pod.ready} for pod in pods]


def pods_of(socket: str) -> List[LeftPod]:
    """All of them. Raises ClientError."""
    with Client(socket) as client:
        listed = client.call("ListPodSandbox").items
    # SANDBOX_READY is 0 in every version.
    return [LeftPod(f"{pod.metadata.namespace}/{pod.metadata.name}", pod.id, pod.state == 0) for pod in listed]


def several(count: int) -> str:
    """So many pods, in words."""
    return "1 pod" if count == 1 else f"{count} pods"
