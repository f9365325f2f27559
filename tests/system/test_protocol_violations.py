"""Runtimes and clients that say on the wire what they should not, or when nobody expects it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, ClassVar, Dict, Iterator, List

import grpc
import pytest
from cri_api.v1 import api_pb2 as v1
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes
from peers import PATIENCE, Connect, MakeRuntime, Proxy, Runtime, StartProxy
from wire import HEAD, OK, VERSION, Fields, Peer, WireClient, WireRuntime, answer_version, message

INTERNAL, UNAVAILABLE, UNIMPLEMENTED, INVALID_ARGUMENT = 13, 14, 12, 3
TRAILERS_ONLY: Fields = (*HEAD, *OK)
PODS = v1.ListPodSandboxResponse(items=[v1.PodSandbox(id="p")]).SerializeToString()
STATUS = v1.ContainerStatusResponse(status=v1.ContainerStatus(id="c")).SerializeToString()
CONTAINER = v1.ContainerStatusRequest(container_id="alt.test__c").SerializeToString()
OWN_CONTAINER = v1.ContainerStatusRequest(container_id="c").SerializeToString()

Behave = Callable[[Peer, int, str], None]
MakeWireRuntime = Callable[..., WireRuntime]
ConnectWire = Callable[..., WireClient]


def nothing(peer: Peer, stream: int, path: str) -> None:
    """No answer."""


def answer_in_part(peer: Peer, stream: int, data: bytes) -> None:
    """Sends this data, then the status OK."""
    peer.head(stream)
    peer.data(stream, data)
    peer.head(stream, OK, True)


@pytest.fixture
def wire_runtime(folder: Path) -> Iterator[MakeWireRuntime]:
    """Makes runtimes that do on the wire what they are told, and serve at once."""
    made: List[WireRuntime] = []

    def make(behave: Behave, name: str = "wire", **options: Any) -> WireRuntime:
        made.append(WireRuntime(str(folder / f"{name}.sock"), behave, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture
def connect_wire() -> Iterator[ConnectWire]:
    """Makes clients that do on the wire what they are told."""
    made: List[WireClient] = []

    def make(proxy: Proxy, **options: Any) -> WireClient:
        made.append(WireClient(proxy.path, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def before(
    start_proxy: StartProxy, wire_runtime: MakeWireRuntime, runtime: MakeRuntime, connect_wire: ConnectWire
) -> Callable[..., WireClient]:
    """A client of a proxy before a runtime that behaves in some way: the primary, or the alternative one."""

    def start(behave: Behave, alternative: bool = False, *options: str, **more: Any) -> WireClient:
        odd = wire_runtime(behave, **more)
        sound: Any = runtime("sound").start()
        sound.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[v1.PodSandbox(id="sound")])
        first, other = (sound, odd) if alternative else (odd, sound)
        # What the runtimes are asked is what the test asks them, and nothing is remembered of before it.
        quiet = ("-v", "2", "--absence-grace", "0", *options)
        start.proxy = start_proxy(first, {"alt.test": other}, *quiet)  # type: ignore[attr-defined]
        start.sound, start.odd = sound, odd  # type: ignore[attr-defined]
        return connect_wire(start.proxy)  # type: ignore[attr-defined]

    return start


def ids(body: bytes) -> List[str]:
    """The pods in an answer that is one message."""
    assert body[:5] == message(body[5:])[:5]
    return [pod.id for pod in v1.ListPodSandboxResponse.FromString(body[5:]).items]


class TestARuntimeThatResets:
    @pytest.mark.parametrize("begun", ["nothing", "headers", "half"])
    @pytest.mark.parametrize("code", [ErrorCodes.NO_ERROR, ErrorCodes.CANCEL, ErrorCodes.INTERNAL_ERROR])
    def test_resets_the_callers_stream(self, begun: str, code: int, before: Callable[..., WireClient]) -> None:
        def behave(peer: Peer, stream: int, path: str) -> None:
            if begun != "nothing":
                peer.head(stream)
            if begun == "half":
                peer.data(stream, message(STATUS)[:-1])
            peer.reset(stream, code)

        client = before(behave)
        assert client.wait_for_reset(client.ask("ContainerStatus", OWN_CONTAINER)) == code
        assert client.wait_for_reset(client.ask("RuntimeConfig")) == code

    def test_after_its_answer_has_answered(self, before: Callable[..., WireClient]) -> None:
        def behave(peer: Peer, stream: int, path: str) -> None:
            peer.answer(stream, STATUS)
            peer.raw(b"\0\0\4\3\0" + stream.to_bytes(4, "big") + b"\0\0\0\0")

        client = before(behave)
        for _ in range(3):
            stream = client.ask("ContainerStatus", OWN_CONTAINER)
            assert client.status_of(stream) == 0
            assert client.body_of(stream) == message(STATUS)

    def test_fails_a_list_if_it_is_the_primary(self, before: Callable[..., WireClient]) -> None:
        client = before(lambda peer, stream, path: peer.reset(stream, ErrorCodes.INTERNAL_ERROR))
        assert client.status_of(client.ask("ListPodSandbox")) == INTERNAL

    def test_what_it_has_not_looked_at_is_asked_again(self, before: Callable[..., WireClient]) -> None:
        refused = []

        def behave(peer: Peer, stream: int, path: str) -> None:
            if path not in refused:
                refused.append(path)
                peer.reset(stream, ErrorCodes.REFUSED_STREAM)
            else:
                peer.answer(stream, PODS)

        client = before(behave)
        assert client.status_of(client.ask("ContainerStatus", OWN_CONTAINER)) == 0
        assert client.status_of(client.ask("ListPodSandbox")) == 0
        assert len(refused) == 2


class TestAnAnswerWithoutItsMessage:
    """An empty list means to kubelet that all pods are gone: it must not be made of an answer that is none."""

    ANSWERS: ClassVar[Dict[str, Behave]] = {
        "no message": lambda peer, stream, path: peer.answer(stream),
        "trailers only": lambda peer, stream, path: peer.head(stream, TRAILERS_ONLY, True),
        "half a message": lambda peer, stream, path: answer_in_part(peer, stream, message(PODS)[:-1]),
        "half a prefix": lambda peer, stream, path: answer_in_part(peer, stream, b"\0\0"),
        "two messages": lambda peer, stream, path: peer.answer(stream, PODS, PODS),
    }

    @pytest.mark.parametrize("answer", ANSWERS)
    def test_of_the_primary_fails_a_list(self, answer: str, before: Callable[..., WireClient]) -> None:
        client = before(self.ANSWERS[answer])
        assert client.status_of(client.ask("ListPodSandbox")) == INTERNAL

    @pytest.mark.parametrize("answer", ANSWERS)
    def test_of_an_alternative_runtime_is_left_out(self, answer: str, before: Callable[..., WireClient]) -> None:
        client = before(self.ANSWERS[answer], True)
        stream = client.ask("ListPodSandbox")
        assert client.status_of(stream) == 0
        assert ids(client.body_of(stream)) == ["sound"]
        before.proxy.wait_for_log("ListPodSandbox is answered without")  # type: ignore[attr-defined]

    def test_that_stops_in_the_middle_of_a_message_is_an_error(self, before: Callable[..., WireClient]) -> None:
        client = before(self.ANSWERS["half a message"], True)
        request = v1.ListPodSandboxRequest(filter=v1.PodSandboxFilter(id="alt.test__p")).SerializeToString()
        assert client.status_of(client.ask("ListPodSandbox", request)) == INTERNAL
        assert client.status_of(client.ask("StreamPodSandboxes", request)) == INTERNAL

    def test_is_an_empty_stream_if_it_is_trailers_only(self, before: Callable[..., WireClient]) -> None:
        client = before(self.ANSWERS["trailers only"])
        stream = client.ask("StreamPodSandboxes")
        assert client.end_of(stream)["grpc-status"] == "0"
        assert client.body_of(stream) == b""

    def test_ends_the_events_if_it_is_trailers_only(self, before: Callable[..., WireClient]) -> None:
        client = before(self.ANSWERS["trailers only"])
        with endless_events(before.sound):  # type: ignore[attr-defined]
            assert client.status_of(client.ask("GetContainerEvents")) == 0


@contextmanager
def endless_events(runtime: Runtime, *containers: str) -> Iterator[None]:
    """A runtime has events of these containers, and then none for the time being."""
    over = threading.Event()

    def events(*_: object) -> Iterator[Any]:
        yield from [v1.ContainerEventResponse(container_id=each) for each in containers]
        over.wait(PATIENCE)

    runtime.answers["GetContainerEvents"] = events
    try:
        yield
    finally:
        over.set()


def test_an_error_of_the_primary_ends_events_that_have_begun(before: Callable[..., WireClient]) -> None:
    asked = threading.Semaphore(0)
    may_fail = threading.Event()

    def behave(peer: Peer, stream: int, path: str) -> None:
        asked.release()
        assert may_fail.wait(PATIENCE)
        peer.head(stream, (*HEAD, ("grpc-status", "12"), ("grpc-message", "no events"), ("own", "x")), True)

    client = before(behave)
    with endless_events(before.sound, "c"):  # type: ignore[attr-defined]
        stream = client.ask("GetContainerEvents")
        client.wait_until(lambda: client.of(stream, DataReceived))
        may_fail.set()
        end = client.end_of(stream)
    assert (end["grpc-status"], end["grpc-message"], end["own"]) == ("12", "no events", "x")
    assert ":status" not in end


class TestAnAnswerThatIsNotGrpc:
    """What stands before a runtime may answer for it: a proxy's 503 with a page for browsers."""

    HEADS = ((":status", "503"), ("content-type", "text/html"))

    @staticmethod
    def page(peer: Peer, stream: int, path: str) -> None:
        peer.head(stream, TestAnAnswerThatIsNotGrpc.HEADS)
        peer.data(stream, b"<html>no server is available</html>", True)

    @staticmethod
    def bare(peer: Peer, stream: int, path: str) -> None:
        peer.head(stream, TestAnAnswerThatIsNotGrpc.HEADS, True)

    @pytest.mark.parametrize("answer", ["page", "bare"])
    @pytest.mark.parametrize("method", ["RuntimeConfig", "ListPodSandbox", "StreamPodSandboxes"])
    def test_means_what_grpc_takes_its_status_for(
        self, answer: str, method: str, before: Callable[..., WireClient], connect: Connect
    ) -> None:
        before(getattr(self, answer))
        client = connect(before.proxy)  # type: ignore[attr-defined]
        assert client.fail(method)[0] is grpc.StatusCode.UNAVAILABLE

    @pytest.mark.parametrize("answer", ["page", "bare"])
    def test_of_an_alternative_runtime_is_left_out_of_lists(
        self, answer: str, before: Callable[..., WireClient]
    ) -> None:
        client = before(getattr(self, answer), True)
        stream = client.ask("ListPodSandbox")
        assert client.status_of(stream) == 0
        assert ids(client.body_of(stream)) == ["sound"]
        assert "UNAVAILABLE" in before.proxy.wait_for_log("is answered without")  # type: ignore[attr-defined]


