"""SIGHUP: the configuration is read again, and calls that have nothing to do with what is new in it do not notice."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List

import grpc
import pytest
from peers import PATIENCE, Client, MakeRuntime, Proxy, Runtime, v1

GONE = grpc.StatusCode.UNAVAILABLE


class Node:
    """A proxy that is configured by an environment file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "default"
        self._path = str(folder / "proxy.sock")
        self._proxies: List[Proxy] = []
        self._read = 0

    def write(self, primary: Runtime, others: Dict[str, Runtime], *lines: str) -> None:
        """Writes the file."""
        other = ",".join(f"{name}:{runtime.path}" for name, runtime in others.items())
        where = (f"CRI_PRIMARY={primary.path}", f"CRI_OTHER={other}", f"CRIPROXY_LISTEN={self._path}")
        self.file.write_text("\n".join((*where, *lines, "")))

    def start(self, connected: int) -> Node:
        """Starts the proxy, and waits until it is connected to so many runtimes."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CRI")}
        self._proxies.append(Proxy("", self._path, "--environment-file", str(self.file), env=environ))
        self.proxy.wait_for_log("connected to ", connected)
        return self

    @property
    def proxy(self) -> Proxy:
        """The proxy."""
        return self._proxies[-1]

    def reload(self) -> str:
        """Makes the proxy read the file; gives the line that says what is new."""
        self._read += 1
        self.proxy.signal(signal.SIGHUP)
        return self.proxy.wait_for_log("] reloaded: ", self._read)

    def stop(self) -> None:
        """Ends it."""
        for proxy in self._proxies:
            assert proxy.stop() == 0
            assert not proxy.logged("internal error"), "\n".join(proxy.lines)


@pytest.fixture
def node(folder: Path, primary: Runtime, other: Runtime) -> Iterator[Node]:
    """The proxy before ``primary`` and ``other``, which is ``alt.test``."""
    made = Node(folder)
    made.write(primary, {"alt.test": other})
    yield made.start(2)
    made.stop()


@pytest.fixture
def client(node: Node) -> Iterator[Client]:
    made = Client(node.proxy.path)
    yield made
    made.close()


@pytest.fixture
def third(runtime: MakeRuntime) -> Runtime:
    """A runtime that is not configured, started."""
    return runtime("third").start()


def pods(*ids: str) -> v1.ListPodSandboxResponse:
    return v1.ListPodSandboxResponse(items=[v1.PodSandbox(id=name) for name in ids])


def listed(client: Client) -> List[str]:
    return [pod.id for pod in client.call("ListPodSandbox").items]


class Held:
    """A call that is answered when the test says so."""

    def __init__(self, runtime: Runtime, client: Client, container: str) -> None:
        self._release = threading.Event()

        def late(*_: object) -> v1.ExecSyncResponse:
            assert self._release.wait(PATIENCE)
            return v1.ExecSyncResponse(exit_code=7)

        runtime.answers["ExecSync"] = late
        self._future = client.stub("ExecSync").future(client.request("ExecSync", container_id=container))
        runtime.wait_for("ExecSync")

    def end(self) -> int:
        """Lets it be answered, and gives what kubelet gets."""
        self._release.set()
        code: int = self._future.result(PATIENCE).exit_code
        return code


def test_a_runtime_that_is_added_is_there(
    node: Node, client: Client, primary: Runtime, other: Runtime, third: Runtime
) -> None:
    primary.answers["ListPodSandbox"], other.answers["ListPodSandbox"] = pods("a"), pods("b")
    third.answers["ListPodSandbox"] = pods("c")
    assert listed(client) == ["a", "alt.test__b"]
    assert client.fail("StopContainer", container_id="new.test__c")[0] is grpc.StatusCode.NOT_FOUND
    assert client.fail("RunPodSandbox", config={"annotations": {"kubernetes.io/target-runtime": "new.test"}})[1]
    held = Held(other, client, "alt.test__x")
    node.write(primary, {"new.test": third, "alt.test": other})
    line = node.reload()
    assert line.endswith(f"reloaded: connect {primary.path}, new.test:{third.path}, alt.test:{other.path}")
    node.proxy.wait_for_log('connected to runtime "new.test"')
    assert listed(client) == ["a", "new.test__c", "alt.test__b"]
    client.call("StopContainer", container_id="new.test__c")
    assert third.called("StopContainer")[0].request.container_id == "c"
    third.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    config = {"annotations": {"kubernetes.io/target-runtime": "new.test"}}
    assert client.call("RunPodSandbox", config=config).pod_sandbox_id == "new.test__p"
    assert held.end() == 7
    # The others' connections are those from before: nobody has asked them for their version again.
    assert len(primary.called("Version")) == len(other.called("Version")) == 2


def test_a_runtime_that_is_removed_ends_what_it_has(
    node: Node, client: Client, primary: Runtime, other: Runtime
) -> None:
    primary.answers["ListPodSandbox"], other.answers["ListPodSandbox"] = pods("a"), pods("b")
    assert listed(client) == ["a", "alt.test__b"]
    held, kept = Held(other, client, "alt.test__x"), Held(primary, client, "x")
    node.write(primary, {})
    node.reload()
    assert listed(client) == ["a"]
    assert client.fail("StopContainer", container_id="alt.test__c") == (
        grpc.StatusCode.NOT_FOUND,
        'criproxy: an id begins with "alt.test__", and there is no such runtime (configured: none)',
    )
    assert not client.call("ListPodSandbox", filter={"id": "alt.test__b"}).items
    assert not primary.called("StopContainer")
    assert (held.end(), kept.end()) == (7, 7)
    assert not node.proxy.logged("has gone")
    other.stop()
    other.start()
    node.write(primary, {}, "CRIPROXY_VERBOSITY=1")
    node.reload()
    assert not node.proxy.logged('runtime "alt.test" is')
    assert len(node.proxy.logged("connected to ")) == 2


class TestARuntimeThatStillHasPods:
    """It is said which: kubelet does not see them any more."""

    def named(self, count: int) -> v1.ListPodSandboxResponse:
        pods = [v1.PodSandbox(id=f"p{n:02}") for n in range(count)]
        for pod in pods:
            pod.metadata.namespace, pod.metadata.name = "default", pod.id
        pods.append(v1.PodSandbox(id="dead", state=v1.SANDBOX_NOTREADY))
        return v1.ListPodSandboxResponse(items=pods)

    @pytest.fixture(params=[1, 2, 10, 15])
    def count(self, request: pytest.FixtureRequest, client: Client, other: Runtime) -> int:
        """How many pods it has, once they have been listed."""
        count: int = request.param
        other.answers["ListPodSandbox"] = self.named(count)
        assert len(listed(client)) == count + 1
        return count

    def test_and_is_removed(self, count: int, node: Node, primary: Runtime, other: Runtime) -> None:
        node.write(primary, {})
        node.reload()
        line = node.proxy.wait_for_log("is removed and still has")
        assert line.startswith("W")
        names = ", ".join(f"default/p{n:02}" for n in range(min(count, 10)))
        more = f" and {count - 10} more" if count > 10 else ""
        assert line.endswith(
            f'runtime "alt.test" ({other.path}) is removed and still has {count} pod{"s" if count > 1 else ""}:'
            f" {names}{more}; they run on unseen by kubelet: to delete them configure the runtime as before"
        )

    @pytest.mark.parametrize("count", [1], indirect=True)
    def test_and_is_moved(self, count: int, node: Node, primary: Runtime, other: Runtime, third: Runtime) -> None:
        node.write(primary, {"alt.test": third})
        node.reload()
        line = node.proxy.wait_for_log(f'runtime "alt.test" ({other.path}) moves to {third.path} and still has 1 pod:')
        assert line.endswith(
            " default/p00; unless they are found there, they run on unseen by kubelet: to delete them configure the"
            " runtime as before"
        )

    @pytest.mark.parametrize("count", [1], indirect=True)
    def test_and_gets_another_path_to_the_same_socket(
        self, count: int, node: Node, primary: Runtime, other: Runtime, folder: Path
    ) -> None:
        link = folder / "link.sock"
        link.symlink_to(other.path)
        node.write(primary, {})
        text = node.file.read_text().replace("CRI_OTHER=", f"CRI_OTHER=alt.test:{link}")
        node.file.write_text(text)
        node.reload()
        node.proxy.wait_for_log("connected to ", 3)
        assert not node.proxy.logged("still has")

    @pytest.mark.parametrize("count", [1], indirect=True)
    def test_and_of_which_nothing_is_remembered(
        self, count: int, node: Node, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        node.write(primary, {"alt.test": other}, "CRIPROXY_ABSENCE_GRACE=0")
        node.reload()
        node.write(primary, {})
        node.reload()
        client.call("Status")
        assert not node.proxy.logged("still has")

    def test_of_which_none_is_ready(self, node: Node, client: Client, primary: Runtime, other: Runtime) -> None:
        other.answers["ListPodSandbox"] = self.named(0)
        assert listed(client) == ["alt.test__dead"]
        node.write(primary, {})
        node.reload()
        client.call("Status")
        assert not node.proxy.logged("still has")


@pytest.mark.parametrize("name", ["x", "alt.test__x"])
def test_a_runtime_that_is_moved_is_found_where_it_is_now(
    name: str, node: Node, client: Client, primary: Runtime, other: Runtime, third: Runtime
) -> None:
    moved = other if "__" in name else primary
    held = Held(moved, client, name)
    many: Any = client.stub("ListPodSandbox").future(client.request("ListPodSandbox"))
    many.result(PATIENCE)
    first, second = (primary, third) if "__" in name else (third, other)
    node.write(first, {"alt.test": second})
    node.reload()
    node.proxy.wait_for_log("connected to ", 3)
    client.call("StopContainer", container_id=name)
    assert third.called("StopContainer")[0].request.container_id == "x"
    assert not moved.called("StopContainer")
    client.call("StopContainer", container_id="y")
    client.call("StopContainer", container_id="alt.test__y")
    assert held.end() == 7


def test_two_that_change_places_change_everything(node: Node, client: Client, primary: Runtime, other: Runtime) -> None:
    primary.answers["ListPodSandbox"], other.answers["ListPodSandbox"] = pods("a"), pods("b")
    assert listed(client) == ["a", "alt.test__b"]
    node.write(other, {"alt.test": primary})
    node.reload()
    node.proxy.wait_for_log("connected to ", 4)
    assert listed(client) == ["b", "alt.test__a"]


def test_a_list_under_way_is_the_one_that_was_asked_for(
    node: Node, client: Client, primary: Runtime, other: Runtime, third: Runtime
) -> None:
    release = threading.Event()

    def late(*_: object) -> v1.ListPodSandboxResponse:
        assert release.wait(PATIENCE)
        return pods("a")

    primary.answers["ListPodSandbox"], other.answers["ListPodSandbox"] = late, pods("b")
    future = client.stub("ListPodSandbox").future(client.request("ListPodSandbox"))
    primary.wait_for("ListPodSandbox")
    other.wait_for("ListPodSandbox")
    node.write(third, {})
    node.reload()
    release.set()
    assert [pod.id for pod in future.result(PATIENCE).items] == ["a", "alt.test__b"]


def test_a_primary_that_fails_a_list_fails_it_though_it_is_not_the_primary_any_more(
    node: Node, client: Client, primary: Runtime, other: Runtime, third: Runtime
) -> None:
    release = threading.Event()

    def fail(_: object, context: grpc.ServicerContext) -> None:
        assert release.wait(PATIENCE)
        context.abort(grpc.StatusCode.INTERNAL, "broken")

    primary.answers["ListPodSandbox"], other.answers["ListPodSandbox"] = fail, pods("b")
    future = client.stub("ListPodSandbox").future(client.request("ListPodSandbox"))
    primary.wait_for("ListPodSandbox")
    node.write(third, {"alt.test": other})
    node.reload()
    release.set()
    error = future.exception(PATIENCE)
    assert isinstance(error, grpc.RpcError)
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "broken")


def test_a_call_that_waits_for_a_primary_that_is_replaced_is_told(
    folder: Path, runtime: MakeRuntime, primary: Runtime
) -> None:
    node, absent = Node(folder), runtime("absent")
    node.write(absent, {"alt.test": primary}, "CRIPROXY_CONNECTION_TIMEOUT=600")
    client = Client(node.start(1).proxy.path)
    future = client.stub("ListPodSandbox").future(client.request("ListPodSandbox"), timeout=600)
    primary.wait_for("ListPodSandbox")
    node.write(primary, {})
    node.reload()
    error = future.exception(PATIENCE)
    assert isinstance(error, grpc.RpcError)
    assert error.code() is GONE
    assert "is not configured any more" in str(error.details())
    client.call("Status")
    client.close()
    node.stop()


class TestARuntimeThatIsAway:
    """What it had is in the lists."""

    @pytest.fixture(autouse=True)
    def _away(self, node: Node, client: Client, primary: Runtime, other: Runtime) -> None:
        primary.answers["ListPodSandbox"], other.answers["ListPodSandbox"] = pods("a"), pods("b")
        assert listed(client) == ["a", "alt.test__b"]
        other.stop()
        node.proxy.wait_for_log("has gone")
        assert listed(client) == ["a", "alt.test__b"]

    def test_is_forgotten_when_it_is_removed(
        self, node: Node, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        node.write(primary, {})
        node.reload()
        assert listed(client) == ["a"]
        node.write(primary, {"alt.test": other})
        node.reload()
        assert listed(client) == ["a"]

    def test_is_forgotten_when_it_is_moved(self, node: Node, client: Client, primary: Runtime, third: Runtime) -> None:
        third.stop()
        node.write(primary, {"alt.test": third})
        node.reload()
        assert listed(client) == ["a"]

    def test_is_remembered_when_another_changes(
        self, node: Node, client: Client, primary: Runtime, other: Runtime, third: Runtime
    ) -> None:
        third.answers["ListPodSandbox"] = pods("c")
        node.write(third, {"new.test": primary, "alt.test": other}, "CRIPROXY_ABSENCE_GRACE=2m")
        node.reload()
        node.proxy.wait_for_log("connected to ", 4)
        assert listed(client) == ["c", "new.test__a", "alt.test__b"]

    def test_is_forgotten_when_there_is_no_grace_any_more(
        self, node: Node, client: Client, primary: Runtime, other: Runtime
    ) -> None:
        node.write(primary, {"alt.test": other}, "CRIPROXY_ABSENCE_GRACE=0")
        assert node.reload().endswith("reloaded: absence-grace 0.0")
        assert listed(client) == ["a"]
        other.start()
        node.proxy.wait_for_log("connected to ", 3)
        assert listed(client) == ["a", "alt.test__b"]
        # With one again it is asked for what it has.
        node.write(primary, {"alt.test": other})
        node.reload()
        for method in ("ListPodSandbox", "ListContainers"):
            assert len(other.wait_for(method, 2, own=True)) == 2


class TestEvents:
    def feed(self, runtime: Runtime, *names: str) -> threading.Event:
        """Makes a runtime's streams begin with these; gives what is set when one is over."""
        over = threading.Event()

        def events(_: object, context: grpc.ServicerContext) -> Iterator[v1.ContainerEventResponse]:
            mine = threading.Event()
            context.add_callback(mine.set)
            for name in names:
                yield v1.ContainerEventResponse(container_id=name)
            mine.wait(3 * PATIENCE)
            over.set()

        runtime.answers["GetContainerEvents"] = events
        return over

    def test_end_when_the_runtimes_are_others_and_are_theirs_then(
        self, node: Node, client: Client, primary: Runtime, other: Runtime, third: Runtime
    ) -> None:
        self.feed(primary, "a")
        over = self.feed(other, "b")
        self.feed(third, "c")
        stream = client.stub("GetContainerEvents")(client.request("GetContainerEvents"), timeout=60)
        assert {next(stream).container_id for _ in range(2)} == {"a", "alt.test__b"}
        node.write(primary, {"new.test": third})
        node.reload()
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() is GONE
        assert caught.value.details() == "criproxy: the runtimes or their handlers are others now"
        assert over.wait(PATIENCE)
        node.proxy.wait_for_log("connected to ", 3)
        stream = client.stub("GetContainerEvents")(client.request("GetContainerEvents"), timeout=60)
        assert {next(stream).container_id for _ in range(2)} == {"a", "new.test__c"}
        stream.cancel()

    def test_go_on_when_they_are_the_same(self, node: Node, client: Client, primary: Runtime, other: Runtime) -> None:
        self.feed(other)
        more = threading.Event()

        def events(*_: object) -> Iterator[v1.ContainerEventResponse]:
            for name in ("before", "after"):
                yield v1.ContainerEventResponse(container_id=name)
                more.wait(PATIENCE)

        primary.answers["GetContainerEvents"] = events
        stream = client.stub("GetContainerEvents")(client.request("GetContainerEvents"), timeout=60)
        assert next(stream).container_id == "before"
        node.write(primary, {"alt.test": other}, "CRIPROXY_FAN_OUT_TIMEOUT=0.2", "CRIPROXY_DIGESTS=primary")
        node.reload()
        more.set()
        assert next(stream).container_id == "after"
        stream.cancel()


