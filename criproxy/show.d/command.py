"""``criproxy show``: what kubelet sees on a CRI socket, as tables; on criproxy's own also the runtimes behind it."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import Any, Collection, Iterable, List, Mapping, Optional, Sequence, Tuple

from criproxy.address import path_of
from criproxy.client import Client, ClientError
from criproxy.cri.schema import load
from criproxy.cri.status import OWN_INFO
from criproxy.cri.versions import ApiVersion
from criproxy.report.table import PRIMARY, Row, cell, table

SOCKET = "/run/criproxy.sock"
_IMAGE_SERVICE = "(images)"
_INTERVAL = 2.0
"""Between two looks of ``--watch``, seconds."""
_CLEAR = "\x1b[H\x1b[2J"
_SHORT_ID = 13
"""Characters of an id that are shown, as crictl does."""
_AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_STATES = {
    enum: {number: name.partition("_")[2].capitalize() for name, number in load().enums[enum].items()}
    for enum in ("PodSandboxState", "ContainerState")
}
_RUNTIME_COLUMNS = ("RUNTIME", "SOCKET", "STATE", "CRI", "SINCE", "CALLS")
_POD_COLUMNS = ("RUNTIME", "ID", "NAMESPACE", "NAME", "STATE", "AGE")
_CONTAINER_COLUMNS = ("RUNTIME", "ID", "POD", "NAME", "IMAGE", "STATE", "AGE")
_IMAGE_COLUMNS = ("RUNTIME", "ID", "NAME", "SIZE")


def main(argv: Sequence[str]) -> int:
    """``criproxy show``; gives the exit status: 1 if not all of it can be shown."""
    options = _parser().parse_args(argv)
    if options.watch:
        return _watch(options.socket)
    text, error = _looked(options.socket)
    if text:
        print(text)
    if error:
        print(error, file=sys.stderr)
    return 1 if error else 0


def _looked(path: str) -> Tuple[str, str]:
    """What there is to see on the socket, and what went wrong: each may be empty."""
    try:
        return overview(path), ""
    except Incomplete as error:
        return error.seen, cell(f"criproxy show: {error}")
    except ClientError as error:
        return "", cell(f"criproxy show: {error}")


def _watch(path: str) -> int:
    clear = _CLEAR if sys.stdout.isatty() else ""
    try:
        while True:
            text = "\n\n".join(filter(None, _looked(path)))
            print(f"{clear}{text}\n", flush=True)
            time.sleep(_INTERVAL)
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="criproxy show",
        description="Show the pods, containers and images that kubelet sees on a CRI socket, and whose they are.",
        epilog="Kubelet knows the pods and containers of an alternative runtime as RUNTIME__ID, its images as"
        " RUNTIME/NAME. What is marked as remembered is of a runtime that is away: criproxy keeps it in kubelet's lists"
        " for a while.",
    )
    parser.add_argument(
        "--socket", default=SOCKET, type=path_of, metavar="PATH", help="whom to ask (default: %(default)s)"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="show it once (the default)")
    how.add_argument("--watch", action="store_true", help=f"show it every {_INTERVAL:g} seconds, until Ctrl-C")
    return parser


class Incomplete(ClientError):
    """Not all could be had. ``seen``: what there is to see of the rest."""

    def __init__(self, error: ClientError, seen: str) -> None:
        super().__init__(str(error), error.code)
        self.seen = seen


def overview(path: str) -> str:
    """Who answers on the socket, and tables of what is there. Raises ClientError."""
    parts: List[str] = []
    with Client(path) as client:
        try:
            _look(client, parts)
        except ClientError as error:
            if not parts:
                raise
            raise Incomplete(error, "\n\n".join(parts)) from error
    return "\n\n".join(parts)


def _look(client: Client, parts: List[str]) -> None:
    """Adds one part after the other: whoever has no images to tell of, say, may have pods. Raises ClientError."""
    own_info = _own_info(client)
    behind = list(own_info.get("runtimes", ()))
    if behind:
        parts.append(table("RUNTIMES", _RUNTIME_COLUMNS, _runtimes(behind, own_info.get("imageService"))))
    version = client.call("Version")
    head = f"{client.path}: {version.runtime_name} {version.runtime_version}, CRI {version.runtime_api_version}"
    parts.insert(0, cell(head))
    pods = client.call("ListPodSandbox").items
    containers = client.call("ListContainers").containers
    now = time.time_ns()
    names = {pod.id: f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods}
    away = {runtime["id"] for runtime in behind if runtime.get("available") is False}
    parts.append(table("PODS", _POD_COLUMNS, [_pod(pod, away, now) for pod in pods]))
    rows = [_container(container, names, away, now) for container in containers]
    parts.append(table("CONTAINERS", _CONTAINER_COLUMNS, rows))
    images = client.call("ListImages").images
    runtimes = {_split(thing.id)[0] for thing in (*pods, *containers)} | {runtime["id"] for runtime in behind}
    parts.append(table("IMAGES", _IMAGE_COLUMNS, [_image(image, runtimes - {""}) for image in images]))


def _own_info(client: Client) -> Mapping[str, Any]:
    """What criproxy says of itself in the info of a verbose Status; of anybody else nothing."""
    try:
        # criproxy speaks every version, and says this while its primary runtime is away, too.
        info = json.loads(client.call_in(ApiVersion.V1, "Status", verbose=True).info[OWN_INFO])
        _runtimes(info["runtimes"], info.get("imageService"))
    except (ClientError, ValueError, LookupError, TypeError):
        return {}
    return dict(info)


def _runtimes(behind: Sequence[Mapping[str, Any]], image_service: Optional[Mapping[str, Any]]) -> List[Row]:
    """Those behind criproxy. Raises LookupError or TypeError if they are not told as criproxy tells them."""
    rows = [_runtime(str(runtime["id"]) or PRIMARY, runtime) for runtime in behind]
    if image_service is not None:
        rows.insert(1, _runtime(_IMAGE_SERVICE, image_service))
    return rows


def _runtime(title: str, runtime: Mapping[str, Any]) -> Row:
    versions = ", ".join(runtime["apiVersions"])
    return (
        title,
        str(runtime["socket"]),
        str(runtime["state"]).removesuffix(f" ({versions})"),
        versions or "-",
        str(runtime["connectedSince"] or "-"),
        str(runtime["callsInFlight"]),
    )


def _split(thing_id: str) -> Tuple[str, str]:
    """The id of the runtime that a pod or a container is of (nothing: the primary one), and its own."""
    owner, mark, own = thing_id.partition("__")
    return (owner, own) if mark else ("", thing_id)


def _short(name: str) -> str:
    """The beginning of an id. The runtime's id in front of it is not cut."""
    head = re.match("(.*(__|/))?", name)
    begin = head.end() if head else 0
    return name[: begin + _SHORT_ID]


