"""`criproxy config`, `route` and `check` of a node that is in use. The steps are a node's life."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import pytest

from tests.containerd.runtime import cni

from . import layouts
from .layouts import CONTAINERD
from .node import SOCKET, Node

_FOLDER = "/var/lib/containerd"
_DEFAULTS = "/etc/default/criproxy"
_UNIT = "/etc/systemd/system/criproxy.service"
_RIGHT, _DEGRADED, _BROKEN = "right", "degraded", "broken"


@pytest.fixture(scope="class")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with a network that has been turned over; its alternative runtime is away."""
    with Node(layouts.KUBEADM, tmp_path_factory.mktemp("inspection")) as node:
        node.write(f"{_FOLDER}/cni/net.conflist", cni(Path(_FOLDER), "192.0.2.0/24"))
        node.run("systemctl", "restart", "containerd.service")
        node.install()
        yield node


def _check(node: Node) -> Tuple[int, Dict[Tuple[str, str], Dict[str, str]]]:
    """The exit status, and what has been found, by what has been looked at."""
    done = node.attempt("criproxy", "check", "-o", "json")
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, {(each["subject"], each["what"]): each for each in findings}


def _config(node: Node) -> Dict[str, Dict[str, Any]]:
    """The options by their names."""
    told = json.loads(node.run("criproxy", "config", "-o", "json"))
    return {option["name"]: option for option in told["options"]}


class TestANodeThatIsLookedAt:
    def test_its_options_are_told_with_their_places(self, node: Node) -> None:
        told = _config(node)
        assert told["connect"]["value"].startswith(f"{CONTAINERD},")
        assert told["connect"]["where"].startswith(f"{_DEFAULTS}, line ")
        assert told["listen"]["where"].startswith(f"{_UNIT}, line ")
        assert told["environment-file"]["value"] == _DEFAULTS

    def test_it_says_where_an_image_would_go(self, node: Node) -> None:
        (answer,) = json.loads(node.run("criproxy", "route", "-o", "json", "--image", f"{layouts.VIRTLET}/cirros"))
        assert [runtime["id"] for runtime in answer["runtimes"]] == [layouts.VIRTLET]

    def test_all_is_right_but_that_the_alternative_runtime_is_away(self, node: Node) -> None:
        status, found = _check(node)
        wrong = [each for each in found.values() if each["state"] in (_DEGRADED, _BROKEN)]
        assert [(each["subject"], each["what"]) for each in wrong] == [(layouts.VIRTLET, "answer")]
        assert status == 1
        for subject, what in (
            ("configuration", "options"),
            ("criproxy", "socket"),
            ("criproxy", "answer"),
            ("criproxy", "in force"),
            ("kubelet", "node"),
            ("kubelet", "volumes"),
            ("units", "enabled"),
            ("units", "order"),
            ("(primary)", "versions"),
            ("(primary)", "status"),
        ):
            assert found[subject, what]["state"] == _RIGHT, (subject, what)

    def test_without_an_alternative_runtime_all_is_right_once_that_is_in_force(self, node: Node) -> None:
        before = node.path(_DEFAULTS).read_text()
        node.write(_DEFAULTS, f"CRI_PRIMARY={CONTAINERD}\n")
        status, found = _check(node)
        assert (status, found["criproxy", "in force"]["state"]) == (1, _DEGRADED)
        node.run("systemctl", "reload", "criproxy.service")
        assert _check(node)[0] == 0
        node.write(_DEFAULTS, before)
        node.run("systemctl", "reload", "criproxy.service")

    def test_a_configuration_that_is_refused_fails_the_check_and_the_reload(self, node: Node) -> None:
        before = node.path(_DEFAULTS).read_text()
        node.write(_DEFAULTS, f"CRI_PRIMARY={CONTAINERD}\nCRI_OTHER=/run/virtlet.sock\n")
        status, found = _check(node)
        reloaded = node.attempt("systemctl", "reload", "criproxy.service")
        asked = node.attempt("criproxy", "config")
        node.write(_DEFAULTS, before)
        assert (status, found["configuration", "options"]["state"]) == (2, _BROKEN)
        assert reloaded.returncode
        assert (asked.returncode, f"{_DEFAULTS}, line 2: CRI_OTHER" in asked.stdout) == (2, True)

    def test_the_primary_runtime_has_gone(self, node: Node) -> None:
        node.run("systemctl", "stop", "containerd.service")
        status, found = _check(node)
        node.run("systemctl", "start", "containerd.service")
        assert (status, found["(primary)", "answer"]["state"]) == (2, _BROKEN)
        assert "systemctl start containerd.service" in found["(primary)", "answer"]["next"]

    def test_criproxy_is_stopped_and_does_not_start_with_the_node(self, node: Node) -> None:
        node.run("systemctl", "disable", "--now", "criproxy.service", "criproxy.socket")
        status, found = _check(node)
        node.run("systemctl", "enable", "--now", "criproxy.socket", "criproxy.service")
        assert (status, found["criproxy", "socket"]["state"]) == (2, _BROKEN)
        assert found["criproxy.socket", "enabled"]["next"] == "systemctl enable criproxy.socket"

    def test_everybody_may_use_the_socket(self, node: Node) -> None:
        node.run("chmod", "0666", SOCKET)
        status, found = _check(node)
        node.run("chmod", "0660", SOCKET)
        assert (status, found["criproxy", "socket"]["state"]) == (1, _DEGRADED)

    def test_kubelet_is_on_its_own_flags(self, node: Node) -> None:
        node.run("criproxy", "node", "revert")
        status, found = _check(node)
        assert (status, found["kubelet", "node"]["next"]) == (2, "criproxy node plan, then criproxy node apply")
