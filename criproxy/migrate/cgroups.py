"""Whether the cgroups of running pods stay where kubelet looks for them. If not, it kills these pods at the switch."""

from __future__ import annotations

import re
from typing import Dict, Iterator, NamedTuple, Optional, Sequence

from criproxy.inspection.findings import Finding, right, skipped, wrong
from criproxy.inspection.node import cgroup_driver
from criproxy.inspection.runtimes import Driver
from criproxy.migrate.move import KUBELET, NEW, OLD, Move
from criproxy.migrate.side import Kind, Side, part
from criproxy.node import endpoints, gates
from criproxy.node.tree import Tree

DRIVER, ROOT = "cgroup driver", "cgroup root"
_SYSTEMD, _CGROUPFS = "systemd", "cgroupfs"
_FROM_RUNTIME = "KubeletCgroupDriverFromCRI"
_NO_KUBELET = Driver("", "there is no kubelet to ask")
_PODS = re.compile(r"(?:(?P<root>.+)-)?kubepods(?:\.slice)?")
"""The cgroup of all pods: the name has that of its root before it only if systemd makes it."""
_KILLS = "kubelet would kill all running pods at the switch"
_LATER = "when nothing is left on the old runtime it may be changed again"
_PLUGINS = {1: '[plugins."io.containerd.grpc.v1.cri"', 2: "[plugins.'io.containerd.cri.v1.runtime'"}
"""The beginning of the table of containerd's CRI plugin, by containerd's version."""


class Cgroup(NamedTuple):
    """Where a running container is."""

    container: str
    """The first characters of its id."""
    driver: str
    root: Optional[str]
    """The cgroup that kubelet's cgroup of all pods is in, as kubelet writes it; None if it is in none such."""


def driver(move: Move) -> Iterator[Finding]:
    """The cgroup driver of the pods that run, of the new runtime, and of kubelet behind it."""
    seen = _seen(move.old, move.tree)
    known: Dict[str, str] = {}
    if seen is not None:
        known[f"that of the running container {seen.container}"] = seen.driver
    told = driver_of(move.old)
    if told:
        known["the old runtime's"] = told
    own = _NO_KUBELET if move.kubelet is None else cgroup_driver(move.tree, move.kubelet)
    follows = bool(move.new.told.cgroup_driver) and _follows(move, own)
    if own.name and not (follows and known):
        known[f"kubelet's ({own.source})"] = own.name
    if not known:
        how = f"see that the new one has the same: {_setting(move.new, _SYSTEMD)}, or {_CGROUPFS}"
        yield skipped(OLD, DRIVER, f"it does not tell, no container shows it, and kubelet's: {own.source}; {how}")
        return
    (whose, wanted), *others = known.items()
    new = driver_of(move.new)
    if not new:
        text = f"it does not tell; it must be {wanted}, {whose}, or {_KILLS}: {_setting(move.new, wanted)}"
        yield skipped(NEW, DRIVER, text)
    elif new != wanted:
        text = f"{new}, and not {wanted}, {whose}: {_KILLS}"
        yield wrong(NEW, DRIVER, text, f"{_setting(move.new, wanted)}; restart it; {_LATER}", broken=True)
    elif own.name and not follows and own.name != wanted:
        text = f"{own.name} ({own.source}), and not {wanted}, {whose}: {_KILLS}"
        yield wrong(KUBELET, DRIVER, text, f"set cgroupDriver to {wanted} in kubelet's configuration", broken=True)
    else:
        same = [name for name, value in others if value == wanted]
        yield right(NEW, DRIVER, f"{new}, as {' and '.join([whose, *same])}")


