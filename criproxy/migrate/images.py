"""The images of running pods that the new runtime lacks, and how they come to it.

Kubelet asks for an image by the name in the pod, of the runtime that is the primary one then, and creates the pod's
containers by the id that this has it by: so both runtimes must have the same image by that name.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from criproxy.client import Client, ClientError
from criproxy.migrate import side
from criproxy.migrate.pipes import Pipe, Pipes
from criproxy.migrate.side import kind_of
from criproxy.node.kubelet import NodeError
from criproxy.node.watch import REAL, Clock

_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
_NO_NAME = "<none>"
"""Docker's for a tag or a digest that an image does not have."""
_READY = 0
"""SANDBOX_READY, in every version."""
_ARRIVAL = 10.0
"""How long the CRI of a runtime may take to see what has been put into it, seconds."""
_INTERVAL = 0.1
"""Between two looks, seconds: the CRI has no event for an image."""
_PULL = 600.0
"""How long a pull may take, seconds."""
_UNITS = ((2**30, "GiB"), (2**20, "MiB"))


class Image(NamedTuple):
    """An image that has to be there."""

    id: str
    """Its id; empty of the new runtime's sandbox image, which may be any of that name."""
    names: Tuple[str, ...]
    """Those by which kubelet may ask for it: the pod's own where the runtime knows that, or else its tags, or else its
    digests."""
    known: Tuple[str, ...]
    """All names by which the old runtime has it; none if it has not."""
    size: int
    """bytes, as the runtime tells."""
    pods: Tuple[str, ...]
    """``namespace/name`` of those that use it."""


def lacking(old: str, new: str) -> List[Image]:
    """The images that the runtime on the socket ``new`` does not have, or has others by their names, of those that the
    containers of ready pods on ``old`` use; and its sandbox image if it does not have that. Raises NodeError."""
    try:
        with Client(old) as of_old, Client(new) as of_new:
            wanted = [*_used(of_old), *_sandbox(of_old, of_new)]
            return [image for image in wanted if _missing(of_new, image)]
    except ClientError as error:
        raise NodeError(f"which images are there cannot be told: {error}") from error


def copy(lacking: Sequence[Image], old: str, new: str, say: Callable[[str], None], clock: Clock = REAL) -> None:
    """Brings images to the runtime on the socket ``new``: copies them by the runtimes' own programs, or lets it pull
    them where there are none. Raises NodeError, which says what to do by hand."""
    try:
        with Client(old) as of_old, Client(new) as of_new:
            of_kind, to_kind = (kind_of(of_each.call("Version").runtime_name) for of_each in (of_old, of_new))
            courier = _Courier(of_new, Pipes(of_kind, old, to_kind, new), say, clock)
            for number, image in enumerate(lacking, 1):
                say(f"image {number} of {len(lacking)}: {image.names[0]} ({size(image.size)})")
                courier.bring(image)
    except ClientError as error:
        raise NodeError(f"images cannot be copied: {error}") from error


def size(number: int) -> str:
    """So many bytes for people."""
    scale, unit = next((each for each in _UNITS if number >= each[0]), _UNITS[-1])
    return f"{number / scale:.1f} {unit}"


def _used(client: Client) -> Iterator[Image]:
    """The images of a runtime's ready pods that kubelet can ask for by a name.

    One that has been removed meanwhile kubelet pulls again, of whichever runtime.
    """
    ready = {pod.id: f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in _pods(client) if pod.state == _READY}
    users: Dict[Tuple[str, str], Set[str]] = {}
    for container in client.call("ListContainers").containers:
        pod = ready.get(container.pod_sandbox_id)
        if pod is not None:
            users.setdefault(_asked(container), set()).add(pod)
    for (name, reference), pods in users.items():
        found = _status(client, name or reference)
        known = _known(found)
        names = (name,) if name else _preferred(known)
        if found is not None and names:
            yield Image(found.id, names, known, found.size, tuple(sorted(pods)))


def _pods(client: Client) -> Sequence[Any]:
    found: Sequence[Any] = client.call("ListPodSandbox").items
    return found


