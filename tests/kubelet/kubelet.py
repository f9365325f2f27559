"""kubelet, as seen by whoever gives it pods and asks about them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple
from urllib.parse import urlencode

from tests.containerd.service import eventually
from tests.containerd.websocket import Stream, opened, unverified

from .node import MANIFESTS, PATIENCE, KubeletNode

_PORT = 10250
_NAMESPACE = "default"


@dataclass(frozen=True)
class Pod:
    """What kubelet says of a pod."""

    phase: str
    ready: bool
    ids: Mapping[str, str]
    """Its containers' ids, by their names."""
    restarts: Mapping[str, int]
    """How often each container has been started again."""

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Pod:
        """From a PodStatus."""
        containers = status.get("containerStatuses", [])
        ready = any((each["type"], each["status"]) == ("Ready", "True") for each in status.get("conditions", []))
        ids = {each["name"]: each.get("containerID", "").partition("://")[2] for each in containers}
        return cls(status["phase"], ready, ids, {each["name"]: each["restartCount"] for each in containers})


class RequestFailed(Exception):
    """kubelet has refused a request. The text is what it said."""


class Kubelet:
    """A node's kubelet: its directory of static pods, and its own API. Pods are known by their manifests' names."""

    def __init__(self, node: KubeletNode) -> None:
        self.node = node

    def add(self, name: str, annotations: Mapping[str, str], spec: Mapping[str, Any]) -> None:
        """Gives it a pod."""
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": _NAMESPACE, "annotations": dict(annotations)},
            "spec": {"terminationGracePeriodSeconds": 1, **spec},
        }
        # It reads what is there at any moment, but for files that begin with a dot.
        self.node.write(f"{MANIFESTS}/.{name}", json.dumps(manifest))
        self.node.path(f"{MANIFESTS}/.{name}").rename(self.node.path(f"{MANIFESTS}/{name}.json"))

    def remove(self, name: str) -> None:
        """Takes a pod back."""
        self.node.path(f"{MANIFESTS}/{name}.json").unlink()

    def pods(self) -> Dict[str, Pod]:
        """All pods, by name; none while kubelet does not answer."""
        try:
            items = json.loads(self._ask("GET", "/pods"))["items"] or []
        except OSError:
            return {}
        suffix = "-node"  # which kubelet puts behind the names of static pods: its own
        return {item["metadata"]["name"][: -len(suffix)]: Pod.of(item["status"]) for item in items}

    def ready(self, *names: str, within: float = PATIENCE) -> Dict[str, Pod]:
        """These pods, when all of them are ready, at the latest after that many seconds."""
        seen = eventually(self.pods, lambda pods: all(name in pods and pods[name].ready for name in names), within)
        assert {name for name in names if name in seen and seen[name].ready} == set(names), seen
        return {name: seen[name] for name in names}

    def await_looks(self, count: int) -> None:
        """Comes back when it has looked that many times, once a second, at what there is on the runtimes.

        It may have been started just now.
        """
        goal = eventually(self._looks, lambda looks: looks >= 0, PATIENCE) + count
        assert eventually(self._looks, lambda looks: looks >= goal, PATIENCE) >= goal, "kubelet looks no more"

    def _looks(self) -> int:
        """How often it has; -1 if it does not answer."""
        name = "kubelet_pleg_relist_duration_seconds_count "
        try:
            lines = self._ask("GET", "/metrics").splitlines()
        except OSError:
            return -1
        return next((int(line[len(name) :]) for line in lines if line.startswith(name)), 0)

    def logs(self, pod: str, container: str) -> str:
        """What a container has written."""
        return self._ask("GET", f"/containerLogs/{self._path(pod)}/{container}")

    def run(self, pod: str, container: str, command: str) -> str:
        """What a command of words without blanks says (ExecSync). Raises RequestFailed if it fails."""
        return self._ask("POST", f"/run/{self._path(pod)}/{container}", {"cmd": command})

    @contextmanager
    def exec(self, pod: str, container: str, command: Sequence[str]) -> Iterator[Stream]:
        """The stream of a command in a container."""
        query = [("command", word) for word in command]
        with self._stream(f"/exec/{self._path(pod)}/{container}", [*query, *_STREAMS]) as stream:
            yield stream

    @contextmanager
    def attach(self, pod: str, container: str) -> Iterator[Stream]:
        """The stream of a container's own process."""
        with self._stream(f"/attach/{self._path(pod)}/{container}", _STREAMS) as stream:
            yield stream

    @contextmanager
    def forward(self, pod: str, port: int) -> Iterator[Stream]:
        """The stream of a pod's port: data on channel 0, errors on channel 1."""
        with self._stream(f"/portForward/{self._path(pod)}", [("port", str(port))]) as stream:
            for channel in (0, 1):
                assert next(stream) == (channel, port.to_bytes(2, "little"))
            yield stream

    def _path(self, pod: str) -> str:
        return f"{_NAMESPACE}/{pod}-node"

    def _stream(self, path: str, query: Sequence[Tuple[str, str]]) -> Any:
        return opened(self.node, f"https://127.0.0.1:{_PORT}{path}?{urlencode(query)}")

    def _ask(self, method: str, path: str, form: Mapping[str, str] = {}) -> str:
        connection = HTTPConnection("127.0.0.1", _PORT)
        connection.sock = unverified().wrap_socket(self.node.dial("127.0.0.1", _PORT))
        try:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request(method, path, urlencode(form), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise RequestFailed(f"{path}: {answer.status} {text}")
        return text


_STREAMS = [("input", "1"), ("output", "1"), ("error", "1")]
