"""Files of ours that are there before we are: copied from another node, or restored from a backup."""

from __future__ import annotations

from typing import Sequence

import pytest

from .layouts import FULL
from .node import DROP_IN, Node

_UNIT = "/etc/systemd/system/criproxy.service"


@pytest.mark.parametrize("copied", [(DROP_IN,), (DROP_IN, _UNIT), ("/etc/systemd/system",)], ids=len)
def test_they_are_nobodys_and_go_with_the_package(node: Node, copied: Sequence[str]) -> None:
    before = node.files()
    node.install()
    node.run("tar", "-C", "/", "-cf", "/run/copy.tar", *(path[1:] for path in copied))
    node.dpkg("--purge", FULL)
    assert node.files().changes(before) == {}
    node.run("tar", "-C", "/", "-xf", "/run/copy.tar")
    node.run("systemctl", "daemon-reload")
    node.install()
    assert node.kubelet_command == node.turned_command
    node.run_pod()
    node.dpkg("--purge", FULL)
    assert node.files().changes(before) == {}
    assert node.kubelet_command == node.own_command
