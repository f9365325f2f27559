"""A pod leaves one containerd for another, and leaves nothing behind."""

from __future__ import annotations

import time
from typing import Any, List

from criproxy.migrate.evict import evict
from criproxy.migrate.left import pods_on
from criproxy.node.watch import Clock

from .kubelet import IMAGE, STOPPED, Runtime, remove_pod, run_sandbox, start_container
from .node import Node
from .service import eventually


def test_a_pod_that_is_evicted_ends_in_peace_and_is_made_anew(
    node: Node, primary: Runtime, alternative: Runtime
) -> None:
    """kubelet's part is played here: it sees that the sandbox has ended, and makes another of the same pod."""
    before = node.inventory()
    old, new = Runtime("", alternative.containerd, alternative.direct), Runtime("", primary.containerd, primary.direct)
    sandbox = run_sandbox(old.direct, node, old)
    first = start_container(old.direct, sandbox, IMAGE)
    anew: List[Any] = []
    exits: List[int] = []

    def sleep(seconds: float) -> None:
        if not anew:
            exits.append(old.direct.ContainerStatus(container_id=first.container).status.exit_code)
            config = {**sandbox.config, "metadata": {**sandbox.config["metadata"], "attempt": 1}}
            made = new.direct.RunPodSandbox(config=config).pod_sandbox_id
            anew.append(start_container(new.direct, type(sandbox)(new, made, config), IMAGE))
        time.sleep(seconds)

    (pod,) = pods_on(str(old.containerd.socket))
    assert (str(pod), pod.ready, [each.name for each in pod.containers]) == ("default/pod", True, ["main"])
    said: List[str] = []
    evict(pod, str(old.containerd.socket), str(new.containerd.socket), said.append, Clock(sleep=sleep))
    assert exits == [STOPPED]
    assert pods_on(str(old.containerd.socket)) == []
    (moved,) = pods_on(str(new.containerd.socket))
    assert (moved.uid, moved.ready) == (pod.uid, True)
    remove_pod(new.direct, anew[0])
    assert eventually(node.inventory, lambda now: now == before) == before
