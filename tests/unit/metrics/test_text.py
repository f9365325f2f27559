"""The text of metrics: what the library would write of the whole, in both forms, however it is made."""

from __future__ import annotations

from typing import Any, Dict, Generator, Iterator, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import exposition
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from criproxy.metrics.families import Family, Kind, Sample, Times
from criproxy.metrics.text import OPENMETRICS, STEP, TEXT, Form, Texts


def nothing(*_: object) -> Iterator[Sample]:
    return iter(())


CALLS = Family("calls_total", Kind.COUNTER, "Calls.", ("method", "code"), nothing)
UP = Family("up", Kind.GAUGE, "Whether it is up.", (), nothing)
TOOK = Family("took_seconds", Kind.HISTOGRAM, "How long.", ("method",), nothing)
Scrape = List[Tuple[Family, List[Sample]]]
NUMBERS = st.one_of(st.integers(0, 10**9), st.floats(0, 1e9))
LABEL = st.text(st.characters(codec="utf-8"), max_size=4)


@st.composite
def scrapes(draw: st.DrawFn) -> Scrape:
    pairs = draw(st.lists(st.tuples(LABEL, LABEL), max_size=4, unique=True))
    counts = sorted(draw(st.lists(st.integers(0, 99), min_size=3, max_size=3)))
    times = Times([(0.00005, counts[0]), (1.0, counts[1])], counts[2], draw(st.floats(0, 1e6)))
    return [
        (CALLS, [Sample(pair, draw(NUMBERS)) for pair in pairs]),
        (UP, [Sample((), draw(NUMBERS))]),
        (TOOK, [Sample((label,), times) for label in sorted({label for label, _ in pairs})]),
    ]


def finished(steps: Generator[None, None, bytes]) -> Tuple[bytes, int]:
    """A text, and after how many steps it is there."""
    taken = 0
    while True:
        taken += 1
        try:
            next(steps)
        except StopIteration as end:
            return end.value, taken


class Registry:
    """A whole scrape as the library has it."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Any]:
        for family, samples in self._scrape:
            kinds: Dict[Kind, Any] = {
                Kind.COUNTER: CounterMetricFamily,
                Kind.GAUGE: GaugeMetricFamily,
                Kind.HISTOGRAM: HistogramMetricFamily,
            }
            metric = kinds[family.kind](family.name, family.help, labels=family.labels)
            for labels, value in samples:
                if isinstance(value, Times):
                    below: List[Tuple[str, float]] = [(str(bound), count) for bound, count in value.below]
                    metric.add_metric(labels, [*below, ("+Inf", value.calls)], value.seconds)
                else:
                    metric.add_metric(labels, value)
            yield metric


def written(scrape: Scrape, form: Form) -> bytes:
    """The same by the library at once."""
    module: Any = openmetrics if form is OPENMETRICS else exposition
    text: bytes = module.generate_latest(Registry(scrape))
    return text


@given(st.lists(st.tuples(scrapes(), st.sampled_from([TEXT, OPENMETRICS])), min_size=1, max_size=4))
def test_each_text_is_what_the_library_writes_whatever_was_before(told: List[Tuple[Scrape, Form]]) -> None:
    texts = Texts(lambda: 0.0)
    for scrape, form in told:
        assert finished(texts.of(scrape, (), form)) == (written(scrape, form), 1)


@given(scrapes())
def test_both_forms_are_read_as_what_they_were_made_of(scrape: Scrape) -> None:
    read: Dict[Form, Any] = {TEXT: text_string_to_metric_families, OPENMETRICS: openmetrics_families}
    values = [value for _, samples in scrape for _, value in samples if not isinstance(value, Times)]
    for form, parse in read.items():
        text, _ = finished(Texts(lambda: 0.0).of(scrape, (), form))
        found = {family.name: family for family in parse(text.decode())}
        assert set(found) == {"calls", "up", "took_seconds"}
        assert [sample.value for name in ("calls", "up") for sample in found[name].samples] == pytest.approx(values)


def test_who_is_remembered_is_who_was_in_the_last_text() -> None:
    texts = Texts(lambda: 0.0)
    for number in range(50):
        finished(texts.of([(CALLS, [Sample((f"method{number}", "OK"), 1)])], (), TEXT))
    assert len(texts._known) == 1


def test_others_have_a_turn_while_a_text_is_made() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += STEP / 4
        return now

    scrape: Scrape = [(CALLS, [Sample((str(number), "OK"), 1) for number in range(40)])]
    text, steps = finished(Texts(clock).of(scrape, (), TEXT))
    assert text == written(scrape, TEXT)
    assert steps > 5


def test_families_of_the_librarys_own_are_told_in_the_same_form() -> None:
    counter: Any = CounterMetricFamily("cpu_seconds_total", "Time.", value=1.5)
    text, _ = finished(Texts(lambda: 0.0).of((), (counter,), TEXT))
    assert text == b"# HELP cpu_seconds_total Time.\n# TYPE cpu_seconds_total counter\ncpu_seconds_total 1.5\n"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5, text/plain;q=0.9", True),
        ("text/plain, Application/OpenMetrics-Text; version=1.0.0", True),
        ("application/openmetrics-text; q=0, text/plain", False),
        ("application/openmetrics-textual", False),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(accept: str, wanted: bool) -> None:
    assert OPENMETRICS.is_wanted(accept) is wanted


def test_the_forms_are_named_as_the_library_names_them() -> None:
    content_types = (OPENMETRICS.content_type, TEXT.content_type)
    assert content_types == (openmetrics.CONTENT_TYPE_LATEST, exposition.CONTENT_TYPE_PLAIN_0_0_4)
