"""While an alternative runtime is away, lists have what it had, and nothing else is as if it were there."""

from __future__ import annotations

import signal
import threading
from typing import Any, Callable, Dict, Iterator, List

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, message_class, v1

from criproxy.cri import schema
from criproxy.relay.memory import REFRESH_DELAY

GONE = grpc.StatusCode.UNAVAILABLE
IS_AWAY = "is away: lists keep what it had"
IS_OVER = "lists no longer have what it had"
METHODS = schema.load().methods
FIELDS = {
    "ListPodSandbox": "items",
    "StreamPodSandboxes": "pod_sandboxes",
    "ListContainers": "containers",
    "StreamContainers": "containers",
}
WEB = {"app": "web", "tier": "front"}
FILTERS: List[Dict[str, Any]] = [
    {},
    {"filter": {}},
    {"filter": {"state": {"state": 0}}},
    {"filter": {"state": {"state": 1}}},
    {"filter": {"label_selector": {"app": "web"}}},
    {"filter": {"label_selector": WEB}},
    {"filter": {"label_selector": {"app": "none"}}},
    {"filter": {"state": {"state": 1}, "label_selector": {"app": "web"}}},
]
"""The ways in which kubelet narrows a list of all runtimes."""


def entries(method: str, *names: str) -> List[Any]:
    """What a runtime has: the first is of one state and many labels, the next of the other state and fewer."""
    kind = v1.PodSandbox if "Pod" in method else v1.Container
    made = []
    for index, name in enumerate(names):
        labels = dict(list(WEB.items())[: 2 - index % 3])
        entry = kind(id=name, state=index % 2, labels=labels, annotations={"a": "x" * 300}, created_at=index)
        entry.metadata.name = name
        made.append(entry)
    return made


def answer_of(method: str, listed: List[Any]) -> bytes:
    """A list's message, or one of them."""
    answer = message_class("runtime.v1", METHODS[method].response)()
    for entry in listed:
        getattr(answer, FIELDS[method]).add().MergeFromString(entry.SerializeToString())
    serialized: bytes = answer.SerializeToString(deterministic=True)
    return serialized