def _state(enum: str, thing: Any, owner: str, away: Collection[str]) -> str:
    """A pod's or a container's state, marked if its runtime is away: nobody knows whether it still is so."""
    state = _STATES[enum].get(thing.state, "?")
    return f"{state} (remembered)" if owner in away else state


def _pod(pod: Any, away: Collection[str], now: int) -> Row:
    owner, own = _split(pod.id)
    return (
        owner or PRIMARY,
        _short(own),
        pod.metadata.namespace,
        pod.metadata.name,
        _state("PodSandboxState", pod, owner, away),
        _age(pod, now),
    )


def _container(container: Any, pods: Mapping[str, str], away: Collection[str], now: int) -> Row:
    owner, own = _split(container.id)
    return (
        owner or PRIMARY,
        _short(own),
        pods.get(container.pod_sandbox_id, "?"),
        container.metadata.name,
        _inner(container.image.image, owner),
        _state("ContainerState", container, owner, away),
        _age(container, now),
    )


def _image(image: Any, runtimes: Iterable[str]) -> Row:
    names = [*image.repo_tags] or [*image.repo_digests] or ["?"]
    # What several runtimes have bears the names of all. A repo digest without a name says nothing of them.
    telling = [*image.repo_tags, *(digest for digest in image.repo_digests if digest.find("@") > 0)] or names
    owners = dict.fromkeys(_owner(name, runtimes) for name in telling)
    owner = _owner(names[0], runtimes)
    more = f" (+{len(names) - 1})" if len(names) > 1 else ""
    image_id = re.sub("^sha[0-9]+:", "", _inner(image.id, owner))
    whose = ",".join(each or PRIMARY for each in owners)
    return whose, _short(image_id), _inner(names[0], owner) + more, _size(image.size)


def _owner(image: str, runtimes: Iterable[str]) -> str:
    """The id of the runtime that an image is of by its name (nothing: the primary one)."""
    return next((runtime for runtime in runtimes if image.startswith(f"{runtime}/")), "")


def _inner(image: str, owner: str) -> str:
    """An image's name without that of its runtime, which has a column of its own."""
    return image[len(owner) + 1 :] if owner and image.startswith(f"{owner}/") else image


def _age(thing: Any, now: int) -> str:
    seconds = max(0, (now - thing.created_at) // 10**9)
    size, unit = next((one for one in _AGES if seconds >= one[0]), _AGES[-1])
    return f"{seconds // size}{unit}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
