"""What has been seen, for programs: names and ids as kubelet has them, whole."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Collection, Dict

from criproxy.show.entries import Container, Entry, Image, Kind, Pod, Runtime, Seen


def plain(seen: Seen, kinds: Collection[Kind]) -> Dict[str, Any]:
    """A list for each kind that could be had, for ``json.dumps``. Fields may be added, and none is changed."""
    lists = ((kind, seen.of(kind)) for kind in kinds)
    return {kind.value: [_plain(entry) for entry in entries] for kind, entries in lists if entries is not None}


def _plain(entry: Entry) -> Dict[str, Any]:
    if isinstance(entry, Runtime):
        return _runtime(entry)
    if isinstance(entry, Pod):
        return _pod(entry)
    return _container(entry) if isinstance(entry, Container) else _image(entry)


def _runtime(runtime: Runtime) -> Dict[str, Any]:
    return {
        "id": runtime.id,
        "role": runtime.role.value,
        "socket": runtime.socket,
        "available": runtime.available,
        "summary": runtime.summary,
        "criVersions": list(runtime.versions),
        "connectedSince": runtime.since or None,
        "callsInFlight": runtime.calls,
    }


def _pod(pod: Pod) -> Dict[str, Any]:
    return {
        "id": pod.id.outer,
        "runtime": pod.id.owner,
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "attempt": pod.attempt,
        "runtimeHandler": pod.handler,
        "state": pod.state,
        "createdAt": _moment(pod.created_at),
        "remembered": pod.remembered,
    }


def _container(container: Container) -> Dict[str, Any]:
    pod = container.pod
    return {
        "id": container.id.outer,
        "runtime": container.id.owner,
        "podSandboxId": container.pod_id,
        "podNamespace": None if pod is None else pod.namespace,
        "podName": None if pod is None else pod.name,
        "name": container.name,
        "attempt": container.attempt,
        "image": container.image.outer,
        "imageRef": container.image_ref,
        "imageId": container.image_id,
        "state": container.state,
        "createdAt": _moment(container.created_at),
        "remembered": container.remembered,
    }


def _image(image: Image) -> Dict[str, Any]:
    return {
        "id": image.id.outer,
        "runtimes": list(image.owners),
        "repoTags": [name.outer for name in image.tags],
        "repoDigests": [name.outer for name in image.digests],
        "size": image.size,
        "pinned": image.pinned,
    }


def _moment(at: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC, in seconds as Kubernetes has it."""
    return f"{datetime.fromtimestamp(at // 10**9, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
