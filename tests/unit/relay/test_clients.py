"""How many clients there may be, and who has to go for one more."""

from __future__ import annotations

import resource
from typing import List, Tuple

import pytest
from playbook import Peer
from scene import PRIMARY, Node

from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import GoAwayReceived
from criproxy.relay.clients import ARRIVAL, IDLE, MOST, Clients, most_clients
from criproxy.relay.downstream import DownstreamConnection

BOUND = 3


class Crowd(Node):
    """A node to which several clients connect."""

    def __init__(self) -> None:
        self.let_in: List[bool] = []
        self.all: List[Peer] = []
        super().__init__()
        self.count = Clients(self.loop.real, self.context.log, lambda: BOUND, self.let_in.append)
        self.count.come(self.downstream)
        self.all.append(self.kubelet)

    def come(self, after: float = ARRIVAL) -> None:
        """One more connects, so many seconds after the last."""
        self.loop.advance(after)
        self.connect()
        self.all.append(self.kubelet)
        self.count.come(self.downstream)
        self.loop.settle()

    def _forget(self, downstream: DownstreamConnection) -> None:
        super()._forget(downstream)
        self.count.go(downstream)

    def call_of(self, index: int) -> int:
        """A call of one of them; gives the stream."""
        self.kubelet = self.all[index]
        return self.call("ContainerStatus", container_id="c")

    @property
    def gone(self) -> List[int]:
        """Those that have been hung up on."""
        return [index for index, client in enumerate(self.all) if client.closed is not None]


def test_the_one_that_has_been_idle_for_the_longest_time_goes_for_one_more() -> None:
    crowd = Crowd()
    crowd.come()
    crowd.come()
    crowd.loop.advance(1)
    crowd.call_of(0)
    crowd.give(PRIMARY, "ContainerStatus", b"")
    crowd.come()
    assert crowd.gone == [1]
    assert [event.code for event in crowd.all[1].heard(GoAwayReceived)] == [ErrorCode.NO_ERROR]
    crowd.come()
    assert crowd.gone == [1, 2]
    assert crowd.text.getvalue().count("3 clients are connected, as many as there may be") == 1
    assert crowd.let_in == []


def test_one_that_has_had_a_call_a_moment_ago_goes_for_nobody() -> None:
    crowd = Crowd()
    crowd.come()
    crowd.come()
    for index in (0, 1, 2):
        crowd.loop.advance(0.1)
        crowd.call_of(index)
        crowd.give(PRIMARY, "ContainerStatus", b"")
    crowd.come()
    assert (crowd.gone, crowd.let_in) == ([], [False])
    crowd.call_of(3)
    crowd.loop.advance(IDLE)
    assert (crowd.gone, crowd.let_in) == ([0], [False, True])


def test_one_that_has_never_had_a_call_goes_before_others() -> None:
    crowd = Crowd()
    crowd.call_of(0)
    crowd.give(PRIMARY, "ContainerStatus", b"")
    crowd.come()
    crowd.come()
    crowd.loop.advance(2 * IDLE)
    crowd.come()
    assert crowd.gone == [1]


def test_one_that_has_just_come_goes_for_nobody_before_it_can_call() -> None:
    """As kubelet that comes back among many that connect and do nothing."""
    crowd = Crowd()
    for _ in range(3):
        crowd.come(ARRIVAL / 8)
    assert (crowd.gone, crowd.let_in) == ([], [False])
    crowd.call_of(0)
    crowd.loop.advance(ARRIVAL)
    assert (crowd.gone, crowd.let_in) == ([1], [False, True])
    crowd.give(PRIMARY, "ContainerStatus", b"")


def test_nobody_with_a_call_goes_and_others_wait_until_one_has_gone() -> None:
    crowd = Crowd()
    crowd.call_of(0)
    for index in (1, 2, 3):
        crowd.come()
        crowd.call_of(index)
    assert (crowd.gone, crowd.let_in) == ([], [False])
    crowd.all[2].close()
    assert crowd.let_in == [False, True]


def test_however_many_come_and_go_meanwhile_there_is_one_look_at_who_is_idle() -> None:
    crowd = Crowd()
    crowd.call_of(0)
    for index in (1, 2, 3):
        crowd.come()
        crowd.call_of(index)
    timers = crowd.loop.timers
    for index in (4, 5):
        crowd.all[index - 1].close()
        crowd.come()
        crowd.call_of(index)
    assert crowd.let_in == [False, True, False, True, False]
    assert crowd.loop.timers == timers


@pytest.mark.parametrize(
    ("limits", "most"),
    [((65536, 65536), MOST), ((resource.RLIM_INFINITY, -1), MOST), ((120, 120), 64), ((64, 64), 32), ((1, 1), 1)],
)
def test_a_reserve_of_descriptors_is_for_runtimes(
    monkeypatch: pytest.MonkeyPatch, limits: Tuple[int, int], most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    assert most_clients(2) == most
