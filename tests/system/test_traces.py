"""Spans of a real process's calls, as a collector gets them, and kubelet's calls while there is none."""

from __future__ import annotations

import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, Proxy, Runtime, StartProxy

from criproxy import __version__
from criproxy.daemon import DRAIN_TIME

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
POD: Dict[str, Any] = {"config": {"metadata": {"name": "web", "namespace": "default", "uid": "1"}}}
WITHOUT_LIBRARY = (
    "-c",
    "import sys; sys.modules['opentelemetry'] = None; from criproxy.cli import main; sys.exit(main())",
)


class Collector:
    """Takes spans by OTLP over HTTP, at a port of its own."""

    def __init__(self, port: int = 0) -> None:
        service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
        self.resources: List[Any] = []
        self._spans: List[Any] = []
        self._more = threading.Condition()
        self.hold = threading.Event()
        """Set as long as it answers."""
        self.hold.set()
        self.asked = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.set()
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.hold.wait()
                assert self.path == "/v1/traces"
                outer._take(service.ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _take(self, request: Any) -> None:
        with self._more:
            for resource in request.resource_spans:
                self.resources.append(resource.resource)
                for scope in resource.scope_spans:
                    self._spans += scope.spans
            self._more.notify_all()

    def wait_for(self, count: int) -> List[Any]:
        """So many spans, in the order of their ends."""
        with self._more:
            assert self._more.wait_for(lambda: len(self._spans) >= count, PATIENCE), self._spans
            return list(self._spans)

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def traced(start_proxy: StartProxy, primary: Runtime, other: Runtime, collector: Collector) -> Proxy:
    return start_proxy(primary, {"alt.test": other}, f"--otlp-endpoint={collector.url}")


def ask(client: Client, method: str, metadata: Tuple[Tuple[str, str], ...] = SAMPLED, **fields: Any) -> Any:
    """A call, as a kubelet that traces makes it."""
    return client.stub(method)(client.request(method, **fields), timeout=PATIENCE, metadata=metadata)


def attributes(span: Any) -> Dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_a_call_is_kubelets_child_and_the_runtimes_are_its_children(
    traced: Proxy, connect: Connect, collector: Collector, primary: Runtime, other: Runtime
) -> None:
    ask(connect(traced), "ListContainers")
    *children, span = collector.wait_for(3)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == "runtime.v1.RuntimeService/ListContainers"
    assert {child.parent_span_id for child in children} == {span.span_id}
    assert {child.trace_id for child in children} == {span.trace_id}
    assert sorted(attributes(child)["criproxy.runtime"] for child in children) == ["alt.test", "primary"]
    for child in children:
        assert span.start_time_unix_nano <= child.start_time_unix_nano
        assert child.start_time_unix_nano <= child.end_time_unix_nano <= span.end_time_unix_nano
    told = attributes(collector.resources[0])
    assert (told["service.name"], told["service.version"]) == ("criproxy", __version__)
    for runtime in (primary, other):
        assert runtime.called("ListContainers")[-1].metadata["traceparent"] == SAMPLED[0][1]


def test_a_failed_call_says_which_pod_and_why(
    traced: Proxy, connect: Connect, collector: Collector, primary: Runtime
) -> None:
    def refuse(_: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")

    primary.answers["RunPodSandbox"] = refuse
    with pytest.raises(grpc.RpcError):
        ask(connect(traced), "RunPodSandbox", **POD)
    child, span = collector.wait_for(2)
    assert (span.status.code, span.status.message) == (2, "no room")
    found = attributes(span)
    assert (found["k8s.namespace.name"], found["k8s.pod.name"]) == ("default", "web")
    assert found["rpc.grpc.status_code"] == attributes(child)["rpc.grpc.status_code"] == 8


def test_only_calls_of_traces_that_are_recorded_have_spans(
    traced: Proxy, connect: Connect, collector: Collector
) -> None:
    client = connect(traced)
    ask(client, "ListPodSandbox", ())
    ask(client, "ListPodSandbox", (("traceparent", f"00-{TRACE}-{PARENT}-00"),))
    ask(client, "ListContainers")
    assert {span.name for span in collector.wait_for(3)} == {"runtime.v1.RuntimeService/ListContainers"}


def test_calls_go_on_while_the_collector_is_away_which_is_said_once(
    start_proxy: StartProxy, primary: Runtime, connect: Connect
) -> None:
    collector = Collector()
    collector.close()
    proxy = start_proxy(primary, {}, f"--otlp-endpoint={collector.url}")
    client = connect(proxy)
    warning = f"otlp-endpoint: {collector.url} takes no spans, they are lost: "
    until(lambda: bool(proxy.logged(warning)), client)
    back = Collector(collector.port)
    try:
        until(lambda: bool(proxy.logged("takes spans again")), client)
        assert back.wait_for(2)
    finally:
        back.close()
    assert len(proxy.logged(warning)) == 1
    assert not [line for line in proxy.lines if "Traceback" in line or "urllib3" in line]


def until(done: Callable[[], bool], client: Client) -> None:
    """Kubelet calls as often as it does, until something has happened."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        ask(client, "ListContainers")
        threading.Event().wait(0.1)


def test_a_collector_that_hangs_holds_up_neither_calls_nor_the_end(
    traced: Proxy, connect: Connect, collector: Collector
) -> None:
    collector.hold.clear()
    client = connect(traced)
    ask(client, "ListContainers")
    assert collector.asked.wait(PATIENCE)
    ask(client, "ListContainers")
    traced.signal(signal.SIGTERM)
    begun = time.monotonic()
    assert traced.wait() == 0
    assert time.monotonic() - begun < DRAIN_TIME
    assert traced.lines[-1].endswith("stopped")


def test_what_is_left_is_sent_at_the_end(traced: Proxy, connect: Connect, collector: Collector) -> None:
    client = connect(traced)
    ask(client, "ListContainers")
    collector.wait_for(3)
    ask(client, "ListPodSandbox")
    assert traced.stop() == 0
    assert len(collector.wait_for(6)) == 6


def test_a_reload_begins_moves_and_ends_it(
    start_proxy: StartProxy, primary: Runtime, folder: Path, connect: Connect, collector: Collector
) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text("")
    proxy = start_proxy(primary, {}, f"--config={conf}")
    client = connect(proxy)
    ask(client, "ListContainers")
    conf.write_text(f"otlp-endpoint = {collector.url}\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log(f"reloaded: otlp-endpoint {collector.url}")
    ask(client, "ListPodSandbox")
    assert {span.name.rpartition("/")[2] for span in collector.wait_for(2)} == {"ListPodSandbox"}
    conf.write_text("")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reloaded: otlp-endpoint none")
    ask(client, "ListPodSandbox")
    assert proxy.stop() == 0
    assert len(collector.wait_for(2)) == 2


def test_without_the_library_the_option_is_refused_with_what_to_install(folder: Path, primary: Runtime) -> None:
    proxy = Proxy(
        primary.path, f"{folder}/proxy.sock", "--otlp-endpoint=http://127.0.0.1:4318", launcher=WITHOUT_LIBRARY
    )
    assert proxy.wait() == 2
    (line,) = proxy.lines
    assert "otlp-endpoint: " in line
    assert f"not installed for {sys.executable}: pip install criproxy[traces]" in line
