"""The dashboard and the alerts that come as examples: they ask for what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

import pytest
import yaml
from prometheus_client.process_collector import ProcessCollector

from criproxy.metrics.families import FAMILIES, Family, Kind

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "etc/criproxy/criproxy-alerts.yaml"
DASHBOARD = ROOT / "etc/criproxy/criproxy-dashboard.json"
TARGETS = {"job", "instance"}
"""The labels that Prometheus itself gives to what it scrapes."""
WANTED = (
    "CriproxyPrimaryRuntimeDown",
    "CriproxyAlternativeRuntimeDown",
    "CriproxyReloadRefused",
    "CriproxyCrashLoop",
    "CriproxyFanOutTimeouts",
    "CriproxySlow",
)


def panels() -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def rules() -> List[Dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: List[Dict[str, Any]] = group["rules"]
    return found


def queries() -> List[str]:
    """All that the dashboard and the alerts ask for."""
    return [target["expr"] for panel in panels() for target in panel["targets"]] + [rule["expr"] for rule in rules()]


def series() -> Dict[str, Set[str]]:
    """The labels of all series that there are, by their names."""
    told = {name: {*family.labels, *labels} for family in FAMILIES for name, labels in _series(family)}
    process = {
        sample.name: set(sample.labels)
        for metric in ProcessCollector(registry=None).collect()
        for sample in metric.samples
    }
    return {**told, **process}


def _series(family: Family) -> Iterator[Any]:
    if family.kind is not Kind.HISTOGRAM:
        yield family.name, ()
    else:
        yield from ((f"{family.name}_bucket", ("le",)), (f"{family.name}_count", ()), (f"{family.name}_sum", ()))


def named(query: str) -> Set[str]:
    """The series that a query names."""
    return set(re.findall(r"\b(?:criproxy|process)_\w+", query))


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_what_is_asked_for_is_there_with_its_labels(query: str) -> None:
    names, known = named(query), series()
    assert names
    assert names <= set(known)
    labels = set().union(*(known[name] for name in names)) | TARGETS
    grouped = [words for clause in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for words in clause.split(", ")]
    selected = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query)
    assert {*grouped, *selected} <= labels


def test_what_the_texts_name_is_there() -> None:
    for text in (DASHBOARD.read_text(), ALERTS.read_text()):
        assert named(text) <= {*series(), *(family.name for family in FAMILIES)}
    for path in (DASHBOARD, ALERTS):
        options = set(re.findall(r"--[a-z][a-z-]+", path.read_text()))
        assert options <= set(re.findall(r"--[a-z][a-z-]+", (ROOT / "debian/criproxy.8").read_text().replace("\\", "")))


def test_a_legend_has_labels_that_the_query_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept(target["expr"]), panel["title"]


def kept(query: str) -> Set[str]:
    by = re.findall(r"\b(?:sum|min|count) by \(([^)]*)\)", query)
    if by:
        return set(by[0].split(", "))
    known = series()
    return TARGETS | set().union(*(known[name] for name in named(query)))


def test_a_dashboard_has_each_panel_in_a_place_of_its_own() -> None:
    taken: Set[Any] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert len({panel["title"] for panel in panels()}) == len(panels())


def test_a_dashboard_leaves_open_where_its_data_is() -> None:
    variables = {each["name"] for each in json.loads(DASHBOARD.read_text())["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) - {"__all", "__rate_interval"}
    assert used <= variables == {"datasource", "job", "instance"}


def test_there_is_an_alert_for_each_thing_that_wakes_somebody() -> None:
    names = [rule["alert"] for rule in rules()]
    assert set(WANTED) <= set(names)
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_each_alert_is_tried() -> None:
    cases = yaml.safe_load(Path(__file__).with_name("alerts.yaml").read_text())["tests"]
    fired, quiet = (
        {each["alertname"] for case in cases for each in case["alert_rule_test"] if bool(each["exp_alerts"]) is fires}
        for fires in (True, False)
    )
    assert fired == quiet == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize(
    ("what", "file"), [("check", ALERTS), ("test", Path(__file__).with_name("alerts.yaml"))], ids=["check", "test"]
)
def test_prometheus_takes_the_alerts_and_fires_them_when_it_should(what: str, file: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool (Debian: prometheus)")
    done = subprocess.run([promtool, what, "rules", file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