@pytest.mark.parametrize("alternative", [False, True])
def test_an_interim_response_is_not_the_answer(alternative: bool, before: Callable[..., WireClient]) -> None:
    def behave(peer: Peer, stream: int, path: str) -> None:
        interim = b"\x08\x03103"
        peer.raw(len(interim).to_bytes(3, "big") + b"\1\4" + stream.to_bytes(4, "big") + interim)
        peer.answer(stream, STATUS)

    client = before(behave, alternative)
    stream = client.ask("ContainerStatus", CONTAINER if alternative else OWN_CONTAINER)
    assert client.status_of(stream) == 0
    assert len(client.body_of(stream)) > 5


class TestMessagesThatDoNotParse:
    @pytest.mark.parametrize("alternative", [False, True])
    def test_of_metrics_are_left_out_unless_they_are_the_primary_s(
        self, alternative: bool, before: Callable[..., WireClient]
    ) -> None:
        client = before(lambda peer, stream, path: peer.answer(stream, b"\xff\xff\xff"), alternative)
        stream = client.ask("ListMetricDescriptors")
        assert client.status_of(stream) == 0
        assert (b"\xff\xff\xff" in client.body_of(stream)) == (not alternative)

    def test_of_an_alternative_runtime_are_its_fault_alone(self, before: Callable[..., WireClient]) -> None:
        client = before(lambda peer, stream, path: peer.answer(stream, b"\xff\xff\xff"), True)
        assert client.status_of(client.ask("ContainerStatus", CONTAINER)) == INTERNAL
        stream = client.ask("ListPodSandbox")
        assert client.status_of(stream) == 0
        assert ids(client.body_of(stream)) == ["sound"]

    def test_from_kubelet_are_refused(self, before: Callable[..., WireClient]) -> None:
        client = before(lambda peer, stream, path: peer.answer(stream))
        for method in ("ContainerStatus", "ListPodSandbox", "RunPodSandbox", "CreateContainer"):
            assert client.status_of(client.ask(method, b"\xff\xff\xff")) == INVALID_ARGUMENT


