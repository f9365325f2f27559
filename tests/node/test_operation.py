"""What changes and watches a service that runs: `criproxy log-level`, `drain`, `runtime` and `trace` on a node."""

from __future__ import annotations

import json
from typing import Any, Iterator

import pytest

from tests.containerd.service import eventually

from . import layouts
from .layouts import VIRTLET
from .node import Node

_DEFAULTS = "/etc/default/criproxy"


@pytest.fixture(scope="class")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that has been turned over; its alternative runtime is away."""
    with Node(layouts.KUBEADM, tmp_path_factory.mktemp("operation")) as node:
        node.install()
        yield node


def _status(node: Node) -> Any:
    return json.loads(node.attempt("criproxy", "status", "-o", "json").stdout)


class TestAServiceThatIsOperated:
    def test_its_log_says_more_for_a_while(self, node: Node) -> None:
        assert node.run("criproxy", "log-level", "4", "--for", "10m").startswith("verbosity 4 for another ")
        with node.client() as client:
            client.Version()
        assert "ENTER: /runtime.v1.RuntimeService/Version()" in node.journal("criproxy.service")
        node.run("criproxy", "log-level", "2")

    def test_a_runtime_that_is_drained_stays_so_over_a_restart(self, node: Node) -> None:
        node.run("criproxy", "drain", VIRTLET)
        assert f"CRIPROXY_DRAINED={VIRTLET}\n" in node.path(_DEFAULTS).read_text()
        node.run("systemctl", "restart", "criproxy.service")
        assert [runtime["id"] for runtime in _status(node)["runtimes"] if runtime.get("drained")] == [VIRTLET]
        node.run("criproxy", "undrain", VIRTLET)
        assert not any(runtime.get("drained") for runtime in _status(node)["runtimes"])

    def test_calls_are_seen_as_they_end(self, node: Node) -> None:
        node.run("sh", "-c", "criproxy trace -o json --method Status >/run/traced 2>&1 & echo $! >/run/tracer")
        eventually(lambda: node.journal("criproxy.service"), lambda log: "trace: somebody watches calls" in log)
        with node.client() as client:
            client.Status()
        traced = eventually(node.path("/run/traced").read_text, lambda text: text.endswith("\n"))
        node.run("sh", "-c", "kill -INT $(cat /run/tracer)")
        call = json.loads(traced.splitlines()[0])
        assert (call["method"], call["code"]) == ("Status", "OK")

    def test_a_runtime_that_does_not_answer_is_not_added(self, node: Node) -> None:
        before = node.path(_DEFAULTS).read_text()
        done = node.attempt("criproxy", "runtime", "add", "second.test", "/run/second.sock")
        assert done.returncode == 1
        assert "/run/second.sock" in done.stdout
        assert node.path(_DEFAULTS).read_text() == before

    def test_status_tells_of_a_configuration_that_was_refused_until_one_is_taken(self, node: Node) -> None:
        before = node.path(_DEFAULTS).read_text()
        node.write(_DEFAULTS, f"{before}CRI_OTHER=/run/virtlet.sock\n")
        # A reload by systemctl is refused before the service hears of it.
        node.run("systemctl", "kill", "--signal=HUP", "criproxy.service")
        told = eventually(lambda: _status(node), lambda told: "refusal" in told["daemon"])
        node.write(_DEFAULTS, before)
        node.run("systemctl", "reload", "criproxy.service")
        assert "CRI_OTHER" in told["daemon"]["refusal"]["reason"]
        assert (
            "refusal" not in eventually(lambda: _status(node), lambda told: "refusal" not in told["daemon"])["daemon"]
        )
