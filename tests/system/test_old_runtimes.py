"""Runtimes that lack what kubelet asks for: the streamed lists of CRI 1.36, the lists in one message."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, Iterator, List, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, message_class, v1

from criproxy.cri import schema
from criproxy.cri.methods import METHODS

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
                event.wait(PATIENCE)

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
