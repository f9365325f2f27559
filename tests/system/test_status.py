"""Status: what the runtimes say of themselves, in one answer, and what is said of those that say nothing."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Iterator, List, Tuple

import grpc
import pytest
from peers import PATIENCE, Client, Connect, MakeRuntime, Proxy, Runtime, StartProxy

from criproxy import __version__
from criproxy.cri import messages

API = messages.api("runtime.v1")
"""As we have them: cri_api's last release for Python 3.9 does not know the runtime handlers."""
PACKAGES = ["runtime.v1", "runtime.v1alpha2", "runtime"]
FINE = [("RuntimeReady", True, "", ""), ("NetworkReady", True, "", "")]
Conditions = List[Tuple[str, bool, str, str]]


def says(*conditions: Tuple[str, bool, str, str], **fields: Any) -> Any:
    """A StatusResponse with these conditions."""
    keys = ("type", "status", "reason", "message")
    return API["StatusResponse"](status={"conditions": [dict(zip(keys, one)) for one in conditions]}, **fields)


def asked(client: Client, timeout: float = PATIENCE, **fields: Any) -> Any:
    """The answer to Status."""
    return API["StatusResponse"].FromString(client.call("Status", timeout, **fields).SerializeToString())


def conditions(answer: Any) -> Conditions:
    return [(one.type, one.status, one.reason, one.message) for one in answer.status.conditions]


def begun(client: Client) -> Any:
    """A call of Status, on its way."""
    return client.stub("Status").future(client.request("Status"), timeout=600)


@pytest.fixture
def absent(runtime: MakeRuntime) -> Callable[[str], Runtime]:
    """Makes runtimes that have not been started, and say that they are fine when they are."""

    def make(name: str) -> Runtime:
        return runtime(name, answers={"Status": says(*FINE)})

    return make


@pytest.fixture(autouse=True)
def fine(primary: Runtime, other: Runtime) -> None:
    """Both runtimes are, until a test decides otherwise."""
    primary.answers["Status"] = says(*FINE)
    other.answers["Status"] = says(("RuntimeReady", True, "Fine", "very"), ("NetworkReady", False, "", ""))


@pytest.fixture
def hold(primary: Runtime, other: Runtime) -> Iterator[Callable[[Runtime, str], threading.Event]]:
    """Lets a runtime answer a method with what it answers now only when the event that this gives is set."""
    held: List[threading.Event] = []

    def make(runtime: Runtime, method: str = "Status") -> threading.Event:
        answer, release = runtime.answers.get(method), threading.Event()
        held.append(release)
        runtime.answers[method] = lambda *_: release.wait(PATIENCE) and answer
        return release

    yield make
    for release in held:
        release.set()


