"""The primary runtime's ImageService at a socket of its own: lazy-pulling snapshotters, credential proxies."""

from __future__ import annotations

import json
import signal
import socket
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy, message_class, v1

GONE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
IMAGES = ("ImageService",)
DIGEST = "sha256:" + "0a" * 32
BOTH_VERSIONS = pytest.mark.parametrize("package", ["runtime.v1", "runtime.v1alpha2"])
OF_ONE = {"image": {"image": "registry.test/x:1"}}


@pytest.fixture
def images(runtime: MakeRuntime) -> Runtime:
    """An image service that has nothing but images, started."""
    return runtime("images", services=IMAGES).start()


@pytest.fixture
def absent(runtime: MakeRuntime) -> Runtime:
    """An image service that is not there."""
    return runtime("absent", services=IMAGES)


@pytest.fixture
def proxy(start_proxy: StartProxy, primary: Runtime, other: Runtime, images: Runtime) -> Proxy:
    """The proxy before ``primary``, the images of which are ``images``'s, and ``other``, which is ``alt.test``."""
    return start_proxy(primary, {"alt.test": other}, "-v", "5", "--image-service", images.path, connected=3)


def listing(*names: str) -> Callable[..., Any]:
    """An answer to ListImages, or to StreamImages, with images of these names; each is an image of its own."""
    return lambda *_: v1.ListImagesResponse(images=[v1.Image(id=f"sha256:{name}", repo_tags=[name]) for name in names])


def listed(client: Client) -> List[str]:
    return [name for image in client.call("ListImages").images for name in image.repo_tags]


class Held:
    """A pull that the image service answers when it is let go; ``cancelled`` is set if nobody waits any more."""

    def __init__(self, images: Runtime, client: Client) -> None:
        self.cancelled, self._release = threading.Event(), threading.Event()
        images.answers["PullImage"] = self._answer
        self.future = client.stub("PullImage").future(client.request("PullImage", **OF_ONE), timeout=PATIENCE)
        images.wait_for("PullImage")

    def _answer(self, request: Any, context: grpc.ServicerContext) -> Any:
        def end() -> None:
            self.cancelled.set()
            self._release.set()

        if not context.add_callback(end):
            end()
        assert self._release.wait(PATIENCE)
        return v1.PullImageResponse(image_ref="sha256:pulled")

    def let_go(self) -> str:
        """Lets it be answered, and gives the reference that kubelet gets."""
        self._release.set()
        reference: str = self.future.result(PATIENCE).image_ref
        return reference


