"""What is said to a systemd of some version: units reduced to what it knows, and words that the oldest has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Tuple

import pytest
from node_lab import ROOT, Lab

from criproxy.config.options import CONTROL
from criproxy.node import compat, syntax
from criproxy.node.compat import adapt
from criproxy.node.plan import Wishes

SHIPPED = sorted((ROOT / "lib/systemd/system").iterdir())
SERVICE = (ROOT / "lib/systemd/system/criproxy.service").read_text()
VERSIONS = [229, 231, 232, 233, 237, 239, 240, 242, 245, 247, 252, 257, 262]
FILTER = ("Service", "SystemCallFilter")


def settings(text: str) -> List[Tuple[str, str, str]]:
    return list(syntax.settings(text))


def values(text: str, section: str, name: str) -> List[str]:
    return [value for *place, value in settings(text) if place == [section, name]]


def words(value: str) -> List[str]:
    return value.lstrip("~").split()


def since(section: str, name: str, value: str) -> int:
    """The first version that knows all of a setting."""
    ages = [compat.VALUES[key].version for word in words(value) if (key := f"{section}.{name}={word}") in compat.VALUES]
    return max(compat.SETTINGS[f"{section}.{name}"].version, *ages, 0)


@pytest.fixture
def planned(tmp_path: Path) -> List[str]:
    """All units and drop-ins that are written to nodes, with a dockershim and without, and with a group."""
    texts = []
    for number, (layout, version) in enumerate((("kubeadm", "1.33.1"), ("kubeadm <= 1.10", "1.10.13"))):
        lab = Lab(tmp_path / str(number), layout, version)
        for path in SHIPPED:
            lab.put(f"/lib/systemd/system/{path.name}", path.read_text())
        lab.put("/etc/default/criproxy", "CRIPROXY_SOCKET_GROUP=daemon\n")
        files = dict(lab.node.plan(Wishes()).files)
        texts += [text for path, text in files.items() if path.startswith("/etc/systemd/")]
    return texts


def test_the_service_has_a_folder_for_its_control_socket_on_every_systemd() -> None:
    """It is made before the service starts, writable to it alone, and there while it is restarted."""
    assert os.path.dirname(CONTROL) == "/run/criproxy"
    for version in VERSIONS:
        adapted = adapt(SERVICE, version)
        assert values(adapted, "Service", "RuntimeDirectory") == ["criproxy"]
        assert values(adapted, "Service", "RuntimeDirectoryMode") == ["0755"]
        kept = ["restart"] if version >= compat.SETTINGS["Service.RuntimeDirectoryPreserve"].version else []
        assert values(adapted, "Service", "RuntimeDirectoryPreserve") == kept


# The tables.


def test_each_setting_that_is_shipped_or_written_is_in_the_table(planned: List[str]) -> None:
    texts = [path.read_text() for path in SHIPPED] + planned
    used = {f"{section}.{name}" for text in texts for section, name, _ in settings(text)}
    assert "Service.ExecStart" in used
    assert used <= compat.SETTINGS.keys()


def test_each_group_of_system_calls_that_is_used_is_in_the_table() -> None:
    texts = [SERVICE, *(since.before.replace("Service.", "[Service]\n", 1) for since in compat.VALUES.values())]
    groups = {word for text in texts for value in values(text, *FILTER) for word in words(value) if word[0] == "@"}
    assert "@system-service" in groups
    assert {f"Service.SystemCallFilter={group}" for group in groups} <= compat.VALUES.keys()


def test_nothing_is_in_the_table_that_is_not_used(planned: List[str]) -> None:
    texts = [path.read_text() for path in SHIPPED] + planned
    used = {f"{section}.{name}" for text in texts for section, name, _ in settings(text)}
    stand_ins = {entry.before for entry in compat.SETTINGS.values()}
    assert compat.SETTINGS.keys() <= used | stand_ins


def test_what_stands_for_a_younger_setting_is_older() -> None:
    for entry in compat.SETTINGS.values():
        if entry.before:
            assert compat.SETTINGS[entry.before].version < entry.version
    for entry in compat.VALUES.values():
        if entry.before:
            ((section, name, value),) = settings(entry.before.replace("Service.", "[Service]\n", 1))
            assert since(section, name, value) < entry.version


# Units.


@pytest.mark.parametrize("version", VERSIONS)
def test_a_unit_keeps_nothing_that_its_systemd_does_not_know(version: int, planned: List[str]) -> None:
    for text in (SERVICE, *planned):
        late = [setting for setting in settings(adapt(text, version)) if since(*setting) > version]
        assert late == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_unit_loses_nothing_that_its_systemd_knows(version: int, planned: List[str]) -> None:
    for text in (SERVICE, *planned):
        known = [setting for setting in settings(text) if since(*setting) <= version]
        left = settings(adapt(text, version))
        assert [setting for setting in left if setting in known] == known


def test_a_unit_stays_as_it_is_where_all_is_known_and_where_the_version_is_not(planned: List[str]) -> None:
    for text in (SERVICE, *planned):
        for version in (0, 247, 262, 999):
            assert adapt(text, version) == text


def test_a_failing_service_is_started_again_for_ever_by_229_too() -> None:
    before = adapt(SERVICE, 229)
    assert values(before, "Service", "StartLimitInterval") == ["0"]
    assert values(before, "Unit", "StartLimitIntervalSec") == []
    assert values(adapt(SERVICE, 230), "Unit", "StartLimitIntervalSec") == ["0"]


def test_its_memory_and_its_tasks_have_a_bound_by_229_too() -> None:
    before = adapt(SERVICE, 229)
    assert values(before, "Service", "MemoryLimit") == values(SERVICE, "Service", "MemoryMax") == ["512M"]
    assert values(before, "Service", "MemoryMax") == []
    assert values(before, "Service", "TasksMax") == ["16"]


def test_system_calls_are_not_filtered_where_there_are_no_groups_of_them() -> None:
    assert values(adapt(SERVICE, 230), *FILTER) == []


@pytest.mark.parametrize("version", [231, 232, 237, 238])
def test_system_calls_are_denied_and_not_allowed_by_name_before_there_is_the_group_for_services(version: int) -> None:
    filters = values(adapt(SERVICE, version), *FILTER)
    assert filters
    assert all(value.startswith("~") for value in filters)


@pytest.mark.parametrize("version", [239, 245, 247, 262])
def test_what_a_service_needs_is_allowed_from_then_on(version: int) -> None:
    assert values(adapt(SERVICE, version), *FILTER)[0] == "@system-service"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_denied_is_said_not_to_be_there(version: int) -> None:
    assert values(adapt(SERVICE, version), "Service", "SystemCallErrorNumber") == ["ENOSYS"]


def test_a_comment_goes_and_moves_with_its_setting() -> None:
    text = (
        "[Unit]\n# About the limit.\nStartLimitIntervalSec=0\n\n[Service]\n"
        "# About the rate.\nLogRateLimitIntervalSec=0\n# About the type.\nType=notify\n"
    )
    wanted = "[Unit]\n\n[Service]\n# About the limit.\nStartLimitInterval=0\n# About the type.\nType=notify\n"
    assert adapt(text, 229) == wanted


def test_a_setting_over_several_lines_goes_whole() -> None:
    text = "[Service]\nIPAddressDeny=any \\\n# not this\n  192.0.2.1\nType=notify\n"
    assert adapt(text, 229) == "[Service]\nType=notify\n"
    assert adapt(text, 235) == text


def test_a_section_is_made_for_what_moves_to_it() -> None:
    assert adapt("[Unit]\nStartLimitIntervalSec=5", 229) == "[Unit]\n[Service]\nStartLimitInterval=5"


def test_what_is_not_ours_stays() -> None:
    text = "[Service]\nRestartSteps=3\nSystemCallFilter=@sandbox"
    assert adapt(text, 229) == text


def test_of_a_list_of_what_is_denied_the_groups_that_are_not_known_go() -> None:
    assert adapt("[Service]\nSystemCallFilter=~@privileged ptrace", 230) == "[Service]\nSystemCallFilter=~ptrace"
    assert adapt("[Service]\nSystemCallFilter=~@privileged", 230) == "[Service]"


# Commands.


@pytest.mark.parametrize(("layout", "version"), [("kubeadm", "1.33.1"), ("kubeadm <= 1.10", "1.10.13")])
def test_a_change_and_the_way_back_say_nothing_that_the_oldest_does_not_know(
    layout: str, version: str, tmp_path: Path
) -> None:
    lab = Lab(tmp_path, layout, version)
    lab.node.apply(Wishes())
    lab.node.apply(Wishes(), again=True)
    lab.node.revert()
    assert {verb for verb, *_ in lab.manager.done} >= {"daemon-reload", "restart", "stop"}
    for verb, *rest in lab.manager.done:
        assert compat.VERBS[verb] <= compat.OLDEST
        assert not [word for word in rest if word.startswith("-")]
