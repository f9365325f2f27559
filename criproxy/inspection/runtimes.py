"""Whether the runtimes are as criproxy and kubelet need them."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

from criproxy.config import REQUIRED, Config, RuntimeAddress
from criproxy.config.configuration import doubts_of_id
from criproxy.cri.identity import Runtimes, UnknownRuntime
from criproxy.inspection.findings import Finding, right, skipped, wrong
from criproxy.inspection.interview import Told
from criproxy.node import plan
from criproxy.text import PRIMARY, few

_READY = "RuntimeReady"
"""Without it nothing can run; without a network pods of the node's own still can."""
_CONDITIONS = (_READY, "NetworkReady")
"""Those that kubelet wants of a runtime; the others are the runtime's own."""
_PORT = re.compile(r"[^/@]+:[0-9]+(?=/)")
"""A registry with a port, at the beginning of an image's name."""
_SHOWN = 3
"""So many of one kind are named, the others are counted."""


@dataclass(frozen=True)
class Driver:
    """The cgroup driver that the runtimes are to have."""

    name: str
    """Empty if it is not known."""
    source: str
    """Who says so, or why it is not known."""
    from_primary: bool = False
    """Whether kubelet takes that of the primary runtime, where this tells it."""


def findings(config: Config, told: Mapping[str, Told], driver: Driver) -> Iterator[Finding]:
    """All that there is to say of the runtimes; ``told`` by their ids."""
    for runtime in config.runtimes:
        yield from _of(runtime, told[runtime.id], config)
    yield from _ids(config.runtimes, told)
    yield from _drivers(config.runtimes, told, driver)


def _title(runtime: RuntimeAddress) -> str:
    return runtime.id or PRIMARY


def _of(runtime: RuntimeAddress, told: Told, config: Config) -> Iterator[Finding]:
    title, primary = _title(runtime), not runtime.id
    if not primary:
        yield from _id(runtime.id)
    yield _socket(title, runtime.path)
    versions = ", ".join(version.spoken for version in told.versions)
    if told.failure:
        text = f"{runtime.path}: {told.failure}"
        yield wrong(title, "answer", text, how_to_start(runtime.path, told.failure), broken=primary)
        return
    yield right(title, "answer", f"{told.name or 'a runtime without a name'} at {runtime.path}")
    if told.lacking:
        remedy = "upgrade or configure that runtime: criproxy calls it in each version that it speaks"
        yield wrong(title, "versions", f"{versions}, but {some(told.lacking)}", remedy, broken=primary)
    else:
        yield right(title, "versions", f"{versions}: Status, pods, containers and images are answered")
    yield of_status(title, told, primary)
    yield _streaming(title, told)
    if not primary:
        yield _registries(title, told, config)


def how_to_start(path: str, failure: str) -> str:
    """What to do about a runtime that does not answer."""
    if failure == os.strerror(errno.EACCES):
        return "ask as root"
    unit = next((known.unit for known in plan.RUNTIMES.values() if path in plan.spellings(known.path)), "")
    if unit:
        return f"systemctl start {unit}; journalctl -u {unit} tells why it does not run"
    return "start that runtime, or correct its socket (criproxy config tells where it is set)"


def _id(id: str) -> Iterator[Finding]:
    found = list(doubts_of_id(id))
    for doubt in found:
        text, _, remedy = doubt.rpartition("; ")
        yield wrong(id, "id", text, remedy)
    if not found:
        yield right(id, "id", "it has a dot, and no '-'")


