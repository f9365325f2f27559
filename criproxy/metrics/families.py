"""Which metrics there are, and their values now. A row of `FAMILIES` each; the manual has the same table.

Names, labels and units are as Prometheus wants them (prometheus.io/docs/practices/naming): seconds, bytes, and
``_total`` for what only grows. What kubelet and other clients have called, and what runtimes have been called, are
families of their own: a list of three runtimes is one of the first, and three of the second.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import Callable, Final, Iterable, Iterator, List, NamedTuple, Sequence, Tuple, Union

from criproxy import __version__
from criproxy.control.subject import DaemonState
from criproxy.http2.compiled import COMPILED
from criproxy.metrics.subject import Measured
from criproxy.relay.probe import IMAGE_SERVICE
from criproxy.relay.runtime import Runtime
from criproxy.relay.statistics import BOUNDS, Histogram, MethodStatistics
from criproxy.report.log import code_name

WHOLE: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0)
"""The bounds that are told of the times of calls, of those that are counted, seconds."""
OWN: Final = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 1.0)
"""Those of the proxy's own part."""
OTHER: Final = "other"
"""The label of all methods that are not the CRI's."""


class Kind(Enum):
    """What a metric is (OpenMetrics)."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Times(NamedTuple):
    """The value of a histogram: how many took as long as a bound, or less, for each; all; their sum, seconds."""

    below: List[Tuple[float, int]]
    calls: int
    seconds: float


class Sample(NamedTuple):
    """The value for one set of labels."""

    labels: Tuple[str, ...]
    value: Union[float, Times]


@dataclass(frozen=True)
class Family:
    """One metric, with the labels of its samples."""

    name: str
    kind: Kind
    help: str
    labels: Tuple[str, ...]
    read: Callable[[DaemonState, Measured], Iterator[Sample]]
    """Its values now. To be gone through at once or in pieces: what changes meanwhile does no harm."""


def families(daemon: DaemonState, relay: Measured) -> Iterator[Tuple[Family, Iterator[Sample]]]:
    """All metrics and their samples. Each is read when its turn comes."""
    for family in FAMILIES:
        yield family, family.read(daemon, relay)


# Calls of clients.


def _calls(_: DaemonState, relay: Measured) -> Iterator[Sample]:
    return _by_code((), relay.calls.methods.items())


def _durations(_: DaemonState, relay: Measured) -> Iterator[Sample]:
    for name, method in list(relay.calls.methods.items()):
        yield Sample((name or OTHER,), _times(method.times, WHOLE))


def _own_durations(_: DaemonState, relay: Measured) -> Iterator[Sample]:
    for name, method in list(relay.calls.methods.items()):
        yield Sample((name or OTHER,), _times(method.own, OWN))


def _by_code(labels: Tuple[str, ...], methods: Iterable[Tuple[str, MethodStatistics]]) -> Iterator[Sample]:
    for name, method in list(methods):
        for code, calls in enumerate(method.codes):
            if calls:
                yield Sample((*labels, name or OTHER, code_name(code)), calls)


def _times(histogram: Histogram, bounds: Sequence[float]) -> Times:
    below = list(accumulate(histogram.counts))
    return Times([(bound, below[BOUNDS.index(bound)]) for bound in bounds], below[-1], histogram.sum)


# Runtimes.


def label_of(runtime: Runtime) -> str:
    """The value of the label ``runtime``. No id has two underscores, or a space."""
    id = runtime.names.runtime
    if not id:
        return "image service" if runtime.service is IMAGE_SERVICE else "primary"
    return f"{id}__" if id == "primary" else id


def _runtime_calls(_: DaemonState, relay: Measured) -> Iterator[Sample]:
    for runtime in relay.runtimes:
        yield from _by_code((label_of(runtime),), runtime.statistics.methods.items())


def _runtime_durations(_: DaemonState, relay: Measured) -> Iterator[Sample]:
    for runtime in relay.runtimes:
        for name, method in list(runtime.statistics.methods.items()):
            yield Sample((label_of(runtime), name or OTHER), _times(method.times, WHOLE))


def _lists(_: DaemonState, relay: Measured) -> Iterator[Sample]:
    for runtime in relay.runtimes:
        for name, size in list(runtime.statistics.lists.items()):
            yield Sample((label_of(runtime), name), size)


def _left_out(_: DaemonState, relay: Measured) -> Iterator[Sample]:
    for runtime in _alternatives(relay):
        yield Sample((label_of(runtime), "part"), runtime.statistics.missing)
        yield Sample((label_of(runtime), "entries"), runtime.statistics.cut)


def _remembered_pods(relay: Measured, runtime: Runtime) -> int:
    absence = relay.absence(runtime)
    return 0 if absence is None else absence.pods


def _alternatives(relay: Measured) -> List[Runtime]:
    return [runtime for runtime in relay.runtimes if not runtime.primary]


def _each(value: Callable[[Measured, Runtime], float]) -> Callable[[DaemonState, Measured], Iterator[Sample]]:
    """A value for each runtime."""
    return lambda _, relay: (Sample((label_of(each),), value(relay, each)) for each in relay.runtimes)


def _each_alternative(
    value: Callable[[Measured, Runtime], float],
) -> Callable[[DaemonState, Measured], Iterator[Sample]]:
    """A value for each alternative runtime."""
    return lambda _, relay: (Sample((label_of(each),), value(relay, each)) for each in _alternatives(relay))


# The daemon.


def _one(value: Callable[[DaemonState, Measured], float]) -> Callable[[DaemonState, Measured], Iterator[Sample]]:
    """A value without labels."""
    return lambda daemon, relay: iter((Sample((), value(daemon, relay)),))


def _reloads(daemon: DaemonState, _: Measured) -> Iterator[Sample]:
    return iter((Sample(("taken",), daemon.reloads), Sample(("refused",), daemon.refusals)))


def _lost_spans(daemon: DaemonState, _: Measured) -> Iterator[Sample]:
    return iter((Sample(("room",), daemon.spans_without_room), Sample(("collector",), daemon.spans_not_taken)))


def _build(_: DaemonState, __: Measured) -> Iterator[Sample]:
    return iter((Sample((__version__, str(COMPILED).lower(), sys.version.partition(" ")[0]), 1),))


FAMILIES: Final = (
    Family(
        "criproxy_calls_total",
        Kind.COUNTER,
        "Calls of kubelet and other clients that have ended, by the status of gRPC that they ended with.",
        ("method", "code"),
        _calls,
    ),
    Family(
        "criproxy_call_duration_seconds",
        Kind.HISTOGRAM,
        "How long these calls took, from the request's head to the answer's end; of streams of events nothing.",
        ("method",),
        _durations,
    ),
    Family(
        "criproxy_proxy_duration_seconds",
        Kind.HISTOGRAM,
        "The proxy's own part of that: all but what runtimes took, or were waited for.",
        ("method",),
        _own_durations,
    ),
    Family(
        "criproxy_connections",
        Kind.GAUGE,
        "Connections of kubelet and other clients.",
        (),
        _one(lambda _, relay: len(relay.clients)),
    ),
    Family(
        "criproxy_received_bytes_total",
        Kind.COUNTER,
        "What has been read from clients.",
        (),
        _one(lambda _, relay: relay.calls.traffic.received),
    ),
    Family(
        "criproxy_sent_bytes_total",
        Kind.COUNTER,
        "What has been written to clients.",
        (),
        _one(lambda _, relay: relay.calls.traffic.sent),
    ),
    Family(
        "criproxy_runtime_up",
        Kind.GAUGE,
        "1 if the runtime is there and answers, else 0.",
        ("runtime",),
        _each(lambda _, runtime: int(runtime.there)),
    ),
    Family(
        "criproxy_runtime_reconnects_total",
        Kind.COUNTER,
        "How often the runtime has been found again, on a connection after its first.",
        ("runtime",),
        _each(lambda _, runtime: max(0, runtime.statistics.found - 1)),
    ),
    Family(
        "criproxy_runtime_calls_total",
        Kind.COUNTER,
        "Calls that the runtime was to get, the proxy's own among them, by how they ended.",
        ("runtime", "method", "code"),
        _runtime_calls,
    ),
    Family(
        "criproxy_runtime_call_duration_seconds",
        Kind.HISTOGRAM,
        "How long the runtime took for them.",
        ("runtime", "method"),
        _runtime_durations,
    ),
    Family(
        "criproxy_calls_in_flight",
        Kind.GAUGE,
        "Calls that the runtime has and has not answered yet.",
        ("runtime",),
        _each(lambda _, runtime: runtime.under_way),
    ),
    Family(
        "criproxy_runtime_received_bytes_total",
        Kind.COUNTER,
        "What has been read from the runtime.",
        ("runtime",),
        _each(lambda _, runtime: runtime.statistics.traffic.received),
    ),
    Family(
        "criproxy_runtime_sent_bytes_total",
        Kind.COUNTER,
        "What has been written to the runtime.",
        ("runtime",),
        _each(lambda _, runtime: runtime.statistics.traffic.sent),
    ),
    Family(
        "criproxy_list_bytes",
        Kind.GAUGE,
        "The size of the runtime's part of the last list of all runtimes that had no filter.",
        ("runtime", "method"),
        _lists,
    ),
    Family(
        "criproxy_fan_out_timeouts_total",
        Kind.COUNTER,
        "Calls to all runtimes that have not waited for this one any longer.",
        ("runtime",),
        _each_alternative(lambda _, runtime: runtime.statistics.late),
    ),
    Family(
        "criproxy_left_out_total",
        Kind.COUNTER,
        "Answers of all runtimes without this one's part and without what it had before (part), and answers of its own"
        " without what is invalid or does not fit (entries).",
        ("runtime", "what"),
        _left_out,
    ),
    Family(
        "criproxy_remembered_pods",
        Kind.GAUGE,
        "Pods of a runtime that is away which lists still have.",
        ("runtime",),
        _each_alternative(_remembered_pods),
    ),
    Family(
        "criproxy_remembered_bytes",
        Kind.GAUGE,
        "The memory that is taken by the runtime's last lists.",
        ("runtime",),
        _each_alternative(lambda relay, runtime: relay.remembered(runtime)),
    ),
    Family(
        "criproxy_memory_held_bytes",
        Kind.GAUGE,
        "The memory that is taken by messages, as --memory-limit counts it.",
        (),
        _one(lambda _, relay: relay.account.total),
    ),
    Family(
        "criproxy_memory_limit_bytes",
        Kind.GAUGE,
        "What --memory-limit comes to.",
        (),
        _one(lambda _, relay: relay.account.limit),
    ),
    Family(
        "criproxy_reloads_total",
        Kind.COUNTER,
        "Reloads of the configuration, by whether they were taken or refused.",
        ("result",),
        _reloads,
    ),
    Family(
        "criproxy_config_last_reload_successful",
        Kind.GAUGE,
        "0 if the last reload was refused, else 1.",
        (),
        _one(lambda daemon, _: int(daemon.refusal is None)),
    ),
    Family(
        "criproxy_config_last_reload_success_timestamp_seconds",
        Kind.GAUGE,
        "When the configuration in force was read, seconds since 1970.",
        (),
        _one(lambda daemon, _: daemon.loaded_at),
    ),
    Family(
        "criproxy_spans_lost_total",
        Kind.COUNTER,
        "Spans of calls that found no room to wait for the collector (room), or that it did not take (collector).",
        ("reason",),
        _lost_spans,
    ),
    Family(
        "criproxy_build_info",
        Kind.GAUGE,
        "1; its labels say what runs.",
        ("version", "compiled", "python"),
        _build,
    ),
)
