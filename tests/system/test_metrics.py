"""Metrics of a real process, as Prometheus and people ask for them."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import threading
import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, Proxy, Runtime, StartProxy, v1
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from criproxy import __version__
from criproxy.metrics.families import FAMILIES
from criproxy.metrics.http import LARGEST_HEAD
from criproxy.metrics.server import MOST_CONNECTIONS

Samples = Dict[Tuple[str, ...], float]
WITHOUT_LIBRARY = (
    "-c",
    "import sys; sys.modules['prometheus_client'] = None; from criproxy.cli import main; sys.exit(main())",
)


class _Unix(HTTPConnection):
    """Python's own client, at a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = dial(self._path)


def dial(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(path)
    return sock


class Endpoint:
    """Where a proxy serves its metrics."""

    def __init__(self, make: Callable[[], HTTPConnection]) -> None:
        self._make = make

    def get(self, path: str, accept: str = "") -> Tuple[int, str, str]:
        """The status, the type and the text of a page."""
        with closing(self._make()) as connection:
            connection.request("GET", path, headers={"Accept": accept} if accept else {})
            answer = connection.getresponse()
            return answer.status, str(answer.getheader("Content-Type")), answer.read().decode()

    def scrape(self) -> Samples:
        """All values, by the names of their samples and their labels in the order of the labels' names."""
        status, _, text = self.get("/metrics")
        assert status == 200
        return samples(text_string_to_metric_families(text))


def samples(families: Any) -> Samples:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def path(folder: Path) -> str:
    """Where the metrics are served."""
    return str(folder / "metrics.sock")


@pytest.fixture
def measured(start_proxy: StartProxy, primary: Runtime, other: Runtime, path: str) -> Proxy:
    """A proxy before both runtimes that serves metrics."""
    return start_proxy(primary, {"alt.test": other}, f"--metrics-listen=unix:{path}")


@pytest.fixture
def endpoint(measured: Proxy, path: str) -> Endpoint:
    return Endpoint(lambda: _Unix(path))


@pytest.fixture
def kubelet(measured: Proxy, connect: Connect) -> Client:
    return connect(measured)


# What is told.


def test_calls_are_told_by_method_and_code_for_kubelet_and_for_each_runtime(
    endpoint: Endpoint, kubelet: Client, other: Runtime
) -> None:
    def refuse(_: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such container")

    other.answers["StopContainer"] = refuse
    for _ in range(3):
        kubelet.call("ContainerStatus", container_id="c")
    kubelet.fail("StopContainer", container_id="alt.test__c")
    kubelet.call("ListImages")
    told = endpoint.scrape()
    assert told["criproxy_calls_total", "OK", "ContainerStatus"] == 3
    assert told["criproxy_calls_total", "NOT_FOUND", "StopContainer"] == 1
    assert told["criproxy_calls_total", "OK", "ListImages"] == 1
    assert told["criproxy_runtime_calls_total", "OK", "ContainerStatus", "primary"] == 3
    assert told["criproxy_runtime_calls_total", "NOT_FOUND", "StopContainer", "alt.test"] == 1
    assert {told["criproxy_runtime_calls_total", "OK", "ListImages", each] for each in ("primary", "alt.test")} == {1}
    assert ("criproxy_runtime_calls_total", "OK", "ContainerStatus", "alt.test") not in told
    for name, labels in (
        ("criproxy_call_duration_seconds", ("ContainerStatus",)),
        ("criproxy_proxy_duration_seconds", ("ContainerStatus",)),
        ("criproxy_runtime_call_duration_seconds", ("ContainerStatus", "primary")),
    ):
        count, last, seconds = ((f"{name}_count",), (f"{name}_bucket", "+Inf"), (f"{name}_sum",))
        assert told[count + labels] == told[last + labels] == 3
        assert told[seconds + labels] >= 0
    assert told["criproxy_connections",] == 1
    assert told["criproxy_received_bytes_total",] > 0
    assert told["criproxy_sent_bytes_total",] > 0


def in_flight(endpoint: Endpoint, wanted: List[float]) -> List[float]:
    """The calls in flight to the primary and to the alternative runtime, when the proxy's own have been answered."""
    end = time.monotonic() + PATIENCE
    while True:
        told = endpoint.scrape()
        found = [told["criproxy_calls_in_flight", each] for each in ("primary", "alt.test")]
        if found == wanted or time.monotonic() > end:
            return found


def test_a_call_under_way_is_in_flight(endpoint: Endpoint, kubelet: Client, other: Runtime) -> None:
    released = threading.Event()
    other.answers["StopContainer"] = lambda *_: released.wait(PATIENCE) and None
    call = kubelet.stub("StopContainer").future(kubelet.request("StopContainer", container_id="alt.test__c"))
    other.wait_for("StopContainer")
    assert in_flight(endpoint, [0, 1]) == [0, 1]
    released.set()
    call.result(PATIENCE)
    assert in_flight(endpoint, [0, 0]) == [0, 0]


def test_a_runtime_that_goes_and_comes_is_told(
    endpoint: Endpoint, kubelet: Client, measured: Proxy, other: Runtime
) -> None:
    pod = {"id": "p", "metadata": {"name": "web", "namespace": "default", "uid": "1"}}
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[pod])
    kubelet.call("ListPodSandbox")
    told = endpoint.scrape()
    assert [told["criproxy_runtime_up", each] for each in ("primary", "alt.test")] == [1, 1]
    assert told["criproxy_remembered_pods", "alt.test"] == 0
    assert told["criproxy_remembered_bytes", "alt.test"] > 0
    assert told["criproxy_list_bytes", "ListPodSandbox", "alt.test"] > 0
    other.stop()
    measured.wait_for_log(f'runtime "alt.test" ({other.path}) has gone')
    told = endpoint.scrape()
    assert [told["criproxy_runtime_up", each] for each in ("primary", "alt.test")] == [1, 0]
    assert told["criproxy_remembered_pods", "alt.test"] == 1
    other.start()
    measured.wait_for_log('connected to runtime "alt.test"', 2)
    told = endpoint.scrape()
    assert told["criproxy_runtime_up", "alt.test"] == 1
    assert told["criproxy_runtime_reconnects_total", "alt.test"] == 1


def test_reloads_are_told(start_proxy: StartProxy, primary: Runtime, folder: Path, path: str) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text("")
    proxy = start_proxy(primary, {}, f"--config={conf}", f"--metrics-listen=unix:{path}")
    endpoint = Endpoint(lambda: _Unix(path))
    first = endpoint.scrape()
    conf.write_text("verbosity = high\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reload refused")
    told = endpoint.scrape()
    assert told["criproxy_reloads_total", "refused"] == 1
    assert told["criproxy_config_last_reload_successful",] == 0
    conf.write_text("")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reloaded: ")
    told = endpoint.scrape()
    assert told["criproxy_reloads_total", "taken"] == 1
    assert told["criproxy_config_last_reload_successful",] == 1
    when = ("criproxy_config_last_reload_success_timestamp_seconds",)
    assert first[when] < told[when] <= time.time()


def test_what_runs_is_told(endpoint: Endpoint, measured: Proxy) -> None:
    told = endpoint.scrape()
    (build,) = (key for key in told if key[0] == "criproxy_build_info")
    assert build[-1] == __version__
    assert told["process_resident_memory_bytes",] == pytest.approx(measured.memory(), rel=0.5)
    assert told["process_start_time_seconds",] <= time.time()
    assert told["criproxy_memory_held_bytes",] < told["criproxy_memory_limit_bytes",]


def test_each_metric_is_told_in_both_forms(endpoint: Endpoint, kubelet: Client) -> None:
    kubelet.call("ListImages")
    status, content_type, text = endpoint.get("/metrics", "application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert (status, content_type) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert text.endswith("# EOF\n")
    new = {family.name: family for family in openmetrics_families(text)}  # type: ignore[no-untyped-call]
    status, content_type, text = endpoint.get("/metrics", "text/plain")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    old = {family.name: family for family in text_string_to_metric_families(text)}
    wanted = {family.name.replace("_total", ""): family for family in FAMILIES}
    for found in (new, old):
        assert {name: each.type for name, each in found.items() if name in wanted} == {
            name: family.kind.value for name, family in wanted.items()
        }


# Whether it lives and is ready.


def test_it_is_ready_while_the_primary_runtime_is_there(
    endpoint: Endpoint, measured: Proxy, primary: Runtime, other: Runtime
) -> None:
    def page(name: str) -> Tuple[int, str]:
        status, _, text = endpoint.get(name)
        return status, text

    assert page("/readyz") == (200, "ready\n")
    other.stop()
    measured.wait_for_log(f'runtime "alt.test" ({other.path}) has gone')
    assert page("/readyz") == (200, "ready\n")
    primary.stop()
    measured.wait_for_log(f"the primary runtime ({primary.path}) has gone")
    status, reason = page("/readyz")
    assert status == 503
    assert reason.startswith(f"the primary runtime ({primary.path}) is not there: ")
    assert page("/healthz") == (200, "well\n")
    primary.start()
    measured.wait_for_log("connected to the primary runtime", 2)
    assert page("/readyz") == (200, "ready\n")


def test_it_is_not_ready_any_more_when_it_stops(
    endpoint: Endpoint, measured: Proxy, kubelet: Client, other: Runtime
) -> None:
    released = threading.Event()
    other.answers["StopContainer"] = lambda *_: released.wait(PATIENCE) and None
    call = kubelet.stub("StopContainer").future(kubelet.request("StopContainer", container_id="alt.test__c"))
    other.wait_for("StopContainer")
    measured.signal(signal.SIGTERM)
    measured.wait_for_log("stopping")
    assert endpoint.get("/readyz")[::2] == (503, "criproxy stops\n")
    assert in_flight(endpoint, [0, 1]) == [0, 1]
    released.set()
    call.result(PATIENCE)
    assert measured.wait() == 0


def test_another_page_is_not_there(endpoint: Endpoint) -> None:
    assert endpoint.get("/debug")[::2] == (404, "there is /metrics, /healthz, /readyz\n")


# Where it is served.


def test_it_goes_with_the_daemon_and_everybody_may_read(measured: Proxy, path: str) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    measured.stop()
    assert not os.path.exists(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_it_may_be_at_a_port(start_proxy: StartProxy, primary: Runtime) -> None:
    port = free_port()
    start_proxy(primary, {}, f"--metrics-listen=127.0.0.1:{port}")
    endpoint = Endpoint(lambda: HTTPConnection("127.0.0.1", port, timeout=PATIENCE))
    assert endpoint.scrape()["criproxy_runtime_up", "primary"] == 1


def test_a_daemon_that_cannot_listen_there_serves_kubelet_without(
    start_proxy: StartProxy, primary: Runtime, folder: Path, connect: Connect
) -> None:
    proxy = start_proxy(primary, {}, f"--metrics-listen=unix:{folder}/none/m.sock")
    assert "No such file or directory: there are no metrics" in proxy.wait_for_log("metrics-listen: cannot listen on ")
    assert connect(proxy).call("Version").runtime_name == "primary"


def test_a_reload_takes_it_elsewhere_or_away(start_proxy: StartProxy, primary: Runtime, folder: Path) -> None:
    conf = folder / "criproxy.conf"
    paths = [str(folder / name) for name in ("one.sock", "two.sock")]
    conf.write_text("")
    proxy = start_proxy(primary, {}, f"--config={conf}")
    for count, path in enumerate(paths, 1):
        conf.write_text(f"metrics-listen = unix:{path}\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("reloaded: metrics-listen unix:", count)
        assert Endpoint(lambda path=path: _Unix(path)).scrape()["criproxy_runtime_up", "primary"] == 1  # type: ignore[misc]
    assert not os.path.exists(paths[0])
    conf.write_text("")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reloaded: metrics-listen none")
    assert not os.path.exists(paths[1])


def test_a_reload_that_cannot_listen_there_is_refused_and_changes_nothing(
    start_proxy: StartProxy, primary: Runtime, folder: Path, path: str
) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text(f"metrics-listen = unix:{path}\n")
    proxy = start_proxy(primary, {}, f"--config={conf}")
    conf.write_text(f"metrics-listen = unix:{folder}/none/m.sock\nverbosity = 5\n")
    proxy.signal(signal.SIGHUP)
    assert "metrics-listen: cannot listen on" in proxy.wait_for_log("reload refused")
    told = Endpoint(lambda: _Unix(path)).scrape()
    assert told["criproxy_reloads_total", "refused"] == 1


def test_without_the_library_the_option_is_refused_with_what_to_install(folder: Path, primary: Runtime) -> None:
    proxy = Proxy(
        primary.path, f"{folder}/proxy.sock", f"--metrics-listen=unix:{folder}/m.sock", launcher=WITHOUT_LIBRARY
    )
    assert proxy.wait() == 2
    (line,) = proxy.lines
    assert re.search(r"metrics-listen: .* apt install python3-prometheus-client", line)


def test_without_the_library_a_reload_that_wants_metrics_is_refused(folder: Path, primary: Runtime) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text("")
    proxy = Proxy(primary.path, f"{folder}/proxy.sock", f"--config={conf}", launcher=WITHOUT_LIBRARY)
    try:
        proxy.wait_for_log("connected to the primary runtime")
        conf.write_text("metrics-listen = 127.0.0.1:11251\n")
        proxy.signal(signal.SIGHUP)
        assert "apt install python3-prometheus-client" in proxy.wait_for_log("reload refused")
    finally:
        proxy.stop()


# What it is kept from.


def test_clients_that_are_slow_wrong_or_many_disturb_neither_calls_nor_scrapes(
    endpoint: Endpoint, measured: Proxy, kubelet: Client, path: str
) -> None:
    hostile: List[bytes] = [
        b"",
        b"GET /metrics HTTP/1.1\r\nHost",
        b"x" * (LARGEST_HEAD * 4),
        os.urandom(2000) + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 500,
    ]
    with ExitStack() as stack:
        for round in range(3):
            for data in hostile * (MOST_CONNECTIONS // 2):
                sock = stack.enter_context(closing(dial(path)))
                sock.setblocking(False)
                try:
                    sock.send(data)
                except OSError:
                    continue
            assert kubelet.call("ContainerStatus", container_id="c") is not None
            assert endpoint.scrape()["criproxy_calls_total", "OK", "ContainerStatus"] == round + 1
    assert not measured.logged("internal error")


@pytest.mark.parametrize("sent", [b"GET /metrics HTTP/1.1\r\n", b"\xff" * 100], ids=["text", "bytes"])
def test_a_client_that_goes_away_in_the_middle_is_forgotten(
    endpoint: Endpoint, measured: Proxy, path: str, sent: bytes
) -> None:
    endpoint.scrape()
    open_files = endpoint.scrape()["process_open_fds",]
    for _ in range(20):
        with closing(dial(path)) as sock:
            sock.send(sent)
    endpoint.scrape()  # in the same round of the loop, it may be the first that is read
    assert endpoint.scrape()["process_open_fds",] <= open_files + 1
