"""Runtimes that lack what kubelet asks for: the streamed lists of CRI 1.36 or those in one message, and events."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, message_class, v1

from criproxy.cri import schema
from criproxy.cri.methods import METHODS
from criproxy.demo.pods import run_pod

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
MIB = 2**20
PAGE = 16 * MIB
"""The largest message of a stream that kubelet takes, bytes."""
TWINS = [(row.name, row.twin) for row in METHODS.values() if row.twin]
"""Each list with the method that gives it in the other way."""
STREAMED = [(name, twin) for name, twin in TWINS if name.startswith("Stream")]
UNARY = [(name, twin) for name, twin in TWINS if not name.startswith("Stream")]


def lack(runtime: Runtime, *methods: str) -> None:
    """Lets a runtime not have these methods."""
    for method in methods:
        runtime.answers[method] = lambda _, context, method=method: context.abort(UNIMPLEMENTED, f"no {method}")


def entries_of(method: str, answer: Any) -> List[Any]:
    """What an answer lists, or all messages of one."""
    (field,) = schema.load().messages[METHODS[method].rpc.response]
    return [
        entry for message in (answer if isinstance(answer, list) else [answer]) for entry in getattr(message, field)
    ]


def way_to_name(method: str) -> Tuple[str, ...]:
    """Where an entry of a list has its name."""
    path = next(field.path for field in METHODS[method].gives)
    return tuple(path.split(".")[1:])


def listed(method: str, *names: str) -> Any:
    """An answer, or a message of one, with entries of these names."""
    answer = message_class("runtime.v1", METHODS[method].rpc.response)()
    (field,) = schema.load().messages[METHODS[method].rpc.response]
    for name in names:
        entry = getattr(answer, field).add()
        *way, last = way_to_name(method)
        for part in way:
            entry = getattr(entry, part)
        setattr(entry, last, name)
    return answer


def give(runtime: Runtime, method: str, *names: str) -> None:
    """Lets a runtime list these, one in each message where it streams."""
    if METHODS[method].rpc.server_streaming:
        runtime.answers[method] = lambda *_: [listed(method, name) for name in names]
    else:
        runtime.answers[method] = listed(method, *names)


def names_in(method: str, answer: Any) -> List[str]:
    """The names in an answer, without what the proxy puts before those of an alternative runtime."""
    names = []
    for entry in entries_of(method, answer):
        for part in way_to_name(method):
            entry = getattr(entry, part)
        names.append(entry)
    return names


def outer(method: str, name: str) -> str:
    """What kubelet calls a thing of the alternative runtime."""
    return f"alt.test/{name}" if "Images" in method else f"alt.test__{name}"


@pytest.mark.parametrize(("method", "twin"), TWINS)
class TestAList:
    @pytest.mark.parametrize("old", ["the primary", "the other", "both"])
    def test_comes_from_a_runtime_that_has_it_only_in_the_other_way(
        self, method: str, twin: str, old: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        for runtime, name in ((primary, "a"), (other, "b")):
            has, lacks = (twin, method) if old in ("both", f"the {runtime.name}") else (method, twin)
            lack(runtime, lacks)
            give(runtime, has, name + "1", name + "2")
        wanted = ["a1", "a2", outer(method, "b1"), outer(method, "b2")]
        for _ in range(2):
            assert names_in(method, client.call(method)) == wanted

    def test_that_is_empty_is_an_empty_one(
        self, method: str, twin: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        for runtime in (primary, other):
            lack(runtime, method)
            give(runtime, twin)
        assert names_in(method, client.call(method)) == []

    def test_that_the_primary_has_in_no_way_is_unimplemented_in_its_words(
        self, method: str, twin: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        lack(primary, method, twin)
        give(other, method, "b")
        for _ in range(3):
            assert client.fail(method) == (UNIMPLEMENTED, f"no {method}")

    def test_is_without_a_runtime_that_has_it_in_no_way(
        self, method: str, twin: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        give(primary, method, "a")
        lack(other, method, twin)
        assert names_in(method, client.call(method)) == ["a"]

    def test_of_the_only_runtime_comes_in_the_other_way(
        self, method: str, twin: str, start_proxy: StartProxy, connect: Connect, primary: Runtime
    ) -> None:
        lack(primary, method)
        give(primary, twin, "a", "b")
        client = connect(start_proxy(primary, {}))
        for _ in range(2):
            assert names_in(method, client.call(method)) == ["a", "b"]
        assert len(primary.called(method)) == 1
        lack(primary, twin)
        for _ in range(2):
            assert client.fail(method) == (UNIMPLEMENTED, f"no {method}")
        give(primary, method, "a")
        assert names_in(method, client.call(method)) == ["a"]

    def test_fails_as_the_primary_fails_it_in_the_other_way(
        self, method: str, twin: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        lack(primary, method)
        give(other, method, "b")
        primary.answers[twin] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
        assert client.fail(method) == (grpc.StatusCode.INTERNAL, "broken")

    def test_that_is_given_up_is_given_up_at_the_runtime(
        self, method: str, twin: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        over = {runtime.name: threading.Event() for runtime in (primary, other)}

        def hang(runtime: Runtime) -> Callable[..., None]:
            def answer(_: object, context: grpc.ServicerContext) -> None:
                event = over[runtime.name]
                context.add_callback(event.set)
                event.wait(3 * PATIENCE)

            return answer

        for runtime in (primary, other):
            lack(runtime, method)
            runtime.answers[twin] = hang(runtime)
        stub, request = client.stub(method), client.request(method)
        call = stub(request, timeout=60) if method.startswith("Stream") else stub.future(request, timeout=60)
        for runtime in (primary, other):
            runtime.wait_for(twin)
        call.cancel()
        assert all(event.wait(PATIENCE) for event in over.values())


@pytest.mark.parametrize(("method", "twin"), [("ListContainers", "StreamContainers"), ("StreamImages", "ListImages")])
class TestAListOfOneRuntime:
    """One that its filter narrows to the alternative runtime."""

    def narrowed(self, method: str) -> Dict[str, Any]:
        return {"filter": {"image": {"image": "alt.test/b"}} if "Images" in method else {"id": "alt.test__b"}}

    def test_comes_from_it_in_the_other_way(
        self, method: str, twin: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        lack(other, method)
        give(other, twin, "b")
        for _ in range(2):
            assert names_in(method, client.call(method, **self.narrowed(method))) == [outer(method, "b")]
        assert len(other.called(method)) == 1
        asked = [call.request.filter for call in other.called(twin)]
        assert [each.image.image if "Images" in method else each.id for each in asked] == ["b", "b"]
        assert not primary.called(method)
        assert not primary.called(twin)

    def test_fails_as_it_does(self, method: str, twin: str, client: Client, primary: Runtime, other: Runtime) -> None:
        lack(other, method)
        other.answers[twin] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
        assert client.fail(method, **self.narrowed(method)) == (grpc.StatusCode.INTERNAL, "broken")
        lack(other, twin)
        assert client.fail(method, **self.narrowed(method)) == (UNIMPLEMENTED, f"no {method}")

    def test_keeps_to_the_callers_deadline(
        self, method: str, twin: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        def refuse(_: object, context: grpc.ServicerContext) -> None:
            threading.Event().wait(0.5)
            context.abort(UNIMPLEMENTED, "none")

        other.answers[method] = refuse
        give(other, twin, "b")
        client.call(method, timeout=50, **self.narrowed(method))
        (first,), (second,) = other.called(method), other.called(twin)
        assert 30 < second.time_remaining < first.time_remaining - 0.4


def test_what_a_runtime_lacks_is_remembered_until_it_restarts(
    client: Client, proxy: Proxy, primary: Runtime, other: Runtime
) -> None:
    give(primary, "StreamContainers", "a")
    give(other, "ListContainers", "b")
    lack(other, "StreamContainers")
    for _ in range(5):
        assert names_in("StreamContainers", client.call("StreamContainers")) == ["a", "alt.test__b"]
    assert len(other.called("StreamContainers")) == 1
    other.stop()
    give(other, "StreamContainers", "new")
    other.start()
    proxy.wait_for_log('connected to runtime "alt.test"', 2)
    assert names_in("StreamContainers", client.call("StreamContainers")) == ["a", "alt.test__new"]


def test_a_runtime_of_another_version_of_the_cri_has_no_streamed_lists(
    runtime: MakeRuntime, primary: Runtime, start_proxy: StartProxy, connect: Connect
) -> None:
    old = runtime("other", packages=("runtime.v1alpha2",)).start()
    for method, twin in STREAMED:
        lack(old, method)
        give(old, twin, "b")
        give(primary, method, "a")
    client = connect(start_proxy(primary, {"alt.test": old}))
    for method, _ in STREAMED:
        assert names_in(method, client.call(method)) == ["a", outer(method, "b")]


def test_an_answer_that_has_begun_is_not_asked_for_again(client: Client, primary: Runtime, other: Runtime) -> None:
    def answer(_: object, context: grpc.ServicerContext) -> Iterator[Any]:
        yield listed("StreamContainers", "a")
        context.abort(UNIMPLEMENTED, "no more")

    primary.answers["StreamContainers"] = answer
    assert client.fail("StreamContainers") == (UNIMPLEMENTED, "no more")
    assert not primary.called("ListContainers")


def test_the_log_has_the_list_that_kubelet_has_asked_for(client: Client, proxy: Proxy, primary: Runtime) -> None:
    lack(primary, "StreamContainers")
    give(primary, "ListContainers", "a")
    client.call("StreamContainers")
    proxy.wait_for_log("LEAVE: /runtime.v1.RuntimeService/StreamContainers()")
    assert not proxy.logged("ListContainers")
    assert not proxy.logged("FAIL")


class TestAStream:
    def containers(self, *sizes: int) -> Any:
        entries = [v1.Container(id=f"c{number}", image_ref="r" * size) for number, size in enumerate(sizes)]
        return v1.ListContainersResponse(containers=entries)

    @pytest.mark.parametrize("alone", [True, False])
    def test_has_messages_that_kubelet_takes(
        self, alone: bool, start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        lack(primary, "StreamContainers")
        primary.answers["ListContainers"] = self.containers(*[MIB] * 40)
        client = connect(start_proxy(primary, {} if alone else {"alt.test": other}))
        answer = client.call("StreamContainers")
        assert [entry.id for entry in entries_of("StreamContainers", answer)] == [f"c{number}" for number in range(40)]
        assert [len(message.containers) for message in answer] == [15, 15, 10]
        assert all(message.ByteSize() <= PAGE for message in answer)

    def test_has_an_entry_that_is_larger_in_a_message_of_its_own(self, client: Client, primary: Runtime) -> None:
        lack(primary, "StreamContainers")
        primary.answers["ListContainers"] = self.containers(1, 20 * MIB, 1)
        answer = client.call("StreamContainers")
        assert [[entry.id for entry in message.containers] for message in answer] == [["c0"], ["c1"], ["c2"]]

    @pytest.mark.parametrize("fields", [{}, {"filter": {"pod_sandbox_id": "alt.test__p"}}])
    def test_has_no_message_that_is_too_large_only_through_our_names(
        self, fields: Dict[str, Any], client: Client, other: Runtime
    ) -> None:
        page = self.containers(*[8 * MIB - 20] * 2).SerializeToString()
        assert len(page) <= PAGE < len(page) + 2 * len("alt.test__")
        other.answers["StreamContainers"] = lambda *_: [page]
        answer = client.call("StreamContainers", **fields)
        assert [[entry.id for entry in message.containers] for message in answer] == [
            ["alt.test__c0"],
            ["alt.test__c1"],
        ]

    def test_that_becomes_one_message_is_limited_as_one(
        self, start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        client = connect(start_proxy(primary, {"alt.test": other}, "--max-message-size", "100k"))
        for runtime in (primary, other):
            lack(runtime, "ListContainers")
        give(primary, "StreamContainers", "a")
        give(other, "StreamContainers", *["b" * 1000] * 200)
        assert names_in("ListContainers", client.call("ListContainers")) == ["a"]
        give(primary, "StreamContainers", *["a" * 1000] * 200)
        code, text = client.fail("ListContainers")
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--max-message-size" in text


# Events.

CREATED, STARTED, STOPPED, DELETED = range(4)
READY, NOT_READY = range(2)
MADE, RUNNING, EXITED = range(3)
OFTEN = ("--event-poll", "50ms", "--absence-grace", "0")
"""And nothing is asked for another reason."""


class Events:
    """What kubelet hears on its stream of events."""

    def __init__(self, client: Client) -> None:
        self.heard: List[Any] = []
        self.error: Optional[grpc.RpcError] = None
        self._changed = threading.Condition()
        self._stream = client.stub("GetContainerEvents")(client.request("GetContainerEvents"))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for event in self._stream:
                with self._changed:
                    self.heard.append(event)
                    self._changed.notify_all()
        except grpc.RpcError as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def cancel(self) -> None:
        """Hears no more."""
        self._stream.cancel()

    def of(self, *names: str) -> List[Tuple[str, int]]:
        """What has been heard of these pods and containers, or of all, in its order."""
        with self._changed:
            found = [(event.container_id, event.container_event_type) for event in self.heard]
        return [each for each in found if each[0] in names or not names]

    def wait_for(self, name: str, what: int, count: int = 1) -> Any:
        """Waits for an event; gives it."""

        def found() -> List[Any]:
            return [e for e in self.heard if (e.container_id, e.container_event_type) == (name, what)]

        with self._changed:
            there = self._changed.wait_for(lambda: len(found()) >= count or self.error, PATIENCE)
            assert there, f"not heard: {name} {what}; but {self.of()}"
            assert not self.error
            return found()[count - 1]

    def wait_for_end(self) -> Tuple[grpc.StatusCode, str]:
        """Waits for the stream to fail; gives the status."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.error, PATIENCE)
        return self.error.code(), self.error.details()


