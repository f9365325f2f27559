"""A runtime's states, from looked for to retired; and what calls and the log hear of them."""

from __future__ import annotations

import errno
import io
import os
import re
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from playbook import UNIMPLEMENTED, ClockLoop, FakeRuntime, RecordingSink, socketpair

from criproxy.cri.identity import Runtimes
from criproxy.http2 import frames
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import RpcError, request_head
from criproxy.relay.probe import IMAGE_SERVICE, RUNTIME_SERVICE, Service
from criproxy.relay.runtime import HANDSHAKE_TIMEOUT, MOVE_INTERVAL, RETRY_INTERVAL, TRANSITIONS, Runtime, State
from criproxy.relay.upstream import LIVENESS_TIMEOUT, Upstream
from criproxy.report.log import STATES, Log
from criproxy.report.ratelimit import BURST
from criproxy.report.stream import StreamOutput

WIRE = request_head("/runtime.v1.RuntimeService/Status").wire
LOUD = r"\] [^>]*\n"
"""A record that is not of a change of state."""
NOT_READY = UNIMPLEMENTED.replace(b"12", b"14")


class Waiter:
    """A call that waits for the runtime."""

    def __init__(self) -> None:
        self.told: List[str] = []

    def on_available(self, upstream: Upstream) -> None:
        self.told.append("available")

    def on_unavailable(self, error: RpcError) -> None:
        self.told.append(str(error))


class Scene:
    """A runtime, and the process that serves its socket while there is one."""

    def __init__(self, id: str = "", service: Service = RUNTIME_SERVICE, refusal: bytes = b"") -> None:
        self.loop = ClockLoop()
        self.text = io.StringIO()
        self.refusal = refusal
        self.serving = True
        self.error: Optional[OSError] = None
        """Why nobody can connect."""
        self.deaf = False
        self.greeting = b""
        """What the runtime says first instead of what HTTP/2 has it say."""
        self.changes: List[Tuple[State, bool]] = []
        self.served: List[FakeRuntime] = []
        runtimes = Runtimes([id] if id else [])
        names = runtimes.alternatives[0] if id else runtimes.primary
        log = Log(STATES, StreamOutput(self.text))
        self.runtime = Runtime(self.loop.real, log, names, "/run/x.sock", self._on_change, service, self._dial)

    def connect(self) -> Scene:
        """Has it looked for."""
        self.runtime.connect()
        self.loop.settle()
        return self

    def call(self) -> RecordingSink:
        """A call that the runtime has not answered yet."""
        sink = RecordingSink()
        assert self.runtime.available is not None
        self.runtime.available.open(sink, WIRE, b"")
        self.loop.settle()
        return sink

    def silence(self) -> None:
        """The runtime hangs, and that is found out."""
        self.served[-1].sock.deaf = True
        assert self.runtime.available is not None
        self.runtime.available.check_liveness()
        self.loop.advance(LIVENESS_TIMEOUT)

    def go_away(self) -> None:
        """The runtime says that it goes away."""
        self.served[-1].connection.go_away()
        self.served[-1].say()

    def hang_up(self) -> None:
        """The runtime's process ends."""
        self.serving = False
        for served in self.served:
            served.close()

    def logged(self, pattern: str) -> List[str]:
        """The records in which there is such a text."""
        return re.findall(pattern, self.text.getvalue())

    @property
    def passed(self) -> List[Tuple[State, State]]:
        """The changes of state so far."""
        changes = re.findall(r": ([A-Z]+) -> ([A-Z]+)\n", self.text.getvalue())
        return [(State[before], State[after]) for before, after in changes]

    def _dial(self, path: str) -> Any:
        if self.error is not None:
            raise self.error
        if not self.serving:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        ours, theirs = socketpair(self.loop)
        theirs.deaf = self.deaf
        if self.greeting:
            theirs.send(self.greeting)
        self.served.append(FakeRuntime(self.loop, theirs, self.refusal))
        return ours

    def _on_change(self, runtime: Runtime) -> None:
        self.changes.append((runtime.state, runtime.available is not None))


def up(id: str = "") -> Scene:
    return Scene(id).connect()


def probing() -> Scene:
    scene = Scene()
    scene.deaf = True
    return scene.connect()


