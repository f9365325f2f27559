"""The control socket as a client of gRPC's own library finds it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any, Iterator, List

import grpc
import pytest
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from peers import PATIENCE, Client, Connect, Proxy, Runtime, StartProxy, v1
from wire import WireClient, message

from criproxy import __version__
from criproxy.control.api import Api, control, health
from criproxy.control.call import LARGEST_REQUEST
from criproxy.control.server import MOST_CALLS, MOST_CLIENTS

SERVING, NOT_SERVING = (health().enums["ServingStatus"][name] for name in ("SERVING", "NOT_SERVING"))
STATES = {**control().enums["RuntimeState"], **control().enums["DaemonState"]}


def options() -> Any:
    return (("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "localhost"))


@pytest.fixture
def to(proxy: Proxy) -> Iterator[grpc.Channel]:
    """A channel to the control socket."""
    with grpc.insecure_channel(f"unix:{proxy.control}", options=options()) as channel:
        yield channel


def stub(to: grpc.Channel, api: Api, method: str) -> Any:
    rpc = api.rpcs[method]
    kind: Any = to.unary_stream if rpc.server_streaming else to.unary_unary
    return kind(api.path(method), lambda message: message.SerializeToString(), api.messages[rpc.response].FromString)


def raw(to: Any, path: str, request: bytes) -> bytes:
    answer: bytes = to.unary_unary(path)(request, timeout=PATIENCE)
    return answer


def status(to: grpc.Channel) -> Any:
    return stub(to, control(), "Status")(control().messages["StatusRequest"](), timeout=PATIENCE)


def status_with(to: grpc.Channel, in_flight: List[int]) -> Any:
    """The status with so many calls in flight to each runtime, as soon as the proxy's own have been answered."""
    end = time.monotonic() + PATIENCE
    while True:
        told = status(to)
        if [runtime.calls_in_flight for runtime in told.runtimes] == in_flight or time.monotonic() > end:
            return told


def check(to: grpc.Channel, service: str = "") -> int:
    request = health().messages["HealthCheckRequest"](service=service)
    found: int = stub(to, health(), "Check")(request, timeout=PATIENCE).status
    return found


def refusal(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code: grpc.StatusCode = caught.value.code()
    return code


# The socket.


def test_it_is_roots_alone_and_goes_with_the_daemon(proxy: Proxy) -> None:
    assert stat.S_IMODE(os.stat(proxy.control).st_mode) == 0o600
    proxy.stop()
    assert not os.path.exists(proxy.control)


def test_a_daemon_that_cannot_have_it_serves_kubelet_without(
    start_proxy: StartProxy, primary: Runtime, folder: Path, connect: Connect
) -> None:
    first = start_proxy(primary, {})
    second = start_proxy(primary, {}, f"--control={first.control}", name="second")
    assert "another process serves it" in second.wait_for_log("control: ")
    assert connect(second).call("Version").runtime_name == "primary"
    second.stop()
    with grpc.insecure_channel(f"unix:{first.control}", options=options()) as to:
        assert status(to).daemon.pid == first.process.pid


def test_there_is_none_if_its_path_is_empty(start_proxy: StartProxy, primary: Runtime, connect: Connect) -> None:
    proxy = start_proxy(primary, {}, "--control=")
    assert connect(proxy).call("Version").runtime_name == "primary"
    assert not os.path.exists(proxy.control)
    assert not proxy.logged("control")


def test_another_path_needs_a_restart(primary: Runtime, folder: Path) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text(f"control = {folder}/one.sock\n")
    environ = {**os.environ, "CRIPROXY_CONTROL": ""}
    proxy = Proxy(primary.path, str(folder / "proxy.sock"), f"--config={conf}", env=environ)
    proxy.wait_for_log("connected to ")
    conf.write_text(f"control = {folder}/two.sock\n")
    proxy.signal(signal.SIGHUP)
    proxy.wait_for_log("reloaded: nothing has changed")
    assert proxy.logged(f"control: {folder}/two.sock needs a restart; until then it is {folder}/one.sock")
    assert os.path.exists(folder / "one.sock")
    proxy.stop()


# Status.


def test_it_tells_of_the_daemon_and_its_runtimes(
    to: grpc.Channel, proxy: Proxy, primary: Runtime, other: Runtime
) -> None:
    primary.answers["ListImages"] = v1.ListImagesResponse(images=[{"id": "a"}, {"id": "b"}])
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[{"id": "p"}])
    told = status(to)
    assert (told.daemon.version, told.daemon.pid) == (__version__, proxy.process.pid)
    assert told.daemon.state == STATES["DAEMON_SERVING"]
    assert told.daemon.listen == proxy.path
    assert told.daemon.started_at <= told.daemon.loaded_at
    assert not told.daemon.HasField("refusal")
    first, second = told.runtimes
    assert [first.id, first.socket, first.name, first.version] == ["", primary.path, "primary", "1"]
    assert [second.id, second.socket, second.name, second.version] == ["alt.test", other.path, "other", "1"]
    for runtime in told.runtimes:
        assert runtime.state == STATES["RUNTIME_UP"]
        assert runtime.since >= told.daemon.started_at
        assert list(runtime.cri_versions) == ["v1", "v1alpha2"]
    assert (first.inventory.pods, first.inventory.containers, first.inventory.images) == (0, 0, 2)
    assert (second.inventory.pods, second.inventory.containers, second.inventory.images) == (1, 0, 0)