def _socket(title: str, path: str) -> Finding:
    """Whoever can connect to a runtime's socket can do what kubelet can do."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return skipped(title, "socket", f"{path}: {error.strerror}")
    if not stat.S_ISSOCK(mode):
        return wrong(
            title, "socket", f"{path} is no socket", "correct its path (criproxy config tells where it is set)"
        )
    if mode & stat.S_IWOTH and _is_open(os.path.dirname(os.path.abspath(path))):
        text = f"every user of this node may connect to {path} (mode {stat.S_IMODE(mode):04o})"
        return wrong(title, "socket", text, f"chmod o-w {path}, and let the runtime make it so")
    return right(title, "socket", f"mode {stat.S_IMODE(mode):04o}")


def _is_open(folder: str) -> bool:
    """Whether every user can reach what is in a folder."""
    while os.stat(folder).st_mode & stat.S_IXOTH:
        if folder == "/":
            return True
        folder = os.path.dirname(folder)
    return False


def of_status(title: str, told: Told, primary: bool) -> Finding:
    """Whether it says that it is ready; ``primary``: whether kubelet cannot work without it."""
    bad = {}
    for name in _CONDITIONS:
        holds, why = told.conditions.get(name, (False, "it is not reported"))
        if not holds:
            bad[name] = f"{name} is false: {why}" if why else f"{name} is false"
    if bad:
        remedy = "see the runtime's own log" if _READY in bad else "install the network's plugin (CNI) on this node"
        return wrong(title, "status", "; ".join(bad.values()), remedy, broken=primary and _READY in bad)
    return right(title, "status", f"{' and '.join(_CONDITIONS)} are true")


def _streaming(title: str, told: Told) -> Finding:
    if told.stream_failure:
        remedy = "configure the runtime's streaming server (or --stream-url, --stream-port if it names no host itself)"
        where = f"{told.stream}: " if told.stream else ""
        return wrong(title, "streaming", f"kubectl exec, attach: {where}{told.stream_failure}", remedy)
    if not told.stream:
        return skipped(title, "streaming", "no container runs there, so it names no address")
    return right(title, "streaming", f"{told.stream} accepts connections")


def _registries(title: str, told: Told, config: Config) -> Finding:
    """``ID/HOST:PORT/NAME`` is no name of an image: a port can only follow what the name begins with."""
    found = [match[0] for match in map(_PORT.match, told.images) if match]
    if not found:
        return right(title, "registries", "no image there is of a registry with a port")
    text = f"images of {some(sorted(set(found)))}: behind a prefix a registry has no port"
    how = "the annotation or a RuntimeClass, and their images without a prefix"
    if config.image_prefix == REQUIRED:
        return wrong(title, "registries", text, f"set image-prefix to optional, and give their pods {how}")
    return right(title, "registries", f"{text}; their pods need {how}")


def _ids(runtimes: Sequence[RuntimeAddress], told: Mapping[str, Told]) -> Iterator[Finding]:
    """Whether each id in kubelet's lists is there once, and is the runtime's that has it."""
    answering = [runtime for runtime in runtimes if not told[runtime.id].failure]
    owners: Dict[str, str] = {}
    doubled: Dict[Tuple[str, str], List[str]] = {}
    for runtime in answering:
        for id in (*told[runtime.id].pods, *told[runtime.id].containers):
            other = owners.setdefault(id, _title(runtime))
            if other != _title(runtime):
                doubled.setdefault((other, _title(runtime)), []).append(id)
    for (one, other), ids in doubled.items():
        text = f"{one} and {other} both have {some(ids)}"
        yield wrong(other, "lists", text, "two sockets of one runtime? give each runtime one", broken=True)
    if not doubled and len(answering) > 1:
        yield right("all runtimes", "lists", f"{len(owners)} pods and containers, none of them twice")
    strange = _strange(runtimes, told[""])
    if strange:
        text = f"ids of its own begin as those of another runtime do: {some(strange)}"
        yield wrong(
            PRIMARY, "lists", text, "no call reaches these: delete them by the runtime's own means", broken=True
        )


def _strange(runtimes: Sequence[RuntimeAddress], primary: Told) -> List[str]:
    """The primary runtime's ids that kubelet's calls would not find."""
    names = Runtimes(runtime.id for runtime in runtimes[1:])
    found = []
    for id in (*primary.pods, *primary.containers):
        try:
            if names.of_id(id.encode()) is not names.primary:
                found.append(id)
        except UnknownRuntime:
            found.append(id)
    return found


def _drivers(runtimes: Sequence[RuntimeAddress], told: Mapping[str, Told], driver: Driver) -> Iterator[Finding]:
    """Whether kubelet and the runtimes agree who makes the pods' cgroups."""
    name, whose, primary = driver.name, f"kubelet's ({driver.source})", told[""].cgroup_driver
    if driver.from_primary and primary:
        name, whose = primary, "kubelet's, which takes the primary runtime's"
    elif not name and primary:
        name, whose = primary, f"the primary runtime's; kubelet's is not known: {driver.source}"
    for runtime in runtimes:
        title, own = _title(runtime), told[runtime.id].cgroup_driver
        if told[runtime.id].failure:
            continue
        if not own:
            yield skipped(title, "cgroup driver", "it does not tell (RuntimeConfig, of runtimes for Kubernetes 1.28)")
        elif not name:
            yield skipped(title, "cgroup driver", f"{own}; kubelet's is not known: {driver.source}")
        elif own == name:
            yield right(title, "cgroup driver", f"{own}, as {whose}")
        else:
            remedy = "give all of them the same, and restart what has changed"
            yield wrong(title, "cgroup driver", f"{own}, and not {name}, as {whose}", remedy)


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return few(names, _SHOWN)