def looking() -> Scene:
    scene = Scene()
    scene.serving = False
    return scene.connect()


def moving(id: str = "") -> Scene:
    """It has ended its connection, and has not answered on the next one."""
    scene = up(id)
    scene.loop.advance(1)
    scene.deaf = True
    scene.go_away()
    return scene


def silent() -> Scene:
    scene = up()
    scene.silence()
    return scene


def draining() -> Scene:
    scene = up()
    scene.call()
    scene.runtime.retire()
    scene.loop.settle()
    return scene


def looking_with_a_call() -> Scene:
    scene = up()
    scene.call()
    scene.serving = False
    scene.go_away()
    scene.loop.advance(MOVE_INTERVAL)
    return scene


def serve(scene: Scene) -> None:
    scene.serving = True
    scene.loop.advance(RETRY_INTERVAL)


def retire(scene: Scene) -> None:
    scene.runtime.retire()
    scene.loop.settle()


def stop(scene: Scene) -> None:
    scene.runtime.stop()
    scene.loop.settle()


def go_away_and_stop(scene: Scene) -> None:
    scene.loop.advance(1)
    scene.serving = False
    scene.go_away()


def hear_that_it_is_not_ready(scene: Scene) -> None:
    scene.served[-1].refusal = NOT_READY
    hear(scene)


def hear(scene: Scene) -> None:
    scene.served[-1].sock.deaf = False
    scene.loop.settle()


def retire_during_a_call(scene: Scene) -> None:
    scene.call()
    retire(scene)


def answer(scene: Scene) -> None:
    scene.served[-1].answer(7)


PATHS: List[Tuple[Callable[[], Scene], Callable[[Scene], None], Tuple[State, ...]]] = [
    (looking, serve, (State.LOOKING, State.PROBING, State.UP)),
    (looking, retire, (State.LOOKING, State.DRAINING, State.RETIRED)),
    (looking, stop, (State.LOOKING, State.RETIRED)),
    (looking_with_a_call, retire, (State.LOOKING, State.DRAINING)),
    (probing, hear, (State.PROBING, State.UP)),
    (probing, Scene.hang_up, (State.PROBING, State.LOOKING)),
    (probing, retire, (State.PROBING, State.DRAINING, State.RETIRED)),
    (probing, stop, (State.PROBING, State.RETIRED)),
    (up, Scene.silence, (State.UP, State.SILENT)),
    (up, Scene.hang_up, (State.UP, State.LOOKING)),
    (up, retire, (State.UP, State.DRAINING, State.RETIRED)),
    (up, retire_during_a_call, (State.UP, State.DRAINING)),
    (up, stop, (State.UP, State.RETIRED)),
    (up, go_away_and_stop, (State.UP, State.MOVING, State.LOOKING)),
    (moving, hear, (State.MOVING, State.UP)),
    (moving, hear_that_it_is_not_ready, (State.MOVING, State.PROBING)),
    (moving, Scene.hang_up, (State.MOVING, State.LOOKING)),
    (moving, retire, (State.MOVING, State.DRAINING, State.RETIRED)),
    (moving, stop, (State.MOVING, State.RETIRED)),
    (silent, hear, (State.SILENT, State.UP)),
    (silent, Scene.hang_up, (State.SILENT, State.LOOKING)),
    (silent, retire, (State.SILENT, State.DRAINING, State.RETIRED)),
    (silent, stop, (State.SILENT, State.RETIRED)),
    (draining, answer, (State.DRAINING, State.RETIRED)),
    (draining, Scene.hang_up, (State.DRAINING, State.RETIRED)),
    (draining, stop, (State.DRAINING, State.RETIRED)),
]


@pytest.mark.parametrize(("begin", "step", "path"), PATHS)
def test_a_step_leads_from_state_to_state(
    begin: Callable[[], Scene], step: Callable[[Scene], None], path: Tuple[State, ...]
) -> None:
    scene = begin()
    assert scene.runtime.state is path[0]
    before = len(scene.passed)
    step(scene)
    assert scene.passed[before:] == list(zip(path, path[1:]))


def test_the_table_allows_what_happens_and_nothing_else() -> None:
    passed: Dict[State, Set[State]] = {state: set() for state in State}
    for _, _, path in PATHS:
        for before, after in zip(path, path[1:]):
            passed[before].add(after)
    assert passed == TRANSITIONS


