"""``criproxy config``: what each option is set to, and by what."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from criproxy import cli
from criproxy.config.options import OPTIONS
from criproxy.inspection import subject

UNIT = "/lib/systemd/system/criproxy.service"


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Dict[str, List[str]]:
    """The table: an option's value and where it is from, by the option's name."""
    assert cli.main(["config", *words]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["OPTION", "VALUE", "FROM"]
    return {name: rest.split(None, 1) for name, rest in (row.split(None, 1) for row in rows)}


def found(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """The same as JSON."""
    assert cli.main(["config", "-o", "json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_option_is_told_in_the_order_of_the_help_and_the_files_last(
    root: Path, default_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = told(capsys)
    assert list(table) == [*(option.name for option in OPTIONS), "config", "environment-file"]
    assert table["connect"] == ["/var/run/dockershim.sock", "default"]
    assert table["handler"] == ["-", "default"]
    assert table["config"] == [str(default_file), "default (does not exist)"]


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    root: Path, default_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    default_file.write_text("# mine\nverbosity = 5\nstream-port = 5\nabsence-grace = 5\n")
    monkeypatch.setenv("CRIPROXY_STREAM_PORT", "4")
    monkeypatch.setenv("CRIPROXY_VERBOSITY", "4")
    table = told(capsys, "-v", "3")
    assert table["verbosity"] == ["3", "command line: --verbosity"]
    assert table["stream-port"] == ["4", "environment: CRIPROXY_STREAM_PORT"]
    assert table["absence-grace"] == ["5", f"{default_file}, line 4"]
    assert table["config"] == [str(default_file), "default"]


def test_the_environment_file_is_told_with_its_lines(
    root: Path, defaults: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults.write_text('CRI_PRIMARY=/a.sock\n\nCRI_OTHER=alt.test:/b.sock\nCRIPROXY_OPTS="-v 2"\n')
    table = told(capsys, "--environment-file", str(defaults))
    assert table["connect"] == [
        "/a.sock,alt.test:/b.sock",
        f"{defaults}, line 1: CRI_PRIMARY and {defaults}, line 3: CRI_OTHER",
    ]
    assert table["verbosity"] == ["2", f"{defaults}, line 4: CRIPROXY_OPTS"]
    assert table["environment-file"] == [str(defaults), "command line: --environment-file"]


def test_a_default_that_another_option_changes_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = told(capsys, "--compatibility=go", "--digests=all")
    assert table["image-prefix"] == ["required", "default (with compatibility go)"]
    assert table["digests"] == ["all", "command line: --digests"]


def test_without_options_it_is_about_the_installed_service_whatever_this_environment_has(
    service: Path, defaults: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults.write_text("CRI_PRIMARY=/a.sock\n")
    monkeypatch.setenv("CRI_PRIMARY", "/shell.sock")
    table = told(capsys)
    assert table["listen"] == ["/run/criproxy.sock", f"command line: {UNIT}, line 3: --listen"]
    assert table["stream-port"] == ["7", f"environment: {UNIT}, line 2: CRIPROXY_STREAM_PORT"]
    assert table["connect"] == ["/a.sock", f"{defaults}, line 1: CRI_PRIMARY"]
    assert told(capsys, "-v", "0")["connect"] == ["/shell.sock", "environment: CRI_PRIMARY"]


def test_a_service_that_starts_the_interpreter_is_understood(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service.write_text("[Service]\nExecStart=/usr/bin/python3 -m criproxy -v 3\n")
    assert told(capsys)["verbosity"][0] == "3"


def test_a_wide_table_has_the_defaults(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "-o", "wide", "--stream-port", "7"]) == 0
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head == ["OPTION", "VALUE", "DEFAULT", "FROM"]
    assert ["stream-port", "7", "11250", "command", "line:", "--stream-port"] in rows


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/usr/bin/socat a b", "starts '/usr/bin/socat a b', which is not criproxy itself"),
        ("/usr/bin/criproxy 'x", "is not understood"),
        ("/usr/bin/criproxy --listen $LISTEN_FDS", "is set by systemd when it starts the unit"),
    ],
)
def test_a_service_that_is_not_understood_is_refused(
    command: str, why: str, service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.write_text(f"[Service]\nExecStart={command}\n")
    assert cli.main(["config"]) == 2
    assert why in capsys.readouterr().err


def test_json_has_the_same_the_defaults_and_the_warnings(
    service: Path, defaults: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults.write_text("CRI_PRIMARY=/a.sock\nGOGC=50\n")
    answer = found(capsys)
    assert answer["service"] == f"{UNIT}, line 3"
    assert answer["options"][0] == {
        "name": "connect",
        "value": "/a.sock",
        "default": "/var/run/dockershim.sock",
        "source": "environment file",
        "where": f"{defaults}, line 1: CRI_PRIMARY",
        "note": "",
    }
    assert answer["options"][-1]["value"] == str(defaults)
    assert ["GOGC" in warning for warning in answer["warnings"]] == [True]
    assert found(capsys, "-v", "1")["service"] is None


def test_warnings_of_a_table_go_to_standard_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "-apiserver", "x"]) == 0
    assert capsys.readouterr().err == "criproxy config: warning: the option -apiserver has no effect\n"


def test_what_the_daemon_refuses_is_refused_in_its_words(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "-streamPort", "70000"]) == 2
    assert capsys.readouterr().err == "criproxy config: stream-port: '70000' is not a number from 1 to 65535\n"


def test_an_option_s_value_that_looks_like_one_of_the_command_s_stays_the_daemon_s(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "--listen", "-o")["listen"][0] == "-o"


def test_what_a_value_has_in_it_cannot_steer_the_terminal(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--listen", "/a\x1b[2J.sock")["listen"][0] == r"/a\x1b[2J.sock"


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_the_command_s_own(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(["config", "-v", "3", word])
    assert exit.value.code == 0
    assert capsys.readouterr().out.startswith("usage: criproxy config ")


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    command = [sys.executable, "-m", "criproxy", "config", "-v", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_systemd_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subject, "together", lambda works, seconds: [None for _ in works])
    assert cli.main(["config"]) == 2
    assert "systemd has not told within 10 s what criproxy.service starts" in capsys.readouterr().err


def test_it_needs_neither_grpc_nor_the_relay() -> None:
    script = (
        "import sys; from criproxy.cli import main; main(['config', '-v', '3']);"
        "sys.exit(any(name in sys.modules for name in ('grpc', 'criproxy.relay.loop', 'criproxy.daemon')))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL)