class TestACall:
    @BOTH_VERSIONS
    @pytest.mark.parametrize(
        ("method", "fields"),
        [
            ("PullImage", {**OF_ONE, "auth": {"username": "u", "password": "p"}}),
            ("ImageStatus", {**OF_ONE, "verbose": True}),
            ("RemoveImage", OF_ONE),
            ("ListImages", {"filter": OF_ONE}),
            ("StreamImages", {"filter": OF_ONE}),
            ("ListImages", {}),
            ("StreamImages", {}),
            ("ImageFsInfo", {}),
        ],
    )
    def test_of_the_image_service_goes_there_as_it_is(
        self,
        package: str,
        method: str,
        fields: Dict[str, Any],
        proxy: Proxy,
        connect: Connect,
        primary: Runtime,
        images: Runtime,
    ) -> None:
        client = connect(proxy, package)
        client.call(method, **fields)
        (call,) = images.called(method)
        assert (call.package, call.raw) == (package, client.request(method, **fields).SerializeToString())
        assert not primary.called(method)

    @pytest.mark.parametrize(
        ("method", "fields"),
        [
            ("Version", {}),
            ("Status", {}),
            ("RuntimeConfig", {}),
            ("ListPodSandbox", {}),
            ("ListContainers", {}),
            ("ContainerStatus", {"container_id": "c"}),
            ("UpdateRuntimeConfig", {}),
            ("GetContainerEvents", {}),
        ],
    )
    def test_of_the_runtime_service_goes_to_the_primary_runtime(
        self, method: str, fields: Dict[str, Any], client: Client, primary: Runtime, other: Runtime, images: Runtime
    ) -> None:
        over = threading.Event()
        other.answers["GetContainerEvents"] = lambda *_: over.wait(PATIENCE) and []
        before = len(primary.called(method))
        client.call(method, **fields)
        over.set()
        assert len(primary.called(method)) == before + 1
        assert not images.calls

    def test_that_nobody_knows_goes_where_its_service_is(
        self, client: Client, primary: Runtime, images: Runtime
    ) -> None:
        images.answers["Unheard"], primary.answers["Unheard"] = b"of images", b"of the runtime"
        for service, answer in (("ImageService", b"of images"), ("RuntimeService", b"of the runtime")):
            call = client.channel.unary_unary(f"/runtime.v1.{service}/Unheard")
            assert call(b"", timeout=PATIENCE) == answer
        assert (len(images.called("Unheard")), len(primary.called("Unheard"))) == (1, 1)

    def test_for_an_alternative_runtimes_image_goes_to_that(
        self, client: Client, other: Runtime, primary: Runtime, images: Runtime
    ) -> None:
        other.answers["PullImage"] = v1.PullImageResponse(image_ref="x@sha256:d")
        pulled = client.call("PullImage", image={"image": "alt.test/x"})
        assert pulled.image_ref == "alt.test/x@sha256:d"
        assert other.called("PullImage")[0].request.image.image == "x"
        client.call("PullImage", **OF_ONE, sandbox_config={"annotations": {"kubernetes.io/target-runtime": "alt.test"}})
        assert len(other.called("PullImage")) == 2
        assert not images.calls
        assert not primary.called("PullImage")

    def test_that_kubelet_cancels_is_cancelled(self, client: Client, images: Runtime) -> None:
        held = Held(images, client)
        held.future.cancel()
        assert held.cancelled.wait(PATIENCE)

    def test_that_fails_fails_as_the_image_service_says(self, client: Client, images: Runtime) -> None:
        images.answers["PullImage"] = lambda _, context: context.abort(
            grpc.StatusCode.PERMISSION_DENIED, "RegistryUnavailable: no"
        )
        assert client.fail("PullImage", **OF_ONE) == (grpc.StatusCode.PERMISSION_DENIED, "RegistryUnavailable: no")


class TestWhatAllRuntimesHave:
    def test_has_the_image_services_first_and_nothing_of_the_primarys_own(
        self, client: Client, primary: Runtime, other: Runtime, images: Runtime
    ) -> None:
        primary.answers["ListImages"], other.answers["ListImages"] = listing("never"), listing("b")
        images.answers["ListImages"] = listing("a")
        assert listed(client) == ["a", "alt.test/b"]
        for runtime, point in ((primary, "/never"), (other, "/b"), (images, "/a")):
            filesystem = v1.FilesystemUsage(fs_id={"mountpoint": point})
            runtime.answers["ImageFsInfo"] = v1.ImageFsInfoResponse(image_filesystems=[filesystem])
        mounted = client.call("ImageFsInfo").image_filesystems
        assert [filesystem.fs_id.mountpoint for filesystem in mounted] == ["/a", "/b"]

    def test_fails_as_the_image_service_fails_and_only_then(
        self, client: Client, other: Runtime, images: Runtime
    ) -> None:
        images.answers["ListImages"] = listing("a")
        other.answers["ListImages"] = lambda _, context: context.abort(INTERNAL, "broken")
        assert listed(client) == ["a"]
        images.answers["ListImages"] = lambda _, context: context.abort(INTERNAL, "no images")
        assert client.fail("ListImages") == (INTERNAL, "no images")

    def test_has_a_digest_where_the_image_service_or_else_an_alternative_runtime_has_it(
        self, client: Client, primary: Runtime, other: Runtime, images: Runtime
    ) -> None:
        def status(name: str) -> Any:
            return v1.ImageStatusResponse(image=v1.Image(id=DIGEST, repo_tags=[name]))

        def found() -> List[str]:
            return list(client.call("ImageStatus", image={"image": DIGEST}).image.repo_tags)

        primary.answers["ImageStatus"], other.answers["ImageStatus"] = status("never"), status("b")
        assert found() == ["alt.test/b"]
        images.answers["ImageStatus"] = status("a")
        assert found() == ["a"]
        assert not primary.called("ImageStatus")

    def test_loses_a_digest_at_the_image_service_and_at_alternative_runtimes(
        self, client: Client, primary: Runtime, other: Runtime, images: Runtime
    ) -> None:
        client.call("RemoveImage", image={"image": DIGEST})
        assert (len(images.called("RemoveImage")), len(other.called("RemoveImage"))) == (1, 1)
        assert not primary.called("RemoveImage")
        images.answers["RemoveImage"] = lambda _, context: context.abort(INTERNAL, "in use")
        assert client.fail("RemoveImage", image={"image": DIGEST}) == (INTERNAL, "in use")

    def test_is_no_stream_where_the_image_service_has_none(self, client: Client, images: Runtime) -> None:
        images.answers["StreamImages"] = lambda _, context: context.abort(UNIMPLEMENTED, "unknown method StreamImages")
        assert client.fail("StreamImages") == (UNIMPLEMENTED, "unknown method StreamImages")