def begin_block(peer: Peer, stream: int, fields: bytes) -> None:
    """HEADERS that CONTINUATION follows."""
    peer.raw(len(fields).to_bytes(3, "big") + b"\1\0" + stream.to_bytes(4, "big") + fields)


def continue_block(peer: Peer, stream: int, fields: bytes, last: bool = False) -> None:
    """CONTINUATION, after which the block ends or does not."""
    peer.raw(len(fields).to_bytes(3, "big") + b"\x09" + bytes((4 * last,)) + stream.to_bytes(4, "big") + fields)


class TestARuntimeThatBreaksHttp2:
    def garbage(peer: Peer, stream: int, path: str) -> None:  # type: ignore[misc]
        peer.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def endless(peer: Peer, stream: int, path: str) -> None:  # type: ignore[misc]
        begin_block(peer, stream, b"")
        for _ in range(100):
            continue_block(peer, stream, b"")

    @pytest.mark.parametrize("behave", [garbage, endless])
    def test_loses_its_calls_and_is_connected_to_anew(self, behave: Behave, before: Callable[..., WireClient]) -> None:
        sound = threading.Event()

        def until_told(peer: Peer, stream: int, path: str) -> None:
            if sound.is_set():
                peer.answer(stream, STATUS)
            elif path.endswith("ContainerStatus"):
                behave(peer, stream, path)

        client = before(until_told)
        waiting = client.ask("RuntimeConfig")
        before.odd.wait_for("RuntimeConfig")  # type: ignore[attr-defined]
        assert client.status_of(client.ask("ContainerStatus", OWN_CONTAINER)) == UNAVAILABLE
        assert client.status_of(waiting) == UNAVAILABLE
        sound.set()
        assert client.status_of(client.ask("ContainerStatus", OWN_CONTAINER)) == 0

    def test_by_an_answer_of_too_many_fields_loses_that_call_alone(self, before: Callable[..., WireClient]) -> None:
        told = threading.Event()

        def behave(peer: Peer, stream: int, path: str) -> None:
            if path.endswith("/RuntimeConfig"):
                return
            if told.is_set():
                peer.answer(stream, STATUS)
                return
            begin_block(peer, stream, b"")
            for number in range(1_050):
                continue_block(peer, stream, bytes(16_000), number == 1_049)

        client = before(behave)
        client.ask("RuntimeConfig")
        before.odd.wait_for("RuntimeConfig")  # type: ignore[attr-defined]
        stream = client.ask("ContainerStatus", OWN_CONTAINER)
        assert client.wait_for_reset(stream) == ErrorCodes.ENHANCE_YOUR_CALM
        told.set()
        assert client.status_of(client.ask("ContainerStatus", OWN_CONTAINER)) == 0
        assert len(before.odd.peers) == 1  # type: ignore[attr-defined]

    def test_by_a_second_head_resets_the_stream(self, before: Callable[..., WireClient]) -> None:
        def behave(peer: Peer, stream: int, path: str) -> None:
            peer.head(stream)
            head = b"\x88\x5f\x10application/grpc"
            peer.raw(len(head).to_bytes(3, "big") + b"\1\4" + stream.to_bytes(4, "big") + head)

        client = before(behave)
        stream = client.ask("ContainerStatus", OWN_CONTAINER)
        assert client.wait_for_reset(stream) == ErrorCodes.PROTOCOL_ERROR


