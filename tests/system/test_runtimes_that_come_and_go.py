"""Runtimes that start later, go away, come back, hang."""

from __future__ import annotations

import re
import signal
import socket
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, v1

from criproxy.cri import schema

GONE = grpc.StatusCode.UNAVAILABLE
STREAMS = [name for name, rpc in schema.load().methods.items() if name.startswith("Stream")]


@pytest.fixture
def absent(runtime: MakeRuntime) -> Runtime:
    """The alternative runtime, which has not been started."""
    return runtime("other")


def pods(*ids: str) -> v1.ListPodSandboxResponse:
    return v1.ListPodSandboxResponse(items=[v1.PodSandbox(id=name) for name in ids])


def listed(client: Client, **options: float) -> List[str]:
    return [pod.id for pod in client.call("ListPodSandbox", **options).items]


class TestWhileAnAlternativeRuntimeIsNotThere:
    @pytest.fixture
    def proxy(self, start_proxy: StartProxy, primary: Runtime, absent: Runtime) -> Proxy:
        return start_proxy(primary, {"alt.test": absent}, "-v", "2", connected=1)

    @pytest.mark.parametrize(
        ("method", "fields"),
        [
            ("StopPodSandbox", {"pod_sandbox_id": "alt.test__p"}),
            ("ContainerStatus", {"container_id": "alt.test__c"}),
            ("PullImage", {"image": {"image": "alt.test/i"}}),
            ("RemoveImage", {"image": {"image": "alt.test/i"}}),
            ("ListPodSandbox", {"filter": {"id": "alt.test__p"}}),
        ],
    )
    def test_calls_for_it_fail_at_once_and_name_it(self, method: str, fields: Dict[str, Any], client: Client) -> None:
        code, text = client.fail(method, **fields)
        assert code is GONE
        assert 'runtime "alt.test"' in text

    def test_pods_for_it_are_not_run_elsewhere(self, client: Client, primary: Runtime) -> None:
        config = {"annotations": {"kubernetes.io/target-runtime": "alt.test"}}
        assert client.fail("RunPodSandbox", config=config)[0] is GONE
        assert not primary.called("RunPodSandbox")

    def test_its_images_are_unknown(self, client: Client, primary: Runtime) -> None:
        assert not client.call("ImageStatus", image={"image": "alt.test/i"}).HasField("image")
        assert not client.call("ListImages", filter={"image": {"image": "alt.test/i"}}).images
        assert not primary.called("ImageStatus")
        assert not primary.called("ListImages")

    def test_lists_leave_it_out_with_one_warning(self, client: Client, proxy: Proxy, primary: Runtime) -> None:
        primary.answers["ListPodSandbox"] = pods("a")
        for _ in range(5):
            assert listed(client) == ["a"]
        client.fail("ContainerStatus", container_id="alt.test__last")
        proxy.wait_for_log("FAIL: /runtime.v1.RuntimeService/ContainerStatus()")
        assert len(proxy.logged("ListPodSandbox is answered without")) == 1

    def test_it_is_found_when_it_comes(self, client: Client, proxy: Proxy, primary: Runtime, absent: Runtime) -> None:
        primary.answers["ListPodSandbox"] = pods("a")
        absent.answers["ListPodSandbox"] = pods("b")
        absent.start()
        proxy.wait_for_log('connected to runtime "alt.test"')
        assert listed(client) == ["a", "alt.test__b"]

    def test_runtime_configuration_reaches_the_others(self, client: Client, primary: Runtime) -> None:
        client.call("UpdateRuntimeConfig")
        assert primary.called("UpdateRuntimeConfig")


class TestAnAlternativeRuntimeThatGoesAway:
    """Without a grace. With one: test_absence_grace.py."""

    @pytest.fixture
    def proxy(self, start_proxy: StartProxy, primary: Runtime, other: Runtime) -> Proxy:
        return start_proxy(primary, {"alt.test": other}, "--absence-grace", "0")

    def test_is_left_out_and_found_again(self, client: Client, proxy: Proxy, primary: Runtime, other: Runtime) -> None:
        primary.answers["ListPodSandbox"], other.answers["ListPodSandbox"] = pods("a"), pods("b")
        assert listed(client) == ["a", "alt.test__b"]
        other.stop()
        assert proxy.wait_for_log(f'runtime "alt.test" ({other.path}) has gone').startswith("W")
        assert listed(client) == ["a"]
        other.start()
        assert re.search(r"; it is back after \d+(\.\d)? s$", proxy.wait_for_log('connected to runtime "alt.test"', 2))
        assert listed(client) == ["a", "alt.test__b"]

    def test_that_fails_a_list_is_left_out_of_it(self, client: Client, primary: Runtime, other: Runtime) -> None:
        primary.answers["ListPodSandbox"] = pods("a")
        other.answers["ListPodSandbox"] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
        assert listed(client) == ["a"]


