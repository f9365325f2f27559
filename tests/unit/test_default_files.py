"""The files that come with criproxy for /etc: what they show is what the program reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List

import pytest

from criproxy import environment
from criproxy.config import Config, RuntimeAddress, parse, sources
from criproxy.config.options import OPTIONS, Option
from criproxy.cri.identity import RuntimeHandler
from criproxy.cri.methods import Verbosity
from criproxy.report.log import STATES

ETC = Path(__file__).parents[2] / "etc"
CONF = ETC / "criproxy/criproxy.conf"
DEFAULTS = ETC / "default/criproxy"
_KEY = re.compile(r"#(?P<name>[a-z][a-z-]*) =( (?P<value>.+))?")
_VARIABLE = re.compile(r"#?(?P<name>[A-Z_]+)=(?P<value>.*)")


@pytest.fixture(autouse=True)
def _nothing_configured_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DEFAULT_FILE", str(tmp_path / "default.conf"))


def keys() -> Dict[str, str]:
    """The lines of criproxy.conf that can be used, by the options that they are for."""
    lines = CONF.read_text().splitlines()
    return {match["name"]: line for line in lines for match in [_KEY.fullmatch(line)] if match}


def uncommented(lines: List[str]) -> str:
    return "".join(f"{line.lstrip('#')}\n" for line in lines)


def settings(config: Config) -> Config:
    """What is set, wherever that is."""
    return config._replace(environment_file="", fixed={})


def from_conf(folder: Path, text: str) -> Config:
    file = folder / "criproxy.conf"
    file.write_text(text)
    return settings(parse([f"--config={file}"], {}))


def from_defaults(folder: Path, text: str) -> Config:
    file = folder / "default"
    file.write_text(text)
    return settings(parse([f"--environment-file={file}"], {}))


def before(file: Path, shown: re.Pattern[str]) -> Dict[str, str]:
    """The line before each that can be used."""
    lines = file.read_text().splitlines()
    pairs = [(shown.fullmatch(line), above) for above, line in zip(lines, lines[1:])]
    return {match["name"]: above for match, above in pairs if match}


# criproxy.conf.


def test_the_conf_changes_nothing_as_it_comes(tmp_path: Path) -> None:
    assert from_conf(tmp_path, CONF.read_text()) == settings(parse([], {}))


def test_the_conf_has_each_option_once() -> None:
    shown = [match["name"] for match in map(_KEY.fullmatch, CONF.read_text().splitlines()) if match]
    assert sorted(shown) == sorted(option.name for option in OPTIONS)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_in_the_conf_has_its_default(option: Option, tmp_path: Path) -> None:
    line = keys()[option.name]
    match = _KEY.fullmatch(line)
    assert match
    assert (match["value"] or "") == option.default
    assert from_conf(tmp_path, uncommented([line])) == settings(parse([], {}))


def test_all_lines_of_the_conf_can_be_used_at_once(tmp_path: Path) -> None:
    assert from_conf(tmp_path, uncommented(list(keys().values()))) == settings(parse([], {}))


def test_a_line_of_comment_stands_before_each_option() -> None:
    assert [name for name, line in before(CONF, _KEY).items() if not line.startswith("# ")] == []


# /etc/default/criproxy.


def test_the_defaults_can_be_used_as_they_come(tmp_path: Path) -> None:
    """An empty variable counts as not set."""
    configured = from_defaults(tmp_path, DEFAULTS.read_text())
    assert configured._replace(warnings=()) == settings(parse(["-v", "2"], {}))
    (warning,) = configured.warnings
    assert warning.endswith("does not set CRI_PRIMARY: the primary runtime is /var/run/dockershim.sock")


def test_the_defaults_set_just_what_is_to_be_filled_in_and_the_options() -> None:
    variables, skipped = environment.read(DEFAULTS.read_text())
    assert {name: value for name, (value, _) in variables.items()} == {
        "CRI_PRIMARY": "",
        "CRI_OTHER": "",
        "CRIPROXY_OPTS": "-v 2",
    }
    assert skipped == []


def test_every_variable_in_the_defaults_means_something(tmp_path: Path) -> None:
    shown = before(DEFAULTS, _VARIABLE)
    names = ("DRAINED", "HANDLER", "OPTS", "ROUTE", "SOCKET_GROUP")
    own = ("PRIMARY", "OTHER", "IMAGE_SERVICE", "RETIRING")
    assert set(shown) == {*(f"CRI_{name}" for name in own), *(f"CRIPROXY_{name}" for name in names)}
    text = re.sub(r"^#(?=[A-Z_]+=)", "", DEFAULTS.read_text(), flags=re.M)
    text = text.replace("CRI_PRIMARY=", "CRI_PRIMARY=/a.sock")
    text = text.replace("CRI_OTHER=", "CRI_OTHER=virtlet.cloud:/b.sock")
    configured = from_defaults(tmp_path, text)
    assert configured.runtimes == (RuntimeAddress("", "/a.sock"), RuntimeAddress("virtlet.cloud", "/b.sock"))
    assert configured.handlers[0] == RuntimeHandler("vm", "virtlet.cloud", "")
    assert configured.verbosity == 2
    assert configured.warnings == ()


def test_a_line_of_comment_stands_before_each_variable() -> None:
    assert [name for name, line in before(DEFAULTS, _VARIABLE).items() if not line.startswith("# ")] == []


def test_the_defaults_tell_what_each_verbosity_adds() -> None:
    levels = {int(level) for level in re.findall(r"^#   -v (\d)  \S", DEFAULTS.read_text(), flags=re.M)}
    failures = 2
    assert levels == {0, failures, *Verbosity, STATES}
