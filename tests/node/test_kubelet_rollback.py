"""A kubelet that does not live with its new flags gets its own again."""

from __future__ import annotations

import pytest

from . import debs
from .layouts import FULL
from .node import DROP_IN, Node

_FLAG = "--image-service-endpoint"
_LAST_WORDS = f"unknown flag: {_FLAG}"
_OPTIONS = "/etc/systemd/system/kubelet.service.d/20-options.conf"


@pytest.mark.parametrize("seconds", [0, 3])
def test_an_installation_that_it_does_not_survive_is_taken_back(node: Node, seconds: int) -> None:
    node.environment.clear()
    before = node.files()
    node.refuse(_FLAG, seconds)
    text = node.refused("--install", debs.built(FULL))
    assert _LAST_WORDS in text
    assert node.status(FULL) == "half-configured"
    assert node.kubelet_command == node.own_command
    assert node.state("kubelet.service") == "active"
    assert not node.path(DROP_IN).exists()
    assert [node.state(unit) for unit in ("criproxy.service", "criproxy.socket")] == ["inactive", "inactive"]
    node.path("/run/kubelet/refuses").unlink()
    node.run("dpkg", "--configure", "--pending")
    assert node.kubelet_command == node.turned_command
    node.dpkg("--purge", FULL)
    assert node.files().changes(before) == {}


def test_a_change_that_it_does_not_survive_leaves_it_on_the_flags_that_it_had(node: Node) -> None:
    node.install()
    node.run("criproxy", "node", "apply", "--attach-detach", "keep")
    command, files = node.kubelet_command, node.files()
    node.refuse("--enable-controller-attach-detach")
    done = node.attempt("criproxy", "node", "apply", "--attach-detach", "off")
    assert done.returncode == 1
    assert "unknown flag: --enable-controller-attach-detach" in done.stdout
    assert node.kubelet_command == command
    assert node.state("kubelet.service") == "active"
    assert node.files().changes(files) == {}
    node.run_pod()


def test_one_that_has_failed_is_started_by_the_removal(node: Node) -> None:
    node.install()
    node.write(_OPTIONS, "[Service]\nRestart=no\n")
    node.refuse(_FLAG)
    node.run("systemctl", "daemon-reload")
    node.attempt("systemctl", "restart", "kubelet.service")
    node.await_state("kubelet.service", "failed")
    node.dpkg("--remove", FULL)
    assert node.kubelet_command == node.own_command
    assert node.state("kubelet.service") == "active"


def test_status_tells_of_one_that_starts_again_and_again(node: Node) -> None:
    node.install()
    node.write(_OPTIONS, "[Service]\nRestartSec=100ms\n")
    node.refuse(_FLAG)
    node.run("systemctl", "daemon-reload")
    node.attempt("systemctl", "restart", "kubelet.service")
    node.await_restarts("kubelet.service", 5)
    done = node.attempt("criproxy", "node", "status")
    assert done.returncode == 1
    assert "kubelet.service: restarting (" in done.stdout
    assert _LAST_WORDS in done.stdout
