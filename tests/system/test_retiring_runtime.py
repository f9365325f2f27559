"""A node moves from one runtime to another: a reload makes the primary the retiring one, and its pods stay there."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any, Iterator, List

import grpc
import pytest
from peers import PATIENCE, Client, MakeRuntime, Proxy, Runtime, run, v1

from criproxy.show.entries import Kind
from criproxy.show.look import look

AWAY = grpc.StatusCode.UNAVAILABLE
_CALLS = ("StopPodSandbox", "StopContainer")


class Move:
    """A proxy in front of ``old`` alone, and ``new`` that nobody knows yet."""

    def __init__(self, folder: Path, old: Runtime, new: Runtime) -> None:
        self.old, self.new = old, new
        self._file = folder / "default"
        self._path = str(folder / "proxy.sock")
        self._reloads = 0
        has(old, "p-old")
        has(new)
        self._write(old)
        self.start()

    def _write(self, primary: Runtime, retiring: str = "") -> None:
        lines = (f"CRI_PRIMARY={primary.path}", f"CRI_RETIRING={retiring}", f"CRIPROXY_LISTEN={self._path}")
        self._file.write_text("\n".join((*lines, "CRIPROXY_OPTS=-v 2 --absence-grace 0", "")))

    def start(self, connected: int = 1) -> None:
        """Starts the proxy."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CRI")}
        self.proxy = Proxy("", self._path, "--environment-file", str(self._file), env=environ)
        self.proxy.wait_for_log("connected to ", connected)
        self.client = Client(self.proxy.path)

    def go(self, primary: Runtime, retiring: str) -> str:
        """Reloads; gives the line that says what is new."""
        self._write(primary, retiring)
        self._reloads += 1
        self.proxy.signal(signal.SIGHUP)
        return self.proxy.wait_for_log("] reloaded: ", self._reloads)

    def there(self) -> str:
        """Moves the node to the new runtime."""
        said = self.go(self.new, self.old.path)
        self.proxy.wait_for_log(f"connected to the primary runtime ({self.new.path})")
        return said

    def restart(self) -> None:
        """The proxy ends, and comes back."""
        self.stop()
        self._reloads = 0
        self.start(2)

    def pods(self) -> List[str]:
        """The pods that kubelet sees."""
        return [item.id for item in self.client.call("ListPodSandbox").items]

    def stop(self) -> None:
        """Ends the proxy."""
        self.client.close()
        assert self.proxy.stop() == 0
        assert not self.proxy.logged("internal error"), "\n".join(self.proxy.lines)


def has(runtime: Runtime, *ids: str) -> None:
    """The runtime has these pods, and says OK to whoever stops or removes another, as runtimes do."""

    def status(request: Any, context: grpc.ServicerContext) -> Any:
        if request.pod_sandbox_id not in ids:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such pod")
        return v1.PodSandboxStatusResponse(status={"id": request.pod_sandbox_id})

    runtime.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": id} for id in ids])
    runtime.answers["PodSandboxStatus"] = status
    runtime.answers["StopPodSandbox"] = v1.StopPodSandboxResponse()
    runtime.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p-new")


def has_none(_: Any, context: grpc.ServicerContext) -> Any:
    """A runtime that has nothing answers."""
    context.abort(grpc.StatusCode.NOT_FOUND, "no such container")


@pytest.fixture
def move(folder: Path, runtime: MakeRuntime) -> Iterator[Move]:
    made = Move(folder, runtime("old").start(), runtime("new").start())
    yield made
    made.stop()


def stopped(runtime: Runtime) -> List[str]:
    """The pods that a runtime has been asked to stop."""
    return [call.request.pod_sandbox_id for call in runtime.called("StopPodSandbox")]


