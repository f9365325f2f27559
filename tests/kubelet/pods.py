"""The pods that the tests give to kubelet."""

from __future__ import annotations

from typing import Any, Dict

from .node import ALTERNATIVE, IMAGE, PRIMARY, Runtime

NAMES = {PRIMARY: "on-primary", ALTERNATIVE: "on-alternative"}
"""The pods that a test finds there, on both runtimes."""
PORT = 8080
"""Where a web pod serves its page."""

_SERVE = "echo $NAME has started; exec httpd -f -p 8080 -h /data"
_ANSWER = "while read -r line; do echo $NAME has heard $line; done"
_VOLUME = {"name": "data", "emptyDir": {}}


def web(runtime: Runtime) -> Dict[str, Any]:
    """The spec of a pod with all that pods have: an init container writes a page into a volume, the main container
    serves it, probes look for it and for a file that says it is ready, and another answers on its standard input."""
    return {
        "initContainers": [_container(runtime, "init", "echo this is $NAME > /data/page; touch /data/ready")],
        "containers": [
            {
                **_container(runtime, "main", _SERVE),
                "readinessProbe": {"exec": {"command": ["cat", "/data/ready"]}, "periodSeconds": 1},
                "livenessProbe": {"httpGet": {"port": PORT, "path": "/page"}, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"memory": "64Mi"}},
            },
            {**_container(runtime, "answering", _ANSWER), "stdin": True},
        ],
        "volumes": [_VOLUME],
    }


def sleeping(runtime: Runtime, image: str = IMAGE) -> Dict[str, Any]:
    """The spec of a pod that does nothing."""
    return {"containers": [{**_container(runtime, "main", "exec sleep 86400", image)}], "volumes": [_VOLUME]}


def crashing(runtime: Runtime) -> Dict[str, Any]:
    """The spec of a pod whose container ends again and again."""
    spec = sleeping(runtime)
    spec["containers"][0]["command"] = ["sh", "-c", "exit 1"]
    return spec


def listening(runtime: Runtime) -> Dict[str, Any]:
    """The spec of a pod that ends when it has heard a line."""
    listens = {**_container(runtime, "main", "read -r line; echo $NAME has heard $line")}
    listens.update({"stdin": True, "stdinOnce": True})
    return {"containers": [listens], "restartPolicy": "Never", "volumes": [_VOLUME]}


def _container(runtime: Runtime, name: str, script: str, image: str = IMAGE) -> Dict[str, Any]:
    """The spec of a container that runs a shell script, in which ``$NAME`` is it and its runtime."""
    return {
        "name": name,
        "image": runtime.image(image),
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "env": [{"name": "NAME", "value": f"{name} on {runtime}"}],
        "volumeMounts": [{"name": _VOLUME["name"], "mountPath": "/data"}],
    }
