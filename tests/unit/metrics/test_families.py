"""Which metrics there are, and what they say of a daemon and its relay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
from scene import ALT, PRIMARY, Node

from criproxy.control.subject import DaemonState, Refusal
from criproxy.cri.identity import Names
from criproxy.http2.grpc import Code
from criproxy.metrics.families import FAMILIES, OWN, WHOLE, Kind, Times, families, label_of
from criproxy.metrics.pages import problem
from criproxy.relay.memory import Absence
from criproxy.relay.probe import IMAGE_SERVICE, RUNTIME_SERVICE
from criproxy.relay.runtime import Runtime
from criproxy.relay.statistics import BOUNDS

ROOT = Path(__file__).parents[3]


class _Account:
    total, limit = 5, 96


class _Relay:
    """A relay as it is measured, around a node in memory."""

    ready = True
    account = _Account()

    def __init__(self, node: Node) -> None:
        self._node = node
        self.away: Dict[Runtime, Absence] = {}

    @property
    def runtimes(self) -> Any:
        return list(self._node.runtimes.values())

    @property
    def clients(self) -> Any:
        return self._node.clients

    @property
    def calls(self) -> Any:
        return self._node.context.statistics

    def absence(self, runtime: Runtime) -> Any:
        return self.away.get(runtime)

    def remembered(self, runtime: Runtime) -> int:
        return 7


def relay_of(node: Node) -> Any:
    return _Relay(node)


def state() -> DaemonState:
    state = DaemonState("/run/criproxy.sock", 100.0)
    state.loaded_at = 200.0
    return state


def read(node: Node, relay: Any = None, daemon: Any = None) -> Dict[Tuple[str, ...], Any]:
    """All values by the names of their metrics and their labels."""
    told = families(daemon or state(), relay or relay_of(node))
    return {(family.name, *sample.labels): sample.value for family, samples in told for sample in samples}


# The table.


def test_names_and_units_are_as_prometheus_wants_them() -> None:
    for family in FAMILIES:
        assert re.fullmatch("criproxy_[a-z_]+", family.name)
        assert family.name.endswith("_total") is (family.kind is Kind.COUNTER)
        assert family.name.endswith("_seconds") or family.kind is not Kind.HISTOGRAM
        assert re.fullmatch(r'[^"\\\n]+\.', family.help), "the two forms escape other characters"
        assert not set(family.labels) & {"le", "job", "instance"}
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_the_bounds_that_are_told_are_counted() -> None:
    assert set(WHOLE) | set(OWN) <= set(BOUNDS)
    assert sorted(WHOLE) == list(WHOLE)
    assert sorted(OWN) == list(OWN)


def test_the_manual_has_all_of_them_with_their_labels() -> None:
    page = re.sub(r"\\f.", "", (ROOT / "debian/criproxy.8").read_text().replace(r"\-", "-"))
    entries = re.findall(r"^\.BI? (criproxy_\w+)(?: \"{(.*)}\")?\n(.*)\n", page, flags=re.M)
    assert entries == [(family.name, ",".join(family.labels), family.help) for family in FAMILIES]


# Their values.


def test_a_call_is_told_by_its_method_and_its_code_with_its_times() -> None:
    node = Node()
    node.call("StopContainer", container_id=f"{ALT}__c")
    assert read(node)["criproxy_calls_in_flight", ALT] == 1
    node.loop.advance(0.3)
    node.give(ALT, "StopContainer", b"")
    told = read(node)
    assert told["criproxy_calls_in_flight", ALT] == 0
    assert told["criproxy_calls_total", "StopContainer", "OK"] == 1
    assert told["criproxy_runtime_calls_total", ALT, "StopContainer", "OK"] == 1
    assert ("criproxy_runtime_calls_total", "primary", "StopContainer", "OK") not in told
    whole = told["criproxy_call_duration_seconds", "StopContainer"]
    assert isinstance(whole, Times)
    assert whole.below == [(bound, int(bound >= 0.3)) for bound in WHOLE]
    assert whole.calls == 1
    assert whole.seconds == pytest.approx(0.3)
    assert told["criproxy_runtime_call_duration_seconds", ALT, "StopContainer"].below == whole.below
    own = told["criproxy_proxy_duration_seconds", "StopContainer"]
    assert own.below == [(bound, 1) for bound in OWN]


def test_what_is_longer_than_all_bounds_is_in_the_last_class() -> None:
    node = Node()
    node.call("StopContainer", container_id=f"{ALT}__c")
    node.loop.advance(1000)
    node.give(ALT, "StopContainer", b"")
    whole = read(node)["criproxy_call_duration_seconds", "StopContainer"]
    assert (whole.below[-1], whole.calls) == ((WHOLE[-1], 0), 1)


def test_methods_that_somebody_makes_up_are_one() -> None:
    node = Node()
    for name in ("One", "Two"):
        node.call_path(f"/some.Service/{name}", b"")
        node.give(PRIMARY, name, b"")
    assert read(node)["criproxy_calls_total", "other", "OK"] == 2


def test_a_runtime_that_is_lost_is_not_up_and_found_again_it_has_reconnected() -> None:
    node = Node()
    relay = relay_of(node)
    assert read(node)["criproxy_runtime_up", ALT] == 1
    node.lose(ALT)
    runtime = node.runtimes[ALT]
    relay.away[runtime] = Absence(0.0, 60.0, 3)
    told = read(node, relay)
    assert [told["criproxy_runtime_up", each] for each in ("primary", ALT)] == [1, 0]
    assert told["criproxy_remembered_pods", ALT] == 3
    node.find(ALT)
    told = read(node)
    assert told["criproxy_runtime_up", ALT] == 1
    assert told["criproxy_runtime_reconnects_total", ALT] == 1
    assert told["criproxy_runtime_reconnects_total", "primary"] == 0
    assert told["criproxy_remembered_pods", ALT] == 0


def test_a_list_tells_its_size_and_who_has_been_too_late_for_it() -> None:
    node = Node()
    node.call("ListImages")
    node.give(PRIMARY, "ListImages", b"")
    node.loop.advance(5.1)
    told = read(node)
    assert told["criproxy_list_bytes", "primary", "ListImages"] == 0
    assert told["criproxy_fan_out_timeouts_total", ALT] == 1
    assert told["criproxy_left_out_total", ALT, "part"] == 1
    assert told["criproxy_left_out_total", ALT, "entries"] == 0
    assert told["criproxy_runtime_calls_total", ALT, "ListImages", "DEADLINE_EXCEEDED"] == 1
    assert ("criproxy_fan_out_timeouts_total", "primary") not in told


def test_bytes_are_told_for_each_side() -> None:
    node = Node()
    node.context.statistics.traffic.received += 3
    node.context.statistics.traffic.sent += 4
    told = read(node)
    assert told["criproxy_received_bytes_total",] == 3
    assert told["criproxy_sent_bytes_total",] == 4
    assert told["criproxy_runtime_received_bytes_total", ALT] == node.runtimes[ALT].statistics.traffic.received > 0
    assert told["criproxy_runtime_sent_bytes_total", ALT] == node.runtimes[ALT].statistics.traffic.sent > 0


def test_the_daemon_tells_what_it_has_loaded_and_refused() -> None:
    node, daemon = Node(), state()
    told = read(node, daemon=daemon)
    assert told["criproxy_config_last_reload_successful",] == 1
    assert told["criproxy_config_last_reload_success_timestamp_seconds",] == 200.0
    daemon.refusal, daemon.refusals, daemon.reloads = Refusal(300.0, "because"), 2, 1
    daemon.spans_without_room, daemon.spans_not_taken = 3, 4
    told = read(node, daemon=daemon)
    assert told["criproxy_config_last_reload_successful",] == 0
    assert [told["criproxy_reloads_total", result] for result in ("taken", "refused")] == [1, 2]
    assert [told["criproxy_spans_lost_total", reason] for reason in ("room", "collector")] == [3, 4]
    assert told["criproxy_connections",] == 1
    assert [told["criproxy_memory_held_bytes",], told["criproxy_memory_limit_bytes",]] == [5, 96]


@pytest.mark.parametrize("id", ["primary", "alt.test", "image-service"])
def test_no_two_runtimes_have_one_label(id: str) -> None:
    node = Node((PRIMARY, id))
    labels = [label_of(runtime) for runtime in node.runtimes.values()]
    images = Runtime(node.loop.real, node.context.log, Names(""), "/x", lambda _: None, IMAGE_SERVICE)
    assert len({*labels, label_of(images)}) == 3
    assert labels[0] == "primary"


# Whether it is ready.


def test_it_is_ready_while_the_primary_runtime_is_there() -> None:
    node, daemon = Node(), state()
    relay = relay_of(node)
    assert problem(daemon, relay) == ""
    node.lose(ALT)
    assert problem(daemon, relay) == ""
    node.lose(PRIMARY)
    assert problem(daemon, relay).startswith("the primary runtime () is not there: ")
    assert RUNTIME_SERVICE is node.runtimes[PRIMARY].service


def test_it_is_not_ready_before_it_takes_connections_nor_when_it_stops() -> None:
    node, daemon = Node(), state()
    relay = relay_of(node)
    relay.ready = False
    assert problem(daemon, relay) == "criproxy takes no connections yet: it looks for its runtimes"
    daemon.stopping = True
    assert problem(daemon, relay) == "criproxy stops"


def test_codes_have_grpcs_names() -> None:
    node = Node()
    node.lose(ALT)
    node.call("StopContainer", container_id=f"{ALT}__c")
    assert read(node)["criproxy_calls_total", "StopContainer", Code.UNAVAILABLE.name] == 1
