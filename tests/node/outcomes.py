"""What an installation can come to, and what is to be seen on the node then."""

from __future__ import annotations

from typing import List

from . import debs
from .files import Files
from .node import Node

_OURS = ("/etc/systemd/system/criproxy", "/etc/systemd/system/kubelet.service.d/", "/var/lib/criproxy/")


def install_refused(node: Node) -> str:
    """Tries an installation that is to fail, and sees that it has not touched kubelet; gives what dpkg has said."""
    before, kubelet, package = node.files(), node.kubelet, node.layout.package
    text = node.refused("--install", debs.built(package))
    assert node.status(package) == "half-configured"
    assert node.kubelet == kubelet != 0
    assert "criproxy.sock" not in node.show("kubelet.service", "ExecStart")
    assert _generated(node.files(), before) == []
    assert [node.state(unit) for unit in ("criproxy.service", "criproxy.socket")] == ["inactive", "inactive"]
    return text


def _generated(now: Files, before: Files) -> List[str]:
    """What the package itself does not bring, but `criproxy node apply` makes."""
    return [path for path in now.changes(before) if path.startswith(_OURS) or path == "/etc/default/criproxy"]


def completes(node: Node) -> None:
    """Goes on with such an installation, which has nothing in its way any more."""
    node.run("dpkg", "--configure", "--pending")
    assert node.kubelet_command == node.turned_command
    assert node.state("criproxy.service") == "active"


def leaves_nothing(node: Node, before: Files) -> None:
    """Purges what has been installed."""
    node.dpkg("--purge", node.layout.package)
    assert node.files().changes(before) == {}
    assert node.kubelet_command == node.own_command
