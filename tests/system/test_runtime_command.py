"""``criproxy runtime add``, ``remove`` and ``list`` as their users run them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, List

import grpc
import pytest
from peers import Client, Connect, MakeRuntime, Proxy, Runtime, StartService, run, v1

DONE, REFUSED, NO_DAEMON = 0, 1, 2


@pytest.fixture
def service(start_service: StartService) -> Proxy:
    return start_service()


@pytest.fixture
def third(runtime: MakeRuntime) -> Runtime:
    """A runtime that the daemon does not know yet."""
    return runtime("third").start()


def ids(proxy: Proxy) -> List[str]:
    done = run(proxy, "runtime", "list", "-o", "json")
    assert (done.returncode, done.stderr) == (DONE, "")
    return [each["runtime"] for each in json.loads(done.stdout)]


def refused(proxy: Proxy, file: Path, *words: str) -> str:
    """The reason for which a command is refused; nothing has changed then."""
    before, known = file.read_text(), ids(proxy)
    done = run(proxy, "runtime", *words)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert (file.read_text(), ids(proxy)) == (before, known)
    assert [each for each in os.listdir(file.parent) if each.startswith(file.name)] == [file.name]
    reason: str = done.stderr
    return reason


def pods(*names: str) -> Any:
    items = [{"id": name, "metadata": {"name": name, "namespace": "default"}} for name in names]
    return v1.ListPodSandboxResponse(items=items)


# add


def test_a_runtime_is_added_without_a_restart(service: Proxy, file: Path, connect: Connect, third: Runtime) -> None:
    before = file.read_text()
    done = run(service, "runtime", "add", "third.test", third.path)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert done.stdout == f'runtime "third.test" ({third.path}) is added: third 1, CRI v1, v1alpha2\n'
    assert ids(service) == ["(primary)", "alt.test", "third.test"]
    added = next(line for line in file.read_text().splitlines() if line.startswith("CRI_OTHER="))
    assert added.endswith(f",third.test:{third.path}")
    rest = [[line for line in text.splitlines() if "CRI_OTHER" not in line] for text in (before, file.read_text())]
    assert rest[0] == rest[1]
    connect(service).call(
        "RunPodSandbox",
        config={"metadata": {"uid": "1"}, "annotations": {"kubernetes.io/target-runtime": "third.test"}},
    )
    third.wait_for("RunPodSandbox")


def test_with_handlers_of_a_runtime_class(service: Proxy, file: Path, connect: Connect, third: Runtime) -> None:
    words = ("--handler", "vm", "--handler=big=large")
    assert run(service, "runtime", "add", "third.test", f"unix://{third.path}", *words).returncode == DONE
    assert "CRIPROXY_HANDLER=vm=third.test,big=third.test:large\n" in file.read_text()
    listed = json.loads(run(service, "runtime", "list", "-o", "json").stdout)
    asked_by = [[], [""], ["", "large", ""]]
    assert [[each["handler"] for each in runtime["handlers"]] for runtime in listed] == asked_by
    wide = run(service, "runtime", "list", "-o", "wide").stdout.splitlines()
    ends = ("  HANDLERS", "  -", "  alt.test", "  vm, big=large, third.test")
    assert [line.endswith(end) for line, end in zip(wide, ends)] == [True] * 4
    client: Client = connect(service)
    client.call("RunPodSandbox", runtime_handler="vm", config={"metadata": {"uid": "1"}})
    client.call("RunPodSandbox", runtime_handler="big", config={"metadata": {"uid": "2"}})
    assert [call.request.runtime_handler for call in third.called("RunPodSandbox")] == ["", "large"]
    assert run(service, "runtime", "remove", "third.test").returncode == DONE
    assert "CRIPROXY_HANDLER=\n" in file.read_text()


def test_a_socket_that_nobody_serves_is_refused_unless_that_is_forced(
    service: Proxy, file: Path, runtime: MakeRuntime
) -> None:
    later = runtime("later")
    reason = refused(service, file, "add", "later.test", later.path)
    assert reason == (
        f"criproxy runtime add: no runtime answers: {later.path}: No such file or directory; start it first, or go on"
        " with --force\n"
    )
    done = run(service, "runtime", "add", "later.test", later.path, "--force")
    assert done.returncode == DONE
    assert done.stdout.startswith(f'runtime "later.test" ({later.path}) is added, and is not there: ')
    later.start()
    service.wait_for_log('connected to runtime "later.test"')


def test_one_that_fails_to_tell_its_status_is_refused(service: Proxy, file: Path, third: Runtime) -> None:
    third.answers["Status"] = lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "broken")
    assert "Status: INTERNAL: broken" in refused(service, file, "add", "third.test", third.path)


def test_one_that_is_not_ready_is_added_with_a_warning(service: Proxy, third: Runtime) -> None:
    conditions = [{"type": "RuntimeReady", "status": True}, {"type": "NetworkReady", "reason": "NoCNI"}]
    third.answers["Status"] = v1.StatusResponse(status={"conditions": conditions})
    done = run(service, "runtime", "add", "third.test", third.path)
    assert done.returncode == DONE
    assert "the runtime says that it is not ready: NetworkReady: NoCNI\n" in done.stderr


def test_an_id_that_is_there_already_is_refused(service: Proxy, file: Path, third: Runtime, other: Runtime) -> None:
    reason = refused(service, file, "add", "alt.test", third.path)
    assert f'there is a runtime "alt.test" already, at {other.path}' in reason


def test_a_socket_that_another_one_has_is_refused(service: Proxy, file: Path, primary: Runtime, other: Runtime) -> None:
    assert "is the socket of the primary runtime" in refused(service, file, "add", "third.test", primary.path)
    assert 'is the socket of runtime "alt.test"' in refused(service, file, "add", "third.test", other.path)
    # Its own: a loop is refused by force, too.
    reason = refused(service, file, "add", "third.test", service.path, "--force")
    assert "is the socket of runtime 'third.test'; criproxy needs one of its own" in reason


@pytest.mark.parametrize("id", ["", "a/b", "a__b", "x.y:/run/x.sock,third.test", "white space"])
def test_what_cannot_be_an_id_is_refused(service: Proxy, file: Path, third: Runtime, id: str) -> None:
    assert refused(service, file, "add", id, third.path)


def test_an_id_without_a_dot_has_a_warning(service: Proxy, third: Runtime) -> None:
    done = run(service, "runtime", "add", "third", third.path)
    assert done.returncode == DONE
    assert "warning: runtime id 'third' has no dot" in done.stderr


def test_a_handler_that_cannot_be_one_is_refused(service: Proxy, file: Path, third: Runtime) -> None:
    reason = refused(service, file, "add", "third.test", third.path, "--handler", "VM")
    assert "'VM' cannot be the handler of a RuntimeClass" in reason
    assert f"{file}, line " in reason


def test_where_the_runtimes_come_from_elsewhere_it_is_refused_and_said_where(
    start_service: StartService, file: Path, primary: Runtime, third: Runtime
) -> None:
    file.write_text("")
    service = start_service(f"--connect={primary.path}", connected=1)
    reason = refused(service, file, "add", "third.test", third.path)
    assert f"CRI_OTHER in {file} would change nothing: --connect is given on the command line" in reason


def test_without_a_daemon_the_file_is_changed(service: Proxy, file: Path, third: Runtime) -> None:
    service.stop()
    done = run(service, "runtime", "add", "third.test", third.path, "--environment-file", str(file))
    assert done.returncode == DONE
    assert f"{file} says it now" in done.stderr
    assert f",third.test:{third.path}\n" in file.read_text()
    assert run(service, "runtime", "list").returncode == NO_DAEMON


def test_programs_get_what_the_daemon_makes_of_it(
    service: Proxy, runtime: MakeRuntime, file: Path, third: Runtime
) -> None:
    there = {"name": "third", "version": "1", "criVersions": ["v1", "v1alpha2"]}
    handlers = [{"name": name, "handler": ""} for name in ("vm", "third.test")]
    done = run(service, "runtime", "add", "third.test", third.path, "--handler=vm", "-o", "json")
    whole = {"id": "third.test", "socket": third.path, "inForce": True, "state": "up", **there, "handlers": handlers}
    assert json.loads(done.stdout) == whole
    path = runtime("later").path
    told = json.loads(run(service, "runtime", "add", "later.test", path, "--force", "-o", "json").stdout)
    assert (told["state"], told["name"], told["reason"]) == ("away", "", "there is no such socket")
    third.answers["ListPodSandbox"] = pods("web")
    told = json.loads(run(service, "runtime", "remove", "third.test", "--force", "-o", "json").stdout)
    left = [{"name": "default/web", "id": "web", "ready": True}]
    assert told == {"id": "third.test", "socket": third.path, "inForce": True, "pods": left}
    service.stop()
    words = ("remove", "alt.test", "--force", "--environment-file", str(file), "-o", "json")
    assert json.loads(run(service, "runtime", *words).stdout)["inForce"] is False


# remove


def test_one_without_pods_is_removed(service: Proxy, file: Path) -> None:
    run(service, "drain", "alt.test")
    done = run(service, "runtime", "remove", "alt.test")
    assert (done.returncode, done.stdout, done.stderr) == (DONE, 'runtime "alt.test" is removed\n', "")
    assert ids(service) == ["(primary)"]
    assert "alt.test" not in file.read_text()
    assert run(service, "runtime", "list").stdout.splitlines()[1].startswith("(primary)  up")


def test_one_that_has_pods_stays_unless_that_is_forced(service: Proxy, file: Path, other: Runtime) -> None:
    other.answers["ListPodSandbox"] = pods("web", "db")
    reason = refused(service, file, "remove", "alt.test")
    assert "it has 2 pods: default/web, default/db. They would run on, unseen by kubelet" in reason
    done = run(service, "runtime", "remove", "alt.test", "--force")
    assert done.returncode == DONE
    assert "warning: it has 2 pods: default/web, default/db\n" in done.stderr
    assert ids(service) == ["(primary)"]


def test_one_that_cannot_be_asked_stays_too(service: Proxy, file: Path, other: Runtime) -> None:
    other.stop()
    service.wait_for_log('runtime "alt.test"')
    assert "what pods it has is not known: " in refused(service, file, "remove", "alt.test")


def test_the_primary_and_one_that_is_not_there_are_refused(service: Proxy, file: Path) -> None:
    assert "the primary runtime cannot be removed" in refused(service, file, "remove", "primary")
    assert 'there is no runtime "alt.tset" (there are: alt.test)' in refused(service, file, "remove", "alt.tset")


def test_one_that_the_file_has_no_more_is_left_to_a_reload(service: Proxy, file: Path) -> None:
    file.write_text("".join(line for line in file.read_text().splitlines(True) if "CRI_OTHER" not in line))
    assert "a reload removes it (systemctl reload criproxy)" in refused(service, file, "remove", "alt.test")