class TestARuntimeThatGoesAwayInOrder:
    def test_finishes_what_it_has_and_is_asked_the_rest_on_a_new_connection(
        self, before: Callable[..., WireClient]
    ) -> None:
        held: List[Any] = []

        def behave(peer: Peer, stream: int, path: str) -> None:
            if path.endswith("/RuntimeConfig"):
                held.append((peer, stream))
            else:
                peer.answer(stream, STATUS)

        client = before(behave)
        long = client.ask("RuntimeConfig")
        before.odd.wait_for("RuntimeConfig")  # type: ignore[attr-defined]
        peer, stream = held[0]
        peer.raw(b"\0\0\x08\7\0\0\0\0\0" + stream.to_bytes(4, "big") + b"\0\0\0\0")
        assert client.status_of(client.ask("ContainerStatus", OWN_CONTAINER)) == 0
        assert len(before.odd.peers) == 2  # type: ignore[attr-defined]
        peer.answer(stream, b"")
        assert client.status_of(long) == 0
        peer.wait_until(lambda: peer.closed)

    @pytest.mark.parametrize("method", ["ContainerStatus", "ListPodSandbox", "StreamPodSandboxes"])
    def test_is_asked_again_for_what_it_has_not_looked_at(self, method: str, before: Callable[..., WireClient]) -> None:
        first: List[Peer] = []

        def behave(peer: Peer, stream: int, path: str) -> None:
            if not first:
                first.append(peer)
                peer.raw(b"\0\0\x08\7\0\0\0\0\0" + (stream - 2).to_bytes(4, "big") + b"\0\0\0\0")
            else:
                peer.answer(stream, PODS)

        client = before(behave)
        assert client.status_of(client.ask(method, OWN_CONTAINER if method == "ContainerStatus" else b"")) == 0

    def test_while_it_is_asked_for_its_versions_is_connected_to_anew(self, before: Callable[..., WireClient]) -> None:
        gone: List[Peer] = []

        def probed(peer: Peer, stream: int, path: str) -> None:
            if not gone:
                gone.append(peer)
                peer.raw(b"\0\0\x08\7\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0")
            answer_version(peer, stream, path)

        client = before(lambda peer, stream, path: peer.answer(stream, STATUS), probed=probed)
        assert client.status_of(client.ask("RuntimeConfig")) == 0