def _asked(container: Any) -> Tuple[str, str]:
    """The name in the pod, if the runtime knows that, and what it knows the image by itself.

    Kubelet creates containers by the id of an image; newer ones hand the name on, too.
    """
    name = container.image.user_specified_image or container.image.image
    return ("" if _DIGEST.fullmatch(name) else name), container.image_ref or name


def _sandbox(of_old: Client, of_new: Client) -> Iterator[Image]:
    """The image of the new runtime's sandboxes, if it says which one that is."""
    name = side.sandbox_image(of_new)
    if name:
        found = _status(of_old, name)
        yield Image("", (name,), _known(found), 0 if found is None else found.size, ())


def _known(image: Optional[Any]) -> Tuple[str, ...]:
    names = () if image is None else (*image.repo_tags, *image.repo_digests)
    return tuple(name for name in names if _NO_NAME not in name)


def _preferred(known: Sequence[str]) -> Tuple[str, ...]:
    """The tags, or else the digests."""
    return tuple(name for name in known if "@" not in name) or tuple(known)


def _missing(client: Client, image: Image) -> List[str]:
    """The names by which a runtime does not have this very image."""
    found = ((name, _status(client, name)) for name in image.names)
    return [name for name, there in found if there is None or (image.id and _bare(there.id) != _bare(image.id))]


def _bare(id: str) -> str:
    return id.rpartition(":")[2]


def _status(client: Client, name: str) -> Optional[Any]:
    """The image of this name; None if there is none."""
    try:
        answer = client.call("ImageStatus", image={"image": name})
    except ClientError as error:
        if error.code is None or error.code.name != "NOT_FOUND":
            raise
        return None
    return answer.image if answer.HasField("image") else None


class _Courier:
    """Brings images to a runtime, one after the other."""

    def __init__(self, client: Client, pipes: Pipes, say: Callable[[str], None], clock: Clock) -> None:
        self._client = client
        self._pipes = pipes
        self._say = say
        self._clock = clock

    def bring(self, image: Image) -> None:
        """Raises NodeError, and ClientError if the runtime does not answer."""
        pipes = self._pipes.of(image.known)
        absent = sorted({program for pipe in pipes for program in pipe.absent()})
        if not absent:
            for pipe in pipes:
                self._say(f"  {pipe}")
                pipe.run()
            self._await(image._replace(names=tuple(filter(self._pipes.carries, image.names)) if pipes else ()))
        why = [f"{' and '.join(absent)} cannot be found here"] if absent else []
        for name in _missing(self._client, image):
            self._pull(name, pipes, why)
        missing = _missing(self._client, image)
        if missing:
            raise NodeError(
                f"{missing[0]} is another image where it was pulled from than the one that runs ({image.id}), which the"
                f" new runtime needs by that name: {_by_hand(pipes)}"
            )

    def _await(self, image: Image) -> None:
        """Waits until the runtime has seen what was put into it; it may look at that later than it says so."""
        end = self._clock.now() + _ARRIVAL
        while _missing(self._client, image) and self._clock.now() < end:
            self._clock.sleep(_INTERVAL)

    def _pull(self, name: str, pipes: Sequence[Pipe], why: Sequence[str]) -> None:
        """Lets the new runtime get an image by itself."""
        self._say(f"  PullImage {name}")
        usual = self._client.timeout
        self._client.timeout = _PULL
        try:
            self._client.call("PullImage", image={"image": name})
        except ClientError as error:
            reasons = "; ".join((*why, f"nor can it be pulled: {error.cause}" if why else error.cause))
            raise NodeError(f"{name} cannot be brought to the new runtime: {reasons}; {_by_hand(pipes)}") from error
        finally:
            self._client.timeout = usual


def _by_hand(pipes: Sequence[Pipe]) -> str:
    """What to do where this cannot."""
    if pipes:
        return f"load it there by hand: {' && '.join(map(str, pipes))}"
    return "load it there by the new runtime's own means (ctr -n k8s.io images import, docker load, podman load)"
