"""What the runtimes of a node say when they are asked over their sockets, criproxy's among them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, List, Mapping, Protocol

from criproxy.node.kubelet import NodeError


@dataclass(frozen=True)
class ReadyPod:
    """A pod whose sandbox is ready, as criproxy's list has it."""

    id: str
    """As kubelet knows it: an alternative runtime's begins with the runtime's id and ``__``."""
    name: str
    """``namespace/name``."""

    def is_of(self, runtime: str) -> bool:
        """Whether it is of the alternative runtime with this id."""
        return self.id.startswith(f"{runtime}__")


class RuntimeClient(Protocol):
    """Asks over unix sockets. Each method raises NodeError, with one line that says why, if there is no answer."""

    def version(self, socket: str) -> str:
        """Who answers there: name and version of a runtime."""

    def pods(self, socket: str) -> List[ReadyPod]:
        """The pods whose sandboxes are ready."""

    def images(self, socket: str) -> None:
        """Sees that an image service answers there; it need not be a runtime."""

    def behind(self, socket: str) -> Mapping[str, str]:
        """The runtimes of the criproxy that serves there: sockets by ids. Empty if it does not say."""


class Sockets:
    """The same by gRPC."""

    # gRPC's library takes its time to load, and few commands need it: it is imported where it is used.

    def version(self, socket: str) -> str:
        """By Version."""
        version = self._called(socket, "Version")
        return f"{version.runtime_name} {version.runtime_version}"

    def pods(self, socket: str) -> List[ReadyPod]:
        """By ListPodSandbox."""
        listed = self._called(socket, "ListPodSandbox").items
        # SANDBOX_READY is 0 in every version.
        ready = [pod for pod in listed if pod.state == 0]
        return [ReadyPod(pod.id, f"{pod.metadata.namespace}/{pod.metadata.name}") for pod in ready]

    def _called(self, socket: str, method: str) -> Any:
        from criproxy.client import Client, ClientError

        try:
            with Client(socket) as client:
                return client.call(method)
        except ClientError as error:
            raise NodeError(str(error)) from error

    def images(self, socket: str) -> None:
        """By ListImages, in each version: nobody else says which one an image service speaks."""
        from criproxy.client import VERSIONS, Client, ClientError

        with Client(socket) as client:
            for version in VERSIONS:
                try:
                    client.call_in(version, "ListImages")
                except ClientError as error:
                    if error.code is None or error.code.name != "UNIMPLEMENTED":
                        raise NodeError(str(error)) from error
                else:
                    return
        raise NodeError(f"{socket} speaks no known version of the CRI's ImageService")

    def behind(self, socket: str) -> Mapping[str, str]:
        """By criproxy's own entry among the info of a verbose Status, which is there while no runtime is, too."""
        from criproxy.client import Client, ClientError
        from criproxy.cri.status import OWN_INFO
        from criproxy.cri.versions import ApiVersion

        try:
            with Client(socket) as client:
                own = client.call_in(ApiVersion.V1, "Status", verbose=True).info[OWN_INFO]
            return {str(runtime["id"]): str(runtime["socket"]) for runtime in json.loads(own)["runtimes"]}
        except ClientError as error:
            raise NodeError(str(error)) from error
        except (ValueError, LookupError, TypeError):
            return {}
