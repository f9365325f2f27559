"""Whether pods of two runtimes are in one network, or at least get no address twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest
from moving import containerd, kubelet_of, move
from node_lab import Lab

from criproxy.inspection.findings import Finding, State
from criproxy.inspection.interview import Told
from criproxy.migrate.network import Lease, Network, network, of, parse
from criproxy.migrate.side import Kind, Side

RIGHT, BROKEN, UNKNOWN = State.RIGHT, State.BROKEN, State.NOT_APPLICABLE
DOCKER = Side("/run/dockershim.sock", Told(name="docker 20.10"), Kind.DOCKER)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, "kubeadm", "1.33.1")


def host_local(subnet: str = "10.1.0.0/24", folder: str = "", name: str = "net", **more: Any) -> Dict[str, Any]:
    ipam: Dict[str, Any] = {"type": "host-local", "ranges": [[{"subnet": subnet, **more}]]}
    if folder:
        ipam["dataDir"] = folder
    return {"name": name, "plugins": [{"type": "bridge", "ipam": ipam}, {"type": "portmap"}]}


def plugin(type: str, ipam: str, name: str = "net") -> Dict[str, Any]:
    return {"name": name, "type": type, "ipam": {"type": ipam}}


def loading(source: Dict[str, Any], folder: str = "/etc/cni/net.d") -> Side:
    """A containerd that has loaded this network, and the loopback as always."""
    lo = {"IFName": "lo", "Config": {"Name": "cni-loopback", "Source": json.dumps(plugin("loopback", "", "lo"))}}
    net = {"IFName": "eth0", "Config": {"Name": source["name"], "Source": json.dumps(source)}}
    return containerd(networks={"PluginConfDir": folder, "Networks": [lo, net]})


def found(lab: Lab, old: Side, new: Side) -> Finding:
    (finding,) = network(move(lab, old, new))
    return finding


def test_the_same_network_is_right(lab: Lab) -> None:
    finding = found(lab, loading(host_local()), loading(host_local(), "/etc/cni/other"))
    assert finding.state is RIGHT
    assert finding.text == "net (bridge, portmap, 10.1.0.0/24 by /var/lib/cni/networks/net), as the old one"


@pytest.mark.parametrize(
    "other",
    [
        host_local(folder="/run/b"),
        host_local(name="other"),
        host_local("10.1.0.128/25", "/run/b"),
        host_local("10.0.0.0/8", "/run/b"),
    ],
)
def test_two_that_give_the_same_addresses_away_and_do_not_see_each_other_refuse_the_move(
    other: Dict[str, Any], lab: Lab
) -> None:
    finding = found(lab, loading(host_local()), loading(other, "/etc/cni/b"))
    assert finding.state is BROKEN
    assert finding.remedy.endswith("(name, and dataDir of ipam): /etc/cni/net.d")


@pytest.mark.parametrize(
    "other",
    [
        host_local("10.2.0.0/24", "/run/b"),
        host_local("fd00::/64", "/run/b"),
        host_local(folder="/run/b", rangeStart="10.1.0.128"),
        plugin("calico", "calico-ipam"),
    ],
)
def test_two_that_get_addresses_of_their_own_work_and_may_not_reach_each_other(other: Dict[str, Any], lab: Lab) -> None:
    finding = found(lab, loading(host_local(rangeEnd="10.1.0.127")), loading(other))
    assert (finding.state, "may not reach each other" in finding.text) == (UNKNOWN, True)


def test_a_plugin_that_keeps_the_addresses_itself_is_the_same_for_both(lab: Lab) -> None:
    assert found(lab, loading(plugin("cilium-cni", "")), loading(plugin("cilium-cni", ""))).state is RIGHT
    assert found(lab, loading(plugin("calico", "calico-ipam")), loading(plugin("calico", "calico-ipam"))).state is RIGHT


def test_flannel_s_addresses_are_host_local_s_by_the_network_s_name(lab: Lab) -> None:
    one, other = ({"name": name, "plugins": [{"type": "flannel", "delegate": {}}]} for name in ("cbr0", "cbr1"))
    assert found(lab, loading(one), loading(one)).state is RIGHT
    assert found(lab, loading(one), loading(other)).state is BROKEN


def test_a_word_for_the_pods_addresses_is_the_same_for_both(lab: Lab) -> None:
    one, other = host_local("usePodCidr"), host_local("usePodCidr", "/run/b")
    assert found(lab, loading(one), loading(other)).state is BROKEN


class TestAFile:
    def test_is_looked_at_where_the_runtime_does_not_tell(self, lab: Lab) -> None:
        lab.put("/etc/cni/net.d/20-b.conflist", json.dumps(host_local("10.9.0.0/24")))
        lab.put("/etc/cni/net.d/10-a.conf", json.dumps(plugin("calico", "calico-ipam")))
        lab.put("/etc/cni/net.d/00-no", "x")
        crio = Side("/run/crio/crio.sock", Told(), Kind.CRIO)
        assert of(crio, lab.tree, None) == Network("net", "/etc/cni/net.d/10-a.conf", ("calico",), ("calico-ipam",))

    def test_of_an_older_containerd_is_in_the_folder_that_this_tells(self, lab: Lab) -> None:
        lab.put("/etc/cni/b/1.conf", json.dumps(plugin("calico", "")))
        old = containerd(config={"cni": {"confDir": "/etc/cni/b"}})
        assert of(old, lab.tree, None).where == "/etc/cni/b/1.conf"

    @pytest.mark.parametrize("flag", ["", "--cni-conf-dir=/etc/cni/k"])
    def test_of_a_dockershim_in_kubelet_is_in_the_folder_that_kubelet_is_told(self, flag: str, lab: Lab) -> None:
        lab.version = "1.20.0"
        lab.put("/etc/default/kubelet", f'KUBELET_EXTRA_ARGS="--network-plugin=cni {flag}"\n')
        for folder in ("net.d", "k"):
            lab.put(f"/etc/cni/{folder}/1.conf", json.dumps(plugin("calico", "")))
        wanted = "/etc/cni/k" if flag else "/etc/cni/net.d"
        assert of(DOCKER, lab.tree, kubelet_of(lab)).where == f"{wanted}/1.conf"

    @pytest.mark.parametrize(("flag", "name"), [("", "Docker's own network"), ("--network-plugin=kubenet", "kubenet")])
    def test_has_nothing_of_a_dockershim_without_cni(self, flag: str, name: str, lab: Lab) -> None:
        lab.version = "1.20.0"
        lab.put("/etc/default/kubelet", f"KUBELET_EXTRA_ARGS={flag}\n")
        assert of(DOCKER, lab.tree, kubelet_of(lab)).name == name

    def test_that_is_not_there_is_not_known(self, lab: Lab) -> None:
        finding = found(lab, loading(host_local()), DOCKER)
        assert finding.state is UNKNOWN
        assert finding.text.startswith("its network is not known of the new one (there is none in /etc/cni/net.d)")

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"name": 7}', "[" * 100000, " " * (2**20 + 1)])
    def test_that_is_no_network_is_not_known(self, text: str) -> None:
        assert parse(text, "/x") == Network("", "/x is no network's configuration")


def test_a_containerd_that_has_loaded_nothing_is_not_known(lab: Lab) -> None:
    lo = {"IFName": "lo", "Config": {"Source": "{}"}}
    old = containerd(networks={"PluginConfDir": "/etc/cni/a", "Networks": [lo]})
    finding = found(lab, old, loading(host_local()))
    assert (finding.state, "of the old one (it has loaded none of /etc/cni/a)" in finding.text) == (UNKNOWN, True)


def test_what_is_no_list_where_one_has_to_be_is_left_out() -> None:
    assert parse('{"name": "n", "plugins": 7}', "/x") == Network("n", "/x")
    ipam = {"type": "host-local", "ranges": [7, [{"subnet": "10.0.0.0/8"}, 7]], "subnet": "fd00::/64"}
    leases = parse(json.dumps({"name": "n", "type": "x", "ipam": ipam}), "/x").leases
    assert leases == tuple(Lease("/var/lib/cni/networks/n", each, "", "") for each in ("fd00::/64", "10.0.0.0/8"))
