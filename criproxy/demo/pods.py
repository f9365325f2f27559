"""How a pod comes to be by calls of the CRI, of a runtime in this process or of one behind a socket."""

from __future__ import annotations

import uuid
from typing import Any, Protocol, Sequence

from criproxy.cri.identity import TARGET_RUNTIME


class Caller(Protocol):
    """Calls a method of the CRI with the fields of its request; gives its answer."""

    def __call__(self, method: str, **fields: Any) -> Any: ...


def run_pod(call: Caller, namespace: str, name: str, images: Sequence[str], target: str = "") -> None:
    """Runs a pod with a container of each image. ``target``: the id of the runtime that it asks for."""
    prefix = f"{target}/" if target else ""
    sandbox = {
        "metadata": {"name": name, "namespace": namespace, "uid": str(uuid.uuid4())},
        "log_directory": f"/var/log/pods/{namespace}_{name}",
        "annotations": {TARGET_RUNTIME.decode(): target} if target else {},
    }
    pod_id = call("RunPodSandbox", config=sandbox).pod_sandbox_id
    for image in images:
        spec = {"image": prefix + image}
        call("PullImage", image=spec, sandbox_config=sandbox)
        container = image.rpartition("/")[2].partition(":")[0]
        config = {"metadata": {"name": container}, "image": spec, "log_path": f"{container}/0.log"}
        created = call("CreateContainer", pod_sandbox_id=pod_id, config=config, sandbox_config=sandbox)
        call("StartContainer", container_id=created.container_id)
