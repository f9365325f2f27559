"""A connection of kubelet's on its way to its end: it hears of that twice, and no call is lost."""

from __future__ import annotations

import pytest
from scene import PRIMARY, Node, message

from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import GoAwayReceived
from criproxy.http2.grpc import prefix, request_head
from criproxy.relay.downstream import _HEARING_TIME as HEARING_TIME
from criproxy.relay.downstream import TRANSITIONS, Drain
from criproxy.report.log import STATES

LAST = 2**31 - 1
STATUS = message("ContainerStatusResponse", status={"id": "c"})


def state_of(node: Node) -> Drain:
    """The state of the connection now."""
    return node.downstream.state


def ask(node: Node, stream_id: int, body: bytes) -> None:
    """Has kubelet call on a stream, as soon as it says something."""
    head = request_head("/runtime.v1.RuntimeService/ContainerStatus").wire
    node.kubelet.connection.sender.headers(stream_id, head)
    node.kubelet.connection.sender.data(stream_id, prefix(len(body)) + body, True)


def drained(node: Node) -> Drain:
    """Drains the connection as far as that goes at once."""
    node.downstream.drain()
    node.loop.settle()
    return state_of(node)


def test_kubelet_is_told_that_there_will_be_no_more_calls_and_then_which_was_the_last() -> None:
    node = Node((PRIMARY,))
    stream = node.call("ContainerStatus", container_id="c")
    assert drained(node) is Drain.PARTING
    assert [event.last_stream_id for event in node.kubelet.heard(GoAwayReceived)] == [LAST, stream]
    node.give(PRIMARY, "ContainerStatus", STATUS)
    assert node.answer(stream).bodies == [STATUS]
    assert state_of(node) is Drain.LINGERING


def test_a_call_that_is_on_its_way_meanwhile_is_taken() -> None:
    node = Node((PRIMARY,))
    node.kubelet.sock.deaf = True
    assert drained(node) is Drain.ANNOUNCED
    stream = node.call("ContainerStatus", container_id="c")
    node.give(PRIMARY, "ContainerStatus", STATUS)
    node.kubelet.sock.deaf = False
    node.loop.settle()
    assert node.answer(stream).bodies == [STATUS]


def test_a_client_that_does_not_answer_is_not_waited_for() -> None:
    node = Node((PRIMARY,))
    node.kubelet.sock.deaf = True
    drained(node)
    node.loop.advance(HEARING_TIME)
    assert state_of(node) is Drain.LINGERING
    node.loop.advance(HEARING_TIME)
    assert state_of(node) is Drain.CLOSED


def test_it_is_kubelet_that_hangs_up() -> None:
    node = Node((PRIMARY,))
    drained(node)
    assert state_of(node) is Drain.LINGERING
    assert not node.downstream.transport.closed
    node.kubelet.close()
    assert state_of(node) is Drain.CLOSED
    assert not node.loop.timers


def test_a_second_drain_changes_nothing() -> None:
    node = Node((PRIMARY,))
    node.call("ContainerStatus", container_id="c")
    drained(node)
    drained(node)
    assert len(node.kubelet.heard(GoAwayReceived)) == 2


def test_a_client_that_goes_away_is_hung_up_on_when_its_calls_have_ended() -> None:
    node = Node((PRIMARY,))
    node.call("ContainerStatus", container_id="c")
    node.kubelet.connection.go_away()
    node.kubelet.say()
    assert state_of(node) is Drain.OPEN
    node.give(PRIMARY, "ContainerStatus", STATUS)
    assert state_of(node) is Drain.CLOSED


def test_what_was_under_way_is_cancelled_when_the_connection_is_lost() -> None:
    node = Node((PRIMARY,))
    node.call("ContainerStatus", container_id="c")
    node.kubelet.close()
    assert node.resets(PRIMARY) == node.asked(PRIMARY, "ContainerStatus")


def test_a_call_that_is_reset_in_the_piece_it_comes_in_reaches_no_runtime() -> None:
    node = Node((PRIMARY,))
    body = message("ContainerStatusRequest", container_id="c")
    reset, kept, under_way = [node.kubelet.connection.open_stream() for _ in range(3)]
    for stream in (reset, kept):
        ask(node, stream, body)
    node.kubelet.connection.reset(reset, ErrorCode.CANCEL)
    node.kubelet.say()
    assert len(node.asked(PRIMARY, "ContainerStatus")) == 1
    node.give(PRIMARY, "ContainerStatus", STATUS)
    assert node.answer(kept).bodies == [STATUS]
    # One that a runtime has been asked already is cancelled there, whatever comes in the same piece.
    ask(node, under_way, body)
    node.kubelet.say()
    node.kubelet.connection.reset(under_way, ErrorCode.CANCEL)
    for stream in (node.kubelet.connection.open_stream(), node.kubelet.connection.open_stream()):
        ask(node, stream, body)
    node.kubelet.say()
    asked = node.asked(PRIMARY, "ContainerStatus")
    assert len(asked) == 4
    assert node.resets(PRIMARY) == [asked[1]]


def test_each_change_of_state_is_logged_at_the_highest_verbosity() -> None:
    node = Node((PRIMARY,), verbosity=STATES)
    drained(node)
    node.kubelet.close()
    changes = [line.rpartition(": ")[2] for line in node.text.getvalue().splitlines() if "of a client" in line]
    assert changes == ["OPEN -> ANNOUNCED", "ANNOUNCED -> PARTING", "PARTING -> LINGERING", "LINGERING -> CLOSED"]


@pytest.mark.parametrize("state", Drain)
def test_every_state_may_be_the_last_before_the_connection_is_lost(state: Drain) -> None:
    assert state is Drain.CLOSED or Drain.CLOSED in TRANSITIONS[state]