def root(move: Move) -> Iterator[Finding]:
    """The cgroup that kubelet has its pods in is kubelet's own matter, and must be the same when it is restarted."""
    if move.kubelet is None:
        yield skipped(KUBELET, ROOT, _NO_KUBELET.source)
        return
    told = endpoints.cgroup_root(move.tree, move.kubelet)
    wanted = _normal(told.value)
    seen = _seen(move.old, move.tree)
    if seen is None or seen.root is None:
        text = f"{wanted} ({told.source}); no running container shows whether its pods are there"
        yield skipped(KUBELET, ROOT, f"{text}: see /proc/PID/cgroup of one, where kubepods has to follow it")
    elif seen.root != wanted:
        text = f"{wanted} ({told.source}), and the running container {seen.container} is below {seen.root}: {_KILLS}"
        yield wrong(KUBELET, ROOT, text, f"set cgroupRoot to {seen.root} in kubelet's configuration", broken=True)
    else:
        yield right(KUBELET, ROOT, f"{wanted} ({told.source}), as that of the running container {seen.container}")


def _follows(move: Move, own: Driver) -> bool:
    """Whether kubelet takes the driver of its runtime, if that tells it by RuntimeConfig."""
    if move.kubelet is None:
        return False
    return gates.is_on(move.tree, move.kubelet, _FROM_RUNTIME, own.from_primary)


def driver_of(side: Side) -> str:
    """The cgroup driver that a runtime tells, by RuntimeConfig or by what it has besides; empty if it does not."""
    if side.told.cgroup_driver:
        return side.told.cgroup_driver
    if side.kind is Kind.DOCKER:
        docker = side.docker.get("CgroupDriver")
        return docker if docker in (_SYSTEMD, _CGROUPFS) else ""
    handlers = part(side.config, "containerd", "runtimes")
    if side.kind is not Kind.CONTAINERD or side.handler not in handlers:
        return ""
    options = part(handlers, side.handler, "options")
    return _SYSTEMD if options.get("SystemdCgroup") or side.config.get("systemdCgroup") else _CGROUPFS


def _setting(side: Side, wanted: str) -> str:
    """What sets a runtime's cgroup driver."""
    if side.kind is Kind.CONTAINERD:
        table = f"{_PLUGINS[2 if side.major >= 2 else 1]}.containerd.runtimes.{side.handler}.options]"
        value = "true" if wanted == _SYSTEMD else "false"
        return f"SystemdCgroup = {value} below {table} in its config.toml (/etc/containerd)"
    if side.kind is Kind.CRIO:
        more = "" if wanted == _SYSTEMD else ' and conmon_cgroup = "pod"'
        return f'cgroup_manager = "{wanted}"{more} below [crio.runtime] in /etc/crio/crio.conf'
    if side.kind is Kind.DOCKER:
        return f'"exec-opts": ["native.cgroupdriver={wanted}"] in /etc/docker/daemon.json'
    return f"the cgroup driver {wanted} in its own configuration"


def _seen(side: Side, tree: Tree) -> Optional[Cgroup]:
    """The cgroup of the first running container that shows one of kubelet's; else of the first that shows any."""
    shown = [found for found in (_cgroup(tree, each.id, each.pid) for each in side.running if each.pid > 0) if found]
    return next((found for found in shown if found.root is not None), shown[0] if shown else None)


def _cgroup(tree: Tree, id: str, pid: int) -> Optional[Cgroup]:
    """By /proc/PID/cgroup (cgroups(7)); None if another process has the number there, or none."""
    for line in (tree.text(f"/proc/{pid}/cgroup") or "").splitlines():
        path = line.split(":", 2)[-1]
        names = path.strip("/").split("/")
        own = [name for name in names if id in name]
        if own:
            return Cgroup(id[:13], _SYSTEMD if own[0].endswith(".scope") else _CGROUPFS, _root(names))
    return None


def _root(names: Sequence[str]) -> Optional[str]:
    for place, name in enumerate(names):
        found = _PODS.fullmatch(name)
        if found and ".." not in names[:place]:
            # systemd's slices have the whole path in their names: /a/b is a.slice/a-b.slice, and '-' is '_' there.
            return _normal((found["root"] or "").replace("-", "/") if found["root"] else "/".join(names[:place]))
    return None


def _normal(path: str) -> str:
    return "/" + path.strip("/").replace("-", "_")
