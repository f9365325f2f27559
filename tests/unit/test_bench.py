"""What the benchmark makes of its numbers: aims, a plot, and what has changed between two runs."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Dict, List, Mapping, Sequence
from xml.etree import ElementTree

import pytest

from tests.bench import aims, compare, figures, plot, report
from tests.bench.cases import CASES, list_figure
from tests.bench.figures import BenchError, Run
from tests.bench.programs import RUNTIME_IDS, Contestant, Program
from tests.bench.runtime import ALL, CONTAINERS, ID, REVISION, SAME, containers
from tests.bench.turns import SIZES


def run(**samples: Mapping[str, Sequence[float]]) -> Run:
    return Run(["a machine"], "criproxy 1.0.0", [], {}, samples)


def told(name: str, of: Run) -> str:
    return next(line for line in aims.lines(of) if line.startswith(name))


def lists(per_container: float, other: float = 0.0) -> Dict[str, Sequence[float]]:
    return {
        list_figure(change, size): [size * per_container + other, size * per_container + other + 0.1]
        for change in (SAME, ALL)
        for size in SIZES
    }


def test_what_is_added_is_compared_within_each_round() -> None:
    rounds = run(direct={"p50": [10, 100, 20]}, haproxy={"p50": [20, 120, 30]}, criproxy={"p50": [25, 130, 35]})
    line = told("added to the p50 of a call", rounds)
    assert " 1.50 " in line
    assert line.endswith("<= 1.2   missed")


def test_a_compiled_build_has_limits_of_its_own() -> None:
    plain = run(haproxy={"rate_1": [100]}, criproxy={"rate_1": [70]})
    compiled = replace(plain, version="criproxy 1.0.0 (compiled)")
    assert told("calls/s at 32", plain).endswith(">= 0.65")
    assert told("calls/s at 32", compiled).endswith(">= 0.85  missed")
    assert "which is plain Python" in aims.lines(plain)[0]
    assert "which is compiled" in aims.lines(compiled)[0]


def test_an_aim_that_cannot_be_measured_says_so() -> None:
    assert "not measured" in told("added to the p50 of a call", run(direct={"p50": [1]}, criproxy={"p50": [2]}))


def test_a_round_in_which_there_is_nothing_to_compare_with_is_left_out() -> None:
    assert figures.quotients([4, 4, 4], [2, 0, -1]) == [2]


def test_aims_about_the_go_program_are_told_only_where_it_takes_part() -> None:
    without = run(direct={"p50": [1]}, criproxy={"p50": [2]})
    assert not [line for line in aims.lines(without) if "Go's" in line]
    beside = replace(without, samples={**without.samples, "go": {"p50": [6]}})
    (added, rate) = [line for line in aims.lines(beside) if "Go's" in line]
    assert " 0.20 " in added
    assert "not measured" in rate


def test_a_list_is_compared_with_the_slower_runtime_and_with_shorter_lists() -> None:
    found = run(direct=lists(0.001), other=lists(0.002), criproxy=lists(0.004))
    assert " 1.98 " in told(f"list of 2 x {CONTAINERS:,}, nothing changed", found)
    assert told(f"a container of {SIZES[-1]:,}, nothing changed", found).endswith("<= 1.2")


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


def test_the_chance_is_that_of_all_orders() -> None:
    """Counted here by writing all of them down."""
    one, other = [1.0, 2.0, 4.0], [3.0, 5.0, 6.0, 7.0]

    def above(first: Sequence[float], second: Sequence[float]) -> int:
        return sum(a > b for a in first for b in second)

    orders = {(tuple(sorted(row[:3])), tuple(sorted(row[3:]))) for row in permutations([*one, *other])}
    as_far = sum(above(*order) <= above(one, other) for order in orders)
    assert compare.chance(one, other) == pytest.approx(2 * as_far / len(orders))


def test_rounds_that_mean_the_same_have_seldom_changed() -> None:
    source = random.Random(1)

    def rounds(around: float) -> List[float]:
        return [source.gauss(around, 1) for _ in range(7)]

    said = [compare.verdict(rounds(100), rounds(100)) for _ in range(1000)]
    assert 0 < said.count(compare.CHANGE) < 25
    assert compare.verdict(rounds(100), rounds(110)) == compare.CHANGE
    assert compare.verdict([1.0] * 7, [1.0] * 7) == compare.NOISE


def test_a_few_rounds_tell_nothing() -> None:
    assert compare.verdict([1, 2, 3, 4], [11, 12, 13, 14]) == compare.TOO_FEW
    assert compare.verdict([1, 2, 3, 4, 5], [11, 12, 13, 14, 15]) == compare.CHANGE


def test_a_comparison_says_which_way_and_shows_direct_calls_first() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0], [11.0, 12.0, 13.0, 14.0, 15.0]
    before = run(criproxy={"p50": low, "rate_1": low, "p99": low}, direct={"p50": low})
    after = run(criproxy={"p50": high, "rate_1": high}, direct={"p50": low})
    rows = [line.split() for line in compare.lines(before, after) if line.startswith(("direct", "criproxy "))]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("direct", "p50", "+0.0%"),
        ("criproxy", "p50", "worse"),
        ("criproxy", "rate_1", "better"),
    ]


@pytest.mark.parametrize(
    ("highest", "step"), [(0.004, 0.001), (1.0, 0.2), (4.9, 1), (5.1, 2), (282, 100), (1e-12, 2e-10)]
)
def test_ticks_are_round_numbers(highest: float, step: float) -> None:
    assert plot.tick_step(highest) == pytest.approx(step)


def test_the_plots_are_pictures_within_their_frame(tmp_path: Path) -> None:
    found = run(direct=lists(0.001), other=lists(0.002), criproxy=lists(0.004, 0.5))
    light, dark = plot.write(found, tmp_path)
    assert light.read_text() != dark.read_text()
    for path in (light, dark):
        picture = ElementTree.parse(path).getroot()
        width, height = map(float, picture.attrib["viewBox"].split()[2:])
        for line in picture.iter("{http://www.w3.org/2000/svg}polyline"):
            for point in line.attrib["points"].split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= width
                assert 0 <= y <= height
        texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
        assert {"ListContainers, ms", "the slower runtime alone", f"{SIZES[-1]:,}"} <= set(texts)


def test_the_plots_of_the_readme_are_there() -> None:
    root = Path(plot.__file__).parents[2]
    named = re.findall(r'src(?:set)?="([^"]+)"', (root / "README.md").read_text())
    assert named == ["tests/bench/lists-dark.svg", "tests/bench/lists-light.svg"]
    assert all((root / name).is_file() for name in named)


def test_a_run_without_lists_has_no_plot(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="has not measured all lists"):
        plot.write(run(direct={"p50": [1.0]}), tmp_path)


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