def test_pods_that_are_ready_and_containers_that_run_are_counted(to: grpc.Channel, primary: Runtime) -> None:
    status(to)
    (pods,), (containers,) = (primary.called(name, own=True) for name in ("ListPodSandbox", "ListContainers"))
    assert pods.request.filter.HasField("state")
    assert pods.request.filter.state.state == v1.SANDBOX_READY
    assert containers.request.filter.state.state == v1.CONTAINER_RUNNING


def test_who_looks_often_has_the_runtimes_asked_seldom(to: grpc.Channel, primary: Runtime) -> None:
    first = status(to)
    for _ in range(5):
        assert status(to).runtimes[0].inventory == first.runtimes[0].inventory
    assert len(primary.called("ListPodSandbox", own=True)) == 1


def test_a_runtime_that_hangs_does_not_keep_the_rest_from_being_told(to: grpc.Channel, other: Runtime) -> None:
    released = threading.Event()
    other.answers["ListImages"] = lambda *_: released.wait(PATIENCE) and None
    try:
        first, second = status(to).runtimes
    finally:
        released.set()
    assert first.inventory.images == 0
    assert (second.inventory.pods, second.inventory.images) == (0, -1)


def test_calls_are_told_while_they_run_and_after(to: grpc.Channel, client: Client, other: Runtime) -> None:
    released = threading.Event()

    def refuse(_: Any, context: grpc.ServicerContext) -> None:
        released.wait(PATIENCE)
        context.abort(grpc.StatusCode.NOT_FOUND, "no such container")

    other.answers["StopContainer"] = refuse
    call = client.stub("StopContainer").future(client.request("StopContainer", container_id="alt.test__c"))
    other.wait_for("StopContainer")
    told = status_with(to, [0, 1])
    assert [runtime.calls_in_flight for runtime in told.runtimes] == [0, 1]
    (kubelet,) = told.clients
    assert (kubelet.pid, kubelet.uid, kubelet.calls_in_flight) == (os.getpid(), os.getuid(), 1)
    released.set()
    assert call.exception(PATIENCE).code() is grpc.StatusCode.NOT_FOUND
    recent = status(to).runtimes[1].recent
    assert recent.period == 300
    assert [(error.code, error.calls) for error in recent.errors] == [("NOT_FOUND", 1)]
    assert 0 < recent.p50 <= recent.p99


def test_a_runtime_that_is_away_is_told_with_the_reason_and_what_is_remembered(
    to: grpc.Channel, client: Client, proxy: Proxy, other: Runtime
) -> None:
    pod = {"id": "p", "metadata": {"name": "web", "namespace": "default", "uid": "1"}}
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=[pod])
    client.call("ListPodSandbox")
    assert not status(to).runtimes[1].HasField("absence")
    other.stop()
    proxy.wait_for_log(f'runtime "alt.test" ({other.path}) has gone')
    told = status(to).runtimes[1]
    assert told.state == STATES["RUNTIME_AWAY"]
    # What it goes with is told until it is seen that the socket has gone, too.
    end = time.monotonic() + PATIENCE
    while told.reason != "there is no such socket" and time.monotonic() < end:
        assert told.reason
        told = status(to).runtimes[1]
    assert told.reason == "there is no such socket"
    assert told.absence.pods == 1
    assert 0 < told.absence.remaining <= 60
    assert not told.HasField("inventory")