class TestARuntimeWithRoomForOneCall:
    SETTINGS: ClassVar[Dict[int, int]] = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}

    def test_gets_them_one_after_the_other(self, before: Callable[..., WireClient]) -> None:
        client = before(lambda peer, stream, path: peer.answer(stream, STATUS), settings=self.SETTINGS)
        streams = [client.ask("ContainerStatus", OWN_CONTAINER) for _ in range(20)]
        assert [client.status_of(stream) for stream in streams] == [0] * 20

    def test_does_not_hear_of_calls_that_were_cancelled_meanwhile(self, before: Callable[..., WireClient]) -> None:
        held: List[Any] = []

        def behave(peer: Peer, stream: int, path: str) -> None:
            if path.endswith("/RuntimeConfig"):
                held.append((peer, stream))
            else:
                peer.answer(stream, STATUS)

        client = before(behave, settings=self.SETTINGS)
        first = client.ask("RuntimeConfig")
        before.odd.wait_for("RuntimeConfig")  # type: ignore[attr-defined]
        cancelled = [client.ask("PodSandboxStatus") for _ in range(10)]
        for stream in cancelled:
            client.reset(stream, ErrorCodes.CANCEL)
        last = client.ask("ContainerStatus", OWN_CONTAINER)
        held[0][0].answer(held[0][1], b"")
        assert (client.status_of(first), client.status_of(last)) == (0, 0)
        assert "PodSandboxStatus" not in before.odd.requests  # type: ignore[attr-defined]

    def test_that_answers_before_it_has_the_request_has_room_again(self, before: Callable[..., WireClient]) -> None:
        # It takes 64 kB of a stream and says no at once, as servers do with a message that is too large for them.
        def refuse(peer: Peer, event: Any) -> None:
            if dict(event.headers)[":path"].endswith("CreateContainer"):
                peer.head(event.stream_id, (*HEAD, ("grpc-status", "8")), True)

        client = before(lambda peer, stream, path: peer.answer(stream, STATUS), settings=self.SETTINGS, on_head=refuse)
        request = v1.CreateContainerRequest(pod_sandbox_id="p")
        request.config.image.image = "i"
        request.config.annotations["large"] = "x" * 200_000
        body = message(request.SerializeToString())
        for _ in range(3):
            stream = client.open("CreateContainer")
            client.send(stream, body, True)
            assert client.status_of(stream) == 8
        assert client.status_of(client.ask("ContainerStatus", OWN_CONTAINER)) == 0


def test_a_runtime_may_close_and_open_its_windows_as_it_likes(before: Callable[..., WireClient]) -> None:
    heads: List[int] = []

    def narrow(peer: Peer, event: Any) -> None:
        if dict(event.headers)[":path"].endswith("CreateContainer"):
            heads.append(event.stream_id)
            peer.set({SettingCodes.INITIAL_WINDOW_SIZE: 1})
            peer.grant(event.stream_id, 70_000)
            peer.set({SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})

    client = before(lambda peer, stream, path: peer.answer(stream, b""), on_head=narrow)
    request = v1.CreateContainerRequest(pod_sandbox_id="p")
    request.config.image.image = "i"
    request.config.annotations["large"] = "x" * 200_000
    body = message(request.SerializeToString())
    stream = client.open("CreateContainer")
    client.send(stream, body, True)
    assert client.status_of(stream) == 0
    peer = before.odd.peers[0]  # type: ignore[attr-defined]
    assert b"".join(event.data for event in peer.of(heads[0], DataReceived)) == body


class TestARuntimeThatIsAskedForItsVersions:
    def test_may_need_time_to_get_ready(self, before: Callable[..., WireClient]) -> None:
        asked: List[str] = []

        def probed(peer: Peer, stream: int, path: str) -> None:
            asked.append(path)
            if asked.count(VERSION) < 3:
                peer.head(stream, (*HEAD, ("grpc-status", "14"), ("grpc-message", "starting")), True)
            else:
                answer_version(peer, stream, path)

        client = before(lambda peer, stream, path: peer.answer(stream, STATUS), probed=probed)
        assert client.status_of(client.ask("ContainerStatus", OWN_CONTAINER)) == 0
        assert len(before.odd.peers) == 1  # type: ignore[attr-defined]
        assert len(before.proxy.logged("it is not ready yet: UNAVAILABLE: starting")) == 1  # type: ignore[attr-defined]

    def test_may_speak_the_oldest_alone(self, before: Callable[..., WireClient]) -> None:
        def probed(peer: Peer, stream: int, path: str) -> None:
            if path.startswith("/runtime.RuntimeService"):
                peer.answer(stream, b"")
            else:
                peer.head(stream, (*HEAD, ("grpc-status", "12")), True)

        paths: List[str] = []

        def behave(peer: Peer, stream: int, path: str) -> None:
            paths.append(path)
            peer.answer(stream, STATUS)

        client = before(behave, probed=probed)
        assert client.status_of(client.ask("ContainerStatus", OWN_CONTAINER)) == 0
        assert paths == ["/runtime.RuntimeService/ContainerStatus"]

    def test_and_hangs_up_each_time_is_not_asked_without_a_pause(
        self,
        before: Callable[..., WireClient],
        start_proxy: StartProxy,
        primary: Runtime,
        wire_runtime: MakeWireRuntime,
    ) -> None:
        def probed(peer: Peer, stream: int, path: str) -> None:
            answer_version(peer, stream, path)
            if path.startswith("/runtime.RuntimeService"):
                peer.raw(b"\0\0\x08\7\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0")

        odd = wire_runtime(nothing, probed=probed)
        proxy = start_proxy(primary, {"alt.test": odd}, connected=0)
        pause = threading.Event()
        proxy.wait_for_log("has gone")
        # A runtime that is not there is looked for four times a second.
        pause.wait(1)
        assert len(odd.peers) < 20


