"""The spans of a call: whose children they are, when they were, what they say."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any, Dict, List, Optional, Sequence

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from criproxy.cri.identity import Names
from criproxy.cri.names import ContainerName, PodName
from criproxy.http2.grpc import Code
from criproxy.http2.headers import block_of
from criproxy.relay.known import Subject
from criproxy.relay.routing import plan_of
from criproxy.relay.tracing import Asked, EndedCall
from criproxy.traces.spans import QUEUE, Spans

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NOBODY = Subject(None, None, [])
END = 1_700_000_000_000_000_000


def traced(
    parent: Optional[str] = f"00-{TRACE}-{PARENT}-01",
    code: int = 0,
    text: str = "",
    asked: Sequence[Asked] = (),
    path: str = "/runtime.v1.RuntimeService/ListContainers",
) -> EndedCall:
    """A call of 2 seconds."""
    fields = [(b":path", path.encode()), (b"tracestate", b"a=b")]
    if parent is not None:
        fields.append((b"traceparent", parent.encode()))
    block = block_of(fields)
    return EndedCall(7, plan_of(block.head), b"", (), code, text, 2.0, 0.0, None, block, asked)


def made(call: EndedCall, about: Subject = NOBODY) -> List[Any]:
    """The spans of a call, the runtimes' first, as they are sent."""
    memory = InMemorySpanExporter()
    spans = Spans("", memory)
    spans.make(END, call, about)
    spans.end()
    return list(memory.get_finished_spans())


def attributes(span: Any) -> Dict[str, Any]:
    return dict(span.attributes)


def test_a_call_is_kubelets_child_and_has_the_time_that_it_took() -> None:
    (span,) = made(traced())
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert (span.name, span.kind) == ("runtime.v1.RuntimeService/ListContainers", SpanKind.SERVER)
    assert (span.start_time, span.end_time) == (END - 2_000_000_000, END)
    assert span.context.trace_state.to_header() == "a=b"
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "rpc.system": "grpc",
        "rpc.service": "runtime.v1.RuntimeService",
        "rpc.method": "ListContainers",
        "rpc.grpc.status_code": 0,
        "criproxy.call": 7,
    }
    assert span.resource.attributes["service.name"] == "criproxy"


def test_each_runtime_that_was_asked_is_a_child_of_it() -> None:
    alternative, primary, call = made(
        traced(
            asked=[
                Asked(Names("alt.test"), Code.UNAVAILABLE, 0.25, 0.5, False),
                Asked(Names(""), 0, 0.25, 1.75, True),
            ]
        )
    )
    assert alternative.parent.span_id == primary.parent.span_id == call.context.span_id
    assert alternative.kind is SpanKind.CLIENT
    assert (alternative.end_time, primary.end_time) == (END - 1_500_000_000, END - 250_000_000)
    assert [attributes(each)["criproxy.runtime"] for each in (alternative, primary)] == ["alt.test", "primary"]
    assert [attributes(each)["criproxy.reached"] for each in (alternative, primary)] == [False, True]
    assert (alternative.status.status_code, alternative.status.description) == (StatusCode.ERROR, "UNAVAILABLE")
    assert primary.status.status_code is StatusCode.UNSET


def test_a_call_that_has_failed_says_why() -> None:
    (span,) = made(traced(code=Code.NOT_FOUND, text="no such pod \udcff"))
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no such pod \\udcff")
    assert attributes(span)["rpc.grpc.status_code"] == 5


def test_what_it_is_about_has_kubernetes_names() -> None:
    pod = PodName("default", "web")
    (span,) = made(traced(), Subject(pod, ContainerName(pod, "nginx"), []))
    found = attributes(span)
    assert [found[f"k8s.{key}.name"] for key in ("namespace", "pod", "container")] == ["default", "web", "nginx"]


@pytest.mark.parametrize("parent", [None, "", "00-abc", f"00-{TRACE}-{PARENT}-00", f"00-{'0' * 32}-{PARENT}-01"])
def test_a_call_that_is_in_no_trace_or_in_one_that_is_not_recorded_has_no_span(parent: Optional[str]) -> None:
    assert made(traced(parent)) == []


def test_a_path_that_is_long_is_cut() -> None:
    (span,) = made(traced(path=f"/{'x' * 1000}/Version"))
    assert [len(span.name), len(attributes(span)["rpc.service"])] == [256, 256]


class Refusing(SpanExporter):
    """A collector that takes none, until it does."""

    def __init__(self) -> None:
        self.result = SpanExportResult.FAILURE

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        logging.getLogger("opentelemetry.exporter").warning("about to fail")
        if self.result is SpanExportResult.FAILURE:
            logging.getLogger("opentelemetry.exporter").error("it is %s", "full")
        return self.result


def test_the_librarys_words_are_a_reason_and_go_nowhere_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "lastResort", logging.StreamHandler(sys.stderr))
    exporter = Refusing()
    spans = Spans("", exporter)
    spans.delivery.export([])
    assert (spans.delivery.failing, spans.delivery.reason) == (True, "it is full")
    exporter.result = SpanExportResult.SUCCESS
    spans.delivery.export([])
    assert not spans.delivery.failing
    assert spans.delivery.lost == 0
    spans.end()
    spans.delivery.export([])
    assert capsys.readouterr().err == ""


class Slow(InMemorySpanExporter):
    """A collector that takes its time, and counts what it has been given."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.go_on.wait()
        result: SpanExportResult = super().export(spans)
        return result


def test_no_more_wait_for_the_collector_than_have_room_and_none_of_these_is_lost() -> None:
    exporter = Slow()
    spans = Spans("", exporter)
    call = traced(asked=[Asked(Names(""), 0, 0.25, 1.75, True)])
    unrecorded = traced(f"00-{'0' * 32}-{PARENT}-01")
    taken = 0
    while spans.make(END, call, NOBODY):
        spans.make(END, unrecorded, NOBODY)
        taken += 2
    assert taken >= QUEUE - 1
    exporter.go_on.set()
    spans.end()
    assert len(exporter.get_finished_spans()) == taken
    assert spans.make(END, call, NOBODY)


def test_what_the_collector_does_not_take_is_counted() -> None:
    spans = Spans("", Refusing())
    spans.make(END, traced(), NOBODY)
    spans.end()
    assert (spans.delivery.begun, spans.delivery.lost) == (1, 1)
