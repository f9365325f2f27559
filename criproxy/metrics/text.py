"""Writes families of metrics as text, by prometheus_client, in steps.

The library writes a whole registry at once, a line in 5 to 30 microseconds: for some thousand lines others would wait
too long. So it gets one set of labels at a time, and what it says of the family each time is said once. It writes each
line once, when that is new: later only the number in it is another.

Of the library only its parts without a server are used: `prometheus_client.exposition`, which has the older of the two
forms, needs OpenSSL and WSGI, which criproxy-nodeps does not have. The forms differ in three lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Callable, Dict, Final, Generator, Iterable, List, Tuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.utils import floatToGoString

from criproxy.metrics.families import Family, Kind, Sample, Times

STEP: Final = 0.5e-3
"""How long others wait while a text is being made, seconds."""
_EOF: Final = b"# EOF\n"
_COUNTER: Final = re.compile(rb"# HELP (\w+) (.*)\n# TYPE \1 counter")
_KINDS: Final[Dict[Kind, Any]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}


@dataclass(frozen=True)
class Form:
    """A form of the text."""

    content_type: str
    media_type: str

    def is_wanted(self, accept: str) -> bool:
        """Whether somebody asks for it (RFC 9110, section 12.5.1). Who has both takes either."""
        ranges = (each.partition(";") for each in accept.lower().split(","))
        return any(
            name.strip() == self.media_type and "q=0" not in parameters.replace(" ", "").split(";")
            for name, _, parameters in ranges
        )

    def head(self, text: bytes) -> bytes:
        """What OpenMetrics says of a family in the words of this form: in the older one, a counter is called as its
        sample is."""
        return _COUNTER.sub(rb"# HELP \1_total \2\n# TYPE \1_total counter", text) if self is TEXT else text


TEXT: Final = Form("text/plain; version=0.0.4; charset=utf-8", "text/plain")
OPENMETRICS: Final = Form("application/openmetrics-text; version=1.0.0; charset=utf-8", "application/openmetrics-text")


class Texts:
    """Makes texts, and remembers the lines of the last one. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: Dict[Tuple[str, Tuple[str, ...]], _Lines] = {}

    def of(
        self, families: Iterable[Tuple[Family, Iterable[Sample]]], more: Iterable[Metric], form: Form
    ) -> Generator[None, None, bytes]:
        """The text of families and their samples, and of families of the library's own, in steps."""
        parts: List[bytes] = []
        known: Dict[Tuple[str, Tuple[str, ...]], _Lines] = {}
        until = self._clock() + STEP
        for family, samples in families:
            head = _head(family)
            parts.append(form.head(head))
            for sample in samples:
                key = (family.name, sample.labels)
                known[key] = lines = self._known.get(key) or _Lines(family, sample, len(head))
                parts.append(lines.of(sample))
                if self._clock() >= until:
                    yield
                    until = self._clock() + STEP
        self._known = known
        parts += [form.head(_written(metric)) for metric in more]
        return b"".join([*parts, _EOF] if form is OPENMETRICS else parts)


class _Lines:
    """The lines of one set of labels. The library writes them once; what changes after that is the numbers."""

    __slots__ = ("_family", "_names", "_sample", "_text")

    def __init__(self, family: Family, sample: Sample, head: int) -> None:
        self._family = family
        self._sample = sample
        self._text = _written(_metric(family, sample))[head:]
        self._names = [line.rpartition(b" ")[0] for line in self._text.splitlines()]

    def of(self, sample: Sample) -> bytes:
        """The lines with the values of this sample."""
        if sample != self._sample:
            values = (_number(each.value) for each in _metric(self._family, sample).samples)
            self._text = b"".join([b"%s %s\n" % line for line in zip(self._names, values)])
            self._sample = sample
        return self._text


class _Registry:
    """As much of a registry as the library needs in order to write one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> List[Metric]:
        return [self._family]


@cache
def _head(family: Family) -> bytes:
    """What is said of a family before its samples."""
    return _written(_metric(family))


def _metric(family: Family, *samples: Sample) -> Any:
    """A family as the library has it."""
    metric = _KINDS[family.kind](family.name, family.help, labels=family.labels)
    for sample in samples:
        if isinstance(sample.value, Times):
            metric.add_metric(sample.labels, _buckets(sample.value), sample.value.seconds)
        else:
            metric.add_metric(sample.labels, sample.value)
    return metric


def _written(metric: Metric) -> bytes:
    """A family as OpenMetrics has it, without the end of the text."""
    text: bytes = generate_latest(_Registry(metric))  # type: ignore[no-untyped-call]
    return text[: -len(_EOF)]


def _buckets(times: Times) -> List[Tuple[str, float]]:
    below = [(repr(bound), float(count)) for bound, count in times.below]
    return [*below, ("+Inf", float(times.calls))]


def _number(value: float) -> bytes:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text.encode()
