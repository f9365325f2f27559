"""When an absence begins and ends, and what is remembered through it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Callable, List, Optional, Tuple

import pytest

from criproxy.cri.filter import CONTAINERS, PODS
from criproxy.cri.identity import Names
from criproxy.cri.messages import api
from criproxy.http2.headers import block_of
from criproxy.relay.absence import ASK_INTERVAL, LastKnown, Sent
from criproxy.relay.backend import Way
from criproxy.relay.grpc import Code, RpcError, prefix
from criproxy.relay.loop import Timer
from criproxy.report.log import Log
from criproxy.report.stream import Stream

GRACE = 60.0
GONE = RpcError(Code.UNAVAILABLE, "gone")
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

    def pass_(self, seconds: float) -> None:
        """Lets time pass, and what is due in it happen."""
        self.now += seconds
        for due, timer in list(self.timers):
            if due <= self.now:
                self.timers.remove((due, timer))
                if timer.callback is not None:
                    timer.callback()


class Away:
    """A memory of a runtime that is not there to be asked."""

    def __init__(self, grace: float = GRACE) -> None:
        self.clock = Clock()
        self._text = io.StringIO()
        self.config = SimpleNamespace(absence_grace=grace, fan_out_timeout=5.0, max_message_size=1000)
        self.backend = SimpleNamespace(names=Names("alt.test"), path="/alt.sock", available=None)
        log = Log(0, Stream(self._text))
        proxy: Any = SimpleNamespace(config=self.config, loop=self.clock, log=log, router=None)
        backend: Any = self.backend
        self.known = LastKnown(proxy, backend)

    def list(self, error: RpcError = GONE) -> Tuple[Optional[bytes], Optional[bytes]]:
        """What lists of all pods and of all containers have of it."""
        return self.known.instead(PODS, b"", error), self.known.instead(CONTAINERS, b"\x0a\x00", error)

    def find(self) -> List[Any]:
        """Makes the runtime be there; gives the calls that are opened on the connection to it."""
        opened: List[Any] = []
        link = SimpleNamespace(
            backend=SimpleNamespace(loop=self.clock),
            way=lambda plan, router: Way(plan.path.encode(), None, None),
            open=lambda leg, wire, data: opened.append((wire.rpartition(b"/")[2].decode(), leg)),
            cancel=lambda leg: None,
        )
        self.backend.available = link
        self.known.follow()
        return opened

    def lose(self) -> None:
        """Makes it go away."""
        self.backend.available = None
        self.known.follow()

    def logged(self, text: str) -> int:
        """How many records have this text."""
        return self._text.getvalue().count(text)


@pytest.fixture
def away() -> Away:
    made = Away()
    made.known.came(PODS, b"", pods("p"))
    made.known.came(CONTAINERS, b"\x0a\x00", CONTAINER)
    return made


def pods(*uids: str) -> bytes:
    answer = api()["ListPodSandboxResponse"]()
    for uid in uids:
        answer.items.add(id=uid).metadata.uid = uid
    serialized: bytes = answer.SerializeToString()
    return serialized


def test_lists_have_what_they_had_until_the_grace_is_over(away: Away) -> None:
    away.known.follow()
    away.clock.pass_(GRACE - 1)
    assert away.list() == (pods("p"), CONTAINER)
    away.clock.pass_(1)
    assert away.list() == (None, None)
    assert away.logged("nothing of it any more (pods: 1, containers: 1)") == 1


def test_it_is_said_once_however_often_it_is_noticed(away: Away) -> None:
    for _ in range(int(GRACE)):
        away.known.follow()
        assert away.list() == (pods("p"), CONTAINER)
        away.clock.pass_(1)
    assert away.list() == (None, None)
    assert away.logged("lists have what it had before") == 1
    assert away.logged("nothing of it any more") == 1


def test_a_list_that_fails_begins_an_absence_of_its_own(away: Away) -> None:
    assert away.known.instead(PODS, b"", GONE) == pods("p")
    away.clock.pass_(GRACE)
    assert away.known.instead(PODS, b"", GONE) is None
    assert away.logged("nothing of it any more (pods: 1)") == 1
    # The other one has not been missed.
    assert away.known.instead(CONTAINERS, b"", GONE) == CONTAINER


def test_it_is_over_when_all_that_was_missed_has_come(away: Away) -> None:
    away.list()
    away.clock.pass_(GRACE / 2)
    away.known.came(PODS, b"", pods("q"))
    assert not away.logged("itself again")
    away.known.came(CONTAINERS, b"", CONTAINER)
    assert away.logged("itself again") == 1
    away.clock.pass_(GRACE)
    assert not away.logged("nothing of it any more")
    assert away.list() == (pods("q"), CONTAINER)


def test_a_runtime_that_gives_one_list_and_never_the_other_is_away_as_to_that(away: Away) -> None:
    for _ in range(int(GRACE)):
        away.known.came(PODS, b"", pods("p"))
        assert away.known.instead(CONTAINERS, b"", GONE) == CONTAINER
        away.clock.pass_(1)
    assert away.known.instead(CONTAINERS, b"", GONE) is None
    assert away.known.instead(PODS, b"", GONE) == pods("p")


def test_a_narrowed_list_is_neither_remembered_nor_the_end_of_an_absence(away: Away) -> None:
    away.list()
    away.known.came(PODS, b"\x0a\x02\x12\x00", b"some")
    assert away.list() == (pods("p"), CONTAINER)
    away.clock.pass_(GRACE)
    assert away.list() == (None, None)


def test_a_narrowed_list_is_narrowed(away: Away) -> None:
    for state, answer in ((0, pods("p")), (1, b"")):
        request = api()["ListPodSandboxRequest"](filter={"state": {"state": state}})
        request.filter.state.SetInParent()
        assert away.known.instead(PODS, request.SerializeToString(), GONE) == answer


def test_what_has_been_sent_is_not_given_again(away: Away) -> None:
    away.known.came(PODS, b"", pods("p", "q"))
    assert away.known.instead(PODS, b"", GONE, pods("p")) == pods("q")
    assert away.known.instead(PODS, b"", GONE, None) is None


def test_a_method_that_there_is_not_is_no_absence(away: Away) -> None:
    assert away.list(RpcError(Code.UNIMPLEMENTED, "")) == (None, None)
    away.clock.pass_(GRACE)
    assert not away.logged("nothing of it any more")
    assert away.list() == (pods("p"), CONTAINER)


def test_what_does_not_parse_stands_in_for_nothing(away: Away) -> None:
    assert away.known.instead(PODS, b"\x0a\x01\xff", GONE) is None
    away.known.came(PODS, b"", b"\x0a\x02p\xff")
    assert not away.known.has_pod(b"p")


def test_a_list_too_large_to_be_kept_is_not_known(away: Away) -> None:
    away.known.came(PODS, b"", None)
    assert away.list() == (None, CONTAINER)


def test_pods_are_known_by_their_uids_while_the_runtime_is_there_and_while_it_is_not(away: Away) -> None:
    assert away.known.has_pod(b"p")
    assert not away.known.has_pod(b"q")
    away.known.follow()
    assert away.known.has_pod(b"p")
    away.clock.pass_(GRACE)
    assert not away.known.has_pod(b"p")


def test_without_a_grace_nothing_is_known() -> None:
    away = Away(0.0)
    away.known.came(PODS, b"", pods("p"))
    assert away.list() == (None, None)
    assert not away.known.has_pod(b"p")


def test_no_grace_any_more_means_nothing_known_any_more(away: Away) -> None:
    away.config.absence_grace = 0.0
    away.known.follow()
    assert away.list() == (None, None)
    assert not away.known.has_pod(b"p")


def test_another_grace_is_that_of_the_next_absence(away: Away) -> None:
    away.known.follow()
    away.config.absence_grace = 2 * GRACE
    away.known.follow()
    away.clock.pass_(GRACE)
    assert away.list() == (None, None)
    away.known.came(PODS, b"", pods("p"))
    away.known.follow()
    away.clock.pass_(GRACE)
    assert away.list() == (pods("p"), None)


def test_what_is_forgotten_comes_to_no_end(away: Away) -> None:
    away.known.follow()
    away.known.forget()
    away.clock.pass_(GRACE)
    assert away.list() == (None, None)
    assert not away.logged("nothing of it any more")


def end(call: Tuple[str, Any], status: int) -> None:
    """The end of an answer of which nothing has come."""
    call[1].on_headers(block_of(((b"grpc-status", b"%d" % status),)), True)


def answer(call: Tuple[str, Any], body: bytes) -> None:
    """A whole answer."""
    call[1].on_headers(block_of(((b":status", b"200"),)), False)
    call[1].on_data(prefix(len(body)) + body, 0, False)
    end(call, Code.OK)


def test_a_runtime_that_is_found_is_asked_for_what_it_has_been_missed_in(away: Away) -> None:
    assert away.find() == []
    away.lose()
    calls = away.find()
    assert [name for name, _ in calls] == ["ListPodSandbox", "ListContainers"]
    assert away.list() == (pods("p"), CONTAINER)
    answer(calls[0], pods("q"))
    assert not away.logged("itself again")
    answer(calls[1], b"")
    assert away.logged("itself again") == 1
    away.clock.pass_(2 * GRACE)
    assert len(calls) == 2
    assert away.list() == (pods("q"), b"")


def test_a_list_that_the_runtime_does_not_give_is_asked_for_later(away: Away) -> None:
    away.lose()
    calls = away.find()
    for count in range(3, 6):
        end(calls[-1], Code.UNKNOWN)
        assert len(calls) == count - 1
        away.clock.pass_(ASK_INTERVAL)
        assert len(calls) == count
        assert calls[-1][0] == "ListContainers"
    # Kubelet has been given it meanwhile.
    end(calls[-1], Code.UNKNOWN)
    away.known.came(CONTAINERS, b"", CONTAINER)
    away.clock.pass_(ASK_INTERVAL)
    assert len(calls) == 5


def test_a_list_that_there_is_no_method_for_is_not_asked_for_again(away: Away) -> None:
    away.lose()
    calls = away.find()
    end(calls[0], Code.UNIMPLEMENTED)
    away.clock.pass_(10 * ASK_INTERVAL)
    assert [name for name, _ in calls] == ["ListPodSandbox", "ListContainers"]


def test_one_that_comes_back_is_asked_at_once_and_nobody_waits_for_what_it_was_asked_before(away: Away) -> None:
    away.lose()
    before = away.find()
    end(before[0], Code.UNKNOWN)
    away.lose()
    assert len(away.find()) == 2
    answer(before[1], CONTAINER)
    away.clock.pass_(GRACE)
    assert away.logged("nothing of it any more (pods: 1, containers: 1)") == 1


def test_of_what_has_been_sent_so_much_is_kept() -> None:
    sent = Sent(3)
    assert sent.body == b""
    sent.add(b"ab")
    sent.add(b"c")
    assert sent.body == b"abc"
    sent.add(b"d")
    sent.add(b"")
    assert sent.body is None
