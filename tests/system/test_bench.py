"""The benchmark runs, and measures right answers alone. No test looks at how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Iterator

import pytest

from criproxy.cri.messages import api
from criproxy.http2.grpc import PREFIX_SIZE, prefix
from tests.bench import kubelet, report
from tests.bench.client import LatencyClient
from tests.bench.lab import ROOT, BenchError, Contestant, Lab, check, tool
from tests.bench.measure import Samples, load
from tests.bench.runtime import ID, answers

ROWS = ["direct", "socat", "haproxy", "nghttpx", "grpcio", "criproxy, primary", "criproxy, alternative"]
STATUS = b"/runtime.v1.RuntimeService/ContainerStatus"


@pytest.fixture(name="lab", scope="module")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(stack, tmp_path_factory.mktemp("compiled"))


def test_a_quick_run_prints_a_row_for_each_contestant_and_each_aim(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    again = f"--against=again={sys.executable} -m criproxy -connect {{connect}} -listen {{listen}}"
    simple = f"--against=simple={sys.executable} -m tests.bench.grpcio_relay {{listen}} {{primary}}"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(file), again, simple]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr

    lines = done.stdout.splitlines()
    for row in (*ROWS, "again, primary", "again, alternative", "simple"):
        (found,) = [line for line in lines if line.startswith(f"{row}  ")]
        installed = row not in ("socat", "haproxy", "nghttpx") or tool(row) is not None
        assert ("not installed" in found) is not installed
    figures = json.loads(file.read_text())
    for aim in figures["aims"]:
        assert any(line.startswith(aim["name"]) for line in lines)
    assert {"accepts", "answers"} == set(figures["starts"][0])
    assert figures["samples"]["criproxy, alternative"]["p50"]


@pytest.mark.parametrize("text", ["x", "=x {listen} {primary}", "n=x {listen}", "n=x {listen} {connect} {primary}"])
def test_a_command_that_cannot_be_measured_is_refused(text: str) -> None:
    command = [sys.executable, "-m", "tests.bench", "--against", text]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "is not NAME=COMMAND with {listen} and either {connect} or {primary}" in done.stderr


def test_an_answer_that_is_not_the_runtimes_is_found(lab: Lab) -> None:
    made = answers()
    check(lab.direct, made)
    other: Any = api()["ContainerStatusResponse"].FromString(made[STATUS][PREFIX_SIZE:])
    other.status.id = "e" * len(ID)
    body = other.SerializeToString()
    made[STATUS] = prefix(len(body)) + body
    with pytest.raises(BenchError, match="ContainerStatus: not what the runtime says"):
        check(lab.direct, made)


def test_an_id_of_the_alternative_runtime_needs_its_prefix(lab: Lab) -> None:
    """What passes an answer on as it is, as socat would, has not done what criproxy does for an alternative runtime."""
    unchanged = Contestant("unchanged", lab.direct.path, "bench.test", merges=True)
    with pytest.raises(BenchError, match="unchanged: ContainerStatus"):
        check(unchanged, answers())


@pytest.mark.skipif(tool("h2load") is None, reason="h2load is not installed")
def test_an_error_of_grpcs_is_not_counted_as_a_call_though_http_calls_it_a_success(lab: Lab) -> None:
    size = check(lab.direct, answers()).status
    assert load(lab, lab.direct, "ContainerStatus", lab.direct.request, size, 100) > 0
    with pytest.raises(BenchError, match="100 answers have 0 bytes"):
        load(lab, lab.direct, "NoSuchMethod", lab.direct.request, size, 100)


def test_the_latency_client_takes_no_answer_of_another_size(lab: Lab) -> None:
    size = check(lab.direct, answers()).status
    client = LatencyClient(lab.direct.path, "ContainerStatus", lab.direct.request, size)
    assert len(client.measure(3)) == 3
    client.close()
    client = LatencyClient(lab.direct.path, "NoSuchMethod", lab.direct.request, size)
    with pytest.raises(ConnectionError, match=f"0 bytes instead of {size}"):
        client.measure(1)
    client.close()


def test_what_is_not_installed_has_a_row_that_says_so() -> None:
    samples = {"direct": Samples(p50=[1e-4]), "haproxy": Samples()}
    rows = report.table([Contestant("direct", "/there"), Contestant("haproxy")], samples)
    assert rows[-1].split() == ["haproxy", "not", "installed"]


def test_what_a_kubelet_has_called_can_all_be_called_again() -> None:
    recorded = kubelet.intervals()
    assert recorded.keys() <= kubelet.OF_ALL.keys() | kubelet.OF_ONE.keys()
    assert 0.3 < recorded["ListPodSandbox"] < 1


def test_an_aim_that_cannot_be_measured_says_so() -> None:
    assert "not measured" in report.line(report.Aim("p50 added", None, 2, "x socat's"))