def test_events_of_a_runtime_that_had_not_answered_come_when_it_does(
    start_proxy: StartProxy, runtime: MakeRuntime, primary: Runtime, connect: Connect
) -> None:
    primary.answers["GetContainerEvents"] = lambda request, context: _until_over(context)
    behind = runtime("behind").start()
    behind.answers["GetContainerEvents"] = lambda *_: [v1.ContainerEventResponse(container_id="c")]
    inner = start_proxy(behind, {}, name="inner")
    outer = start_proxy(primary, {"alt.test": inner.as_runtime()}, "--fan-out-timeout", "0.3", name="outer")
    client = connect(outer)
    inner.signal(signal.SIGSTOP)
    try:
        client.call("ListPodSandbox")
        events = client.stub("GetContainerEvents")(client.request("GetContainerEvents"), timeout=PATIENCE)
        primary.wait_for("GetContainerEvents")
    finally:
        inner.signal(signal.SIGCONT)
    assert next(events).container_id == "alt.test__c"
    events.cancel()


def _until_over(context: grpc.ServicerContext) -> Iterator[Any]:
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(PATIENCE)
    return iter(())


def open_files(proxy: Proxy) -> int:
    """How many descriptors the proxy has."""
    return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))


class TestWithoutDescriptors:
    @pytest.fixture
    def starved(self, proxy: Proxy) -> Iterator[Callable[[], None]]:
        """The proxy has none left until the test says so."""
        limits = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (open_files(proxy), limits[1]))

        def relieve() -> None:
            resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, limits)

        yield relieve
        relieve()

    def test_a_client_waits_until_there_are_some(
        self, proxy: Proxy, starved: Callable[[], None], connect_wire: ConnectWire
    ) -> None:
        client = connect_wire(proxy)
        stream = client.ask("RuntimeConfig")
        proxy.wait_for_log("cannot accept a connection: Too many open files")
        starved()
        assert client.status_of(stream) == 0

    def test_a_runtime_that_comes_back_is_found_when_there_are_some(
        self, proxy: Proxy, starved: Callable[[], None], other: Runtime, connect_wire: ConnectWire
    ) -> None:
        waiting = connect_wire(proxy)  # gets the descriptor that the lost connection had
        other.stop()
        proxy.wait_for_log("Too many open files")
        proxy.wait_for_log("too many open files; looking for it")
        waiting.close()
        starved()
        other.start()
        proxy.wait_for_log("connected to ", 3)

    def test_idle_clients_leave_some_to_a_runtime_that_restarts_and_to_others_who_call(
        self, proxy: Proxy, other: Runtime, connect_wire: ConnectWire
    ) -> None:
        resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        for _ in range(100):
            connect_wire(proxy)
        proxy.wait_for_log("32 clients are connected, as many as there may be")
        other.stop()
        proxy.wait_for_log("has gone")
        other.start()
        proxy.wait_for_log("connected to ", 3)
        client = connect_wire(proxy)
        assert client.status_of(client.ask("RuntimeConfig")) == 0
        assert not proxy.logged("oo many open files")


