"""Who attaches the volumes of a node: the cluster's controller, or kubelet by itself, as Virtlet's volumes need it."""

from __future__ import annotations

import os
from typing import Tuple

from criproxy.node.kubelet import Kubelet
from criproxy.node.tree import Tree

ATTACH_FLAG = "--enable-controller-attach-detach=false"
"""kubelet then attaches volumes by itself, and none of a CSI driver."""
_CSI_DRIVERS = ("plugins_registry", "plugins", "plugins/kubernetes.io/csi")
"""Folders below kubelet's own in which a CSI driver that is on the node leaves something."""
_NOT_CSI = "kubernetes.io"
"""What stands among the plugins of a kubelet without any."""
_KUBELETS_FOLDER = "/var/lib/kubelet"


def gives_up_attach(tree: Tree, kubelet: Kubelet, wish: str, wanted: bool) -> Tuple[bool, Tuple[str, ...]]:
    """Whether kubelet is to attach volumes by itself, and what there is to say of that.

    ``wish``: "off", "keep", or else what is best; ``wanted``: whether there is a runtime that needs it.
    """
    driver = csi_driver(tree, kubelet)
    if wish == "keep" or (wish != "off" and not wanted):
        return False, ()
    if wish != "off" and driver:
        return False, (
            f"kubelet does not get {ATTACH_FLAG}, which Virtlet's volumes need: this node has a CSI driver"
            f" ({driver}), whose volumes could not be attached any more (--attach-detach off sets it all the same)",
        )
    breaks = f"; the CSI driver of this node ({driver}) cannot have volumes attached any more" if driver else ""
    return True, (
        f"kubelet gets {ATTACH_FLAG}, as Virtlet's volumes need it: volumes of CSI drivers cannot be attached to pods"
        f" of this node then (--attach-detach keep leaves it out){breaks}",
    )


def csi_driver(tree: Tree, kubelet: Kubelet) -> str:
    """What a CSI driver has left in kubelet's folder; empty if there is none."""
    root = kubelet.values(("root-dir",)).get("root-dir") or _KUBELETS_FOLDER
    paths = (f"{root}/{folder}/{name}" for folder in _CSI_DRIVERS for name in tree.names(f"{root}/{folder}"))
    return next((path for path in paths if os.path.basename(path) != _NOT_CSI), "")
