"""A container runtime in memory: it answers as the CRI says, but nothing runs.

The methods of `Runtime` bear the CRI's names: a request in, its answer out (a list of messages where the CRI has a
stream of them), a `CriError` where the call fails. They answer at once and do not lock: whoever calls from several
threads lets one call in at a time. A method of the CRI that is not here is not implemented. Events are told to
whoever has subscribed, before the call that caused them returns.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Optional, TypeVar

from google.protobuf import json_format

from criproxy import __version__
from criproxy.cri.schema import load
from criproxy.demo import stats
from criproxy.demo.images import Images
from criproxy.demo.messages import MESSAGES, CriError, Msg, alike, filesystem

PAGE = 2
"""Items in one message of a ``Stream…`` list: so few that a small runtime sends several messages, too."""

_KILLED = 137
"""The exit code of what SIGKILL has ended."""
_ENUMS = load().enums
_READY, _NOT_READY = (_ENUMS["PodSandboxState"][f"SANDBOX_{state}"] for state in ("READY", "NOTREADY"))
_CREATED, _RUNNING, _EXITED = (
    _ENUMS["ContainerState"][f"CONTAINER_{state}"] for state in ("CREATED", "RUNNING", "EXITED")
)


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


def _find(things: Dict[str, Thing], what: str, thing_id: str) -> Thing:
    """The pod or container of this id, which may be cut short, as in containerd. Raises CriError."""
    if not thing_id:
        raise CriError("INVALID_ARGUMENT", f"the id of the {what} is missing")
    found = [key for key in things if key.startswith(thing_id)]
    if len(found) > 1:
        raise CriError("INVALID_ARGUMENT", f"{what} {thing_id!r}: the ids of {len(found)} begin so")
    if not found:
        raise CriError("NOT_FOUND", f"{what} {thing_id!r}: not found")
    return things[found[0]]


def _find_any(things: Dict[str, Thing], what: str, thing_id: str) -> Optional[Thing]:
    """The same; None if there is none: to stop or to remove what has gone is a success in the CRI."""
    try:
        return _find(things, what, thing_id)
    except CriError as error:
        if error.code == "NOT_FOUND":
            return None
        raise


def _chosen(things: Dict[str, Thing], wanted: Msg) -> List[Thing]:
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


def _info(verbose: bool, **values: Any) -> Dict[str, str]:
    """The ``info`` of a verbose answer, as containerd lays it out: one JSON text."""
    if not verbose:
        return {}
    plain = {name: value if isinstance(value, str) else _plain(value) for name, value in values.items()}
    return {"info": json.dumps(plain, sort_keys=True)}


def _plain(message: Msg) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _message(name: str, plain: Any) -> Msg:
    return json_format.ParseDict(plain, MESSAGES[name]())


def _handler(name: str) -> Msg:
    features = {"recursive_read_only_mounts": True, "user_namespaces": True} if name else None
    return MESSAGES["RuntimeHandler"](name=name, features=features)


def _in_pages(answer: str, listed: Callable[[Any, Msg], Msg]) -> Callable[[Any, Msg], List[Msg]]:
    """The ``Stream…`` method of a list: its items in several messages of the type ``answer``."""
    (field,) = MESSAGES[answer].DESCRIPTOR.fields

    def stream(self: Runtime, request: Msg) -> List[Msg]:
        items = [item for _, values in listed(self, request).ListFields() for item in values]
        return [MESSAGES[answer](**{field.name: items[at : at + PAGE]}) for at in range(0, len(items), PAGE)]

    return stream


class Runtime:
    """All pods, containers and images of one runtime.

    ``name``: what it calls itself; ``stream_url``: what the URLs that it gives begin with (nothing: they are paths
    alone, as dockershim's were in Kubernetes 1.10); ``clock``: nanoseconds since 1970; ``handlers``: the runtime
    handlers that pods can ask for, beside the default one, which has no name.
    """

    def __init__(
        self,
        name: str,
        stream_url: str = "",
        clock: Callable[[], int] = time.time_ns,
        handlers: Iterable[str] = (),
    ) -> None:
        self.name = name
        self._handlers = ("", *handlers)
        self._stream_url = stream_url.rstrip("/")
        self._clock = clock
        self._pods: Dict[str, Pod] = {}
        self._containers: Dict[str, Container] = {}
        self._images = Images()
        self._addresses = 1
        self._network = MESSAGES["NetworkConfig"]()
        self._sinks: List[Callable[[Msg], None]] = []

    def subscribe(self, sink: Callable[[Msg], None]) -> None:
        """Calls ``sink`` with every event (ContainerEventResponse) from now on."""
        self._sinks.append(sink)

    def unsubscribe(self, sink: Callable[[Msg], None]) -> None:
        """Calls it no more."""
        self._sinks.remove(sink)

    def _tell(self, what: str, thing_id: str, pod: Pod) -> None:
        event = MESSAGES["ContainerEventResponse"](
            container_id=thing_id,
            container_event_type=_ENUMS["ContainerEventType"][f"CONTAINER_{what}_EVENT"],
            created_at=self._clock(),
            pod_sandbox_status=pod.status,
            containers_statuses=[container.status for container in self._in(pod)],
        )
        for sink in self._sinks:
            sink(event)

    # What outlives the process.

    def state(self) -> Dict[str, Any]:
        """All that there is, of what JSON has."""
        return {
            "addresses": self._addresses,
            "network": _plain(self._network),
            "images": [_plain(image) for image in self._images.all()],
            "pods": [{"status": _plain(pod.status), "config": _plain(pod.config)} for pod in self._pods.values()],
            "containers": [
                {"status": _plain(container.status), "pod": container.pod.status.id}
                for container in self._containers.values()
            ],
        }

    def restore(self, state: Dict[str, Any]) -> None:
        """Has all that another runtime had, whose `state` this is; raises ValueError if it is none."""
        try:
            self._addresses = int(state["addresses"])
            self._network.CopyFrom(_message("NetworkConfig", state["network"]))
            self._images.restore(_message("Image", image) for image in state["images"])
            for each in state["pods"]:
                status = _message("PodSandboxStatus", each["status"])
                self._pods[status.id] = Pod(status, _message("PodSandboxConfig", each["config"]))
            for each in state["containers"]:
                status = _message("ContainerStatus", each["status"])
                self._containers[status.id] = Container(status, self._pods[each["pod"]])
        except (KeyError, TypeError, json_format.ParseError) as error:
            raise ValueError(f"not a runtime's state: {error!r}") from error

    # The runtime itself.

    def Version(self, request: Msg) -> Msg:
        """All four fields; ``runtime_api_version`` is that of the messages."""
        return MESSAGES["VersionResponse"](
            version="0.1.0", runtime_name=self.name, runtime_version=__version__, runtime_api_version="v1"
        )

    def Status(self, request: Msg) -> Msg:
        """Always ready; of the runtime handlers those with a name have all features. Verbose: the pods' network."""
        return MESSAGES["StatusResponse"](
            status={"conditions": [{"type": kind, "status": True} for kind in ("RuntimeReady", "NetworkReady")]},
            runtime_handlers=[_handler(name) for name in self._handlers],
            info=_info(request.verbose, network_config=self._network),
        )

    def UpdateRuntimeConfig(self, request: Msg) -> Msg:
        """Keeps the pods' network for `Status`."""
        self._network.CopyFrom(request.runtime_config.network_config)
        return MESSAGES["UpdateRuntimeConfigResponse"]()

    def RuntimeConfig(self, request: Msg) -> Msg:
        """The cgroup driver."""
        return MESSAGES["RuntimeConfigResponse"](linux={"cgroup_driver": _ENUMS["CgroupDriver"]["SYSTEMD"]})

    # Pods.

    def _pod(self, request: Msg) -> Pod:
        return _find(self._pods, "pod sandbox", request.pod_sandbox_id)

    def _ready(self, request: Msg) -> Pod:
        pod = self._pod(request)
        if pod.status.state != _READY:
            raise CriError("FAILED_PRECONDITION", f"pod sandbox {pod.status.id!r} is not ready")
        return pod

    def _in(self, pod: Pod) -> List[Container]:
        return [container for container in self._containers.values() if container.pod is pod]

    def RunPodSandbox(self, request: Msg) -> Msg:
        """A pod is ready at once, with an address unless it is in the node's network. Its handler must be known."""
        config, pod_id = request.config, secrets.token_hex(32)
        if not config.metadata.name:
            raise CriError("INVALID_ARGUMENT", "the metadata of the pod sandbox has no name")
        if request.runtime_handler not in self._handlers:
            raise CriError("INVALID_ARGUMENT", f'no runtime for "{request.runtime_handler}" is configured')
        namespaces = config.linux.security_context.namespace_options
        status = alike(
            "PodSandboxStatus",
            config,
            id=pod_id,
            state=_READY,
            created_at=self._clock(),
            linux={"namespaces": {"options": namespaces}},
            runtime_handler=request.runtime_handler,
        )
        if namespaces.network != _ENUMS["NamespaceMode"]["NODE"]:
            self._addresses += 1
            status.network.ip = f"10.88.{self._addresses >> 8 & 255}.{self._addresses & 255}"
        pod = self._pods[pod_id] = Pod(status, alike("PodSandboxConfig", config))
        self._tell("CREATED", pod_id, pod)
        self._tell("STARTED", pod_id, pod)
        return MESSAGES["RunPodSandboxResponse"](pod_sandbox_id=pod_id)

    def StopPodSandbox(self, request: Msg) -> Msg:
        """Stops what runs in the pod, too."""
        pod = _find_any(self._pods, "pod sandbox", request.pod_sandbox_id)
        if pod is not None:
            self._stop_pod(pod)
        return MESSAGES["StopPodSandboxResponse"]()

    def _stop_pod(self, pod: Pod) -> None:
        for container in self._in(pod):
            self._stop_container(container, _KILLED)
        if pod.status.state == _READY:
            pod.status.state = _NOT_READY
            self._tell("STOPPED", pod.status.id, pod)

    def RemovePodSandbox(self, request: Msg) -> Msg:
        """Stops and removes what is in the pod, too."""
        pod = _find_any(self._pods, "pod sandbox", request.pod_sandbox_id)
        if pod is not None:
            self._stop_pod(pod)
            for container in self._in(pod):
                self._remove_container(container)
            del self._pods[pod.status.id]
            self._tell("DELETED", pod.status.id, pod)
        return MESSAGES["RemovePodSandboxResponse"]()

    def PodSandboxStatus(self, request: Msg) -> Msg:
        """The verbose answer tells the pod's configuration, its resources as they are now."""
        pod = self._pod(request)
        return MESSAGES["PodSandboxStatusResponse"](
            status=pod.status,
            containers_statuses=[container.status for container in self._in(pod)],
            timestamp=self._clock(),
            info=_info(request.verbose, config=pod.config),
        )

    def ListPodSandbox(self, request: Msg) -> Msg:
        """All pods that the filter lets through."""
        chosen = _chosen(self._pods, request.filter)
        return MESSAGES["ListPodSandboxResponse"](items=[alike("PodSandbox", pod.status) for pod in chosen])

    StreamPodSandboxes = _in_pages("StreamPodSandboxesResponse", ListPodSandbox)

    def UpdatePodSandboxResources(self, request: Msg) -> Msg:
        """Changes the fields that are set."""
        linux = self._pod(request).config.linux
        linux.overhead.MergeFrom(request.overhead)
        linux.resources.MergeFrom(request.resources)
        return MESSAGES["UpdatePodSandboxResourcesResponse"]()

    # Containers.

    def _container(self, request: Msg) -> Container:
        return _find(self._containers, "container", request.container_id)

    def _running(self, request: Msg) -> Container:
        container = self._container(request)
        if container.status.state != _RUNNING:
            raise CriError("FAILED_PRECONDITION", f"container {container.status.id!r} is not running")
        return container

    def CreateContainer(self, request: Msg) -> Msg:
        """Needs a pod that is ready and an image that has been pulled."""
        pod, config, container_id = self._ready(request), request.config, secrets.token_hex(32)
        if not config.metadata.name:
            raise CriError("INVALID_ARGUMENT", "the metadata of the container has no name")
        image = self._images.find(config.image.image)
        if image is None:
            raise CriError("NOT_FOUND", f"image {config.image.image!r}: not found")
        status = alike(
            "ContainerStatus",
            config,
            id=container_id,
            state=_CREATED,
            created_at=self._clock(),
            image_ref=image.repo_digests[0],
            image_id=image.id,
            resources={"linux": config.linux.resources},
        )
        if config.log_path:
            status.log_path = f"{pod.config.log_directory.rstrip('/')}/{config.log_path}"
        self._containers[container_id] = Container(status, pod)
        self._tell("CREATED", container_id, pod)
        return MESSAGES["CreateContainerResponse"](container_id=container_id)

    def StartContainer(self, request: Msg) -> Msg:
        """A container starts once, and while its pod is ready."""
        container = self._container(request)
        status = container.status
        if status.state != _CREATED or container.pod.status.state != _READY:
            raise CriError("FAILED_PRECONDITION", f"container {status.id!r} cannot be started any more")
        status.state, status.started_at = _RUNNING, self._clock()
        self._tell("STARTED", status.id, container.pod)
        return MESSAGES["StartContainerResponse"]()

    def StopContainer(self, request: Msg) -> Msg:
        """A container ends well if it is given any time to do so."""
        container = _find_any(self._containers, "container", request.container_id)
        if container is not None:
            self._stop_container(container, 0 if request.timeout > 0 else _KILLED)
        return MESSAGES["StopContainerResponse"]()

    def _stop_container(self, container: Container, exit_code: int) -> None:
        status = container.status
        if status.state == _RUNNING:
            status.state, status.finished_at, status.exit_code = _EXITED, self._clock(), exit_code
            status.reason = "Error" if exit_code else "Completed"
            self._tell("STOPPED", status.id, container.pod)

    def RemoveContainer(self, request: Msg) -> Msg:
        """Stops it first if it is running."""
        container = _find_any(self._containers, "container", request.container_id)
        if container is not None:
            self._remove_container(container)
        return MESSAGES["RemoveContainerResponse"]()

    def _remove_container(self, container: Container) -> None:
        self._stop_container(container, _KILLED)
        del self._containers[container.status.id]
        self._tell("DELETED", container.status.id, container.pod)

    def ListContainers(self, request: Msg) -> Msg:
        """All containers that the filter lets through."""
        return MESSAGES["ListContainersResponse"](
            containers=[
                alike("Container", container.status, pod_sandbox_id=container.pod.status.id)
                for container in _chosen(self._containers, request.filter)
            ]
        )

    StreamContainers = _in_pages("StreamContainersResponse", ListContainers)

    def ContainerStatus(self, request: Msg) -> Msg:
        """The verbose answer tells the pod's id, as containerd's does."""
        container = self._container(request)
        return MESSAGES["ContainerStatusResponse"](
            status=container.status, info=_info(request.verbose, sandboxID=container.pod.status.id)
        )

    def UpdateContainerResources(self, request: Msg) -> Msg:
        """Changes the fields that are set."""
        container = self._container(request)
        if container.status.state == _EXITED:
            raise CriError("FAILED_PRECONDITION", f"container {container.status.id!r} has exited")
        container.status.resources.linux.MergeFrom(request.linux)
        return MESSAGES["UpdateContainerResourcesResponse"]()

    def ReopenContainerLog(self, request: Msg) -> Msg:
        """There is no log; the container has to be running as if there were."""
        self._running(request)
        return MESSAGES["ReopenContainerLogResponse"]()

    # Streaming.

    def ExecSync(self, request: Msg) -> Msg:
        """``echo`` says its arguments and ``false`` fails; the answer to anything else tells who has got it."""
        self._running(request)
        self._require_command(request)
        command, *arguments = request.cmd
        said = " ".join(arguments) if command == "echo" else f"{self.name}: {' '.join(request.cmd)}"
        return MESSAGES["ExecSyncResponse"](stdout=f"{said}\n".encode(), exit_code=1 if command == "false" else 0)

    def Exec(self, request: Msg) -> Msg:
        """A URL that nobody serves."""
        self._running(request)
        self._require_command(request)
        return MESSAGES["ExecResponse"](url=self._url("exec"))

    def Attach(self, request: Msg) -> Msg:
        """A URL that nobody serves."""
        self._running(request)
        return MESSAGES["AttachResponse"](url=self._url("attach"))

    def PortForward(self, request: Msg) -> Msg:
        """A URL that nobody serves."""
        self._ready(request)
        return MESSAGES["PortForwardResponse"](url=self._url("portforward"))

    @staticmethod
    def _require_command(request: Msg) -> None:
        if not request.cmd:
            raise CriError("INVALID_ARGUMENT", "there is no command")

    def _url(self, what: str) -> str:
        return f"{self._stream_url}/cri/{what}/{secrets.token_urlsafe(6)}"

    # Statistics.

    def _container_stats(self, container: Container) -> Msg:
        return stats.container_stats(container.status, self._clock(), self._directory("containers"))

    def _pod_stats(self, pod: Pod) -> Msg:
        containers = [self._container_stats(container) for container in self._in(pod)]
        return stats.pod_stats(pod.status, containers, self._clock())

    def _directory(self, of: str) -> str:
        return f"/var/lib/{self.name}/{of}"

    def ContainerStats(self, request: Msg) -> Msg:
        """What the container uses now."""
        return MESSAGES["ContainerStatsResponse"](stats=self._container_stats(self._container(request)))

    def ListContainerStats(self, request: Msg) -> Msg:
        """The same for all that the filter lets through."""
        chosen = _chosen(self._containers, request.filter)
        return MESSAGES["ListContainerStatsResponse"](stats=[self._container_stats(container) for container in chosen])

    StreamContainerStats = _in_pages("StreamContainerStatsResponse", ListContainerStats)

    def PodSandboxStats(self, request: Msg) -> Msg:
        """What the pod uses now: the sum of its containers."""
        return MESSAGES["PodSandboxStatsResponse"](stats=self._pod_stats(self._pod(request)))

    def ListPodSandboxStats(self, request: Msg) -> Msg:
        """The same for all that the filter lets through."""
        chosen = _chosen(self._pods, request.filter)
        return MESSAGES["ListPodSandboxStatsResponse"](stats=[self._pod_stats(pod) for pod in chosen])

    StreamPodSandboxStats = _in_pages("StreamPodSandboxStatsResponse", ListPodSandboxStats)

    def ListMetricDescriptors(self, request: Msg) -> Msg:
        """What the metrics are."""
        return MESSAGES["ListMetricDescriptorsResponse"](descriptors=stats.metric_descriptors())

    def ListPodSandboxMetrics(self, request: Msg) -> Msg:
        """The metrics of all pods and of their containers."""
        now = self._clock()
        return MESSAGES["ListPodSandboxMetricsResponse"](
            pod_metrics=[stats.pod_metrics(self._pod_stats(pod), now) for pod in self._pods.values()]
        )

    StreamPodSandboxMetrics = _in_pages("StreamPodSandboxMetricsResponse", ListPodSandboxMetrics)

    # Images.

    def PullImage(self, request: Msg) -> Msg:
        """Every image can be had."""
        return MESSAGES["PullImageResponse"](image_ref=self._images.pull(request.image.image).id)

    def ImageStatus(self, request: Msg) -> Msg:
        """Of an image that is not there: an answer without one."""
        self._require_image(request)
        return MESSAGES["ImageStatusResponse"](image=self._images.find(request.image.image))

    def RemoveImage(self, request: Msg) -> Msg:
        """Removes the image with all its names."""
        self._require_image(request)
        self._images.remove(request.image.image)
        return MESSAGES["RemoveImageResponse"]()

    @staticmethod
    def _require_image(request: Msg) -> None:
        if not request.image.image:
            raise CriError("INVALID_ARGUMENT", "the image has no name")

    def ListImages(self, request: Msg) -> Msg:
        """All images, or the one of the name in the filter."""
        name = request.filter.image.image
        found: Iterable[Optional[Msg]] = [self._images.find(name)] if name else self._images.all()
        return MESSAGES["ListImagesResponse"](images=[image for image in found if image is not None])

    StreamImages = _in_pages("StreamImagesResponse", ListImages)

    def ImageFsInfo(self, request: Msg) -> Msg:
        """What images and containers take of the disk; never nothing, which kubelet takes for an error."""
        now = self._clock()
        images = 4096 + sum(image.size for image in self._images.all())
        containers = 4096 + sum(
            self._container_stats(container).writable_layer.used_bytes.value for container in self._containers.values()
        )
        return MESSAGES["ImageFsInfoResponse"](
            image_filesystems=[filesystem(now, self._directory("images"), images)],
            container_filesystems=[filesystem(now, self._directory("containers"), containers)],
        )
