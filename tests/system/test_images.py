"""Images by digest, which finds them wherever they are, and images that several runtimes have."""

from __future__ import annotations

import signal
import threading
from typing import Any, Callable, Iterator, List, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, v1

pytestmark = pytest.mark.stateless

GONE, NOT_FOUND, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL
DIGEST = "sha256:" + "0a" * 32
OF_DIGEST = {"image": {"image": DIGEST}}
BOTH_VERSIONS = pytest.mark.parametrize("package", ["runtime.v1", "runtime.v1alpha2"])
LISTS = pytest.mark.parametrize("method", ["ListImages", "StreamImages"])
MIB = 2**20

Answer = Callable[[object, grpc.ServicerContext], Any]


def image(name: str, **fields: Any) -> v1.Image:
    """An image of this name; all of them have the same digest."""
    return v1.Image(**{"id": DIGEST, "repo_tags": [f"{name}:1"], "size": 1, **fields})


def status(name: str, **info: str) -> v1.ImageStatusResponse:
    """The status of the image of this name."""
    return v1.ImageStatusResponse(image=image(name), info=info)


def failing(code: grpc.StatusCode, text: str, *metadata: Tuple[str, str]) -> Answer:
    """An answer that is an error."""

    def answer(request: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(metadata)
        context.abort(code, text)

    return answer


class Waiting:
    """An answer that comes when it is let go, or not at all: ``cancelled`` is set then."""

    def __init__(self, answer: Any = None) -> None:
        self._answer = answer
        self._over = threading.Event()
        self.cancelled = threading.Event()

    def __call__(self, request: object, context: grpc.ServicerContext) -> Any:
        def end() -> None:
            if not self._over.is_set():
                self.cancelled.set()
                self._over.set()

        if not context.add_callback(end):
            end()
        assert self._over.wait(PATIENCE)
        return self._answer

    def let_go(self) -> None:
        """The answer may come."""
        self._over.set()


@pytest.fixture
def waiting() -> Iterator[Callable[..., Waiting]]:
    """Makes answers that wait; they are let go in the end."""
    made: List[Waiting] = []

    def make(answer: Any = None) -> Waiting:
        made.append(Waiting(answer))
        return made[-1]

    yield make
    for each in made:
        each.let_go()


@pytest.fixture
def third(runtime: MakeRuntime) -> Runtime:
    """The alternative runtime ``b.test``, started."""
    return runtime("third").start()


@pytest.fixture
def three(
    start_proxy: StartProxy, primary: Runtime, other: Runtime, third: Runtime, connect: Connect, client: Client
) -> Client:
    """A client of a proxy before ``primary``, ``other`` (a.test) and ``third`` (b.test)."""
    return connect(start_proxy(primary, {"a.test": other, "b.test": third}, "-v", "5", name="three"))


@pytest.fixture
def absent(runtime: MakeRuntime) -> Runtime:
    """A runtime that has not been started."""
    return runtime("absent")


def metadata(error: Any) -> List[Any]:
    """The metadata behind an error."""
    return list(error.trailing_metadata())


def tags(client: Client) -> List[str]:
    """The names of the image that has the digest, if one has."""
    return list(client.call("ImageStatus", **OF_DIGEST).image.repo_tags)


class TestTheStatusOfADigest:
    @BOTH_VERSIONS
    def test_is_that_of_the_runtime_that_has_the_image(
        self, package: str, proxy: Proxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        client = connect(proxy, package)
        other.answers["ImageStatus"] = status("x", chain="its own")
        got = client.call("ImageStatus", verbose=True, **OF_DIGEST)
        assert (got.image.id, list(got.image.repo_tags)) == (DIGEST, ["alt.test/x:1"])
        assert dict(got.info) == {"chain": "its own"}
        for runtime in (primary, other):
            (call,) = runtime.called("ImageStatus")
            assert (call.package, call.raw) == (
                package,
                client.request("ImageStatus", verbose=True, **OF_DIGEST).SerializeToString(),
            )

    def test_is_the_primary_s_at_once_if_that_has_it(
        self, client: Client, primary: Runtime, other: Runtime, waiting: Callable[..., Waiting]
    ) -> None:
        hung = other.answers["ImageStatus"] = waiting()
        primary.answers["ImageStatus"] = lambda *_: other.wait_for("ImageStatus") and status("x")
        assert tags(client) == ["x:1"]
        assert hung.cancelled.wait(PATIENCE)

    def test_is_the_primary_s_though_another_has_answered_first(
        self, client: Client, primary: Runtime, other: Runtime, waiting: Callable[..., Waiting]
    ) -> None:
        slow = primary.answers["ImageStatus"] = waiting(status("x"))
        answered = threading.Event()
        other.answers["ImageStatus"] = lambda _, context: context.add_callback(answered.set) and status("y")
        future = client.stub("ImageStatus").future(client.request("ImageStatus", **OF_DIGEST), timeout=PATIENCE)
        assert answered.wait(PATIENCE)
        slow.let_go()
        assert list(future.result(PATIENCE).image.repo_tags) == ["x:1"]

    def test_is_that_of_the_first_in_their_order(
        self, three: Client, other: Runtime, third: Runtime, waiting: Callable[..., Waiting]
    ) -> None:
        slow = other.answers["ImageStatus"] = waiting(status("x"))
        answered = threading.Event()
        third.answers["ImageStatus"] = lambda _, context: context.add_callback(answered.set) and status("y")
        future = three.stub("ImageStatus").future(three.request("ImageStatus", **OF_DIGEST), timeout=PATIENCE)
        assert answered.wait(PATIENCE)
        slow.let_go()
        assert list(future.result(PATIENCE).image.repo_tags) == ["a.test/x:1"]

    def test_is_that_of_the_next_if_one_does_not_have_it(self, three: Client, third: Runtime) -> None:
        third.answers["ImageStatus"] = status("y")
        assert tags(three) == ["b.test/y:1"]

    def test_that_nobody_has_is_the_primary_s_answer(self, client: Client, primary: Runtime) -> None:
        primary.answers["ImageStatus"] = v1.ImageStatusResponse(info={"of": "the primary"})
        got = client.call("ImageStatus", **OF_DIGEST)
        assert not got.HasField("image")
        assert dict(got.info) == {"of": "the primary"}

    def test_has_the_metadata_of_the_runtime_that_has_the_image(self, client: Client, other: Runtime) -> None:
        def answer(request: object, context: grpc.ServicerContext) -> v1.ImageStatusResponse:
            context.send_initial_metadata((("first", "1"),))
            context.set_trailing_metadata((("last", "2"),))
            return status("x")

        other.answers["ImageStatus"] = answer
        _, call = client.stub("ImageStatus").with_call(client.request("ImageStatus", **OF_DIGEST), timeout=PATIENCE)
        assert ("first", "1") in call.initial_metadata()
        assert ("last", "2") in call.trailing_metadata()

    def test_fails_as_the_primary_fails(self, client: Client, primary: Runtime, other: Runtime) -> None:
        primary.answers["ImageStatus"] = failing(INTERNAL, "broken")
        other.answers["ImageStatus"] = status("x")
        assert client.fail("ImageStatus", **OF_DIGEST) == (INTERNAL, "broken")

    def test_is_without_an_alternative_runtime_that_fails(
        self, three: Client, other: Runtime, third: Runtime, start_proxy: StartProxy
    ) -> None:
        other.answers["ImageStatus"] = failing(INTERNAL, "broken")
        third.answers["ImageStatus"] = status("y")
        assert tags(three) == ["b.test/y:1"]

    def test_that_an_alternative_runtime_does_not_tell_in_time_is_the_primary_s(
        self,
        primary: Runtime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
        waiting: Callable[..., Waiting],
    ) -> None:
        proxy = start_proxy(primary, {"alt.test": other}, "--fan-out-timeout", "0.3")
        hung = other.answers["ImageStatus"] = waiting(status("x"))
        assert tags(connect(proxy)) == []
        assert hung.cancelled.wait(PATIENCE)
        proxy.wait_for_log('ImageStatus is answered without runtime "alt.test"')

    def test_does_not_wait_for_longer_than_half_of_the_deadline(
        self,
        primary: Runtime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
        waiting: Callable[..., Waiting],
    ) -> None:
        client = connect(start_proxy(primary, {"alt.test": other}, "--fan-out-timeout", "600"))
        other.answers["ImageStatus"] = waiting()
        assert not client.call("ImageStatus", timeout=3, **OF_DIGEST).HasField("image")

    def test_is_without_a_word_of_a_runtime_that_is_not_there(
        self, primary: Runtime, other: Runtime, absent: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        proxy = start_proxy(primary, {"a.test": absent, "b.test": other}, "-v", "2", connected=2)
        client = connect(proxy)
        other.answers["ImageStatus"] = status("x")
        assert tags(client) == ["b.test/x:1"]
        client.fail("ContainerStatus", container_id="a.test__last")
        proxy.wait_for_log("FAIL: /runtime.v1.RuntimeService/ContainerStatus()")
        assert not proxy.logged("is answered without")

    def test_needs_the_primary_to_be_there(
        self, runtime: MakeRuntime, other: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        proxy = start_proxy(runtime("none"), {"alt.test": other}, "--connection-timeout", "0.2", connected=1)
        other.answers["ImageStatus"] = status("x")
        code, text = connect(proxy).fail("ImageStatus", **OF_DIGEST)
        assert (code, "the primary runtime" in text) == (GONE, True)

    def test_that_is_not_wanted_any_more_is_cancelled_at_the_runtimes(
        self, client: Client, primary: Runtime, other: Runtime, waiting: Callable[..., Waiting]
    ) -> None:
        hung = [waiting(), waiting()]
        primary.answers["ImageStatus"], other.answers["ImageStatus"] = hung
        future = client.stub("ImageStatus").future(client.request("ImageStatus", **OF_DIGEST))
        for runtime in (primary, other):
            runtime.wait_for("ImageStatus")
        future.cancel()
        assert all(each.cancelled.wait(PATIENCE) for each in hung)

    @pytest.mark.parametrize("answer", [b"\x0a\x05abc", b"\xff"])
    def test_that_does_not_parse_fails_if_it_is_the_primary_s(
        self, answer: bytes, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        other.answers["ImageStatus"] = status("x")
        primary.answers["ImageStatus"] = answer
        code, text = client.fail("ImageStatus", **OF_DIGEST)
        assert (code, "the answer of the primary runtime does not parse" in text) == (INTERNAL, True)
        primary.answers["ImageStatus"], other.answers["ImageStatus"] = None, answer
        assert tags(client) == []

    def test_of_a_runtime_s_own_is_asked_there_alone(self, client: Client, primary: Runtime, other: Runtime) -> None:
        other.answers["ImageStatus"] = status("x")
        got = client.call("ImageStatus", image={"image": f"alt.test/{DIGEST}"})
        assert list(got.image.repo_tags) == ["alt.test/x:1"]
        assert other.called("ImageStatus")[0].request.image.image == DIGEST
        assert not primary.called("ImageStatus")


class TestRemovalByDigest:
    @BOTH_VERSIONS
    def test_reaches_all_runtimes(
        self, package: str, proxy: Proxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        connect(proxy, package).call("RemoveImage", **OF_DIGEST)
        for runtime in (primary, other):
            (call,) = runtime.called("RemoveImage")
            assert (call.package, call.request.image.image) == (package, DIGEST)

    @pytest.mark.parametrize("has_it", [0, 1])
    def test_is_a_success_if_somebody_has_had_the_image(
        self, has_it: int, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        (primary, other)[1 - has_it].answers["RemoveImage"] = failing(NOT_FOUND, "no such image")
        client.call("RemoveImage", **OF_DIGEST)

    def test_of_what_nobody_has_fails_as_the_primary_says(
        self, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        primary.answers["RemoveImage"] = failing(NOT_FOUND, "the primary has none", ("more", "details"))
        other.answers["RemoveImage"] = failing(NOT_FOUND, "the other has none")
        with pytest.raises(grpc.RpcError) as caught:
            client.call("RemoveImage", **OF_DIGEST)
        assert (caught.value.code(), caught.value.details()) == (NOT_FOUND, "the primary has none")
        assert ("more", "details") in metadata(caught.value)

    @pytest.mark.parametrize("of_the_other", [None, failing(NOT_FOUND, "no such image")])
    def test_that_the_primary_alone_refuses_fails_as_it_says(
        self, of_the_other: Any, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        primary.answers["RemoveImage"] = failing(INTERNAL, "in use", ("more", "details"))
        other.answers["RemoveImage"] = of_the_other
        with pytest.raises(grpc.RpcError) as caught:
            client.call("RemoveImage", **OF_DIGEST)
        assert (caught.value.code(), caught.value.details()) == (INTERNAL, "in use")
        assert ("more", "details") in metadata(caught.value)

    @pytest.mark.parametrize("of_the_primary", [None, failing(NOT_FOUND, "no such image")])
    def test_that_another_refuses_fails_as_it_says(
        self, of_the_primary: Any, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        primary.answers["RemoveImage"] = of_the_primary
        other.answers["RemoveImage"] = failing(INTERNAL, "in use")
        assert client.fail("RemoveImage", **OF_DIGEST) == (INTERNAL, "in use")

    def test_that_several_refuse_fails_as_the_first_says(
        self, three: Client, primary: Runtime, other: Runtime, third: Runtime
    ) -> None:
        primary.answers["RemoveImage"] = failing(NOT_FOUND, "no such image")
        other.answers["RemoveImage"] = failing(grpc.StatusCode.FAILED_PRECONDITION, "in use")
        third.answers["RemoveImage"] = failing(INTERNAL, "broken")
        assert three.fail("RemoveImage", **OF_DIGEST) == (grpc.StatusCode.FAILED_PRECONDITION, "in use")

    def test_passes_over_a_runtime_that_is_not_there(
        self, primary: Runtime, absent: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        client = connect(start_proxy(primary, {"alt.test": absent}, connected=1))
        client.call("RemoveImage", **OF_DIGEST)
        primary.answers["RemoveImage"] = failing(NOT_FOUND, "no such image")
        assert client.fail("RemoveImage", **OF_DIGEST) == (NOT_FOUND, "no such image")

    def test_waits_for_the_primary(
        self, runtime: MakeRuntime, other: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        primary = runtime("primary")
        client = connect(start_proxy(primary, {"alt.test": other}, "--connection-timeout", "60", connected=1))
        future = client.stub("RemoveImage").future(client.request("RemoveImage", **OF_DIGEST), timeout=60)
        other.wait_for("RemoveImage")
        assert not future.done()
        primary.start()
        future.result(PATIENCE)
        assert primary.called("RemoveImage")

    def test_by_a_runtime_that_works_on_it_takes_the_time_that_it_takes(
        self,
        primary: Runtime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
        waiting: Callable[..., Waiting],
    ) -> None:
        proxy = start_proxy(primary, {"alt.test": other}, "--fan-out-timeout", "0.05")
        client = connect(proxy)
        slow = other.answers["RemoveImage"] = waiting()
        future = client.stub("RemoveImage").future(client.request("RemoveImage", **OF_DIGEST), timeout=PATIENCE)
        other.wait_for("RemoveImage")
        # A list that the runtime hangs in meanwhile tells when the fan-out timeout has passed several times.
        hung = other.answers["ListPodSandbox"] = waiting()
        for _ in range(3):
            client.call("ListPodSandbox")
        assert hung.cancelled.wait(PATIENCE)
        assert not future.done()
        slow.let_go()
        future.result(PATIENCE)
        assert not slow.cancelled.is_set()

    def test_by_a_runtime_that_is_stopped_fails(
        self, runtime: MakeRuntime, primary: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        # A second proxy is the alternative runtime: a process that can be stopped.
        inner = start_proxy(runtime("innermost").start(), {}, name="inner")
        proxy = start_proxy(primary, {"alt.test": inner.as_runtime()}, "--fan-out-timeout", "0.3", name="outer")
        client = connect(proxy)
        inner.signal(signal.SIGSTOP)
        try:
            code, text = client.fail("RemoveImage", **OF_DIGEST)
        finally:
            inner.signal(signal.SIGCONT)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert text == 'criproxy: runtime "alt.test" has not answered within --fan-out-timeout'

    def test_that_is_not_wanted_any_more_is_cancelled_at_the_runtimes(
        self, client: Client, primary: Runtime, other: Runtime, waiting: Callable[..., Waiting]
    ) -> None:
        hung = [waiting(), waiting()]
        primary.answers["RemoveImage"], other.answers["RemoveImage"] = hung
        future = client.stub("RemoveImage").future(client.request("RemoveImage", **OF_DIGEST))
        for runtime in (primary, other):
            runtime.wait_for("RemoveImage")
        future.cancel()
        assert all(each.cancelled.wait(PATIENCE) for each in hung)

    def test_of_a_runtime_s_own_is_done_there_alone(self, client: Client, primary: Runtime, other: Runtime) -> None:
        client.call("RemoveImage", image={"image": f"alt.test/{DIGEST}"})
        assert other.called("RemoveImage")[0].request.image.image == DIGEST
        assert not primary.called("RemoveImage")


def test_a_digest_is_pulled_by_the_primary_alone(client: Client, primary: Runtime, other: Runtime) -> None:
    client.call("PullImage", **OF_DIGEST)
    assert primary.called("PullImage")
    assert not other.called("PullImage")


def have(runtime: Runtime, method: str, *messages: List[v1.Image]) -> None:
    """Lets a runtime list these images: in one message, or in so many of a stream."""
    answers = [v1.ListImagesResponse(images=images) for images in messages]  # StreamImages' are the same on the wire
    runtime.answers[method] = (lambda *_: answers) if method.startswith("Stream") else answers[0]


def listed(client: Client, method: str, **fields: Any) -> List[v1.Image]:
    """The images that kubelet sees."""
    answer = client.call(method, **fields)
    return [image for message in (answer if isinstance(answer, list) else [answer]) for image in message.images]


@LISTS
class TestAListOfImages:
    @BOTH_VERSIONS
    def test_has_one_entry_for_an_image_that_several_have(
        self, method: str, package: str, proxy: Proxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        only = v1.Image(id="sha256:1", repo_tags=["only:1"], size=5)
        have(primary, method, [only, image("x", repo_digests=["x@sha256:d"], size=10, username="first")])
        have(other, method, [image("x", repo_digests=["x@sha256:d"], size=7, pinned=True), only])
        first, second = listed(connect(proxy, package), method)
        assert (first.id, list(first.repo_tags), first.size) == ("sha256:1", ["only:1", "alt.test/only:1"], 10)
        assert (second.id, second.size, second.pinned, second.username) == (DIGEST, 17, True, "first")
        assert list(second.repo_tags) == ["x:1", "alt.test/x:1"]
        assert list(second.repo_digests) == ["x@sha256:d", "alt.test/x@sha256:d"]

    def test_puts_what_is_not_shared_in_the_order_of_the_runtimes(
        self, method: str, three: Client, primary: Runtime, other: Runtime, third: Runtime
    ) -> None:
        for runtime in (third, other, primary):
            have(runtime, method, [v1.Image(id=f"sha256:{runtime.name}", repo_tags=["x:1"], size=1)])
        seen = [image.repo_tags[0] for image in listed(three, method)]
        assert seen == ["x:1", "a.test/x:1", "b.test/x:1"]

    def test_narrowed_by_a_digest_is_asked_of_all(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        have(primary, method, [])
        have(other, method, [image("x")])
        narrowed = {"filter": {"image": {"image": DIGEST}}}
        assert [list(image.repo_tags) for image in listed(client, method, **narrowed)] == [["alt.test/x:1"]]
        for runtime in (primary, other):
            (call,) = runtime.called(method)
            assert call.request.filter.image.image == DIGEST

    def test_is_without_a_runtime_that_fails_or_hangs(
        self,
        method: str,
        primary: Runtime,
        other: Runtime,
        third: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
        waiting: Callable[..., Waiting],
    ) -> None:
        have(primary, method, [image("x", size=10)])
        other.answers[method] = failing(INTERNAL, "broken")
        third.answers[method] = waiting()
        proxy = start_proxy(primary, {"a.test": other, "b.test": third}, "--fan-out-timeout", "0.3")
        (got,) = listed(connect(proxy), method)
        assert (list(got.repo_tags), got.size) == (["x:1"], 10)
        for name in ("a.test", "b.test"):
            proxy.wait_for_log(f'{method} is answered without runtime "{name}"')

    def test_is_without_a_runtime_that_is_not_there(
        self, method: str, primary: Runtime, absent: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        have(primary, method, [image("x")])
        client = connect(start_proxy(primary, {"alt.test": absent}, connected=1))
        assert [list(image.repo_tags) for image in listed(client, method)] == [["x:1"]]

    def test_that_does_not_parse_is_kubelet_s_as_it_is_if_it_is_the_primary_s_and_is_left_out_if_not(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        rubbish = b"\x0a\x05abc"
        have(other, method, [image("x")])
        primary.answers[method] = (lambda *_: [rubbish]) if method.startswith("Stream") else rubbish
        code, text = client.fail(method)
        assert (code, "criproxy" in text) == (INTERNAL, False)  # the client's own
        other.answers[method] = primary.answers[method]
        have(primary, method, [image("x")])
        assert [list(image.repo_tags) for image in listed(client, method)] == [["x:1"]]

    def test_that_is_not_wanted_any_more_is_cancelled_at_the_runtimes(
        self, method: str, client: Client, primary: Runtime, other: Runtime, waiting: Callable[..., Waiting]
    ) -> None:
        hung = [waiting(), waiting()]
        primary.answers[method], other.answers[method] = hung
        stub, request = client.stub(method), client.request(method)
        call = stub(request) if method.startswith("Stream") else stub.future(request)
        for runtime in (primary, other):
            runtime.wait_for(method)
        call.cancel()
        assert all(each.cancelled.wait(PATIENCE) for each in hung)

    def test_passes_in_the_log(self, method: str, client: Client, proxy: Proxy, primary: Runtime) -> None:
        have(primary, method, [image("x")])
        listed(client, method)
        proxy.wait_for_log("x:1")


class TestAStreamOfImages:
    def test_is_of_all_messages_of_the_runtimes(self, client: Client, primary: Runtime, other: Runtime) -> None:
        have(primary, "StreamImages", [image("x", size=10)], [v1.Image(id="sha256:1", size=1)])
        have(other, "StreamImages", [v1.Image(id="sha256:2", size=1)], [image("x", size=7)], [])
        seen = [(image.id, image.size) for image in listed(client, "StreamImages")]
        assert seen == [(DIGEST, 17), ("sha256:1", 1), ("sha256:2", 1)]

    def test_may_be_empty(self, client: Client, primary: Runtime, other: Runtime) -> None:
        assert client.call("StreamImages") == []
        have(other, "StreamImages", [image("x")])
        assert [list(image.repo_tags) for image in listed(client, "StreamImages")] == [["alt.test/x:1"]]

    def test_is_in_the_messages_of_the_runtimes(self, client: Client, primary: Runtime, other: Runtime) -> None:
        large = [v1.Image(id=f"sha256:{number}", username="u" * MIB, size=1) for number in range(20)]
        have(primary, "StreamImages", large[:10], large[10:])
        have(other, "StreamImages", large[:1])
        messages = client.call("StreamImages")
        assert [len(message.images) for message in messages if message.images] == [10, 10]
        images = [image for message in messages for image in message.images]
        assert [image.id for image in images] == [image.id for image in large]
        assert [image.size for image in images] == [2] + [1] * 19

    def test_is_bounded(self, primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect) -> None:
        client = connect(start_proxy(primary, {"alt.test": other}, "--max-message-size", "100k"))
        page = [v1.Image(id="sha256:1", username="u" * 60_000)]
        have(primary, "StreamImages", [image("x")])
        have(other, "StreamImages", page, page)
        assert [list(image.repo_tags) for image in listed(client, "StreamImages")] == [["x:1"]]
        have(primary, "StreamImages", page, page)
        code, text = client.fail("StreamImages")
        assert (code, "--max-message-size" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)

    def test_has_the_primary_s_metadata(self, client: Client, primary: Runtime) -> None:
        def answer(request: object, context: grpc.ServicerContext) -> Iterator[Any]:
            context.send_initial_metadata((("first", "1"),))
            context.set_trailing_metadata((("last", "2"),))
            yield v1.ListImagesResponse(images=[image("x")])

        primary.answers["StreamImages"] = answer
        call = client.stub("StreamImages")(client.request("StreamImages"), timeout=PATIENCE)
        assert len(list(call)) == 1
        assert ("first", "1") in call.initial_metadata()
        assert ("last", "2") in call.trailing_metadata()


def test_a_field_that_nobody_knows_survives_in_a_list_of_what_both_have(
    client: Client, primary: Runtime, other: Runtime
) -> None:
    new_field = b"\xfa\x3f\x07unheard"  # field 1023, a string
    entry = image("x").SerializeToString() + new_field
    primary.answers["ListImages"] = b"\x0a" + bytes((len(entry),)) + entry
    have(other, "ListImages", [image("x")])
    call = client.channel.unary_unary("/runtime.v1.ImageService/ListImages")
    got = call(b"", timeout=PATIENCE)
    assert new_field in got
    (seen,) = v1.ListImagesResponse.FromString(got).images
    assert list(seen.repo_tags) == ["x:1", "alt.test/x:1"]


def test_what_is_not_shared_goes_through_as_the_primary_has_written_it(
    client: Client, primary: Runtime, other: Runtime
) -> None:
    backwards = b"\x20\x05" + b"\x0a\x08sha256:1"  # the size before the id
    primary.answers["ListImages"] = b"\x0a" + bytes((len(backwards),)) + backwards
    have(other, "ListImages", [image("x")])
    call = client.channel.unary_unary("/runtime.v1.ImageService/ListImages")
    assert call(b"", timeout=PATIENCE).startswith(primary.answers["ListImages"])


class TestWhereDigestsAreThePrimarys:
    @pytest.fixture
    def client(self, start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime) -> Client:
        """A client of a proxy that does as the Go program did."""
        return connect(start_proxy(primary, {"alt.test": other}, "--digests", "primary"))

    @pytest.mark.parametrize("method", ["ImageStatus", "RemoveImage", "ListImages"])
    def test_nobody_else_is_asked_for_one(self, method: str, client: Client, primary: Runtime, other: Runtime) -> None:
        client.call(method, **({"filter": OF_DIGEST} if method == "ListImages" else OF_DIGEST))
        assert primary.called(method)
        assert not other.called(method)

    @LISTS
    def test_each_runtime_has_its_own_entry_of_an_image(
        self, method: str, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        for runtime in (primary, other):
            listed = v1.ListImagesResponse(images=[image(runtime.name)]).SerializeToString()
            runtime.answers[method] = (lambda *_, listed=listed: [listed]) if method == "StreamImages" else listed
        answer = client.call(method)
        images = [each for part in (answer if method == "StreamImages" else [answer]) for each in part.images]
        assert [list(each.repo_tags) for each in images] == [["primary:1"], ["alt.test/other:1"]]
