"""The Go program's package, 0.14.0, as far as it changes a node with Docker."""

from __future__ import annotations

from typing import Dict

from . import debs
from .layouts import CONTAINERD, DOCKERSHIM, FULL, VIRTLET
from .node import DROP_IN, Node

DEFAULTS = "/etc/default/criproxy"
_UNIT = """\
[Unit]
Description=CRI Proxy
Before=kubelet.service

[Service]
EnvironmentFile=-/etc/default/criproxy
ExecStart=/usr/bin/criproxy -v 3 -logtostderr -connect ${CRI_PRIMARY},${CRI_OTHER} -listen /run/criproxy.sock
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=kubelet.service
"""
_PROGRAM = """\
#!/bin/sh
exec sleep infinity
"""
_DROP_IN = """\
[Service]
Environment="KUBELET_EXTRA_ARGS=--container-runtime=remote --container-runtime-endpoint=unix:///run/criproxy.sock \
--image-service-endpoint=unix:///run/criproxy.sock --enable-controller-attach-detach=false"
"""
SETTINGS = f"CRI_PRIMARY={DOCKERSHIM}\nCRI_OTHER={VIRTLET}:{CONTAINERD}\n"
# It makes dockershim's unit of copies of kubelet's unit and drop-ins.
_POSTINST = f"""\
#!/bin/sh
set -e
units=/etc/systemd/system
cp /lib/systemd/system/kubelet.service $units/dockershim.service
mkdir -p $units/dockershim.service.d
cp $units/kubelet.service.d/10-kubeadm.conf $units/dockershim.service.d/
sed -i 's|^\\(ExecStart=/usr/bin/kubelet\\)|\\1 --experimental-dockershim --port 11250|' $units/dockershim.service \\
  $units/dockershim.service.d/10-kubeadm.conf
cat > {DROP_IN} <<END
{_DROP_IN}END
cat > {DEFAULTS} <<END
{SETTINGS}END
systemctl daemon-reload
systemctl --quiet enable dockershim criproxy
systemctl restart dockershim criproxy kubelet
"""


def install(node: Node) -> None:
    """Turns a node over as the Go program's package did."""
    files = {
        "/usr/bin/criproxy": (_PROGRAM, 0o755),
        "/lib/systemd/system/criproxy.service": (_UNIT, 0o644),
    }
    scripts: Dict[str, str] = {"postinst": _POSTINST}
    node.dpkg("--install", debs.make(node.folder, FULL, "0.14.0", files, scripts))
