"""The benchmark runs, and measures right answers alone. No test looks at how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from criproxy.client import Client
from criproxy.cri.messages import api
from criproxy.http2.compiled import COMPILED
from criproxy.http2.grpc import PREFIX_SIZE
from tests.bench import check, kubelet, processes, scraped
from tests.bench.cases import CASES
from tests.bench.client import LatencyClient
from tests.bench.figures import BenchError, UnservedError
from tests.bench.lab import ROOT, Lab
from tests.bench.load import load
from tests.bench.programs import OWN, RUNTIME_IDS, Contestant, Program, criproxy, tool
from tests.bench.runtime import ALL, ID, ONE, SAME

NAMES = ["direct", "other", "socat", "haproxy", "nghttpx", "grpcio", "criproxy", "criproxy, alternative"]
FOR_ALL = {"p50", "p99", "cpu", "exec", "create", "event", "event_p99", "cpu_event"}
TIMEOUT = 300.0
"""A whole quick run takes a minute where many tests run at once, seconds."""


@pytest.fixture(name="lab", scope="module")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(stack, tmp_path_factory.mktemp("compiled"))


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)


def figures(path: Path) -> Dict[str, Dict[str, List[float]]]:
    samples: Dict[str, Dict[str, List[float]]] = json.loads(path.read_text())["samples"]
    return samples


@pytest.mark.timeout(TIMEOUT)
def test_a_quick_run_has_a_row_for_each_contestant_each_figure_and_each_aim(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = bench("--quick", "--json", str(file), "--plot", str(tmp_path))
    assert done.returncode == 0, done.stderr

    found = figures(file)
    absent = [name for name in ("socat", "haproxy", "nghttpx") if tool(name) is None]
    assert list(found) == [name for name in NAMES if name not in absent]
    for name in NAMES:
        rows = [line for line in done.stdout.splitlines() if line.startswith(f"{name}  ")]
        assert rows
        assert ("not installed" in rows[-1]) is (name in absent)
        assert name in (*absent, "other") or found[name].keys() >= FOR_ALL
    wanted = {figure.name for case in CASES for figure in case.figures}
    if tool("h2load") is None:
        wanted = {name for name in wanted if "rate" not in name}
    assert found["criproxy"].keys() >= {name for name in wanted if "apart" not in name}
    assert ("which is compiled" if COMPILED else "which is plain Python") in done.stdout
    assert (tmp_path / "lists-light.svg").exists()

    again = bench("--from", str(file))
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    compared = bench("--compare", str(file), str(file))
    assert compared.returncode == 0, compared.stderr
    assert "too few rounds to tell" in compared.stdout


@pytest.mark.timeout(TIMEOUT)
def test_any_other_command_is_measured_too_and_any_criproxy(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    again = f"--against=again={sys.executable} -m criproxy -connect {{connect}} -listen {{listen}}"
    simple = f"--against=simple={sys.executable} -m tests.bench.grpcio_relay {{listen}} {{primary}}"
    own = f"--criproxy=env -C {ROOT} {sys.executable} -m criproxy"
    done = bench("--quick", "--json", str(file), again, simple, own, "--only=p50", "--only=accepts")
    assert done.returncode == 0, done.stderr

    found = figures(file)
    assert found["again, alternative"].keys() == found["criproxy, alternative"].keys() == {"p50", "p99", "cpu"}
    assert found["again"].keys() == found["simple"].keys() == {"p50", "p99", "cpu", "accepts", "answers", "idle"}


@pytest.mark.parametrize("text", ["x", "=x {listen} {primary}", "n=x {listen}", "n=x {listen} {connect} {primary}"])
def test_a_command_that_cannot_be_measured_is_refused(text: str) -> None:
    done = bench("--against", text)
    assert done.returncode == 2
    assert "is not NAME=COMMAND with {listen} and either {connect} or {primary}" in done.stderr


def test_a_figure_that_there_is_not_and_a_name_that_another_has_are_refused() -> None:
    done = bench("--quick", "--only=p5")
    assert done.returncode == 1
    assert done.stderr.startswith("bench: no figure is called p5: there are p50, ")
    done = bench("--quick", "--against=socat=x {listen} {primary}")
    assert done.returncode == 1
    assert "two have one name" in done.stderr


@pytest.mark.parametrize("command", ["/nowhere/criproxy", "false"])
def test_a_criproxy_that_does_not_run_is_told(command: str) -> None:
    done = bench("--quick", f"--criproxy={command}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"bench: {command}: ")


def test_an_answer_that_is_not_the_runtimes_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    check.check(lab.direct)

    def other() -> Any:
        return api()["ContainerStatusResponse"](status={"id": "e" * len(ID)})

    monkeypatch.setattr(check, "status", other)
    with pytest.raises(BenchError, match="ContainerStatus: not what the runtime says"):
        check.check(lab.direct)


def test_an_id_of_the_alternative_runtime_needs_its_prefix(lab: Lab) -> None:
    """What passes an answer on as it is, as socat would, has not done what criproxy does for an alternative runtime."""
    unchanged = Contestant("unchanged", lab.direct.path, runtime=RUNTIME_IDS[1])
    with pytest.raises(BenchError, match="unchanged: ContainerStatus"):
        check.check(unchanged)


def test_a_list_has_as_many_containers_and_changes_as_the_runtimes_were_told(lab: Lab) -> None:
    with lab.listing(7, ALL):
        assert check.list_size(lab.direct, 7, True) > 6_900
        with pytest.raises(BenchError, match="7 containers instead of 8"):
            check.list_size(lab.direct, 8, True)
        with pytest.raises(BenchError, match="ListContainers: a change"):
            check.list_size(lab.direct, 7, False)
    assert check.list_size(lab.direct, 1000, False) > 900_000


@pytest.mark.parametrize(("change", "others"), [(SAME, 0), (ONE, 1), (ALL, 5)])
def test_the_runtime_changes_none_one_or_all_of_the_containers(lab: Lab, change: str, others: int) -> None:
    with lab.listing(5, change):
        first, second = (listed(lab) for _ in range(2))
    assert sum(before != after for before, after in zip(first, second)) == others
    assert [container.id for container in first] == [container.id for container in second]


def listed(lab: Lab) -> List[Any]:
    with Client(lab.direct.path) as client:
        return list(client.call("ListContainers").containers)


@pytest.mark.skipif(tool("h2load") is None, reason="h2load is not installed")
def test_an_error_of_grpcs_is_not_counted_as_a_call_though_http_calls_it_a_success(lab: Lab) -> None:
    lab.sizes["direct"] = check.check(lab.direct)
    assert load(lab, lab.direct, "ContainerStatus", 100) > 0
    assert load(lab, lab.direct, "ContainerStatus", 96, 8) > 0
    with pytest.raises(BenchError, match="100 answers have 0 bytes"):
        load(lab, lab.direct, "NoSuchMethod", 100)


def test_the_latency_client_takes_no_answer_of_another_size(lab: Lab) -> None:
    size = check.check(lab.direct).status
    with LatencyClient(lab.direct.path, "ContainerStatus", lab.direct.request, size) as client:
        assert len(client.measure(0)) == 3
    with (
        LatencyClient(lab.direct.path, "NoSuchMethod", lab.direct.request, size) as client,
        pytest.raises(ConnectionError, match=f"0 bytes instead of {size}"),
    ):
        client.measure(0)


def test_the_latency_client_sends_what_is_larger_than_all_windows(lab: Lab) -> None:
    request: Any = api()["CreateContainerRequest"](pod_sandbox_id="x" * (3 << 20))
    size = PREFIX_SIZE + api()["CreateContainerResponse"](container_id=ID).ByteSize()
    with LatencyClient(lab.direct.path, "CreateContainer", request.SerializeToString(), size) as client:
        assert len(client.measure(0)) == 3


def test_the_latency_client_takes_a_stream_that_is_not_there_for_something_that_is_not_served(lab: Lab) -> None:
    with LatencyClient(lab.direct.path, "NoSuchMethod", b"") as client, pytest.raises(UnservedError):
        client.events(0)


def test_calls_are_measured_while_metrics_are_scraped_and_while_they_are_not(lab: Lab) -> None:
    size = check.check(lab.direct).status
    assert all(len(times) >= 3 for times in scraped.times(lab, criproxy(OWN), size, 0.1))


def test_a_program_without_metrics_is_not_measured_while_they_are_scraped(lab: Lab) -> None:
    without = Program("without", "env -u CRIPROXY_METRICS_LISTEN " + criproxy(OWN).command)
    with pytest.raises(UnservedError, match="without serves no metrics"):
        scraped.times(lab, without, -1, 0.1)


def test_a_scrape_that_is_no_scrape_is_told(lab: Lab) -> None:
    with pytest.raises(BenchError, match="a scrape: "), scraped.scraping(lab.direct.path):
        """A runtime has no metrics."""


def test_the_time_of_children_counts_and_that_of_those_that_have_ended(lab: Lab) -> None:
    work = "sum(range(3_000_000))"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        ended = processes.used(process.pid)
        process.stdin.close()
    alone = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=-1)
    with alone as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert 0 < processes.used(process.pid) < ended
        assert processes.resident(process.pid) > 1
        process.stdin.close()


def test_what_a_kubelet_has_called_can_all_be_called_again() -> None:
    recorded = kubelet.intervals()
    assert recorded.keys() <= kubelet.OF_ALL.keys() | kubelet.OF_ONE.keys()
    assert 0.3 < recorded["ListPodSandbox"] < 1
    assert kubelet.intervals(2 * kubelet.PODS)["ExecSync"] == pytest.approx(recorded["ExecSync"] / 2)