class TestAClient:
    def test_may_take_its_time_with_a_request(self, proxy: Proxy, connect_wire: ConnectWire) -> None:
        client = connect_wire(proxy)
        stream = client.open("ContainerStatus")
        for byte in message(CONTAINER):
            client.data(stream, bytes((byte,)))
        client.data(stream, b"", True)
        assert client.status_of(stream) == 0

    @pytest.mark.parametrize(
        ("body", "code"),
        [(message(CONTAINER) * 2, 3), (b"", 3), (message(CONTAINER)[:-1], 3), (message(CONTAINER) + b"\0", 3)],
        ids=["two messages", "no message", "half a message", "a message and a half"],
    )
    def test_that_sends_no_request_is_told(
        self, body: bytes, code: int, proxy: Proxy, connect_wire: ConnectWire, other: Runtime
    ) -> None:
        client = connect_wire(proxy)
        stream = client.open("ContainerStatus")
        client.data(stream, body, True)
        assert client.status_of(stream) == code
        assert not other.called("ContainerStatus")

    @pytest.mark.parametrize(
        ("head", "code"),
        [({"method": "GET"}, 12), ({"content_type": "application/json"}, 3), ({"path": "*"}, 12)],
        ids=str,
    )
    def test_that_does_not_call_is_told(
        self, head: Dict[str, Any], code: int, proxy: Proxy, connect_wire: ConnectWire
    ) -> None:
        client = connect_wire(proxy)
        assert client.status_of(client.open("RuntimeConfig", end=True, **head)) == code
        assert client.status_of(client.open("RuntimeConfig", **head)) == code
        assert client.status_of(client.ask("RuntimeConfig")) == 0

    def test_that_speaks_http_1_is_hung_up_on(self, proxy: Proxy, connect_wire: ConnectWire) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(proxy.path)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while sock.recv(65536):
                pass
        client = connect_wire(proxy)
        assert client.status_of(client.ask("RuntimeConfig")) == 0

    def test_may_have_priorities(self, proxy: Proxy, connect_wire: ConnectWire) -> None:
        client = connect_wire(proxy)
        for stream in range(1, 200, 2):
            client.raw(b"\0\0\5\2\0" + stream.to_bytes(4, "big") + b"\x80\0\0\0\xff")
        assert client.status_of(client.ask("RuntimeConfig")) == 0

    @pytest.mark.parametrize("timeout", ["9" * 5000 + "S", "9" * 400 + "H", "S", "1x", "-1S", "99999999H"])
    @pytest.mark.parametrize("method", ["RuntimeConfig", "ListPodSandbox"])
    def test_may_have_any_deadline(self, method: str, timeout: str, before: Callable[..., WireClient]) -> None:
        client = before(lambda peer, stream, path: peer.answer(stream, PODS))
        assert client.status_of(client.ask(method, b"", ("grpc-timeout", timeout))) == 0

    def test_is_told_no_more_than_it_can_read(self, proxy: Proxy, connect: Connect) -> None:
        config = v1.PodSandboxConfig(annotations={"kubernetes.io/target-runtime": "x" * 1_000_000})
        client = connect(proxy, **{"grpc.max_metadata_size": 8192})
        code, text = client.fail("RunPodSandbox", config=config)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text.startswith('criproxy: unknown runtime: "xxx')

    def test_may_cancel_thousands_of_calls(self, before: Callable[..., WireClient]) -> None:
        def behave(peer: Peer, stream: int, path: str) -> None:
            if path.endswith("/RuntimeConfig"):
                peer.answer(stream, STATUS)

        client = before(behave)
        for _ in range(20):
            streams = [client.ask("ContainerStatus", CONTAINER), client.ask("ListPodSandbox"), client.ask("NoSuch")]
            streams += [client.ask("GetContainerEvents") for _ in range(97)]
            for stream in streams:
                client.reset(stream, ErrorCodes.CANCEL)
        stream = client.ask("RuntimeConfig")
        assert client.status_of(stream) == 0
        assert client.body_of(stream) == message(STATUS)
        peer = before.odd.peers[0]  # type: ignore[attr-defined]
        # What was cancelled before the proxy had sent it on has never been asked; all else is cancelled there, too.
        asked = {e.stream_id for e in peer.events if isinstance(e, RequestReceived)}
        over = {e.stream_id for e in peer.events if isinstance(e, StreamReset) and e.error_code == ErrorCodes.CANCEL}
        answered = {e.stream_id for e in peer.events if isinstance(e, RequestReceived) and _is_answered(e)}
        assert asked - over == answered
        before.proxy.signal(signal.SIGTERM)  # type: ignore[attr-defined]
        assert before.proxy.wait() == 0  # type: ignore[attr-defined]
        assert before.proxy.logged("stopping: no new calls, 0 under way")  # type: ignore[attr-defined]


def _is_answered(request: RequestReceived) -> bool:
    """By the runtime that is sent thousands of calls."""
    headers: Any = dict(request.headers)
    return str(headers[":path"]).endswith(("/RuntimeConfig", "/Version"))