class TestAMove:
    def test_is_one_reload_after_which_new_pods_start_on_the_new_runtime(self, move: Move) -> None:
        said = move.there()
        assert said.endswith(f"reloaded: connect {move.new.path}; retiring {move.old.path}")
        assert move.client.call("RunPodSandbox").pod_sandbox_id == "p-new"
        assert len(move.new.called("RunPodSandbox")) == 1
        assert not move.old.called("RunPodSandbox")

    def test_leaves_the_pods_where_they_are_under_the_same_ids(self, move: Move) -> None:
        before = move.pods()
        move.there()
        assert move.pods() == before == ["p-old"]
        move.client.call("StopPodSandbox", pod_sandbox_id="p-old")
        assert (stopped(move.old), stopped(move.new)) == (["p-old"], [])

    def test_does_not_connect_anew_to_the_old_runtime_and_ends_no_call_there(self, move: Move) -> None:
        begun, release = threading.Event(), threading.Event()

        def hold(*_: object) -> Any:
            begun.set()
            assert release.wait(PATIENCE)
            return v1.ExecSyncResponse(stdout=b"done")

        move.old.answers["ExecSync"] = hold
        future = move.client.stub("ExecSync").future(
            move.client.request("ExecSync", container_id="c"), timeout=PATIENCE
        )
        assert begun.wait(PATIENCE)
        versions = len(move.old.called("Version"))
        move.there()
        release.set()
        assert future.result().stdout == b"done"
        assert len(move.old.called("Version")) == versions

    def test_survives_a_restart_of_the_proxy(self, move: Move) -> None:
        """Nothing is remembered then: whose the pod is, is asked."""
        move.there()
        move.restart()
        move.client.call("StopPodSandbox", pod_sandbox_id="p-old")
        assert (stopped(move.old), stopped(move.new)) == (["p-old"], [])

    def test_can_be_undone_at_any_time(self, move: Move) -> None:
        move.there()
        has(move.new, "p-new")
        move.client.call("RunPodSandbox")
        move.go(move.old, move.new.path)
        assert move.pods() == ["p-old", "p-new"]
        move.client.call("StopPodSandbox", pod_sandbox_id="p-new")
        assert (stopped(move.old), stopped(move.new)) == ([], ["p-new"])
        move.client.call("RunPodSandbox")
        assert len(move.old.called("RunPodSandbox")) == 1

    def test_ends_when_the_old_runtime_goes_from_the_configuration(self, move: Move) -> None:
        move.there()
        assert move.pods() == ["p-old"]
        move.go(move.new, "")
        assert move.pods() == []


def test_show_tells_which_pods_are_left_there(move: Move) -> None:
    move.there()
    has(move.new, "p-new")
    seen = look(move.proxy.path, {Kind.PODS})
    assert {pod.id.outer: pod.id.owner for pod in seen.pods or ()} == {"p-old": "retiring", "p-new": ""}


def test_status_names_what_is_left_there_and_the_next_step(move: Move) -> None:
    move.there()
    move.old.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(
        items=[{"id": "p-old", "metadata": {"namespace": "default", "name": "web"}}]
    )
    told = " ".join(run(move.proxy, "status").stdout.split())
    assert "retiring: it gets no new pods; 1 pod left on it (default/web). When all are gone: criproxy node" in told
    has(move.old)
    assert "nothing is left on it. Next: criproxy node" in run(move.proxy, "status").stdout
    move.old.stop()
    move.proxy.wait_for_log("the retiring runtime (")
    assert "  retiring: it gets no new pods\n" in run(move.proxy, "status").stdout


class TestWhileTheRetiringRuntimeIsAway:
    def test_lists_fail_and_say_so_as_an_error(self, move: Move) -> None:
        move.there()
        move.old.stop()
        move.proxy.wait_for_log("the retiring runtime (")
        with pytest.raises(grpc.RpcError) as failed:
            move.pods()
        assert failed.value.code() is AWAY
        assert "the retiring runtime" in str(failed.value.details())

    def test_they_come_back_with_it(self, move: Move) -> None:
        move.there()
        move.old.stop()
        move.proxy.wait_for_log("the retiring runtime (")
        move.old.start()
        move.proxy.wait_for_log("connected to the retiring runtime")
        assert move.pods() == ["p-old"]

    @pytest.mark.parametrize("method", _CALLS)
    def test_an_id_that_nobody_knows_is_not_said_to_be_gone(self, move: Move, method: str) -> None:
        move.there()
        move.old.stop()
        move.proxy.wait_for_log("the retiring runtime (")
        move.new.answers["ContainerStatus"] = has_none
        field = "pod_sandbox_id" if method == "StopPodSandbox" else "container_id"
        with pytest.raises(grpc.RpcError) as failed:
            move.client.call(method, **{field: "x"})
        assert failed.value.code() is AWAY
        assert not move.new.called(method)


