"""Spans of calls, by OpenTelemetry, made after the fact.

OTLP goes by HTTP here. By gRPC the library would bring grpcio into the daemon: a thread for each processor, where the
unit allows a few, and a C library that ends the process if it gets none, for what a thread and a POST do as well.
"""

from __future__ import annotations

import logging
from typing import Dict, Final, Optional, Sequence, Union

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from criproxy import __version__
from criproxy.control.api import utf8
from criproxy.http2.grpc import Code
from criproxy.relay.known import Subject
from criproxy.relay.tracing import EndedCall
from criproxy.report.log import code_name

PATH: Final = "/v1/traces"
"""OTLP/HTTP, "Default paths"."""
TIMEOUT: Final = 5
"""How long an attempt to send spans may take, with its repetitions, seconds."""
_DELAY: Final = 1000
"""How long spans wait for others to be sent with, milliseconds."""
QUEUE: Final = 2048
"""So many spans wait for the collector at most: about 8 MB."""
_BATCH: Final = 128
"""So many are sent at once: to write them takes some milliseconds."""
_LONGEST_NAME: Final = 256
_LONGEST_TEXT: Final = 4096
"""characters of an error's text"""
_LOGGERS: Final = [logging.getLogger(name) for name in ("opentelemetry", "urllib3")]
for _logger in _LOGGERS:
    # Or else what nobody reads would go to standard error.
    _logger.propagate = False
    _logger.addHandler(logging.NullHandler())

Attributes = Dict[str, Union[str, int]]


class Spans:
    """Makes spans, and sends them to a collector (http://HOST:PORT), or to a test's exporter."""

    def __init__(self, url: str, exporter: Optional[SpanExporter] = None) -> None:
        self.delivery = Delivery(_exporter(url) if exporter is None else exporter)
        self._provider = TracerProvider(
            # What has no parent is no part of a trace: kubelet decides which calls are.
            sampler=ParentBased(ALWAYS_OFF),
            resource=Resource.create({"service.name": "criproxy", "service.version": __version__}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self.delivery, max_queue_size=QUEUE, schedule_delay_millis=_DELAY, max_export_batch_size=_BATCH
            )
        )
        self._tracer = self._provider.get_tracer("criproxy", __version__)
        self._parents = TraceContextTextMapPropagator()
        self._made = 0

    def make(self, at: int, call: EndedCall, about: Subject) -> bool:
        """Makes the spans of a call that has ended at this time, nanoseconds since 1970.

        Gives whether there is room for them: too many may wait for the collector.
        """
        count = 1 + len(call.asked)
        if self._made - self.delivery.begun + count > QUEUE:
            # The library would drop them, too, and tell nobody how many.
            return False
        came = at - _nanoseconds(call.total)
        name = utf8(call.plan.path[1 : _LONGEST_NAME + 1])
        attributes: Attributes = {**_method(call), **_names(about), "criproxy.call": call.number}
        parent = self._parents.extract(_parent_of(call), Context())
        span = self._tracer.start_span(
            name, parent, SpanKind.SERVER, {**attributes, **_code(call.code)}, start_time=came
        )
        if span.is_recording():
            self._made += count
        inside = set_span_in_context(span, Context())
        for asked in call.asked:
            child = self._tracer.start_span(
                name,
                inside,
                SpanKind.CLIENT,
                {
                    **_method(call),
                    **_code(asked.code),
                    "criproxy.runtime": utf8(asked.names.title),
                    "criproxy.reached": asked.reached,
                },
                start_time=came + _nanoseconds(asked.begun),
            )
            _judge(child, asked.code, "")
            child.end(came + _nanoseconds(asked.ended))
        _judge(span, call.code, call.text)
        span.end(at)
        return True

    def end(self) -> None:
        """Sends what is left, as long as that takes."""
        self._provider.shutdown()


class Delivery(SpanExporter):
    """Sends spans by another exporter, and keeps in mind whether the collector takes them. Called by its thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.failing = False
        """Whether the last that were sent have been lost."""
        self.reason = ""
        """Why the last that were lost have been."""
        self.begun = 0
        """How many it has begun to send."""
        self.lost = 0
        """How many the collector has not taken."""
        self._exporter = exporter
        self._words = _Words()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends some."""
        self.begun += len(spans)
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.reason = self._words.last
            self.lost += len(spans)
        self.failing = result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        """Sends no more."""
        self._words.close()
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits in it."""
        return self._exporter.force_flush(timeout_millis)


class _Words(logging.Handler):
    """What the library logs: nothing of it goes to standard error, and the last of its errors is a reason."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""
        for logger in _LOGGERS:
            logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps it."""
        self.last = record.getMessage()

    def close(self) -> None:
        """Keeps no more."""
        for logger in _LOGGERS:
            logger.removeHandler(self)
        super().close()


def _exporter(url: str) -> SpanExporter:
    session = requests.Session()
    # A proxy for the node's other programs leads away from the collector.
    session.trust_env = False
    return OTLPSpanExporter(endpoint=url + PATH, timeout=TIMEOUT, session=session)


def _parent_of(call: EndedCall) -> Dict[str, str]:
    found = ((name, call.block.get(name.encode())) for name in ("traceparent", "tracestate"))
    return {name: value.decode("latin-1") for name, value in found if value is not None}


def _method(call: EndedCall) -> Attributes:
    """OpenTelemetry's semantic conventions for gRPC, as kubelet's own spans have them."""
    service, _, method = call.plan.path[1:].rpartition("/")
    return {
        "rpc.system": "grpc",
        "rpc.service": utf8(service[:_LONGEST_NAME]),
        "rpc.method": utf8(method[:_LONGEST_NAME]),
    }


def _code(code: int) -> Attributes:
    return {"rpc.grpc.status_code": code}


def _names(about: Subject) -> Attributes:
    names: Attributes = {}
    if about.pod is not None:
        names = {"k8s.namespace.name": utf8(about.pod.namespace), "k8s.pod.name": utf8(about.pod.name)}
    if about.container is not None:
        names["k8s.container.name"] = utf8(about.container.name)
    return names


def _judge(span: Span, code: int, text: str) -> None:
    if code != Code.OK:
        span.set_status(Status(StatusCode.ERROR, utf8(text[:_LONGEST_TEXT]) or code_name(code)))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
