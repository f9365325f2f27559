"""``criproxy check`` as a whole, of a node on which no runtime answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from criproxy import cli
from criproxy.inspection import whole


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> Tuple[int, Dict[str, Any]]:
    status = cli.main(["check", "-o", "json", *words])
    return status, json.loads(capsys.readouterr().out)


def of(answer: Dict[str, Any], subject: str, what: str) -> Dict[str, Any]:
    findings: List[Dict[str, Any]] = answer["findings"]
    (found,) = (each for each in findings if (each["subject"], each["what"]) == (subject, what))
    return found


@pytest.fixture
def options(root: Path, tmp_path: Path) -> List[str]:
    """Of a daemon whose runtimes are not there."""
    return ["--connect", f"{tmp_path}/p.sock,alt.test:{tmp_path}/a.sock"]


def test_runtimes_that_are_not_there_are_told(options: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, answer = checked(capsys, *options)
    assert (status, answer["verdict"]) == (2, "broken")
    assert of(answer, "configuration", "options")["state"] == "right"
    assert of(answer, "(primary)", "answer")["state"] == "broken"
    assert of(answer, "alt.test", "answer")["state"] == "degraded"
    assert of(answer, "node", "kubelet, units")["state"] == "not applicable"


def test_a_refused_configuration_is_told_and_the_node_looked_at_all_the_same(
    service: Path, defaults: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults.write_text("CRI_PRIMARY=/a.sock\nCRI_OTHER=/b.sock\n")
    status, answer = checked(capsys)
    assert (status, answer["verdict"]) == (2, "broken")
    assert f"{defaults}, line 2: CRI_OTHER" in of(answer, "configuration", "options")["text"]
    assert of(answer, "units", "enabled")["text"] == "no systemd runs here"


def test_a_warning_of_the_daemon_s_is_something_that_should_be_better(
    options: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, answer = checked(capsys, "-apiserver", "x", *options)
    found = of(answer, "configuration", "options")
    assert (found["state"], found["text"]) == ("degraded", "the option -apiserver has no effect")


def test_what_is_said_of_an_id_is_said_once(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, answer = checked(capsys, "--connect", f"{tmp_path}/p.sock,alt:{tmp_path}/a.sock")
    assert len([each for each in answer["findings"] if "has no dot" in each["text"]]) == 1


def test_the_service_is_looked_for_on_its_socket(
    service: Path, defaults: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.write_text(
        f"[Service]\nExecStart=/usr/bin/criproxy --listen {tmp_path}/c.sock --environment-file {defaults}\n"
    )
    defaults.write_text(f"CRI_PRIMARY={tmp_path}/p.sock\n")
    _, answer = checked(capsys)
    assert of(answer, "criproxy", "socket")["next"] == "systemctl start criproxy.socket criproxy.service"


def test_a_table_has_marks_and_no_colors_where_there_is_no_terminal(
    options: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", *options]) == 2
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.splitlines()[-1] == "broken: 1, should be better: 1"


def test_no_line_of_a_wide_table_is_broken(
    options: List[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    lines = {}
    for output in ("table", "wide"):
        assert cli.main(["check", "-o", output, *options]) == 2
        lines[output] = capsys.readouterr().out.splitlines()
    assert len(lines["wide"]) < len(lines["table"])
    assert " ".join(" ".join(lines["wide"]).split()) == " ".join(" ".join(lines["table"]).split())


def test_what_does_not_answer_in_time_is_told(
    options: List[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "together", lambda works, seconds: [None for _ in works])
    status, answer = checked(capsys, *options)
    assert status == 2
    assert of(answer, "(primary)", "answer")["text"].endswith("no answer within 20 s")


def test_a_service_that_is_not_understood_is_refused(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.write_text("[Service]\nExecStart=/usr/bin/socat\n")
    assert cli.main(["check"]) == 2
    assert "which is not criproxy itself" in capsys.readouterr().err


def test_the_options_alone_are_those_of_the_service_too(
    service: Path, defaults: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults.write_text("CRI_PRIMARY=/a.sock\n")
    assert cli.main(["check", "--options-only"]) == 0
    defaults.write_text("CRI_PRIMARY=/a.sock\nCRIPROXY_OPTS=-v x\n")
    assert cli.main(["check", "--options-only"]) == 2
    assert capsys.readouterr().err.startswith(f"criproxy: {defaults}, line 2: CRIPROXY_OPTS: verbosity: ")