def test_a_change_that_the_table_does_not_have_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="LOOKING cannot become UP"):
        looking().runtime._change(State.UP)


@pytest.mark.parametrize(
    ("begin", "there", "summary"),
    [
        (Scene, False, "not connected yet"),
        (looking, False, "not there: there is no such socket"),
        (probing, False, "not connected yet"),
        (up, True, "connected (v1, v1alpha2, v1alpha1)"),
        (moving, False, "connected (v1, v1alpha2, v1alpha1)"),
        (silent, False, "not there: it does not answer"),
        (draining, False, "not there: it is not configured any more"),
    ],
)
def test_calls_find_a_runtime_that_is_up_and_no_other(begin: Callable[[], Scene], there: bool, summary: str) -> None:
    runtime = begin().runtime
    assert (runtime.available is not None, runtime.summary.replace("API ", "")) == (there, summary)


def test_a_runtime_is_looked_for_until_it_is_there_and_warned_of_once() -> None:
    scene = looking()
    scene.loop.advance(100 * RETRY_INTERVAL)
    assert scene.logged(r"E.* is not there: there is no such socket; looking for it") == scene.logged(
        "E.* is not there.*"
    )
    assert len(scene.logged("is not there")) == 1
    serve(scene)
    assert scene.logged("connected to the primary runtime .*")
    assert scene.changes[-1] == (State.UP, True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "there is no such socket"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (OSError("AF_UNIX path too long"), "af_unix path too long"),
    ],
)
def test_a_socket_that_cannot_be_connected_to_says_why(error: OSError, reason: str) -> None:
    scene = Scene()
    scene.error = error
    scene.connect()
    assert (scene.runtime.state, scene.runtime.reason) == (State.LOOKING, reason)
    scene.error = None
    scene.loop.advance(RETRY_INTERVAL)
    assert scene.runtime.state is State.UP


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (UNIMPLEMENTED, "it speaks no known version of the CRI"),
        (NOT_READY, "it is not ready yet: UNAVAILABLE"),
    ],
)
def test_a_runtime_that_cannot_serve_is_asked_again_on_the_same_connection(refusal: bytes, reason: str) -> None:
    scene = Scene(refusal=refusal).connect()
    assert (scene.runtime.state, scene.runtime.reason) == (State.PROBING, reason)
    scene.loop.advance(20 * HANDSHAKE_TIMEOUT)
    scene.served[0].refusal = b""
    scene.loop.advance(RETRY_INTERVAL)
    assert scene.runtime.state is State.UP
    assert len(scene.served) == 1


def test_a_runtime_that_accepts_and_says_nothing_is_given_up_after_a_while() -> None:
    scene = probing()
    scene.loop.advance(HANDSHAKE_TIMEOUT)
    assert scene.runtime.reason == "it accepts connections and does not answer"
    scene.deaf = False
    scene.loop.advance(RETRY_INTERVAL)
    assert scene.runtime.state is State.UP


def test_a_runtime_that_answers_and_hangs_up_each_time_does_not_keep_us_busy() -> None:
    scene = up()
    for _ in range(3):
        scene.served[-1].close()
        scene.loop.settle()
        dialled = len(scene.served)
        scene.loop.advance(RETRY_INTERVAL * 0.7)
        assert len(scene.served) == dialled
        scene.loop.advance(RETRY_INTERVAL * 0.4)
        assert scene.runtime.state is State.UP


def test_a_runtime_that_ends_a_connection_ends_its_calls_and_is_found_on_another_meanwhile() -> None:
    scene = up()
    scene.loop.advance(1)
    sink = scene.call()
    first = scene.served[-1]
    scene.go_away()
    assert (scene.runtime.state, len(scene.served), scene.runtime.under_way) == (State.UP, 2, 1)
    first.answer(7)
    assert (sink.ends, scene.runtime.under_way) == (1, 0)
    assert first.closed == ""