def test_a_reload_that_is_refused_is_told_until_one_is_taken(
    start_proxy: StartProxy, primary: Runtime, folder: Path
) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text("")
    proxy = start_proxy(primary, {}, f"--config={conf}")
    with grpc.insecure_channel(f"unix:{proxy.control}", options=options()) as to:
        first = status(to).daemon
        conf.write_text("verbosity = high\n")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("reload refused")
        daemon = status(to).daemon
        assert "verbosity" in daemon.refusal.reason
        assert daemon.refusal.at >= daemon.loaded_at == first.loaded_at
        conf.write_text("")
        proxy.signal(signal.SIGHUP)
        proxy.wait_for_log("reloaded: ")
        daemon = status(to).daemon
        assert not daemon.HasField("refusal")
        assert daemon.loaded_at > first.loaded_at


def test_a_client_that_is_newer_is_understood(to: grpc.Channel) -> None:
    """What it asks in fields that are not known here does not count."""
    answer = control().messages["StatusResponse"].FromString(raw(to, control().path("Status"), b"\xfa\x01\x03new"))
    assert answer.daemon.version == __version__


# Health.


def test_the_daemon_is_serving_while_the_primary_runtime_is_there(
    to: grpc.Channel, proxy: Proxy, primary: Runtime, other: Runtime
) -> None:
    assert check(to) == check(to, "criproxy") == SERVING
    other.stop()
    assert check(to) == SERVING
    primary.stop()
    proxy.wait_for_log(f"the primary runtime ({primary.path}) has gone")
    assert check(to) == NOT_SERVING
    assert refusal(lambda: check(to, "another")) is grpc.StatusCode.NOT_FOUND


def test_who_watches_hears_of_each_change(to: grpc.Channel, primary: Runtime) -> None:
    watched = stub(to, health(), "Watch")(health().messages["HealthCheckRequest"](), timeout=PATIENCE)
    assert next(watched).status == SERVING
    primary.stop()
    assert next(watched).status == NOT_SERVING
    primary.start()
    assert next(watched).status == SERVING
    watched.cancel()


# What it is kept from.


def test_a_method_that_is_not_there_and_a_request_that_is_none_are_refused(to: grpc.Channel) -> None:
    assert refusal(lambda: raw(to, "/runtime.v1.RuntimeService/Version", b"")) is grpc.StatusCode.UNIMPLEMENTED
    assert refusal(lambda: raw(to, control().path("Status"), b"\xff")) is grpc.StatusCode.INVALID_ARGUMENT
    large = b"\x0a\xff\xff\x7f" + bytes(LARGEST_REQUEST)
    assert refusal(lambda: raw(to, health().path("Check"), large)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert check(to) == SERVING


def test_a_client_has_a_bound_for_its_calls(to: grpc.Channel) -> None:
    watch = stub(to, health(), "Watch")
    watches = [watch(health().messages["HealthCheckRequest"](), timeout=PATIENCE) for _ in range(MOST_CALLS)]
    assert [next(each).status for each in watches] == [SERVING] * MOST_CALLS
    assert refusal(lambda: check(to)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    watches[0].cancel()
    with pytest.raises(grpc.RpcError):
        next(watches[0])
    assert check(to) == SERVING


def test_idle_clients_make_room_for_another(proxy: Proxy, to: grpc.Channel) -> None:
    with ExitStack() as stack:
        idle: List[socket.socket] = []
        for _ in range(MOST_CLIENTS + 4):
            idle.append(stack.enter_context(closing(socket.socket(socket.AF_UNIX))))
            idle[-1].connect(proxy.control)
        assert check(to) == SERVING


def test_who_asks_and_does_not_read_is_cut_off_and_the_others_are_not(proxy: Proxy, to: grpc.Channel) -> None:
    status(to)
    client = WireClient(proxy.control, {SettingCodes.INITIAL_WINDOW_SIZE: 0})
    with suppress(OSError, ProtocolError):
        for _ in range(900):
            stream = client.open("Status", path=control().path("Status"))
            client.data(stream, message(b""), True)
    client.wait_until(lambda: client.closed)
    client.close()
    proxy.wait_for_log(f"control: a client (pid {os.getpid()}")
    assert proxy.logged("is cut off: it asks, and does not read the answers")
    assert check(to) == SERVING