@pytest.mark.parametrize("name", ["c", "alt.test__c"])
def test_a_runtime_that_dies_ends_its_calls_at_once(
    name: str, primary: Runtime, start_proxy: StartProxy, connect: Connect
) -> None:
    # Another proxy is the runtime: a process that can be killed.
    inner = start_proxy(primary, {}, name="inner")
    dying, living = inner.as_runtime(), primary
    first, second = (living, dying) if "__" in name else (dying, living)
    client = connect(start_proxy(first, {"alt.test": second}, "--connection-timeout", "600"))
    release = threading.Event()
    primary.answers["StopContainer"] = lambda *_: release.wait(PATIENCE) and None
    future = client.stub("StopContainer").future(client.request("StopContainer", container_id=name), timeout=600)
    primary.wait_for("StopContainer")
    inner.signal(signal.SIGKILL)
    error = future.exception(PATIENCE)
    release.set()
    assert isinstance(error, grpc.RpcError)
    assert error.code() is GONE
    assert "has gone during the call" in str(error.details())


class TestThePrimaryRuntime:
    def test_is_waited_for(
        self,
        runtime: MakeRuntime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        primary = runtime("primary")
        proxy = start_proxy(primary, {"alt.test": other}, "--connection-timeout", "60", connected=1)
        client = connect(proxy)
        single = client.stub("RuntimeConfig").future(client.request("RuntimeConfig"), timeout=60)
        many = client.stub("ListPodSandbox").future(client.request("ListPodSandbox"), timeout=60)
        other.wait_for("ListPodSandbox")
        assert not single.done()
        assert not many.done()
        primary.answers["ListPodSandbox"] = pods("a")
        primary.start()
        single.result(PATIENCE)
        assert [pod.id for pod in many.result(PATIENCE).items] == ["a"]

    def test_that_does_not_come_in_time_is_unavailable(
        self,
        runtime: MakeRuntime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        proxy = start_proxy(runtime("primary"), {"alt.test": other}, "--connection-timeout", "0.2", connected=1)
        client = connect(proxy)
        for method in ("RuntimeConfig", "ListPodSandbox", "UpdateRuntimeConfig", "GetContainerEvents", *STREAMS):
            code, text = client.fail(method)
            assert code is GONE, method
            assert "the primary runtime" in text

    def test_is_not_waited_for_beyond_the_deadline(
        self, runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        proxy = start_proxy(runtime("primary"), {}, "-v", "2", "--connection-timeout", "600", connected=0)
        code, _ = connect(proxy).fail("RuntimeConfig", timeout=0.3)
        assert code in (GONE, grpc.StatusCode.DEADLINE_EXCEEDED)

    def test_is_not_needed_by_a_list_of_another(
        self,
        runtime: MakeRuntime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        client = connect(start_proxy(runtime("primary"), {"alt.test": other}, connected=1))
        other.answers["ListPodSandbox"] = pods("b")
        got = client.call("ListPodSandbox", filter={"id": "alt.test__b"})
        assert [pod.id for pod in got.items] == ["alt.test__b"]

    @pytest.mark.parametrize("method", ["ListPodSandbox", "ListImages", "StreamContainers"])
    def test_that_fails_a_list_fails_it(self, method: str, client: Client, primary: Runtime) -> None:
        primary.answers[method] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
        assert client.fail(method) == (grpc.StatusCode.INTERNAL, "broken")

    def test_restarts_unnoticed(self, client: Client, proxy: Proxy, primary: Runtime) -> None:
        client.call("RuntimeConfig")
        primary.stop()
        assert "it is back" not in proxy.wait_for_log("connected to the primary runtime")
        assert proxy.wait_for_log(f"the primary runtime ({primary.path}) has gone").startswith("E")
        future = client.stub("RuntimeConfig").future(client.request("RuntimeConfig"), timeout=PATIENCE)
        primary.start()
        future.result(PATIENCE)
        assert re.search(r"; it is back after \d+(\.\d)? s$", proxy.wait_for_log("connected to the primary runtime", 2))


class TestARuntimeThatEndsItsConnectionsAgainAndAgain:
    """A gRPC server with a maximum age of its connections (GOAWAY)."""

    MOVES = 8
    AGE = (("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 5000))

    @pytest.fixture(params=["", "alt.test__"])
    def prefix(self, request: pytest.FixtureRequest) -> str:
        """What the ids of the runtime that does it begin with."""
        prefix: str = request.param
        return prefix

    @pytest.fixture
    def proxy(self, prefix: str, runtime: MakeRuntime, start_proxy: StartProxy) -> Proxy:
        first = runtime("first", options=() if prefix else self.AGE, answers={"ListPodSandbox": pods("a")}).start()
        second = runtime("second", options=self.AGE if prefix else (), answers={"ListPodSandbox": pods("b")}).start()
        return start_proxy(first, {"alt.test": second}, "-v", "6", "--absence-grace", "0")

    def test_fails_no_call_and_is_in_each_list(self, prefix: str, client: Client, proxy: Proxy) -> None:
        while len(proxy.logged("UP -> MOVING")) < self.MOVES:
            client.call("ContainerStatus", container_id=f"{prefix}c")
            assert listed(client) == ["a", "alt.test__b"]
        assert not proxy.logged("has gone")
        assert not proxy.logged("answered without")
        assert len(proxy.logged("connected to ")) == 2


class Hanging:
    """A socket that accepts connections and never says anything."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen(100)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def hanging(folder: Path) -> Iterator[Hanging]:
    made = Hanging(folder / "hanging.sock")
    yield made
    made.close()


def test_a_runtime_that_accepts_and_says_nothing_is_not_there(
    hanging: Hanging, primary: Runtime, start_proxy: StartProxy, connect: Connect
) -> None:
    client = connect(start_proxy(primary, {"alt.test": hanging}, connected=1))
    primary.answers["ListPodSandbox"] = pods("a")
    assert listed(client) == ["a"]
    code, text = client.fail("ContainerStatus", container_id="alt.test__c")
    assert code is GONE
    assert 'runtime "alt.test"' in text


class TestAHungAlternativeRuntime:
    """It is connected, and then answers no more: a stopped process."""

    @pytest.fixture
    def hung(self, other: Runtime) -> Iterator[threading.Event]:
        release = threading.Event()
        for method in ("ListPodSandbox", "StreamPodSandboxes", "GetContainerEvents"):
            other.answers[method] = lambda *_: release.wait(PATIENCE) and None
        yield release
        release.set()

    def test_costs_a_list_no_more_than_the_fan_out_timeout(
        self,
        primary: Runtime,
        other: Runtime,
        hung: object,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        proxy = start_proxy(primary, {"alt.test": other}, "--fan-out-timeout", "0.3")
        client = connect(proxy)
        primary.answers["ListPodSandbox"] = pods("a")
        primary.answers["StreamPodSandboxes"] = lambda *_: []
        assert listed(client) == ["a"]
        assert client.call("StreamPodSandboxes") == []
        proxy.wait_for_log("ListPodSandbox is answered without")

    def test_costs_a_list_no_more_than_half_of_the_deadline(
        self,
        primary: Runtime,
        other: Runtime,
        hung: object,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        client = connect(start_proxy(primary, {"alt.test": other}, "--fan-out-timeout", "600"))
        primary.answers["ListPodSandbox"] = pods("a")
        assert listed(client, timeout=3) == ["a"]

    def test_costs_other_calls_nothing(self, client: Client, other: Runtime, hung: object) -> None:
        future = client.stub("ListPodSandbox").future(client.request("ListPodSandbox"))
        other.wait_for("ListPodSandbox")
        client.call("RuntimeConfig")
        client.call("ContainerStatus", container_id="alt.test__c")
        assert not future.done()
        future.cancel()

    def test_that_is_stopped_counts_as_not_there_until_it_goes_on(
        self, folder: Path, primary: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        # A second proxy is the alternative runtime: a process that can be stopped.
        inner = start_proxy(primary, {}, name="inner")
        options = ("--fan-out-timeout", "0.3", "--absence-grace", "0")
        outer = start_proxy(primary, {"alt.test": inner.as_runtime()}, *options, name="outer")
        client = connect(outer)
        primary.answers["ListPodSandbox"] = pods("a")
        assert listed(client) == ["a", "alt.test__a"]
        inner.signal(signal.SIGSTOP)
        try:
            assert listed(client) == ["a"]
            outer.wait_for_log("does not answer; it counts as not there")
            code, text = client.fail("ContainerStatus", container_id="alt.test__c")
            assert (code, "does not answer" in text) == (GONE, True)
            assert listed(client) == ["a"]
        finally:
            inner.signal(signal.SIGCONT)
        assert re.search(r"answers again, after \d+(\.\d)? s$", outer.wait_for_log("answers again"))
        assert listed(client) == ["a", "alt.test__a"]


class TestContainerEvents:
    def feed(self, runtime: Runtime) -> Callable[[str], None]:
        """Makes a runtime's events come when the test says so."""
        ready = threading.Condition()
        waiting: List[str] = []

        def events(request: object, context: grpc.ServicerContext) -> Iterator[v1.ContainerEventResponse]:
            over = threading.Event()

            def end() -> None:
                with ready:
                    over.set()
                    ready.notify_all()

            context.add_callback(end)
            context.send_initial_metadata(())
            while True:
                with ready:
                    assert ready.wait_for(lambda: waiting or over.is_set(), PATIENCE)
                    if over.is_set():
                        return
                    name = waiting.pop(0)
                status = v1.PodSandboxStatus(id="p")
                yield v1.ContainerEventResponse(
                    container_id=name, pod_sandbox_status=status, containers_statuses=[v1.ContainerStatus(id=name)]
                )

        def say(name: str) -> None:
            with ready:
                waiting.append(name)
                ready.notify_all()

        runtime.answers["GetContainerEvents"] = events
        return say

    def seen(self, stream: Iterator[v1.ContainerEventResponse]) -> Tuple[str, str, str]:
        event = next(stream)
        return event.container_id, event.pod_sandbox_status.id, event.containers_statuses[0].id

    def test_of_all_runtimes_come_in_one_stream(self, client: Client, primary: Runtime, other: Runtime) -> None:
        say, say_other = self.feed(primary), self.feed(other)
        stream = client.stub("GetContainerEvents")(client.request("GetContainerEvents"), timeout=60)
        say("a")
        assert self.seen(stream) == ("a", "p", "a")
        say_other("b")
        assert self.seen(stream) == ("alt.test__b", "alt.test__p", "alt.test__b")
        say("c")
        assert self.seen(stream) == ("c", "p", "c")
        stream.cancel()

    def begun(self, client: Client) -> Any:
        return client.stub("GetContainerEvents")(client.request("GetContainerEvents"), timeout=60)

    def end_of(self, stream: Any) -> str:
        """What is said at the end, by which kubelet learns that it has to list."""
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is GONE
        return str(caught.value.details())

    def test_end_when_a_runtime_is_lost_and_when_it_is_back(
        self, client: Client, proxy: Proxy, primary: Runtime, other: Runtime
    ) -> None:
        say, _ = self.feed(primary), self.feed(other)
        stream = self.begun(client)
        # A call that is cancelled before it has reached a handler is not counted there.
        primary.wait_for("GetContainerEvents")
        other.wait_for("GetContainerEvents")
        other.stop()
        assert 'runtime "alt.test"' in self.end_of(stream)
        # One that is found again at once has only moved to another connection.
        proxy.wait_for_log(f'runtime "alt.test" ({other.path}) has gone')
        stream = self.begun(client)
        primary.wait_for("GetContainerEvents", 2)
        say("a")
        assert self.seen(stream) == ("a", "p", "a")
        say_other = self.feed(other)
        other.start()
        assert self.end_of(stream).startswith('criproxy: runtime "alt.test" has come')
        stream = self.begun(client)
        other.wait_for("GetContainerEvents", 2)
        say_other("b")
        assert self.seen(stream) == ("alt.test__b", "alt.test__p", "alt.test__b")
        stream.cancel()

    def test_of_a_primary_that_is_away_fail_at_once(
        self, start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        self.feed(primary)
        self.feed(other)
        proxy = start_proxy(primary, {"alt.test": other}, "--connection-timeout", "600")
        client = connect(proxy)
        stream = self.begun(client)
        primary.wait_for("GetContainerEvents")
        primary.stop()
        self.end_of(stream)
        proxy.wait_for_log(f"the primary runtime ({primary.path}) has gone")
        code, text = client.fail("GetContainerEvents")
        assert (code, "the primary runtime" in text) == (GONE, True)

    def test_are_unimplemented_where_the_primary_has_none(
        self, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        self.feed(other)
        primary.answers["GetContainerEvents"] = lambda _, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "none")
        assert client.fail("GetContainerEvents") == (grpc.StatusCode.UNIMPLEMENTED, "none")
