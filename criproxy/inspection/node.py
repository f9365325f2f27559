"""Whether the node around criproxy is as it should be: kubelet, units, the socket, volumes."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Iterator, List, Mapping, Optional, Tuple

from criproxy.address import path_of
from criproxy.config import Config, gid_of
from criproxy.cri.identity import RETIRING
from criproxy.inspection.findings import Finding, right, skipped, wrong
from criproxy.inspection.runtimes import Driver
from criproxy.node import endpoints, plan
from criproxy.node import kubelet as kubelets
from criproxy.node.kubelet import UNIT, Ask, Kubelet, NodeError, Version
from criproxy.node.manager import Manager
from criproxy.node.plan import SERVICE, SOCKET, SOCKET_UNIT
from criproxy.node.runtimes import RuntimeClient
from criproxy.node.status import Look, Report
from criproxy.node.tree import Tree
from criproxy.node.volumes import ATTACH_FLAG, csi_driver

_KUBELET = "kubelet"
_NOT_ENABLED = ("disabled", "masked", "masked-runtime", "bad")
_DRIVER_FROM_RUNTIME: Version = (1, 31, 0)
"""Kubelets since this take the cgroup driver of the runtime, if that tells it (KubeletCgroupDriverFromCRI)."""
_USUAL_DRIVER = "cgroupfs"
"""What kubelet uses that is told nothing else."""
_NEXT = ". Next: "
_UNKNOWN = Driver("", "there is no kubelet to ask")


@dataclass
class Seen:
    """What there is to say of the node."""

    findings: List[Finding] = field(default_factory=list)
    driver: Driver = _UNKNOWN
    unused: bool = False
    """Kubelet is not on criproxy: what its units do is no matter."""


class NodeLook:
    """Looks at a node that criproxy serves as its service, and changes nothing."""

    def __init__(self, tree: Tree, manager: Manager, ask: Ask, runtimes: RuntimeClient) -> None:
        self._tree = tree
        self._manager = manager
        self._ask = ask
        self._runtimes = runtimes

    def seen(self) -> Seen:
        """Everything that does not depend on the configuration. What cannot be read is said."""
        seen = Seen()
        for part in (self._see_kubelet, self._see_units):
            try:
                for finding in part(seen):
                    seen.findings.append(finding)
            except NodeError as error:
                seen.findings.append(wrong(_KUBELET, "node", *_parted(str(error), "criproxy node status")))
            except OSError as error:
                seen.findings.append(wrong(_KUBELET, "node", f"{error.filename}: {error.strerror}", "it takes root"))
        return seen

    def _see_kubelet(self, seen: Seen) -> Iterator[Finding]:
        kubelet = kubelets.find(self._tree, self._ask, self._manager, plan.noted_version(self._tree))
        report = Look(self._tree, self._manager, self._ask, self._runtimes).report()
        yield from self._turned(seen, report, kubelet)
        if report.move:
            yield right(_KUBELET, "move", report.move)
        if kubelet is None:
            return
        seen.driver = cgroup_driver(self._tree, kubelet)
        yield self._volumes(kubelet)

    def _turned(self, seen: Seen, report: Report, kubelet: Optional[Kubelet]) -> Iterator[Finding]:
        for problem in report.problems:
            text, remedy = _parted(problem, "criproxy node status")
            yield wrong(_KUBELET, "node", text, remedy, broken=problem in report.grave)
        if report.problems:
            return
        head = report.lines[0]
        if report.turned_over:
            yield right(_KUBELET, "node", head)
        elif kubelet is None:
            yield skipped(_KUBELET, "node", head)
        elif endpoints.short(path_of(endpoints.endpoint(self._tree, kubelet).value)) == SOCKET:
            yield right(_KUBELET, "node", "kubelet is on criproxy by a setting of its own")
        else:
            seen.unused = True
            yield wrong(_KUBELET, "node", head, "criproxy node plan, then criproxy node apply")

    def _volumes(self, kubelet: Kubelet) -> Finding:
        """A kubelet that attaches volumes by itself attaches none of a CSI driver."""
        running = kubelets.running_flags(self._tree, self._manager)
        flags = kubelet.flags if running is None else running
        driver = csi_driver(self._tree, kubelet)
        if ATTACH_FLAG in flags and driver:
            text = (
                f"kubelet has {ATTACH_FLAG}, and there is a CSI driver ({driver}): none of its volumes can be attached"
            )
            return wrong(_KUBELET, "volumes", text, "criproxy node apply --attach-detach keep")
        if ATTACH_FLAG in flags:
            return right(_KUBELET, "volumes", f"{ATTACH_FLAG}, and no CSI driver is on this node")
        what = f"the CSI driver of this node ({driver})" if driver else "any CSI driver"
        return right(_KUBELET, "volumes", f"volumes of {what} can be attached")

    def _see_units(self, seen: Seen) -> Iterator[Finding]:
        if not self._manager.running:
            yield skipped("units", "enabled", "no systemd runs here")
            return
        if seen.unused:
            yield skipped("units", "enabled, order", "this node is not turned over")
            return
        late = []
        for unit in (SOCKET_UNIT, SERVICE, UNIT):
            state = self._manager.show(unit, "UnitFileState")["UnitFileState"]
            if state in _NOT_ENABLED:
                late.append(unit)
                unmask = f"systemctl unmask {unit}, then " if state.startswith("masked") else ""
                text = f"{state}: it does not start with the node"
                yield wrong(unit, "enabled", text, f"{unmask}systemctl enable {unit}")
        if not late:
            yield right("units", "enabled", f"{SOCKET_UNIT}, {SERVICE} and {UNIT} start with the node")
        yield self._order()

    def _order(self) -> Finding:
        if self._manager.state(UNIT).load not in ("loaded", ""):
            return skipped("units", "order", "kubelet is not installed")
        if SERVICE in self._manager.show(UNIT, "After")["After"].split():
            return right("units", "order", "kubelet starts after criproxy")
        return wrong("units", "order", "kubelet may start before criproxy", "criproxy node apply")


def cgroup_driver(tree: Tree, kubelet: Kubelet) -> Driver:
    """The cgroup driver that kubelet is told to use, or uses by itself."""
    from_primary = kubelet.version >= _DRIVER_FROM_RUNTIME
    try:
        told = endpoints.cgroup_driver(tree, kubelet)
    except NodeError as error:
        return Driver("", str(error), from_primary)
    return Driver(told.value or _USUAL_DRIVER, told.source, from_primary)


def listening(config: Config, runtimes: RuntimeClient) -> Iterator[Finding]:
    """Whether criproxy serves its socket, for whom it should, and with the configuration that has been read."""
    path = config.listen
    try:
        found = os.stat(path)
    except OSError as error:
        text = f"{path}: {error.strerror}"
        yield wrong("criproxy", "socket", text, f"systemctl start {SOCKET_UNIT} {SERVICE}", broken=True)
        return
    yield _permissions(config, found)
    try:
        name, behind = runtimes.version(path), runtimes.behind(path)
    except NodeError as error:
        yield wrong("criproxy", "answer", str(error), f"journalctl -u {SERVICE}", broken=True)
        return
    yield right("criproxy", "answer", f"{name} at {path}")
    yield _in_force(config, behind)


def _permissions(config: Config, found: os.stat_result) -> Finding:
    path, mode = config.listen, stat.S_IMODE(found.st_mode)
    if not stat.S_ISSOCK(found.st_mode):
        remedy = f"remove it, then systemctl restart {SOCKET_UNIT} {SERVICE}"
        return wrong("criproxy", "socket", f"{path} is no socket", remedy, broken=True)
    wanted = max(gid_of(config.socket_group), 0)
    again = f"systemctl restart {SOCKET_UNIT} {SERVICE}"
    if mode & stat.S_IRWXO:
        text = f"every user of this node may connect to {path} (mode {mode:04o})"
        return wrong("criproxy", "socket", text, f"set SocketMode=0660 in {SOCKET_UNIT}, then {again}")
    if found.st_uid:
        return wrong("criproxy", "socket", f"{path} belongs to the user {found.st_uid}, not to root", again)
    if found.st_gid != wanted:
        text = f"{path} belongs to the group {found.st_gid}, and the configuration says {config.socket_group or 'root'}"
        return wrong("criproxy", "socket", text, f"criproxy node apply, or {again}")
    return right("criproxy", "socket", f"mode {mode:04o}, root's" + (f" and {config.socket_group}'s" if wanted else ""))


def _in_force(config: Config, behind: Mapping[str, str]) -> Finding:
    """Whether the daemon that runs has the runtimes of the configuration as it is now."""
    if not behind:
        return skipped("criproxy", "in force", "who answers there does not say which runtimes are behind it")
    retiring = {RETIRING: config.retiring} if config.retiring else {}
    if dict(behind) == {**{runtime.id: runtime.path for runtime in config.runtimes}, **retiring}:
        return right("criproxy", "in force", "the runtimes of the configuration")
    there = ", ".join(f"{id}:{path}" if id else path for id, path in behind.items())
    return wrong("criproxy", "in force", f"it runs with other runtimes: {there}", "systemctl reload criproxy")


def _parted(problem: str, remedy: str) -> Tuple[str, str]:
    """A problem and what to do about it, which ends it or is this."""
    text, _, told = problem.partition(_NEXT)
    return text, told or remedy