class TestOfAnAlternativeRuntime:
    @pytest.mark.parametrize("package", PACKAGES)
    def test_there_is_a_condition_behind_the_primarys(self, package: str, proxy: Proxy, connect: Connect) -> None:
        got = conditions(asked(connect(proxy, package)))
        assert got == [*FINE, ("alt.test/RuntimeReady", True, "Fine", "very")]

    def test_that_speaks_another_version_there_is_one_too(
        self, primary: Runtime, runtime: MakeRuntime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        older = runtime("older", packages=("runtime.v1alpha2",), answers={"Status": says(*FINE)}).start()
        client = connect(start_proxy(primary, {"alt.test": older}))
        assert conditions(asked(client)) == [*FINE, ("alt.test/RuntimeReady", True, "", "")]
        assert [call.package for call in older.called("Status")] == ["runtime.v1alpha2"]

    def test_that_is_not_there_it_is_said_why_until_it_comes(
        self, primary: Runtime, absent: Callable[[str], Runtime], start_proxy: StartProxy, connect: Connect
    ) -> None:
        late = absent("late")
        proxy = start_proxy(primary, {"alt.test": late}, connected=1)
        client = connect(proxy)
        text = f'criproxy: runtime "alt.test" ({late.path}) is not available: there is no such socket'
        for _ in range(3):
            assert conditions(asked(client)) == [*FINE, ("alt.test/RuntimeReady", False, "RuntimeNotAvailable", text)]
        late.start()
        proxy.wait_for_log('connected to runtime "alt.test"')
        assert conditions(asked(client)) == [*FINE, ("alt.test/RuntimeReady", True, "", "")]
        assert not proxy.logged("Status")

    def test_that_goes_away_meanwhile_it_is_said(
        self, primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect, hold: Callable[..., Any]
    ) -> None:
        # Another proxy is the runtime: a process that can be killed.
        inner = start_proxy(other, {}, name="inner")
        client = connect(start_proxy(primary, {"alt.test": inner.as_runtime()}, "--fan-out-timeout", "600"))
        hold(other)
        future = begun(client)
        other.wait_for("Status")
        inner.signal(signal.SIGKILL)
        got = conditions(future.result(PATIENCE))[-1]
        assert got[:3] == ("alt.test/RuntimeReady", False, "RuntimeNotAvailable")
        assert 'runtime "alt.test" has gone during the call' in got[3]

    def test_that_fails_it_is_said_how_with_one_warning_until_it_is_well(
        self, client: Client, proxy: Proxy, other: Runtime
    ) -> None:
        sound = other.answers["Status"]
        for round_ in (1, 2):
            other.answers["Status"] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
            for _ in range(3):
                got = conditions(asked(client))[-1]
                assert got == ("alt.test/RuntimeReady", False, "RuntimeStatusFailed", "INTERNAL: broken")
            other.answers["Status"] = sound
            assert conditions(asked(client))[-1][1]
            warnings = proxy.logged('Status: runtime "alt.test" counts as not ready: INTERNAL: broken')
            assert len(warnings) == round_

    def test_that_answers_nonsense_it_is_said(self, client: Client, other: Runtime) -> None:
        other.answers["Status"] = b"\x0a\x7f"
        got = conditions(asked(client))[-1]
        assert got[:3] == ("alt.test/RuntimeReady", False, "RuntimeStatusFailed")
        assert 'INTERNAL: criproxy: the answer of runtime "alt.test" does not parse' in got[3]

    @pytest.mark.parametrize(("option", "deadline"), [("0.3", PATIENCE), ("600", 3)])
    def test_that_hangs_it_is_said_after_the_fan_out_timeout_or_half_of_the_deadline(
        self,
        option: str,
        deadline: float,
        primary: Runtime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
        hold: Callable[..., Any],
    ) -> None:
        client = connect(start_proxy(primary, {"alt.test": other}, "--fan-out-timeout", option))
        hold(other)
        got = conditions(asked(client, deadline))
        assert got[:-1] == FINE
        assert got[-1][:3] == ("alt.test/RuntimeReady", False, "RuntimeDoesNotAnswer")
        assert "within --fan-out-timeout" in got[-1][3]

    def test_that_is_stopped_it_is_said_until_it_goes_on(
        self, primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        inner = start_proxy(other, {}, name="inner")
        proxy = start_proxy(primary, {"alt.test": inner.as_runtime()}, "--fan-out-timeout", "0.3")
        client = connect(proxy)
        inner.signal(signal.SIGSTOP)
        try:
            assert conditions(asked(client))[-1][:3] == ("alt.test/RuntimeReady", False, "RuntimeDoesNotAnswer")
            assert proxy.wait_for_log("does not answer; it counts as not there").startswith("W")
            got = conditions(asked(client))[-1]
            assert got[:3] == ("alt.test/RuntimeReady", False, "RuntimeNotAvailable")
            assert got[3].endswith("is not available: it does not answer")
        finally:
            inner.signal(signal.SIGCONT)
        proxy.wait_for_log("answers again")
        assert conditions(asked(client)) == [*FINE, ("alt.test/RuntimeReady", True, "Fine", "very")]


class TestOfAPrimaryRuntime:
    @pytest.mark.parametrize("package", PACKAGES)
    def test_that_is_not_there_kubelets_call_fails_and_a_person_is_told_at_once(
        self,
        package: str,
        absent: Callable[[str], Runtime],
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        late = absent("late")
        proxy = start_proxy(late, {"alt.test": other}, "--connection-timeout", "0.2", connected=1)
        client = connect(proxy, package)
        why = f"criproxy: the primary runtime ({late.path}) is not available: there is no such socket"
        assert client.fail("Status") == (grpc.StatusCode.UNAVAILABLE, why)
        assert conditions(asked(client, verbose=True)) == [
            ("RuntimeReady", False, "RuntimeNotAvailable", why),
            ("NetworkReady", False, "RuntimeNotAvailable", why),
            ("alt.test/RuntimeReady", True, "Fine", "very"),
        ]
        late.start()
        proxy.wait_for_log("connected to the primary runtime")
        assert conditions(asked(client))[:2] == FINE

    def test_that_is_alone_and_not_there_it_is_said_too(
        self, absent: Callable[[str], Runtime], start_proxy: StartProxy, connect: Connect
    ) -> None:
        client = connect(start_proxy(absent("late"), {}, "--connection-timeout", "600", connected=0))
        got = asked(client, verbose=True)
        assert [one[:3] for one in conditions(got)] == [
            ("RuntimeReady", False, "RuntimeNotAvailable"),
            ("NetworkReady", False, "RuntimeNotAvailable"),
        ]
        assert list(got.info) == ["criproxy"]

    def test_that_goes_away_meanwhile_it_is_said(
        self, primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect, hold: Callable[..., Any]
    ) -> None:
        inner = start_proxy(primary, {}, name="inner")
        options = ("--connection-timeout", "600", "--fan-out-timeout", "600")
        client = connect(start_proxy(inner.as_runtime(), {"alt.test": other}, *options))
        hold(primary)
        kubelets = begun(client)
        persons = client.stub("Status").future(client.request("Status", verbose=True), timeout=600)
        primary.wait_for("Status", 2)
        inner.signal(signal.SIGKILL)
        error: Any = kubelets.exception(PATIENCE)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        got = conditions(persons.result(PATIENCE))
        assert [one[:3] for one in got] == [
            ("RuntimeReady", False, "RuntimeNotAvailable"),
            ("NetworkReady", False, "RuntimeNotAvailable"),
            ("alt.test/RuntimeReady", True, "Fine"),
        ]
        assert "the primary runtime" in got[0][3]
        assert "has gone during the call" in got[0][3]

    def test_that_is_restarted_is_waited_for(self, primary: Runtime, start_proxy: StartProxy, connect: Connect) -> None:
        proxy = start_proxy(primary, {}, "--connection-timeout", "600")
        client = connect(proxy)
        primary.stop()
        proxy.wait_for_log("has gone")
        meanwhile = begun(client)
        primary.start()
        assert conditions(meanwhile.result(PATIENCE)) == FINE

    @pytest.mark.parametrize("others", [0, 1])
    def test_that_is_stopped_it_is_said_until_it_goes_on(
        self, others: int, primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        inner = start_proxy(primary, {}, name="inner")
        options = ("--connection-timeout", "0.2", "--fan-out-timeout", "0.3")
        proxy = start_proxy(inner.as_runtime(), {"alt.test": other} if others else {}, *options)
        client = connect(proxy)
        inner.signal(signal.SIGSTOP)
        try:
            for _ in range(2):  # the first finds out, the second knows
                code, text = client.fail("Status")
                assert (code, text.rpartition(": ")[2]) == (grpc.StatusCode.UNAVAILABLE, "it does not answer")
                got = conditions(asked(client, verbose=True))
                assert got[0][:3] == ("RuntimeReady", False, "RuntimeNotAvailable")
                assert got[0][3].endswith("is not available: it does not answer")
                assert len(got) == 2 + others
            assert proxy.wait_for_log("does not answer; it counts as not there").startswith("E")
        finally:
            inner.signal(signal.SIGCONT)
        proxy.wait_for_log("answers again")
        assert conditions(asked(client))[:2] == FINE

    @pytest.mark.parametrize("others", [0, 1])
    def test_that_is_only_slow_is_waited_for(
        self,
        others: int,
        primary: Runtime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
        hold: Callable[..., Any],
    ) -> None:
        proxy = start_proxy(primary, {"alt.test": other} if others else {}, "--fan-out-timeout", "0.3")
        release = hold(primary)
        future = begun(connect(proxy))
        primary.wait_for("Status")
        # More than a PING may take after the fan-out timeout.
        with pytest.raises(grpc.FutureTimeoutError):
            future.result(2)
        release.set()
        assert conditions(future.result(PATIENCE))[:2] == FINE
        assert not proxy.logged("does not answer")

    @pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE])
    @pytest.mark.parametrize("others", [0, 1])
    def test_that_fails_the_call_fails(
        self,
        others: int,
        code: grpc.StatusCode,
        primary: Runtime,
        other: Runtime,
        start_proxy: StartProxy,
        connect: Connect,
    ) -> None:
        def refuse(request: object, context: grpc.ServicerContext) -> None:
            context.set_trailing_metadata((("detail", "1"),))
            context.abort(code, "server is not initialized yet")

        primary.answers["Status"] = refuse
        client = connect(start_proxy(primary, {"alt.test": other} if others else {}))
        with pytest.raises(grpc.RpcError) as caught:
            client.call("Status")
        error: Any = caught.value
        assert (error.code(), error.details()) == (code, "server is not initialized yet")
        assert ("detail", "1") in error.trailing_metadata()

    def test_alone_the_answer_is_its_own(self, primary: Runtime, start_proxy: StartProxy, connect: Connect) -> None:
        # Fields out of order, one of them unknown.
        body = b"\xf2\x06\x04what" + says(*FINE, info={"b": "1", "a": "2"}).SerializeToString() + b"\x0a\x00"
        primary.answers["Status"] = body
        client = connect(start_proxy(primary, {}))
        ask = client.channel.unary_unary("/runtime.v1.RuntimeService/Status")
        assert ask(b"", timeout=PATIENCE) == body

    def test_what_it_sends_in_front_and_behind_is_kept(self, client: Client, primary: Runtime) -> None:
        def answer(request: object, context: grpc.ServicerContext) -> Any:
            context.send_initial_metadata((("front", "1"),))
            context.set_trailing_metadata((("behind", "2"),))
            return says(*FINE)

        primary.answers["Status"] = answer
        future = begun(client)
        assert ("front", "1") in future.initial_metadata()
        assert ("behind", "2") in future.trailing_metadata()


def test_a_request_that_does_not_parse_is_refused(client: Client, primary: Runtime) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.stub("Status")(b"\x08", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value.details()).startswith("criproxy: the request is not a StatusRequest: ")
    assert not primary.called("Status")


def test_an_answer_larger_than_the_limit_is_refused(
    primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect
) -> None:
    primary.answers["Status"] = says(*FINE, info={"a": "x" * 1000})
    other.answers["Status"] = says(*FINE, info={"a": "x" * 1000})
    client = connect(start_proxy(primary, {"alt.test": other}, "--max-message-size", "2000"))
    code, text = client.fail("Status", verbose=True)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "--max-message-size" in text


class TestRuntimeHandlers:
    HANDLER = ("--handler", "vm=alt.test:kata")

    def listed(self, answer: Any) -> Dict[str, bool]:
        return {handler.name: handler.features.user_namespaces for handler in answer.runtime_handlers}

    @pytest.mark.parametrize("package", PACKAGES)
    def test_of_all_runtimes_are_listed_by_the_names_that_pods_can_ask_for(
        self, package: str, primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        able = {"user_namespaces": True}
        ours: Any = [{"name": ""}, {"name": "runc", "features": able}, {"name": "vm"}]
        theirs: Any = [{"name": ""}, {"name": "kata", "features": able}, {"name": "slow", "features": able}]
        primary.answers["Status"] = says(*FINE, runtime_handlers=ours, features={"supplemental_groups_policy": True})
        other.answers["Status"] = says(*FINE, runtime_handlers=theirs)
        answer = asked(connect(start_proxy(primary, {"alt.test": other}, *self.HANDLER), package))
        assert self.listed(answer) == {"": False, "runc": True, "vm": True, "slow": True}
        assert answer.features.supplemental_groups_policy

    def test_that_nobody_lists_are_those_of_the_configuration(
        self, primary: Runtime, other: Runtime, start_proxy: StartProxy, connect: Connect
    ) -> None:
        client = connect(start_proxy(primary, {"alt.test": other}, *self.HANDLER))
        assert self.listed(asked(client)) == {"vm": False}

    def test_are_none_if_there_are_none_in_the_configuration_either(self, client: Client) -> None:
        assert not asked(client).runtime_handlers


class TestInfo:
    def own(self, client: Client) -> Any:
        return json.loads(asked(client, verbose=True).info["criproxy"])

    def test_is_only_there_if_it_is_asked_for(self, client: Client, primary: Runtime, other: Runtime) -> None:
        for runtime in (primary, other):
            runtime.answers["Status"] = lambda request, _: says(*FINE, info={"v": str(request.verbose).lower()})
        assert dict(asked(client).info) == {"v": "false"}
        got = asked(client, verbose=True)
        assert got.info["v"] == "true"
        assert json.loads(got.info["alt.test"]) == {"v": True}
        assert set(got.info) == {"v", "alt.test", "criproxy"}

    def test_of_the_proxy_tells_of_itself_and_of_the_runtimes(
        self, client: Client, proxy: Proxy, primary: Runtime, other: Runtime
    ) -> None:
        got = self.own(client)
        since = [runtime.pop("connectedSince") for runtime in got["runtimes"]]
        for moment in since:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment)
            found = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
            assert abs(found - time.time()) < 2 * PATIENCE
        assert got == {
            "version": __version__,
            "callsInFlight": 0,
            "runtimes": [
                {
                    "id": name,
                    "socket": runtime.path,
                    "available": True,
                    "state": f"{runtime.name} 1 (v1, v1alpha2)",
                    "apiVersions": ["v1", "v1alpha2"],
                    "callsInFlight": 0,
                }
                for name, runtime in (("", primary), ("alt.test", other))
            ],
        }

    def test_of_a_runtime_that_is_not_there_is_an_error(self, client: Client, primary: Runtime, other: Runtime) -> None:
        other.stop()
        got = asked(client, verbose=True).info
        while "there is no such socket" not in got["criproxy"]:  # it may not have been looked for yet
            got = asked(client, verbose=True).info
        error = f'criproxy: runtime "alt.test" ({other.path}) is not available: there is no such socket'
        assert json.loads(got["alt.test"]) == {"error": error}
        assert json.loads(got["criproxy"])["runtimes"][1] == {
            "id": "alt.test",
            "socket": other.path,
            "available": False,
            "state": "not there: there is no such socket",
            "connectedSince": None,
            "apiVersions": [],
            "callsInFlight": 0,
        }

    def test_of_the_proxy_counts_the_calls_of_each_runtime(
        self, client: Client, primary: Runtime, other: Runtime, hold: Callable[..., Any]
    ) -> None:
        release = hold(other, "StopContainer")
        request = client.request("StopContainer", container_id="alt.test__c")
        futures = [client.stub("StopContainer").future(request, timeout=PATIENCE) for _ in range(3)]
        other.wait_for("StopContainer", 3)
        got = self.own(client)
        assert (got["callsInFlight"], [one["callsInFlight"] for one in got["runtimes"]]) == (3, [0, 3])
        release.set()
        for future in futures:
            future.result(PATIENCE)
        got = self.own(client)
        assert (got["callsInFlight"], [one["callsInFlight"] for one in got["runtimes"]]) == (0, [0, 0])

    def test_is_never_logged(self, client: Client, proxy: Proxy, primary: Runtime, other: Runtime) -> None:
        for runtime in (primary, other):
            runtime.answers["Status"] = says(*FINE, info={"key": '{"password": "secret"}'})
        assert "secret" in asked(client, verbose=True).info["alt.test"]
        proxy.wait_for_log("LEAVE: /runtime.v1.RuntimeService/Status()")
        assert client.call("RuntimeConfig") is not None
        proxy.wait_for_log("LEAVE: /runtime.v1.RuntimeService/RuntimeConfig()")
        assert proxy.logged("<redacted>")
        assert not proxy.logged("secret")


class TestWhereItIsThePrimarys:
    def test_nobody_else_is_asked(
        self, start_proxy: StartProxy, connect: Connect, primary: Runtime, other: Runtime
    ) -> None:
        client = connect(start_proxy(primary, {"alt.test": other}, "--status", "primary"))
        assert conditions(asked(client, verbose=True)) == FINE
        assert not other.called("Status")

    def test_it_is_waited_for(
        self, start_proxy: StartProxy, connect: Connect, absent: Callable[[str], Runtime]
    ) -> None:
        options = ("--status", "primary", "--connection-timeout", "0.2")
        client = connect(start_proxy(absent("late"), {}, *options, connected=0))
        code, text = client.fail("Status")
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "is not available" in text
