"""``criproxy drain`` and ``undrain`` as their users run them: what kubelet gets then, and what becomes of the file."""

from __future__ import annotations

import json
import signal
import stat
from contextlib import closing
from pathlib import Path
from typing import Any, List, Tuple

import grpc
import pytest
from peers import Client, Connect, MakeRuntime, Proxy, Runtime, StartService, run, v1
from systemd_peers import Notified

DONE, REFUSED = 0, 1
TARGET = {"annotations": {"kubernetes.io/target-runtime": "alt.test"}}
START = {"config": {"metadata": {"name": "web", "namespace": "default", "uid": "1"}, **TARGET}}


@pytest.fixture
def kubelet(connect: Connect, service: Proxy) -> Client:
    return connect(service)


def test_new_pods_are_refused_and_all_else_goes_on(service: Proxy, kubelet: Client, other: Runtime) -> None:
    other.answers["RunPodSandbox"] = v1.RunPodSandboxResponse(pod_sandbox_id="p")
    pod = kubelet.call("RunPodSandbox", **START).pod_sandbox_id
    done = run(service, "drain", "alt.test")
    assert (done.returncode, done.stderr) == (DONE, "")
    code, text = kubelet.fail("RunPodSandbox", **START)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    again = "criproxy undrain alt.test lets it have them again"
    assert text == f'criproxy: runtime "alt.test" is drained: it gets no new pods ({again})'
    assert len(other.called("RunPodSandbox")) == 1
    kubelet.call(
        "CreateContainer", pod_sandbox_id=pod, config={"image": {"image": "alt.test/a"}}, sandbox_config=TARGET
    )
    kubelet.call("RunPodSandbox", config={"metadata": {"name": "other", "uid": "2"}})
    done = run(service, "undrain", "alt.test")
    assert (done.returncode, done.stdout) == (DONE, 'runtime "alt.test" gets new pods\n')
    assert kubelet.call("RunPodSandbox", **START).pod_sandbox_id == pod


def test_what_is_left_is_shown_by_name(service: Proxy, other: Runtime) -> None:
    pods = [
        {"id": "a", "metadata": {"name": "web", "namespace": "default"}},
        {"id": "b", "metadata": {"name": "old\x1b[2J", "namespace": "default"}, "state": "SANDBOX_NOTREADY"},
    ]
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse(items=pods)
    assert run(service, "drain", "alt.test").stdout.splitlines() == [
        'runtime "alt.test" gets new pods no more',
        "left there: 2 pods",
        "  default/web",
        r"  default/old\x1b[2J (not ready)",
    ]
    assert run(service, "drain", "alt.test", "-o", "wide").stdout.splitlines()[2:] == [
        "POD                 STATE      ID",
        "default/web         ready      a",
        r"default/old\x1b[2J  not ready  b",
    ]
    told = json.loads(run(service, "drain", "alt.test", "-o", "json").stdout)
    assert (told["drained"], told["inForce"]) == (True, True)
    assert (told["drained"], told["pods"][0]) == (True, {"name": "default/web", "id": "a", "ready": True})
    other.answers["ListPodSandbox"] = v1.ListPodSandboxResponse()
    for words in ((), ("-o", "wide")):
        assert run(service, "drain", "alt.test", *words).stdout.splitlines()[1:] == ["left there: nothing"]


def test_one_that_is_away_is_drained_too(service: Proxy, other: Runtime) -> None:
    other.stop()
    done = run(service, "drain", "alt.test")
    assert done.returncode == DONE
    assert f"what is left there is not known: {other.path}: " in done.stdout


def test_it_outlasts_a_restart_and_the_file_keeps_everything_else(
    start_service: StartService, connect: Connect, file: Path
) -> None:
    before = file.read_text()
    first = start_service()
    run(first, "drain", "alt.test")
    assert file.read_text() == before + "CRIPROXY_DRAINED=alt.test\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [each.name for each in file.parent.iterdir() if each.name.startswith("default")] == ["default"]
    first.stop()
    second = start_service()
    code, _ = connect(second).fail("RunPodSandbox", **START)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    run(second, "undrain", "alt.test")
    assert file.read_text() == before + "CRIPROXY_DRAINED=\n"


def test_status_shows_it_and_calls_it_well(service: Proxy) -> None:
    run(service, "drain", "alt.test")
    done = run(service, "status")
    assert done.returncode == DONE
    assert "drained: it gets no new pods (criproxy undrain alt.test" in done.stdout
    assert "up, drained" in run(service, "status", "-o", "wide").stdout
    assert [each["drained"] for each in json.loads(run(service, "status", "-o", "json").stdout)["runtimes"]] == [
        False,
        True,
    ]


