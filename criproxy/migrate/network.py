"""Whether the two runtimes give their pods addresses that go together."""

from __future__ import annotations

import ipaddress
import json
import os
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from criproxy.inspection.findings import Finding, right, skipped, wrong
from criproxy.migrate.move import NEW, Move
from criproxy.migrate.side import Kind, Side, part
from criproxy.node.endpoints import REMOTE_BY_DEFAULT
from criproxy.node.kubelet import Kubelet
from criproxy.node.tree import Tree

NETWORK = "network"
FOLDER = "/etc/cni/net.d"
"""Where runtimes look for networks that are told nothing else."""
_LEASES = "/var/lib/cni/networks"
"""Where host-local keeps the addresses that it has given away, in a folder for each network."""
_FLANNEL = "flannel"
"""A plugin that writes the configuration of another one by what its daemon says: its addresses are host-local's."""
_SUFFIXES = (".conf", ".conflist", ".json")
_LARGEST = 2**20
"""characters of a file."""
_UNKNOWN = "its network is not known"


class Lease(NamedTuple):
    """Addresses that host-local gives away."""

    folder: str
    """Where it keeps which of them are in use."""
    subnet: str
    first: str
    """The first and the last one; empty if they are those of the subnet."""
    last: str

    def clashes(self, other: Lease) -> bool:
        """Whether both may give away the same address, since neither sees what the other has given away."""
        if self.folder == other.folder:
            return False
        try:
            (first, last), (begin, end) = self._ends(), other._ends()
        except ValueError:  # a word that stands for what somebody else knows, the same for both
            return self.subnet == other.subnet
        return first[0] == begin[0] and first <= end and begin <= last

    def _ends(self) -> Tuple[Tuple[int, int], Tuple[int, int]]:
        net = ipaddress.ip_network(self.subnet, strict=False)
        first = ipaddress.ip_address(self.first) if self.first else net.network_address
        last = ipaddress.ip_address(self.last) if self.last else net.broadcast_address
        return (net.version, int(first)), (net.version, int(last))


class Network(NamedTuple):
    """A CNI network as its configuration has it."""

    name: str
    where: str
    """Where it is configured; if there is no name, why it is not known."""
    plugins: Tuple[str, ...] = ()
    ipam: Tuple[str, ...] = ()
    """Who gives addresses away."""
    leases: Tuple[Lease, ...] = ()

    def __str__(self) -> str:
        addresses = [f"{lease.subnet} by {lease.folder}" for lease in self.leases] or list(self.ipam)
        return f"{self.name} ({', '.join((*self.plugins, *addresses))})"


def network(move: Move) -> Iterator[Finding]:
    """Whether the pods of both are in one network, or at least get addresses of their own."""
    old, new = of(move.old, move.tree, move.kubelet), of(move.new, move.tree, None)
    for whose, found in (("old", old), ("new", new)):
        if not found.name:
            how = "compare name, subnet and dataDir of the network in the folders that both are configured with"
            yield skipped(NEW, NETWORK, f"{_UNKNOWN} of the {whose} one ({found.where}): {how}")
            return
    clash = next(((a, b) for a in old.leases for b in new.leases if a.clashes(b)), None)
    if clash is not None:
        text = (
            f"both give away addresses of {clash[1].subnet}, and neither sees the other's: the old one by"
            f" {clash[0].folder} ({old.where}), the new one by {clash[1].folder} ({new.where})"
        )
        remedy = f"configure the new one with the network of the old one (name, and dataDir of ipam): {old.where}"
        yield wrong(NEW, NETWORK, text, remedy, broken=True)
    elif old._replace(where="") == new._replace(where=""):
        yield right(NEW, NETWORK, f"{new}, as the old one")
    else:
        text = f"{new} of {new.where}, the old one {old} of {old.where}"
        yield skipped(NEW, NETWORK, f"{text}: it works, but pods of the two may not reach each other; try it before")


def of(side: Side, tree: Tree, kubelet: Optional[Kubelet]) -> Network:
    """The network of a runtime's pods. ``kubelet``: the one whose dockershim may be that runtime."""
    if side.kind is Kind.CONTAINERD and side.networks:
        return _loaded(side)
    folder = str(part(side.config, "cni").get("confDir") or FOLDER)
    if side.kind is Kind.DOCKER and kubelet is not None and kubelet.version < REMOTE_BY_DEFAULT:
        told = kubelet.values(("network-plugin", "cni-conf-dir"))
        if told.get("network-plugin") != "cni":
            plugin = told.get("network-plugin", "")
            return Network(plugin or "Docker's own network", "kubelet's --network-plugin", (plugin or "bridge",))
        folder = told.get("cni-conf-dir") or FOLDER
    # As libcni does: the first by name counts.
    files = [name for name in tree.names(folder) if name.endswith(_SUFFIXES)]
    if not files:
        return Network("", f"there is none in {folder}")
    return parse((tree.text(f"{folder}/{files[0]}") or ""), f"{folder}/{files[0]}")


def _loaded(side: Side) -> Network:
    """What containerd has loaded, the loopback left out."""
    where = str(side.networks.get("PluginConfDir") or FOLDER)
    networks = side.networks.get("Networks")
    for each in networks if isinstance(networks, list) else ():
        if isinstance(each, dict) and each.get("IFName") != "lo":
            return parse(str(part(each, "Config").get("Source") or ""), where)
    return Network("", f"it has loaded none of {where}")


def parse(text: str, where: str) -> Network:
    """A network's configuration: a plugin, or a list of them."""
    try:
        whole = json.loads(text) if len(text) <= _LARGEST else None
    except (ValueError, RecursionError):
        whole = None
    if not isinstance(whole, dict) or not isinstance(whole.get("name"), str) or not whole["name"]:
        return Network("", f"{where} is no network's configuration")
    name = whole["name"]
    listed = whole.get("plugins", [whole])
    plugins = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    givers = [part(each, *path) for each in plugins for path in (("ipam",), ("delegate", "ipam"))]
    leases = [lease for ipam in givers if ipam.get("type") == "host-local" for lease in _leases(ipam, name)]
    for each in plugins:
        if each.get("type") == _FLANNEL:
            folder = part(each, "delegate", "ipam").get("dataDir") or _LEASES
            leases.append(Lease(_folder(folder, name), _FLANNEL, "", ""))
    return Network(name, where, _types(plugins), _types(givers), tuple(leases))


def _types(objects: Sequence[Mapping[str, Any]]) -> Tuple[str, ...]:
    return tuple(str(each["type"]) for each in objects if each.get("type"))


def _leases(ipam: Mapping[str, Any], name: str) -> List[Lease]:
    folder = _folder(ipam.get("dataDir") or _LEASES, name)
    ranges = ipam.get("ranges")
    sets = [each for each in ranges if isinstance(each, list)] if isinstance(ranges, list) else []
    all_of_them = [ipam, *(each for one in sets for each in one if isinstance(each, dict))]
    return [
        Lease(folder, str(each["subnet"]), str(each.get("rangeStart") or ""), str(each.get("rangeEnd") or ""))
        for each in all_of_them
        if each.get("subnet")
    ]


def _folder(folder: object, name: str) -> str:
    return os.path.normpath(f"{folder}/{name}")
