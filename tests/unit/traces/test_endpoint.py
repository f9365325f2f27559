"""Which calls become spans, when, and what the log says of the collector."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any, Callable, List, Sequence

import pytest
from scene import PRIMARY, Node, message

from criproxy.control.subject import DaemonState
from criproxy.cri.identity import Names
from criproxy.http2.headers import block_of
from criproxy.relay.routing import plan_of
from criproxy.relay.tracing import Asked, EndedCall
from criproxy.traces.endpoint import Traces
from criproxy.traces.sender import INTERVAL, MOST_HELD, MOST_WAITING, Sender

URL = "http://127.0.0.1:4318"
SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Made:
    """Stands for the spans that the library makes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: List[EndedCall] = []
        self.ended = 0
        self.room = True
        self.delivery = SimpleNamespace(failing=False, reason="", lost=0)

    def make(self, at: int, call: EndedCall, about: object) -> bool:
        if self.room:
            self.calls.append(call)
        return self.room

    def end(self) -> None:
        self.ended += 1


class Lab:
    """A node, and spans that go nowhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spans: Callable[[str], Any]) -> None:
        self.node = Node()
        self.made: List[Made] = []
        self._spans = spans
        monkeypatch.setitem(sys.modules, "criproxy.traces.spans", SimpleNamespace(Spans=self._make))
        relay: Any = SimpleNamespace(tracing=self.node.context.tracing, known=self.node.context.known)
        self.daemon = DaemonState("/run/criproxy.sock", 0.0)
        self.parts = (self.daemon, relay, self.node.loop.real, self.node.context.log)

    def _make(self, url: str) -> Any:
        made = self._spans(url)
        self.made.append(made)
        return made

    def sender(self) -> Sender:
        sender = Sender(*self.parts, URL)
        sender.loading.join()
        return sender

    def end(self, parent: bytes = SAMPLED, size: int = 0, asked: Sequence[Asked] = ()) -> None:
        """A call ends."""
        block = block_of([(b":path", b"/runtime.v1.RuntimeService/Version"), (b"traceparent", parent)])
        call = EndedCall(1, plan_of(block.head), bytes(size), (), 0, "", 0.0, 0.0, None, block, asked)
        self.node.context.tracing.tell(call)

    @property
    def log(self) -> str:
        return self.node.text.getvalue()


@pytest.fixture(autouse=True)
def interval() -> Any:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch, Made)


def test_spans_are_made_when_nothing_else_is_to_be_done(lab: Lab) -> None:
    lab.sender()
    lab.end()
    assert lab.made[0].calls == [], "kubelet goes first"
    lab.node.loop.settle()
    assert len(lab.made[0].calls) == 1


def test_what_ends_while_the_library_is_loaded_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = threading.Event()

    def load(url: str) -> Any:
        there.wait()
        return Made(url)

    lab = Lab(monkeypatch, load)
    sender = Sender(*lab.parts, URL)
    lab.end()
    lab.node.loop.advance(1)
    there.set()
    sender.loading.join()
    lab.node.loop.advance(1)
    assert len(lab.made[0].calls) == 1


@pytest.mark.parametrize("ends", [Sender.stop, Sender.finish])
def test_a_library_that_comes_too_late_makes_nothing_and_ends(
    monkeypatch: pytest.MonkeyPatch, ends: Callable[[Sender], None]
) -> None:
    there = threading.Event()

    def load(url: str) -> Any:
        there.wait()
        return Made(url)

    lab = Lab(monkeypatch, load)
    sender = Sender(*lab.parts, URL)
    lab.end()
    ends(sender)
    there.set()
    sender.loading.join()
    lab.node.loop.advance(1)
    assert (lab.made[0].calls, lab.made[0].ended) == ([], 1)


@pytest.mark.parametrize("parent", [b"", b"1", SAMPLED[:-1] + b"0", SAMPLED.upper(), SAMPLED[:-3]])
def test_a_call_that_is_in_no_trace_that_is_recorded_makes_none(lab: Lab, parent: bytes) -> None:
    lab.sender()
    lab.end(parent)
    lab.node.loop.settle()
    assert lab.made[0].calls == []


def test_a_later_version_of_the_header_may_have_more_in_it(lab: Lab) -> None:
    lab.sender()
    lab.end(b"01" + SAMPLED[2:] + b"-more")
    lab.node.loop.settle()
    assert len(lab.made[0].calls) == 1


@pytest.mark.parametrize(("size", "most"), [(0, MOST_WAITING), (MOST_HELD // 4, 4)])
def test_no_more_wait_than_have_room(lab: Lab, size: int, most: int) -> None:
    lab.sender()
    for _ in range(most + 3):
        lab.end(size=size)
    lab.node.loop.settle()
    assert len(lab.made[0].calls) == most
    lab.end(size=size)
    lab.node.loop.settle()
    assert len(lab.made[0].calls) == most + 1


def test_those_that_find_no_room_are_counted_and_told_once_a_minute(lab: Lab) -> None:
    lab.sender()
    for _ in range(MOST_WAITING):
        lab.end()
    assert lab.daemon.spans_without_room == 0
    lab.end(asked=[Asked(Names("alt.test"), 0, 0.0, 0.0, True)])
    lab.node.loop.settle()
    lab.made[0].room = False
    lab.end()
    lab.node.loop.settle()
    assert (lab.daemon.spans_without_room, lab.log.count("lost")) == (3, 0)
    lab.node.loop.advance(INTERVAL)
    lab.node.loop.advance(INTERVAL)
    assert lab.log.count(f"otlp-endpoint: 3 spans are lost: more come than {URL} takes") == 1
    assert lab.log.count("lost") == 1


def test_what_has_not_been_told_at_the_end_is_told_then(lab: Lab) -> None:
    sender = lab.sender()
    lab.made[0].room = False
    lab.end()
    sender.finish()
    assert lab.log.count("otlp-endpoint: 1 span is lost: ") == 1
    lab.node.loop.advance(INTERVAL)
    assert lab.log.count("lost") == 1


def test_those_that_the_collector_does_not_take_are_counted(lab: Lab) -> None:
    lab.sender()
    for lost in (0, 2, 2, 5):
        lab.made[0].delivery.lost = lost
        lab.end()
        assert lab.daemon.spans_not_taken == lost


def test_a_collector_that_takes_none_is_one_warning_and_its_return_a_line(lab: Lab) -> None:
    lab.sender()
    delivery = lab.made[0].delivery
    delivery.failing, delivery.reason = True, "refused\x1b"
    for _ in range(3):
        lab.end()
    assert lab.log.count("takes no spans, they are lost: refused\\x1b") == 1
    delivery.failing = False
    for _ in range(3):
        lab.end()
    assert lab.log.count(f"{URL} takes spans again") == 1


def test_a_library_that_does_not_load_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str) -> Any:
        raise ValueError("OTEL_X\n")

    lab = Lab(monkeypatch, fail)
    lab.sender()
    for _ in range(3):
        lab.end()
    assert lab.log.count("otlp-endpoint: there are no traces: ValueError: OTEL_X\\n") == 1
    assert lab.node.context.tracing.watchers == []


def test_the_end_makes_what_waits_and_sends_it(lab: Lab) -> None:
    sender = lab.sender()
    lab.end()
    sender.finish()
    assert (len(lab.made[0].calls), lab.made[0].ended) == (1, 1)
    lab.node.loop.settle()
    assert lab.node.context.tracing.watchers == []


def test_another_collector_follows_the_first(lab: Lab) -> None:
    traces = Traces(*lab.parts)
    traces.move("")
    assert lab.node.context.tracing.watchers == []
    for url in (URL, URL, "http://127.0.0.1:1"):
        traces.move(url)
        (watcher,) = lab.node.context.tracing.watchers
        assert isinstance(watcher, Sender)
        watcher.loading.join()
    assert [made.url for made in lab.made] == [URL, "http://127.0.0.1:1"]
    traces.move("")
    assert lab.node.context.tracing.watchers == []
    traces.close()


def test_calls_of_the_relay_are_told_with_the_runtimes_that_were_asked(lab: Lab) -> None:
    lab.sender()
    block = [(b":method", b"POST"), (b":scheme", b"http"), (b"te", b"trailers"), (b"content-type", b"application/grpc")]
    node = lab.node
    path = (b":path", b"/runtime.v1.RuntimeService/ContainerStatus")
    stream = node.kubelet.connection.open_stream()
    head = block_of([*block[:2], path, *block[2:], (b"traceparent", SAMPLED)])
    node.kubelet.connection.sender.headers(stream, head.wire)
    body = message("ContainerStatusRequest", container_id="c")
    node.kubelet.connection.sender.data(stream, b"\0" + len(body).to_bytes(4, "big") + body, True)
    node.kubelet.say()
    node.give(PRIMARY, "ContainerStatus", message("ContainerStatusResponse"))
    node.loop.settle()
    (call,) = lab.made[0].calls
    assert [asked.names.runtime for asked in call.asked] == [PRIMARY]