def test_a_runtime_that_moves_counts_as_there_and_the_log_says_nothing() -> None:
    scene = up()
    scene.loop.advance(1)
    changes, records = len(scene.changes), len(scene.logged(LOUD))
    scene.deaf = True
    scene.go_away()
    assert (scene.runtime.state, scene.runtime.there) == (State.MOVING, True)
    assert scene.changes[changes:] == []
    hear(scene)
    assert scene.changes[changes:] == [(State.UP, True)]
    assert len(scene.logged(LOUD)) == records


@pytest.mark.parametrize("id", ["", "x.test"])
def test_who_waits_for_a_runtime_that_moves_hears_that_it_is_there(id: str) -> None:
    scene, waiter = moving(id), Waiter()
    scene.runtime.wait(waiter, 60)
    hear(scene)
    assert waiter.told == ["available"]


@pytest.mark.parametrize(("id", "told"), [("", 0), ("x.test", 1)])
def test_a_runtime_that_does_not_come_back_from_a_move_is_lost(id: str, told: int) -> None:
    scene, waiter = moving(id), Waiter()
    scene.runtime.wait(waiter, 60)
    scene.served[-1].close()
    assert (scene.runtime.state, scene.runtime.there) == (State.LOOKING, False)
    assert scene.logged("has gone: it is going away")
    assert scene.changes[-1] == (State.LOOKING, False)
    # Only the primary is waited for until it is found.
    assert len(waiter.told) == told


def test_a_runtime_that_does_not_answer_on_its_next_connection_is_lost() -> None:
    scene = moving()
    scene.loop.advance(HANDSHAKE_TIMEOUT)
    assert scene.runtime.state is State.LOOKING
    assert scene.runtime.reason == "it accepts connections and does not answer"


def test_a_runtime_that_moves_after_each_call_is_looked_for_a_hundred_times_a_second_at_most() -> None:
    scene = up()
    for _ in range(400):
        if scene.runtime.available is not None:
            scene.call()
            scene.go_away()
        assert scene.runtime.state is State.MOVING
        scene.loop.advance(MOVE_INTERVAL / 4)
    assert 75 < len(scene.served) <= 101
    assert not scene.logged("has gone")


def test_a_runtime_that_moves_and_has_served_nothing_is_lost() -> None:
    scene = up()
    scene.go_away()
    assert scene.runtime.state is State.LOOKING
    scene.loop.advance(RETRY_INTERVAL)
    scene.call()
    # It has not looked at the call: GOAWAY with the last question's stream.
    scene.served[-1].connection._table.last_peer_id = 5
    scene.go_away()
    assert scene.runtime.state is State.LOOKING