def has(runtime: Runtime, *names: str) -> None:
    """Lets a runtime have pods and containers of these ids, and narrow lists of them as it is asked to."""

    def answer(method: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        def lists(request: Any, _: grpc.ServicerContext) -> Any:
            kept = [entry for entry in entries(method, *names) if lets_through(request.filter, entry)]
            made = answer_of(method, kept)
            return [made] if METHODS[method].server_streaming else made

        return lists

    runtime.answers.update((method, answer(method)) for method in FIELDS)


def lets_through(wanted: Any, entry: Any) -> bool:
    if wanted.HasField("state") and wanted.state.state != entry.state:
        return False
    return all(entry.labels.get(key) == value for key, value in wanted.label_selector.items())


def fail(_: Any, context: grpc.ServicerContext) -> None:
    """What a runtime answers that is not ready."""
    context.abort(grpc.StatusCode.UNKNOWN, "server is not initialized yet")


def fails(runtime: Runtime) -> None:
    """Lets all lists of a runtime fail."""
    runtime.answers.update(dict.fromkeys(FIELDS, fail))


def listed(client: Client, method: str = "ListPodSandbox", **fields: Any) -> List[str]:
    """The ids in a list."""
    answer = client.call(method, **fields)
    answers = answer if isinstance(answer, list) else [answer]
    return [entry.id for each in answers for entry in getattr(each, FIELDS[method])]


def wire(client: Client, method: str, fields: Dict[str, Any]) -> bytes:
    """A list as it comes, the messages of one that is streamed in one."""
    rpc = METHODS[method]
    kind = client.channel.unary_stream if rpc.server_streaming else client.channel.unary_unary
    request = client.request(method, **fields).SerializeToString()
    answer = kind(f"/runtime.v1.{rpc.service}/{method}")(request, timeout=PATIENCE)
    return b"".join(answer) if rpc.server_streaming else answer


@pytest.fixture(autouse=True)
def _both_have_something(primary: Runtime, other: Runtime) -> None:
    has(primary, "a", "b")
    has(other, "c", "d", "e")


ALL = ["a", "b", "alt.test__c", "alt.test__d", "alt.test__e"]
OWN = ALL[:2]


def go(proxy: Proxy, other: Runtime) -> None:
    """Takes the alternative runtime away."""
    gone = f'runtime "alt.test" ({other.path}) has gone'
    count = len(proxy.logged(gone)) + 1
    other.stop()
    proxy.wait_for_log(gone, count)


class TestARuntimeThatIsAway:
    @pytest.mark.parametrize("method", FIELDS)
    def test_is_in_lists_as_before_byte_for_byte(
        self, method: str, client: Client, proxy: Proxy, other: Runtime
    ) -> None:
        before = [wire(client, method, fields) for fields in FILTERS]
        assert len(set(before)) == 6
        go(proxy, other)
        assert [wire(client, method, fields) for fields in FILTERS] == before
        assert len(proxy.logged(IS_AWAY)) == 1
        assert not proxy.logged("is answered without")

    @pytest.mark.parametrize(
        ("known", "wanted"),
        [
            ("ListPodSandbox", "StreamPodSandboxes"),
            ("StreamPodSandboxes", "ListPodSandbox"),
            ("ListContainers", "StreamContainers"),
            ("StreamContainers", "ListContainers"),
        ],
    )
    def test_is_in_streamed_lists_as_in_others(
        self, known: str, wanted: str, client: Client, proxy: Proxy, other: Runtime
    ) -> None:
        before = wire(client, known, {})
        go(proxy, other)
        assert wire(client, wanted, {}) == before

    def test_is_in_the_lists_of_kubelets_of_other_versions(
        self, client: Client, proxy: Proxy, connect: Connect, other: Runtime
    ) -> None:
        assert listed(client) == ALL
        go(proxy, other)
        assert listed(connect(proxy, "runtime.v1alpha2")) == ALL

    def test_is_not_there_for_calls_about_what_it_has(self, client: Client, proxy: Proxy, other: Runtime) -> None:
        assert listed(client) == ALL
        go(proxy, other)
        for method, fields in (
            ("PodSandboxStatus", {"pod_sandbox_id": "alt.test__c"}),
            ("StopPodSandbox", {"pod_sandbox_id": "alt.test__c"}),
            ("RemovePodSandbox", {"pod_sandbox_id": "alt.test__c"}),
            ("ContainerStatus", {"container_id": "alt.test__c"}),
            ("ListPodSandbox", {"filter": {"id": "alt.test__c"}}),
            ("ListContainers", {"filter": {"pod_sandbox_id": "alt.test__c"}}),
            ("StreamContainers", {"filter": {"id": "alt.test__c"}}),
        ):
            code, text = client.fail(method, **fields)
            assert (code, 'runtime "alt.test"' in text) == (GONE, True), method

    def test_is_left_out_of_lists_of_other_things(self, client: Client, proxy: Proxy, other: Runtime) -> None:
        other.answers["ListImages"] = v1.ListImagesResponse(images=[v1.Image(id="i")])
        other.answers["ListContainerStats"] = v1.ListContainerStatsResponse(stats=[v1.ContainerStats()])
        assert client.call("ListImages").images
        assert client.call("ListContainerStats").stats
        go(proxy, other)
        assert not client.call("ListImages").images
        assert not client.call("ListContainerStats").stats
        proxy.wait_for_log("ListImages is answered without")

    def test_that_comes_back_has_what_it_has_then(self, client: Client, proxy: Proxy, other: Runtime) -> None:
        assert listed(client) == ALL
        go(proxy, other)
        assert listed(client) == ALL
        has(other, "new")
        other.start()
        proxy.wait_for_log("lists have what it lists now")
        for method in FIELDS:
            assert listed(client, method) == [*OWN, "alt.test__new"]

    def test_is_in_the_log_by_its_name_and_with_what_it_had(self, client: Client, proxy: Proxy, other: Runtime) -> None:
        assert listed(client) == ALL
        assert listed(client, "ListContainers") == ALL
        go(proxy, other)
        assert listed(client) == ALL
        line = proxy.wait_for_log(IS_AWAY)
        assert line.startswith("W")
        assert f'runtime "alt.test" ({other.path}) {IS_AWAY} (pods: 3, containers: 3) for another ' in line
        assert "UNAVAILABLE: " in line

    def test_and_was_when_the_proxy_started_has_nothing(
        self, client: Client, proxy: Proxy, primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        assert listed(client) == ALL
        assert proxy.stop() == 0
        other.stop()
        again = start_proxy(primary, {"alt.test": other}, connected=1, name="again")
        assert listed(connect(again)) == OWN
        again.wait_for_log("ListPodSandbox is answered without")
        assert not again.logged(IS_AWAY)


class TestTheGrace:
    @pytest.fixture
    def proxy(self, start_proxy: StartProxy, primary: Runtime, other: Runtime) -> Proxy:
        return start_proxy(primary, {"alt.test": other}, "--absence-grace", "1")

    def test_ends_with_one_warning_and_without_the_runtime(self, client: Client, proxy: Proxy, other: Runtime) -> None:
        assert listed(client) == ALL
        assert listed(client, "ListContainers") == ALL
        go(proxy, other)
        line = proxy.wait_for_log(IS_OVER)
        assert line.startswith("W")
        assert f'runtime "alt.test" ({other.path}) has been away for 1.' in line
        assert line.endswith("no longer have what it had (pods: 3, containers: 3)")
        for method in FIELDS:
            assert listed(client, method) == OWN
        assert len(proxy.logged(IS_OVER)) == 1

    def test_begins_anew_when_the_runtime_has_come_and_gone(self, client: Client, proxy: Proxy, other: Runtime) -> None:
        for _ in range(2):
            other.wait_for("Version")
            assert listed(client) == ALL
            go(proxy, other)
            assert listed(client) == ALL
            other.start()
            proxy.wait_for_log("connected to ", len(proxy.logged("has gone")) + 2)
        go(proxy, other)
        proxy.wait_for_log(IS_OVER)
        assert listed(client) == OWN

    def test_is_as_long_for_a_runtime_that_is_there_and_fails(
        self, client: Client, proxy: Proxy, other: Runtime
    ) -> None:
        assert listed(client) == ALL
        fails(other)
        assert listed(client) == ALL
        line = proxy.wait_for_log(IS_AWAY)
        assert line.endswith(": UNKNOWN: server is not initialized yet")
        proxy.wait_for_log(IS_OVER)
        assert listed(client) == OWN
        asked = len(other.called("ListPodSandbox", own=True))
        has(other, "c", "d", "e")
        other.wait_for("ListPodSandbox", asked + 1, own=True)
        assert listed(client) == ALL

    def test_is_not_prolonged_by_a_runtime_that_comes_and_fails(
        self, client: Client, proxy: Proxy, other: Runtime
    ) -> None:
        assert listed(client) == ALL
        fails(other)
        while not proxy.logged(IS_OVER):
            go(proxy, other)
            other.start()
            proxy.wait_for_log("connected to ", len(proxy.logged("has gone")) + 2)
            assert listed(client) in (ALL, OWN)
        assert listed(client) == OWN
        assert len(proxy.logged(IS_AWAY)) == len(proxy.logged(IS_OVER)) == 1


def test_without_a_grace_the_proxy_asks_nothing_and_remembers_nothing(
    start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
) -> None:
    proxy = start_proxy(primary, {"alt.test": other}, "--absence-grace", "0")
    client = connect(proxy)
    for method in FIELDS:
        assert listed(client, method) == ALL
    go(proxy, other)
    for method in FIELDS:
        assert listed(client, method) == OWN
        proxy.wait_for_log(f"{method} is answered without")
    assert not other.own_calls
    assert not proxy.logged(IS_AWAY)


def test_the_primary_is_never_stood_in_for(
    start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
) -> None:
    proxy = start_proxy(primary, {"alt.test": other}, "--connection-timeout", "0.2")
    client = connect(proxy)
    for method in FIELDS:
        assert listed(client, method) == ALL
    primary.answers["ListPodSandbox"] = fail
    assert client.fail("ListPodSandbox") == (grpc.StatusCode.UNKNOWN, "server is not initialized yet")
    primary.stop()
    for method in FIELDS:
        assert client.fail(method)[0] is GONE
    other.wait_for("ListPodSandbox", own=True)
    assert not primary.own_calls


def test_a_runtime_that_hangs_is_away(
    start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
) -> None:
    # A second proxy is the alternative runtime: a process that can be stopped.
    inner = start_proxy(other, {}, name="inner")
    outer = start_proxy(primary, {"alt.test": inner.as_runtime()}, "--fan-out-timeout", "0.5", name="outer")
    client = connect(outer)
    for method in FIELDS:
        assert listed(client, method) == ALL
    inner.signal(signal.SIGSTOP)
    try:
        # It is waited for, until it is found to be silent.
        assert listed(client) == ALL
        outer.wait_for_log("does not answer; it counts as not there")
        for method in FIELDS:
            assert listed(client, method) == ALL
        assert client.fail("ContainerStatus", container_id="alt.test__c")[0] is GONE
    finally:
        inner.signal(signal.SIGCONT)
    outer.wait_for_log("lists have what it lists now")
    has(other, "c")
    assert listed(client) == [*OWN, "alt.test__c"]


class TestAStreamedList:
    def test_that_fails_within_has_each_once(self, client: Client, other: Runtime) -> None:
        assert listed(client, "StreamPodSandboxes") == ALL
        changed = v1.PodSandbox(id="d", state=0, annotations={"now": "it is otherwise"})

        def half(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield answer_of("StreamPodSandboxes", [changed])
            fail(_, context)

        other.answers["StreamPodSandboxes"] = half
        assert listed(client, "StreamPodSandboxes") == [*OWN, "alt.test__d", "alt.test__c", "alt.test__e"]
        (got,) = [
            pod
            for answer in client.call("StreamPodSandboxes")
            for pod in answer.pod_sandboxes
            if pod.id == "alt.test__d"
        ]
        assert got.annotations == {"now": "it is otherwise"}

    def test_that_is_more_than_a_message_may_be_is_not_remembered(
        self, start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        many = [answer_of("StreamPodSandboxes", entries("Pod", name)) for name in "cdefgh"]
        other.answers["StreamPodSandboxes"] = lambda *_: many
        # Nor is what the proxy asks for by itself.
        other.answers["ListPodSandbox"] = answer_of("ListPodSandbox", entries("Pod", *"cdefgh"))
        client = connect(start_proxy(primary, {"alt.test": other}, "--max-message-size", "2k"))
        assert len(listed(client, "StreamPodSandboxes")) == len(OWN) + len(many)
        other.answers["StreamPodSandboxes"] = fail
        assert listed(client, "StreamPodSandboxes") == OWN

    @pytest.mark.parametrize("whole", [True, False])
    def test_of_which_a_part_that_has_waited_does_not_parse_goes_on_with_the_next(
        self,
        whole: bool,
        start_proxy: StartProxy,
        connect: Connect,
        primary: Runtime,
        other: Runtime,
        runtime: MakeRuntime,
    ) -> None:
        third = runtime("third").start()
        proxy = start_proxy(primary, {"alt.test": other, "third.test": third})
        client = connect(proxy)
        assert listed(client, "StreamPodSandboxes") == ALL
        has(third, "z")
        ready, end, over = threading.Event(), threading.Event(), threading.Event()

        def garbage(_: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            context.add_callback(over.set)
            yield b"\xff\xff\xff"
            assert whole or end.wait(PATIENCE)

        def late(*_: object) -> Iterator[Any]:
            ready.wait(PATIENCE)
            return iter([answer_of("StreamPodSandboxes", entries("Pod", "z"))])

        other.answers["StreamPodSandboxes"] = garbage
        primary.answers["StreamPodSandboxes"] = third.answers["StreamPodSandboxes"] = late
        stream = client.stub("StreamPodSandboxes")(client.request("StreamPodSandboxes"), timeout=PATIENCE)
        third.wait_for("StreamPodSandboxes", 2)
        other.wait_for("StreamPodSandboxes", 2)
        assert not whole or over.wait(PATIENCE)
        # A call and its answer on the same connection: what has been sent before has come.
        client.call("ContainerStatus", container_id="alt.test__c")
        ready.set()
        got = [pod.id for answer in stream for pod in answer.pod_sandboxes]
        end.set()
        assert got == ["z", *ALL[2:], "third.test__z"]


class TestWhatKubeletHasNotListed:
    """The proxy asks for it."""

    def answered(self, runtime: Runtime, client: Client, calls: Dict[str, int]) -> None:
        """Waits until so many own calls have been answered, and the proxy has the answers."""
        for method, count in calls.items():
            runtime.wait_for(method, count, own=True)
        # On the same connection another call's answer comes behind them, once they are on their way.
        for done in self.over:
            assert done.wait(PATIENCE)
        client.call("ContainerStatus", container_id="alt.test__c")

    @pytest.fixture(autouse=True)
    def _watch_calls(self, other: Runtime) -> None:
        """Lets it be known when calls of the runtime are over."""
        self.over: List[threading.Event] = []
        for method in ("ListPodSandbox", "ListContainers"):
            other.answers[method] = self.watched(other.answers[method])

    def watched(self, answer: Any) -> Callable[[Any, grpc.ServicerContext], Any]:
        def lists(request: Any, context: grpc.ServicerContext) -> Any:
            over = threading.Event()
            self.over.append(over)
            context.add_callback(over.set)
            return answer(request, context)

        return lists

    def test_is_remembered_nevertheless(self, client: Client, proxy: Proxy, other: Runtime) -> None:
        self.answered(other, client, {"ListPodSandbox": 1, "ListContainers": 1})
        go(proxy, other)
        for method in FIELDS:
            assert listed(client, method) == ALL

    def test_is_asked_for_again_until_it_is_given(
        self, start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        sound = dict(other.answers)
        fails(other)
        proxy = start_proxy(primary, {"alt.test": other})
        other.wait_for("ListPodSandbox", 2, own=True)
        other.wait_for("ListContainers", 2, own=True)
        other.answers.update(sound)
        client = connect(proxy)
        count = len(other.called("ListPodSandbox", own=True)) + 1
        self.answered(other, client, {"ListPodSandbox": count, "ListContainers": count})
        go(proxy, other)
        assert listed(client) == listed(client, "ListContainers") == ALL
        assert not proxy.logged("is answered without")

    def test_is_asked_for_once(self, client: Client, proxy: Proxy, other: Runtime) -> None:
        self.answered(other, client, {"ListPodSandbox": 1, "ListContainers": 1})
        for _ in range(3):
            assert listed(client) == ALL
        go(proxy, other)
        other.start()
        for method in ("ListPodSandbox", "ListContainers"):
            assert len(other.wait_for(method, 2, own=True)) == 2

    def test_is_not_asked_for_where_there_is_no_such_method(
        self, start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        for method in ("ListPodSandbox", "StreamPodSandboxes"):
            other.answers[method] = lambda _, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, "none")
        client = connect(start_proxy(primary, {"alt.test": other}))
        other.wait_for("ListContainers", own=True)
        for _ in range(3):
            assert listed(client) == OWN
        assert len(other.called("ListPodSandbox", own=True)) == 1

    def test_is_asked_for_after_a_change_that_it_does_not_look_at(
        self, client: Client, proxy: Proxy, other: Runtime
    ) -> None:
        """A kubelet that reads events lists every few minutes."""
        self.answered(other, client, {"ListPodSandbox": 1, "ListContainers": 1})
        has(other, "c", "d", "e", "new")
        client.call("StopPodSandbox", pod_sandbox_id="alt.test__c")
        for method in ("ListPodSandbox", "ListContainers"):
            other.wait_for(method, 2, own=True)
        client.call("ContainerStatus", container_id="alt.test__c")
        go(proxy, other)
        assert listed(client) == [*ALL, "alt.test__new"]

    def test_is_not_asked_for_after_a_change_that_it_looks_at(self, client: Client, other: Runtime) -> None:
        self.answered(other, client, {"ListPodSandbox": 1, "ListContainers": 1})
        client.call("RemoveContainer", container_id="alt.test__c")
        for method in ("ListPodSandbox", "ListContainers"):
            client.call(method)
        client.call("ExecSync", container_id="alt.test__c")
        threading.Event().wait(REFRESH_DELAY + 0.5)
        assert len(other.called("ListPodSandbox", own=True)) == len(other.called("ListContainers", own=True)) == 1

    def test_keeps_nobody_from_stopping(self, start_proxy: StartProxy, primary: Runtime, other: Runtime) -> None:
        release = threading.Event()
        other.answers["ListPodSandbox"] = lambda *_: release.wait(PATIENCE) and None
        proxy = start_proxy(primary, {"alt.test": other}, "--fan-out-timeout", "600")
        other.wait_for("ListPodSandbox", own=True)
        assert proxy.stop() == 0
        release.set()