class TestHowItIsFound:
    @pytest.mark.parametrize(
        ("spoken", "asked"), [("runtime.v1", "runtime.v1alpha2"), ("runtime.v1alpha2", "runtime.v1")]
    )
    def test_in_a_version_that_kubelet_does_not_speak_it_is_called_in_that(
        self,
        spoken: str,
        asked: str,
        primary: Runtime,
        runtime: MakeRuntime,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        images = runtime("images", services=IMAGES, packages=(spoken,)).start()
        proxy = start_proxy(primary, {}, "--image-service", images.path, connected=2)
        proxy.wait_for_log(f"connected to the image service ({images.path}): CRI {spoken.partition('.')[2]}")
        images.answers["PullImage"] = message_class(spoken, "PullImageResponse")(image_ref="sha256:pulled")
        assert connect(proxy, asked).call("PullImage", **OF_ONE).image_ref == "sha256:pulled"
        assert [call.package for call in images.called("PullImage")] == [spoken]

    def test_it_is_asked_for_nothing_but_an_image_that_nobody_has(
        self, client: Client, primary: Runtime, images: Runtime
    ) -> None:
        names = [call.request.image.image for call in images.called("ImageStatus", own=True)]
        assert len(names) == 2
        assert all(name.partition("/")[0].endswith(".invalid") for name in names)
        assert {call.method for call in images.own_calls} == {"ImageStatus"}
        assert not primary.own_calls
        assert not images.calls

    def test_a_socket_without_an_image_service_is_said_to_have_none(
        self, primary: Runtime, runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        wrong = runtime("wrong", services=("RuntimeService",)).start()
        proxy = start_proxy(primary, {}, "--image-service", wrong.path, "--connection-timeout", "0.1", connected=1)
        why = "it has no ImageService in a known version of the CRI"
        proxy.wait_for_log(f"the image service ({wrong.path}) is not there: {why}")
        client = connect(proxy)
        code, text = client.fail("PullImage", **OF_ONE)
        assert (code, text) == (GONE, f"criproxy: the image service ({wrong.path}) is not available: {why}")
        client.call("ListPodSandbox")

    def test_one_that_fails_what_all_can_answer_is_waited_for(
        self, primary: Runtime, runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        images = runtime("images", services=IMAGES)
        images.answers["ImageStatus"] = lambda _, context: context.abort(
            grpc.StatusCode.UNKNOWN, "server is not initialized yet"
        )
        images.start()
        proxy = start_proxy(primary, {}, "--image-service", images.path, "--connection-timeout", "600", connected=1)
        proxy.wait_for_log(
            f"the image service ({images.path}) is not there: it is not ready yet: UNKNOWN: server is not"
        )
        client = connect(proxy)
        future = client.stub("PullImage").future(client.request("PullImage", **OF_ONE), timeout=PATIENCE)
        del images.answers["ImageStatus"]
        future.result(PATIENCE)
        assert len(images.called("PullImage")) == 1


class TestWithoutIt:
    def test_a_pull_fails_when_it_has_been_waited_for_and_nothing_else_does(
        self, primary: Runtime, other: Runtime, absent: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        options = ("--image-service", absent.path, "--connection-timeout", "0.1")
        client = connect(start_proxy(primary, {"alt.test": other}, *options, connected=2))
        primary.answers["Status"] = v1.StatusResponse(
            status={"conditions": [{"type": kind, "status": True} for kind in ("RuntimeReady", "NetworkReady")]}
        )
        why = f"criproxy: the image service ({absent.path}) is not available: there is no such socket"
        for method, fields in (("PullImage", OF_ONE), ("ImageStatus", OF_ONE), ("ListImages", {}), ("ImageFsInfo", {})):
            assert client.fail(method, **fields) == (GONE, why)
        client.call("PullImage", image={"image": "alt.test/x"})
        client.call("ListPodSandbox")
        client.call("RunPodSandbox")
        conditions = {condition.type: condition.status for condition in client.call("Status").status.conditions}
        assert conditions.keys() == {"RuntimeReady", "NetworkReady", "alt.test/RuntimeReady"}
        assert conditions["RuntimeReady"]

    def test_a_pull_waits_for_it(
        self, primary: Runtime, absent: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        options = ("--image-service", absent.path, "--connection-timeout", "600")
        client = connect(start_proxy(primary, {}, *options, connected=1))
        future = client.stub("PullImage").future(client.request("PullImage", **OF_ONE), timeout=PATIENCE)
        client.call("ListPodSandbox")
        absent.start()
        future.result(PATIENCE)
        assert len(absent.called("PullImage")) == 1

    def test_the_images_are_not_lost_with_the_primary_runtime(
        self, primary: Runtime, client: Client, proxy: Proxy, images: Runtime
    ) -> None:
        primary.stop()
        proxy.wait_for_log("the primary runtime")
        images.answers["PullImage"] = v1.PullImageResponse(image_ref="sha256:pulled")
        assert client.call("PullImage", **OF_ONE).image_ref == "sha256:pulled"

    def test_what_it_has_been_asked_ends_and_it_is_found_again(
        self, primary: Runtime, runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        # Another proxy is the image service: a process that can be killed.
        behind = runtime("behind").start()
        inner = start_proxy(behind, {}, name="inner")
        proxy = start_proxy(primary, {}, "--image-service", inner.path, connected=2)
        client = connect(proxy)
        held = Held(behind, client)
        inner.signal(signal.SIGKILL)
        error = held.future.exception(PATIENCE)
        assert isinstance(error, grpc.RpcError)
        assert error.code() is GONE
        assert str(error.details()).startswith("criproxy: the image service has gone during the call: ")
        proxy.wait_for_log(f"the image service ({inner.path}) has gone: ")
        client.call("ListPodSandbox")
        start_proxy(behind, {}, name="inner")
        behind.answers.clear()
        client.call("PullImage", **OF_ONE)
        proxy.wait_for_log(f"connected to the image service ({inner.path}): CRI v1, v1alpha2, v1alpha1", 2)

    def test_one_that_accepts_and_says_nothing_holds_up_nobody_else(
        self, primary: Runtime, folder: Path, start_proxy: StartProxy, connect: Connect
    ) -> None:
        with closing(socket.socket(socket.AF_UNIX)) as hanging:
            hanging.bind(str(folder / "hanging.sock"))
            hanging.listen()
            options = ("--image-service", str(folder / "hanging.sock"), "--connection-timeout", "0.1")
            client = connect(start_proxy(primary, {}, *options, connected=1))
            client.call("ListPodSandbox")
            code, text = client.fail("PullImage", **OF_ONE)
            assert code is GONE
            assert text.endswith("(" + str(folder / "hanging.sock") + ") is not available: not connected yet")

    def test_one_that_is_stopped_counts_as_not_there_until_it_goes_on(
        self, primary: Runtime, other: Runtime, runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        inner = start_proxy(runtime("behind").start(), {}, name="inner")
        proxy = start_proxy(primary, {"alt.test": other}, "--image-service", inner.path, connected=3)
        client = connect(proxy)
        inner.signal(signal.SIGSTOP)
        try:
            # The primary's part of a list, which this is, is waited for as long as kubelet waits.
            assert client.fail("ListImages", timeout=1)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
            client.call("ListPodSandbox")
        finally:
            inner.signal(signal.SIGCONT)
        client.call("ListImages")


class TestWhereItIsShown:
    def test_criproxys_own_info_has_it_beside_the_runtimes(self, client: Client, images: Runtime) -> None:
        info = json.loads(client.call("Status", verbose=True).info["criproxy"])
        assert [entry["id"] for entry in info["runtimes"]] == ["", "alt.test"]
        since = info["imageService"].pop("connectedSince")
        assert since.endswith("Z")
        assert info["imageService"] == {
            "socket": images.path,
            "available": True,
            "state": "connected (v1, v1alpha2)",
            "apiVersions": ["v1", "v1alpha2"],
            "callsInFlight": 0,
        }

    def test_where_there_is_none_nothing_is_said_of_it(
        self, primary: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        proxy = start_proxy(primary, {}, "--image-service", primary.path)
        info = json.loads(connect(proxy).call("Status", verbose=True).info["criproxy"])
        assert "imageService" not in info
        assert not proxy.logged("image")

    def test_the_first_line_names_it(self, proxy: Proxy, primary: Runtime, other: Runtime, images: Runtime) -> None:
        (line,) = proxy.logged("serves ")
        assert line.endswith(f" for {primary.path}, alt.test:{other.path}; image service: {images.path}")


class TestAReload:
    @pytest.fixture
    def file(self, folder: Path) -> Path:
        """What is read again: nothing, at first."""
        made = folder / "default"
        made.write_text("")
        return made

    @pytest.fixture
    def proxy(self, file: Path, primary: Runtime, other: Runtime, start_proxy: StartProxy) -> Proxy:
        return start_proxy(primary, {"alt.test": other}, "--environment-file", str(file))

    @pytest.fixture
    def reload(self, file: Path, proxy: Proxy) -> Callable[[str], str]:
        """Names an image service in the file, or none, and gives the line that says what is new."""
        times = 0

        def read(path: str) -> str:
            nonlocal times
            times += 1
            file.write_text(f"CRI_IMAGE_SERVICE={path}\n")
            proxy.signal(signal.SIGHUP)
            return proxy.wait_for_log("] reloaded: ", times)

        return read

    def test_adds_moves_and_removes_it_and_nothing_else_notices(
        self,
        reload: Callable[[str], str],
        proxy: Proxy,
        client: Client,
        primary: Runtime,
        images: Runtime,
        runtime: MakeRuntime,
    ) -> None:
        second = runtime("second", services=IMAGES).start()
        primary.answers["ListImages"] = listing("own")
        images.answers["ListImages"], second.answers["ListImages"] = listing("first"), listing("second")
        assert listed(client) == ["own"]
        assert reload(f"unix://{images.path}").endswith(f"reloaded: image-service {images.path}")
        assert listed(client) == ["first"]
        held = Held(images, client)
        assert reload(second.path).endswith(f"reloaded: image-service {second.path}")
        assert listed(client) == ["second"]
        assert held.let_go() == "sha256:pulled"
        assert reload("").endswith("reloaded: image-service none")
        assert listed(client) == ["own"]
        # Nobody has asked the primary runtime for its version again.
        assert len(primary.called("Version")) == 2

    def test_ends_what_waits_for_one_that_is_not_configured_any_more(
        self, reload: Callable[[str], str], client: Client, absent: Runtime
    ) -> None:
        reload(absent.path)
        future = client.stub("PullImage").future(client.request("PullImage", **OF_ONE), timeout=PATIENCE)
        client.call("ListPodSandbox")
        reload("")
        error = future.exception(PATIENCE)
        assert isinstance(error, grpc.RpcError)
        assert error.code() is GONE
        assert str(error.details()).endswith("is not available: it is not configured any more")

    def test_leaves_the_events_of_the_runtimes_as_they_are(
        self, reload: Callable[[str], str], client: Client, primary: Runtime, other: Runtime, images: Runtime
    ) -> None:
        release = threading.Event()

        def events(*_: object) -> Iterator[Any]:
            assert release.wait(PATIENCE)
            yield v1.ContainerEventResponse(container_id="c")

        primary.answers["GetContainerEvents"] = other.answers["GetContainerEvents"] = events
        stream = client.stub("GetContainerEvents")(client.request("GetContainerEvents"), timeout=PATIENCE)
        primary.wait_for("GetContainerEvents")
        reload(images.path)
        release.set()
        assert next(stream).container_id in ("c", "alt.test__c")

    def test_to_the_socket_that_kubelet_connects_to_is_refused(
        self, file: Path, proxy: Proxy, client: Client, primary: Runtime
    ) -> None:
        primary.answers["ListImages"] = listing("own")
        file.write_text(f"CRI_IMAGE_SERVICE={proxy.path}\n")
        proxy.signal(signal.SIGHUP)
        line = proxy.wait_for_log("reload refused, the configuration in force stays: ")
        assert line.endswith(f"image-service: '{proxy.path}' is the socket to listen on")
        assert listed(client) == ["own"]