def test_a_runtime_that_finds_fault_with_a_connection_moves_and_is_warned_of() -> None:
    scene = up()
    scene.loop.advance(1)
    scene.served[-1].connection.go_away(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
    scene.served[-1].say()
    assert scene.runtime.state is State.UP
    assert scene.logged("takes no more calls on a connection: .*: ENHANCE_YOUR_CALM: too_many_pings")


def test_a_runtime_that_is_another_after_a_move_is_told_of() -> None:
    scene = moving()
    scene.served[-1].name = b"newer"
    hear(scene)
    assert scene.logged(r"connected to the primary runtime \(/run/x.sock\): newer, CRI")


def test_who_waits_for_a_runtime_hears_once_that_it_is_there() -> None:
    scene = looking()
    waiters = [Waiter(), Waiter()]
    for waiter in waiters:
        scene.runtime.wait(waiter, 60)
    scene.runtime.leave(waiters[1])
    serve(scene)
    scene.loop.advance(100)
    assert [waiter.told for waiter in waiters] == [["available"], []]


def test_who_waits_too_long_hears_why() -> None:
    scene = looking()
    waiter = Waiter()
    scene.runtime.wait(waiter, 2)
    scene.loop.advance(2)
    serve(scene)
    reason = "criproxy: the primary runtime (/run/x.sock) is not available: there is no such socket"
    assert waiter.told == [reason]


@pytest.mark.parametrize("late", [False, True])
def test_who_waits_for_a_runtime_that_is_not_configured_any_more_hears_that(late: bool) -> None:
    scene, waiter = looking(), Waiter()
    if late:
        retire(scene)
    scene.runtime.wait(waiter, 60)
    if not late:
        retire(scene)
    assert [text.rpartition(": ")[2] for text in waiter.told] == ["it is not configured any more"]


def test_a_warning_is_given_once_until_it_is_cleared_or_the_runtime_found_anew() -> None:
    scene = up()
    steps: List[Callable[[], object]] = [
        lambda: None,
        lambda: scene.runtime.clear_warning("x"),
        scene.hang_up,
        lambda: serve(scene),
    ]
    for step in steps:
        step()
        scene.runtime.warn_once("x", "it has gone wrong")
    assert len(scene.logged("it has gone wrong")) == 3


@pytest.mark.parametrize(
    ("id", "service", "text", "level"),
    [
        ("", RUNTIME_SERVICE, "the primary runtime", "E"),
        ("", IMAGE_SERVICE, "the image service", "E"),
        ("x.test", RUNTIME_SERVICE, 'runtime "x.test"', "W"),
    ],
)
def test_without_the_primary_the_node_does_not_work(id: str, service: Service, text: str, level: str) -> None:
    scene = Scene(id, service)
    scene.serving = False
    scene.connect()
    assert scene.logged(rf"(?m)^{level}.*\] {text} \(/run/x.sock\) is not there")


@pytest.mark.parametrize(("id", "level"), [("", "E"), ("x.test", "W")])
def test_a_loss_is_one_record_and_the_return_another(id: str, level: str) -> None:
    scene = up(id)
    scene.loop.advance(1)
    scene.hang_up()
    scene.loop.advance(14)
    serve(scene)
    title = 'runtime "x.test"' if id else "the primary runtime"
    gone, back = [f"{line[0]} {line.partition('] ')[2]}" for line in scene.logged(r"[IWE].*\] [^>\n]*\n")][1:]
    assert gone == f"{level} {title} (/run/x.sock) has gone: it closed the connection; looking for it\n"
    assert back.startswith(f"I connected to {title} (/run/x.sock): CRI ")
    assert back.endswith("; it is back after 14 s\n")


def test_a_loss_for_another_reason_than_that_nobody_serves_is_told_with_it() -> None:
    scene = up()
    scene.loop.advance(1)
    scene.error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    scene.hang_up()
    scene.loop.advance(60)
    assert len(scene.logged("has gone: ")) == len(scene.logged("is not there: permission denied; ")) == 1


@pytest.mark.parametrize("begin", [up, moving])
@pytest.mark.parametrize("again", [0, 1])
def test_a_runtime_that_takes_one_more_connection_as_it_goes_has_gone_once(
    begin: Callable[[], Scene], again: int
) -> None:
    """gRPC's server says that it is going away before it closes its socket. What it does a second later is news."""
    scene = begin()
    scene.loop.advance(RETRY_INTERVAL)
    if begin is up:
        scene.deaf = True
        scene.served[-1].close()
    for _ in range(1 + again):
        scene.served[-1].close()
        scene.loop.advance(RETRY_INTERVAL)
    assert len(scene.logged("has gone: ")) == 1
    assert len(scene.logged("is not there: it closed the connection before it answered")) == again


def break_the_protocol(scene: Scene, number: int) -> None:
    connection = scene.served[-1].connection
    connection._out.append(frames.frame(frames.DATA, 0, 2 * number + 1001, b""))
    scene.served[-1].say()


def greet_in_another_way(scene: Scene, number: int) -> None:
    """It does not speak HTTP/2 when it is found again."""
    scene.greeting = b"HTTP/1.1 %d no\r\n\r\n" % (400 + number)
    scene.served[-1].close()
    scene.loop.settle()


@pytest.mark.parametrize("misbehave", [break_the_protocol, greet_in_another_way])
def test_a_runtime_that_fails_in_a_new_way_each_time_is_told_of_once_a_minute(
    misbehave: Callable[[Scene, int], None],
) -> None:
    scene = up()
    for number in range(5 * 60 * 2):
        misbehave(scene, number)
        scene.loop.advance(0.5)
    records = scene.logged(LOUD)
    assert BURST <= len(records) <= BURST + 5
    assert all("more of its faults in the last minute)" in record for record in records[BURST:])
    # What it has been warned of is remembered, but not without end.
    assert len(scene.runtime._warned) <= 64


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order: no change that the table does not have, no call without an end."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()
        self.sinks: List[RecordingSink] = []
        self.waiters: List[Waiter] = []
        self.ended = False
        self.scene.connect()

    @property
    def peer(self) -> Optional[FakeRuntime]:
        """The last connection at the runtime's end, while it is open."""
        served = self.scene.served
        return served[-1] if served and not served[-1].transport.closed else None

    @rule(serving=st.booleans(), deaf=st.booleans(), refusal=st.sampled_from((b"", UNIMPLEMENTED, NOT_READY)))
    def become(self, serving: bool, deaf: bool, refusal: bytes) -> None:
        self.scene.serving, self.scene.deaf, self.scene.refusal = serving, deaf, refusal
        if self.peer is not None:
            self.peer.refusal = refusal

    @rule(seconds=st.sampled_from((0.0, RETRY_INTERVAL, LIVENESS_TIMEOUT, 2 * HANDSHAKE_TIMEOUT)))
    def wait(self, seconds: float) -> None:
        self.scene.loop.advance(seconds)

    @precondition(lambda self: self.peer is not None)
    @rule(deaf=st.booleans())
    def hang(self, deaf: bool) -> None:
        assert self.peer is not None
        self.peer.sock.deaf = deaf
        self.scene.loop.settle()

    @precondition(lambda self: self.peer is not None)
    @rule()
    def go_away(self) -> None:
        self.scene.go_away()

    @precondition(lambda self: self.peer is not None)
    @rule()
    def hang_up(self) -> None:
        assert self.peer is not None
        self.peer.close()

    @precondition(lambda self: self.peer is not None)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        assert self.peer is not None
        streams = list(self.peer.connection._streams)
        if streams:
            stream_id = data.draw(st.sampled_from(streams))
            if data.draw(st.booleans()):
                self.peer.answer(stream_id)
            else:
                self.peer.connection.reset(stream_id, ErrorCode.REFUSED_STREAM)
                self.peer.say()

    @precondition(lambda self: self.scene.runtime.available is not None)
    @rule()
    def call(self) -> None:
        self.sinks.append(self.scene.call())

    @precondition(lambda self: self.scene.runtime.available is not None)
    @rule()
    def check_liveness(self) -> None:
        assert self.scene.runtime.available is not None
        self.scene.runtime.available.check_liveness()

    @rule()
    def wait_for_it(self) -> None:
        if self.scene.runtime.available is None:
            waiter = Waiter()
            self.waiters.append(waiter)
            self.scene.runtime.wait(waiter, 3)

    @precondition(lambda self: not self.ended)
    @rule()
    def retire(self) -> None:
        self.ended = True
        self.scene.runtime.retire()
        self.scene.loop.settle()

    @invariant()
    def calls_go_where_it_is_up(self) -> None:
        runtime = self.scene.runtime
        assert (runtime.available is not None) == (runtime.state is State.UP)
        assert runtime.available in (None, runtime.upstream)
        assert runtime.there == (runtime.state in (State.UP, State.MOVING))

    @invariant()
    def nothing_ends_twice(self) -> None:
        assert all(sink.ends <= 1 for sink in self.sinks)
        assert all(len(waiter.told) <= 1 for waiter in self.waiters)

    def teardown(self) -> None:
        if not self.ended:
            self.scene.runtime.stop()
        for served in self.scene.served:
            served.close()
        self.scene.loop.advance(3)
        assert self.scene.runtime.state is State.RETIRED
        assert self.scene.runtime.under_way == 0
        assert all(sink.ends == 1 for sink in self.sinks)
        assert all(len(waiter.told) == 1 for waiter in self.waiters)
        assert self.scene.loop.timers == 0
        assert not self.scene.loop.watched


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_since_when_a_runtime_is_there_or_away_can_be_looked_at() -> None:
    scene = Scene().connect()
    found = scene.runtime.since
    scene.loop.advance(100)
    scene.go_away()
    scene.loop.settle()
    scene.loop.advance(MOVE_INTERVAL)
    there = scene.runtime.there
    assert there
    assert scene.runtime.since == found, "it has moved to another connection, and was there all the time"
    scene.silence()
    assert not scene.runtime.there
    assert scene.runtime.problem == "it does not answer"
    assert scene.runtime.since == scene.loop.real.time()
