"""Asks whoever serves a CRI socket what there is."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any, Collection, FrozenSet, Iterable, Iterator, Mapping, Optional, Tuple

from criproxy.client import Client, ClientError
from criproxy.cri.identity import RETIRING
from criproxy.cri.names import PodName
from criproxy.cri.schema import load
from criproxy.cri.status import OWN_INFO
from criproxy.cri.versions import ApiVersion
from criproxy.show.entries import Container, Image, Kind, Name, Pod, Role, Runtime, Seen

ALL = tuple(Kind)
_STATES = {
    enum: {number: name for name, number in load().enums[enum].items()}
    for enum in ("PodSandboxState", "ContainerState")
}
_MARK = "__"
"""Between the id of an alternative runtime and its own id of a pod or a container."""


def look(path: str, kinds: Collection[Kind] = ALL) -> Seen:
    """All things of these kinds. Where some cannot be had there are those that can, and why."""
    seen = Seen(path, time.time_ns())
    with Client(path) as client:
        try:
            for more in _looks(client, kinds, seen):
                seen = more
        except ClientError as error:
            seen = replace(seen, problem=str(error))
    return seen


def _looks(client: Client, kinds: Collection[Kind], seen: Seen) -> Iterator[Seen]:
    """One thing more each time: whoever has no images to tell of, say, may have pods. Raises ClientError."""
    behind = _behind(client)
    if behind:
        seen = replace(seen, runtimes=behind)
        yield seen
        if set(kinds) == {Kind.RUNTIMES}:  # which are known without the primary one, too
            return
    version = client.call("Version")
    who = f"{version.runtime_name} {version.runtime_version}, CRI {version.runtime_api_version}"
    seen = replace(seen, who=who, runtimes=behind)
    yield seen
    away = {runtime.id for runtime in behind if not runtime.available and runtime.role is not Role.IMAGE_SERVICE}
    # Criproxy has told of its runtimes; whoever has not has their names at most in ids.
    needed = set(ALL) if Kind.IMAGES in kinds and not behind else set(kinds)
    retired = _retired(behind) if needed & {Kind.PODS, Kind.CONTAINERS} else frozenset()
    if needed & {Kind.PODS, Kind.CONTAINERS}:
        pods = client.call("ListPodSandbox").items
        seen = replace(seen, pods=tuple(_pod(pod, away, retired) for pod in pods))
        yield seen
    if Kind.CONTAINERS in needed:
        names = {pod.id.outer: PodName(pod.namespace, pod.name) for pod in seen.pods or ()}
        containers = client.call("ListContainers").containers
        seen = replace(seen, containers=tuple(_container(container, names, away, retired) for container in containers))
        yield seen
    if Kind.IMAGES in kinds:
        ids = {runtime.id for runtime in behind}
        ids.update(pod.id.owner for pod in seen.pods or ())
        ids.update(container.id.owner for container in seen.containers or ())
        images = client.call("ListImages").images
        yield replace(seen, images=tuple(_image(image, ids - {""}) for image in images))


def _retired(behind: Iterable[Runtime]) -> FrozenSet[str]:
    """The ids of what is on the retiring runtime, which do not say so; none if it does not tell."""
    socket = next((runtime.socket for runtime in behind if runtime.id == RETIRING and runtime.available), "")
    if not socket:
        return frozenset()
    with suppress(ClientError), Client(socket) as client:
        pods, containers = client.call("ListPodSandbox").items, client.call("ListContainers").containers
        return frozenset(thing.id for things in (pods, containers) for thing in things)
    return frozenset()


def _behind(client: Client) -> Tuple[Runtime, ...]:
    """The runtimes that criproxy tells of in the info of a verbose Status; nobody else has any.

    Raises ClientError if nobody answers in time: to ask for anything else would take as long again.
    """
    try:
        # criproxy speaks every version, and says this while its primary runtime is away, too.
        info = json.loads(client.call_in(ApiVersion.V1, "Status", verbose=True).info[OWN_INFO])
        return tuple(_runtimes(info["runtimes"], info.get("imageService")))
    except ClientError as error:
        if error.late:
            raise
        return ()
    except (ValueError, LookupError, TypeError):
        return ()


def _runtimes(told: Iterable[Mapping[str, Any]], image_service: Optional[Mapping[str, Any]]) -> Iterator[Runtime]:
    """The image service, if it is at a socket of its own, is behind the primary one.

    Raises LookupError, ValueError or TypeError if they are not told as criproxy tells them.
    """
    for runtime in told:
        runtime_id = str(runtime["id"])
        yield _runtime(runtime_id, Role.ALTERNATIVE if runtime_id else Role.PRIMARY, runtime)
        if not runtime_id and image_service is not None:
            yield _runtime("", Role.IMAGE_SERVICE, image_service)


def _runtime(runtime_id: str, role: Role, told: Mapping[str, Any]) -> Runtime:
    return Runtime(
        id=runtime_id,
        role=role,
        socket=str(told["socket"]),
        available=told.get("available") is not False,
        summary=str(told["state"]),
        versions=tuple(str(version) for version in told["apiVersions"]),
        since=str(told["connectedSince"] or ""),
        calls=int(told["callsInFlight"]),
    )


def _pod(pod: Any, away: Collection[str], retired: Collection[str]) -> Pod:
    pod_id = _id(pod.id, retired)
    return Pod(
        id=pod_id,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        attempt=pod.metadata.attempt,
        handler=pod.runtime_handler,
        state=_state("PodSandboxState", pod),
        created_at=pod.created_at,
        remembered=pod_id.owner in away,
    )


def _container(
    container: Any, pods: Mapping[str, PodName], away: Collection[str], retired: Collection[str]
) -> Container:
    container_id = _id(container.id, retired)
    return Container(
        id=container_id,
        pod_id=container.pod_sandbox_id,
        pod=pods.get(container.pod_sandbox_id),
        name=container.metadata.name,
        attempt=container.metadata.attempt,
        image=_image_name(container.image.image, {container_id.owner} - {RETIRING}),
        image_ref=container.image_ref,
        image_id=container.image_id,
        state=_state("ContainerState", container),
        created_at=container.created_at,
        remembered=container_id.owner in away,
    )


def _image(image: Any, runtimes: Collection[str]) -> Image:
    tags, digests = (
        tuple(_image_name(name, runtimes) for name in names) for names in (image.repo_tags, image.repo_digests)
    )
    # What several runtimes have bears the names of all. A repo digest without a name says nothing of them.
    telling = [*tags, *(digest for digest in digests if digest.outer.find("@") > 0)] or [*tags, *digests]
    return Image(
        id=_image_name(image.id, runtimes),
        owners=tuple(dict.fromkeys(name.owner for name in telling)) or ("",),
        tags=tags,
        digests=digests,
        size=image.size,
        pinned=image.pinned,
    )


def _id(thing: str, retired: Collection[str]) -> Name:
    """The id of a pod or a container."""
    if thing in retired:
        return Name(thing, thing, RETIRING)
    owner, mark, own = thing.partition(_MARK)
    return Name(thing, own, owner) if mark else Name(thing, thing, "")


def _image_name(image: str, runtimes: Iterable[str]) -> Name:
    """A name or an id of an image, which may be of one of these runtimes."""
    owner = next((runtime for runtime in runtimes if runtime and image.startswith(f"{runtime}/")), "")
    return Name(image, image[len(owner) + 1 :] if owner else image, owner)


def _state(enum: str, thing: Any) -> str:
    return _STATES[enum].get(thing.state, str(thing.state))
