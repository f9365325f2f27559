"""The manual pages: nothing that can be said to the program is missing in them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Dict

import pytest

import criproxy
from criproxy import cli
from criproxy.config.options import OPTIONS, Option
from criproxy.cri.methods import METHODS, Method, To
from criproxy.migrate.command import MIGRATE
from criproxy.node import command

DEBIAN = Path(__file__).parents[2] / "debian"


def page(name: str) -> str:
    """A page's words, without the marks of its type."""
    text = (DEBIAN / name).read_text().replace(r"\-", "-")
    return re.sub(r"\\f.", "", re.sub(r"^\.[A-Z]+ ", "", text, flags=re.M)).replace('"', "")


def entry(name: str, title: str) -> str:
    """What a page says of an option."""
    (found,) = (part for part in page(name).split(".TP\n") if re.match(rf"{re.escape(title)}(?![\w-])", part))
    return found


def actions() -> Dict[str, argparse.ArgumentParser]:
    parser = command.parser({"migrate": MIGRATE})
    (found,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return dict(found.choices)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_is_in_the_page_of_the_program_and_with_its_default_in_that_of_the_file(
    option: Option,
) -> None:
    assert entry("criproxy.8", f"--{option.name}")
    assert (option.default or "none") in entry("criproxy.conf.5", option.name)


@pytest.mark.parametrize("name", cli._COMMANDS)
def test_a_command_is_in_the_program_s_page(name: str) -> None:
    assert re.search(rf"^criproxy {name}\b", page("criproxy.8"), flags=re.M)


@pytest.mark.parametrize("action", actions())
def test_an_action_and_its_options_are_in_the_page_of_criproxy_node(action: str) -> None:
    assert re.search(rf"^criproxy node {action}\b", page("criproxy-node.8"), flags=re.M)
    for option in actions()[action]._actions:
        for name in option.option_strings:
            assert name in ("-h", "--help") or entry("criproxy-node.8", name)


WHOM = {
    To.PRIMARY: "the primary runtime",
    To.SELECTED: "the runtime that the pod asks for",
    To.OWNER: "the runtime of the ",
    To.IMAGE: "the runtime of the image",
    To.ALL: "all runtimes: their lists in one",
    To.EVENTS: "all runtimes: their streams in one",
    To.CONNECTED: "all runtimes that are there",
    To.STATUS: "all runtimes; see below",
}


def whom(method: Method) -> str:
    """Whom a call is for, in the words of criproxy(7)."""
    if method.to is To.OWNER:
        return WHOM[To.OWNER] + {"pod_sandbox_id": "pod", "container_id": "container"}[method.owner_field]
    return WHOM[method.to] + ("" if method.digest is To.PRIMARY else "; see below")


def test_whom_each_method_is_for_is_in_the_page_of_what_becomes_of_calls() -> None:
    (table,) = re.findall(r"^\.TS\nl l\.\n(.*?)^\.TE", (DEBIAN / "criproxy.7").read_text(), flags=re.M | re.S)
    assert dict(line.split("\t") for line in table.splitlines()) == {
        name: whom(method) for name, method in METHODS.items()
    }


def test_no_page_has_an_option_that_is_not_there() -> None:
    names = {option.name for option in OPTIONS} | {"config", "environment-file", "version"}
    documented = re.findall(r"^\.TP\n--([a-z-]+)", page("criproxy.8"), flags=re.M)
    assert set(documented) == names


def test_every_field_of_the_journal_is_in_the_page_of_the_log() -> None:
    source = (Path(criproxy.__file__).parent / "relay" / "facts.py").read_text()
    for field in re.findall(r'"((?:CRI|GRPC|DURATION)_[A-Z_]+)"', source):
        assert re.search(rf"\b{field}\b", page("criproxy.8")), field


def test_the_readme_is_short() -> None:
    lines = (DEBIAN.parent / "README.md").read_text().splitlines()
    assert len(lines) <= 200
