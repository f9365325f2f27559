"""When an absence begins and ends, and what is remembered through it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Callable, List, Optional, Tuple

import pytest

from criproxy.cri.filter import CONTAINERS, PODS, ListKind
from criproxy.cri.identity import Names
from criproxy.cri.messages import api
from criproxy.http2.grpc import Code, RpcError, prefix
from criproxy.http2.headers import block_of
from criproxy.relay.exchange import Exchange
from criproxy.relay.loop import Timer
from criproxy.relay.memory import ASK_INTERVAL, REFRESH_DELAY, Memories
from criproxy.relay.outcome import Outcome, failure
from criproxy.relay.routing import Plan
from criproxy.relay.translation import Translation
from criproxy.report.log import Log
from criproxy.report.stream import StreamOutput

GRACE = 60.0
GONE = failure(RpcError(Code.UNAVAILABLE, "gone"))
RESPONSE = block_of(((b":status", b"200"), (b"content-type", b"application/grpc")))
CONTAINER = api()["ListContainersResponse"](containers=[{"id": "c"}]).SerializeToString()
"""A list of one."""


@dataclass
class Clock:
    """A loop of which a test moves the time."""

    now: float = 1000.0
    timers: List[Tuple[float, Timer]] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        self.timers.append((self.now + delay, Timer(callback)))
        return self.timers[-1][1]

    def advance(self, seconds: float) -> None:
        """Lets time pass, and what is due in it happen."""
        self.now += seconds
        for due, timer in list(self.timers):
            if due <= self.now:
                self.timers.remove((due, timer))
                if timer.callback is not None:
                    timer.callback()


class _Runtime:
    """A runtime of which a test says whether it is there."""

    primary = False
    names = Names("alt.test")
    path = "/alt.sock"
    available: Any = None

    def __init__(self, log: Log) -> None:
        self.warn, self.tell = log.warning, log.info

    @property
    def there(self) -> bool:
        return self.available is not None

    def __str__(self) -> str:
        return 'runtime "alt.test"'

    def leave(self, waiter: object) -> None:
        """Nobody waits."""


class _Untranslated:
    def get(self, plan: Plan) -> Translation:
        return Translation(plan.path.encode(), None, None)


def _open(opened: List[Any], exchange: Exchange, wire: bytes) -> None:
    opened.append((wire.rpartition(b"/")[2].decode(), exchange))
    exchange.on_opened()


class AbsentRuntime:
    """A memory of a runtime that is not there to be asked."""

    def __init__(self, grace: float = GRACE) -> None:
        self.clock = Clock()
        self._text = io.StringIO()
        self.config = SimpleNamespace(absence_grace=grace, fan_out_timeout=5.0, max_message_size=1000)
        log = Log(0, StreamOutput(self._text))
        runtime: Any = _Runtime(log)
        self.runtime = runtime
        context: Any = SimpleNamespace(config=self.config, clock=self.clock, log=log, router=None)
        self.memories = Memories(context)
        self.memories.add(runtime)
        known = self.memories.of(runtime)
        assert known is not None
        self.known = known

    def came(self, kind: ListKind, request: bytes, body: Optional[bytes]) -> None:
        """The runtime gives a list that has been asked for just now."""
        self.known.came(kind, request, body, self.memories.stamp())

    def list(self, outcome: Outcome = GONE) -> Tuple[Optional[bytes], Optional[bytes]]:
        """What lists of all pods and of all containers have of it."""
        return self.known.instead(PODS, b"", outcome), self.known.instead(CONTAINERS, b"\x0a\x00", outcome)

    def find(self) -> List[Any]:
        """Makes the runtime be there; gives the calls that are opened on the connection to it."""
        opened: List[Any] = []
        self.runtime.available = SimpleNamespace(
            translations=_Untranslated(),
            open=lambda exchange, wire, data: _open(opened, exchange, wire),
            cancel=lambda exchange: None,
            consumed=lambda stream_id, size: None,
            check_liveness=lambda: None,
        )
        self.known.follow()
        return opened

    def lose(self) -> None:
        """Makes it go absent."""
        self.runtime.available = None
        self.known.follow()

    def logged(self, text: str) -> int:
        """How many records have this text."""
        return self._text.getvalue().count(text)


@pytest.fixture
def absent() -> AbsentRuntime:
    made = AbsentRuntime()
    made.came(PODS, b"", pods("p"))
    made.came(CONTAINERS, b"\x0a\x00", CONTAINER)
    return made


def pods(*uids: str) -> bytes:
    answer: Any = api()["ListPodSandboxResponse"]()
    for uid in uids:
        answer.items.add(id=uid).metadata.uid = uid
    serialized: bytes = answer.SerializeToString()
    return serialized


def test_lists_have_what_they_had_until_the_grace_is_over(absent: AbsentRuntime) -> None:
    absent.known.follow()
    absent.clock.advance(GRACE - 1)
    assert absent.list() == (pods("p"), CONTAINER)
    absent.clock.advance(1)
    assert absent.list() == (None, None)
    assert absent.logged("no longer have what it had (pods: 1, containers: 1)") == 1


def test_it_is_said_once_however_often_it_is_noticed(absent: AbsentRuntime) -> None:
    for _ in range(int(GRACE)):
        absent.known.follow()
        assert absent.list() == (pods("p"), CONTAINER)
        absent.clock.advance(1)
    assert absent.list() == (None, None)
    assert absent.logged("lists keep what it had") == 1
    assert absent.logged("no longer have what it had") == 1


def test_a_list_that_fails_begins_an_absence_of_its_own(absent: AbsentRuntime) -> None:
    assert absent.known.instead(PODS, b"", GONE) == pods("p")
    absent.clock.advance(GRACE)
    assert absent.known.instead(PODS, b"", GONE) is None
    assert absent.logged("no longer have what it had (pods: 1)") == 1
    # The other one has not been missed.
    assert absent.known.instead(CONTAINERS, b"", GONE) == CONTAINER


def test_it_is_over_when_all_that_was_missed_has_come(absent: AbsentRuntime) -> None:
    absent.list()
    absent.clock.advance(GRACE / 2)
    absent.came(PODS, b"", pods("q"))
    assert not absent.logged("lists have what it lists now")
    absent.came(CONTAINERS, b"", CONTAINER)
    assert absent.logged("lists have what it lists now") == 1
    absent.clock.advance(GRACE)
    assert not absent.logged("no longer have what it had")
    assert absent.list() == (pods("q"), CONTAINER)


def test_a_runtime_that_gives_one_list_and_never_the_other_is_away_as_to_that(absent: AbsentRuntime) -> None:
    for _ in range(int(GRACE)):
        absent.came(PODS, b"", pods("p"))
        assert absent.known.instead(CONTAINERS, b"", GONE) == CONTAINER
        absent.clock.advance(1)
    assert absent.known.instead(CONTAINERS, b"", GONE) is None
    assert absent.known.instead(PODS, b"", GONE) == pods("p")


def test_a_narrowed_list_is_neither_remembered_nor_the_end_of_an_absence(absent: AbsentRuntime) -> None:
    absent.list()
    absent.came(PODS, b"\x0a\x02\x12\x00", b"some")
    assert absent.list() == (pods("p"), CONTAINER)
    absent.clock.advance(GRACE)
    assert absent.list() == (None, None)


def test_a_narrowed_list_is_narrowed(absent: AbsentRuntime) -> None:
    for state, answer in ((0, pods("p")), (1, b"")):
        request: Any = api()["ListPodSandboxRequest"](filter={"state": {"state": state}})
        request.filter.state.SetInParent()
        assert absent.known.instead(PODS, request.SerializeToString(), GONE) == answer


def test_what_has_been_sent_is_not_given_again(absent: AbsentRuntime) -> None:
    absent.came(PODS, b"", pods("p", "q"))
    assert absent.known.instead(PODS, b"", GONE, pods("p")) == pods("q")
    assert absent.known.instead(PODS, b"", GONE, None) is None


def test_a_method_that_there_is_not_is_no_absence(absent: AbsentRuntime) -> None:
    assert absent.list(failure(RpcError(Code.UNIMPLEMENTED, ""))) == (None, None)
    absent.clock.advance(GRACE)
    assert not absent.logged("no longer have what it had")
    assert absent.list() == (pods("p"), CONTAINER)


def test_what_does_not_parse_stands_in_for_nothing(absent: AbsentRuntime) -> None:
    assert absent.known.instead(PODS, b"\x0a\x01\xff", GONE) is None
    absent.came(PODS, b"", b"\x0a\x02p\xff")
    assert not absent.known.has_pod(b"p")


def test_a_list_too_large_to_be_kept_is_not_known(absent: AbsentRuntime) -> None:
    absent.came(PODS, b"", None)
    assert absent.list() == (None, CONTAINER)


def test_pods_are_known_by_their_uids_while_the_runtime_is_there_and_while_it_is_not(absent: AbsentRuntime) -> None:
    assert absent.known.has_pod(b"p")
    assert not absent.known.has_pod(b"q")
    absent.known.follow()
    assert absent.known.has_pod(b"p")
    absent.clock.advance(GRACE)
    assert not absent.known.has_pod(b"p")


def test_without_a_grace_nothing_is_known() -> None:
    absent = AbsentRuntime(0.0)
    absent.came(PODS, b"", pods("p"))
    assert absent.list() == (None, None)
    assert not absent.known.has_pod(b"p")


def test_no_grace_any_more_means_nothing_known_any_more(absent: AbsentRuntime) -> None:
    absent.config.absence_grace = 0.0
    absent.known.follow()
    assert absent.list() == (None, None)
    assert not absent.known.has_pod(b"p")


def test_another_grace_is_that_of_the_next_absence(absent: AbsentRuntime) -> None:
    absent.known.follow()
    absent.config.absence_grace = 2 * GRACE
    absent.known.follow()
    absent.clock.advance(GRACE)
    assert absent.list() == (None, None)
    absent.came(PODS, b"", pods("p"))
    absent.known.follow()
    absent.clock.advance(GRACE)
    assert absent.list() == (pods("p"), None)


def test_what_is_forgotten_comes_to_no_end(absent: AbsentRuntime) -> None:
    absent.known.follow()
    absent.known.forget()
    absent.clock.advance(GRACE)
    assert absent.list() == (None, None)
    assert not absent.logged("no longer have what it had")


def end(call: Tuple[str, Any], status: int) -> None:
    """The end of an answer of which nothing has come."""
    call[1].on_headers(block_of(((b"grpc-status", b"%d" % status),)), True)


def answer(call: Tuple[str, Any], body: bytes) -> None:
    """A whole answer."""
    call[1].on_headers(RESPONSE, False)
    call[1].on_data(prefix(len(body)) + body, 0, False)
    end(call, Code.OK)


def test_a_runtime_that_is_found_is_asked_for_what_it_has_been_missed_in(absent: AbsentRuntime) -> None:
    assert absent.find() == []
    absent.lose()
    calls = absent.find()
    assert [name for name, _ in calls] == ["ListPodSandbox", "ListContainers"]
    assert absent.list() == (pods("p"), CONTAINER)
    answer(calls[0], pods("q"))
    assert not absent.logged("lists have what it lists now")
    answer(calls[1], b"")
    assert absent.logged("lists have what it lists now") == 1
    absent.clock.advance(2 * GRACE)
    assert len(calls) == 2
    assert absent.list() == (pods("q"), b"")


def test_a_list_that_the_runtime_does_not_give_is_asked_for_later(absent: AbsentRuntime) -> None:
    absent.lose()
    calls = absent.find()
    for count in range(3, 6):
        end(calls[-1], Code.UNKNOWN)
        assert len(calls) == count - 1
        absent.clock.advance(ASK_INTERVAL)
        assert len(calls) == count
        assert calls[-1][0] == "ListContainers"
    # Kubelet has been given it meanwhile.
    end(calls[-1], Code.UNKNOWN)
    absent.came(CONTAINERS, b"", CONTAINER)
    absent.clock.advance(ASK_INTERVAL)
    assert len(calls) == 5


def test_a_list_that_there_is_no_method_for_is_not_asked_for_again(absent: AbsentRuntime) -> None:
    absent.lose()
    calls = absent.find()
    end(calls[0], Code.UNIMPLEMENTED)
    absent.clock.advance(10 * ASK_INTERVAL)
    assert [name for name, _ in calls] == ["ListPodSandbox", "ListContainers"]


def test_one_that_comes_back_is_asked_at_once_and_nobody_waits_for_what_it_was_asked_before(
    absent: AbsentRuntime,
) -> None:
    absent.lose()
    before = absent.find()
    end(before[0], Code.UNKNOWN)
    absent.lose()
    assert len(absent.find()) == 2
    assert before[1][1].ended
    absent.clock.advance(GRACE)
    assert absent.logged("no longer have what it had (pods: 1, containers: 1)") == 1


def test_a_list_asked_for_before_a_change_is_not_fresh_however_late_it_comes(absent: AbsentRuntime) -> None:
    asked_at = absent.memories.stamp()
    absent.memories.note_change(absent.runtime)
    absent.known.came(PODS, b"", pods("before"), asked_at)
    assert not absent.known.is_fresh(PODS)
    absent.came(PODS, b"", pods("after"))
    assert absent.known.is_fresh(PODS)
    absent.known.came(PODS, b"", pods("before"), asked_at)
    assert absent.list()[0] == pods("after")


def test_what_kubelet_does_not_list_after_a_change_is_asked_for(absent: AbsentRuntime) -> None:
    calls = absent.find()
    absent.memories.note_change(absent.runtime)
    absent.came(PODS, b"", pods("q"))
    absent.clock.advance(REFRESH_DELAY)
    assert [name for name, _ in calls] == ["ListContainers"]


def test_a_list_under_way_when_something_changes_is_asked_for_again(absent: AbsentRuntime) -> None:
    calls = absent.find()
    absent.memories.note_change(absent.runtime)
    absent.clock.advance(REFRESH_DELAY)
    assert [name for name, _ in calls] == ["ListPodSandbox", "ListContainers"]
    absent.memories.note_change(absent.runtime)
    absent.clock.advance(REFRESH_DELAY)
    assert len(calls) == 2
    answer(calls[0], pods("before"))
    assert [name for name, _ in calls[2:]] == ["ListPodSandbox"]
    answer(calls[2], pods("after"))
    assert absent.known.is_fresh(PODS)
    assert len(calls) == 3
