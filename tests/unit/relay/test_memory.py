"""When an absence begins and ends, and what is remembered through it."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import pytest
from scene import ALT, Node, message

from criproxy.cri.filter import CONTAINERS, PODS, ListKind
from criproxy.cri.messages import api
from criproxy.http2.events import HeadersReceived
from criproxy.http2.grpc import Code, RpcError
from criproxy.relay.memory import ASK_INTERVAL, REFRESH_DELAY
from criproxy.relay.outcome import Outcome, failure
from criproxy.relay.runtime import Runtime

GRACE = 60.0
GONE = failure(RpcError(Code.UNAVAILABLE, "gone"))
CONTAINER = message("ListContainersResponse", containers=[{"id": "c"}])
"""A list of one."""
LIST_PODS, LIST_CONTAINERS = PODS.method, CONTAINERS.method


class AbsentRuntime(Node):
    """A memory of a runtime that is not there to be asked. It hears from the test alone where the runtime is."""

    def __init__(self, grace: float = GRACE) -> None:
        super().__init__(absence_grace=grace)
        self.lose(ALT)
        self.runtime = self.runtimes[ALT]
        known = self.memories.of(self.runtime)
        assert known is not None
        self.known = known

    def _on_change(self, runtime: Runtime) -> None:
        """The memory is not told."""

    def came(self, kind: ListKind, request: bytes, body: Optional[bytes]) -> None:
        """The runtime gives a list that has been asked for just now."""
        self.known.came(kind, request, body, self.memories.stamp())

    def list(self, outcome: Outcome = GONE) -> Tuple[Optional[bytes], Optional[bytes]]:
        """What lists of all pods and of all containers have of it."""
        return self.known.instead(PODS, b"", outcome), self.known.instead(CONTAINERS, b"\x0a\x00", outcome)

    def appear(self) -> None:
        """The runtime is there."""
        self.find(ALT)
        self.known.follow()
        self.loop.settle()

    def vanish(self) -> None:
        """It is not there any more."""
        if ALT not in self.lost:
            self.lose(ALT)
        self.known.follow()

    @property
    def questions(self) -> List[str]:
        """The methods that have been called on the last connection to it, one for each call."""
        paths = (event.block.get(b":path") or b"" for event in self.served[ALT].heard(HeadersReceived))
        return [path.rpartition(b"/")[2].decode() for path in paths]

    def logged(self, text: str) -> int:
        """How many records have this text."""
        return self.text.getvalue().count(text)


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
    absent.loop.advance(GRACE - 1)
    assert absent.list() == (pods("p"), CONTAINER)
    absent.loop.advance(1)
    assert absent.list() == (None, None)
    assert absent.logged("no longer have what it had (pods: 1, containers: 1)") == 1


def test_it_is_said_once_however_often_it_is_noticed(absent: AbsentRuntime) -> None:
    for _ in range(int(GRACE)):
        absent.known.follow()
        assert absent.list() == (pods("p"), CONTAINER)
        absent.loop.advance(1)
    assert absent.list() == (None, None)
    assert absent.logged("lists keep what it had") == 1
    assert absent.logged("no longer have what it had") == 1


def test_a_list_that_fails_begins_an_absence_of_its_own(absent: AbsentRuntime) -> None:
    assert absent.known.instead(PODS, b"", GONE) == pods("p")
    absent.loop.advance(GRACE)
    assert absent.known.instead(PODS, b"", GONE) is None
    assert absent.logged("no longer have what it had (pods: 1)") == 1
    # The other one has not been missed.
    assert absent.known.instead(CONTAINERS, b"", GONE) == CONTAINER


def test_it_is_over_when_all_that_was_missed_has_come(absent: AbsentRuntime) -> None:
    absent.list()
    absent.loop.advance(GRACE / 2)
    absent.came(PODS, b"", pods("q"))
    assert not absent.logged("lists have what it lists now")
    absent.came(CONTAINERS, b"", CONTAINER)
    assert absent.logged("lists have what it lists now") == 1
    absent.loop.advance(GRACE)
    assert not absent.logged("no longer have what it had")
    assert absent.list() == (pods("q"), CONTAINER)


def test_a_runtime_that_gives_one_list_and_never_the_other_is_away_as_to_that(absent: AbsentRuntime) -> None:
    for _ in range(int(GRACE)):
        absent.came(PODS, b"", pods("p"))
        assert absent.known.instead(CONTAINERS, b"", GONE) == CONTAINER
        absent.loop.advance(1)
    assert absent.known.instead(CONTAINERS, b"", GONE) is None
    assert absent.known.instead(PODS, b"", GONE) == pods("p")


def test_a_narrowed_list_is_neither_remembered_nor_the_end_of_an_absence(absent: AbsentRuntime) -> None:
    absent.list()
    absent.came(PODS, b"\x0a\x02\x12\x00", b"some")
    assert absent.list() == (pods("p"), CONTAINER)
    absent.loop.advance(GRACE)
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
    absent.loop.advance(GRACE)
    assert not absent.logged("no longer have what it had")
    assert absent.list() == (pods("p"), CONTAINER)


def test_what_does_not_parse_stands_in_for_nothing(absent: AbsentRuntime) -> None:
    assert absent.known.instead(PODS, b"\x0a\x01\xff", GONE) is None
    absent.came(PODS, b"", b"\x0a\x02p\xff")
    assert not absent.known.has_pod(b"p", 0)


def test_a_list_too_large_to_be_kept_is_not_known(absent: AbsentRuntime) -> None:
    absent.came(PODS, b"", None)
    assert absent.list() == (None, CONTAINER)


def test_pods_are_known_by_their_uids_while_the_runtime_is_there_and_while_it_is_not(absent: AbsentRuntime) -> None:
    assert absent.known.has_pod(b"p", 0)
    assert not absent.known.has_pod(b"q", 0)
    absent.known.follow()
    assert absent.known.has_pod(b"p", 0)
    absent.loop.advance(GRACE)
    assert not absent.known.has_pod(b"p", 0)


def test_without_a_grace_nothing_is_known() -> None:
    absent = AbsentRuntime(0.0)
    absent.came(PODS, b"", pods("p"))
    assert absent.list() == (None, None)
    assert not absent.known.has_pod(b"p", 0)


def test_no_grace_any_more_means_nothing_known_any_more(absent: AbsentRuntime) -> None:
    absent.config.absence_grace = 0.0
    absent.known.follow()
    assert absent.list() == (None, None)
    assert not absent.known.has_pod(b"p", 0)


def test_another_grace_is_that_of_the_next_absence(absent: AbsentRuntime) -> None:
    absent.known.follow()
    absent.config.absence_grace = 2 * GRACE
    absent.known.follow()
    absent.loop.advance(GRACE)
    assert absent.list() == (None, None)
    absent.came(PODS, b"", pods("p"))
    absent.known.follow()
    absent.loop.advance(GRACE)
    assert absent.list() == (pods("p"), None)


def test_what_is_forgotten_comes_to_no_end(absent: AbsentRuntime) -> None:
    absent.known.follow()
    absent.known.forget()
    absent.loop.advance(GRACE)
    assert absent.list() == (None, None)
    assert not absent.logged("no longer have what it had")


def test_a_runtime_that_is_found_is_asked_for_what_it_has_been_missed_in(absent: AbsentRuntime) -> None:
    absent.appear()
    assert absent.questions == []
    absent.vanish()
    absent.appear()
    assert absent.questions == [LIST_PODS, LIST_CONTAINERS]
    assert absent.list() == (pods("p"), CONTAINER)
    absent.give(ALT, LIST_PODS, pods("q"))
    assert not absent.logged("lists have what it lists now")
    absent.give(ALT, LIST_CONTAINERS, b"")
    assert absent.logged("lists have what it lists now") == 1
    absent.loop.advance(2 * GRACE)
    assert len(absent.questions) == 2
    assert absent.list()[1] == b""
    assert (absent.known.has_pod(b"p", 0), absent.known.has_pod(b"q", 0)) == (False, True)


def test_a_list_that_the_runtime_does_not_give_is_asked_for_later(absent: AbsentRuntime) -> None:
    absent.vanish()
    absent.appear()
    for count in range(3, 6):
        absent.refuse(ALT, LIST_CONTAINERS, Code.UNKNOWN)
        assert len(absent.questions) == count - 1
        absent.loop.advance(ASK_INTERVAL)
        assert absent.questions[2:] == [LIST_CONTAINERS] * (count - 2)
    # Kubelet has been given it meanwhile.
    absent.refuse(ALT, LIST_CONTAINERS, Code.UNKNOWN)
    absent.came(CONTAINERS, b"", CONTAINER)
    absent.loop.advance(ASK_INTERVAL)
    assert len(absent.questions) == 5


def test_a_list_that_there_is_no_method_for_is_not_asked_for_again(absent: AbsentRuntime) -> None:
    absent.vanish()
    absent.appear()
    absent.refuse(ALT, LIST_PODS, Code.UNIMPLEMENTED)
    absent.give(ALT, LIST_CONTAINERS, CONTAINER)
    absent.loop.advance(10 * ASK_INTERVAL)
    assert absent.questions == [LIST_PODS, LIST_CONTAINERS]


def test_one_that_comes_back_is_asked_at_once_and_nobody_waits_for_what_it_was_asked_before(
    absent: AbsentRuntime,
) -> None:
    absent.vanish()
    absent.appear()
    absent.silence(ALT)
    absent.known.follow()
    absent.served[ALT].sock.deaf = False
    absent.loop.settle()
    assert absent.resets(ALT) == absent.asked(ALT, LIST_PODS) + absent.asked(ALT, LIST_CONTAINERS)
    absent.known.follow()
    absent.loop.settle()
    assert absent.questions[2:] == [LIST_PODS, LIST_CONTAINERS]
    absent.loop.advance(GRACE)
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
    absent.appear()
    absent.memories.note_change(absent.runtime)
    absent.came(PODS, b"", pods("q"))
    absent.loop.advance(REFRESH_DELAY)
    assert absent.questions == [LIST_CONTAINERS]


def test_a_list_under_way_when_something_changes_is_asked_for_again(absent: AbsentRuntime) -> None:
    absent.appear()
    absent.memories.note_change(absent.runtime)
    absent.loop.advance(REFRESH_DELAY)
    assert absent.questions == [LIST_PODS, LIST_CONTAINERS]
    absent.memories.note_change(absent.runtime)
    absent.loop.advance(REFRESH_DELAY)
    assert len(absent.questions) == 2
    absent.give(ALT, LIST_PODS, pods("before"))
    assert absent.questions[2:] == [LIST_PODS]
    absent.give(ALT, LIST_PODS, pods("after"))
    assert absent.known.is_fresh(PODS)
    assert len(absent.questions) == 3


def test_an_absence_can_be_looked_at() -> None:
    absent = AbsentRuntime()
    pods: List[Any] = [{"id": name, "metadata": {"name": name, "namespace": "default"}} for name in ("a", "b")]
    pods.append({**pods[0], "id": "c", "state": 1})
    absent.came(PODS, b"", message("ListPodSandboxResponse", items=pods))
    assert absent.memories.absence(absent.runtime) is None
    began = absent.loop.real.time()
    absent.vanish()
    absent.loop.advance(14)
    found = absent.memories.absence(absent.runtime)
    assert found is not None
    assert (found.since, found.until, found.pods) == (began, began + GRACE, 2), "those that were ready"
    absent.loop.advance(GRACE)
    assert absent.memories.absence(absent.runtime) is None
