"""What a runtime says of itself when it is asked for all that criproxy and kubelet rely on."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

from criproxy.client import Client, ClientError
from criproxy.cri.schema import load
from criproxy.cri.versions import ApiVersion

PATIENCE = 15.0
"""How long one runtime is asked in all, seconds."""
_QUESTION = 5.0
"""How long one answer may take, seconds."""
_CONNECT = 2.0
"""How long a connection to a streaming server may take, seconds."""
_IMAGE = "criproxy.invalid/is-this-version-spoken"
"""No registry has this host (RFC 2606)."""
_REQUIRED: Tuple[Tuple[str, Dict[str, Any]], ...] = (
    ("Status", {}),
    ("ListPodSandbox", {}),
    ("ListContainers", {}),
    ("ImageStatus", {"image": {"image": _IMAGE}}),
)
"""What is to be answered in every version that is spoken, with the fields of the request."""
_CHANGES_NOTHING = ("true",)
"""The command of an Exec that gives an address. Nothing runs unless somebody connects and speaks."""
_RUNNING = load().enums["ContainerState"]["CONTAINER_RUNNING"]
_DRIVERS = {number: name.lower() for name, number in load().enums["CgroupDriver"].items()}
_PORTS = {"http": 80, "https": 443}


@dataclass
class Told:
    """What a runtime has told. What follows a failure has not been asked."""

    failure: str = ""
    """Why it does not answer, or no longer."""
    name: str = ""
    versions: List[ApiVersion] = field(default_factory=list)
    """Those in which it answers Version."""
    lacking: List[str] = field(default_factory=list)
    """What it does not answer in one of them, and how."""
    conditions: Dict[str, Tuple[bool, str]] = field(default_factory=dict)
    """Of its status: whether each holds, and why not."""
    pods: List[str] = field(default_factory=list)
    containers: List[str] = field(default_factory=list)
    images: List[str] = field(default_factory=list)
    """Their names, as the runtime has them."""
    cgroup_driver: str = ""
    """Empty if it does not say."""
    stream: str = ""
    """The address of its streaming server; empty if that is not known."""
    stream_failure: str = ""
    """Why nothing can connect there, or why the address is not known."""


def interview(path: str, images: str, stream_url: Callable[[], str]) -> Told:
    """Asks a runtime.

    ``images``: the socket of its image service. ``stream_url`` gives the address of one that names a path alone.
    """
    told = Told()
    # grpc's channels close with the clients, whatever has come of the questions.
    with Client(path) as client, Client(images) as client_of_images:
        try:
            _Interview(told, client, client_of_images, stream_url).ask()
        except ClientError as error:
            told.failure = error.cause
    return told


class _Interview:
    def __init__(self, told: Told, client: Client, images: Client, stream_url: Callable[[], str]) -> None:
        self._told = told
        self._client = client
        self._images = images
        self._stream_url = stream_url
        self._end = time.monotonic() + PATIENCE

    def ask(self) -> None:
        """Asks everything. Raises ClientError if there is no answer."""
        self._find_versions()
        running: List[str] = []
        for version in self._told.versions:
            first = version is self._told.versions[0]
            for method, fields in _REQUIRED:
                answer = self._answer(version, method, fields)
                if first and answer is not None:
                    running += self._take(method, answer)
        version = self._told.versions[0]
        listed = self._optional(version, "ListImages")
        for image in listed.images if listed is not None else ():
            self._told.images += [*image.repo_tags, *image.repo_digests]
        configured = self._optional(version, "RuntimeConfig")
        if configured is not None and configured.HasField("linux"):
            self._told.cgroup_driver = _DRIVERS.get(configured.linux.cgroup_driver, "")
        self._find_stream(version, running)

    def _find_versions(self) -> None:
        for version in ApiVersion:
            try:
                answer = self._call(self._client, version, "Version")
            except ClientError as error:
                if not _is(error, "UNIMPLEMENTED"):
                    raise
                continue
            self._told.versions.append(version)
            self._told.name = self._told.name or f"{answer.runtime_name} {answer.runtime_version}".strip()
        if not self._told.versions:
            raise ClientError("it speaks no known version of the CRI")

    def _answer(self, version: ApiVersion, method: str, fields: Dict[str, Any]) -> Optional[Any]:
        """An answer that there must be; None if there is not, which is noted."""
        client = self._images if method == "ImageStatus" else self._client
        try:
            return self._call(client, version, method, **fields)
        except ClientError as error:
            if method == "ImageStatus" and _is(error, "NOT_FOUND"):
                return None
            if _is(error, "DEADLINE_EXCEEDED") or (error.code is None and client is self._client):
                raise
            cause = error.cause if client.path == self._client.path else str(error)
            self._told.lacking.append(f"{cause} (in {version.spoken})")
            return None

    def _take(self, method: str, answer: Any) -> List[str]:
        """Takes what an answer tells; gives the ids of running containers, if it has any."""
        if method == "Status":
            for condition in answer.status.conditions:
                why = ": ".join(filter(None, (condition.reason, condition.message)))
                self._told.conditions[condition.type] = condition.status, why
        elif method == "ListPodSandbox":
            self._told.pods = [pod.id for pod in answer.items]
        elif method == "ListContainers":
            self._told.containers = [container.id for container in answer.containers]
            return [container.id for container in answer.containers if container.state == _RUNNING]
        return []

    def _optional(self, version: ApiVersion, method: str) -> Optional[Any]:
        """An answer that there need not be. Raises ClientError if there is none in time."""
        client = self._images if method == "ListImages" else self._client
        try:
            return self._call(client, version, method)
        except ClientError as error:
            if _is(error, "DEADLINE_EXCEEDED"):
                raise
            return None

    def _find_stream(self, version: ApiVersion, running: List[str]) -> None:
        """Asks for an address as kubelet does for an exec, and connects there."""
        if not running:
            return
        try:
            answer = self._call(
                self._client, version, "Exec", container_id=running[0], cmd=_CHANGES_NOTHING, stdout=True
            )
        except ClientError as error:
            self._told.stream_failure = error.cause
            return
        url = str(answer.url)
        if url.startswith("/") and not url.startswith("//"):
            url = self._stream_url() + url
        self._told.stream, self._told.stream_failure = reached(url)

    def _call(self, client: Client, version: ApiVersion, method: str, **fields: Any) -> Any:
        left = self._end - time.monotonic()
        if left <= 0:
            raise ClientError(f"{method}: it has not answered everything within {PATIENCE:g} s")
        client.timeout = min(_QUESTION, left)
        return client.call_in(version, method, **fields)


def _is(error: ClientError, code: str) -> bool:
    return error.code is not None and error.code.name == code


def reached(url: str) -> Tuple[str, str]:
    """The address in a URL, and why nothing can connect there; empty if something can."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        return url, str(error)
    if not host or not port:
        return url, "it names no host and port"
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        with contextlib.closing(socket.create_connection((host, port), _CONNECT)):
            return address, ""
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        return address, getattr(error, "strerror", None) or str(error)