ONE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE = {"image": {"image": "docker.io/library/nginx:1", "annotations": {"kubernetes.io/config.source": "api"}}}


def of_pod(uid: str, attempt: int = 0) -> Any:
    """A sandbox of a pod, as PullImage names it."""
    return {"metadata": {"name": "web", "namespace": "default", "uid": uid, "attempt": attempt}}


def pulls(runtime: Runtime) -> List[int]:
    """The attempts of the sandboxes that a runtime has pulled for."""
    return [call.request.sandbox_config.metadata.attempt for call in runtime.called("PullImage")]


class TestImages:
    def test_are_pulled_where_the_sandbox_is_that_they_are_for(self, move: Move) -> None:
        move.client.call("RunPodSandbox", config=of_pod("1"))
        move.there()
        move.client.call("PullImage", **IMAGE, sandbox_config=of_pod("1"))
        move.client.call("RunPodSandbox", config=of_pod("1", 1))
        move.client.call("PullImage", **IMAGE, sandbox_config=of_pod("1", 1))
        assert (pulls(move.old), pulls(move.new)) == ([0], [1])
        move.go(move.old, move.new.path)
        move.client.call("PullImage", **IMAGE, sandbox_config=of_pod("1"))
        move.client.call("PullImage", **IMAGE, sandbox_config=of_pod("1", 1))
        assert (pulls(move.old), pulls(move.new)) == ([0, 0], [1, 1])

    def test_are_so_after_a_restart_of_the_proxy_though_it_remembers_no_lists(self, move: Move) -> None:
        pod = {"id": "p-old", **of_pod("1")}
        move.old.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[pod])
        move.there()
        move.restart()
        assert move.pods() == ["p-old"]
        move.client.call("PullImage", **IMAGE, sandbox_config=of_pod("1"))
        move.client.call("PullImage", **IMAGE, sandbox_config=of_pod("1", 1))
        assert (pulls(move.old), pulls(move.new)) == ([0], [1])

    @pytest.mark.parametrize(
        ("ids", "there"), [(("", ""), False), ((ONE, ""), False), ((ONE, OTHER), False), (("0123", "0123"), True)]
    )
    def test_are_there_if_both_have_them(self, move: Move, ids: List[str], there: bool) -> None:
        move.there()
        for runtime, id in zip((move.old, move.new), ids):
            runtime.answers["ImageStatus"] = v1.ImageStatusResponse(image={"id": id} if id else None)
        assert move.client.call("ImageStatus", **IMAGE).HasField("image") is there

    @pytest.mark.parametrize("image", ["docker.io/library/nginx:1", "0123", ONE])
    def test_are_removed_from_both(self, move: Move, image: str) -> None:
        move.there()
        move.client.call("RemoveImage", image={"image": image})
        for runtime in (move.old, move.new):
            assert [call.request.image.image for call in runtime.called("RemoveImage")] == [image]

    @pytest.mark.parametrize("id", ["0123", ONE])
    @pytest.mark.parametrize("narrowed", [{}, {"filter": IMAGE}], ids=["all", "one"])
    def test_that_both_have_are_listed_once_with_each_name_once(self, move: Move, id: str, narrowed: Any) -> None:
        move.there()
        for runtime, size in ((move.old, 1), (move.new, 2)):
            image = {"id": id, "repo_tags": [IMAGE["image"]["image"]], "size": size}
            runtime.answers["ListImages"] = v1.ListImagesResponse(images=[image])
        (image,) = move.client.call("ListImages", **narrowed).images
        assert (list(image.repo_tags), image.size) == ([IMAGE["image"]["image"]], 3)
        assert len(move.old.called("ListImages")) == 1
