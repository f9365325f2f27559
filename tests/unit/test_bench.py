"""What the benchmark makes of its numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Mapping, Sequence

import pytest

from tests.bench import figures, report
from tests.bench.cases import CASES
from tests.bench.figures import BenchError, Run
from tests.bench.programs import RUNTIME_IDS, Contestant, Program
from tests.bench.runtime import ID, REVISION, containers


def run(**samples: Mapping[str, Sequence[float]]) -> Run:
    return Run(["a machine"], "criproxy 1.0.0", [], {}, samples)


def test_a_round_in_which_there_is_nothing_to_compare_with_is_left_out() -> None:
    assert figures.quotients([4, 4, 4], [2, 0, -1]) == [2]


def test_quartiles_are_within_what_was_measured() -> None:
    assert figures.spread([1.0, 2.0]) == (1.25, 1.75)
    assert figures.spread([3.0]) == (3.0, 3.0)


def test_every_figure_has_a_name_of_its_own_and_stands_in_a_table() -> None:
    names = [figure.name for case in CASES for figure in case.figures]
    assert len(set(names)) == len(names)
    rows = "\n".join(
        report.tables(run(criproxy={name: [1.0, 2.0] for name in names}, direct={name: [1.0] for name in names}))
    )
    assert rows.count("1.50") >= len(names)


def test_who_is_not_installed_has_a_row_that_says_so() -> None:
    rows = list(report.tables(replace(run(direct={"p50": [90.0]}), absent=["haproxy"])))
    assert rows[-1].split() == ["haproxy", "not", "installed"]


@pytest.mark.parametrize(("value", "text"), [(1.234, "1.23"), (12.34, "12.3"), (12345.6, "12,346"), (-0.5, "-0.50")])
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert figures.number(value) == text


def test_a_percentile_is_a_time_that_there_was() -> None:
    assert figures.percentile([float(number) for number in range(100, 0, -1)], 0.99) == 100
    assert figures.percentile([3.0], 0.99) == 3


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = run(direct={"p50": [1.0, 2.0]})
    written.save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json") == written
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(BenchError, match="not a run's figures"):
        Run.load(tmp_path / "other.json")


def test_a_program_gets_the_runtimes_that_it_knows() -> None:
    both = Program.of("x=run {connect} --at {listen}")
    assert both.merges
    assert both.words("/l", ["/a", "/b"]) == ["run", f"/a,{RUNTIME_IDS[1]}:/b", "--at", "/l"]
    one = Program.of("x=run {primary} 'in {listen}'")
    assert not one.merges
    assert one.words("/l", ["/a", "/b"]) == ["run", "/a", "in /l"]


def test_what_concerns_a_program_as_a_whole_is_measured_once() -> None:
    suited = {
        case.title
        for case in CASES
        if case.suits(Contestant("x, alternative", "", program=Program.of("x={listen}{connect}"), runtime="bench.test"))
    }
    assert not [title for title in suited if title.startswith(("ListContainers", "a process", "a kubelet"))]
    assert "a call of ContainerStatus alone" in suited


def test_the_containers_of_a_list_are_alike_but_for_their_ids() -> None:
    body = containers(20)
    assert body.count(REVISION) == 20
    assert len(body) == pytest.approx(20 * 1000, rel=0.01)
    assert all(b"%064x" % number in body for number in range(20))
    assert ID.encode() not in body
