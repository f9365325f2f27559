"""One package in the place of another: the two of ours, and the Go program's."""

from __future__ import annotations

from typing import Dict

import pytest

from . import debs
from .conftest import Boot
from .layouts import CONTAINERD, DOCKERSHIM, FULL, KUBEADM_1_10, NODEPS, VIRTLET
from .node import DROP_IN, SOCKET, Node

_DEFAULTS = "/etc/default/criproxy"


@pytest.mark.parametrize(("first", "second"), [(FULL, NODEPS), (NODEPS, FULL)])
def test_each_can_take_the_others_place_and_keeps_its_settings(node: Node, first: str, second: str) -> None:
    before = node.files()
    node.dpkg("--install", debs.built(first))
    settings = node.path(_DEFAULTS).read_text().replace("-v 2", "-v 4")
    node.write(_DEFAULTS, settings)
    kubelet = node.kubelet
    node.dpkg("--install", debs.built(second))
    assert node.status(second) == "installed"
    assert node.status(first) != "installed"
    assert node.path(_DEFAULTS).read_text() == settings
    assert [node.state(unit) for unit in ("criproxy.service", "criproxy.socket")] == ["active", "active"]
    assert node.show("criproxy.service", "UnitFileState") == "enabled"
    assert node.kubelet == kubelet
    node.run_pod()
    if node.status(first) != "not-installed":
        node.dpkg("--purge", first)
    assert node.path(_DEFAULTS).read_text() == settings
    assert node.state("criproxy.service") == "active"
    node.dpkg("--purge", second)
    assert node.files().changes(before) == {}
    assert node.kubelet_command == node.own_command


# The Go program's package, 0.14.0, as it leaves a node with Docker: its postinst copies kubelet's unit and drop-ins.
_GO_UNIT = """\
[Unit]
Description=CRI Proxy
{order}
[Service]
EnvironmentFile=-/etc/default/criproxy
ExecStart=/usr/bin/criproxy -v 3 -logtostderr -connect ${{CRI_PRIMARY}},${{CRI_OTHER}} -listen /run/criproxy.sock
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=kubelet.service
"""
_GO_PROGRAM = """\
#!/bin/sh
exec sleep infinity
"""
_GO_DROP_IN = """\
[Service]
Environment="KUBELET_EXTRA_ARGS=--container-runtime=remote --container-runtime-endpoint=unix:///run/criproxy.sock \
--image-service-endpoint=unix:///run/criproxy.sock --enable-controller-attach-detach=false"
"""
_GO_DEFAULTS = f"CRI_PRIMARY={DOCKERSHIM}\nCRI_OTHER={VIRTLET}:{CONTAINERD}\n"
_GO_POSTINST = f"""\
#!/bin/sh
set -e
units=/etc/systemd/system
cp /lib/systemd/system/kubelet.service $units/dockershim.service
mkdir -p $units/dockershim.service.d
cp $units/kubelet.service.d/10-kubeadm.conf $units/dockershim.service.d/
sed -i 's|^\\(ExecStart=/usr/bin/kubelet\\)|\\1 --experimental-dockershim --port 11250|' $units/dockershim.service \\
  $units/dockershim.service.d/10-kubeadm.conf
cat > {DROP_IN} <<END
{_GO_DROP_IN}END
cat > {_DEFAULTS} <<END
{_GO_DEFAULTS}END
systemctl daemon-reload
systemctl --quiet enable dockershim criproxy
systemctl restart dockershim criproxy kubelet
"""


def _install_the_go_package(node: Node) -> None:
    files = {
        "/usr/bin/criproxy": (_GO_PROGRAM, 0o755),
        "/lib/systemd/system/criproxy.service": (_GO_UNIT.format(order="Before=kubelet.service\n"), 0o644),
    }
    scripts: Dict[str, str] = {"postinst": _GO_POSTINST}
    node.dpkg("--install", debs.make(node.folder, FULL, "0.14.0", files, scripts))


def test_what_the_go_package_has_left_is_taken_over(boot: Boot) -> None:
    node: Node = boot(KUBEADM_1_10)
    before = node.files()
    _install_the_go_package(node)
    assert "--container-runtime=remote" in node.kubelet_command
    assert "--node-ip=192.0.2.10" not in node.kubelet_command, "which is why its way of patching was given up"
    node.dpkg("--install", debs.built(FULL))
    assert node.kubelet_command == node.turned_command
    assert node.path(_DEFAULTS).read_text().startswith(_GO_DEFAULTS)
    assert node.dockershim_command[:4] == ("/usr/bin/kubelet", "--experimental-dockershim", "--port", "11250")
    with node.client(SOCKET) as client:
        assert client.Version().runtime_name == "docker"
    assert node.run_pod() in node.pods()
    node.dpkg("--purge", FULL)
    assert node.kubelet_command == node.own_command
    # Somebody may have edited the copy: it is kept, under a name that systemd does not read.
    kept = "/etc/systemd/system/dockershim.service.d"
    assert set(node.files().changes(before)) == {kept, f"{kept}/10-kubeadm.conf.criproxy-saved"}
