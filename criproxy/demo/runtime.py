"""A container runtime in memory: it answers as the CRI says, but nothing runs.

The methods of `DemoRuntime` bear the CRI's names: a request in, its answer out (a list of messages where the CRI has a
stream of them), a `CriError` where the call fails. They answer at once and do not lock: whoever calls from several
threads lets one call in at a time. A method of the CRI that is not here is not implemented. Events are told to
whoever has subscribed, before the call that caused them returns.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, Callable, Dict, Iterable, List, Optional

from criproxy import __version__
from criproxy.cri.schema import load
from criproxy.demo import stats
from criproxy.demo.messages import MESSAGES, CriError, Msg, alike, filesystem
from criproxy.demo.store import Container, Pod, Store, filtered, find, find_any, plain

PAGE = 2
"""Items in one message of a ``Stream…`` list: so few that a small runtime sends several messages, too."""

_KILLED = 137
"""The exit code of what SIGKILL has ended."""
_ENUMS = load().enums
_READY, _NOT_READY = (_ENUMS["PodSandboxState"][f"SANDBOX_{state}"] for state in ("READY", "NOTREADY"))
_CREATED, _RUNNING, _EXITED = (
    _ENUMS["ContainerState"][f"CONTAINER_{state}"] for state in ("CREATED", "RUNNING", "EXITED")
)


def _info(verbose: bool, **values: Any) -> Dict[str, str]:
    """The ``info`` of a verbose answer, as containerd lays it out: one JSON text."""
    if not verbose:
        return {}
    entries = {name: value if isinstance(value, str) else plain(value) for name, value in values.items()}
    return {"info": json.dumps(entries, sort_keys=True)}


def _handler(name: str) -> Msg:
    features = {"recursive_read_only_mounts": True, "user_namespaces": True} if name else None
    return MESSAGES["RuntimeHandler"](name=name, features=features)


def _in_pages(answer: str, listed: Callable[[Any, Msg], Msg]) -> Callable[[Any, Msg], List[Msg]]:
    """The ``Stream…`` method of a list: its items in several messages of the type ``answer``."""
    (field,) = MESSAGES[answer].DESCRIPTOR.fields

    def stream(self: DemoRuntime, request: Msg) -> List[Msg]:
        items = [item for _, values in listed(self, request).ListFields() for item in values]
        return [MESSAGES[answer](**{field.name: items[at : at + PAGE]}) for at in range(0, len(items), PAGE)]

    return stream


class DemoRuntime:
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
        self.store = Store()
        """All that the runtime has."""
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
            containers_statuses=[container.status for container in self.store.containers_of(pod)],
        )
        for sink in self._sinks:
            sink(event)

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
            info=_info(request.verbose, network_config=self.store.network),
        )

    def UpdateRuntimeConfig(self, request: Msg) -> Msg:
        """Keeps the pods' network for `Status`."""
        self.store.network.CopyFrom(request.runtime_config.network_config)
        return MESSAGES["UpdateRuntimeConfigResponse"]()

    def RuntimeConfig(self, request: Msg) -> Msg:
        """The cgroup driver."""
        return MESSAGES["RuntimeConfigResponse"](linux={"cgroup_driver": _ENUMS["CgroupDriver"]["SYSTEMD"]})

    # Pods.

    def _pod(self, request: Msg) -> Pod:
        return find(self.store.pods, "pod sandbox", request.pod_sandbox_id)

    def _ready(self, request: Msg) -> Pod:
        pod = self._pod(request)
        if pod.status.state != _READY:
            raise CriError("FAILED_PRECONDITION", f"pod sandbox {pod.status.id!r} is not ready")
        return pod

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
            self.store.addresses += 1
            status.network.ip = f"10.88.{self.store.addresses >> 8 & 255}.{self.store.addresses & 255}"
        pod = self.store.pods[pod_id] = Pod(status, alike("PodSandboxConfig", config))
        self._tell("CREATED", pod_id, pod)
        self._tell("STARTED", pod_id, pod)
        return MESSAGES["RunPodSandboxResponse"](pod_sandbox_id=pod_id)

    def StopPodSandbox(self, request: Msg) -> Msg:
        """Stops what runs in the pod, too."""
        pod = find_any(self.store.pods, "pod sandbox", request.pod_sandbox_id)
        if pod is not None:
            self._stop_pod(pod)
        return MESSAGES["StopPodSandboxResponse"]()

    def _stop_pod(self, pod: Pod) -> None:
        for container in self.store.containers_of(pod):
            self._stop_container(container, _KILLED)
        if pod.status.state == _READY:
            pod.status.state = _NOT_READY
            self._tell("STOPPED", pod.status.id, pod)

    def RemovePodSandbox(self, request: Msg) -> Msg:
        """Stops and removes what is in the pod, too."""
        pod = find_any(self.store.pods, "pod sandbox", request.pod_sandbox_id)
        if pod is not None:
            self._stop_pod(pod)
            for container in self.store.containers_of(pod):
                self._remove_container(container)
            del self.store.pods[pod.status.id]
            self._tell("DELETED", pod.status.id, pod)
        return MESSAGES["RemovePodSandboxResponse"]()

    def PodSandboxStatus(self, request: Msg) -> Msg:
        """The verbose answer tells the pod's configuration, its resources as they are now."""
        pod = self._pod(request)
        return MESSAGES["PodSandboxStatusResponse"](
            status=pod.status,
            containers_statuses=[container.status for container in self.store.containers_of(pod)],
            timestamp=self._clock(),
            info=_info(request.verbose, config=pod.config),
        )

    def ListPodSandbox(self, request: Msg) -> Msg:
        """All pods that the filter lets through."""
        chosen = filtered(self.store.pods, request.filter)
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
        return find(self.store.containers, "container", request.container_id)

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
        image = self.store.images.find(config.image.image)
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
        self.store.containers[container_id] = Container(status, pod)
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
        container = find_any(self.store.containers, "container", request.container_id)
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
        container = find_any(self.store.containers, "container", request.container_id)
        if container is not None:
            self._remove_container(container)
        return MESSAGES["RemoveContainerResponse"]()

    def _remove_container(self, container: Container) -> None:
        self._stop_container(container, _KILLED)
        del self.store.containers[container.status.id]
        self._tell("DELETED", container.status.id, container.pod)

    def ListContainers(self, request: Msg) -> Msg:
        """All containers that the filter lets through."""
        return MESSAGES["ListContainersResponse"](
            containers=[
                alike("Container", container.status, pod_sandbox_id=container.pod.status.id)
                for container in filtered(self.store.containers, request.filter)
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
            raise CriError("INVALID_ARGUMENT", "the command is empty")

    def _url(self, what: str) -> str:
        return f"{self._stream_url}/cri/{what}/{secrets.token_urlsafe(6)}"

    # Statistics.

    def _container_stats(self, container: Container) -> Msg:
        return stats.container_stats(container.status, self._clock(), self._directory("containers"))

    def _pod_stats(self, pod: Pod) -> Msg:
        containers = [self._container_stats(container) for container in self.store.containers_of(pod)]
        return stats.pod_stats(pod.status, containers, self._clock())

    def _directory(self, of: str) -> str:
        return f"/var/lib/{self.name}/{of}"

    def ContainerStats(self, request: Msg) -> Msg:
        """What the container uses now."""
        return MESSAGES["ContainerStatsResponse"](stats=self._container_stats(self._container(request)))

    def ListContainerStats(self, request: Msg) -> Msg:
        """The same for all that the filter lets through."""
        chosen = filtered(self.store.containers, request.filter)
        return MESSAGES["ListContainerStatsResponse"](stats=[self._container_stats(container) for container in chosen])

    StreamContainerStats = _in_pages("StreamContainerStatsResponse", ListContainerStats)

    def PodSandboxStats(self, request: Msg) -> Msg:
        """What the pod uses now: the sum of its containers."""
        return MESSAGES["PodSandboxStatsResponse"](stats=self._pod_stats(self._pod(request)))

    def ListPodSandboxStats(self, request: Msg) -> Msg:
        """The same for all that the filter lets through."""
        chosen = filtered(self.store.pods, request.filter)
        return MESSAGES["ListPodSandboxStatsResponse"](stats=[self._pod_stats(pod) for pod in chosen])

    StreamPodSandboxStats = _in_pages("StreamPodSandboxStatsResponse", ListPodSandboxStats)

    def ListMetricDescriptors(self, request: Msg) -> Msg:
        """What the metrics are."""
        return MESSAGES["ListMetricDescriptorsResponse"](descriptors=stats.metric_descriptors())

    def ListPodSandboxMetrics(self, request: Msg) -> Msg:
        """The metrics of all pods and of their containers."""
        now = self._clock()
        return MESSAGES["ListPodSandboxMetricsResponse"](
            pod_metrics=[stats.pod_metrics(self._pod_stats(pod), now) for pod in self.store.pods.values()]
        )

    StreamPodSandboxMetrics = _in_pages("StreamPodSandboxMetricsResponse", ListPodSandboxMetrics)

    # Images.

    def PullImage(self, request: Msg) -> Msg:
        """Every image can be had."""
        return MESSAGES["PullImageResponse"](image_ref=self.store.images.pull(request.image.image).id)

    def ImageStatus(self, request: Msg) -> Msg:
        """Of an image that is not there: an answer without one."""
        self._require_image(request)
        return MESSAGES["ImageStatusResponse"](image=self.store.images.find(request.image.image))

    def RemoveImage(self, request: Msg) -> Msg:
        """Removes the image with all its names."""
        self._require_image(request)
        self.store.images.remove(request.image.image)
        return MESSAGES["RemoveImageResponse"]()

    @staticmethod
    def _require_image(request: Msg) -> None:
        if not request.image.image:
            raise CriError("INVALID_ARGUMENT", "the image has no name")

    def ListImages(self, request: Msg) -> Msg:
        """All images, or the one of the name in the filter."""
        name = request.filter.image.image
        found: Iterable[Optional[Msg]] = [self.store.images.find(name)] if name else self.store.images.all()
        return MESSAGES["ListImagesResponse"](images=[image for image in found if image is not None])

    StreamImages = _in_pages("StreamImagesResponse", ListImages)

    def ImageFsInfo(self, request: Msg) -> Msg:
        """What images and containers take of the disk; never nothing, which kubelet takes for an error."""
        now = self._clock()
        images = 4096 + sum(image.size for image in self.store.images.all())
        containers = 4096 + sum(
            self._container_stats(container).writable_layer.used_bytes.value
            for container in self.store.containers.values()
        )
        return MESSAGES["ImageFsInfoResponse"](
            image_filesystems=[filesystem(now, self._directory("images"), images)],
            container_filesystems=[filesystem(now, self._directory("containers"), containers)],
        )