class TestAClientThatHangsUp:
    STATES = ("nothing", "preface", "head", "half", "asked", "waiting", "answered", "list", "events", "unknown")

    @pytest.mark.parametrize("state", STATES)
    def test_leaves_nothing_behind(self, state: str, before: Callable[..., WireClient]) -> None:
        def behave(peer: Peer, stream: int, path: str) -> None:
            if state == "answered":
                peer.head(stream)
                peer.data(stream, message(STATUS)[:-1])

        client = before(behave, True, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 4})
        proxy, odd = before.proxy, before.odd  # type: ignore[attr-defined]
        assert client.status_of(client.ask("RuntimeConfig")) == 0
        there = open_files(proxy)
        for _ in range(3):
            if state == "nothing":
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(proxy.path)
                continue
            leaver = WireClient(proxy.path)
            if state == "head":
                leaver.open("ContainerStatus")
            elif state == "half":
                leaver.data(leaver.open("ContainerStatus"), message(CONTAINER)[:-1])
            elif state in ("asked", "answered"):
                leaver.ask("ContainerStatus", CONTAINER)
            elif state == "waiting":
                for _ in range(8):
                    leaver.ask("ContainerStatus", CONTAINER)
            elif state == "list":
                leaver.ask("ListPodSandbox")
            elif state == "events":
                leaver.ask("GetContainerEvents")
            elif state == "unknown":
                leaver.data(leaver.open("NoSuch"), b"\0")
            leaver.close()
        client.ask("ContainerStatus", CONTAINER)
        odd.wait_for("ContainerStatus")
        while open_files(proxy) > there:
            assert client.status_of(client.ask("RuntimeConfig")) == 0
        # The runtime has room again for all that it takes at once.
        for _ in range(3):
            client.ask("ContainerStatus", CONTAINER)
        # A later call is answered, so the proxy has read the four before the signal reaches it.
        assert client.status_of(client.ask("RuntimeConfig")) == 0
        proxy.signal(signal.SIGTERM)
        proxy.wait_for_log("stopping: no new calls, 4 under way")
        client.close()
        assert proxy.wait() == 0


def test_calls_that_wait_for_the_primary_are_waited_for_at_the_end(
    runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
) -> None:
    absent = runtime("absent")
    proxy = start_proxy(absent, {}, "--connection-timeout", "15", "-v", "5", connected=0)
    client = connect(proxy)
    methods = ("RuntimeConfig", "ListPodSandbox")
    calls = [client.stub(method).future(client.request(method)) for method in methods]
    for method in methods:
        proxy.wait_for_log(f"ENTER: /runtime.v1.RuntimeService/{method}(")
    proxy.signal(signal.SIGTERM)
    proxy.wait_for_log("stopping: no new calls, 2 under way")
    absent.start()
    assert [call.code() for call in calls] == [grpc.StatusCode.OK, grpc.StatusCode.OK]
    assert proxy.wait() == 0


def test_what_a_slow_reader_has_yet_to_read_comes_before_the_end(before: Callable[..., WireClient]) -> None:
    # An unknown method, whose caller has not ended its request, has an answer that waits for the caller's window.
    body = message(b"x" * 100_000)

    def start(peer: Peer, event: Any) -> None:
        if dict(event.headers)[":path"].endswith("NoSuch"):
            peer.head(event.stream_id)
            peer.data(event.stream_id, body)
            peer.hang_up()

    client = before(nothing, on_head=start)
    stream = client.open("NoSuch")
    client.wait_until(lambda: len(client.body_of(stream)) == 65_535)
    before.proxy.wait_for_log("has gone during the call")  # type: ignore[attr-defined]
    client.grant(stream, 100_000)
    assert client.status_of(stream) == UNAVAILABLE
    assert client.body_of(stream) == body


def test_a_reader_slower_than_the_fan_out_timeout_gets_a_stream_whole(before: Callable[..., WireClient]) -> None:
    bodies = [v1.PodSandbox(id="x" * 60_000).SerializeToString()] * 60

    flow = b"".join(message(b"\x0a" + _varint(len(body)) + body) for body in bodies)
    senders: List[threading.Thread] = []

    def behave(peer: Peer, stream: int, path: str) -> None:
        def send() -> None:
            peer.head(stream)
            peer.send(stream, flow)
            peer.head(stream, OK, True)

        sending.append((peer, stream))
        senders.append(threading.Thread(target=send))
        senders[0].start()

    sending: List[Any] = []
    client = before(behave, True, "--fan-out-timeout", "1")
    stream = client.ask("StreamPodSandboxes")
    client.wait_until(lambda: len(client.body_of(stream)) == 65_535)
    peer, upstream_stream = client.wait_until(lambda: sending)[0]
    peer.wait_until(lambda: not peer.room(upstream_stream))
    # Twice the timeout in which nothing can move.
    threading.Event().wait(2.2)
    client.grant(stream, 10_000_000)
    assert client.status_of(stream) == 0
    assert len(client.body_of(stream)) > len(flow)
    senders[0].join(PATIENCE)


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))
