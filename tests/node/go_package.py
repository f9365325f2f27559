"""The Go program's package, 0.14.0, as far as it changes a node."""

from __future__ import annotations

from typing import Dict

from . import debs
from .layouts import CONTAINERD, DOCKERSHIM, VIRTLET, Layout
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
# It makes dockershim's unit of copies of kubelet's unit and drop-ins.
_DOCKERSHIM = """\
units=/etc/systemd/system
cp /lib/systemd/system/kubelet.service $units/dockershim.service
if [ -e $units/kubelet.service.d/10-kubeadm.conf ]; then
  mkdir -p $units/dockershim.service.d
  cp $units/kubelet.service.d/10-kubeadm.conf $units/dockershim.service.d/
fi
sed -i 's|^\\(ExecStart={program}\\)|\\1 --experimental-dockershim --port 11250|' $units/dockershim.service \\
  $(find $units/dockershim.service.d -name '*.conf' 2> /dev/null)
systemctl daemon-reload
systemctl --quiet enable dockershim
systemctl restart dockershim
"""
_POSTINST = """\
#!/bin/sh
set -e
{dockershim}
mkdir -p $(dirname {drop_in})
cat > {drop_in} <<END
{flags}END
cat > {defaults} <<END
{settings}END
systemctl daemon-reload
systemctl --quiet enable criproxy
systemctl restart criproxy kubelet
"""


def settings(layout: Layout) -> str:
    """What it has in its defaults."""
    other = CONTAINERD if layout.containerd else "/run/virtlet.sock"
    return f"CRI_PRIMARY={layout.primary}\nCRI_OTHER={VIRTLET}:{other}\n"


def install(node: Node) -> None:
    """Turns a node over as the Go program's package did."""
    layout = node.layout
    files = {
        "/usr/bin/criproxy": (_PROGRAM, 0o755),
        "/lib/systemd/system/criproxy.service": (_UNIT, 0o644),
    }
    dockershim = _DOCKERSHIM.format(program=" ".join(layout.program)) if layout.primary == DOCKERSHIM else ""
    postinst = _POSTINST.format(
        dockershim=dockershim, drop_in=DROP_IN, flags=_DROP_IN, defaults=DEFAULTS, settings=settings(layout)
    )
    scripts: Dict[str, str] = {"postinst": postinst}
    node.dpkg("--install", debs.make(node.folder, layout.package, "0.14.0", files, scripts))
