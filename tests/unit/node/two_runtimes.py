"""Two runtimes in memory that are served on sockets, and what kubelet does when a pod's sandbox has ended."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence

from criproxy.cri.schema import load
from criproxy.demo.messages import MESSAGES
from criproxy.demo.runtime import DemoRuntime
from criproxy.demo.server import serve
from criproxy.node.watch import Clock

IMAGE = "docker.io/library/nginx:1"
GRACE = "io.kubernetes.pod.terminationGracePeriod"


class Runtime:
    """One of them."""

    def __init__(self, name: str, path: Path) -> None:
        self.path = str(path)
        self.memory = DemoRuntime(name)
        self.stopped: List[Any] = []
        """The requests of StopContainer."""
        self.on_stop: Callable[[], None] = lambda: None
        stop = self.memory.StopContainer

        def recorded(request: Any) -> Any:
            self.stopped.append(request)
            self.on_stop()
            return stop(request)

        self.memory.StopContainer = recorded  # type: ignore[method-assign]
        self.call("PullImage", image={"image": IMAGE})

    def call(self, method: str, **fields: Any) -> Any:
        return getattr(self.memory, method)(MESSAGES[load().methods[method].request](**fields))

    def run(
        self,
        name: str,
        containers: Sequence[str] = ("main",),
        grace: str = "7",
        annotations: Dict[str, str] = {},  # noqa: B006
        of_containers: Dict[str, str] = {},  # noqa: B006
        **sandbox: Any,
    ) -> str:
        """A pod with running containers; gives the id of its sandbox."""
        config = {
            "metadata": {"namespace": "default", "name": name, "uid": f"uid-of-{name}"},
            "annotations": annotations,
            **sandbox,
        }
        pod: str = self.call("RunPodSandbox", config=config).pod_sandbox_id
        for container in containers:
            made = {
                "metadata": {"name": container},
                "image": {"image": IMAGE},
                "annotations": {**({GRACE: grace} if grace else {}), **of_containers},
            }
            answer = self.call("CreateContainer", pod_sandbox_id=pod, config=made, sandbox_config=config)
            self.call("StartContainer", container_id=answer.container_id)
        return pod

    def end(self, sandbox: str) -> None:
        """Ends a pod with all that runs in it."""
        self.memory.StopPodSandbox(MESSAGES["StopPodSandboxRequest"](pod_sandbox_id=sandbox))

    @property
    def pods(self) -> List[str]:
        """The names of those that are there, ready or not."""
        return [pod.metadata.name for pod in self.call("ListPodSandbox").items]


class FakeKubelet:
    """Makes pods anew on the new runtime that have ended on the old one; looks while somebody waits."""

    def __init__(self, old: Runtime, new: Runtime) -> None:
        self.old, self.new = old, new
        self.time = 0.0
        self.never: List[str] = []
        """Pods with restartPolicy Never."""
        self.deleted: List[str] = []
        """Pods that are being deleted."""
        self.pulls = 0
        """How many looks it takes to pull an image."""
        self.busy = False
        """Whether it makes nothing at all."""

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if not self.busy:
            self.look()

    def look(self) -> None:
        for pod in self.old.call("ListPodSandbox").items:
            name = pod.metadata.name
            if pod.state == load().enums["PodSandboxState"]["SANDBOX_READY"]:
                continue
            if name in self.deleted:
                self.old.call("RemovePodSandbox", pod_sandbox_id=pod.id)
            elif name not in (*self.never, *self.new.pods):
                self.new.run(name, containers=())
            elif name in self.new.pods and self.pulls:
                self.pulls -= 1
            elif name in self.new.pods:
                self._start(name)

    def _start(self, name: str) -> None:
        before, pod = (
            next(each.id for each in runtime.call("ListPodSandbox").items if each.metadata.name == name)
            for runtime in (self.old, self.new)
        )
        there = {each.metadata.name for each in self._containers(self.new, pod)}
        for container in self._containers(self.old, before):
            if container.metadata.name not in there:
                made = {"metadata": {"name": container.metadata.name}, "image": {"image": IMAGE}}
                self.new.call("CreateContainer", pod_sandbox_id=pod, config=made, sandbox_config={})

    @staticmethod
    def _containers(runtime: Runtime, pod: str) -> Any:
        return runtime.call("ListContainers", filter={"pod_sandbox_id": pod}).containers


@contextmanager
def served(folder: Path, *without: str) -> Iterator[FakeKubelet]:
    """Both of them on sockets, the old one without some methods."""
    old, new = Runtime("old", folder / "old.sock"), Runtime("new", folder / "new.sock")
    servers = [serve(old.memory, old.path, ("v1",), without), serve(new.memory, new.path, ("v1alpha2",))]
    try:
        yield FakeKubelet(old, new)
    finally:
        for server in servers:
            server.stop(None).wait()
