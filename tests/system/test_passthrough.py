"""What goes through unchanged: unknown fields and methods, statuses, metadata, deadlines, cancellation."""

from __future__ import annotations

import threading
from typing import Callable, Iterator, Tuple, Union

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, v1

pytestmark = pytest.mark.stateless

NEW_FIELD = b"\xfa\x3f\x07unheard"  # field 1023, a string


Trailers = Tuple[Tuple[str, Union[str, bytes]], ...]


def aborting(code: grpc.StatusCode, text: str, trailers: Trailers = ()) -> Callable[..., None]:
    """An answer that is an error."""

    def answer(request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(trailers)
        context.abort(code, text)

    return answer


@pytest.mark.parametrize("pod", ["p", "alt.test__p"])
class TestOnTheWayToAnyRuntime:
    @pytest.fixture
    def runtime_of(self, pod: str, primary: Runtime, other: Runtime) -> Runtime:
        return other if pod.startswith("alt.test__") else primary

    @pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
    def test_a_status_is_the_runtimes_own(
        self, code: grpc.StatusCode, pod: str, client: Client, runtime_of: Runtime
    ) -> None:
        text = 'pod "p": 100% gone — nicht da\nfor good'
        runtime_of.answers["StopPodSandbox"] = aborting(code, text)
        assert client.fail("StopPodSandbox", pod_sandbox_id=pod) == (code, text)

    def test_details_and_metadata_reach_both_ends(self, pod: str, client: Client, runtime_of: Runtime) -> None:
        details = (("grpc-status-details-bin", bytes(range(256))), ("x-trace", "t"), ("x-bin", b"\0\xff"))
        runtime_of.answers["StopPodSandbox"] = aborting(grpc.StatusCode.NOT_FOUND, "gone", details)
        request = client.request("StopPodSandbox", pod_sandbox_id=pod)
        metadata = (("traceparent", "00-abc"), ("x-many", "1"), ("x-bin", b"\0\x01"))
        with pytest.raises(grpc.RpcError) as caught:
            client.stub("StopPodSandbox")(request, timeout=PATIENCE, metadata=metadata)
        trailing = {item.key: item.value for item in caught.value.trailing_metadata()}
        assert all(trailing[key] == value for key, value in details)
        got = runtime_of.called("StopPodSandbox")[0].metadata
        assert all(got[key] == value for key, value in metadata)
        assert got["user-agent"].startswith("grpc-python")

    def test_initial_metadata_comes_back(self, pod: str, client: Client, runtime_of: Runtime) -> None:
        def answer(request: object, context: grpc.ServicerContext) -> object:
            context.send_initial_metadata((("x-early", "bird"),))
            context.set_trailing_metadata((("x-late", "worm"),))
            return v1.ContainerStatusResponse()

        runtime_of.answers["PodSandboxStatus"] = answer
        request = client.request("PodSandboxStatus", pod_sandbox_id=pod)
        _, call = client.stub("PodSandboxStatus").with_call(request, timeout=PATIENCE)
        assert ("x-early", "bird") in [(item.key, item.value) for item in call.initial_metadata()]
        assert ("x-late", "worm") in [(item.key, item.value) for item in call.trailing_metadata()]

    def test_new_fields_survive_in_both_directions(self, pod: str, client: Client, runtime_of: Runtime) -> None:
        status = v1.PodSandboxStatus(id="p").SerializeToString() + NEW_FIELD
        runtime_of.answers["PodSandboxStatus"] = b"\x0a" + bytes((len(status),)) + status + NEW_FIELD
        request = client.request("PodSandboxStatus", pod_sandbox_id=pod).SerializeToString() + NEW_FIELD
        got = client.stub("PodSandboxStatus")(request, timeout=PATIENCE).SerializeToString()
        assert got.count(NEW_FIELD) == 2
        assert runtime_of.called("PodSandboxStatus")[0].raw.endswith(NEW_FIELD)

    def test_a_deadline_is_the_callers(self, pod: str, client: Client, runtime_of: Runtime) -> None:
        client.stub("StopPodSandbox")(client.request("StopPodSandbox", pod_sandbox_id=pod), timeout=1000)
        client.stub("StopPodSandbox")(client.request("StopPodSandbox", pod_sandbox_id=pod))
        with_deadline, without = runtime_of.called("StopPodSandbox")
        assert with_deadline.time_remaining is not None
        assert 900 < with_deadline.time_remaining < 1100  # grpc rounds it up to two digits
        assert without.time_remaining is None or without.time_remaining > 10**6

    def test_a_deadline_that_passes_cancels_the_runtimes_call(
        self, pod: str, client: Client, runtime_of: Runtime
    ) -> None:
        cancelled = waiting(runtime_of, "StopPodSandbox")
        code, _ = client.fail("StopPodSandbox", timeout=0.5, pod_sandbox_id=pod)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert cancelled.wait(PATIENCE)

    def test_a_cancelled_call_is_cancelled_at_the_runtime(self, pod: str, client: Client, runtime_of: Runtime) -> None:
        cancelled = waiting(runtime_of, "StopPodSandbox")
        call = client.stub("StopPodSandbox").future(client.request("StopPodSandbox", pod_sandbox_id=pod))
        runtime_of.wait_for("StopPodSandbox")
        call.cancel()
        assert cancelled.wait(PATIENCE)
        runtime_of.answers.clear()
        client.call("StopPodSandbox", pod_sandbox_id=pod)

    def test_a_client_that_hangs_up_cancels_its_calls(
        self, pod: str, client: Client, proxy: Proxy, connect: Connect, runtime_of: Runtime
    ) -> None:
        cancelled = waiting(runtime_of, "StopPodSandbox")
        gone = connect(proxy)
        future = gone.stub("StopPodSandbox").future(gone.request("StopPodSandbox", pod_sandbox_id=pod))
        runtime_of.wait_for("StopPodSandbox")
        gone.close()
        assert cancelled.wait(PATIENCE)
        assert future.exception(PATIENCE) is not None


def test_the_metadata_of_a_call_to_all_runtimes_reaches_each(client: Client, primary: Runtime, other: Runtime) -> None:
    metadata = (("traceparent", "00-abc"), ("tracestate", "a=b"), ("x-bin", b"\0\x01"))
    client.stub("ListContainers")(client.request("ListContainers"), timeout=PATIENCE, metadata=metadata)
    for runtime in (primary, other):
        got = runtime.called("ListContainers")[0].metadata
        assert all(got[key] == value for key, value in metadata)


def waiting(runtime: Runtime, method: str) -> threading.Event:
    """Lets calls of a method wait until they are cancelled; the event says that one has been."""
    cancelled = threading.Event()

    def answer(request: object, context: grpc.ServicerContext) -> None:
        context.add_callback(cancelled.set)
        cancelled.wait(PATIENCE)
        context.abort(grpc.StatusCode.CANCELLED, "")

    runtime.answers[method] = answer
    return cancelled


def test_strings_that_are_no_utf8_pass_where_they_are_no_other_runtime_s(
    client: Client, primary: Runtime, other: Runtime
) -> None:
    def ask(method: str, request: bytes) -> bytes:
        answer: bytes = client.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")(request, timeout=PATIENCE)
        return answer

    bad = b"\x0a\x02\xff\xfe"  # metadata.name
    listed = b"\x0a\x0a\x0a\x02c1\x1a\x04" + bad
    primary.answers["ListContainers"], other.answers["ListContainers"] = listed, listed.replace(b"c1", b"c2")
    assert ask("ListContainers", b"") == listed
    other.answers["ContainerStatus"] = b"\x0a\x0a\x0a\x02c2\x12\x04" + bad
    answer = ask("ContainerStatus", b"\x0a\x0calt.test__c2")
    assert b"\x0a\x0calt.test__c2" in answer
    assert bad in answer


class TestWhatNobodyKnowsYet:
    def test_goes_to_the_primary_as_bytes(self, client: Client, primary: Runtime, other: Runtime) -> None:
        primary.answers["Teleport"] = b"\xff\x00there"
        call = client.channel.unary_unary("/runtime.v9.BeamService/Teleport")
        primary.packages = (*primary.packages, "runtime.v9")
        primary.services = (*primary.services, "BeamService")
        assert call(b"\x00\xffhere", timeout=PATIENCE) == b"\xff\x00there"
        assert primary.called("Teleport")[0].raw == b"\x00\xffhere"
        assert not other.called("Teleport")

    def test_is_unimplemented_where_the_primary_says_so(self, client: Client) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            client.channel.unary_unary("/runtime.v1.RuntimeService/Unheard")(b"", timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    def test_streams_in_both_directions_at_once(self, client: Client, primary: Runtime) -> None:
        def echo(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            for request in requests:
                yield request * 2

        primary.answers["TalkBack"] = echo
        turn = threading.Semaphore(1)

        def requests() -> Iterator[bytes]:
            for number in range(50):
                assert turn.acquire(timeout=PATIENCE)
                yield b"%d" % number * 3000

        call = client.channel.stream_stream("/runtime.v1.RuntimeService/TalkBack")
        for number, answer in enumerate(call(requests(), timeout=PATIENCE)):
            assert answer == b"%d" % number * 6000
            turn.release()
        assert number == 49

    def test_of_any_size_flows(self, client: Client, primary: Runtime) -> None:
        body = bytes(range(256)) * 80_000
        primary.answers["TalkBig"] = lambda requests, context: iter([b"".join(requests)])
        call = client.channel.stream_stream("/runtime.v1.RuntimeService/TalkBig")
        (answer,) = call(iter([body]), timeout=60)
        assert answer == body

    def test_may_be_answered_before_it_is_whole(self, client: Client, primary: Runtime) -> None:
        def hasty(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return iter([next(requests)])

        primary.answers["TalkHasty"] = hasty
        never = threading.Event()

        def requests() -> Iterator[bytes]:
            yield b"first"
            never.wait(PATIENCE)

        call = client.channel.stream_stream("/runtime.v1.RuntimeService/TalkHasty")
        for _ in range(3):
            assert list(call(requests(), timeout=PATIENCE)) == [b"first"]
        never.set()


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_understood(
    algorithm: grpc.Compression,
    runtime: MakeRuntime,
    primary: Runtime,
    start_proxy: StartProxy,
    connect: Connect,
) -> None:
    other = runtime("other", compression=algorithm).start()
    client = connect(start_proxy(primary, {"alt.test": other}))
    other.answers["ContainerStatus"] = v1.ContainerStatusResponse(
        status=v1.ContainerStatus(id="c", message="again " * 1000)
    )
    request = client.request("ContainerStatus", container_id="alt.test__c")
    got = client.stub("ContainerStatus")(request, timeout=PATIENCE, compression=algorithm)
    assert (got.status.id, got.status.message) == ("alt.test__c", "again " * 1000)
    assert other.called("ContainerStatus")[0].request.container_id == "c"
