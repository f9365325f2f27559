"""Runtimes that lack what kubelet asks for: the streamed lists of CRI 1.36, and events."""

from __future__ import annotations

import threading
from typing import Any, Callable, Iterator, List, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, message_class, v1

from criproxy.cri import schema
from criproxy.cri.methods import METHODS

UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
STREAMED = [name for name in METHODS if name.startswith("Stream")]


def refusing(text: str) -> Callable[[Any, grpc.ServicerContext], None]:
    """An answer that the method is not there."""
    return lambda _, context: context.abort(UNIMPLEMENTED, text)


def lack(runtime: Runtime, *methods: str) -> None:
    """Lets a runtime not have these methods."""
    for method in methods:
        runtime.answers[method] = refusing(f"no {method}")


def entries_of(method: str, answer: Any) -> List[Any]:
    """What an answer lists, or all messages of one."""
    (field,) = schema.load().messages[METHODS[method].rpc.response]
    return [
        entry for message in (answer if isinstance(answer, list) else [answer]) for entry in getattr(message, field)
    ]


def path_of_name(method: str) -> Tuple[str, ...]:
    """Where an entry of a list has its name."""
    path = next(field.path for field in METHODS[method].response_fields)
    return tuple(path.split(".")[1:])


def listed(method: str, *names: str) -> Any:
    """An answer, or a message of one, with entries of these names."""
    answer = message_class("runtime.v1", METHODS[method].rpc.response)()
    (field,) = schema.load().messages[METHODS[method].rpc.response]
    for name in names:
        entry = getattr(answer, field).add()
        *parents, last = path_of_name(method)
        for part in parents:
            entry = getattr(entry, part)
        setattr(entry, last, name)
    return answer


def give(runtime: Runtime, method: str, *names: str) -> None:
    """Lets a runtime list these, one in each message."""
    runtime.answers[method] = lambda *_: [listed(method, name) for name in names]


def names_in(method: str, answer: Any) -> List[str]:
    """The names in an answer, without what the proxy puts before those of an alternative runtime."""
    names = []
    for entry in entries_of(method, answer):
        for part in path_of_name(method):
            entry = getattr(entry, part)
        names.append(entry)
    return names


def outer(method: str, name: str) -> str:
    """What kubelet calls a thing of the alternative runtime."""
    return f"alt.test/{name}" if "Images" in method else f"alt.test__{name}"


@pytest.mark.parametrize("method", STREAMED)
class TestAStreamedList:
    def test_has_what_all_runtimes_list(self, method: str, client: Client, primary: Runtime, other: Runtime) -> None:
        give(primary, method, "a1", "a2")
        give(other, method, "b1", "b2")
        assert names_in(method, client.call(method)) == ["a1", "a2", outer(method, "b1"), outer(method, "b2")]

    @pytest.mark.parametrize("old", ["primary", "other"])
    def test_is_unimplemented_if_one_runtime_does_not_have_it(
        self, method: str, old: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        for runtime in (primary, other):
            give(runtime, method, "a")
        lack(primary if old == "primary" else other, method)
        assert client.fail(method) == (UNIMPLEMENTED, f"no {method}")

    def test_does_not_need_a_runtime_that_is_not_connected(
        self, method: str, proxy: Proxy, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        give(primary, method, "a")
        lack(other, method)
        other.stop()
        proxy.wait_for_log('runtime "alt.test" (')
        assert names_in(method, client.call(method)) == ["a"]


@pytest.mark.parametrize("method", ["ListPodSandboxStats", "ListPodSandboxMetrics"])
def test_a_list_in_one_message_is_without_a_runtime_that_does_not_have_it(
    method: str, client: Client, primary: Runtime, other: Runtime
) -> None:
    primary.answers[method] = listed(method, "a")
    lack(other, method)
    assert names_in(method, client.call(method)) == ["a"]


def test_a_streamed_list_of_one_runtime_is_unimplemented_as_it_says(client: Client, other: Runtime) -> None:
    lack(other, "StreamContainers")
    answer = client.fail("StreamContainers", filter={"id": "alt.test__b"})
    assert answer == (UNIMPLEMENTED, "no StreamContainers")


def test_a_runtime_of_another_version_of_the_cri_has_no_streamed_lists(
    runtime: MakeRuntime, primary: Runtime, start_proxy: StartProxy, connect: Connect
) -> None:
    old = runtime("other", packages=("runtime.v1alpha2",)).start()
    lack(old, "StreamContainers")
    give(primary, "StreamContainers", "a")
    client = connect(start_proxy(primary, {"alt.test": old}))
    assert client.fail("StreamContainers")[0] is UNIMPLEMENTED


def test_a_streamed_list_that_has_begun_ends_as_the_runtime_ends_it(
    client: Client, primary: Runtime, other: Runtime
) -> None:
    def answer(_: object, context: grpc.ServicerContext) -> Iterator[Any]:
        yield listed("StreamContainers", "a")
        context.abort(UNIMPLEMENTED, "no more")

    give(other, "StreamContainers", "b")
    primary.answers["StreamContainers"] = answer
    assert client.fail("StreamContainers") == (UNIMPLEMENTED, "no more")


class TestEvents:
    @pytest.fixture(autouse=True)
    def silent(self, primary: Runtime, other: Runtime) -> None:
        """Both runtimes have events and tell none."""

        def answer(_: object, context: grpc.ServicerContext) -> Iterator[Any]:
            over = threading.Event()
            context.add_callback(over.set)
            context.send_initial_metadata(())
            over.wait()
            yield from ()

        for runtime in (primary, other):
            runtime.answers["GetContainerEvents"] = answer

    @pytest.mark.parametrize("old", ["primary", "other"])
    def test_are_unimplemented_if_one_runtime_has_none(
        self, old: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        lack(primary if old == "primary" else other, "GetContainerEvents")
        assert client.fail("GetContainerEvents") == (UNIMPLEMENTED, "no GetContainerEvents")

    def test_are_unimplemented_once_a_runtime_without_them_has_come(
        self, proxy: Proxy, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        other.stop()
        proxy.wait_for_log("has gone")
        stream = client.stub("GetContainerEvents")(v1.GetEventsRequest(), timeout=PATIENCE)
        primary.wait_for("GetContainerEvents")
        lack(other, "GetContainerEvents")
        other.start()
        with pytest.raises(grpc.RpcError) as raised:
            next(stream)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert client.fail("GetContainerEvents") == (UNIMPLEMENTED, "no GetContainerEvents")