class TestOtherSettings:
    def test_take_effect(self, node: Node, client: Client, primary: Runtime, other: Runtime) -> None:
        primary.answers["Exec"] = v1.ExecResponse(url="/exec/token")
        client.call("StopContainer", container_id="c")
        node.write(
            primary,
            {"alt.test": other},
            "CRIPROXY_OPTS='-v 3'",
            "CRIPROXY_STREAM_URL=http://stream.test:1",
            "CRIPROXY_MAX_MESSAGE_SIZE=400k",
            "CRIPROXY_FAN_OUT_TIMEOUT=0.2",
        )
        assert node.reload().endswith(
            "reloaded: stream-url http://stream.test:1; fan-out-timeout 0.2; max-message-size 400000; verbosity 3"
        )
        assert client.call("Exec", container_id="c").url == "http://stream.test:1/exec/token"
        code, text = client.fail("StopContainer", container_id="c" * 500_000)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "--max-message-size (400000)" in text
        release = threading.Event()
        other.answers["ListPodSandbox"] = lambda *_: release.wait(PATIENCE) and None
        primary.answers["ListPodSandbox"] = pods("a")
        assert listed(client) == ["a"]
        release.set()
        assert [line.partition("] ")[2] for line in node.proxy.logged("ENTER: ")] == [
            "ENTER: /runtime.v1.RuntimeService/Exec():"
        ]

    def test_that_are_the_same_are_not_news(self, node: Node) -> None:
        assert node.reload().endswith("reloaded: nothing has changed")

    def test_the_socket_takes_a_restart(self, node: Node, client: Client, primary: Runtime, folder: Path) -> None:
        node.write(primary, {}, f"CRIPROXY_LISTEN={folder}/new.sock")
        assert node.reload().endswith(f"reloaded: connect {primary.path}")
        node.proxy.wait_for_log(f"listen: {folder}/new.sock needs a restart; until then it is {node.proxy.path}")
        client.call("Status")
        assert not (folder / "new.sock").exists()

    def test_warnings_are_told_at_each_reload(self, node: Node, primary: Runtime, other: Runtime) -> None:
        node.write(primary, {"alt.test": other}, "CRI_OTHERS=")
        node.reload()
        node.reload()
        said = f"{node.file}, line 4: unknown environment variable CRI_OTHERS: did you mean CRI_OTHER?"
        assert [line[0] for line in node.proxy.logged(said)] == ["W", "W"]

    def test_a_file_that_has_gone_is_a_warning_of_what_is_in_force(self, node: Node) -> None:
        node.file.unlink()
        node.proxy.signal(signal.SIGHUP)
        line = node.proxy.wait_for_log(f"{node.file} does not exist: ")
        assert line.startswith("W")
        assert line.endswith("does not exist: the primary runtime is /var/run/dockershim.sock")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "CRI_PRIMARY=/a.sock\nCRI_OTHER=virtlet.cloud\n",
            "{0}, line 2: CRI_OTHER: 'virtlet.cloud' has no ':PATH'",
        ),
        ("CRIPROXY_OPTS='-nonsense'\n", "line 1: CRIPROXY_OPTS: unknown option: '-nonsense'"),
        ("CRIPROXY_OPTS=--help\n", "line 1: CRIPROXY_OPTS: --help can only stand on the command line"),
        ("CRIPROXY_CONFIG=/nonexistent\n", "/nonexistent: No such file or directory"),
        ("#" * 70_000, "{0}: the file has more than 65536 bytes; shorten it, or name another"),
        ("CRI_PRIMARY={1}\n", "listen: '{1}' is the socket of the primary runtime"),
    ],
)
def test_what_cannot_be_is_refused_and_the_old_stays(
    text: str, named: str, node: Node, client: Client, primary: Runtime, other: Runtime
) -> None:
    primary.answers["ListPodSandbox"], other.answers["ListPodSandbox"] = pods("a"), pods("b")
    node.file.write_text(text.format(node.file, node.proxy.path))
    node.proxy.signal(signal.SIGHUP)
    line = node.proxy.wait_for_log("reload refused, the configuration in force stays: ")
    assert line.startswith("E")
    assert named.format(node.file, node.proxy.path) in line
    assert not node.proxy.logged("] reloaded: ")
    assert listed(client) == ["a", "alt.test__b"]
    node.write(primary, {})
    node.reload()
    assert listed(client) == ["a"]


def test_a_signal_while_it_stops_changes_nothing(node: Node, client: Client, primary: Runtime) -> None:
    held = Held(primary, client, "x")
    node.proxy.signal(signal.SIGTERM)
    node.proxy.wait_for_log("stopping: ")
    node.write(primary, {})
    node.proxy.signal(signal.SIGHUP)
    assert held.end() == 7
    assert node.proxy.wait() == 0
    assert not node.proxy.logged("] reloaded: ")
