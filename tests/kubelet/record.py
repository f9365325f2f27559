"""``python -m tests.kubelet.record`` prints what kubelet calls, and how often, as tests/bench/kubelet.json has it.

A node has pods on both runtimes, of each one a third with a probe by a command, and nothing happens to them.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Dict

from .kubelet import Kubelet
from .node import BOTH, KubeletNode
from .pods import sleeping

_PODS = 30
_SECONDS = 300
"""For how long it is watched: whole periods of all that kubelet does by the clock."""
_CALL = re.compile(r"^ENTER: /runtime\.\w+\.\w+/(\w+)\(", re.MULTILINE)
_PROBE = {"exec": {"command": ["true"]}}


def _begin(node: KubeletNode) -> None:
    node.install()
    defaults = node.path("/etc/default/criproxy")
    defaults.write_text(defaults.read_text().replace('"-v 2"', '"-v 5"'))
    node.run("systemctl", "restart", "criproxy")
    kubelet = Kubelet(node)
    names = []
    for number in range(_PODS):
        runtime = BOTH[number % len(BOTH)]
        spec = sleeping(runtime)
        if number % 3 == 0:
            spec["containers"][0]["readinessProbe"] = _PROBE
        names.append(f"pod-{number}")
        kubelet.add(names[-1], runtime.annotations, spec)
    kubelet.ready(*names)
    kubelet.await_looks(30)


def _calls(node: KubeletNode) -> Dict[str, int]:
    """What is called in that time, by method."""
    since = f"--since=@{int(time.time())}"
    time.sleep(_SECONDS)
    until = f"--until=@{int(time.time())}"
    log = node.run("journalctl", "--unit=criproxy", "--output=cat", since, until)
    return dict(sorted(Counter(_CALL.findall(log)).items()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, KubeletNode(Path(folder)) as node:
        _begin(node)
        print(json.dumps({"pods": _PODS, "seconds": _SECONDS, "calls": _calls(node)}, indent=1))
