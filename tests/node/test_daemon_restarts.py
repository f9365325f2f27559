"""The daemon is restarted for another program or unit, and for nothing else: a restart forgets what runtimes had."""

from __future__ import annotations

from pathlib import Path

from . import debs
from .layouts import FULL
from .node import Node


def _process(node: Node) -> str:
    return node.show("criproxy.service", "MainPID")


def test_what_leaves_program_and_unit_as_they_are_leaves_the_process(node: Node, tmp_path: Path) -> None:
    node.install()
    process, kubelet = _process(node), node.kubelet
    node.run("criproxy", "node", "apply")
    assert _process(node) == process, "after the same was applied again"
    node.run("dpkg-reconfigure", FULL)
    assert _process(node) == process, "after the same was answered again"
    node.run("criproxy", "node", "apply", "--other", "virtlet.cloud:/run/virtlet.sock,alt.test:/run/alt.sock")
    assert _process(node) == process, "after other runtimes, for which a reload does"
    assert "alt.test" in node.show("criproxy.service", "StatusText")
    node.dpkg("--install", debs.renamed(debs.built(FULL), tmp_path))
    assert _process(node) == process, "after an upgrade to the same"
    assert node.kubelet == kubelet


def test_another_program_or_unit_is_taken_into_use(node: Node, tmp_path: Path) -> None:
    node.install()
    process, kubelet = _process(node), node.kubelet
    node.dpkg("--install", debs.later(debs.built(FULL), tmp_path))
    assert _process(node) != process
    process = _process(node)
    node.dpkg("--install", debs.built(FULL))
    assert _process(node) != process, "after a downgrade"
    process = _process(node)
    node.dpkg("--install", debs.with_another_unit(debs.built(FULL), tmp_path))
    assert _process(node) != process
    assert node.show("criproxy.service", "LimitNPROC") == "4096"
    assert node.kubelet == kubelet
    assert node.state("criproxy.service") == "active"