def test_systemctl_status_shows_it(start_service: StartService, folder: Path, other: Runtime) -> None:
    with closing(Notified(str(folder / "notify"))) as notified:
        service = start_service(NOTIFY_SOCKET=notified.path)
        for command, mark in (("drain", " (drained)"), ("undrain", "")):
            run(service, command, "alt.test")
            while f"alt.test{mark} {other.path}: other 1 " not in notified.wait_for("STATUS=")[0]:
                pass


@pytest.mark.parametrize("id", ["", "primary"])
def test_the_primary_runtime_is_refused(service: Proxy, file: Path, id: str) -> None:
    before = file.read_text()
    done = run(service, "drain", id)
    assert done.returncode == REFUSED
    assert "cannot be drained: kubectl cordon" in done.stderr
    assert file.read_text() == before


@pytest.mark.parametrize("words", [("drain", "retiring"), ("undrain", "retiring"), ("runtime", "remove", "retiring")])
def test_the_retiring_runtime_is_refused(
    service: Proxy, file: Path, runtime: MakeRuntime, words: Tuple[str, ...]
) -> None:
    file.write_text(f"{file.read_text()}CRI_RETIRING={runtime('old').start().path}\n")
    before = file.read_text()
    service.signal(signal.SIGHUP)
    service.wait_for_log("] reloaded: ")
    done = run(service, *words)
    assert done.returncode == REFUSED
    assert "the retiring runtime gets no new pods anyway: criproxy node migrate --finish" in done.stderr
    assert file.read_text() == before


def test_one_that_is_not_there_is_refused(service: Proxy, file: Path) -> None:
    before = file.read_text()
    for command in ("drain", "undrain"):
        done = run(service, command, "alt.tset")
        assert done.returncode == REFUSED
        assert 'there is no runtime "alt.tset" (there are: alt.test)' in done.stderr
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("words", "environ", "reason"),
    [
        (("--drained=",), {}, "--drained is given on the command line"),
        ((), {"CRIPROXY_DRAINED": "x.y"}, "CRIPROXY_DRAINED is set in the environment"),
    ],
)
def test_where_the_file_would_change_nothing_it_is_refused(
    start_service: StartService, file: Path, words: List[str], environ: Any, reason: str
) -> None:
    before = file.read_text()
    done = run(start_service(*words, **environ), "drain", "alt.test")
    assert done.returncode == REFUSED
    assert f"would change nothing: {reason}" in done.stderr
    assert file.read_text() == before


def test_a_daemon_that_reads_no_such_file_is_left_alone(proxy: Proxy) -> None:
    done = run(proxy, "drain", "alt.test")
    assert done.returncode == REFUSED
    assert "CRIPROXY_DRAINED would change nothing: no environment file is named (--environment-file)" in done.stderr
    done = run(proxy, "runtime", "add", "third.test", "/run/third.sock")
    assert done.returncode == REFUSED
    assert "CRI_OTHER would change nothing: --connect is given on the command line" in done.stderr


def test_a_file_that_is_refused_stays_as_it_is(service: Proxy, file: Path) -> None:
    file.write_text(file.read_text() + "CRIPROXY_FAN_OUT_TIMEOUT=never\n")
    before = file.read_text()
    done = run(service, "drain", "alt.test")
    assert done.returncode == REFUSED
    assert f"{file}, line 6: CRIPROXY_FAN_OUT_TIMEOUT: 'never' is not a duration" in done.stderr
    assert file.read_text() == before
    assert not service.logged("reload")


def test_what_the_daemon_alone_refuses_is_put_back(
    start_service: StartService, connect: Connect, file: Path, folder: Path
) -> None:
    conf = folder / "criproxy.conf"
    conf.write_text("")
    service = start_service(f"--config={conf}")
    conf.write_text("fan-out-timeout = never\n")
    before = file.read_text()
    done = run(service, "drain", "alt.test")
    assert done.returncode == REFUSED
    assert f"{conf}, line 1: fan-out-timeout: 'never'" in done.stderr
    assert done.stderr.endswith(f"; {file} is as before\n")
    assert file.read_text() == before


def test_without_a_daemon_the_file_is_changed(service: Proxy, file: Path) -> None:
    service.stop()
    done = run(service, "drain", "alt.test", "--environment-file", str(file))
    assert done.returncode == DONE
    assert f"{file} says it now (criproxy status tells why)" in done.stderr
    assert done.stdout.startswith('runtime "alt.test" gets new pods no more, from the daemon\'s next start on\n')
    assert "CRIPROXY_DRAINED=alt.test\n" in file.read_text()
    assert run(service, "drain", "x.y", "--environment-file", str(file)).returncode == REFUSED
