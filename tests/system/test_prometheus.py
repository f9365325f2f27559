"""A real Prometheus scrapes a real criproxy: the dashboard's panels and the alerts have what they show."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest
import yaml
from peers import PATIENCE, Connect, Runtime, StartProxy, v1

ETC = Path(__file__).parents[2] / "etc/criproxy"
EMPTY_WHILE_ALL_IS_WELL = {"Calls that failed", "Parts missing", "Reloads and restarts"}
"""Panels of which some query finds something only when something is wrong, or changes."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Prometheus:
    """The process, which looks at one target each second."""

    def __init__(self, folder: Path, target: int) -> None:
        self._port = free_port()
        self._open = build_opener(ProxyHandler({})).open
        config = folder / "prometheus.yml"
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(ETC / "criproxy-alerts.yaml")],
                    "scrape_configs": [
                        {"job_name": "criproxy", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
                    ],
                }
            )
        )
        self.process = subprocess.Popen(
            [
                str(shutil.which("prometheus")),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def get(self, path: str, **words: str) -> Any:
        """The data of an answer of its API."""
        with self._open(f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(words)}", timeout=PATIENCE) as answer:
            return json.load(answer)["data"]

    def query(self, query: str) -> List[Dict[str, Any]]:
        """What a query finds now."""
        found: List[Dict[str, Any]] = self.get("query", query=query)["result"]
        return found


def eventually(look: Callable[[], Any]) -> Any:
    """What is seen as soon as there is something."""
    end = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            seen = look()
        except OSError:
            seen = None
        if seen or time.monotonic() > end:
            return seen
        time.sleep(0.1)


@contextmanager
def scraping(folder: Path, target: int) -> Iterator[Prometheus]:
    prometheus = Prometheus(folder, target)
    try:
        yield prometheus
    finally:
        prometheus.process.terminate()
        prometheus.process.wait(PATIENCE)


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus (Debian: prometheus)")
def test_the_dashboard_and_the_alerts_have_what_they_show(
    start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime, folder: Path
) -> None:
    port = free_port()
    proxy = start_proxy(primary, {"alt.test": other}, f"--metrics-listen=127.0.0.1:{port}")
    kubelet = connect(proxy)
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p"}])
    with scraping(folder, port) as prometheus:
        assert eventually(lambda: prometheus.query("criproxy_build_info"))
        kubelet.call("ListPodSandbox")
        kubelet.call("ContainerStatus", container_id="c")
        # A rate needs two looks after the first that sees the call.
        assert eventually(lambda: prometheus.query('rate(criproxy_calls_total{method="ContainerStatus"}[10s]) >= 0'))
        for panel in json.loads((ETC / "criproxy-dashboard.json").read_text())["panels"]:
            found = [prometheus.query(_filled_in(target["expr"])) for target in panel["targets"]]
            assert any(found) or panel["title"] in EMPTY_WHILE_ALL_IS_WELL, panel["title"]
        (group,) = prometheus.get("rules")["groups"]
        wanted = yaml.safe_load((ETC / "criproxy-alerts.yaml").read_text())["groups"][0]["rules"]
        assert [rule["name"] for rule in group["rules"]] == [rule["alert"] for rule in wanted]
        assert eventually(lambda: {rule["health"] for rule in prometheus.get("rules")["groups"][0]["rules"]} == {"ok"})
        assert prometheus.get("alerts")["alerts"] == []
        (target,) = prometheus.get("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        primary.stop()
        alert = eventually(lambda: prometheus.get("alerts")["alerts"])[0]
        assert (alert["labels"]["alertname"], alert["state"]) == ("CriproxyPrimaryRuntimeDown", "pending")
        assert alert["labels"]["runtime"] == "primary"


def _filled_in(query: str) -> str:
    """A query as Grafana sends it."""
    for variable, value in (("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "10s")):
        query = query.replace(variable, value)
    return query