class Pods:
    """The pods of a runtime without events, which a test changes as it likes."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.states: Dict[str, int] = {}
        self.containers: Dict[str, Dict[str, int]] = {}
        lack(runtime, "GetContainerEvents")
        runtime.answers.update(
            ListPodSandbox=self._list,
            ListContainers=self._list_containers,
            PodSandboxStatus=self._status,
            ContainerStatus=self._container_status,
        )

    def put(self, pod: str, state: int = READY, **containers: int) -> None:
        """Makes or changes a pod: it has these containers, in these states."""
        self.containers[pod] = containers
        self.states[pod] = state

    def remove(self, pod: str) -> None:
        """Removes a pod and its containers."""
        del self.states[pod]

    def _list(self, request: Any, context: grpc.ServicerContext) -> Any:
        items = [v1.PodSandbox(id=name, state=state, labels={"of": "list"}) for name, state in self.states.items()]
        return v1.ListPodSandboxResponse(items=items)

    def _list_containers(self, request: Any, context: grpc.ServicerContext) -> Any:
        there = [(pod, *each) for pod in self.states for each in self.containers[pod].items()]
        return v1.ListContainersResponse(
            containers=[v1.Container(id=name, pod_sandbox_id=pod, state=state) for pod, name, state in there]
        )

    def _status(self, request: Any, context: grpc.ServicerContext) -> Any:
        name = request.pod_sandbox_id
        if name not in self.states:
            context.abort(grpc.StatusCode.NOT_FOUND, "it is gone")
        status = v1.PodSandboxStatus(id=name, state=self.states[name], labels={"of": "status"})
        return v1.PodSandboxStatusResponse(status=status)

    def _container_status(self, request: Any, context: grpc.ServicerContext) -> Any:
        for containers in self.containers.values():
            if request.container_id in containers:
                status = v1.ContainerStatus(id=request.container_id, state=containers[request.container_id])
                return v1.ContainerStatusResponse(status=status)
        return context.abort(grpc.StatusCode.NOT_FOUND, "it is gone")

    def wait_for_looks(self, count: int) -> None:
        """Waits until all has been listed so many times more, and whatever followed from all but the last is done."""
        self.runtime.wait_for("ListContainers", len(self.runtime.called("ListContainers", own=True)) + count, own=True)


@pytest.fixture
def pods(other: Runtime) -> Pods:
    """The pods of the alternative runtime, which has no events."""
    return Pods(other)


@pytest.fixture
def listening() -> Iterator[Callable[[Client], Events]]:
    """Listens to events, until the test ends."""
    made: List[Events] = []

    def listen(client: Client) -> Events:
        made.append(Events(client))
        return made[-1]

    yield listen
    for each in made:
        each.cancel()


@pytest.fixture
def silent(primary: Runtime) -> Iterator[Runtime]:
    """The primary runtime, which has events but tells none."""
    over = threading.Event()

    def answer(_: object, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(over.set)
        context.send_initial_metadata(())
        over.wait()
        yield from ()

    primary.answers["GetContainerEvents"] = answer
    yield primary
    over.set()


@pytest.fixture
def proxied(start_proxy: StartProxy, silent: Runtime, other: Runtime) -> Proxy:
    """The proxy before both of them, which looks often."""
    return start_proxy(silent, {"alt.test": other}, *OFTEN, "-v", "2")


@pytest.fixture
def kubelet(proxied: Proxy, connect: Connect) -> Client:
    """Its client."""
    return connect(proxied)


class TestARuntimeWithoutEvents:
    def test_tells_of_all_that_it_has_at_first(
        self, pods: Pods, kubelet: Client, listening: Callable[[Client], Events]
    ) -> None:
        pods.put("p", c=RUNNING, d=MADE)
        pods.put("q", NOT_READY, e=EXITED)
        events = listening(kubelet)
        events.wait_for("alt.test__q", STOPPED)
        p, q, c, d, e = (f"alt.test__{name}" for name in "pqcde")
        assert events.of(p, c, d) == [(p, CREATED), (p, STARTED), (c, CREATED), (c, STARTED), (d, CREATED)]
        assert events.of(q, e) == [
            *((q, what) for what in (CREATED, STARTED)),
            *((e, what) for what in (CREATED, STARTED, STOPPED)),
            (q, STOPPED),
        ]
        for event in events.heard[:5]:
            assert (event.pod_sandbox_status.id, event.pod_sandbox_status.labels["of"]) == (p, "status")
            assert [(s.id, s.state) for s in event.containers_statuses] == [(c, RUNNING), (d, MADE)]
            assert event.created_at > 10**18

    def test_tells_what_changes_and_nothing_twice(
        self, pods: Pods, kubelet: Client, listening: Callable[[Client], Events], other: Runtime
    ) -> None:
        pods.put("p", c=RUNNING)
        events = listening(kubelet)
        events.wait_for("alt.test__c", STARTED)
        pods.wait_for_looks(3)
        assert len(events.of()) == 4
        assert len(other.called("PodSandboxStatus", own=True)) == len(other.called("ContainerStatus", own=True)) == 1
        pods.put("p", c=EXITED)
        event = events.wait_for("alt.test__c", STOPPED)
        assert [(status.id, status.state) for status in event.containers_statuses] == [("alt.test__c", EXITED)]
        pods.put("p", d=RUNNING)
        event = events.wait_for("alt.test__d", STARTED)
        assert events.of()[5:] == [("alt.test__c", DELETED), ("alt.test__d", CREATED), ("alt.test__d", STARTED)]
        assert all([s.id for s in e.containers_statuses] == ["alt.test__d"] for e in events.heard[5:])

    def test_tells_of_a_pod_that_is_gone_with_what_was_last_known_of_it(
        self, pods: Pods, kubelet: Client, listening: Callable[[Client], Events]
    ) -> None:
        pods.put("p", c=RUNNING)
        events = listening(kubelet)
        events.wait_for("alt.test__c", STARTED)
        pods.remove("p")
        last = events.wait_for("alt.test__p", DELETED)
        names = ("alt.test__c", "alt.test__p")
        assert events.of()[4:] == [(name, what) for name in names for what in (STOPPED, DELETED)]
        assert last.pod_sandbox_status.labels["of"] == "status"
        assert last.pod_sandbox_status.state == NOT_READY
        assert not last.containers_statuses

    def test_tells_of_a_pod_that_has_gone_before_it_could_be_asked_for(
        self, pods: Pods, kubelet: Client, listening: Callable[[Client], Events], other: Runtime
    ) -> None:
        other.answers["PodSandboxStatus"] = lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        pods.put("p")
        event = listening(kubelet).wait_for("alt.test__p", CREATED)
        assert (event.pod_sandbox_status.id, event.pod_sandbox_status.labels["of"]) == ("alt.test__p", "list")

    @pytest.mark.parametrize("method", ["PodSandboxStatus", "ContainerStatus"])
    def test_tells_of_the_others_while_it_cannot_say_how_one_is(
        self, method: str, pods: Pods, proxied: Proxy, kubelet: Client, listening: Callable[..., Events], other: Runtime
    ) -> None:
        well = other.answers[method]

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if "sick" in str(request):
                context.abort(grpc.StatusCode.INTERNAL, "broken")
            return well(request, context)

        other.answers[method] = answer
        pods.put("sick", sick_c=RUNNING)
        pods.put("p", c=RUNNING)
        events = listening(kubelet)
        events.wait_for("alt.test__c", STARTED)
        proxied.wait_for_log('changes of runtime "alt.test" cannot be told as events: INTERNAL: broken')
        pods.wait_for_looks(3)
        assert len(events.of()) == 4
        assert len(proxied.logged("cannot be told")) == 1
        other.answers[method] = well
        events.wait_for("alt.test__sick_c", STARTED)
        assert len(events.of()) == 8

    @pytest.mark.parametrize("method", ["ListPodSandbox", "ListContainers"])
    def test_tells_nothing_while_its_lists_fail(
        self, method: str, pods: Pods, proxied: Proxy, kubelet: Client, listening: Callable[..., Events], other: Runtime
    ) -> None:
        pods.put("p", c=RUNNING)
        events = listening(kubelet)
        events.wait_for("alt.test__c", STARTED)
        well = other.answers[method]
        other.answers[method] = lambda _, context: context.abort(grpc.StatusCode.UNKNOWN, "not yet")
        other.wait_for(method, len(other.called(method, own=True)) + 4, own=True)
        assert len(proxied.logged("cannot be told as events: UNKNOWN: not yet")) == 1
        other.answers[method] = well
        pods.put("p", c=EXITED)
        events.wait_for("alt.test__c", STOPPED)
        assert len(events.of()) == 5

    def test_that_restarts_tells_only_what_has_changed(
        self, pods: Pods, proxied: Proxy, kubelet: Client, listening: Callable[..., Events], other: Runtime
    ) -> None:
        pods.put("p", c=RUNNING)
        pods.put("q", d=RUNNING)
        events = listening(kubelet)
        events.wait_for("alt.test__d", STARTED)
        other.stop()
        proxied.wait_for_log('runtime "alt.test" (')
        pods.put("q", d=EXITED)
        other.start()
        proxied.wait_for_log('connected to runtime "alt.test"', 2)
        events.wait_for("alt.test__d", STOPPED)
        pods.wait_for_looks(2)
        assert events.of()[8:] == [("alt.test__d", STOPPED)]
        assert len(other.called("GetContainerEvents")) == 2

    def test_that_has_events_when_it_comes_back_is_not_looked_at_any_more(
        self,
        pods: Pods,
        start_proxy: StartProxy,
        connect: Connect,
        listening: Callable[..., Events],
        silent: Runtime,
        other: Runtime,
    ) -> None:
        # It comes back before it would be looked at again.
        proxy = start_proxy(silent, {"alt.test": other}, "--event-poll", "1", "--absence-grace", "0")
        pods.put("p")
        events = listening(connect(proxy))
        events.wait_for("alt.test__p", STARTED)
        other.stop()
        proxy.wait_for_log('runtime "alt.test" (')
        say = threading.Event()

        def answer(_: object, context: grpc.ServicerContext) -> Iterator[Any]:
            context.add_callback(say.set)
            context.send_initial_metadata(())
            say.wait(PATIENCE)
            yield v1.ContainerEventResponse(container_id="real", container_event_type=CREATED)
            threading.Event().wait(1)

        other.answers["GetContainerEvents"] = answer
        other.start()
        other.wait_for("GetContainerEvents", 2)
        before = len(other.called("ListPodSandbox", own=True))
        say.set()
        events.wait_for("alt.test__real", CREATED)
        threading.Event().wait(1.5)
        assert len(other.called("ListPodSandbox", own=True)) == before

    def test_is_not_looked_at_anew_before_the_last_look_is_over(
        self, pods: Pods, kubelet: Client, listening: Callable[[Client], Events], other: Runtime
    ) -> None:
        release = threading.Event()
        well = other.answers["ListContainers"]

        def late(request: Any, context: grpc.ServicerContext) -> Any:
            release.wait(PATIENCE)
            return well(request, context)

        other.answers["ListContainers"] = late
        pods.put("p")
        events = listening(kubelet)
        other.wait_for("ListContainers", own=True)
        threading.Event().wait(0.3)
        assert len(other.called("ListPodSandbox", own=True)) == len(other.called("ListContainers", own=True)) == 1
        release.set()
        events.wait_for("alt.test__p", STARTED)

    def test_is_asked_for_few_statuses_at_once(
        self, pods: Pods, kubelet: Client, listening: Callable[[Client], Events], other: Runtime
    ) -> None:
        well = other.answers["ContainerStatus"]
        lock = threading.Lock()
        under_way: List[int] = [0]
        most: List[int] = [0]

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            threading.Event().wait(0.01)
            with lock:
                under_way[0] -= 1
            return well(request, context)

        other.answers["ContainerStatus"] = answer
        pods.put("p", **{f"c{number}": RUNNING for number in range(60)})
        event = listening(kubelet).wait_for("alt.test__c59", STARTED)
        assert len(event.containers_statuses) == 60
        assert 1 < most[0] <= 16

    def test_is_left_alone_when_kubelet_listens_no_more(
        self, pods: Pods, kubelet: Client, listening: Callable[[Client], Events], other: Runtime
    ) -> None:
        over, asked = threading.Event(), threading.Event()

        def hang(_: object, context: grpc.ServicerContext) -> None:
            context.add_callback(over.set)
            asked.set()
            over.wait(3 * PATIENCE)

        other.answers["ContainerStatus"] = hang
        pods.put("p", c=RUNNING)
        events = listening(kubelet)
        assert asked.wait(PATIENCE)
        events.cancel()
        assert over.wait(PATIENCE)
        before = len(other.called("ListPodSandbox", own=True))
        threading.Event().wait(0.3)
        assert len(other.called("ListPodSandbox", own=True)) == before

    def test_is_not_looked_at_while_kubelet_does_not_read(
        self, pods: Pods, proxied: Proxy, connect: Connect, other: Runtime
    ) -> None:
        big = v1.PodSandboxStatus(id="p", labels={"big": "x" * 2 * MIB})
        other.answers["PodSandboxStatus"] = v1.PodSandboxStatusResponse(status=big)
        # More than the buffers on the way take.
        for number in range(20):
            pods.put(f"p{number}")
        stream = connect(proxied).stub("GetContainerEvents")(v1.GetEventsRequest())
        next(stream)
        other.wait_for("PodSandboxStatus", 2, own=True)
        threading.Event().wait(0.5)
        statuses, looks = len(other.called("PodSandboxStatus", own=True)), len(other.called("ListContainers", own=True))
        assert statuses < 20
        threading.Event().wait(0.3)
        assert len(other.called("ListContainers", own=True)) == looks
        heard = [next(stream).container_id for _ in range(39)]
        assert set(heard) == {f"alt.test__p{number}" for number in range(20)}
        stream.cancel()

    def test_that_hangs_is_found_to_be_not_there(
        self, pods: Pods, start_proxy: StartProxy, connect: Connect, silent: Runtime, other: Runtime
    ) -> None:
        # A second proxy is the alternative runtime: a process that can be stopped.
        lack(other, "GetContainerEvents")
        inner = start_proxy(other, {}, name="inner")
        options = (*OFTEN, "--fan-out-timeout", "0.3")
        outer = start_proxy(silent, {"alt.test": inner.as_runtime()}, *options, name="outer")
        pods.put("p")
        events = Events(connect(outer))
        events.wait_for("alt.test__p", STARTED)
        inner.signal(signal.SIGSTOP)
        try:
            outer.wait_for_log("does not answer; it counts as not there")
            pods.remove("p")
        finally:
            inner.signal(signal.SIGCONT)
        events.wait_for("alt.test__p", DELETED)
        events.cancel()

    def test_does_not_keep_the_proxy_from_stopping(
        self, pods: Pods, proxied: Proxy, kubelet: Client, listening: Callable[[Client], Events]
    ) -> None:
        pods.put("p")
        events = listening(kubelet)
        events.wait_for("alt.test__p", STARTED)
        proxied.signal(signal.SIGTERM)
        assert events.wait_for_end() == (grpc.StatusCode.UNAVAILABLE, "criproxy: criproxy is being stopped")
        assert proxied.wait() == 0

    def test_is_looked_at_as_often_as_a_reload_says(
        self,
        pods: Pods,
        folder: Path,
        start_proxy: StartProxy,
        connect: Connect,
        listening: Callable[[Client], Events],
        silent: Runtime,
        other: Runtime,
    ) -> None:
        file = folder / "environment"
        file.write_text("CRIPROXY_EVENT_POLL=50ms\n")
        proxy = start_proxy(silent, {"alt.test": other}, "--environment-file", str(file), "--absence-grace", "0")
        pods.put("p")
        listening(connect(proxy)).wait_for("alt.test__p", STARTED)
        pods.wait_for_looks(3)
        file.write_text("CRIPROXY_EVENT_POLL=600\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("] reloaded: ")
        threading.Event().wait(0.2)
        before = len(other.called("ListPodSandbox", own=True))
        threading.Event().wait(0.3)
        assert len(other.called("ListPodSandbox", own=True)) == before


def test_events_are_unimplemented_where_only_the_primary_has_none(
    pods: Pods, kubelet: Client, primary: Runtime, other: Runtime
) -> None:
    lack(primary, "GetContainerEvents")
    assert kubelet.fail("GetContainerEvents") == (UNIMPLEMENTED, "no GetContainerEvents")
    before = len(other.called("ListPodSandbox", own=True))
    threading.Event().wait(0.3)
    assert len(other.called("ListPodSandbox", own=True)) == before


def test_nothing_is_looked_at_where_nothing_is_to_be(
    start_proxy: StartProxy, connect: Connect, listening: Callable[..., Events], silent: Runtime, other: Runtime
) -> None:
    lack(other, "GetContainerEvents")
    proxy = start_proxy(silent, {"alt.test": other}, "--event-poll", "0", "--absence-grace", "0")
    listening(connect(proxy))
    proxy.wait_for_log('GetContainerEvents is answered without runtime "alt.test": UNIMPLEMENTED')
    threading.Event().wait(1.2)
    assert not other.called("ListPodSandbox", own=True)
    assert len(other.called("GetContainerEvents")) == 1


def test_a_runtime_of_a_version_without_events_is_looked_at(
    runtime: MakeRuntime, silent: Runtime, start_proxy: StartProxy, connect: Connect, listening: Callable[..., Events]
) -> None:
    old = runtime("other", packages=("runtime.v1alpha2",)).start()
    Pods(old).put("p", c=RUNNING)
    events = listening(connect(start_proxy(silent, {"alt.test": old}, *OFTEN)))
    event = events.wait_for("alt.test__c", STARTED)
    assert (event.pod_sandbox_status.id, event.containers_statuses[0].id) == ("alt.test__p", "alt.test__c")


class Demo:
    """``criproxy demo-runtime``, as a runtime that can be started."""

    def __init__(self, path: Path, *options: str) -> None:
        self.path = str(path)
        command = [sys.executable, "-m", "criproxy", "demo-runtime", "--listen", self.path, *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        assert f"serves {self.path}" in self.process.stderr.readline()

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def demos(folder: Path) -> Iterator[Tuple[Demo, Demo]]:
    """A runtime that has everything, and an old one."""
    streams = ",".join(name for name, _ in STREAMED)
    made = (
        Demo(folder / "new.sock", "--name", "new"),
        Demo(folder / "old.sock", "--name", "old", "--without", f"GetContainerEvents,{streams}"),
    )
    yield made
    for each in made:
        each.stop()


class TestARuntimeThatIsOld:
    """A demo runtime behind the proxy, beside one that has events and streams."""

    @pytest.fixture
    def kubelet(self, start_proxy: StartProxy, demos: Tuple[Demo, Demo], connect: Connect) -> Client:
        new, old = demos
        return connect(start_proxy(new, {"alt.test": old}, *OFTEN))

    def lives(self, kubelet: Client, events: Events, target: str) -> List[List[Tuple[int, List[int], int]]]:
        """Lets a pod live and die; gives the events of the pod and of its container: what, the containers' states, the
        pod's state."""
        run_pod(kubelet.call, "default", "web", ["nginx"], target)
        there = [pod for pod in kubelet.call("ListPodSandbox").items if pod.metadata.name == "web"]
        (pod,) = [pod for pod in there if pod.id.startswith(target)]
        (container,) = kubelet.call("ListContainers", filter={"pod_sandbox_id": pod.id}).containers
        events.wait_for(container.id, STARTED)
        kubelet.call("StopContainer", container_id=container.id, timeout=1)
        events.wait_for(container.id, STOPPED)
        kubelet.call("RemoveContainer", container_id=container.id)
        events.wait_for(container.id, DELETED)
        kubelet.call("StopPodSandbox", pod_sandbox_id=pod.id)
        events.wait_for(pod.id, STOPPED)
        kubelet.call("RemovePodSandbox", pod_sandbox_id=pod.id)
        events.wait_for(pod.id, DELETED)
        return [
            [
                (
                    event.container_event_type,
                    [s.state for s in event.containers_statuses],
                    event.pod_sandbox_status.state,
                )
                for event in events.heard
                if event.container_id == name
            ]
            for name in (pod.id, container.id)
        ]

    def test_is_heard_of_like_a_new_one(self, kubelet: Client, listening: Callable[[Client], Events]) -> None:
        events = listening(kubelet)
        # What is told by a runtime before it has been asked is lost: events of the new one must come first.
        while not events.of():
            kubelet.call("RunPodSandbox", config={"metadata": {"name": "first"}})
        (new_pod, new), (old_pod, old) = (self.lives(kubelet, events, target) for target in ("", "alt.test"))
        assert [what for what, *_ in old] == [what for what, *_ in new] == [CREATED, STARTED, STOPPED, DELETED]
        assert [what for what, *_ in old_pod] == [what for what, *_ in new_pod] == [CREATED, STARTED, STOPPED, DELETED]
        # What it had become by the time of the look is what it was; the ends are the same.
        assert (old[1:], old_pod[2:]) == (new[1:], new_pod[2:])

    def test_has_its_pods_in_streamed_lists(self, kubelet: Client) -> None:
        for target in ("", "alt.test"):
            run_pod(kubelet.call, "default", "web", ["nginx", "redis"], target)
        for stream, unary in STREAMED:
            (listed_in,) = schema.load().messages[METHODS[unary].rpc.response]
            streamed = entries_of(stream, kubelet.call(stream))
            assert len(streamed) == len(getattr(kubelet.call(unary), listed_in)) >= 2
            assert "alt.test" in str(streamed)
