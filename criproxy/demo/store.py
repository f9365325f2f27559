"""What a demo runtime has: pods and containers, found by their ids, filtered, and kept as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, TypeVar

from google.protobuf import json_format

from criproxy.demo.images import Images
from criproxy.demo.messages import MESSAGES, CriError, Msg


@dataclass
class Pod:
    """A pod sandbox: its PodSandboxStatus, and the PodSandboxConfig that it was made of."""

    status: Msg
    config: Msg


@dataclass
class Container:
    """A container: its ContainerStatus, and the pod that it is in."""

    status: Msg
    pod: Pod


Thing = TypeVar("Thing", Pod, Container)


class Store:
    """All that one runtime has."""

    def __init__(self) -> None:
        self.pods: Dict[str, Pod] = {}
        self.containers: Dict[str, Container] = {}
        self.images = Images()
        self.addresses = 1
        """How many IP addresses have been given, the node's included."""
        self.network = MESSAGES["NetworkConfig"]()

    def containers_of(self, pod: Pod) -> List[Container]:
        """The containers of a pod."""
        return [container for container in self.containers.values() if container.pod is pod]

    def state(self) -> Dict[str, Any]:
        """All that there is, as JSON can hold it."""
        return {
            "addresses": self.addresses,
            "network": plain(self.network),
            "images": [plain(image) for image in self.images.all()],
            "pods": [{"status": plain(pod.status), "config": plain(pod.config)} for pod in self.pods.values()],
            "containers": [
                {"status": plain(container.status), "pod": container.pod.status.id}
                for container in self.containers.values()
            ],
        }

    def restore(self, state: Dict[str, Any]) -> None:
        """Adds all of a `state`. Raises ValueError if it is none."""
        try:
            self.addresses = int(state["addresses"])
            self.network.CopyFrom(_message("NetworkConfig", state["network"]))
            self.images.restore(_message("Image", image) for image in state["images"])
            for each in state["pods"]:
                status = _message("PodSandboxStatus", each["status"])
                self.pods[status.id] = Pod(status, _message("PodSandboxConfig", each["config"]))
            for each in state["containers"]:
                status = _message("ContainerStatus", each["status"])
                self.containers[status.id] = Container(status, self.pods[each["pod"]])
        except (KeyError, TypeError, json_format.ParseError) as error:
            raise ValueError(f"not a runtime's state: {error!r}") from error


def find(things: Dict[str, Thing], what: str, thing_id: str) -> Thing:
    """The pod or container of this id, which may be cut short, as in containerd. Raises CriError."""
    if not thing_id:
        raise CriError("INVALID_ARGUMENT", f"the id of the {what} is missing")
    found = [key for key in things if key.startswith(thing_id)]
    if len(found) > 1:
        raise CriError("INVALID_ARGUMENT", f"{what} {thing_id!r}: {len(found)} ids begin with this")
    if not found:
        raise CriError("NOT_FOUND", f"{what} {thing_id!r}: not found")
    return things[found[0]]


def find_any(things: Dict[str, Thing], what: str, thing_id: str) -> Optional[Thing]:
    """The same, or None: in the CRI it is a success to stop or to remove what is not there any more."""
    try:
        return find(things, what, thing_id)
    except CriError as error:
        if error.code == "NOT_FOUND":
            return None
        raise


def filtered(things: Dict[str, Thing], wanted: Msg) -> List[Thing]:
    """The pods or containers that the filter of a list lets through."""
    given = {field.name: value for field, value in wanted.ListFields()}
    labels = dict(given.get("label_selector", {})).items()
    return [
        thing
        for thing in things.values()
        if thing.status.id.startswith(given.get("id", ""))
        and ("state" not in given or thing.status.state == given["state"].state)
        and (not isinstance(thing, Container) or thing.pod.status.id.startswith(given.get("pod_sandbox_id", "")))
        and labels <= dict(thing.status.labels).items()
    ]


def plain(message: Msg) -> Any:
    """A message as JSON can hold it."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _message(name: str, value: Any) -> Msg:
    return json_format.ParseDict(value, MESSAGES[name]())
