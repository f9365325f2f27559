"""What kubelet looks at by itself, beside the CRI: statistics, events, logs."""

from __future__ import annotations

import os
from typing import Dict, Iterator, List

from criproxy.inspection.findings import Finding, right, skipped
from criproxy.inspection.runtimes import some
from criproxy.migrate.move import KUBELET, OLD, Move
from criproxy.migrate.side import Kind
from criproxy.node import endpoints, gates
from criproxy.node.endpoints import REMOTE_BY_DEFAULT, short
from criproxy.node.kubelet import Kubelet, Version

STATISTICS, EVENTS, LOGS = "statistics", "events", "logs"
_NO_KUBELET = "there is no kubelet to ask"
_BY_CRI = "PodAndContainerStatsFromCRI"
_STREAM = "EventedPLEG"
_POD_LOGS = "/var/log/pods"
_CADVISOR = {
    Kind.CONTAINERD: "/run/containerd/containerd.sock",
    Kind.CRIO: "/run/crio/crio.sock",
    Kind.DOCKER: "/run/docker.sock",
}
"""Where cAdvisor within kubelet asks each runtime that it knows."""
_WITHOUT_FLAG: Version = (1, 37, 0)
"""Kubelets since this have no ``--containerd``."""


def statistics(move: Move) -> Iterator[Finding]:
    """Who tells kubelet of network and file systems: the CRI, or cAdvisor, which asks one containerd by itself."""
    if move.kubelet is None:
        yield skipped(KUBELET, STATISTICS, _NO_KUBELET)
    elif gates.is_on(move.tree, move.kubelet, _BY_CRI):
        yield right(KUBELET, STATISTICS, f"{_BY_CRI} is on: kubelet asks by the CRI, for the pods of both runtimes")
    else:
        yield _by_cadvisor(move, move.kubelet)


def _by_cadvisor(move: Move, kubelet: Kubelet) -> Finding:
    kind = move.new.kind
    asked = _CADVISOR.get(kind, "")
    if kind is Kind.CONTAINERD:
        asked = kubelet.values(("containerd",)).get("containerd") or asked
    known = bool(asked) and (kind is not Kind.DOCKER or kubelet.version < REMOTE_BY_DEFAULT)
    lacking = "has no figures of network and file systems of the new runtime's pods"
    how = f"feature gate {_BY_CRI}"
    if not known:
        return skipped(KUBELET, STATISTICS, f"its cAdvisor does not know the new runtime, and {lacking} without {how}")
    if kind is Kind.DOCKER or _same(move, asked, move.new.path):
        text = (
            f"its cAdvisor asks {asked}, the new runtime's; of the old one's pods it knows processor and memory alone"
        )
        return right(KUBELET, STATISTICS, text)
    if kind is Kind.CONTAINERD and kubelet.version < _WITHOUT_FLAG:
        how = f"--containerd={move.new.path} among kubelet's flags, or the {how}"
    return skipped(KUBELET, STATISTICS, f"its cAdvisor asks {asked} and {lacking}: it takes {how}")


def _same(move: Move, one: str, other: str) -> bool:
    return short(move.tree.real(one)) == short(move.tree.real(other))


def events(move: Move) -> Iterator[Finding]:
    """Whether kubelet depends on a stream of events, which ends when a runtime goes or comes."""
    if move.kubelet is None:
        yield skipped(KUBELET, EVENTS, _NO_KUBELET)
    elif gates.is_on(move.tree, move.kubelet, _STREAM):
        text = "its stream ends at the switch and kubelet lists meanwhile, for good if one runtime has no events"
        yield skipped(KUBELET, EVENTS, f"{_STREAM} is on: {text}; nothing is lost")
    else:
        yield right(KUBELET, EVENTS, f"kubelet lists pods and containers ({_STREAM} is off)")


def logs(move: Move) -> Iterator[Finding]:
    """Where the logs of the running containers are, and for how long they have to stay there."""
    told = "" if move.kubelet is None else endpoints.pod_logs(move.tree, move.kubelet).value
    folder = os.path.normpath(told or _POD_LOGS)
    linked: Dict[str, int] = {}
    elsewhere: List[str] = []
    for container in move.old.running:
        if not container.log.startswith(f"{folder}/"):
            elsewhere.append(container.log or f"none of {container.id[:13]}")
            continue
        target = move.tree.real(container.log)
        if not target.startswith(f"{move.tree.real(folder)}/"):
            place = os.path.dirname(os.path.dirname(target))
            linked[place] = linked.get(place, 0) + 1
    if elsewhere:
        text = f"not below {folder}: {some(elsewhere)}: kubectl logs shows it while the old one answers"
        yield skipped(OLD, LOGS, text)
    if linked:
        places = ", ".join(f"{place} ({count})" for place, count in linked.items())
        yield skipped(OLD, LOGS, f"they are links into {places}: keep that until these containers are gone")
    if not elsewhere and not linked:
        yield right(OLD, LOGS, f"those of {len(move.old.running)} running containers are below {folder}")
