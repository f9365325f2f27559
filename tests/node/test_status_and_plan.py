"""`criproxy node status` and `plan` tell the truth, the former by its exit status too. The steps are a node's life."""

from __future__ import annotations

import re
from typing import Iterator, Tuple

import pytest

from tests.containerd.service import eventually

from . import layouts
from .layouts import CONTAINERD, CRIO, IMAGES
from .node import SOCKET, Node

_FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
_SOON = "/run/systemd/system/kubelet.service.d/soon.conf"
_OK, _NOT_WELL, _NOT_TURNED = 0, 1, 3
_DEGRADED, _DOWN = 1, 2
"""Of `criproxy status`: the node has no alternative runtime."""


@pytest.fixture(scope="class")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that has been turned over."""
    with Node(layouts.KUBEADM, tmp_path_factory.mktemp("status")) as node:
        node.install()
        yield node


def _status(node: Node) -> Tuple[int, str]:
    done = node.attempt("criproxy", "node", "status")
    return done.returncode, done.stdout


def _whole(node: Node) -> Tuple[int, str]:
    """``criproxy status``: the exit status, and what it says, each blank as one."""
    done = node.attempt("criproxy", "status")
    return done.returncode, " ".join(done.stdout.split())


class TestHowANodeIs:
    def test_all_is_well(self, node: Node) -> None:
        code, text = _status(node)
        assert "kubelet is on criproxy" in text
        assert code == _OK
        assert "nothing to change" in node.run("criproxy", "node", "plan")

    def test_one_screen_has_the_node_the_daemon_and_its_runtimes(self, node: Node) -> None:
        code, text = _whole(node)
        assert "on criproxy, running" in text
        assert re.search(rf", CRI v1[^/]*, {CONTAINERD} ", text)
        assert 'degraded: runtime "virtlet.cloud" has been away' in text
        assert code == _DEGRADED

    def test_criproxy_is_stopped(self, node: Node) -> None:
        node.run("systemctl", "stop", "criproxy.service", "criproxy.socket")
        code, text = _status(node)
        whole = _whole(node)
        node.run("systemctl", "start", "criproxy.socket", "criproxy.service")
        assert whole[0] == _DOWN
        assert "criproxy.service is inactive. Next: systemctl start criproxy.service" in whole[1]
        assert code == _NOT_WELL
        assert "criproxy.service" in text
        assert _status(node)[0] == _OK

    def test_the_primary_runtime_has_gone(self, node: Node) -> None:
        node.run("systemctl", "stop", "containerd.service")
        code, text = _status(node)
        assert eventually(lambda: _whole(node), lambda seen: seen[0] == _DOWN)[0] == _DOWN
        node.run("systemctl", "start", "containerd.service")
        assert code == _NOT_WELL
        assert CONTAINERD in text
        with node.client() as client:
            assert client.Version().runtime_name == "containerd"
        assert _status(node)[0] == _OK

    def test_a_crash_loop_is_told_with_how_often_in_how_long_until_kubelet_is_started_by_hand(self, node: Node) -> None:
        node.write(_SOON, "[Service]\nRestartSec=1s\n")
        node.refuse("--container-runtime-endpoint")
        node.run("systemctl", "daemon-reload")
        node.run("systemctl", "restart", "kubelet.service")
        node.await_restarts("kubelet.service", 2)
        code, text = _status(node)
        whole = eventually(lambda: _whole(node), lambda seen: seen[0] == _DOWN)
        assert whole[0] == _DOWN, whole[1]
        for path in (_SOON, "/run/kubelet/refuses"):
            node.path(path).unlink()
        node.run("systemctl", "daemon-reload")
        node.run("systemctl", "restart", "kubelet.service")
        assert code == _NOT_WELL
        assert re.search(
            r"kubelet.service is restarting \(\d+ times in \d+ s\): unknown flag: --container-runtime", text
        )
        code, text = eventually(lambda: _status(node), lambda seen: seen[0] == _OK)
        assert code == _OK, text

    def test_a_directory_in_the_place_of_its_socket_is_the_reason(self, node: Node) -> None:
        node.run("systemctl", "stop", "criproxy.service", "criproxy.socket")
        node.path(SOCKET).mkdir()
        assert node.attempt("systemctl", "start", "criproxy.socket").returncode
        code, text = _status(node)
        node.path(SOCKET).rmdir()
        node.run("systemctl", "restart", "criproxy.socket", "criproxy.service")
        assert code == _NOT_WELL
        assert f"not well: {SOCKET} is a directory" in text
        assert _status(node)[0] == _OK

    def test_kubelets_own_flags_name_another_image_service_by_now(self, node: Node) -> None:
        flags = node.path(_FLAGS).read_text()
        node.write(_FLAGS, flags.replace('"\n', f' --image-service-endpoint=unix://{IMAGES}"\n'))
        code, text = _status(node)
        node.write(_FLAGS, flags)
        assert code == _NOT_WELL
        assert f"name the image service {IMAGES}" in text
        assert _status(node)[0] == _OK

    def test_kubelets_own_flags_name_another_runtime_by_now(self, node: Node) -> None:
        flags = node.path(_FLAGS).read_text()
        node.write(_FLAGS, flags.replace(CONTAINERD, CRIO))
        code, text = _status(node)
        node.write(_FLAGS, flags)
        assert code == _NOT_WELL
        assert CRIO in text
        assert CONTAINERD in text
        assert _status(node)[0] == _OK

    def test_kubelet_is_on_its_own_flags(self, node: Node) -> None:
        node.run("criproxy", "node", "revert")
        assert _status(node)[0] == _NOT_TURNED
        assert node.kubelet_command == node.own_command
